// The widget: what the Python side says is drawn, what hands do is told to the Python side.
import { attachHands } from './hands.js';
import { followDevice } from './device.js';
import { openMedium, watchPictures } from './media.js';
import { Painter } from './painter.js';

const degrees = angle => `${Math.round(angle * 180 / Math.PI)}°`;

function element(kind, name, parent, more = {}) {
  const made = Object.assign(document.createElement(kind), { className: `argus-${name}` }, more);
  parent.append(made);
  return made;
}

// Panels in rows of equal boxes [left, top, width, height], two pixels apart; the map in the corner of the first.
function arrange(count, width, height, withMap) {
  const columns = count < 4 ? count : Math.ceil(Math.sqrt(count)), rows = Math.ceil(count / columns), gap = 2;
  const [w, h] = [(width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows];
  const boxes = Array.from({ length: count }, (_, n) => [(n % columns) * (w + gap), Math.floor(n / columns) * (h + gap), w, h]);
  const across = Math.round(Math.min(.4 * w, .8 * h, 220) / 2) * 2;
  return { boxes, map: withMap ? [8, h - 8 - across / 2, across, across / 2] : null };
}

// The corners of the input's image at a frame, as four directions; null where none are known.
function cornersAt(model) {
  const bytes = model.get('corners'), count = bytes.byteLength / 48;
  if (!count || !model.get('shows_outline')) return null;
  const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)), at = 12 * Math.min(model.get('frame'), count - 1);
  return [0, 3, 6, 9].map(n => [...all.subarray(at + n, at + n + 3)]);
}

