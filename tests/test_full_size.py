"Full size: what is needed is looked for before anything is computed; enlarging leaves the input's own pixels alone."
import json
from pathlib import Path

import pytest, torch
from argus_nb.adapters import ADAPTERS, give_tasks, take_results
from argus_nb.cli import main
from argus_nb.clips import world_clip
from argus_nb.cost import meta_models, spent, stages
from argus_nb.data import filmed
from argus_nb.edges import InputError
from argus_nb.enlarging import TangentViews, Upscaler, load_upscaler, read_ncnn
from argus_nb.evaluation import folder_clips
from argus_nb.fills import task_of
from argus_nb.full_size import run
from argus_nb.generate import generate_video
from argus_nb.release import find_missing, protocol_card, released_clips, write_stand_ins
from argus_nb.runtime import make_generator
from argus_nb.video import read_video, write_video


@pytest.fixture(scope='module')
def pieces(tmp_path_factory) -> tuple[Path, Path]:
    return write_stand_ins(tmp_path_factory.mktemp('pieces'), clips=2, seconds=2.)


# --- What is needed -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('gone, named', [('i3d_torchscript.pt', 'I3D'), ('amt-s.pt', 'AMT-S'),
                                         ('svd/vae/config.json', 'Stable Video'), ('argus/unet/config.json', 'UNet')])
def test_what_is_missing_is_named(pieces, gone, named):
    weights, clips = pieces
    hidden = (weights/gone).rename(weights/(gone + '.hidden'))
    try: [(piece, why)] = find_missing('table1', weights, clips)
    finally: hidden.rename(weights/gone)
    assert named in piece.name and why
    assert find_missing('table1', weights, clips) == []


def test_the_check_is_one_line_and_exit_code_2(pieces, capsys, tmp_path):
    weights, clips = map(str, pieces)
    assert main(['reproduce', 'table2', '--weights', weights, '--clips', clips, '--check']) == 0
    assert main(['reproduce', 'table1', '--weights', weights, '--clips', str(tmp_path), '--check']) == 2
    said = capsys.readouterr()
    assert '101 clips' in said.out and said.err.strip().count('\n') == 0
    for wrong in (['--weights', weights], ['--check'], ['--weights', weights, '--clips', clips, '--write']):
        assert main(['reproduce', 'table1', *wrong]) == 2
    assert main(['reproduce', 'seams', '--weights', weights, '--clips', clips]) == 2


def test_clips_of_the_release_are_filmed_upright_and_at_the_given_angle(pieces):
    _, clips = pieces
    wide = released_clips(clips, 'real')[0].pair(5, (32, 64))
    narrow = released_clips(clips, 'real', fov=.5)[0].pair(5, (32, 64))
    assert torch.equal(wide.target, narrow.target)  # the frame of the film, whatever the camera
    assert narrow.mask.sum() < wide.mask.sum() and float(narrow.cameras.fov_x[0]) == pytest.approx(.5)
    tilted = folder_clips(clips/'real', clips/'videos')[0].pair(5, (32, 64))
    assert not torch.equal(wide.target, tilted.target)


def test_a_table_goes_on_where_it_was_stopped(pieces, tmp_path):
    weights, clips = pieces
    whole = run(tmp_path/'run', weights, clips, 'table2', quick=True)
    assert set(whole['means']['argus']) == {'imaging', 'aesthetic', 'motion'}
    kept, lost = (tmp_path/'run'/'argus'/f'clip_00{n}.json' for n in (0, 1))
    known = json.loads(kept.read_text())
    kept.write_text(json.dumps(known | dict(imaging=.123))); lost.unlink()
    again = run(tmp_path/'run', weights, clips, 'table2', quick=True)
    assert again['clips']['argus']['clip_000']['imaging'] == .123  # read, not made again
    assert again['clips']['argus']['clip_001'] == whole['clips']['argus']['clip_001']
    with pytest.raises(InputError, match='other settings'):
        run(tmp_path/'run', weights, clips, 'table2', 'real', quick=True)


def test_every_choice_of_the_card_has_a_source():
    for table in ('table1', 'table2', 'table3'):
        card = protocol_card(table, 'real', 25, (512, 1024), dict(weights='abc'), dict(seam='ramp'))
        assert all(row['source'] and row['value'] for row in card)
        assert len({row['choice'] for row in card}) == len(card)


# --- Cost ---------------------------------------------------------------------------------------------------------

def test_operations_are_those_of_the_textbook():
    x = torch.empty(2, 8, 16, 32, device='meta')
    layer = torch.nn.Conv2d(8, 4, 3, padding=1, bias=False, device='meta')
    assert tuple(spent(lambda: layer(x))) == (2*2*4*16*32*8*9, 2*4*16*32*4)
    q = torch.empty(1, 2, 100, 8, device='meta')
    assert spent(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)).flops == 2*2*2*100*100*8


def test_what_is_let_go_is_not_counted():
    x = torch.empty(1000, 1000, device='meta')
    def chain():
        y = x
        for _ in range(10): y = y + 1
        return y
    assert spent(chain).peak == 2*4_000_000


