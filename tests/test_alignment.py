"Alignment, pasting and stitching: signs, streams, agreement with the projection everywhere on the sphere, faults."
import math, weakref

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from argus_nb.alignment import (Landing, align_frames, align_naive, iter_aligned, iter_pasted, level_rotation,
                                paste_frames, stitch_frames, to_camera_maps,
                                to_shared_map, wander)
from argus_nb.cameras import CameraTrack
from argus_nb.motion import simulate_motion
from argus_nb.projection import feathered_mask, panorama_to_perspective, perspective_to_panorama
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import panorama_rays, rotation_angle, rotation_from_euler

SIZE = (64, 128)
angles = st.floats(-3.1, 3.1)


def smooth_panorama(height, width):
    "A smooth function of direction, so that sampling costs next to nothing."
    rays = panorama_rays(height, width)
    waves = torch.tensor([[2., 1, 0], [0, 1, 2], [-1, 2, 1]], dtype=torch.float64)
    return (.5 + .4*torch.sin(2*rays @ waves.T)).movedim(-1, 0).float()


class Lazy:
    "Frames that are decoded when asked for; counts how many at once."
    def __init__(self, frames): self.frames, self.most = frames, 0
    def __len__(self): return len(self.frames)
    def __getitem__(self, index):
        part = self.frames[index]
        self.most = max(self.most, 1 if isinstance(index, int) else len(part))
        return part


@pytest.fixture(scope='module')
def cameras(): return simulate_motion(6, 2, make_generator(0), fov_x=1.2, min_drift=10).relative_to_first()


@pytest.fixture(scope='module')
def frames(cameras): return panorama_to_perspective(smooth_panorama(128, 256), cameras.world_from_camera,
                                                    cameras.fov_x, (48, 64))


# --- Signs ---------------------------------------------------------------------------------------------------------

def moments(mask):
    "Centre of a footprint, and whether its right side is lower (positive), in pixels from the middle of the map."
    v, u = (m.double() for m in torch.meshgrid(torch.arange(SIZE[0]) + .5 - SIZE[0]/2,
                                               torch.arange(SIZE[1]) + .5 - SIZE[1]/2, indexing='ij'))
    w = mask[0].double()/mask.sum()
    x, y = (w*u).sum(), (w*v).sum()
    return x, y, (w*(u - x)*(v - y)).sum()


@pytest.mark.parametrize('angles, sign', [((.4, 0, 0), (1, 0, 0)), ((-.4, 0, 0), (-1, 0, 0)), ((0, .4, 0), (0, -1, 0)),
                                          ((0, -.4, 0), (0, 1, 0)), ((0, 0, .3), (0, 0, 1)), ((0, 0, -.3), (0, 0, -1))])
def test_yaw_goes_right_pitch_up_and_roll_lowers_the_right_side(angles, sign):
    _, mask = align_frames(torch.ones(1, 3, 24, 48), CameraTrack.from_euler(*angles, 1.), SIZE)
    for value, wanted in zip(moments(mask[0]), sign): assert (abs(value) < .6) if wanted == 0 else (value*wanted > 2)


# --- Aligning ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('chunk', [1, 4, 6, 100])
def test_streaming_changes_nothing_and_asks_for_few_frames(frames, cameras, chunk):
    lazy, (whole, seen) = Lazy((frames*255).round().byte()), align_frames((frames*255).round().byte(), cameras, SIZE)
    parts = list(iter_aligned(lazy, cameras, SIZE, chunk=chunk))
    assert torch.equal(torch.cat([p for p, _ in parts]), whole) and torch.equal(torch.cat([m for _, m in parts]), seen)
    assert lazy.most <= chunk and whole.dtype == torch.float32 and seen.dtype == torch.bool and whole.max() <= 1


def test_every_property_of_the_cameras_counts(frames, cameras):
    track = CameraTrack(cameras.world_from_camera, torch.linspace(.6, 1.4, 6), torch.linspace(1.2, .7, 6),
                        torch.linspace(.4, .6, 12).reshape(6, 2))
    panorama, mask = align_frames(frames, track, SIZE)
    wanted, seen = perspective_to_panorama(frames, track.world_from_camera, track.fov_x, SIZE, fov_y=track.fov_y,
                                           principal_point=track.principal_point)
    assert_close(panorama, wanted); assert torch.equal(mask, seen)


