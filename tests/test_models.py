"Model folders as people have them: whole, half-precision, truncated, of another shape."
import json
from pathlib import Path
import pytest, torch
from torch.testing import assert_close
from argus_nb.models import build_models, build_scheduler, build_unet, clip_input, encode_frames, load_models, save_models
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
    for source in ('fine', 'whole'): assert_close(load_models(folder, unet=tmp_path/source).unet.conv_in.weight, other.conv_in.weight)

@pytest.mark.parametrize('part', ['vae', 'unet', 'image_encoder'])
def test_truncated_weights_are_one_line(folder, tmp_path, part):
    broken = copied(folder, tmp_path/'broken')
    weights = next((broken/part).glob('*.safetensors'))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=f'{part} of model') as error: load_models(broken)
    assert '\n' not in str(error.value)

def test_missing_weights_and_missing_folder(folder, tmp_path):
    broken = copied(folder, tmp_path/'broken')
    next((broken/'unet').glob('*.safetensors')).unlink()
    with pytest.raises(InputError, match='unet of model'): load_models(broken)
    with pytest.raises(InputError, match='no vae/config.json'): load_models(tmp_path)

def test_pickles_are_not_opened(folder, tmp_path):
    broken = copied(folder, tmp_path/'broken')
    weights = next((broken/'vae').glob('*.safetensors')); weights.unlink()
    torch.save({}, broken/'vae'/'diffusion_pytorch_model.bin')
    with pytest.raises(InputError, match='vae of model'): load_models(broken)

def test_half_precision_files(folder, tmp_path):
    save_models(load_models(folder), tmp_path/'half', dtype=torch.float16)
    size = lambda f: sum(p.stat().st_size for p in f.rglob('*.safetensors'))
    assert size(tmp_path/'half') < .6*size(folder)
    assert load_models(tmp_path/'half').vae.dtype == torch.float32

def test_clip_input_matches_the_library(folder):
    "The same numbers as diffusers' preprocessing followed by the library's CLIP normalisation."
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
    from transformers import CLIPImageProcessor
    frames = torch.rand(2, 3, 90, 160, generator=torch.Generator().manual_seed(0))
    wanted = CLIPImageProcessor()(images=[f for f in (_resize_with_antialiasing(frames*2 - 1, (224, 224)) + 1)/2], do_resize=False, do_center_crop=False, do_rescale=False, return_tensors='pt').pixel_values
    assert_close(clip_input(frames, 224), wanted, atol=1e-5, rtol=1e-4)

def test_posterior_sample_differs_from_mode(folder):
    vae = load_models(folder).vae
    frames = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    mode, sample = encode_frames(vae, frames), encode_frames(vae, frames, sample=True, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(mode, sample)
    assert_close(encode_frames(vae, frames, chunk=1), mode, atol=1e-5, rtol=1e-4)
