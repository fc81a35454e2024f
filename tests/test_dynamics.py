"""The ball that leaves the view: it is where it is said to be, it is found there, and the guesses are what they are
called."""
import pytest, torch
from argus_nb.experiments import dynamics


@pytest.fixture(scope='module', params=[0, pytest.param(1, marks=pytest.mark.slow)])
def clip(request): return dynamics.Clip(request.param)


def test_the_ball_is_found_where_it_is_and_not_where_it_is_not(clip):
    for later in dynamics.LATER:
        t = clip.last + round(later*dynamics.FPS)
        seen, bare = clip.look(clip.pair.target, t), clip.look(clip.without, t)
        assert seen['error'] < 5 and seen['likeness'] > 5*bare['likeness']


def test_it_was_in_view_and_is_not_when_it_is_looked_for(clip):
    assert clip.pair.mask[clip.last, 0][clip._pixel(clip.last)]
    assert not any(clip.pair.mask[clip.last + round(later*dynamics.FPS),
                                  0][clip._pixel(clip.last + round(later*dynamics.FPS))] for later in dynamics.LATER)


def test_a_picture_turned_by_ten_degrees_is_ten_degrees_wrong(clip):
    t = clip.last + 5
    columns = round(10/360*dynamics.SIZE[1])
    assert clip.look(clip.pair.target.roll(columns, -1), t)['error'] == pytest.approx(columns*360/dynamics.SIZE[1],
        abs=4)


def test_guesses_of_something_that_turns_steadily():
    steady = object.__new__(dynamics.Clip)
    yaw = torch.arange(dynamics.FRAMES).double()*.07
    steady.truth, steady.last = torch.stack([yaw.sin(), 0*yaw, yaw.cos()], -1), 4
    guess = steady.guesses(14)
    assert guess['steady'] < 1e-3 and guess['frozen'] == pytest.approx(40.107, abs=.01)  # ten frames of 0.07 radians


def test_the_threshold_lies_between_two_sets_and_counts_what_crosses_it():
    found = dynamics.threshold([.2, .4, .8], [.01, .05])
    assert found == dict(likeness=.1, missed=0, imagined=0)
    assert dynamics.threshold([.001, .4, .8, .9], [.01, .05])['missed'] == .25