def test_aligned_frames_are_the_scene(frames, cameras):
    panorama, mask = align_frames(frames, cameras, SIZE)
    error = (panorama - torch.nn.functional.avg_pool2d(smooth_panorama(128, 256)[None],
                                                       2)).abs()[mask.expand_as(panorama)]
    assert error.mean() < .004 and error.max() < .05
    wrong = align_frames(frames, CameraTrack(cameras.world_from_camera.mT, cameras.fov_x),
                         SIZE)  # the inverse must not do
    assert (wrong[0] - torch.nn.functional.avg_pool2d(smooth_panorama(128, 256)[None],
                                                      2)).abs()[wrong[1].expand_as(panorama)].mean() > .03


def test_naive_is_aligned_for_a_camera_that_stands_still(frames, cameras):
    still = CameraTrack(cameras.world_from_camera[:1].expand(6, 3, 3), cameras.fov_x)
    for a, b in zip(align_naive(frames, cameras, SIZE), align_frames(frames, still, SIZE)): assert torch.equal(a, b)


def test_turning_back_is_exact_for_whole_pixels():
    panoramas = torch.rand(3, 3, 16, 32, generator=make_generator(0))
    track = CameraTrack.from_euler(torch.tensor([0, 3, -5])*2*math.pi/32, 0., 0., 1.)
    shared = to_shared_map(panoramas, track)
    for n, shift in enumerate((0, 3, -5)): assert_close(shared[n], panoramas[n].roll(shift, -1), atol=1e-5, rtol=0)
    assert_close(to_camera_maps(shared, track), panoramas, atol=1e-5, rtol=0)


def test_turning_back_needs_the_rotation_and_not_negated_angles():
    scene = smooth_panorama(*SIZE)
    track = CameraTrack.from_euler(.7, .5, .3, 1.)
    negated = CameraTrack.from_euler(*(-a for a in track.euler()), 1.)
    exact = to_shared_map(to_camera_maps(scene[None], track), track)[0]
    wrong = to_shared_map(to_shared_map(scene[None], negated), track)[0]
    assert (exact - scene).abs().max() < .01 and (wrong - scene).abs().max() > .2


# --- How much the scene wanders ------------------------------------------------------------------------------------

def test_wander_is_zero_for_true_cameras_whatever_their_world(cameras):
    assert wander(cameras, SIZE, cameras) < 1e-9
    assert wander(cameras, SIZE, cameras.rotated(rotation_from_euler(1., .5, .2))) < 1e-9


@pytest.mark.parametrize('angle', [.01, .05, .1])
def test_wander_of_a_small_turn_is_that_turn(angle):
    track = CameraTrack.from_euler(torch.tensor([-angle, angle]).double(), 0., 0., .6)
    assert wander(track, (512, 1024)) == pytest.approx(angle*1024/(2*math.pi),
                                                       rel=.05)  # each place is `angle` from the mean
    assert wander(track, (512, 1024), track[[0, 0]]) == pytest.approx(angle*1024/(2*math.pi), rel=.05)


# --- Where a frame lands -------------------------------------------------------------------------------------------

@settings(max_examples=40, deadline=None)
@given(yaw=angles, pitch=st.floats(-1.57, 1.57), roll=angles, fov=st.floats(.2, 2.6),
       fov_y=st.none() | st.floats(.2, 2.6), feather=st.sampled_from([0., .1, .5]),
       point=st.none() | st.tuples(st.floats(.2, .8), st.floats(.2, .8)))
def test_weights_are_the_feathered_mask_everywhere(yaw, pitch, roll, fov, fov_y, feather, point):
    track = CameraTrack.from_euler(yaw, pitch, roll, fov, fov_y=fov_y, principal_point=point)
    index, colours, weights = Landing(SIZE)(torch.ones(3, 12, 16), track, feather)
    wanted = feathered_mask((12, 16), track.world_from_camera, track.fov_x, SIZE, fov_y=track.fov_y,
                            principal_point=track.principal_point, feather=feather)[0, 0]
    found = torch.zeros(SIZE).flatten().index_put_((index,), weights).reshape(SIZE)
    assert len(index.unique()) == len(index)
    off = (found - wanted).abs()
    assert off.max() < 1e-4 or (off > 1e-4).sum() <= 1  # a ray on the very edge may fall either way
    if len(index): assert_close(colours, torch.ones_like(colours))


@pytest.mark.parametrize('angles', [(0, 0, 0), (math.pi, 0, .3), (.5, 1.5, 0), (2, -1.4, 1), (-2, .4, -2)],
                         ids=['front', 'seam', 'zenith', 'nadir', 'aslant'])
