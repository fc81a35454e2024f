"Model folders as people have them: whole, half-precision, truncated, of another shape."
import json
from pathlib import Path
import pytest, torch
from torch.testing import assert_close
from safetensors.torch import load_file, save_file
from argus_nb.latents import clip_input, encode_frames
from argus_nb.models import PARTS, build_models, load_models, locate_model, save_models, settings_of, weights_of
from argus_nb.networks import build_image_encoder, build_scheduler, build_unet, build_vae, preset
from argus_nb.runtime import InputError

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('model')
    torch.manual_seed(0)
    save_models(build_models('tiny'), path)
    return path

def copied(folder, target):
    import shutil
    shutil.copytree(folder, target); return target

def test_round_trip(folder):
    one, two = load_models(folder), load_models(str(folder))
    for a, b in zip(one.unet.parameters(), two.unet.parameters()): assert_close(a, b, rtol=0, atol=0)
    assert dict(one.scheduler.config)['sigma_max'] == build_scheduler().config.sigma_max == 700

def test_other_unet(folder, tmp_path):
    torch.manual_seed(5)
    other = build_unet('tiny'); other.save_pretrained(tmp_path/'fine'); other.save_pretrained(tmp_path/'whole'/'unet')
    for source in ('fine', 'whole'):
        assert_close(load_models(folder, unet=tmp_path/source).unet.conv_in.weight, other.conv_in.weight)

def test_weights_in_shards(folder, tmp_path):
    whole, split = load_models(folder), copied(folder, tmp_path/'split')
    for file in (split/'unet').glob('*.safetensors'): file.unlink()
    whole.unet.save_pretrained(split/'unet', max_shard_size='200KB')
    shards = sorted((split/'unet').glob('*.safetensors'))
    assert len(shards) > 2
    for a, b in zip(whole.unet.parameters(), load_models(split).unet.parameters()): assert_close(a, b, rtol=0, atol=0)
    before = weights_of(split)
    assert before['vae'] == weights_of(folder)['vae'] and len(before['unet']) == 64
    save_file({name: value + 1 for name, value in load_file(shards[-1]).items()}, shards[-1])
    assert weights_of(split)['unet'] != before['unet']

def test_a_copy_in_half_precision_beside_the_weights_is_neither_compared_nor_counted(folder, tmp_path):
    "As in the folders of SVD, which have both; here the copy is another network's."
    both = copied(folder, tmp_path/'both')
    save_file({'stranger': torch.zeros(1)}, both/'unet'/'diffusion_pytorch_model.fp16.safetensors')
    assert weights_of(both) == weights_of(folder)
    for a, b in zip(load_models(folder).unet.parameters(), load_models(both).unet.parameters()):
        assert_close(a, b, rtol=0, atol=0)

@pytest.mark.parametrize('part', ['vae', 'unet', 'image_encoder'])
def test_truncated_weights_are_one_line(folder, tmp_path, part):
    broken = copied(folder, tmp_path/'broken')
    weights = next((broken/part).glob('*.safetensors'))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=f'{part} of model') as error: load_models(broken)
    assert '\n' not in str(error.value)

def published_shapes():
    "Names and shapes of the parameters of Stable Video Diffusion, as tests/svd_parameters.txt lists them."
    lines = (Path(__file__).parent/'svd_parameters.txt').read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith('#')]
    return {part: {name: tuple(map(int, shape.split('x'))) if shape != '-' else () for p, name, shape in rows
                   if p == part} for part in PARTS}

@pytest.mark.parametrize('part, build', [('vae', build_vae), ('unet', build_unet),
                                         ('image_encoder', build_image_encoder)])
def test_svd_has_the_published_parameters(part, build):
    """Built without memory, the full-size networks have the names and shapes of the published files, whatever the
    libraries' defaults become."""
    with torch.device('meta'): network = build('svd')
    found, published = {name: tuple(p.shape) for name, p in network.named_parameters()}, published_shapes()[part]
    assert found == published
    totals = dict(vae=97_742_847, unet=1_524_623_082, image_encoder=632_076_800)
    assert sum(p.numel() for p in network.parameters()) == totals[part]

@pytest.mark.parametrize('part, name', [('vae', 'decoder.conv_in.weight'), ('unet', 'conv_out.bias'),
                                        ('image_encoder', 'visual_projection.weight')])
