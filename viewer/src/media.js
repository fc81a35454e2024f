// Encoded bytes become textures.
import { ClampToEdgeWrapping, LinearFilter, LinearMipmapLinearFilter, NoColorSpace, RepeatWrapping, Texture, VideoTexture } from 'three';

function settle(texture, mipmaps) {
  texture.wrapS = RepeatWrapping;  // the seam closes
  texture.wrapT = ClampToEdgeWrapping;
  texture.magFilter = LinearFilter;
  texture.minFilter = mipmaps ? LinearMipmapLinearFilter : LinearFilter;
  texture.generateMipmaps = mipmaps;
  texture.colorSpace = NoColorSpace;  // colours pass through as they are
  texture.flipY = false;
  texture.needsUpdate = true;
  return texture;
}

// A still picture; one that is larger than the graphics card can hold is made smaller.
async function openStill(blob, largest) {
  const plain = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
  let image = await createImageBitmap(blob, plain);
  if (image.width > largest) image = await createImageBitmap(blob, { ...plain, resizeWidth: largest, resizeHeight: largest / 2, resizeQuality: 'high' });
  return { texture: settle(new Texture(image), true), size: [image.width, image.height], close: () => image.close() };
}

function openVideo(blob) {
  const video = document.createElement('video'), address = URL.createObjectURL(blob);
  Object.assign(video, { muted: true, loop: true, playsInline: true, preload: 'auto', src: address });
  const close = () => { video.pause(); video.removeAttribute('src'); video.load(); URL.revokeObjectURL(address); };
  return new Promise((resolve, reject) => {
    video.addEventListener('error', () => { close(); reject(new Error('this browser cannot play the video')); }, { once: true });
    video.addEventListener('loadeddata', () => resolve({
      texture: settle(new VideoTexture(video), false), size: [video.videoWidth, video.videoHeight], video, close,
    }), { once: true });
  });
}

// { texture, size, video or undefined, close }
export async function openMedium(bytes, kind, largest) {
  const blob = new Blob([bytes], { type: kind });
  return kind.startsWith('video/') ? openVideo(blob) : openStill(blob, largest);
}

// Calls back with the time of each picture that a video shows, whether it plays or was sought.
export function watchPictures(video, callback) {
  let running = true;
  const modern = 'requestVideoFrameCallback' in HTMLVideoElement.prototype;
  const next = () => { if (running) modern ? video.requestVideoFrameCallback(shown) : requestAnimationFrame(() => shown(0, { mediaTime: video.currentTime })); };
  const shown = (_, { mediaTime }) => { if (running) { callback(mediaTime); next(); } };
  next();
  return () => { running = false; };
}
