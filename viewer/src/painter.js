// Draws panels side by side, and the flat map in a corner, all in one canvas.
import { BufferAttribute, BufferGeometry, Camera, GLSL3, Matrix3, Mesh, RawShaderMaterial, Scene, Vector2, Vector3, WebGLRenderer } from 'three';
import { edgePlanes, lens, rotation, viewCorners } from './geometry.js';
import { fragment, vertex } from './shaders.js';

const fourVectors = () => [0, 1, 2, 3].map(() => new Vector3());
const setPlanes = (vectors, corners) => edgePlanes(corners).forEach((plane, n) => vectors[n].set(...plane));

export class Painter {
  constructor(canvas) {
    this.renderer = new WebGLRenderer({ canvas, antialias: false, alpha: true, powerPreference: 'low-power' });
    this.renderer.autoClear = false;
    this.uniforms = {
      panorama: { value: null }, panoramaSize: { value: new Vector2() }, viewportSize: { value: new Vector2() }, isMap: { value: false },
      worldFromCamera: { value: new Matrix3() }, tangents: { value: new Vector2() }, hasInput: { value: false }, hasFrame: { value: false },
      inputPlanes: { value: fourVectors() }, framePlanes: { value: fourVectors() }, lineWidth: { value: 1 },
    };
    const material = new RawShaderMaterial({ glslVersion: GLSL3, vertexShader: vertex, fragmentShader: fragment, uniforms: this.uniforms, depthTest: false, depthWrite: false });
    const triangle = new BufferGeometry().setAttribute('position', new BufferAttribute(new Float32Array([-1, -1, 0, 3, -1, 0, -1, 3, 0]), 3));
    this.mesh = new Mesh(triangle, material);
    this.mesh.frustumCulled = false;
    this.scene = new Scene().add(this.mesh);
    this.camera = new Camera();
  }

  get largest() { return this.renderer.capabilities.maxTextureSize; }

  resize(width, height) {
    this.renderer.setPixelRatio(window.devicePixelRatio || 1);
    this.renderer.setSize(width, height, false);
    [this.width, this.height] = [width, height];
  }

  // A box is left, top, width and height in CSS pixels.
  #viewport([left, top, width, height], medium) {
    const place = [left, this.height - top - height, width, height], ratio = this.renderer.getPixelRatio();
    this.renderer.setViewport(...place);
    this.renderer.setScissor(...place);
    this.renderer.setScissorTest(true);
    this.uniforms.viewportSize.value.set(width * ratio, height * ratio);
    this.uniforms.lineWidth.value = 1.7 * ratio;
    this.uniforms.panorama.value = medium.texture;
    this.uniforms.panoramaSize.value.set(...medium.size);
  }

  // Panels are { box, medium }; input holds the corners of the input's image, or is null; map is { box, medium } or null.
  paint({ yaw, pitch, fov }, panels, input, map) {
    const { uniforms } = this, R = rotation(yaw, pitch);
    this.renderer.setScissorTest(false);
    this.renderer.clear();
    uniforms.worldFromCamera.value.set(...R);
    uniforms.hasInput.value = Boolean(input);
    if (input) setPlanes(uniforms.inputPlanes.value, input);
    [uniforms.isMap.value, uniforms.hasFrame.value] = [false, false];
    for (const { box, medium } of panels) {
      if (!medium) continue;
      this.#viewport(box, medium);
      uniforms.tangents.value.set(...lens(fov, box[2], box[3]));
      this.renderer.render(this.scene, this.camera);
    }
    if (!map || !map.medium) return;
    [uniforms.isMap.value, uniforms.hasFrame.value] = [true, true];
    setPlanes(uniforms.framePlanes.value, viewCorners(R, lens(fov, panels[0].box[2], panels[0].box[3])));
    this.#viewport(map.box, map.medium);
    this.renderer.render(this.scene, this.camera);
  }

  close() {
    this.mesh.geometry.dispose();
    this.mesh.material.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}
