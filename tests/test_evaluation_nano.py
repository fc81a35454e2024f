"The script that judges nano: its regions and distances on cases known by hand, one run from end to end, and the file it left."
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np, pytest, torch
from torch.testing import assert_close
from argus_nb.data import panorama_clip
from argus_nb.models import embed_frames, locate_model
from argus_nb.pipeline import ArgusPipeline
from argus_nb.runtime import InputError
from argus_nb.sphere import panorama_rays
from argus_nb.worlds import load_panorama, panorama_names, random_world

ROOT = Path(__file__).parents[1]
RESULTS = ROOT/'results'/'nano.json'


@pytest.fixture(scope='module')
def judging():
    "The script as a module."
    spec = spec_from_file_location('evaluate_nano', ROOT/'scripts'/'evaluate_nano.py')
    sys.modules['evaluate_nano'] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smooth(height=32, width=64):
    "A panorama that is a smooth function of the direction, in [0, 1]; (3, H, W)."
    return (panorama_rays(height, width)/2 + .5).movedim(-1, 0).float()


# --- What is judged ------------------------------------------------------------------------------------------------

def test_clips_are_held_out(judging):
    clips = judging.held_out_clips(9, 8)
    worlds, panoramas = [c for c in clips if c.group == 'worlds'], [c for c in clips if c.group == 'panoramas']
    assert [c.kind for c in worlds] == ['room', 'street', 'landscape']*3
    assert all(random_world(2*c.index + 1).kind == c.kind and c.name.endswith(f'_{2*c.index + 1}') for c in worlds)
    assert sorted(c.name for c in panoramas) == sorted(panorama_names('test'))
    for c in panoramas: assert_close(panorama_clip(c.index, 1, (256, 512), held_out=True)[0], load_panorama(c.name))
    assert len({c.name for c in clips}) == 17 and len({seed for c in clips for seed in c.seeds(8)}) == 17*8


def test_regions_are_what_was_seen_by_each_frame_by_any_and_by_none(judging):
    mask = torch.zeros(2, 1, 1, 4, dtype=torch.bool); mask[0, ..., 0] = mask[1, ..., 1] = True
    where, target = judging.regions(mask), torch.zeros(2, 3, 1, 4)
    image = torch.tensor([[.1, .2, .3, .3], [.2, .1, .3, .3]])[:, None, None].expand(2, 3, 1, 4)
    assert judging.psnr(image, target, where['frames']) == pytest.approx(20, abs=1e-5)
    assert judging.psnr(image, target, where['union']) == pytest.approx(-10*np.log10((.01 + .04)/2), abs=1e-5)
    assert judging.psnr(image, target, where['never']) == pytest.approx(-20*np.log10(.3), abs=1e-5)
    assert judging.psnr(image, target, where['whole']) == pytest.approx(-10*np.log10((.01 + .04 + .09*2)/4), abs=1e-5)
    assert np.isnan(judging.psnr(image, target, torch.zeros_like(mask)))


# --- Distances -----------------------------------------------------------------------------------------------------

def test_perceptual_distance_is_that_of_its_package(judging):
    a, b = torch.rand(2, 2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    distance = judging.PerceptualDistance()
    with torch.no_grad(): expected = distance.network(a, b, normalize=True).mean().item()  # normalize: from [0, 1] to [-1, 1]
    assert distance(a, distance.features(b)) == pytest.approx(expected, rel=1e-5) and expected > 0
    assert distance(a, distance.features(a)) == 0


def test_colours_are_told_apart(judging):
    truth = (smooth().numpy()*200).astype(np.uint8)
    assert judging.colour_agreement(truth//2, truth) == pytest.approx(dict.fromkeys(judging.COLOURS, 1), abs=.01)
    swapped = judging.colour_agreement(truth[[1, 0, 2]], truth)
    assert swapped['red against green'] == pytest.approx(-1) and swapped['blue against yellow'] == pytest.approx(1) == pytest.approx(swapped['brightness'])


def test_bootstrap(judging):
    assert judging.bootstrap([2., 2., float('nan')]) == dict(mean=2, low=2, high=2, clips=2)
    values = np.random.default_rng(1).normal(size=400).tolist()
    found = judging.bootstrap(values)
    assert found == judging.bootstrap(values) and found['mean'] == pytest.approx(np.mean(values), abs=1e-4)
    assert found['high'] - found['low'] == pytest.approx(2*1.96*np.std(values)/20, rel=.1)


# --- The whole -----------------------------------------------------------------------------------------------------

def test_the_image_encoder_can_be_silenced(judging, tiny):
    pipeline, frames = ArgusPipeline.from_pretrained(tiny, device='cpu'), smooth()[None]
    before = embed_frames(pipeline.image_encoder, frames)
    with judging.without_embeddings(pipeline): assert not embed_frames(pipeline.image_encoder, frames).any()
    assert_close(embed_frames(pipeline.image_encoder, frames), before)
    assert before.abs().max() > 0


def test_from_end_to_end_and_again(judging, tiny, tmp_path, monkeypatch, capsys):
    def run(*more):
        return judging.main([*map(str, ('--model', tiny, '--work', tmp_path/'work', '--output', tmp_path/'out.json', '--pictures', tmp_path)),
                             *'--worlds 1 --panoramas 1 --samples 2 --steps 1 --judged 1 --examples 1'.split(), *more])
    run()
    record = json.loads((tmp_path/'out.json').read_text())
    rows = record['clips']
    assert [row['group'] for row in rows] == ['worlds', 'panoramas'] and set(record['summary']) == {'worlds', 'panoramas', 'all'}
    assert record['summary'] == judging.summaries(rows)
    assert record['summary']['all']['psnr']['one sample']['union']['mean'] == pytest.approx(np.mean([r['psnr']['one sample']['union'] for r in rows]), abs=1e-4)
    assert record['weights'] == judging.weights_of(str(tiny)) and record['sampling']['num_inference_steps'] == 1
    assert sorted(p.name for p in tmp_path.glob('*.jpg')) == ['nano_panorama.jpg', 'nano_room.jpg', 'nano_worst.jpg']
    monkeypatch.setattr(judging, 'judge', lambda *args: pytest.fail('judged again'))
    run()
    assert json.loads((tmp_path/'out.json').read_text()) == record
    with pytest.raises(pytest.fail.Exception): run('--guidance', '2')  # other settings: what is kept does not count


def test_a_model_without_weights_is_named(judging, tmp_path):
    (tmp_path/'vae').mkdir(); (tmp_path/'vae'/'config.json').write_text('{}')
    with pytest.raises(InputError, match='vae holds no .safetensors file'): judging.weights_of(str(tmp_path))


# --- The file it left ----------------------------------------------------------------------------------------------

@pytest.fixture
def recorded():
    if not RESULTS.exists(): pytest.skip('not judged yet')
    return json.loads(RESULTS.read_text())


def test_results_belong_to_the_weights_in_the_package(judging, recorded):
    assert recorded['weights'] == judging.weights_of(locate_model('nano')), 'nano was judged with other weights: run scripts/evaluate_nano.py'


def test_results_say_what_their_clips_say(judging, recorded):
    assert judging.summaries(recorded['clips']) == recorded['summary']
    assert all(seed % 2 for seed in recorded['held_out']['worlds']) and set(recorded['held_out']['panoramas']) <= set(panorama_names('test'))
