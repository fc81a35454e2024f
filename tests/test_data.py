"Training data: what must never mix, and what must agree."
import pytest, torch
from torch.testing import assert_close
from argus_nb.data import Batch, draw_batch, example_clip, filmed, frame_size, panorama_clip, world_clip
from argus_nb.motion import simulate_motion
from argus_nb.projection import rotate_panorama
from argus_nb.runtime import InputError, make_generator
from argus_nb.worlds import panorama_names

def test_held_out_material_is_apart():
    assert not set(panorama_names('train')) & set(panorama_names('test'))
    assert len(panorama_names('test')) >= 8
    seeds = {held: {2*n + held for n in range(1000)} for held in (False, True)}
    assert not seeds[False] & seeds[True]
    assert not torch.equal(world_clip(0, 1, size=(32, 64)), world_clip(0, 1, size=(32, 64), held_out=True))

@pytest.mark.parametrize('index', [0, 2, 80])
def test_condition_agrees_with_target_where_seen(index):
    pair = filmed(example_clip(index, 2, size=(64, 128)), index)
    error = (pair.condition - pair.target).abs().mean(1, keepdim=True)
    inside = torch.nn.functional.avg_pool2d(pair.mask.float(), 3, 1, 1) == 1
    assert error[inside].mean() < .03, 'shown and target disagree: some rotation is the wrong way round'
    assert pair.condition[~pair.mask.expand_as(pair.condition)].abs().max() == 0
    assert_close(pair.cameras.world_from_camera[0], torch.eye(3, dtype=torch.float64))

def test_target_is_the_clip_in_the_first_cameras_frame():
    clip, track = example_clip(0, 2, size=(32, 64)), simulate_motion(2, 5, make_generator(3))
    from argus_nb.data import training_pair
    target = training_pair(clip, track).target
    back = rotate_panorama(torch.nn.functional.interpolate(target, scale_factor=2, mode='bilinear'), track.world_from_camera[0])
    assert (back - clip).abs().mean() < .06

def test_frames_have_square_pixels():
    track = simulate_motion(1, 5, make_generator(0))
    height, width = frame_size(track)
    assert max(height, width) == 192
    assert abs(height/width - ((track.fov_y/2).tan()/(track.fov_x/2).tan()).item()) < .01

def test_batches_shift_target_and_condition_together():
    columns = torch.arange(8.).expand(1, 2, 4, 4, 8)
    cache = dict(target=columns, condition=columns.clone(), embeddings=torch.zeros(1, 2, 3), noise=torch.zeros(1))
    shifts = set()
    for n in range(20):
        batch = draw_batch(cache, 3, 1., make_generator(n), dropout=0.)
        assert isinstance(batch, Batch)
        assert_close(batch.target, batch.condition)
        shifts |= set(batch.target[:, 0, 0, 0, 0].tolist())
    assert len(shifts) == 8
    assert_close(cache['target'], torch.arange(8.).expand(1, 2, 4, 4, 8), msg='drawing a batch changed the cache')
