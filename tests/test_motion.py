"""Simulated motion: seeds and options as properties, limits on a grid, faults. (The statistics are checked in the
notebook.)"""
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from argus_nb.motion import HandMotion, frame_times, motion_terms, random_fov, simulate_motion
from argus_nb.runtime import InputError, make_generator

SILENT = HandMotion(noise=(0, 0, 0), amplitude=(0, 0, 0), drift=(0, 0, 0), start=(0, 0, 0))
seeds = st.integers(0, 2**40)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, clips=st.integers(1, 5))
def test_clips_drawn_together_are_tracks_of_their_own(seed, clips):
    tracks = simulate_motion(8, 5, make_generator(seed), clips=clips)
    again = simulate_motion(8, 5, make_generator(seed), clips=clips)
    assert len(tracks) == clips
    for n, (a, b) in enumerate(zip(tracks, again)):
        assert torch.equal(a.world_from_camera,
                           b.world_from_camera) and torch.equal(a.fov_x, b.fov_x) and torch.equal(a.fov_y, b.fov_y)
        for c in tracks[:n]:
            assert not torch.equal(a.world_from_camera, c.world_from_camera) and a.fov_x[0] != c.fov_x[0]
    if clips == 1:
        assert torch.equal(tracks[0].world_from_camera, simulate_motion(8, 5, make_generator(seed)).world_from_camera)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_options_change_only_what_they_say(seed):
    plain, level, turning, square = (simulate_motion(8, 5, make_generator(seed), **o)
                                     for o in ({}, dict(level=True), dict(min_drift=5.), dict(fov_x=1.)))
    terms = motion_terms(1, frame_times(8, 5), torch.Generator().set_state(after_fov(seed)))
    for track, name in ((level, 'start'), (turning, 'drift')):
        assert torch.equal(track.fov_x, plain.fov_x)
        other = {k: v for k, v in terms.items() if k != name}
        left = torch.stack(track.euler(), -1).rad2deg() - sum(other.values())[0]
        if name == 'start': assert_close(left, torch.zeros_like(left), atol=1e-9, rtol=0)
        else: assert_close(left[:, 1:], terms['drift'][0, :, 1:], atol=1e-9, rtol=0)
    assert torch.equal(square.world_from_camera, plain.world_from_camera) and square.fov_y is None


def after_fov(seed):
    "The generator's state once the fields of view are drawn."
    generator = make_generator(seed)
    random_fov(1, generator)
    return generator.get_state()


@pytest.mark.parametrize('low, high', [(30, 120), (60, 60), (90, 170), (1, 20)])
def test_fields_of_view_stay_in_their_limits(low, high):
    fov_x, fov_y = random_fov(4000, make_generator(0), low, high)
    ratio = (fov_y/2).tan()/(fov_x/2).tan()
    assert ratio.min() >= .5 - 1e-9 and ratio.max() <= 2 + 1e-9
    for fov in (fov_x.rad2deg(), fov_y.rad2deg()): assert fov.min() >= low - 1e-9 and fov.max() <= high + 1e-9
    if (low, high) == (30, 120):  # uniform in x; given x, uniform in y between its limits
        assert_close(fov_x.rad2deg().quantile(torch.tensor([.25, .5, .75]).double()),
                     torch.tensor([52.5, 75, 97.5]).double(), atol=2, rtol=0)
        narrow = fov_y.rad2deg()[(fov_x.rad2deg() - 60).abs() < 5]
        wanted = [2*math.degrees(math.atan(math.tan(math.radians(30))*k)) for k in (.5, 2)]
        assert abs(narrow.min() - wanted[0]) < 4 and abs(narrow.max() - wanted[1]) < 6
        assert abs(narrow.mean() - sum(wanted)/2) < 3


@pytest.mark.parametrize('kind, last', [('paper', 15/5), ('release', 16/5)])
def test_the_two_clocks(kind, last): assert frame_times(16, 5, kind)[-1] == pytest.approx(last)


def test_the_released_clock_drifts_a_hair_faster():
    drift = HandMotion(noise=(0, 0, 0), amplitude=(0, 0, 0), drift=(10, 0, 0), drift_probability=1., start=(0, 0, 0))
    paper, release = (simulate_motion(16, 5, make_generator(1), motion=drift, timing=t).euler()[0]
                      for t in ('paper', 'release'))
    assert_close(release, paper*16/15)
    assert paper.diff().std() < 1e-12 and paper[-1] != 0


def test_a_silent_hand_holds_still():
    track = simulate_motion(5, 5, make_generator(0), motion=SILENT)
    assert_close(track.world_from_camera, torch.eye(3).double().expand(5, 3, 3))


@pytest.mark.parametrize('angle, name', list(enumerate(('yaw', 'pitch', 'roll'))))
def test_each_angle_has_its_own_setting(angle, name):
    only = tuple(5. if n == angle else 0. for n in range(3))
    for field in ('noise', 'amplitude', 'drift', 'start'):
        motion = HandMotion(**{f: only if f == field else (0, 0, 0) for f in ('noise', 'amplitude', 'drift', 'start')},
                            drift_probability=1.)
        moved = [bool(a.abs().max() > 1e-6) for a in simulate_motion(9, 7, make_generator(2), motion=motion).euler()]
        assert moved == [n == angle for n in range(3)], (name, field)


def test_drift_probability_of_zero_and_one():
    for probability in (0., 1.):
        terms = motion_terms(50, frame_times(4, 5), make_generator(0), HandMotion(drift_probability=probability))
        drifts = terms['drift'][:, -1] != 0
        assert bool(drifts.all()) == bool(drifts.any()) == bool(probability)


@pytest.mark.parametrize('arguments, message', [
    (dict(num_frames=0), 'num_frames and fps must be positive'), (dict(fps=0), 'num_frames and fps'),
    (dict(clips=0), 'clips must be'),
    (dict(min_drift=15.1), 'min_drift must lie'), (dict(min_drift=-1), 'min_drift must lie'),
    (dict(fov_y=1.), 'fov_y is given without fov_x'),
    (dict(fov_x=60.), 'fov_x must lie between'), (dict(timing='wall'), "must be 'paper' or 'release'"),
])
def test_faults(arguments, message):
    with pytest.raises(InputError, match=message):
        simulate_motion(**(dict(num_frames=4, fps=5, generator=make_generator(0)) | arguments))


@pytest.mark.parametrize('fields, message', [(dict(noise=(1, 1)), 'noise must be three'),
                                             (dict(start=(0, -1, 0)), 'start must be three'),
                                             (dict(drift_probability=1.5), 'drift_probability')])
def test_motion_settings_are_checked(fields, message):
    with pytest.raises(InputError, match=message): HandMotion(**fields)
