"""The pipeline against a plain implementation of its own, its windows and stream, loading, and whole runs from file to
file."""
import copy, math, wave
import pytest, torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch.nn.functional import conv2d, interpolate, pad
from torch.testing import assert_close
from argus_nb.alignment import align_frames
from argus_nb.cameras import CameraTrack
from argus_nb.clip_cameras import cameras_for
from argus_nb.decoding import calm_poles, decode
from argus_nb.edges import Doubt
from argus_nb.generate import generate_video
from argus_nb.generation import Generation, crossfade, generated_frames, generation_frame
from argus_nb.models import build_models, save_models
from argus_nb.networks import pictures_alone
from argus_nb.pipeline import ArgusPipeline, Source, local_model
from argus_nb.runtime import InputError
from argus_nb.sampling import sampling_for, window_ranges
from argus_nb.sphere import euler_from_rotation
from argus_nb.video import read_video, spherical_metadata, write_video

def generator(seed=0): return torch.Generator().manual_seed(seed)
def uniform(*shape, seed=0): return torch.rand(shape, generator=generator(seed))
def normal(*shape, seed=0): return torch.randn(shape, generator=generator(seed))

@pytest.fixture(scope='module')
def models():
    torch.manual_seed(0)
    models = build_models('tiny')
    with torch.no_grad():  # random biases and norms too, so that nothing is hidden by a zero
        for part in (models.vae, models.unet, models.image_encoder):
            for n, p in enumerate(part.parameters()): p += .05*normal(*p.shape, seed=n)
    return models

@pytest.fixture(scope='module')
def pipeline(models):
    return ArgusPipeline(models.vae, models.image_encoder, models.unet, models.scheduler)

@pytest.fixture(scope='module')
def clip():
    "Frames, cameras, aligned panorama and mask of a camera that pans."
    frames = interpolate(uniform(5, 3, 6, 8), (48, 64), mode='bicubic').clamp(0, 1)
    cameras = CameraTrack.from_euler(torch.linspace(0, .6, 5), torch.linspace(0, .2, 5), 0., math.radians(75))
    return frames, cameras, *align_frames(frames, cameras, (32, 64))

# -- the method once more, as plainly as it can be written -----------------------------------------------------------

def gaussian(size, sigma):
    x = torch.arange(size) - size//2
    g = torch.exp(-x**2/(2*sigma**2))
    return g/g.sum()

