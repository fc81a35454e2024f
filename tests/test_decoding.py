"Decoding against plain loops of its own, on grids of sizes and chunks, in half precision, and on its errors."
import numpy as np, pytest, torch
from torch.testing import assert_close
from argus_nb import decoding
from argus_nb.cameras import CameraTrack
from argus_nb.decoding import SEAMS, blend_weights, decode, decode_plain, ramp_weights, seam_discontinuity
from argus_nb.networks import build_vae
from argus_nb.pipeline import ArgusPipeline
from argus_nb.runtime import InputError
from diffusers import AutoencoderKLTemporalDecoder

@pytest.fixture(scope='module')
def vae():
    torch.manual_seed(0)
    return AutoencoderKLTemporalDecoder(block_out_channels=(32, 32), down_block_types=('DownEncoderBlock2D',)*2,
                                        layers_per_block=1, scaling_factor=.3).eval()

def noise(*shape, seed=0): return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

def plain_pixels(vae, latents, chunk):
    "Frames in [-1, 1], chunk by chunk, straight from the decoder's own call."
    with torch.no_grad():
        return torch.cat([vae.decode(latents[i:i + chunk]/.3, num_frames=len(latents[i:i + chunk])).sample
                          for i in range(0, len(latents), chunk)])

def loop_weights(seam, width, ratio):
    "Column weights written out one by one, from the text of the method."
    if seam == 'blended': return [1 - 2*abs((j + .5)/width - .5) for j in range(width)]
    half = width//2; s = (half - int(np.floor(width/ratio)))//2
    left = [0.]*s + list(np.linspace(0, 1, half - 2*s)) + [1.]*s
    return left + left[::-1]

@pytest.mark.parametrize('seam', ('blended', 'ramp'))
@pytest.mark.parametrize('frames, height, width, chunk, ratio',
                         [(1, 4, 8, 10, 16), (3, 4, 8, 2, 4), (4, 8, 16, 3, 16), (2, 6, 10, 1, 8), (2, 4, 12, 4, 8)])