function render({ model, el }) {
  const root = element('div', 'viewer', el), stage = element('div', 'stage', root);
  root.dataset.lmSuppressShortcuts = 'true';  // JupyterLab leaves the keys to us
  const canvas = element('canvas', 'canvas', stage, { tabIndex: 0 });
  canvas.setAttribute('aria-label', 'Panorama: drag or use the arrow keys to look around, plus and minus to zoom');
  const titles = model.get('titles').map(title => element('span', 'title', stage, { textContent: title }));
  const note = element('div', 'note', stage, { textContent: 'Loading …' }), bar = element('div', 'bar', root);
  const media = model.get('kinds').map(() => null), cleanups = [];
  let painter, size = [0, 0], due = 0, closed = false;

  const layout = () => arrange(media.length, ...size, model.get('shows_map'));
  const direction = () => ({ yaw: model.get('yaw'), pitch: model.get('pitch'), fov: model.get('fov') });
  const tell = changes => { model.set(changes); model.save_changes(); };
  const videos = () => media.filter(medium => medium?.video).map(medium => medium.video);

  function paint() {
    due = 0;
    if (closed || !painter || !size[0]) return;
    const { boxes, map } = layout();
    painter.paint(direction(), boxes.map((box, n) => ({ box, medium: media[n] })), cornersAt(model), map && { box: map, medium: media[0] });
    readout.textContent = `yaw ${degrees(model.get('yaw'))}, pitch ${degrees(model.get('pitch'))}, field of view ${degrees(model.get('fov'))}`;
  }
  const repaint = () => { due ||= requestAnimationFrame(paint); };

  function resize() {
    size = [stage.clientWidth, stage.clientHeight];
    if (!painter || !size[0]) return;
    painter.resize(...size);
    layout().boxes.forEach(([left, top], n) => { if (titles[n]) Object.assign(titles[n].style, { left: `${left + 8}px`, top: `${top + 6}px` }); });
    cancelAnimationFrame(due);
    paint();  // at once: a canvas is empty after it changed its size
  }

  // --- Time: the first video leads, the others follow, the model knows the frame -----------------------------------
  const last = () => model.get('num_frames') - 1, timeOf = frame => (frame + .5) / model.get('fps');
  let told = 0;
  function tellSoon(frame) {
    model.set({ frame });
    if (performance.now() - told < 250) return;
    told = performance.now();
    model.save_changes();
  }
  let shown = -1, sought = null;  // the frame on the screen; the one that a paused video is on its way to
  function follow(time) {
    const [leader, ...others] = videos();
    shown = Math.min(Math.max(Math.round(time * model.get('fps')), 0), last());
    for (const other of others) if (!leader.paused && Math.abs(other.currentTime - leader.currentTime) > 1.5 / model.get('fps')) other.currentTime = leader.currentTime;
    if (sought === shown || !leader.paused) sought = null;
    // while it plays the picture keeps its rate, and the Python side hears of it a few times a second
    if (sought === null && shown !== model.get('frame')) { if (leader.paused) tell({ frame: shown }); else tellSoon(shown); }
    repaint();
  }
  function seek() {
    if (scrubber) [scrubber.value, counter.textContent] = [model.get('frame'), `${model.get('frame') + 1} / ${last() + 1}`];
    if (model.get('frame') !== shown) {
      sought = model.get('frame');
      for (const video of videos()) video.currentTime = timeOf(sought);
    }
    repaint();
  }
  function play() {
    const playing = model.get('is_playing');
    if (player) [player.textContent, player.title] = playing ? ['❚❚', 'Pause (space)'] : ['▶', 'Play (space)'];
    for (const video of videos()) {
      if (!playing) { video.pause(); model.save_changes(); }
      else video.play().catch(() => { if (!closed) tell({ is_playing: false }); });
    }
  }
  const view = {
    get: direction, set: tell, limits: () => model.get('fov_limits'),
    toggle: () => { if (player) tell({ is_playing: !model.get('is_playing') }); },
    step: by => { if (player) tell({ is_playing: false, frame: Math.min(Math.max(model.get('frame') + by, 0), last()) }); },
  };

  const listen = (names, callback) => {
    model.on(names, callback);
    cleanups.push(() => model.off(names, callback));
  };

  // --- The bar below ------------------------------------------------------------------------------------------------
  bar.addEventListener('keydown', event => event.stopPropagation());  // or the notebook takes the keys of the scrubber
  let player, scrubber, counter;
  if (model.get('num_frames') > 1) {
    player = element('button', 'play', bar, { type: 'button', onclick: view.toggle });
    scrubber = element('input', 'scrub', bar, { type: 'range', min: 0, max: last(), step: 1, oninput: () => tell({ is_playing: false, frame: Number(scrubber.value) }) });
    scrubber.setAttribute('aria-label', 'Frame');
    counter = element('span', 'counter', bar);
  }
  // a switch in the bar, whose state a screen reader tells
  function toggle(name, label, title, trait) {
    const button = element('button', name, bar, { type: 'button', textContent: label, title, onclick: () => tell({ [trait]: !model.get(trait) }) });
    const mark = () => button.setAttribute('aria-pressed', String(model.get(trait)));
    listen(`change:${trait}`, mark);
    mark();
    return button;
  }
  if (model.get('has_sound')) toggle('sound', 'sound', 'Sound on or off', 'has_sound_on');
  const readout = element('span', 'readout', bar);
  toggle('map', 'map', 'Show or hide the flat map', 'shows_map');
  if (model.get('corners').byteLength) toggle('outline', 'input', 'Show or hide the outline of the input', 'shows_outline');
  const device = followDevice(view, active => gyro?.setAttribute('aria-pressed', String(active)));
  const gyro = device.isThere ? element('button', 'gyro', bar, { type: 'button', textContent: 'turn', title: 'Look where the phone is turned', onclick: device.toggle }) : null;
  cleanups.push(device.stop);
  element('button', 'full', bar, { type: 'button', textContent: 'full', title: 'Full screen', onclick: () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen?.()) });

  // --- Begin, and end -----------------------------------------------------------------------------------------------
  listen('change:yaw change:pitch change:fov change:shows_map change:shows_outline', repaint);
  listen('change:frame', seek);
  listen('change:is_playing', play);
  const sound = () => { for (const video of videos().slice(0, 1)) video.muted = !model.get('has_sound_on'); };
  listen('change:has_sound_on', sound);
  const setHeight = () => { stage.style.height = `${model.get('height')}px`; };
  listen('change:height', setHeight);
  setHeight();

  async function open() {
    try { painter = new Painter(canvas); }
    catch { throw new Error('this browser offers no WebGL 2, which the viewer draws with'); }
    cleanups.push(() => painter.close());
    const observer = new ResizeObserver(resize);
    observer.observe(stage);
    cleanups.push(() => observer.disconnect());
    attachHands(canvas, view, layout);
    await Promise.all(model.get('media').map(async (bytes, n) => {
      const medium = await openMedium(bytes, model.get('kinds')[n], painter.largest), close = () => { medium.texture.dispose(); medium.close(); };
      if (closed) return close();
      media[n] = medium;
      cleanups.push(close);
    }));
    if (closed) return;
    if (videos().length) cleanups.push(watchPictures(videos()[0], follow));
    for (const other of videos().slice(1)) cleanups.push(watchPictures(other, repaint));
    note.remove();
    sound();
    seek();
    play();
    root.dataset.ready = 'true';
  }
  open().catch(error => { note.textContent = `Cannot show the panorama: ${error.message}`; });

  return () => {
    closed = true;
    cancelAnimationFrame(due);
    for (const cleanup of cleanups.reverse()) cleanup();
  };
}

export default { render };
