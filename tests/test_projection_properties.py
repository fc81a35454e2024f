"""Projection under random cameras, sizes and fields of view: properties that hold whatever they are (hypothesis)."""
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch.testing import assert_close

from argus_nb.projection import (SamplingGrid, feathered_mask, panorama_to_perspective, perspective_to_panorama,
                                 rotate_panorama,
                                 tangent_rotations, tangent_views, views_to_panorama)
from argus_nb.runtime import make_generator
from argus_nb.sphere import (euler_from_rotation, panorama_rays, perspective_coordinates, perspective_rays,
                             rotation_from_euler)

few = settings(max_examples=25, deadline=None, derandomize=True, database=None,
               suppress_health_check=[HealthCheck.too_slow])
ANGLE = st.floats(-math.pi, math.pi)
ROTATIONS = st.builds(rotation_from_euler, ANGLE,
                      st.floats(-math.pi/2, math.pi/2) | st.sampled_from([-math.pi/2, math.pi/2]), ANGLE)
FOVS = st.floats(.3, 2.4)
SIZES = st.tuples(st.integers(8, 40), st.integers(8, 40))
PANORAMAS = st.tuples(st.integers(8, 24), st.integers(9, 48))  # odd widths too
MODES = st.sampled_from(['nearest', 'bilinear', 'bicubic'])
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.uint8])

def scene(rays):
    "A smooth function of direction in [0, 1]."
    x, y, z = rays.double().unbind(-1)
    return torch.stack([.5 + .3*x + .15*y*z, .5 - .4*y + .1*x*z, .5 + .3*z*z - .25*x*y])

def noise(*shape, seed=0, dtype=torch.float32):
    pixels = torch.rand(*shape, generator=make_generator(seed), dtype=torch.float64)
    return (pixels*255).round().byte() if dtype == torch.uint8 else pixels.to(dtype)

@few
@given(ROTATIONS, FOVS, st.floats(.4, 1.6), st.tuples(st.floats(.2, .8), st.floats(.2, .8)), SIZES)
def test_a_photograph_comes_back(R, fov_x, aspect, point, size):
    "Painted on a panorama and looked at again with the same camera, away from its edge; pixels need not be square."
    fov_y = 2*math.atan(math.tan(fov_x/2)*aspect)
    camera = dict(fov_y=fov_y, principal_point=point)
    photo = scene(perspective_rays(*size, fov_x, fov_y, point).double() @ R.mT)[None].float()
    painted, mask = perspective_to_panorama(photo, R, fov_x, (128, 256), **camera)
    seen = panorama_to_perspective(mask.float(), R, fov_x, size, antialias=False, **camera) > .999
    back = panorama_to_perspective(painted, R, fov_x, size, antialias=False, **camera)
    inside = torch.zeros_like(seen); inside[..., 2:-2, 2:-2] = True  # at the very edge half a pixel is clamped
    error = (back - photo).abs().amax(1, keepdim=True)[seen & inside]
    steps = [2*math.tan(fov/2)/n for fov, n in zip((fov_y, fov_x), size)]
    assert not len(error) or error.max() < .5*(max(steps)**2 + (2*math.pi/256)**2)

@few
@given(ROTATIONS, FOVS, FOVS, st.tuples(st.floats(.2, .8), st.floats(.2, .8)), SIZES, PANORAMAS, st.floats(0, .5))
def test_masks_are_the_analytic_ones(R, fov_x, fov_y, point, frame, size, feather):
    """Except for rays within 1e-9 of the edge; the feathered one is positive exactly there and level with its distance
    inside."""
    mask = perspective_to_panorama(noise(1, 1, *frame), R, fov_x, size, fov_y, point)[1][0, 0]
    x, y, z = (panorama_rays(*size) @ R).unbind(-1)
    u, v = x/z/(2*math.tan(fov_x/2)) + point[0], y/z/(2*math.tan(fov_y/2)) + point[1]
    inside = torch.stack([u, 1 - u, v, 1 - v, z]).amin(0)
    clear = inside.abs() > 1e-9
    assert torch.equal(mask[clear], (inside > 0)[clear])
    weight = feathered_mask(frame, R, fov_x, size, fov_y, point, feather=feather)[0, 0]
    assert ((weight >= 0) & (weight <= 1)).all() and torch.equal(weight > 0, mask)
    u, v, _ = perspective_coordinates(panorama_rays(*size) @ R, frame, fov_x, fov_y, point)
    far = torch.stack([u, frame[1] - u, v, frame[0] - v]).amin(0) > feather*min(frame) + 1e-9
    assert (weight[mask & far] == 1).all()