def test_blending_equals_a_loop_over_columns(vae, seam, frames, height, width, chunk, ratio):
    latents = noise(frames, 4, height, width)
    straight = plain_pixels(vae, latents, chunk)
    turned = plain_pixels(vae, torch.cat([latents[..., width//2:], latents[..., :width//2]], -1), chunk)
    turned = torch.cat([turned[..., width:], turned[..., :width]], -1)
    expected = torch.empty_like(straight)
    for j, h in enumerate(loop_weights(seam, 2*width, ratio)):
        expected[..., j] = h*straight[..., j] + (1 - h)*turned[..., j]
    assert_close(decode(vae, latents, seam, chunk, ratio), ((expected + 1)/2).clamp(0, 1), atol=2e-6, rtol=0)

@pytest.mark.parametrize('width', (8, 12, 32, 256, 2048))
def test_two_halves_of_the_weights_add_up_to_one(width):
    for weights in (blend_weights(width), *(ramp_weights(width, ratio) for ratio in (2, 4, 16))):
        assert weights.shape == (width,) and weights.min() >= 0 and weights.max() <= 1
        assert_close(weights, weights.flip(0))
        assert_close(weights[:width//2] + weights[:width//2].flip(0), torch.ones(width//2))

@pytest.mark.parametrize('width', (8, 10, 16))
def test_circular_equals_decoding_a_wider_grid(vae, width):
    latents, margin = noise(3, 4, 4, width), -(-width//8)
    columns = [j%width for j in range(-margin, width + margin)]
    wide = plain_pixels(vae, latents[..., columns], 2)
    assert_close(decode(vae, latents, 'wrapped_margins', chunk=2),
                 (wide[..., 2*margin:2*(margin + width)]/2 + .5).clamp(0, 1))

@pytest.mark.parametrize('seam', SEAMS)
def test_chunks_can_be_decoded_apart(vae, seam):
    latents = noise(7, 4, 4, 8)
    together = decode(vae, latents, seam, chunk=3)
    assert_close(torch.cat([decode(vae, latents[i:i + 3], seam, chunk=3) for i in (0, 3, 6)]), together)
    assert not torch.allclose(decode(vae, latents, seam, chunk=7), together,
                              atol=1e-3)  # the chunk is part of the setting

def test_half_precision_comes_back_as_float32(vae):
    import copy
    half = copy.deepcopy(vae).to(torch.bfloat16)
    latents = noise(2, 4, 4, 8)
    frames = decode(half, latents)
    assert frames.dtype == torch.float32
    assert (frames - decode(vae, latents)).abs().mean() < .02

def test_no_gradient_is_kept(vae):
    assert not decode_plain(vae, noise(1, 4, 4, 8).requires_grad_()).requires_grad

def test_the_seam_measure_sees_the_seam_alone():
    longitude = (torch.arange(128) + .5)/128*2*torch.pi
    scene = .5 + .2*(longitude*3).cos()*torch.linspace(-1, 1, 16)[:, None]
    broken = scene + torch.linspace(0, .1, 128)
    assert seam_discontinuity(broken[None]) > 10
    assert seam_discontinuity(broken[None].roll(40, -1)) < 1.5   # the fault is elsewhere now
    assert seam_discontinuity(scene.expand(4, 3, 16, 128)) == pytest.approx(seam_discontinuity(scene))

@pytest.mark.parametrize('call, message', [
    (lambda vae: decode(vae, noise(2, 4, 4, 8), 'Blended'),
     "seam must be one of none, blended, ramp, wrapped_margins, circular_padding, got 'Blended'"),
    (lambda vae: decode(vae, noise(2, 3, 4, 8)), r'latents must have shape \(T, 4, h, w\)'),
    (lambda vae: decode(vae, noise(2, 4, 4, 9), 'ramp'), 'even number of latent columns, got 9'),
    (lambda vae: decode(vae, noise(2, 4, 4, 8), chunk=0), 'chunk must be at least one frame, got 0'),
    (lambda vae: decode(vae, noise(2, 4, 4, 8), 'ramp', ratio=0), 'ratio must be at least 2'),
])
def test_wrong_arguments_say_what_was_found(vae, call, message):
    with pytest.raises(InputError, match=message): call(vae)

def test_nano_closes_its_seam_in_a_way_that_costs_nothing():
    """A held-out world through nano's autoencoder in every way: to the eye's measure no other way is significantly
    nearer to the truth than the one that nano uses, and no seam is seen."""
    from argus_nb.clips import world_clip
    from argus_nb.latents import encode_frames
    from argus_nb.metrics import STLPIPS
    from argus_nb.pipeline import ArgusPipeline
    from argus_nb.sampling import sampling_for
    pipeline = ArgusPipeline.from_pretrained('nano')
    settings = sampling_for(pipeline.settings)
    truth = world_clip(3, 1, size=pipeline.settings['size'], held_out=True)
    latents = encode_frames(pipeline.vae, truth, circular=settings.circular)*pipeline.vae.config.scaling_factor
    made = {seam: decode(pipeline.vae, latents, seam, settings.chunk, settings.ratio) for seam in SEAMS}
    far = {seam: float(STLPIPS()(frames, truth)) for seam, frames in made.items()}
    assert far.pop(settings.seam) < 1.02*min(far.values())
    assert seam_discontinuity(made['none']) > 1.5*seam_discontinuity(made[settings.seam])
    assert seam_discontinuity(made[settings.seam]) < 1.5


@pytest.mark.slow  # minutes where a processor has no bfloat16
def test_a_smooth_sky_has_no_steps_in_bfloat16():
    "Measured before the last layers were kept in float32: 31 shades instead of 128, steps of 7 levels more."
    from argus_nb.latents import encode_frames
    from argus_nb.models import load_part, locate_model
    down = torch.linspace(0, 1, 256)[:, None].expand(256, 512)
    sky = torch.stack([.45 + .25*down, .6 + .2*down, .85 + .1*down])[None]
    exact, coarse = (load_part('vae', locate_model('nano'), dtype) for dtype in (torch.float32, torch.bfloat16))
    assert coarse.dtype == torch.bfloat16 and coarse.decoder.conv_out.weight.dtype == torch.float32
    with torch.no_grad():
        latents = encode_frames(exact, sky, circular=True)*exact.config.scaling_factor
        truth, fast = (decode(vae, latents.to(vae.dtype), 'circular_padding').float()
                       for vae in (exact, coarse))
    shades = [len(picture[0, 2].unique()) for picture in (truth, fast)]
    extra = (fast - truth)[0].diff(dim=-2).abs().max()*255
    assert shades[1] > .9*shades[0] and extra < 2, (shades, extra)


@pytest.mark.parametrize('size, tile', [((8, 16), 8), ((13, 27), 9), ((8, 16), 64), ((16, 8), 8)])
def test_tiles_fit_together(size, tile, monkeypatch):
    "With a decoder that looks at one place alone, tiles give what the whole gives, seam and all rows included."
    vae = build_vae('tiny')
    monkeypatch.setattr(decoding, 'decode_latents',
                        lambda vae, part, num_frames: part[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2))
    latents = torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(0))
    whole = decoding.decode_plain(vae, latents, chunk=2)
    torch.testing.assert_close(decoding.decode_tiled(vae, latents, chunk=2, tile=tile), whole)


def test_tiles_need_less_memory_and_the_pipeline_takes_them(tiny):
    from argus_nb.cost import stages
    whole, tiled = (stages('nano', tile=tile)['decode 10 frames'] for tile in (None, 8))
    assert tiled.peak < .4*whole.peak
    pipeline = ArgusPipeline.from_pretrained(tiny, device='cpu')
    frames = torch.rand(4, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    cameras = CameraTrack.from_euler(torch.linspace(0, .3, 4), torch.zeros(4), 0., 1.2)
    film = pipeline(frames, cameras, tile=8, num_inference_steps=1)
    assert film.shape[0] == 4 and film.isfinite().all()