@pytest.mark.parametrize('feather', [0., .1, .4])
@pytest.mark.parametrize('fov', [.7, 2.])
def test_pasting_is_the_blend_of_the_projection(angles, feather, fov):
    track = CameraTrack.from_euler(*angles, fov)
    frame = torch.rand(1, 3, 6, 8, generator=make_generator(0))  # too small to be shrunk
    under = torch.rand(1, 3, *SIZE, generator=make_generator(1))
    over, _ = perspective_to_panorama(frame, track.world_from_camera, track.fov_x, SIZE, antialias=False)
    weight = feathered_mask((6, 8), track.world_from_camera, track.fov_x, SIZE, feather=feather)
    pasted = paste_frames(under, frame, track, feather)
    assert_close(pasted, torch.lerp(under, over, weight), atol=1e-4, rtol=0)
    assert torch.equal(pasted[(weight == 0).expand_as(pasted)],
                       under[(weight == 0).expand_as(pasted)]) and not torch.equal(pasted, under)


@pytest.mark.parametrize('size', [(64, 128), (128, 256)])
def test_large_frames_are_averaged_not_skipped(size):
    track = CameraTrack.from_euler(.3, .2, .1, 1.1)
    frame = torch.rand(1, 3, 240, 320, generator=make_generator(0))  # noise: aliasing would keep all of its contrast
    pasted = paste_frames(torch.full((1, 3, *size), .5), frame, track, 0.)
    inside = feathered_mask((240, 320), track.world_from_camera, track.fov_x, size)[0, 0] == 1
    exact, _ = perspective_to_panorama(frame, track.world_from_camera, track.fov_x, (size[0]*8, size[1]*8),
                                       antialias=False)
    exact = torch.nn.functional.avg_pool2d(exact, 8)
    aliased, _ = perspective_to_panorama(frame, track.world_from_camera, track.fov_x, size, antialias=False)
    error, of_aliased = ((a - exact)[0][:, inside].square().mean().sqrt() for a in (pasted, aliased))
    assert error < .35*of_aliased


