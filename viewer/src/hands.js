// Mouse, touch and keys become calls of view.set({ yaw, pitch, fov }).
import { clamp, dragged, lens, mapAngles, viewRay, wrapped } from './geometry.js';

const inside = ([left, top, width, height], x, y) => x >= left && x < left + width && y >= top && y < top + height;
const placeIn = ([left, top, width, height], [x, y]) => [2 * (x - left) / width - 1, 2 * (y - top) / height - 1];
const middle = points => [0, 1].map(axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
const spread = points => (points.length < 2 ? 1 : Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]));

// `layout()` gives { boxes, map }, boxes as [left, top, width, height]; `view.get()` and `view.set(direction)` are the model's.
export function attachHands(canvas, view, layout) {
  const fingers = new Map();  // pointer -> [x, y]
  let held = null;            // what was taken hold of: the box of a panel, or the map

  const pointOf = event => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  const boxAt = ([x, y]) => layout().boxes.find(box => inside(box, x, y)) || layout().boxes[0];

  // Field of view such that things grow by `growth`, within limits.
  const zoomed = (fov, growth) => clamp(2 * Math.atan(Math.tan(fov / 2) / growth), ...view.limits());

  // What was at `from` comes to `to` and grows.
  function move(box, from, to, growth) {
    const before = view.get(), fov = zoomed(before.fov, growth), [, , width, height] = box;
    const rays = [[from, before.fov], [to, fov]].map(([point, angle]) => viewRay(placeIn(box, point), lens(angle, width, height)));
    view.set({ ...dragged(before, ...rays), fov });
  }

  function down(event) {
    if (event.pointerType === 'mouse' && event.button !== 0) return;
    const point = pointOf(event), { map } = layout();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, point);
    if (fingers.size === 1) held = map && inside(map, ...point) ? 'map' : boxAt(point);
    if (held === 'map') view.set(onMap(point));
    event.preventDefault();
  }

  const onMap = point => {
    const { yaw, pitch } = mapAngles(placeIn(layout().map, point).map(x => clamp(x, -1, 1)));
    return { yaw: wrapped(yaw), pitch };
  };

  function moved(event) {
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, pointOf(event));
    const after = [...fingers.values()];
    if (held === 'map') { if (layout().map) view.set(onMap(after[0])); }
    else move(held, middle(before), middle(after), clamp(spread(after) / Math.max(spread(before), 1), .2, 5));
  }

  const up = event => { fingers.delete(event.pointerId); };

  // A notebook scrolls under the wheel until the picture has been clicked; pinching on a touchpad arrives as ctrl + wheel.
  function wheel(event) {
    if (document.activeElement !== canvas && !canvas.getRootNode().activeElement?.isSameNode(canvas) && !event.ctrlKey) return;
    event.preventDefault();
    const point = pointOf(event), pixels = event.deltaY * (event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1);
    move(boxAt(point), point, point, Math.exp(-clamp(pixels, -200, 200) * (event.ctrlKey ? .01 : .002)));
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { yaw, pitch, fov } = view.get(), step = fov / 18;
    const turn = (right, above) => view.set({ yaw: wrapped(yaw + right), pitch: clamp(pitch + above, -Math.PI / 2, Math.PI / 2) });
    const keys = {
      ArrowLeft: () => turn(-step, 0), ArrowRight: () => turn(step, 0), ArrowUp: () => turn(0, step), ArrowDown: () => turn(0, -step),
      '+': () => view.set({ fov: zoomed(fov, 1.1) }), '=': () => view.set({ fov: zoomed(fov, 1.1) }), '-': () => view.set({ fov: zoomed(fov, 1 / 1.1) }),
      Home: () => view.set({ yaw: 0, pitch: 0 }), ' ': () => view.toggle(), ',': () => view.step(-1), '.': () => view.step(1),
    };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  }

  const listeners = { pointerdown: down, pointermove: moved, pointerup: up, pointercancel: up, lostpointercapture: up, wheel, keydown: key };
  for (const [name, listener] of Object.entries(listeners)) canvas.addEventListener(name, listener, { passive: false });
}