def squash(image, side):
    "SVD's resize: Gaussian of half the excess of the factor, four sigmas wide, then bicubic with aligned corners."
    for axis, length in ((2, image.shape[2]), (3, image.shape[3])):
        sigma = max((length/side - 1)/2, .001)
        size = int(max(4*sigma, 3)); size += size%2 == 0
        kernel = gaussian(size, sigma).reshape((1, 1, size, 1) if axis == 2 else (1, 1, 1, size))
        border = (0, 0, size//2, size//2) if axis == 2 else (size//2, size//2, 0, 0)
        image = torch.cat([conv2d(pad(image[:, c:c + 1], border, mode='reflect'), kernel) for c in range(3)], 1)
    return interpolate(image, (side, side), mode='bicubic', align_corners=True)

def plain_embeddings(models, frames):
    side = models.image_encoder.config.image_size
    image = (squash(frames*2 - 1, side) + 1)/2
    mean, std = torch.tensor([.48145466, .4578275, .40821073]), torch.tensor([.26862954, .26130258, .27577711])
    return models.image_encoder((image - mean[:, None, None])/std[:, None, None]).image_embeds[None]

def plain_sampler(models, condition, embeddings, noise, steps, guidance, roll, strength=.02, fps=5., bucket=127.,
                  multistep=False):
    """v-prediction, Euler, Karras: every formula written out; rolled by index, not by torch.roll. (Two steps, 700 to
    0.002, would cost float32 four digits.)"""
    ids = torch.tensor([[fps - 1, bucket, strength]])
    levels = [(700**(1/7) + (i/(steps - 1) if steps > 1 else 0)*(.002**(1/7) - 700**(1/7)))**7
              for i in range(steps)] + [0.]
    width = noise.shape[-1]
    turn = lambda a, by: a[..., [(j - by)%width for j in range(width)]]
    x, turned, last = noise*math.sqrt(700**2 + 1), 0, None
    for i in range(steps):
        s, below = levels[i], levels[i + 1]
        def v(cond, emb): return models.unet(torch.cat([x/math.sqrt(s*s + 1), turn(cond, turned)], 2),
                                             torch.tensor(.25*math.log(s)), emb, ids).sample
        output = v(condition, embeddings)
        if guidance != 1:
            nothing = v(torch.zeros_like(condition), torch.zeros_like(embeddings))
            output = nothing + guidance*(output - nothing)
        estimate = x/(s*s + 1) - s/math.sqrt(s*s + 1)*output
        flat = turn(estimate, -turned)
        if multistep and i and below:
            estimate = turn(flat + math.log(s/below)/(2*math.log(levels[i - 1]/s))*(flat - last), turned)
        x, last = x + (x - estimate)/s*(below - s), flat
        if roll and i < steps - 1: x, turned = turn(x, width//4), turned + width//4
    return turn(x, -turned)

def plain_condition(models, panorama, mask, noise, strength):
    return models.vae.encode(panorama*2 - 1 + strength*noise*mask).latent_dist.mean[None]

@pytest.mark.parametrize('guidance, roll, steps, solver',
                         [(1, False, 3, 'euler'), (3., False, 4, 'euler'), (1, True, 6, 'euler'),
                          (2.5, True, 3, 'euler'), (2., True, 6, 'dpmpp_2m')])
@torch.no_grad()
def test_equals_a_plain_implementation(models, pipeline, clip, guidance, roll, steps, solver):
    frames, _, panorama, mask = (c[:3] for c in clip)
    noise = normal(1, 3, 4, 4, 8, seed=1)
    expected = plain_sampler(models, plain_condition(models, panorama, mask, 0, 0), plain_embeddings(models, frames),
                             noise, steps, guidance, roll, multistep=solver == 'dpmpp_2m')
    latents = pipeline(frames, panorama=panorama, mask=mask, latents=noise, num_inference_steps=steps,
                       guidance_scale=guidance,
                       roll=roll, solver=solver, noise_aug=False, preset='release', output_type='latent')
    assert latents.shape == (1, 3, 4, 4, 8) and latents.dtype == torch.float32
    assert_close(latents, expected, atol=1e-4, rtol=1e-4)

@torch.no_grad()
def test_noise_on_the_condition_and_its_time_id(models, pipeline, clip):
    frames, _, panorama, mask = (c[:2] for c in clip)
    noise, settings = normal(1, 2, 4, 4, 8, seed=2), dict(num_inference_steps=3, guidance_scale=1.,
                                                          noise_aug_strength=.3, fps=7., motion_bucket_id=90.)
    condition = plain_condition(models, panorama, mask, normal(2, 3, 32, 64, seed=3), .3)
    expected = plain_sampler(models, condition, plain_embeddings(models, frames), noise, 3, 1, True, .3, 7., 90.)
    latents = pipeline(frames, panorama=panorama, mask=mask, latents=noise, generator=generator(3),
                       output_type='latent', **settings)
    assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    told_only = pipeline(frames, panorama=panorama, mask=mask, latents=noise, noise_aug=False, output_type='latent',
                         **settings)
    expected = plain_sampler(models, plain_condition(models, panorama, mask, 0, 0), plain_embeddings(models, frames),
                             noise, 3, 1, True, .3, 7., 90.)
    assert_close(told_only, expected, atol=1e-4, rtol=1e-4)

@torch.no_grad()
def test_the_second_window_is_given_the_first_ones_end(models, pipeline, clip):
    frames, _, panorama, mask = clip
    noise, scale = normal(1, 5, 4, 4, 8, seed=4), models.vae.config.scaling_factor
    parts = lambda a, b, known=None: (torch.cat(([] if known is None else [known/scale])
                                                + [plain_condition(models, panorama[a + (0 if known is None else 2):b],
                                                                   0, 0, 0)], 1),
                                      plain_embeddings(models, frames[a:b]), noise[:, a:b], 3, 2., True)
    first = plain_sampler(models, *parts(0, 3))
    second = plain_sampler(models, *parts(1, 4, first[:, 1:]))
    mixed = torch.stack([first[:, 1]*2/3 + second[:, 0]/3, first[:, 2]/3 + second[:, 1]*2/3], 1)
    third = plain_sampler(models, *parts(2, 5, torch.cat([mixed[:, 1:], second[:, 2:]], 1)))
    end = torch.stack([mixed[:, 1]*2/3 + third[:, 0]/3, second[:, 2]/3 + third[:, 1]*2/3, third[:, 2]], 1)
    latents = pipeline(frames, panorama=panorama, mask=mask, latents=noise, window=3, overlap=2, num_inference_steps=3,
                       guidance_scale=2.,
                       noise_aug=False, output_type='latent')
    assert_close(latents, torch.cat([first[:, :1], mixed[:, :1], end], 1), atol=2e-4, rtol=1e-4)

# -- windows and streams ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize('frames', range(1, 40, 3))
@pytest.mark.parametrize('window, overlap', [(16, 4), (25, 5), (4, 3), (5, 0), (1, 0)])
def test_windows_cover_every_frame_once_but_for_their_overlap(frames, window, overlap):
    covered = window_ranges(frames, window, overlap)
    lengths = [len(part) for part in covered]
    assert covered[0].start == 0 and covered[-1].stop == frames
    assert all(a.stop - b.start == overlap for a, b in zip(covered, covered[1:]))
    assert max(lengths) <= window and max(lengths) - min(lengths) <= 1
    assert len(covered) == 1 or (len(covered) - 1)*(window - overlap) + overlap < frames  # no fewer would do
    assert len(covered) == 1 or min(lengths) > overlap  # each has something new to make

@pytest.mark.parametrize('seam, chunk', [('blended', 2), ('wrapped_margins', 3)])
def test_what_streams_is_what_a_call_gives(models, pipeline, clip, seam, chunk):
    frames, cameras, *_ = clip
    settings = dict(num_inference_steps=1, guidance_scale=1., seam=seam, chunk=chunk)
    latents = pipeline(frames, cameras, generator=generator(5), output_type='latent', **settings)
    chunks = list(pipeline.stream(frames, cameras, generator=generator(5), **settings))
    assert [len(c) for c in chunks] == [2, 2, 1] if chunk == 2 else [3, 2]
    assert_close(torch.cat(chunks), decode(models.vae, latents[0], seam, chunk))
    assert_close(pipeline(frames, cameras, generator=generator(5), **settings), torch.cat(chunks), rtol=0,
                 atol=0)  # same seed, same result

def test_a_single_frame_is_a_picture_to_a_model_that_learned_pictures(models, clip):
    frames, cameras, *_ = clip
    def made(knows, count):
        pipeline = ArgusPipeline(models.vae, models.image_encoder, models.unet, models.scheduler,
                                 settings=models.settings | dict(pictures=knows))
        return pipeline(frames[:count], cameras[:count], generator=generator(5), num_inference_steps=2,
                        guidance_scale=2., output_type='latent')
    with pictures_alone(models.unet): alone = made(False, 1)
    assert_close(made(True, 1), alone, rtol=0, atol=0)
    assert not torch.allclose(made(False, 1), alone, atol=1e-2)
    assert_close(made(True, 2), made(False, 2), rtol=0, atol=0)

def test_a_seed_gives_a_film_and_one_frame_of_it_the_same_noise(pipeline, clip, monkeypatch):
    frames, cameras, *_ = clip
    drawn = []
    def sample_window(self, frames, condition, noise, *_): drawn.append(noise); return noise
    monkeypatch.setattr(ArgusPipeline, 'sample_window', sample_window)
    for count, window in ((5, 5), (5, 3), (2, 2), (1, 1)):
        pipeline(frames[:count], cameras[:count], generator=generator(5), shared_noise=1., window=window, overlap=0,
                 output_type='latent')
    assert all(torch.equal(frame, drawn[0][:, 0]) for noise in drawn for frame in noise.unbind(1))

def test_bytes_and_floats_are_the_same_frames(pipeline, clip):
    frames, cameras, *_ = clip
    frames = (frames[:2]*255).byte()
    settings = dict(num_inference_steps=1, guidance_scale=1.)
    assert_close(pipeline(frames, cameras[:2], generator=generator(), **settings),
                 pipeline(frames.float()/255, cameras[:2], generator=generator(), **settings))

class Watched:
    "Frames that remember which of them were asked for, and how many at once."
    def __init__(self, frames): self.frames, self.shape, self.seen, self.most = frames, frames.shape, [], 0
    def __len__(self): return len(self.frames)
    def __getitem__(self, index):
        self.seen.append(max(index)); self.most = max(self.most, len(index))
        return self.frames[index]

def test_a_stream_reads_no_further_than_it_must(pipeline):
    frames = Watched(uniform(19, 3, 12, 16))
    stream = pipeline.stream(frames, CameraTrack.static(19, 1.), num_inference_steps=1, guidance_scale=1., chunk=2,
                             window=4, overlap=1)
    assert frames.seen == []          # nothing is read before somebody asks
    next(stream)
    assert max(frames.seen) == 3      # one window
    next(stream)
    assert max(frames.seen) <= 6
    list(stream)
    assert max(frames.seen) == 18 and frames.most == 4

def test_half_precision_comes_close(models, pipeline, clip):
    half = ArgusPipeline(*(copy.deepcopy(m).to(torch.bfloat16)
                           for m in (models.vae, models.image_encoder, models.unet)), models.scheduler)
    settings = dict(frames=clip[0][:2], cameras=clip[1][:2], latents=normal(1, 2, 4, 4, 8), num_inference_steps=3,
                    guidance_scale=2., noise_aug=False, output_type='latent')
    exact, close = pipeline(**settings), half(**settings)
    assert close.dtype == torch.float32 and (close - exact).abs().mean() < .05*exact.abs().mean()

def test_progress_counts_denoising_steps(pipeline, clip):
    frames, cameras, *_ = clip
    told = []
    pipeline(frames, cameras, num_inference_steps=2, guidance_scale=1., window=3, overlap=1,
             progress=lambda *a: told.append(a))
    assert told == [('generating', n + 1, 4) for n in range(4)]

# -- what may be chosen -----------------------------------------------------------------------------------------------

@torch.no_grad()
def test_the_multistep_solver_is_the_one_of_diffusers(models, pipeline, clip):
    from diffusers import DPMSolverMultistepScheduler
    frames, _, panorama, mask = (c[:3] for c in clip)
    noise, condition = normal(1, 3, 4, 4, 8, seed=1), plain_condition(models, clip[2][:3], 0, 0, 0)
    embeddings = plain_embeddings(models, clip[0][:3])
    ours = pipeline(frames, panorama=panorama, mask=mask, latents=noise, noise_aug=False, num_inference_steps=6,
                    solver='dpmpp_2m', guidance_scale=1., roll=False, output_type='latent')
    theirs = DPMSolverMultistepScheduler(algorithm_type='dpmsolver++', solver_order=2, prediction_type='sample',
                                         final_sigmas_type='zero')
    theirs.set_timesteps(6)
    models.scheduler.set_timesteps(6)
    theirs.sigmas = models.scheduler.sigmas  # theirs scales noise and signal: x/sqrt(s^2 + 1) stands for our x
    x = noise*math.sqrt(700**2 + 1)/math.sqrt(models.scheduler.sigmas[0]**2 + 1)
    for t, sigma in zip(theirs.timesteps, models.scheduler.sigmas):
        s = float(sigma)
        output = models.unet(torch.cat([x, condition], 2), torch.tensor(.25*math.log(s)), embeddings,
                             torch.tensor([[4., 127., .02]])).sample
        x = theirs.step(x/math.sqrt(s*s + 1) - s/math.sqrt(s*s + 1)*output, t, x).prev_sample
    assert_close(ours, x, atol=1e-3, rtol=1e-3)

@torch.no_grad()
def test_guidance_between_two_levels_and_the_influence_of_the_input(models, pipeline, clip):
    frames, _, panorama, mask = (c[:2] for c in clip)
    common = dict(panorama=panorama, mask=mask, latents=normal(1, 2, 4, 4, 8, seed=2), noise_aug=False,
                  num_inference_steps=3, output_type='latent')
    call = lambda **options: pipeline(frames, **common | options)
    assert_close(call(guidance_scale=3., guided=(1e4, 1e5)), call(guidance_scale=1.), atol=1e-4, rtol=1e-4)
    assert_close(call(guidance_scale=3., guided=(0., 1e4)), call(guidance_scale=3.))
    assert (call(guidance_scale=3., guided=(1., 100.)) - call(guidance_scale=3.)).abs().max() > 1e-3
    nothing = dict(common, panorama=torch.rand(2, 3, 32, 64, generator=generator(8)))
    assert_close(call(strength=0.), pipeline(frames, **nothing, strength=0.), atol=1e-4, rtol=1e-4)
    assert_close(call(guidance_scale=2., strength=.5), call(guidance_scale=1.), atol=1e-4, rtol=1e-4)

@torch.no_grad()
@pytest.mark.parametrize('frames, window', [(5, 5), (5, 3)])
def test_known_first_panoramas_stand_and_the_rest_goes_on_from_them(models, pipeline, clip, frames, window):
    given, _, panorama, mask = (c[:frames] for c in clip)
    known, noise, scale = uniform(2, 3, 32, 64, seed=5), normal(1, frames, 4, 4, 8,
                                                                seed=4), models.vae.config.scaling_factor
    before = plain_condition(models, known, 0, 0, 0)
    condition = torch.cat([before, plain_condition(models, panorama[2:window], 0, 0, 0)], 1)
    expected = plain_sampler(models, condition, plain_embeddings(models, given[:window]), noise[:, :window], 3, 2.,
                             True)
    latents = pipeline(given, panorama=panorama, mask=mask, context=known, latents=noise, window=window, overlap=1,
                       num_inference_steps=3, guidance_scale=2., noise_aug=False, output_type='latent')
    assert_close(latents[:, :2], before*scale, atol=1e-5, rtol=1e-5)
    last = window if window == frames else window - 1  # the window's last frame is mixed with the next one's
    assert_close(latents[:, 2:last], expected[:, 2:last], atol=2e-4, rtol=1e-4)

def test_a_callback_sees_each_step_and_may_change_it(pipeline, clip, capsys):
    frames, cameras, *_ = clip
    seen, common = [], dict(num_inference_steps=2, guidance_scale=1., window=3, overlap=1, output_type='latent')
    def watch(pipe, step, level, state):
        seen.append((pipe is pipeline, step, tuple(state['latents'].shape)))
        return {'latents': torch.zeros_like(state['latents'])}
    assert pipeline(frames, cameras, callback_on_step_end=watch, **common).abs().max() == 0
    assert seen == [(True, n, (1, 3, 4, 4, 8)) for n in (0, 1, 0, 1)]
    assert '4/4' in capsys.readouterr().err  # diffusers' bar
    pipeline.set_progress_bar_config(disable=True)
    pipeline(frames, cameras, callback_on_step_end=lambda *_: None, **common)
    pipeline.set_progress_bar_config()
    assert 'it/s' not in capsys.readouterr().err

def test_what_does_not_fit_is_said_with_what_would(models, pipeline, clip, monkeypatch):
    import argus_nb.sampling as module
    needed = [module.memory_needed(models.unet, models.vae, module.Sampling(window=w, overlap=1, chunk=c), (32, 64))
              for w, c in ((5, 10), (5, 4), (4, 1))]
    assert needed[0] > needed[1] > needed[2]
    for free, message in ((needed[1], 'chunk=4 and window=5 would fit'), (needed[2], 'chunk=1 and window=4 would fit'),
                          (10, 'a smaller size= is needed')):
        monkeypatch.setattr(module, 'memory_free', lambda device: free)
        with pytest.raises(InputError, match=message):
            pipeline.stream(*clip[:2], window=5, overlap=1, guidance_scale=1.)
    monkeypatch.setattr(module, 'memory_free', lambda device: needed[0])
    pipeline.stream(*clip[:2], window=5, overlap=1, chunk=10)

class Away(ModelHook):
    """Weights that are nowhere (on `meta`) until their network is called, and then on the processor: an offloaded
    network without an accelerator."""
    execution_device, here = torch.device('cpu'), []
    def init_hook(self, module):
        self.weights = {name: value.clone() for name, value in (*module.named_parameters(), *module.named_buffers())}
        return module.to('meta')
    def pre_forward(self, module, *args, **kwargs):
        for other in self.here: other.to('meta')
        self.here[:] = [module.to_empty(device='cpu')]
        with torch.no_grad():
            for name, value in (*module.named_parameters(), *module.named_buffers()): value.copy_(self.weights[name])
        return send_to_device(args, 'cpu'), kwargs


def test_networks_may_be_away_until_they_are_wanted(models, clip):
    "As with `enable_model_cpu_offload`: a network that is not at work is elsewhere, and the result is the same."
    def sampled(pipe): return pipe(*clip[:2], size=(32, 64), generator=generator(1), num_inference_steps=2,
                                   guidance_scale=2., window=4, overlap=1)
    pipe = ArgusPipeline(*map(copy.deepcopy, (models.vae, models.image_encoder, models.unet)), models.scheduler)
    pipe.set_progress_bar_config(disable=True)
    expected = sampled(pipe)
    for part in (pipe.vae, pipe.image_encoder, pipe.unet): add_hook_to_module(part, Away())
    assert pipe.unet.device.type == 'meta'
    assert_close(sampled(pipe), expected)
    assert pipe.vae.device.type == 'cpu' and pipe.unet.device.type == 'meta'  # decoding came last


def test_offloading_wants_an_accelerator(pipeline, film, tmp_path, capsys):
    with pytest.raises(InputError, match='on a CPU there is none'):
        generate_video(film, tmp_path/'out.mp4', device='cpu', offload=True)
    assert not list(tmp_path.iterdir())


def test_cancelling_from_a_callback_is_at_once(pipeline, clip):
    frames, cameras, *_ = clip
    def stop(pipe, step, level, state): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): pipeline(frames, cameras, num_inference_steps=2, callback_on_step_end=stop)

def test_size_may_differ_from_the_models_own(pipeline, clip):
    frames, cameras, *_ = clip
    assert pipeline(frames[:1], cameras[:1], size=(48, 96), num_inference_steps=1,
                    guidance_scale=1.).shape == (1, 3, 48, 96)

# -- loading ----------------------------------------------------------------------------------------------------------

def test_saved_models_load_with_another_unet(models, tmp_path, clip):
    save_models(models, tmp_path/'base')
    torch.manual_seed(9)
    other = build_models('tiny').unet
    other.save_pretrained(tmp_path/'other')
    base, changed = ArgusPipeline.from_pretrained(tmp_path/'base',
                                                  device='cpu'), ArgusPipeline.from_pretrained(str(tmp_path/'base'),
                                                                                               unet=tmp_path/'other',
                                                                                               device='cpu')
    assert_close(base.unet.conv_in.weight, models.unet.conv_in.weight)
    assert_close(changed.unet.conv_in.weight, other.conv_in.weight)
    assert_close(changed.vae.encoder.conv_in.weight, models.vae.encoder.conv_in.weight)

def test_a_model_is_loaded_in_the_words_of_diffusers(models, tmp_path, monkeypatch):
    save_models(models, tmp_path/'whole'); save_models(models, tmp_path/'half', dtype=torch.float16)
    load = ArgusPipeline.from_pretrained
    for word in ('cpu', 'auto', 'balanced'): assert load(tmp_path/'whole', device_map=word).device.type == 'cpu'
    assert load(tmp_path/'half', variant='fp16', torch_dtype=torch.float32).unet.dtype == torch.float32
    assert load(tmp_path/'whole', torch_dtype=torch.float16).unet.dtype == torch.float16
    with pytest.raises(InputError, match="torch_dtype must be one of torch, such as torch.float16, got 'float16'"):
        load(tmp_path/'whole', torch_dtype='float16')
    monkeypatch.setattr('argus_nb.pipeline.pick_dtype', lambda device: torch.float32)
    with pytest.warns(Doubt, match='about 25 times slower'):
        load(tmp_path/'whole', torch_dtype=torch.bfloat16, device='cpu')


def test_unknown_and_absent_models_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv('HF_HOME', str(tmp_path))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(InputError, match="model 'mega' is not known: use one of nano, svd"): local_model('mega')
    with pytest.raises(InputError, match='hf download stabilityai/stable-video-diffusion-img2vid'): local_model('svd')
    (tmp_path/'empty').mkdir()
    with pytest.raises(InputError, match='has no vae/config.json'): local_model(tmp_path/'empty')

def test_a_scheduler_of_another_kind_is_refused(models):
    from diffusers import EulerDiscreteScheduler
    with pytest.raises(InputError, match='v_prediction on continuous timesteps, got epsilon on discrete'):
        ArgusPipeline(models.vae, models.image_encoder, models.unet, EulerDiscreteScheduler())

@pytest.mark.parametrize('change, message', [
    (dict(frames=None), 'frames are missing'),
    (dict(cameras=None), 'either cameras or an aligned panorama= must be given, got neither'),
    (dict(panorama=torch.zeros(5, 3, 32, 64)), 'got both'),
    (dict(cameras=CameraTrack.static(4, 1.)), 'cameras must have as many frames as frames, 5, got 4'),
    (dict(cameras=None, panorama=torch.zeros(5, 3, 32, 60)), 'twice as wide as high'),
    (dict(cameras=None, panorama=torch.zeros(5, 3, 32, 64), mask=torch.zeros(5, 1, 16, 32)),
     'mask must be as large as the panorama'),
    (dict(size=(40, 80)), 'multiple of 16'),
    (dict(latents=torch.zeros(1, 5, 4, 8, 8)), r'latents must have shape \(1, 5, 4, 4, 8\)'),
    (dict(window=4, overlap=4), 'overlap must be smaller than the window'),
    (dict(num_inference_steps=0), 'num_inference_steps must be at least 1'),
    (dict(output_type='pil'), "output_type must be 'pt' or 'latent'"),
    (dict(preset='old'), "preset must be release, fast, best or None, got 'old'"),
    (dict(solver='heun'), "solver must be one of euler, dpmpp_2m, got 'heun'"),
    (dict(strength=1.5), 'strength must lie between 0 and 1'),
    (dict(guided=(3., 1.)), 'guided must be a lower and an upper noise level'),
    (dict(context=torch.zeros(1, 3, 16, 32)), 'context must have shape'),
    (dict(context=torch.zeros(4, 3, 32, 64)), 'context must be at least one frame and fewer than a window has, got 4'),
])
def test_mistakes_are_named_before_any_work(pipeline, clip, change, message):
    with pytest.raises(InputError, match=message): pipeline.stream(**dict(frames=clip[0], cameras=clip[1]) | change)

# -- from file to file -----------------------------------------------------------------------------------------------

def test_generated_frames_surround_every_input_frame():
    for frames, fps, rate in [(300, 30, 5), (200, 29.97, 5), (7, 3, 3), (100, 24, 7.3), (2, 30, 5)]:
        index = generated_frames(frames, fps, rate)
        assert (len(index) - 1)/rate >= (frames - 1)/fps - 1e-5
        assert all(0 <= i < frames and abs(i/fps - k/rate) <= .51/fps for k, i in enumerate(index[:-1]))

def test_crossfade_reads_as_little_as_it_can():
    read = []
    def chunks():
        for n in range(5): read.append(n); yield torch.full((1, 3, 2, 4), float(n))
    faded = crossfade(chunks(), iter([0, .5, 1.5, 4, 9]))
    assert [next(faded).mean().item() for _ in range(3)] == [0, .5, 1.5] and max(read) == 2
    assert [f.mean().item() for f in faded] == [4, 4]  # beyond the end stands the last

@pytest.fixture(scope='module')
def film(tmp_path_factory):
    "A small film with a hum, whose picture drifts to the left: a camera that pans."
    folder, wide = tmp_path_factory.mktemp('film'), interpolate(uniform(1, 3, 6, 20), (48, 160),
                                                                mode='bicubic')[0].clamp(0, 1)
    with wave.open(str(folder/'hum.wav'), 'wb') as sound:
        sound.setparams((1, 2, 8000, 0, 'NONE', ''))
        sound.writeframes((torch.sin(torch.arange(8000*2)/8000*2*math.pi*220)*9000).short().numpy().tobytes())
    write_video(folder/'in.mp4', (wide[:, :, 2*n:2*n + 64] for n in range(14)), 10, spherical=False,
                audio_from=folder/'hum.wav')
    return folder/'in.mp4'

FAST = dict(steps=1, guidance=1., width=128)

def test_a_whole_run_keeps_rate_and_length(pipeline, film, tmp_path):
    told = []
    def progress(*a): told.append(a)
    progress.say = lambda text: told.append(text)
    summary = generate_video(film, tmp_path/'out.mp4', model=pipeline, static=True, fov=70, progress=progress, **FAST)
    written, source = read_video(tmp_path/'out.mp4'), read_video(film)
    assert written.frames.shape == (14, 3, 64, 128) and written.rate == source.rate == 10
    assert spherical_metadata(tmp_path/'out.mp4') == ('v1', 'v2') and source.has_audio and written.has_audio
    assert sorted(p.name for p in tmp_path.iterdir()) == ['out.mp4', 'out_sheet.jpg']
    facts = {name: summary[name] for name in ('frames', 'size', 'seconds', 'cameras')}
    assert facts == dict(frames=14, size='128x64', seconds=1.4, cameras='static') and 'warning' not in summary
    for words in ('panoramas to generate', 'lens: 70° wide (given)'):
        assert any(isinstance(t, str) and words in t for t in told), words
    reports = [t for t in told if not isinstance(t, str)]
    seconds = [t for t in reports if t[0] == 'generating']
    assert [t[1] for t in seconds] == sorted(t[1] for t in seconds) and seconds[-1][1] == seconds[-1][2]
    assert [*dict.fromkeys(t[0] for t in reports)] == ['loading', 'generating', 'writing']
    assert reports[-1] == ('writing', 2, 3)  # the sheet comes last; nothing that listens can stop it
    ahead = written.frames[5][:, 28:36, 58:70].float()  # the middle of the panorama shows the middle of the input
    assert (ahead.mean((1, 2)) - source.frames[5][:, 16:32, 20:44].float().mean((1, 2))).abs().max() < 25

@pytest.mark.parametrize('level', [False, True])
@pytest.mark.parametrize('pitch, roll', [(10, -5), (-60, 75)])
def test_a_camera_on_its_side_is_generated_as_training_held_it(pipeline, film, monkeypatch, level, pitch, roll):
    "What the model is given is no steeper than in training; what is written stands where the frames are pasted."
    yaw = torch.linspace(0, 2.5, 14).double()
    angles = yaw, torch.full((14,), math.radians(pitch)), torch.full((14,), math.radians(roll))
    absolute = CameraTrack.from_euler(*angles, math.radians(60), fps=10)
    monkeypatch.setattr('argus_nb.generation.level_rotation', lambda cameras: absolute.world_from_camera[0])
    run = Generation(pipeline, read_video(film), absolute.relative_to_first(), sampling_for(pipeline.settings),
                     width=128, level=level)
    given, upright = run.source.cameras, generation_frame(absolute.world_from_camera[0])
    assert_close(upright @ given.world_from_camera[0], absolute.world_from_camera[0])
    yaw, tilt, lean = euler_from_rotation(upright)
    assert abs(math.degrees(tilt)) < 30.01 and abs(math.degrees(lean)) < 10.01
    if roll == -5: assert_close(given.world_from_camera[0], torch.eye(3).double(), rtol=0, atol=1e-12)
    _, aligned, seen = run.source.read([1])
    written, (there, mask) = run.enlarge(aligned[0]), align_frames(run.video.frames[[run.index[1]]],
                                                                   run.cameras[[run.index[1]]], (64, 128))
    assert (written - there[0]).abs()[mask[0].expand(3, -1, -1)].median() < .05
    assert abs(run.enlarge(seen[0].float().expand(3, -1, -1)).mean() - mask.float().mean()) < .02


def test_solver_and_fresh_noise_reach_the_sampler(pipeline):
    frames, cameras = uniform(4, 3, 24, 32), CameraTrack.static(4, 1.)
    def made(**more): return pipeline(frames, cameras, generator=generator(3), num_inference_steps=3, guidance_scale=1.,
                                      output_type='latent', **more)
    plain = made()
    assert_close(made(eta=0., solver='euler'), plain, rtol=0, atol=0)  # the tiny model's own
    for more in (dict(eta=.5), dict(solver='dpmpp_2m')): assert not torch.allclose(made(**more), plain)
    with pytest.raises(InputError, match='eta must lie between 0 and 1'): made(eta=1.5)


@pytest.mark.parametrize('share', [0., .6, 1.])
def test_frames_share_as_much_noise_as_was_asked_for(pipeline, monkeypatch, share):
    "All frames of the film, not only those of a window; and each of them sees standard normal noise."
    seen = []
    def sample_window(self, frames, condition, noise, s, on_step):
        seen.append(noise[0, -(len(noise[0]) - s.overlap*bool(seen)):]); return noise
    monkeypatch.setattr(ArgusPipeline, 'sample_window', sample_window)
    source = Source(uniform(10, 3, 24, 32), CameraTrack.static(10, 1.), size=(128, 256))
    list(pipeline.stream_latents(source, sampling_for(pipeline.settings, shared_noise=share), generator=generator(3)))
    noise = torch.cat(seen)[:10].flatten(1)
    alike = torch.corrcoef(noise)[~torch.eye(10, dtype=torch.bool)]
    assert len(seen) > 2 and (alike - share).abs().max() < .1 and (noise.std(1) - 1).abs().max() < .06


@pytest.mark.parametrize('continued', [True, False])
def test_overlapping_windows_are_cross_faded_and_continued_where_the_model_learned_to(pipeline, monkeypatch, continued):
    "What the second window is given of the first, and what is made of the frames that both have."
    conditions = []
    def sample_window(self, frames, condition, noise, s, on_step):
        conditions.append(condition)
        return torch.full_like(noise, len(conditions))
    monkeypatch.setattr(ArgusPipeline, 'sample_window', sample_window)
    source = Source(uniform(6, 3, 24, 32), CameraTrack.static(6, 1.), size=(32, 64))
    sampling = sampling_for(pipeline.settings, window=4, overlap=2, continued=continued, noise_aug=False)
    made = torch.cat(list(pipeline.stream_latents(source, sampling, generator=generator(3))))[:, 0, 0, 0]
    assert made[:2].tolist() == [1, 1] and made[4:].tolist() == [2, 2] and 1 < made[2] < made[3] < 2
    scale = pipeline.vae.config.scaling_factor
    assert torch.allclose(conditions[1][0, :2], torch.full((), 1/scale)) == continued
    if not continued: assert_close(conditions[1][0, :2], conditions[0][0, 2:], rtol=1e-4, atol=1e-5)


def test_without_pasting_the_model_runs_at_its_own_rate_and_size(pipeline, film, tmp_path):
    summary = generate_video(film, tmp_path/'out.mp4', model=pipeline, static=True, paste=False, steps=1, guidance=1.)
    written = read_video(tmp_path/'out.mp4')
    assert written.frames.shape == (7, 3, 32, 64) and written.rate == 5 and summary['seconds'] == 1.4

def test_a_part_takes_its_part_of_the_cameras(pipeline, film, tmp_path):
    track = CameraTrack.from_euler(torch.linspace(0, 1.3, 14)**2, 0., 0., math.radians(60), fps=10)
    track.save(tmp_path/'cameras.json')
    used = cameras_for(read_video(film, .5, .4), tmp_path/'cameras.json')
    assert_close(used.euler()[0], track.euler()[0][5:9] - track.euler()[0][5])
    assert_close(cameras_for(read_video(film), track, fov=80).fov_x, torch.full((14,), math.radians(80)).double())
    summary = generate_video(film, tmp_path/'out.mp4', model=pipeline, cameras=tmp_path/'cameras.json', start=.5,
                             seconds=.4, **FAST)
    assert summary['frames'] == 4
    with pytest.raises(InputError, match='holds 13 cameras, but .* has 14 frames'):
        generate_video(film, tmp_path/'more.mp4', model=pipeline, cameras=track[:13], **FAST)

def test_the_same_seed_writes_the_same_film(pipeline, film, tmp_path):
    runs = [generate_video(film, tmp_path/f'{n}.mp4', model=pipeline, static=True, seed=seed, seconds=.5, **FAST)
            for n, seed in enumerate((3, 3, 4))]
    a, b, c = (read_video(r['written']).frames[:] for r in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)

@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_the_networks_compute_in_the_precision_that_was_asked_for(precision, models, film, tmp_path):
    save_models(models, tmp_path/'model', dtype=torch.float32)
    summary = generate_video(film, tmp_path/'out.mp4', model=tmp_path/'model', static=True, seconds=.5,
                             precision=precision, **FAST)
    assert summary['precision'] == precision

def test_poles_are_calmed_in_latents_and_in_pictures(pipeline, clip):
    frames, cameras, *_ = clip
    def made(**more): return pipeline(frames, cameras, generator=generator(1), num_inference_steps=1,
                                      guidance_scale=1., **more)
    latents = made(output_type='latent')[0]
    plain, chunk = made(poles=False), made(poles=True)
    assert_close(chunk, torch.cat([decode(pipeline.vae, part, 'blended', poles=True) for part in latents.split(10)]))
    assert (chunk - calm_poles(plain)).abs().max() > 1e-3  # more than the pictures alone

def test_an_interrupted_run_leaves_nothing(pipeline, film, tmp_path):
    def progress(stage, done, total):
        if stage == 'generating' and done > .5*total: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        generate_video(film, tmp_path/'out.mp4', model=pipeline, static=True, progress=progress, **FAST)
    assert list(tmp_path.iterdir()) == []

@pytest.mark.parametrize('change, message', [
    (dict(fov=190), 'fov must be an angle between 0 and 180 degrees, got 190'),
    (dict(fov=0), 'fov must be an angle between 0 and 180 degrees, got 0'),
    (dict(model='mega'), "model 'mega' is not known"),
    (dict(cameras='nowhere.json'), 'nowhere.json: no such file'),
    (dict(static=True, cameras=CameraTrack.static(14, 1.)), 'exclude each other'),
    (dict(width=130), 'width must be a multiple of 4'),
    (dict(steps=0), 'steps must be a whole number of 1 or more, got 0'),
    (dict(seam='zip'), 'seam must be one of'),
    (dict(output='film.avi'), 'must end in .mp4'),
    (dict(input='nowhere.mp4'), 'nowhere.mp4'),
])
def test_mistakes_are_said_in_one_line(pipeline, film, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as failure:
        generate_video(**dict(input=film, output=tmp_path/'out.mp4', model=pipeline) | change)
    assert '\n' not in str(failure.value) and list(tmp_path.iterdir()) == []

def test_an_output_that_exists_is_kept(pipeline, film, tmp_path):
    (tmp_path/'out.mp4').write_bytes(b'precious')
    with pytest.raises(InputError, match='exists already'):
        generate_video(film, tmp_path/'out.mp4', model=pipeline, static=True, **FAST)
    assert (tmp_path/'out.mp4').read_bytes() == b'precious'