def test_a_parameter_that_does_not_fit_is_named_with_both_shapes(folder, tmp_path, part, name):
    broken = copied(folder, tmp_path/'broken')
    path = next((broken/part).glob('*.safetensors'))
    weights = load_file(path)
    save_file(weights | {name: weights[name][:1].contiguous()}, path, metadata=dict(format='pt'))
    shapes = [str(tuple(w.shape)).replace('(', r'\(').replace(')', r'\)') for w in (weights[name][:1], weights[name])]
    with pytest.raises(InputError, match=f'{part} of model .* parameter {name} has shape {shapes[0]} in the file, but '
                                         f'the network wants {shapes[1]}'):
        load_models(broken)
    save_file({n.replace(name, name + '_old'): w for n, w in weights.items()}, path, metadata=dict(format='pt'))
    with pytest.raises(InputError, match=f'parameter {name} of shape {shapes[1]} is missing'): load_models(broken)
    save_file(weights | dict(surplus=torch.zeros(2)), path, metadata=dict(format='pt'))
    with pytest.raises(InputError, match=r'holds parameter surplus of shape \(2,\)'): load_models(broken)

def test_missing_weights_and_missing_folder(folder, tmp_path):
    broken = copied(folder, tmp_path/'broken')
    next((broken/'unet').glob('*.safetensors')).unlink()
    with pytest.raises(InputError, match='unet of model'): load_models(broken)
    with pytest.raises(InputError, match='no vae/config.json'): load_models(tmp_path)

def test_weights_that_come_in_half_precision_alone(folder, tmp_path):
    "As `save_pretrained(variant='fp16')` leaves them, in one file and in shards."
    half, whole = copied(folder, tmp_path/'half'), load_models(folder)
    for part in PARTS:
        for file in (half/part).glob('*.safetensors'): file.unlink()
        options = dict(max_shard_size='200KB') if part == 'unet' else {}
        getattr(whole, part).half().save_pretrained(half/part, variant='fp16', **options)
        getattr(whole, part).float()
    assert all('.fp16' in f.name for f in half.rglob('*.safetensors'))
    assert len(list((half/'unet').glob('*.safetensors'))) > 2
    again = load_models(half)
    for part in PARTS:
        for a, b in zip(getattr(whole, part).parameters(), getattr(again, part).parameters()):
            assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert len(weights_of(half)['unet']) == 64

def test_pickles_are_not_opened(folder, tmp_path):
    broken = copied(folder, tmp_path/'broken')
    weights = next((broken/'vae').glob('*.safetensors')); weights.unlink()
    torch.save({}, broken/'vae'/'diffusion_pytorch_model.bin')
    with pytest.raises(InputError, match='holds pickled weights alone .*convert them') as error: load_models(broken)
    assert '\n' not in str(error.value)

def test_half_precision_files(folder, tmp_path):
    save_models(load_models(folder), tmp_path/'half', dtype=torch.float16)
    size = lambda f: sum(p.stat().st_size for p in f.rglob('*.safetensors'))
    assert size(tmp_path/'half') < .6*size(folder)
    assert load_models(tmp_path/'half').vae.dtype == torch.float32

def test_a_saved_model_does_not_tell_where_it_was_read_from(folder, tmp_path):
    save_models(load_models(folder), tmp_path/'again')
    for config in (tmp_path/'again').rglob('*.json'): assert str(folder) not in config.read_text(), config

def test_clip_input_matches_the_library(folder):
    "The same numbers as diffusers' preprocessing followed by the library's CLIP normalisation."
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
    from transformers import CLIPImageProcessor
    frames = torch.rand(2, 3, 90, 160, generator=torch.Generator().manual_seed(0))
    wanted = CLIPImageProcessor()(images=[f for f in (_resize_with_antialiasing(frames*2 - 1, (224, 224)) + 1)/2],
                                  do_resize=False, do_center_crop=False, do_rescale=False,
                                  return_tensors='pt').pixel_values
    assert_close(clip_input(frames, 224), wanted, atol=1e-5, rtol=1e-4)

