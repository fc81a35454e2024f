"""`argus stabilise`, `look`, `light` and `ask` as they are typed: real files in, real files out, one line for a
mistake."""
import json, math

import pytest
import torch
from argus_nb.cameras import CameraTrack
from argus_nb.cli import main
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import make_generator
from argus_nb.sphere import rotation_from_euler
from argus_nb.video import read_video, video_info, write_video
from PIL import Image

FRAMES, FPS = 4, 4


def smooth_noise(seed: int) -> torch.Tensor:
    "A soft panorama; (3, 64, 128)."
    noise = torch.rand(1, 3, 8, 16, generator=make_generator(seed))
    return torch.nn.functional.interpolate(noise, (64, 128), mode='bilinear')[0]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A panorama video, the shaky clip inside it, and its cameras."
    folder = tmp_path_factory.mktemp('made')
    panorama = smooth_noise(0)
    pitch = torch.tensor([0., 3., -3., 2.]).double().deg2rad()
    cameras = CameraTrack(rotation_from_euler(0*pitch, pitch, 0*pitch), 1.2, fps=FPS)
    write_video(folder/'pano.mp4', panorama.expand(FRAMES, -1, -1, -1), FPS)
    write_video(folder/'clip.mp4', panorama_to_perspective(panorama, cameras.world_from_camera, 1.2, (48, 64)), FPS,
                spherical=False)
    cameras.save(folder/'cameras.json')
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    "A folder with these files, to work in."
    for file in made.iterdir(): (tmp_path/file.name).symlink_to(file)
    (tmp_path/'notes.txt').write_text('no video')
    (tmp_path/'keys.json').write_text(json.dumps([dict(time=0, yaw=0), dict(time=.5, yaw=90, fov=60)]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stabilise_writes_an_ordinary_video_that_holds_still(here):
    assert main('stabilise pano.mp4 steady.mp4 --cameras cameras.json --still --no-level --size 64x48'.split()) == 0
    about, frames = video_info('steady.mp4'), read_video('steady.mp4').frames[:].float()
    assert (about['width'], about['height'], about['frames'], about['spherical']) == (64, 48, FRAMES, None)
    clip = read_video('clip.mp4').frames[:].float()
    move = lambda film: film.diff(dim=0).abs().mean()
    assert move(frames) < .2*move(clip) and frames.mean() > 60


def test_look_follows_a_thing_that_goes_around(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panorama = smooth_noise(0)*.2 + .3
    panorama[:, 28:36, 60:68] = torch.rand(3, 8, 8, generator=make_generator(4))
    write_video('pano.mp4', torch.stack([torch.nn.functional.interpolate(panorama[None], (256, 512),
                                                                         mode='nearest')[0].roll(6*n, -1)
                                                                         for n in range(12)]), FPS)
    assert main('look pano.mp4 out.mp4 --follow 0,0 --size 64x64'.split()) == 0
    first, last = (read_video('out.mp4').frames[n][:, 24:40, 24:40].float() for n in (0, 11))
    assert (first - last).abs().mean() < 12 < (first - first.flip(-1)).abs().mean()
    for wrong in ('--follow ahead', '', '--follow 0,0 --path turn'):
        with pytest.raises(SystemExit) as stopped: main(f'look pano.mp4 out.mp4 --overwrite {wrong}'.split())
        assert stopped.value.code == 2


def test_a_steady_film_is_as_large_as_its_input(here):
    for cameras, size in (('--cameras cameras.json', (640, 360)),
                          ('--cameras cameras.json --input clip.mp4', (64, 48))):
        assert main(f'stabilise pano.mp4 steady.mp4 {cameras} --still --no-level --overwrite'.split()) == 0
        assert tuple(video_info('steady.mp4')[side] for side in ('width', 'height')) == size


def test_look_follows_its_keyframes(here):
    assert main('look pano.mp4 out.mp4 --path keys.json --size 64x48'.split()) == 0
    frames, panorama = read_video('out.mp4').frames[:].float(), read_video('pano.mp4').frames[0]
    for n, yaw, fov in ((0, 0, 90), (2, 90, 60)):
        wanted = panorama_to_perspective(panorama, rotation_from_euler(math.radians(yaw), 0., 0.), math.radians(fov),
                                         (48, 64))[0].float()
        assert (frames[n] - wanted).abs().mean() < 3
    assert main('look pano.mp4 planet.mp4 --path planet --size 48x48'.split()) == 0


def test_light_puts_balls_into_the_input_or_a_view(here):
    assert main('light pano.mp4 balls.mp4 --input clip.mp4 --cameras cameras.json'.split()) == 0
    frames, clip = read_video('balls.mp4').frames[0].float(), read_video('clip.mp4').frames[0].float()
    changed = ((frames - clip).abs().amax(0) > 12).float()
    assert frames.shape == clip.shape and .05 < changed.mean() < .4 and changed[:5].mean() < .01
    assert main('light pano.mp4 view.mp4 --size 64x48 --peak 4'.split()) == 0


@pytest.mark.parametrize('kind', ['exr', 'hdr'])
def test_light_writes_a_folder_of_maps(here, kind):
    if kind == 'exr': pytest.importorskip('OpenEXR')
    assert main(f'light pano.mp4 maps --format {kind}'.split()) == 0
    assert sorted(file.name for file in (here/'maps').iterdir()) == [f'{n:05}.{kind}' for n in range(FRAMES)]
    assert not [*here.glob('.*')]


def test_ask_says_what_leaves_and_where_the_answer_lies(here, capsys, monkeypatch):
    from argus_nb import questions
    said = lambda self, body: 'A wall.\ncertainty: 60'
    monkeypatch.setattr(questions.Endpoint, '_send', said)
    Image.new('RGB', (128, 64), 'green').save('pano.png')
    for source in ('pano.png', 'pano.mp4'):
        assert main(['ask', source, 'What is ahead?', '--endpoint', 'https://vision.example.org/v1', '--model', 'eye',
                     '--save', 'view.png', '--overwrite']) == 0
        out, err = capsys.readouterr()
        assert 'A wall.' in out and 'yaw 0, pitch 0' in out and '60%' in out
        assert err.count('\n') == 1 and '26 pictures' in err and 'vision.example.org' in err
    assert Image.open('view.png').size == (336, 336)


REFUSED = {
    'no panorama': ('look clip.mp4 out.mp4 --path turn', 'clip.mp4', 'twice as wide'),
    'no video': ('look notes.txt out.mp4 --path turn', 'notes.txt'),
    'no such path': ('look pano.mp4 out.mp4 --path spiral', 'spiral', 'turn'),
    'no path at all': ('look pano.mp4 out.mp4', '--path'),
    'wrong ending': ('look pano.mp4 out.avi --path turn', '.mp4'),
    'output is there': ('look pano.mp4 clip.mp4 --path turn', '--overwrite'),
    'no cameras': ('stabilise pano.mp4 out.mp4', '--input'),
    'cameras that are none': ('stabilise pano.mp4 out.mp4 --cameras notes.txt', 'notes.txt'),
    'cameras without an input': ('light pano.mp4 out.mp4 --cameras cameras.json', '--input'),
    'folder is there': ('light pano.mp4 .', 'exists'),
    'odd ending': ('light pano.mp4 out.png', '.mp4'),
    'no folder above': ('light pano.mp4 no/maps', 'no folder'),
    'no guess below white': ('light pano.mp4 maps --peak 0.5', '--peak'),
    'no model': ('ask pano.mp4 What? --model missing', 'missing', 'nothing is downloaded'),
    'no address': ('ask pano.mp4 What? --model eye --endpoint here', 'here', 'http'),
    'no secret': ('ask pano.mp4 What? --model eye --endpoint http://h --key-from NOT_SET_ANYWHERE', 'NOT_SET_ANYWHERE'),
    'too late': ('ask pano.mp4 What? --model . --at 99', 'no moment at 99 s'),
}


@pytest.mark.parametrize('words', REFUSED.values(), ids=REFUSED)
def test_mistakes_are_one_line_and_leave_nothing(here, capsys, words):
    line, *mentions = words
    before = sorted(file.name for file in here.iterdir())
    try: code = main(line.split())
    except SystemExit as stop: code = stop.code
    out, err = capsys.readouterr()
    assert code == 2 and out == '' and err.startswith('argus: error: ') and err.count('\n') == 1, (out, err)
    for mention in mentions: assert mention in err, err
    assert sorted(file.name for file in here.iterdir()) == before


def test_tracks_that_do_not_fit_are_refused(here, capsys):
    CameraTrack.static(9, 1., fps=FPS).save(here/'long.json')
    assert main('stabilise pano.mp4 out.mp4 --cameras long.json'.split()) == 2
    assert '9 cameras' in (err := capsys.readouterr().err) and '4 frames' in err and err.count('\n') == 1


@pytest.mark.parametrize('command', ['stabilise', 'look', 'light', 'ask'])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop: main([command, '--help'])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith(f'usage: argus {command} ')
