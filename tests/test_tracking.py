"The tracker against known cameras: signs, kinds of input, and videos with nothing to hold on to."
import math
import pytest, torch
from torch.testing import assert_close
from argus_nb.cameras import CameraTrack
from argus_nb.motion import simulate_motion
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import rotation_angle, rotation_from_euler
from argus_nb.tracking import DEFAULT_FOV, estimate_cameras
from argus_nb.worlds import load_panorama, panorama_names

SIZE, FOV = (135, 240), math.radians(70)

def filmed(rotations, name=0, fov=FOV):
    "What a camera turning inside a panorama records, uint8."
    return (panorama_to_perspective(load_panorama(panorama_names('test')[name]), rotations, fov, SIZE)*255).round().byte()

def error(track, rotations): return rotation_angle(track.world_from_camera.mT @ (rotations[0].T @ rotations)).rad2deg()

@pytest.mark.parametrize('axis', ['yaw', 'pitch', 'roll'])
@pytest.mark.parametrize('sign', [1, -1])
def test_signs(axis, sign):
    "Each angle alone, both ways: a mirrored axis anywhere would show."
    angles = dict(yaw=torch.zeros(12).double(), pitch=torch.zeros(12).double(), roll=torch.zeros(12).double())
    angles[axis] = sign*torch.linspace(0, .25, 12).double()
    rotations = rotation_from_euler(**angles)
    track = estimate_cameras(filmed(rotations), 15, FOV)
    assert error(track, rotations).max() < .3
    assert_close(track.world_from_camera[0], torch.eye(3).double(), atol=1e-6, rtol=0)

@pytest.mark.parametrize('seed', [0, 1, 2])
def test_shaken_hand_and_field_of_view(seed):
    hand = simulate_motion(30, 15, make_generator(seed), fov_x=FOV, level=True, min_drift=12)
    track = estimate_cameras(filmed(hand.world_from_camera, seed), 15)
    assert error(track, hand.world_from_camera).median() < .15
    if 'assumed' not in track.source: assert (track.fov_x/FOV - 1).abs().median() < .05

def test_floats_and_bytes_agree():
    rotations = rotation_from_euler(torch.linspace(0, .2, 8).double(), torch.zeros(8).double(), torch.zeros(8).double())
    frames = filmed(rotations)
    one, two = estimate_cameras(frames, 15, FOV), estimate_cameras(frames.float()/255, 15, FOV)
    assert rotation_angle(one.world_from_camera.mT @ two.world_from_camera).rad2deg().max() < .05

@pytest.mark.parametrize('frames', [torch.full((5, 3, *SIZE), 128, dtype=torch.uint8), torch.zeros(2, 3, *SIZE, dtype=torch.uint8)], ids=['grey', 'black'])
def test_nothing_to_see_is_no_exception(frames):
    track = estimate_cameras(frames, 15)
    assert_close(track.world_from_camera, torch.eye(3).double().expand(len(frames), 3, 3))
    assert 'assumed' in track.source
    assert_close(track.fov_x, torch.full((len(frames),), float(DEFAULT_FOV), dtype=torch.float64))

def test_progress_reaches_the_end():
    seen = []
    estimate_cameras(filmed(torch.eye(3).double().expand(6, 3, 3)), 15, FOV, progress=lambda done, total: seen.append((done, total)))
    assert seen and seen[-1][0] == seen[-1][1]

def test_real_footage_is_followed(media):
    "A hand that pans, tilts and rolls: the camera must be found to move, and to move smoothly."
    from argus_nb.video import read_video
    video = read_video(media/'perspective'/'handheld_pan_tilt_roll.mp4', seconds=2)
    track = estimate_cameras(video.frames, video.fps)
    steps = rotation_angle(track.world_from_camera[:-1].mT @ track.world_from_camera[1:]).rad2deg()
    assert isinstance(track, CameraTrack) and len(track) == len(video.frames)
    assert steps.max() < 8 and rotation_angle(track.world_from_camera).rad2deg().max() > 2
