"""The tracker against known cameras: signs, kinds of input, loops, cuts, faults of the footage, and videos with nothing
to hold on to."""
import math, sys
import numpy as np
import pytest, torch
from torch.testing import assert_close
from argus_nb.cameras import CameraTrack
from argus_nb.motion import simulate_motion
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import panorama_coordinates, perspective_rays, rotation_angle, rotation_from_euler
from argus_nb.tracking import (DEFAULT_FOV, close_loops, estimate_cameras, from_centre, link_keyframes,
                               solve_rotation, star_matches, track_corners)
from argus_nb.worlds import load_panorama, panorama_names

SIZE, FOV = (135, 240), math.radians(70)

def filmed(rotations, name=0, fov=FOV):
    "What a camera turning inside a panorama records, uint8."
    return (panorama_to_perspective(load_panorama(panorama_names('test')[name]), rotations, fov,
                                    SIZE)*255).round().byte()

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
    if 'assumed' not in track.source: assert (track.fov_x/FOV - 1).abs().median() < .03

def pan(num_frames, degrees, pitch=0.):
    "A steady turn to the right."
    yaw = torch.linspace(0, math.radians(degrees), num_frames).double()
    return rotation_from_euler(yaw, yaw*0 + pitch, yaw*0)

@pytest.mark.parametrize('fov', [45, 70, 100])
def test_field_of_view_is_found(fov):
    "A pan of 30 degrees tells it to one per cent."
    track = estimate_cameras(filmed(pan(16, 30), fov=math.radians(fov)), 15)
    assert 'assumed' not in track.source
    assert (track.fov_x/math.radians(fov) - 1).abs().max() < .01

def test_pixels_are_counted_from_the_middle_of_the_image():
    "OpenCV's pixel centres are whole numbers: the middle of w pixels is at (w - 1)/2, not at w/2."
    for height, width in ((135, 240), (90, 161)):
        assert np.allclose(from_centre(np.array([[(width - 1)/2, (height - 1)/2], [0, 0]]), np.zeros((height, width))),
                           [[0, 0], [.5 - width/2, .5 - height/2]])

def test_a_loop_is_closed():
    "A pan away and back ties its end to its beginning, by what the place looks like."
    there = pan(13, 60)
    rotations = torch.cat([there, there.flip(0)[1:]])
    tracks, links, cuts = link_keyframes(track_corners(filmed(rotations), 12))
    matches, focal = star_matches(tracks), tracks.size[1]/2/math.tan(FOV/2)
    solution, _ = solve_rotation(tracks, links, matches, focal)
    closed, num_loops = close_loops(tracks, solution, matches)
    last = len(tracks.keyframes) - 1
    assert num_loops > 0 and cuts == []
    assert not ((matches.first == 0) & (matches.second == last)).any()
    assert ((closed.first == 0) & (closed.second == last)).sum() >= 15
    track = estimate_cameras(filmed(rotations), 12, FOV)
    assert error(track, rotations)[-1] < .03

def test_a_loop_takes_the_drift_away(monkeypatch):
    "Corners that creep by a part of a pixel a keyframe, always the same way, are put right by the return to the start."
    there = pan(13, 60)
    rotations = torch.cat([there, there.flip(0)[1:]])
    frames, honest = filmed(rotations), track_corners
    def creeping(*given):
        tracks = honest(*given)
        _, first, of = np.unique(tracks.corner, return_index=True, return_inverse=True)
        life = tracks.frame - tracks.frame[first][of]
        return tracks._replace(xy=tracks.xy + .05*life[:, None]*[1, 0])
    monkeypatch.setattr('argus_nb.tracking.track_corners', creeping)
    closed = error(estimate_cameras(frames, 12, FOV), rotations)[-1]
    monkeypatch.setattr('argus_nb.tracking.close_loops', lambda tracks, solution, matches: (matches, 0))
    assert closed < .5*error(estimate_cameras(frames, 12, FOV), rotations)[-1]

