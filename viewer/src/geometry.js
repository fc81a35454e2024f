// Directions, in the axes of the whole project: x right, y down, z forward. Angles in radians; yaw > 0 turns right,
// pitch > 0 looks up. The same formulas stand in nbs/10_sphere.ipynb, with pictures.

const { PI, sin, cos, tan, asin, atan2, hypot, min, max } = Math;

export const clamp = (value, low, high) => min(max(value, low), high);

// An angle as one of [-pi, pi); one that is there already is left as it is, to the last bit.
export const wrapped = angle => (angle >= -PI && angle < PI ? angle : angle - 2 * PI * Math.floor((angle + PI) / (2 * PI)));

// world_from_camera = Ry(yaw) Rx(pitch), row by row.
export function rotation(yaw, pitch) {
  const [cy, sy, cp, sp] = [cos(yaw), sin(yaw), cos(pitch), sin(pitch)];
  return [cy, sy * sp, sy * cp, 0, cp, -sp, -sy, cy * sp, cy * cp];
}

export function apply(R, [x, y, z]) {
  return [R[0] * x + R[1] * y + R[2] * z, R[3] * x + R[4] * y + R[5] * z, R[6] * x + R[7] * y + R[8] * z];
}

const cross = ([a, b, c], [d, e, f]) => [b * f - c * e, c * d - a * f, a * e - b * d];

export function unit(v) {
  const length = hypot(...v);
  return v.map(x => x / length);
}

// Tangents of half the field of view, across and up, of a view with square pixels.
export function lens(fov, width, height) {
  const across = tan(fov / 2);
  return [across, across * height / width];
}

// Where a place of a view looks, in its own axes; places run from -1 to 1, to the right and down.
export const viewRay = ([x, y], [across, up]) => unit([x * across, y * up, 1]);

// Where a place of the flat map looks.
export function mapAngles([x, y]) {
  return { yaw: x * PI, pitch: -y * PI / 2 };
}

// The corners of a view as directions: top left, top right, bottom right, bottom left.
export function viewCorners(R, tangents) {
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(place => apply(R, viewRay(place, tangents)));
}

// The four planes through the camera and the edges of an image, as normals that point inwards. A direction lies in the
// image when it is on the inner side of all four: no division, and smooth all around the sphere.
export function edgePlanes(corners) {
  return corners.map((corner, n) => unit(cross(corner, corners[(n + 1) % 4])));
}

// The direction (yaw, pitch) after which the ray `to` of the camera meets what its ray `from` met before: the point that
// was taken hold of stays under the pointer. Looking up beyond the pole is not possible, there it slips.
export function dragged({ yaw, pitch }, from, to) {
  const held = apply(rotation(0, pitch), from), reach = hypot(to[1], to[2]);
  const slope = asin(clamp(held[1] / reach, -1, 1)), elevation = held[2] >= 0 ? slope : PI - slope;
  const newPitch = clamp(wrapped(atan2(to[1], to[2]) - elevation), -PI / 2, PI / 2), now = apply(rotation(0, newPitch), to);
  return { yaw: wrapped(yaw + atan2(held[0], held[2]) - atan2(now[0], now[2])), pitch: newPitch };
}