def test_svd_has_its_published_size_and_more_frames_cost_more():
    assert sum(p.numel() for p in meta_models('svd').unet.parameters()) == 1_524_623_082
    small, large = (stages('tiny', torch.bfloat16, chunk=c, window=w) for c, w in ((1, 4), (2, 8)))
    assert all(a.flops <= b.flops and a.peak <= b.peak for a, b in zip(small.values(), large.values()))


# --- Enlarging ----------------------------------------------------------------------------------------------------

def compact(file: Path, spread: float, bias: float) -> Path:
    "A network that doubles a picture and adds something, as its authors save it: random, and as much everywhere."
    pytest.importorskip('spandrel')
    torch.manual_seed(0)
    weights = {}
    for number, (outputs, inputs) in enumerate([(8, 3), (8, 8), (12, 8)]):
        weights[f'body.{2*number}.weight'] = spread*torch.randn(outputs, inputs, 3, 3)
        weights[f'body.{2*number}.bias'] = torch.full((outputs,), bias*(number == 2))
        if number < 2: weights[f'body.{2*number + 1}.weight'] = torch.full((outputs,), .1)
    torch.save(dict(params=weights), file)
    return file


@pytest.fixture(scope='module')
def network(tmp_path_factory) -> Path:
    return compact(tmp_path_factory.mktemp('network')/'double.pth', .3, 0.)


@pytest.fixture(scope='module')
def brighter(tmp_path_factory) -> Path:
    return compact(tmp_path_factory.mktemp('network')/'brighter.pth', 0., .08)


def test_a_given_network_enlarges_and_knows_no_seam(network):
    upscaler = Upscaler(2, network)
    soft = torch.rand(1, 3, 8, 16, generator=make_generator(0))
    panorama = torch.nn.functional.interpolate(soft, (32, 64), mode='bilinear')[0]
    made, turned = upscaler.sharpened(panorama), upscaler.sharpened(panorama.roll(32, -1))
    assert made.shape == (3, 64, 128)
    away = (slice(None), slice(16, 48))  # from the poles, whose views turn with the picture
    torch.testing.assert_close(turned.roll(-64, -1)[away], made[away], atol=1e-5, rtol=0)
    edge = (made[..., 0] - made[..., -1]).abs().mean()
    assert edge < 1.5*made.diff(dim=-1).abs().mean()


def test_views_are_mixed_and_not_added(brighter):
    soft = torch.rand(1, 3, 8, 16, generator=make_generator(0))*.8
    panorama = torch.nn.functional.interpolate(soft, (64, 128), mode='bicubic')[0].clamp(0, .8)
    upscaler = Upscaler(2, brighter)
    made = upscaler(panorama[None])[0]
    difference = made - upscaler.plain(panorama)
    assert abs(difference.mean() - .08) < .005 and difference.std() < .07  # a doubled picture has steps


def test_four_times_by_a_network_that_doubles_is_refused_or_made(network):
    with pytest.raises(InputError, match='2 or 4'): Upscaler(3, network)
    with pytest.raises(InputError, match='no such file'): load_upscaler('nowhere.pth')


def test_what_is_no_network_is_refused_in_one_line(tmp_path):
    pytest.importorskip('spandrel')
    (tmp_path/'no.pth').write_bytes(b'nothing')
    with pytest.raises(InputError, match='spandrel cannot read it') as error: load_upscaler(tmp_path/'no.pth')
    assert '\n' not in str(error.value)
    (tmp_path/'a.param').write_text('7767517\n1 1\nConvolution c 1 1 a b 0=2 1=3 6=54\n')
    (tmp_path/'a.bin').write_bytes(b'1234')
    with pytest.raises(InputError, match='half precision'): read_ncnn(tmp_path/'a.bin')


def test_a_film_is_sharpened_and_its_own_pixels_stay(brighter, tiny, tmp_path):
    film = tmp_path/'film.mp4'
    small = torch.rand(10, 3, 3, 4, generator=make_generator(0))
    soft = torch.nn.functional.interpolate(small, (48, 64), mode='bicubic')
    write_video(film, soft.clamp(0, 1), 5, spherical=False)
    options = dict(model=tiny, static=True, fov=60, steps=1, level=False, memory='off')
    generate_video(film, tmp_path/'plain.mp4', width=128, **options)
    done = generate_video(film, tmp_path/'sharp.mp4', upscale=2, upscaler=brighter, width=128, **options)
    a, b = (read_video(tmp_path/name).frames[:].float() for name in ('plain.mp4', 'sharp.mp4'))
    middle, far = (slice(None), slice(None), slice(28, 36), slice(58, 70)), (..., slice(0, 20))
    assert done and 12 < (b[far] - a[far]).mean() < 24  # 0.08 of 255, less where it is white already
    assert (b[middle] - a[middle]).abs().mean() < 3


# --- Other systems ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('system', ADAPTERS)
def test_results_that_are_missing_are_named(system, tmp_path):
    task = task_of(filmed(world_clip(0, 2, size=(64, 128), held_out=True), 0), 0, 'room_1')
    give_tasks(system, [task], tmp_path/'given')
    assert any((tmp_path/'given').rglob('*room_1*'))
    (tmp_path/'results').mkdir()
    with pytest.raises(InputError, match='room_1'): take_results(system, [task], tmp_path/'results', tmp_path/'row')
