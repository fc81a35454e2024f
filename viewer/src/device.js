// A phone that is turned turns the view: yaw and pitch from the sensor's angles.
import { wrapped } from './geometry.js';

// Where the back of a device looks, for the angles that the browser gives (degrees, W3C DeviceOrientation: the device's
// axes are right, up and out of the screen; the world's east, north and up; R = Rz(alpha) Rx(beta) Ry(gamma)).
export function deviceDirection(alpha, beta, gamma) {
  const [a, b, c] = [alpha, beta, gamma].map(angle => angle * Math.PI / 180);
  const east = -(Math.cos(a) * Math.sin(c) + Math.sin(a) * Math.sin(b) * Math.cos(c));
  const north = -(Math.sin(a) * Math.sin(c) - Math.cos(a) * Math.sin(b) * Math.cos(c));
  const up = -Math.cos(b) * Math.cos(c);
  return { yaw: Math.atan2(east, north), pitch: Math.asin(Math.min(Math.max(up, -1), 1)) };
}

// { isThere, toggle, stop }; the view begins where it is, and `tell` hears whether the device leads.
export function followDevice(view, tell) {
  let offset = null, active = false;
  const isThere = typeof DeviceOrientationEvent !== 'undefined' && navigator.maxTouchPoints > 0;
  function turned({ alpha, beta, gamma }) {
    if (alpha === null || beta === null || gamma === null) return;
    const { yaw, pitch } = deviceDirection(alpha, beta, gamma);
    if (offset === null) offset = view.get().yaw - yaw;
    view.set({ yaw: wrapped(yaw + offset), pitch });
  }
  function stop() {
    window.removeEventListener('deviceorientation', turned);
    active = false;
    tell(false);
  }
  async function toggle() {
    if (active) return stop();
    const ask = DeviceOrientationEvent.requestPermission;  // iOS asks the person first
    if (ask && await ask.call(DeviceOrientationEvent) !== 'granted') return;
    [offset, active] = [null, true];
    window.addEventListener('deviceorientation', turned);
    tell(true);
  }
  return { isThere, toggle, stop };
}