def test_what_moves_by_itself_is_left_out():
    "A patch of another place, a quarter of the picture, that slides the other way."
    rotations = pan(12, 15)
    frames, patch = filmed(rotations), filmed(torch.eye(3).double()[None], 1)[0, :, 20:90, :120]
    for n, frame in enumerate(frames): frame[:, 30:100, 2*n + 40:2*n + 160] = patch
    track = estimate_cameras(frames, 12, FOV)
    assert error(track, rotations).max() < .2
    whole = estimate_cameras(filmed(rotations), 12, FOV)
    assert track.confidence[1:].mean() < whole.confidence[1:].mean() - .1  # and the confidence tells

@pytest.mark.parametrize('spoil', ['black', 'blurred', 'noise'])
def test_spoilt_frames_are_bridged(spoil):
    rotations = pan(18, 20)
    frames = filmed(rotations)
    if spoil == 'black': frames[8:10] = 0
    elif spoil == 'noise': frames[8:10] = torch.randint(0, 256, frames[8:10].shape, generator=make_generator(0)).byte()
    else: frames[8:10] = torch.nn.functional.avg_pool2d(frames[8:10].float(), 61, 1, 30, count_include_pad=False).byte()
    track = estimate_cameras(frames, 15, FOV)
    off = error(track, rotations)
    assert off[:8].max() < .1 and off[10:].max() < .1 and off[8:10].max() < .6
    assert track.confidence[8:10].max() < .5 < track.confidence[[*range(8), *range(10, 18)]].min()
    assert 'cut' not in track.source

def test_a_cut_is_said_and_the_track_goes_on():
    first, second = pan(8, 10), pan(8, 12, .2)
    track = estimate_cameras(torch.cat([filmed(first), filmed(second, 2)]), 12, FOV)
    assert 'cut at frame 8 (0.7 s)' in track.source
    assert error(track[:8], first).max() < .1
    step = rotation_angle(track.world_from_camera[7].T @ track.world_from_camera[8]).rad2deg()
    assert step < .5  # in the last direction
    assert error(track[8:].relative_to_first(), second).max() < .1

@pytest.mark.parametrize('size', [(240, 135), (61, 97), (200, 200)])
def test_sizes_and_shapes(size):
    rotations = pan(8, 8)
    frames = (panorama_to_perspective(load_panorama(panorama_names('test')[0]), rotations, FOV,
                                      size)*255).round().byte()
    assert error(estimate_cameras(list(frames), 12, FOV), rotations).max() < .3

def test_faults():
    frames = filmed(pan(3, 2))
    for given, message in ((dict(method='slam'), "method must be 'rotation' or 'colmap', got 'slam'"),
                           (dict(fov_x=4.), 'fov_x must lie between'), (dict(fps=0), 'fps must be positive')):
        with pytest.raises(InputError, match=message): estimate_cameras(**(dict(frames=frames, fps=5) | given))
    with pytest.raises(InputError, match='frame 1 differs'): estimate_cameras([frames[0], frames[1, :, :80]], 5)
    with pytest.raises(InputError, match='at least one frame'): estimate_cameras([], 5)

def test_without_pycolmap_there_is_a_line_that_says_so(monkeypatch):
    frames = filmed(pan(3, 2))
    monkeypatch.setitem(sys.modules, 'pycolmap', None)
    assert len(estimate_cameras(frames, 5, FOV)) == 3  # not asked for, not missed
    with pytest.raises(InputError, match="method 'colmap' needs pycolmap: pip install pycolmap"):
        estimate_cameras(frames, 5, method='colmap')

def test_colmap_says_when_it_finds_nothing():
    pytest.importorskip('pycolmap')
    with pytest.raises(InputError, match="COLMAP found no .* method 'rotation'"):
        estimate_cameras(torch.full((4, 3, 60, 80), 128, dtype=torch.uint8), 5, method='colmap')