def test_posterior_sample_differs_from_mode(folder):
    vae = load_models(folder).vae
    frames = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    mode, sample = encode_frames(vae, frames), encode_frames(vae, frames, sample=True,
                                                             generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(mode, sample)
    assert_close(encode_frames(vae, frames, chunk=1), mode, atol=1e-5, rtol=1e-4)


def test_nano_samples_between_the_noise_levels_of_its_preset():
    stored = json.loads((Path(locate_model('nano'))/'scheduler'/'scheduler_config.json').read_text())
    def plain(config): return {name: value for name, value in config.items() if not name.startswith('_')}
    assert plain(stored) == plain(build_scheduler('nano').config)
    assert load_models('nano').settings == settings_of('nano')

def test_weights_on_the_disk_are_loaded_without_a_word(capfd):
    "And what others load afterwards is announced as before."
    from transformers.utils import logging
    shown = logging.is_progress_bar_enabled()
    load_models('nano')
    assert capfd.readouterr() == ('', '') and logging.is_progress_bar_enabled() == shown


def test_normalisation_is_exact_far_from_zero(tmp_path):
    """Every group normalisation of an autoencoder as it is loaded: on activations far from zero it gives what double
    precision gives."""
    torch.manual_seed(0)
    models, errors = build_models('tiny'), []
    with torch.no_grad():
        for layer in models.vae.modules():
            if isinstance(layer, torch.nn.Conv2d): layer.bias.add_(10.)
    save_models(models, tmp_path)
    vae = load_models(tmp_path).vae
    def compare(norm, inputs, output):
        exact = torch.nn.functional.group_norm(inputs[0].double().contiguous(), norm.num_groups, norm.weight.double(),
                                               norm.bias.double(), norm.eps)
        errors.append((output - exact).abs().max().item())
    for layer in vae.modules():
        if isinstance(layer, torch.nn.GroupNorm): layer.register_forward_hook(compare)
    latents = encode_frames(vae, torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad(): vae.decode(latents, num_frames=2)
    assert len(errors) > 20 and max(errors) < 5e-5, f'largest error {max(errors):.0e}'


def test_settings_travel_with_a_model(folder, tmp_path):
    """Values that no guess would find; through `save_models`, through the pipeline's own saving, and for a folder of
    0.1."""
    from argus_nb.pipeline import ArgusPipeline
    models = load_models(folder)
    models.settings = models.settings | dict(size=(64, 128), frames=7, overlap=2, steps=3, seam='ramp',
                                             solver='dpmpp_2m')
    save_models(models, tmp_path/'one')
    assert load_models(tmp_path/'one').settings == models.settings
    pipeline = ArgusPipeline.from_pretrained(tmp_path/'one', device='cpu')
    assert pipeline.settings == models.settings
    pipeline.save_pretrained(tmp_path/'two')
    assert ArgusPipeline.from_pretrained(tmp_path/'two', device='cpu').settings == models.settings
    index = tmp_path/'one'/'model_index.json'
    without = {name: value for name, value in json.loads(index.read_text()).items() if name != 'settings'}
    index.write_text(json.dumps(without))
    assert load_models(tmp_path/'one').settings == load_models(folder).settings  # guessed by the UNet's width
    index.write_text(json.dumps(dict(settings=[1])))
    with pytest.raises(InputError, match="'settings' must hold size"): load_models(tmp_path/'one')
    index.write_text(json.dumps(dict(settings=models.settings | dict(solver='heun'))))
    with pytest.raises(InputError, match="setting solver cannot be 'heun'"): load_models(tmp_path/'one')
    older = {name: value for name, value in models.settings.items() if name != 'solver'}
    index.write_text(json.dumps(dict(settings=older)))
    assert load_models(tmp_path/'one').settings == models.settings | dict(solver='euler')


def test_noise_levels_travel_with_a_model(tmp_path):
    models = build_models('tiny')
    models.scheduler.register_to_config(sigma_min=.1, sigma_max=50.)
    save_models(models, tmp_path/'one')
    scheduler = load_models(tmp_path/'one').scheduler
    scheduler.set_timesteps(3)
    assert [round(float(sigma), 4) for sigma in scheduler.sigmas[[0, -2, -1]]] == [50., .1, 0.]
    assert build_scheduler('nano').config.sigma_max == preset('nano')['sigmas'][1]
