// One triangle covers a viewport, and every pixel of it asks where it looks. The panorama is read at a level of detail
// that follows from the angle a pixel spans, not from derivatives: those jump at the seam, and would show it.

export const vertex = `
in vec3 position;
out vec2 place;  // from -1 to 1, to the right and down
void main() {
  place = vec2(position.x, -position.y);
  gl_Position = vec4(position.xy, 0., 1.);
}`;

export const fragment = `
precision highp float;
const float PI = 3.14159265358979;
uniform sampler2D panorama;
uniform vec2 panoramaSize;         // width and height in texels
uniform vec2 viewportSize;         // width and height in pixels
uniform bool isMap;                // the flat map, or a view
uniform mat3 worldFromCamera;
uniform vec2 tangents;             // of half the field of view, across and up
uniform bool hasInput, hasFrame;   // whether to draw the outlines of the input and of the view
uniform vec3 inputPlanes[4], framePlanes[4];
uniform float lineWidth;           // in pixels
in vec2 place;
out vec4 colour;

vec3 mapRay() {
  float lon = place.x*PI, lat = -place.y*PI/2.;
  return vec3(cos(lat)*sin(lon), -sin(lat), cos(lat)*cos(lon));
}

// How much of a line along the edge of an image covers this pixel. The distance is signed and smooth, so dividing it by
// its slope on the screen gives pixels.
float edge(vec3 planes[4], vec3 ray, float width) {
  float inside = min(min(dot(planes[0], ray), dot(planes[1], ray)), min(dot(planes[2], ray), dot(planes[3], ray)));
  float slope = length(vec2(dFdx(inside), dFdy(inside)));
  return 1. - smoothstep(width/2. - .5, width/2. + .5, abs(inside)/max(slope, 1e-6));
}

vec3 outlined(vec3 picture, vec3 planes[4], vec3 ray, vec3 ink) {
  vec3 shaded = mix(picture, vec3(0.), .55*edge(planes, ray, lineWidth*2.2));
  return mix(shaded, ink, edge(planes, ray, lineWidth));
}

void main() {
  vec3 ahead = vec3(place*tangents, 1.);
  vec3 ray = isMap ? mapRay() : worldFromCamera*normalize(ahead);
  float angle = isMap ? 2.*PI/viewportSize.x : 2.*tangents.x/viewportSize.x/pow(dot(ahead, ahead), .75);
  // some drivers fail where the first of two arguments is exactly 0
  float lon = atan(abs(ray.x) < 1e-9 ? 1e-9 : ray.x, ray.z), lat = atan(-ray.y/max(length(ray.xz), 1e-9));
  vec2 where = isMap ? place*.5 + .5 : vec2(lon/(2.*PI) + .5, .5 - lat/PI);
  float detail = max(log2(angle*panoramaSize.y/PI), 0.);
  vec3 picture = textureLod(panorama, where, detail).rgb;
  if (hasInput) picture = outlined(picture, inputPlanes, ray, vec3(1., .69, 0.));
  if (hasFrame) picture = outlined(picture, framePlanes, ray, vec3(1.));
  colour = vec4(picture, 1.);
}`;