@pytest.mark.parametrize('panorama_type', [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize('frame_type', [torch.uint8, torch.float32])
def test_types_come_back_as_they_went_in(frames, cameras, panorama_type, frame_type):
    make = lambda x, to: (x*255).round().byte() if to == torch.uint8 else x.to(to)
    under = torch.rand(6, 3, *SIZE, generator=make_generator(1))
    wanted = paste_frames(under, frames, cameras)
    given = make(under, panorama_type)
    pasted = paste_frames(given, Lazy(make(frames, frame_type)), cameras)
    assert pasted.dtype == panorama_type
    assert torch.equal(given, make(under, panorama_type))  # what was given is left alone
    found = (pasted/255 if panorama_type == torch.uint8 else pasted).float()
    assert_close(found, wanted, atol=.006, rtol=0)
    changed = wanted != under
    assert (found - wanted)[changed].mean().abs() < .1/255  # rounded, not cut off


def test_a_stream_is_pasted_one_by_one(frames, cameras):
    under = torch.rand(6, 3, *SIZE, generator=make_generator(1))
    lazy = Lazy(frames)
    stream = iter_pasted((p.clone() for p in under), lazy, cameras)
    assert torch.equal(torch.stack(list(stream)), paste_frames(under, frames, cameras)) and lazy.most == 1


# --- Stitching -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('passes', [1, 3])
def test_stitching_a_still_scene_gives_the_scene(frames, cameras, passes):
    panorama, seen = stitch_frames((frames*255).round().byte(), cameras, SIZE, passes=passes)
    assert torch.equal(seen[0], align_frames(frames, cameras, SIZE)[1].any(0)[0])
    error = (panorama - torch.nn.functional.avg_pool2d(smooth_panorama(128, 256)[None],
                                                       2)[0]).abs()[seen.expand_as(panorama)]
    assert error.mean() < .01 and (panorama[~seen.expand_as(panorama)] == 0).all()


def test_what_is_seldom_there_is_forgotten():
    still = CameraTrack.static(9, 1.2)
    video = torch.full((9, 3, 48, 64), .4)
    for n in range(9):
        video[n, :, :, 7*n:7*n + 14] = torch.tensor([.9, .1, .6])[:, None, None]  # every place is hidden twice in nine
    seen = feathered_mask((48, 64), torch.eye(3), 1.2, SIZE).expand(1, 3, -1, -1)[0] > 0
    errors = [(stitch_frames(video, still, SIZE, passes=p)[0] - .4).abs()[seen].max() for p in (1, 2, 4)]
    assert errors[0] > .1 and errors[1] < .6*errors[0] and errors[2] < .2*errors[0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), passes=st.sampled_from([1, 2, 3]), times=st.integers(1, 3))
def test_stitching_knows_no_order_and_no_number_of_frames(seed, passes, times):
    "A clip shuffled, or shown several times over, gives the same picture."
    random = make_generator(seed)
    track = simulate_motion(4, 1, random, fov_x=1.2)
    video, order = torch.rand(4, 3, 6, 8, generator=random), torch.randperm(4*times, generator=random) % 4
    once, seen = stitch_frames(video, track, (24, 48), passes=passes)
    again, seen_again = stitch_frames(video[order], track[order.tolist()], (24, 48), passes=passes)
    assert torch.equal(seen, seen_again)
    assert_close(again, once, atol=1e-4, rtol=0)


class Watched(Lazy):
    "Frames that are copied when asked for; counts how many of the copies are still alive."
    def __init__(self, frames): super().__init__(frames); self.alive, self.most_alive = weakref.WeakSet(), 0
    def __getitem__(self, index):
        frame = super().__getitem__(index).clone()
        self.alive.add(frame); self.most_alive = max(self.most_alive, len(self.alive))
        return frame


@pytest.mark.parametrize('times', [1, 10])
def test_stitching_keeps_no_frame(frames, cameras, times):
    "Memory does not depend on the number of frames: the one at hand and the one before it."
    watched = Watched(frames.repeat(times, 1, 1, 1))
    stitch_frames(watched, cameras[list(range(6))*times], SIZE, passes=2)
    assert watched.most == 1 and watched.most_alive <= 2


@settings(max_examples=25, deadline=None)
@given(yaw=angles, pitch=st.floats(-1.5, 1.5), roll=angles, error=st.floats(0, .05))
def test_wander_does_not_depend_on_where_the_map_is_turned(yaw, pitch, roll, error):
    track = CameraTrack.from_euler(torch.tensor([0., .3, .5]), torch.tensor([.1, 0., -.1]), 0., .9)
    estimate = track.world_from_camera.clone(); estimate[1] = rotation_from_euler(error, 0., 0.) @ estimate[1]
    estimate = CameraTrack(estimate, track.fov_x)
    here, there = (wander(track, SIZE, e) for e in (estimate, estimate.rotated(rotation_from_euler(yaw, pitch, roll))))
    assert there == pytest.approx(here, rel=1e-6, abs=1e-8)
    assert here < 1e-6 if error == 0 else here < wander(track, SIZE)/3
    if error > 1e-3: assert here > .1*error*SIZE[1]/(2*math.pi)


# --- Levelling and faults ------------------------------------------------------------------------------------------

def test_level_rotation_levels_what_turns_and_leaves_what_does_not():
    yaw = torch.linspace(0, 4, 60).double()
    track = CameraTrack.from_euler(yaw, -.3 + .03*(5*yaw).sin(), .05*(3*yaw).cos(), 1.)
    left = rotation_angle(level_rotation(track.relative_to_first()) @ track.world_from_camera[0].T)
    assert left.rad2deg() < 1.5
    assert_close(level_rotation(CameraTrack.static(5, 1.)), torch.eye(3).double())


@pytest.mark.parametrize('call, message', [
    (lambda f, c, p: align_frames(f[:2], c, SIZE), 'frames and cameras must be of one length, got 2 and 6'),
    (lambda f, c, p: align_naive(f, c[:3], SIZE), 'frames and cameras must be of one length, got 6 and 3'),
    (lambda f, c, p: stitch_frames(f[:2], c, SIZE), 'frames and cameras must be of one length, got 2 and 6'),
    (lambda f, c, p: stitch_frames(f, c, SIZE, passes=0), 'passes must be at least 1, got 0'),
    (lambda f, c, p: paste_frames(p[:2], f, c), 'panorama and frames must be of one length, got 2 and 6'),
    (lambda f, c, p: paste_frames(p, f, c[:5]), 'frames and cameras must be of one length, got 6 and 5'),
    (lambda f, c, p: paste_frames(p[0], f, c), r'panorama must have shape \(T, 3, H, W\)'),
    (lambda f, c, p: paste_frames(p, f, c, feather=-.1), 'feather must not be negative'),
    (lambda f, c, p: list(iter_pasted(p.movedim(-1, 1).contiguous().movedim(1, -1), f, c)), 'contiguous'),
    (lambda f, c, p: to_shared_map(p[:2], c), 'panoramas and cameras must be of one length'),
    (lambda f, c, p: to_camera_maps(p[:2], c), 'panoramas and cameras must be of one length'),
    (lambda f, c, p: wander(c, SIZE, c[:2]), 'cameras and estimate must be of one length'),
])
def test_faults(frames, cameras, call, message):
    with pytest.raises(InputError, match=message): call(frames, cameras, torch.zeros(6, 3, *SIZE))