def painted_room(rotations, positions, size=(180, 240), half=(4., 2., 5.)):
    "A room whose walls are painted with noise, filmed by a camera that walks through it; uint8."
    paint = torch.nn.functional.interpolate(torch.rand(1, 3, 128, 256, generator=make_generator(0)), scale_factor=4,
                                            mode='bicubic').clamp(0, 1)
    rays = perspective_rays(*size, FOV).double() @ rotations.mT[:, None]
    far = ((rays.sign()*torch.tensor(half) - positions[:, None, None])/rays).amin(-1, keepdim=True)
    u, v = panorama_coordinates(positions[:, None, None] + far*rays, tuple(paint.shape[2:]))
    place = torch.stack([2*u/paint.shape[3] - 1, 2*v/paint.shape[2] - 1], -1).float()
    return (torch.nn.functional.grid_sample(paint.expand(len(place), -1, -1, -1), place, padding_mode='border',
                                            align_corners=False)*255).round().byte()

@pytest.mark.slow
def test_colmap_follows_a_wide_walk():
    "Right across a room: rotations and field of view by COLMAP; a black frame is bridged."
    pytest.importorskip('pycolmap')
    t = torch.linspace(0, 1, 10).double()
    rotations = rotation_from_euler(.3 + .4*t, .1*(5*t).sin(), .05*(4*t).cos())
    frames = painted_room(rotations, torch.stack([2.4*t - 1.2, .3*(3*t).sin(), 1.5*t - 2], 1))
    frames[4], seen = 0, []
    track = estimate_cameras(frames, 4, progress=lambda done, total: seen.append((done, total)), method='colmap')
    off, rest = error(track, rotations), [n for n in range(10) if n != 4]
    assert off[rest].max() < .3 and off[4] < 3
    assert (track.fov_x/FOV - 1).abs().max() < .01
    assert track.confidence[4] == 0 and track.confidence[rest].min() > .5 and '9 of 10 frames placed' in track.source
    assert seen == [(n + 1, 15) for n in range(10)] + [(15, 15)]  # reading, then solving
    assert_close(track.world_from_camera[0], torch.eye(3).double(), atol=1e-9, rtol=0)

def test_floats_and_bytes_agree():
    rotations = rotation_from_euler(torch.linspace(0, .2, 8).double(), torch.zeros(8).double(), torch.zeros(8).double())
    frames = filmed(rotations)
    one, two = estimate_cameras(frames, 15, FOV), estimate_cameras(frames.float()/255, 15, FOV)
    assert rotation_angle(one.world_from_camera.mT @ two.world_from_camera).rad2deg().max() < .05

@pytest.mark.parametrize('frames', [torch.full((5, 3, *SIZE), 128, dtype=torch.uint8),
                                    torch.zeros(2, 3, *SIZE, dtype=torch.uint8)], ids=['grey', 'black'])
def test_nothing_to_see_is_no_exception(frames):
    track = estimate_cameras(frames, 15)
    assert_close(track.world_from_camera, torch.eye(3).double().expand(len(frames), 3, 3))
    assert 'assumed' in track.source
    assert_close(track.fov_x, torch.full((len(frames),), float(DEFAULT_FOV), dtype=torch.float64))

def test_progress_reaches_the_end():
    seen = []
    estimate_cameras(filmed(torch.eye(3).double().expand(6, 3, 3)), 15, FOV, progress=lambda done,
                     total: seen.append((done, total)))
    assert seen == [(n, 9) for n in range(1, 7)] + [(9, 9)]  # not at its end before the cameras are solved

def test_real_footage_is_followed(media):
    "A hand that pans, tilts and rolls: the camera must be found to move, and to move smoothly."
    from argus_nb.video import read_video
    video = read_video(media/'perspective'/'handheld_pan_tilt_roll.mp4', seconds=2)
    track = estimate_cameras(video.frames, video.fps)
    steps = rotation_angle(track.world_from_camera[:-1].mT @ track.world_from_camera[1:]).rad2deg()
    assert isinstance(track, CameraTrack) and len(track) == len(video.frames)
    assert steps.max() < 8 and rotation_angle(track.world_from_camera).rad2deg().max() > 2
