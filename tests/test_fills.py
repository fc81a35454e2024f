"The simple ways to fill the gap, on cases known by hand."
import pytest, torch
from torch.testing import assert_close
from argus_nb import fills
from argus_nb.sphere import panorama_rays


def smooth(height=32, width=64):
    "A panorama that is a smooth function of the direction, in [0, 1]; (3, H, W)."
    return (panorama_rays(height, width)/2 + .5).movedim(-1, 0).float()


def front(height=32, width=64): return panorama_rays(height, width)[..., 2] > 0


FEW = fills.NearestPanorama(worlds=6)  # made once: few worlds are enough for a test


def all_fills(image, seen, mean): return {name: fills.fill(name, image, seen, mean, FEW) for name in fills.FILLS}


def test_everything_seen_averages_over_the_frames_that_saw_it():
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)[:, None, None]
    condition = torch.tensor([[.2, .2, 0, 0], [0, .4, .6, 0]])[:, None, None].expand(2, 3, 1, 4)
    image, seen = fills.everything_seen(condition, mask)
    assert seen.tolist() == [[True, True, True, False]]
    assert_close(image[0, 0], torch.tensor([.2, .3, .6, 0]))


# --- Fills ---------------------------------------------------------------------------------------------------------

def test_every_fill_keeps_what_was_seen_and_fills_the_rest():
    image, seen = smooth(), front()
    made = all_fills(torch.where(seen, image, torch.nan), seen, torch.full((3, 32, 64), .5) + .1*smooth())
    assert tuple(made) == fills.FILLS
    for name, filled in made.items():
        assert_close(filled[:, seen], image[:, seen], msg=name)
        assert filled.isfinite().all() and filled.min() >= 0 and filled.max() <= 1, name


def test_a_plain_colour_is_continued_as_it_is():
    image, seen = torch.full((3, 32, 64), .4), front()
    made = all_fills(image, seen, smooth())
    for name in fills.FILLS[:5]:
        assert_close(made[name], image, atol=.02 if 'Telea' in name else .003, rtol=0, msg=name)


def test_edge_and_mirror_on_half_a_sphere():
    rays, image, seen = panorama_rays(32, 64), smooth(), front()
    mirrored = fills.fill_mirrored(image, seen)
    assert_close(mirrored, (rays*torch.tensor([1, 1, -1.]).sign().where(~seen[..., None], torch.ones(3))/2
                            + .5).movedim(-1, 0).float(), atol=.11, rtol=0)
    edge = fills.fill_edge(image, seen)
    away = (~seen) & (rays[..., 2] > -.9)  # nearest on the great circle between front and back, where z = 0
    expected = torch.nn.functional.normalize(rays*torch.tensor([1, 1, 0.]), dim=-1)/2 + .5
    assert_close(edge[:, away], expected[away].T.float(), atol=.11, rtol=0)
    assert (mirrored - edge)[:, ~seen].abs().max() > .3


def test_the_mirror_folds_again_beyond_a_narrow_view():
    longitude = torch.atan2(panorama_rays(64, 128)[..., 0], panorama_rays(64, 128)[..., 2])
    seen = (longitude.abs() < .5) & (panorama_rays(64, 128)[..., 1].abs() < .5)
    filled = fills.fill_mirrored(longitude.expand(3, -1, -1).float(), seen)[0, 32]  # along the equator
    t = longitude[32]
    expected = 2/torch.pi*.5*torch.asin(torch.sin(t/.5*torch.pi/2))  # a triangle wave of slope 1 through the view
    assert (filled - expected)[t.abs() < 2.4].abs().max() < .3 and (filled - expected)[t.abs() < 1.4].abs().max() < .15


def test_colours_of_the_mean_panorama_are_matched_where_something_was_seen():
    mean, seen, image = .3 + .4*smooth(), front(), .2 + .5*smooth().flip(-1)
    for match in ('mean', 'deviation', 'regression'):
        matched = fills.fill_matched(torch.zeros_like(image).where(~seen, image), seen, mean, match)
        assert_close(matched[:, seen], image[:, seen])
    related = .2 + .5*mean
    for match in ('deviation', 'regression'): assert_close(fills.fill_matched(related, seen, mean, match), related)
    shifted = fills.fill_matched(related, seen, mean, 'mean')[:, ~seen] - mean[:, ~seen]
    assert_close(shifted, shifted[:, :1].expand_as(shifted))


# --- Space and time ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('frames', [1, 2, 7])
def test_nearest_in_time_is_the_nearest(frames):
    mask = torch.rand(frames, 1, 5, 6, generator=torch.Generator().manual_seed(frames)) < .3
    found, times = fills.nearest_in_time(mask), torch.arange(frames)
    for t in range(frames):
        for y in range(5):
            for x in range(6):
                seen = times[mask[:, 0, y, x]]
                if not len(seen): assert found[t, 0, y, x] == -1
                else: assert abs(found[t, 0, y, x] - t) == (seen - t).abs().min() and mask[found[t, 0, y, x], 0, y, x]


# --- The nearest panorama ------------------------------------------------------------------------------------------

def test_a_training_panorama_turned_and_in_other_light_is_found_again():
    seen = torch.zeros(64, 128, dtype=torch.bool); seen[14:50, 30:86] = True
    for number, turn in ((0, 3), (11, 40), (len(FEW.names) + 4, 63)):
        image = (torch.tensor([.6, .9, .8])[:, None, None]*FEW.candidate(number, (64, 128)).roll(2*turn, -1)
                 + .05).clamp(0, 1)
        assert FEW.find(torch.where(seen, image, 0), seen) == (number, turn)
        made = FEW(torch.where(seen, image, 0), seen)
        assert (made - image).abs().mean() < .015 and torch.equal(made[:, seen], image[:, seen])


def test_the_nearest_panorama_turns_with_its_input_and_is_the_same_again():
    seen = torch.zeros(64, 128, dtype=torch.bool); seen[14:50, 30:86] = True
    image = torch.where(seen, FEW.candidate(2, (64, 128)), 0)
    number, turn = FEW.find(image, seen)
    assert FEW.find(image.roll(20, -1), seen.roll(20, -1)) == (number, (turn + 10) % 64)
    assert torch.equal(FEW(image, seen), FEW(image, seen))


def test_what_differs_cannot_pull_the_colours_far():
    there = torch.rand(3, 400, generator=torch.Generator().manual_seed(0))
    here = .5*there + .2
    here[:, :60] = 1  # a lamp that is not in the other picture
    gain, offset = fills.fit_colours(there, here)
    assert (gain - .5).abs().max() < .05 and (offset - .2).abs().max() < .05


def test_thumbnails_are_kept_and_read_again(tmp_path, monkeypatch):
    kept = fills.NearestPanorama(worlds=2, file=tmp_path/'few.npy')
    monkeypatch.setattr(fills.NearestPanorama, 'candidate', lambda *args: pytest.fail('rendered again'))
    again = fills.NearestPanorama(worlds=2, file=tmp_path/'few.npy')
    assert_close(again.spectra, kept.spectra)
