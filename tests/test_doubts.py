"Cameras that do not belong to the pictures are doubted in one line, and good ones never."
import math, warnings
from dataclasses import replace

import pytest, torch

from argus_nb.camera_track import CameraTrack, interpolated
from argus_nb.cli import main
from argus_nb.doubts import camera_doubt, shape_doubt
from argus_nb.edges import Doubt
from argus_nb.clip_cameras import cameras_for
from argus_nb.motion import simulate_motion
from argus_nb.runtime import InputError, make_generator
from argus_nb.tracking import estimate_cameras
from argus_nb.video import read_video, write_video
from argus_nb.worlds import random_world

AXES = torch.diag(torch.tensor([1., -1, -1], dtype=torch.float64))


def filmed(world, count=40, fps=10, hand=None):
    "A world filmed by a simulated hand: frames and cameras."
    track = simulate_motion(count, fps, make_generator(world if hand is None else hand), fov_x=1.2, min_drift=6.)
    times = torch.arange(count)/fps
    return random_world(world).render_perspective(times, track.world_from_camera, 1.2, (120, 160)), track


@pytest.mark.parametrize('world', [0, 2, 5])
def test_good_cameras_are_not_doubted_and_others_are(world):
    frames, track = filmed(world)
    assert camera_doubt(frames, track, 10) is None
    assert camera_doubt(frames, track.rotated(AXES @ track.world_from_camera[7]), 10) is None  # whatever the world
    inverse = camera_doubt(frames, replace(track, world_from_camera=track.world_from_camera.mT), 10)
    assert 'read as world to camera' in inverse and '\n' not in inverse
    opengl = replace(track, world_from_camera=AXES @ track.world_from_camera @ AXES)
    assert 'with y up and z back' in camera_doubt(frames, opengl, 10)


def test_another_speed_and_another_clip():
    frames, track = filmed(0, hand=4)
    slow = interpolated(track, torch.arange(40).double()/2, 10)
    for wrong in (slow, simulate_motion(40, 10, make_generator(50), fov_x=1.2), CameraTrack.static(40, 1.2)):
        assert 'this clip, at this frame rate' in camera_doubt(frames, wrong, 10)


@pytest.mark.parametrize('count', [2, 3, 5])
def test_short_and_empty_films_are_looked_at(count):
    frames, track = filmed(0, count)
    assert camera_doubt(frames, track, 10) is None
    assert camera_doubt(torch.zeros(count, 3, 32, 64), track, 10) is None


@pytest.mark.slow
@pytest.mark.parametrize('name', ['handheld_pan_tilt_roll.mp4', 'bedroom_handheld.mp4'])
def test_real_footage_and_its_tracked_cameras(media, name):
    video = read_video(media/'perspective'/name, seconds=4)
    track = estimate_cameras(video.frames, video.fps)
    assert camera_doubt(video.frames, track, video.fps) is None


def test_the_command_warns_in_one_line_and_goes_on(tmp_path, capsys):
    frames, track = filmed(0)
    write_video(tmp_path/'clip.mp4', frames, 10, spherical=False)
    write_video(tmp_path/'pano.mp4', torch.zeros(40, 3, 32, 64), 10)
    track.save(tmp_path/'right.json')
    replace(track, world_from_camera=track.world_from_camera.mT).save(tmp_path/'wrong.json')
    said = {}
    for name in ('right', 'wrong'):
        command = f'stabilise {tmp_path}/pano.mp4 {tmp_path}/{name}.mp4 --cameras {tmp_path}/{name}.json ' \
                  f'--input {tmp_path}/clip.mp4 --size 64x48'
        assert main(command.split()) == 0
        said[name] = [line for line in capsys.readouterr().err.splitlines() if 'warning' in line]
    assert said['right'] == [] and len(said['wrong']) == 1 and 'wrong.json' in said['wrong'][0]
    video = read_video(tmp_path/'clip.mp4')
    with pytest.warns(Doubt, match='turn otherwise'): cameras_for(video, tmp_path/'wrong.json')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        cameras_for(video, tmp_path/'right.json')


def test_the_shape_of_the_images_is_compared():
    wide = dict(source='VGGT', fov_y=2*math.atan(math.tan(.6)*294/518))
    track = CameraTrack(torch.eye(3).repeat(2, 1, 1), 1.2, **wide)
    assert shape_doubt(track, (720, 1280)) is None  # networks round to multiples of 14
    assert '1.76 times as wide as high, the video is 1.33 times' in shape_doubt(track, (480, 640))
    assert shape_doubt(replace(track, source='released trajectory'), (480, 640)) is None


def sampled(tmp_path, kept, rate):
    "A film of 40 frames at 10 a second, and the cameras of some frames as COLMAP names them: 1, 2, 3, ..."
    frames, track = filmed(0)
    write_video(tmp_path/'clip.mp4', frames, 10, spherical=False)
    from scipy.spatial.transform import Rotation
    lines = []
    for number, place in enumerate(kept, 1):
        x, y, z, w = Rotation.from_matrix(track.world_from_camera[place].T.numpy()).as_quat()
        lines.append(f'{number} {w} {x} {y} {z} 0 0 0 1 frame_{number:04}.jpg\n\n')
    (tmp_path/'images.txt').write_text(''.join(lines))
    (tmp_path/'cameras.txt').write_text(f'1 PINHOLE 160 120 {80/math.tan(.6)} {80/math.tan(.6)} 80 60\n')
    return read_video(tmp_path/'clip.mp4'), track


@pytest.mark.parametrize('step', [2, 5])
def test_every_nth_frame_numbered_from_one(tmp_path, step):
    video, truth = sampled(tmp_path, range(0, 40, step), 10/step)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = cameras_for(video, tmp_path/'images.txt')
    assert len(found) == 40 and f'{10/step:g} cameras a second' in found.source
    turned = found.world_from_camera[::step].mT @ truth.relative_to_first().world_from_camera[::step]
    assert (turned - torch.eye(3)).abs().max() < 1e-6


def test_a_number_of_cameras_that_fits_no_rate_stays_an_error(tmp_path):
    video, _ = sampled(tmp_path, range(17), 10)
    with pytest.raises(InputError, match='do not tell which are missing'): cameras_for(video, tmp_path/'images.txt')