@few
@given(PANORAMAS, st.integers(-60, 60), MODES, DTYPES, st.integers(0, 99))
def test_a_yaw_by_whole_pixels_is_a_roll(size, pixels, mode, dtype, seed):
    panorama = noise(2, 3, *size, seed=seed, dtype=dtype)
    turned = rotate_panorama(panorama, rotation_from_euler(pixels*2*math.pi/size[1], 0., 0.), mode=mode,
                             antialias=False)
    assert_close(turned, panorama.roll(pixels, -1), atol=1e-5, rtol=0)

@few
@given(ROTATIONS, FOVS, SIZES, st.integers(-40, 40), MODES)
def test_turning_camera_and_panorama_together_changes_nothing(R, fov, size, pixels, mode):
    "A view of a rolled panorama, by a camera that is turned as far."
    panorama, turn = noise(3, 16, 36), rotation_from_euler(pixels*2*math.pi/36, 0., 0.)
    assert_close(panorama_to_perspective(panorama.roll(pixels, -1), turn @ R, fov, size, mode=mode),
                 panorama_to_perspective(panorama, R, fov, size, mode=mode),
                 atol=1e-5 if mode != 'nearest' else 1, rtol=0)

@few
@given(ROTATIONS, ROTATIONS)
def test_turns_compose(first, second):
    "One after the other is their product, to interpolation; and back again is nothing."
    panorama = scene(panorama_rays(64, 128)).float()
    once, twice = rotate_panorama(panorama, second @ first), rotate_panorama(rotate_panorama(panorama, first), second)
    assert (once - twice).abs().max() < 2e-3
    assert (once - scene(panorama_rays(64, 128) @ (second @ first))).abs().max() < 1.5e-3
    assert (rotate_panorama(rotate_panorama(panorama, first), first.mT) - panorama).abs().max() < 2e-3

@few
@given(ROTATIONS)
def test_angles_come_back_as_the_same_rotation(R):
    assert_close(rotation_from_euler(*euler_from_rotation(R)), R, atol=1e-7, rtol=0)
    assert_close(R.mT @ R, torch.eye(3, dtype=R.dtype), atol=1e-12, rtol=0)

@few
@given(ROTATIONS, FOVS, SIZES, PANORAMAS, MODES, DTYPES, st.booleans())
def test_a_grid_reads_what_the_functions_read(R, fov, frame, size, mode, dtype, antialias):
    how, step = dict(mode=mode, antialias=antialias), 1 if dtype == torch.uint8 else 1e-5
    frames, panorama = noise(2, 3, *frame, dtype=dtype), noise(2, 3, *size, dtype=dtype)
    painting = SamplingGrid.perspective_to_panorama(frame, R, fov, size)
    painted, mask = perspective_to_panorama(frames, R, fov, size, **how)
    assert torch.equal(painting.mask.expand_as(mask), mask)
    pairs = [(painting(frames, **how), painted),
             (SamplingGrid.panorama_to_perspective(size, R, fov, frame)(panorama, **how),
              panorama_to_perspective(panorama, R, fov, frame, **how)),
             (SamplingGrid.rotate_panorama(size, R)(panorama, **how), rotate_panorama(panorama, R, **how))]
    for ours, theirs in pairs:
        assert ours.dtype == dtype and ours.shape == theirs.shape
        assert_close(ours.double(), theirs.double(), atol=step, rtol=0)

@few
@given(st.integers(8, 40), st.floats(1.6, 2.), st.integers(12, 40), st.sampled_from([0, .1, .5]))
def test_tangent_views_come_back(count, fov, edge, feather):
    "However many, as long as they cover the sphere, which from eight views of 92 degrees on they do but for little."
    around, panorama = tangent_rotations(count), scene(panorama_rays(32, 64)).float()
    back, seen = views_to_panorama(tangent_views(panorama, around, fov, (edge, edge)), around, fov, (32, 64),
                                   feather=feather)
    assert seen.float().mean() > .95 and not back[:, ~seen[0]].any()
    step = 2*math.tan(fov/2)/edge
    assert (back - panorama)[:, seen[0]].abs().max() < .3*(step + 2*math.pi/64)*step + 4e-3
