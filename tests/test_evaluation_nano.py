"""The experiment that judges a model alone: its regions and distances on cases known by hand, one run from end to end,
and the record."""
import json, subprocess, sys
from pathlib import Path

import numpy as np, pytest, torch
from torch.testing import assert_close
from argus_nb.clips import panorama_clip
from argus_nb.evaluation import held_out_clips
from argus_nb.experiments import nano
from argus_nb.latents import embed_frames
from argus_nb.models import locate_model, weights_of
from argus_nb.pipeline import ArgusPipeline
from argus_nb.runtime import InputError
from argus_nb.sphere import panorama_rays
from argus_nb.worlds import load_panorama, panorama_names, random_world

RESULTS = Path(__file__).parents[1]/'results'/'nano.json'


def smooth(height=32, width=64):
    "A panorama that is a smooth function of the direction, in [0, 1]; (3, H, W)."
    return (panorama_rays(height, width)/2 + .5).movedim(-1, 0).float()


# --- What is judged ------------------------------------------------------------------------------------------------

def test_clips_are_held_out():
    clips = held_out_clips(9, 8)
    worlds, panoramas = [c for c in clips if c.group == 'worlds'], [c for c in clips if c.group == 'panoramas']
    assert [c.kind for c in worlds] == ['room', 'street', 'landscape']*3
    assert all(random_world(2*c.index + 1).kind == c.kind and c.name.endswith(f'_{2*c.index + 1}') for c in worlds)
    assert sorted(c.name for c in panoramas) == [n for n in panorama_names('test') if not n.startswith('place_')]
    assert {c.name for c in held_out_clips(0, 99)} == set(panorama_names('test'))
    assert [c.index for c in panoramas] == list(range(75, 83))
    assert len({c.name for c in clips}) == 17 and len({seed for c in clips for seed in c.seeds(8)}) == 17*8


def test_regions_are_what_was_seen_by_each_frame_by_any_and_by_none():
    mask = torch.zeros(2, 1, 1, 4, dtype=torch.bool); mask[0, ..., 0] = mask[1, ..., 1] = True
    where, target = nano.regions(mask), torch.zeros(2, 3, 1, 4)
    image = torch.tensor([[.1, .2, .3, .3], [.2, .1, .3, .3]])[:, None, None].expand(2, 3, 1, 4)
    rows = nano.psnr_rows(dict(autoencoder=image, samples=image[None]), {}, target, where)['first sample']
    assert rows['frames'] == pytest.approx(20, abs=1e-5)
    assert rows['union'] == pytest.approx(-10*np.log10((.01 + .04)/2), abs=1e-5)
    assert rows['never'] == pytest.approx(-20*np.log10(.3), abs=1e-5)
    assert rows['whole'] == pytest.approx(-10*np.log10((.01 + .04 + .09*2)/4), abs=1e-5)


def test_a_larger_panorama_is_judged_on_the_grid():
    small = torch.rand(2, 3, 128, 256, generator=torch.Generator().manual_seed(0))
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert_close(nano.on_grid(large), small)
    assert nano.on_grid(small) is small


def test_colours_are_told_apart():
    truth = (smooth().numpy()*200).astype(np.uint8)
    assert nano.colour_agreement(truth//2, truth) == pytest.approx(dict.fromkeys(nano.COLOURS, 1), abs=.01)
    swapped = nano.colour_agreement(truth[[1, 0, 2]], truth)
    assert (swapped['red against green'] == pytest.approx(-1)
            and swapped['blue against yellow'] == pytest.approx(1) == pytest.approx(swapped['brightness']))


# --- The whole -----------------------------------------------------------------------------------------------------

def test_the_image_encoder_can_be_silenced(tiny):
    pipeline, frames = ArgusPipeline.from_pretrained(tiny, device='cpu'), smooth()[None]
    before = embed_frames(pipeline.image_encoder, frames)
    with nano.without_embeddings(pipeline): assert not embed_frames(pipeline.image_encoder, frames).any()
    assert_close(embed_frames(pipeline.image_encoder, frames), before)
    assert before.abs().max() > 0


def test_from_end_to_end_and_again(tiny, tmp_path, monkeypatch):
    def run(**more): return nano.run(tmp_path/'work', tiny,
                                     **dict(worlds=3, panoramas=1, samples=2, steps=1, judged=1, examples=4,
                                            nearest=6) | more)
    record = run()
    rows = record['clips']
    assert ([row['group'] for row in rows] == ['worlds']*3
            + ['panoramas'] and set(record['summary']) == {'worlds', 'panoramas', 'all'})
    assert record['summary'] == nano.summaries(rows)
    assert record['summary']['all']['psnr']['one sample']['union']['mean'] == pytest.approx(
        np.mean([r['psnr']['one sample']['union'] for r in rows]), abs=1e-4)
    assert record['weights'] == weights_of(str(tiny)) and record['sampling']['num_inference_steps'] == 1
    assert {'first sample', 'pasted', 'autoencoder', 'edge extension', 'nearest panorama',
            'truth'} <= set(record['set_distances'])
    assert record['set_distances']['truth']['clips'] == 2 and record['set_distances']['first sample']['axes'] == 1
    assert (record['summary']['all']['detail']['first sample'] > 0
            and record['summary']['all']['restlessness']['truth']['mean'] > 0)
    assert {'nano_panorama.jpg', 'nano_room.jpg', 'nano_worst.jpg'} <= {p.name for p in (tmp_path/'work').glob('*.jpg')}
    json.dumps(record)
    monkeypatch.setattr(nano, 'judge', lambda *args: pytest.fail('judged again'))
    assert run()['clips'] == rows
    with pytest.raises(pytest.fail.Exception): run(guidance=2.)  # other settings: what is kept does not count


def test_without_controls_a_clip_does_not_depend_on_the_next(tiny, tmp_path, monkeypatch):
    few = dict(samples=1, steps=1, judged=1, examples=4, nearest=6, controls=False)
    one = nano.run(tmp_path, tiny, worlds=1, panoramas=0, **few)
    assert 'other input' not in one['clips'][0]['psnr'] and 'set_distances' not in one
    monkeypatch.setattr(nano, 'outputs', lambda *args: pytest.fail('made again'))
    # the first is read, the second made
    with pytest.raises(pytest.fail.Exception): nano.run(tmp_path, tiny, worlds=2, panoramas=0, **few)


def test_a_model_without_weights_is_named(tmp_path):
    (tmp_path/'vae').mkdir(); (tmp_path/'vae'/'config.json').write_text('{}')
    with pytest.raises(InputError, match='vae holds no .safetensors file'): weights_of(str(tmp_path))


# --- The file it left ----------------------------------------------------------------------------------------------

@pytest.fixture
def recorded():
    if not RESULTS.exists(): pytest.skip('not judged yet')
    return json.loads(RESULTS.read_text())


def test_results_belong_to_the_weights_in_the_package(recorded):
    assert recorded['weights'] == weights_of(locate_model('nano')), \
        'nano was judged with other weights: run `argus reproduce nano --write`'


def test_the_model_card_says_what_the_record_says(recorded):
    script = RESULTS.parents[1]/'scripts'/'make_card.py'
    check = subprocess.run([sys.executable, script, '--check'], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def test_results_say_what_their_clips_say(recorded):
    assert nano.summaries(recorded['clips']) == recorded['summary']
    assert all(seed % 2 for seed in recorded['held_out']['worlds']) and set(
        recorded['held_out']['panoramas']) <= set(panorama_names('test'))
