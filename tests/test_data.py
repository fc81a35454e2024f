"Training data: what must never mix, and what must agree."
import math
from contextlib import nullcontext
from types import SimpleNamespace
import pytest, torch
from torch.testing import assert_close
from argus_nb import latent_cache
from argus_nb.clips import VideoClips, example_clip, is_held_out, panorama_clip, read_clip_list, seen_from, world_clip
from argus_nb.data import filmed, frame_size
from argus_nb.latent_cache import Batch, draw_batch
from argus_nb.latents import encode_frames
from argus_nb.models import build_models
from argus_nb.motion import simulate_motion
from argus_nb.projection import rotate_panorama
from argus_nb.runtime import InputError, make_generator
from argus_nb.video import write_video
from argus_nb.worlds import panorama_names

def test_held_out_material_is_apart():
    assert not set(panorama_names('train')) & set(panorama_names('test'))
    assert len(panorama_names('test')) >= 8
    seeds = {held: {2*n + held for n in range(1000)} for held in (False, True)}
    assert not seeds[False] & seeds[True]
    assert not torch.equal(world_clip(0, 1, size=(32, 64)), world_clip(0, 1, size=(32, 64), held_out=True))

@pytest.mark.parametrize('index', [0, 2, 3])
def test_condition_agrees_with_target_where_seen(index):
    pair = filmed(example_clip(index, 2, size=(64, 128)), index)
    error = (pair.condition - pair.target).abs().mean(1, keepdim=True)
    inside = torch.nn.functional.avg_pool2d(pair.mask.float(), 3, 1, 1) == 1
    assert error[inside].mean() < .03, 'shown and target disagree: some rotation is the wrong way round'
    assert pair.condition[~pair.mask.expand_as(pair.condition)].abs().max() == 0
    assert_close(pair.cameras.world_from_camera[0], torch.eye(3, dtype=torch.float64))

def test_photographs_are_spread_among_the_worlds_and_all_appear():
    still = lambda n: torch.equal(*example_clip(n, 2, size=(8, 16)))
    assert [n for n in range(8) if still(n)] == [3, 7]
    names = panorama_names('train')
    firsts = {hash(example_clip(4*n + 3, 1, size=(8, 16)).numpy().tobytes()) for n in range(len(names))}
    assert len(firsts) == len(names)

def test_photographs_are_varied_and_worlds_are_not():
    a, b = (example_clip(n, 1, size=(32, 64), vary=True) for n in (3, 3 + 4*len(panorama_names('train'))))
    plain = example_clip(3, 1, size=(32, 64))
    assert not torch.allclose(a, b, atol=.01) and not torch.allclose(a, plain, atol=.01)
    assert 0 <= a.min() and a.max() <= 1
    world = example_clip(0, 1, size=(32, 64))
    assert torch.equal(example_clip(0, 1, size=(32, 64), vary=True), world)

@pytest.mark.parametrize('row, column', [(32, 96), (20, 10), (44, 60), (31, 127)])
def test_from_another_place_a_point_of_the_sphere_is_seen_where_it_lies(row, column):
    "The other way round from the function: a point of the sphere is projected into the eye."
    lon, lat = ((column + .5)/128 - .5)*2*math.pi, (.5 - (row + .5)/64)*math.pi
    point, place = torch.tensor([math.cos(lat)*math.sin(lon), -math.sin(lat),
                                 math.cos(lat)*math.cos(lon)]), torch.tensor([.2, 0, -.3])
    x, y, z = (point - place).tolist()
    u, v = (math.atan2(x, z)/(2*math.pi) + .5)*128, (.5 - math.atan2(-y, math.hypot(x, z))/math.pi)*64
    spot = torch.zeros(1, 1, 64, 128); spot[..., row, column] = 1
    seen = seen_from(spot, .2, -.3)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(64) + .5, torch.arange(128) + .5, indexing='ij')
    around = (columns - u + 64) % 128 - 64  # across the seam
    assert seen.sum() > .2 and (seen*around).sum().abs()/seen.sum() < .35
    assert (seen*(rows - v)).sum().abs()/seen.sum() < .35

def test_processes_share_the_making_of_a_cache(tmp_path, monkeypatch):
    "Each makes every n-th file; together they are those that one makes alone."
    models = build_models('tiny')
    make = lambda folder: latent_cache.build_cache(folder, models.vae, models.image_encoder, 3, 2, size=(32, 64),
                                                   shard=1)
    alone = make(tmp_path/'alone')
    made = []
    for rank in (1, 0):  # the first reads what both made
        note = lambda: made.append(sorted(p.name for p in (tmp_path/'shared').glob('*.safetensors')))
        state = SimpleNamespace(process_index=rank, num_processes=2, wait_for_everyone=note,
                                main_process_first=nullcontext)
        monkeypatch.setattr(latent_cache, 'PartialState', lambda: state)
        shared = make(tmp_path/'shared')
    assert made == [['000001.safetensors'], ['000000.safetensors', '000001.safetensors', '000002.safetensors']]
    for name in alone: assert torch.equal(alone[name], shared[name])

def test_target_is_the_clip_in_the_first_cameras_frame():
    clip, track = example_clip(0, 2, size=(32, 64)), simulate_motion(2, 5, make_generator(3))
    from argus_nb.data import training_pair
    target = training_pair(clip, track).target
    back = rotate_panorama(torch.nn.functional.interpolate(target, scale_factor=2, mode='bilinear'),
                           track.world_from_camera[0])
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

@pytest.fixture(scope='module')
def own_videos(tmp_path_factory):
    "Panoramic videos of three seconds as people have them, one flat one, and one that is torn."
    folder = tmp_path_factory.mktemp('videos')
    (folder/'deep').mkdir()
    for n, name in enumerate(('one', 'two', 'deep/three')):
        write_video(folder/f'{name}.mp4', world_clip(n, 15, size=(32, 64)), 5)
    write_video(folder/'flat.mp4', torch.rand(15, 3, 48, 64, generator=make_generator(0)), 5)
    (folder/'torn.mp4').write_bytes(b'\0\0\0\x18ftypmp42')
    return folder

def test_clips_of_a_folder_are_counted_in_pieces(own_videos):
    clips = VideoClips(own_videos, seconds=1.)
    found = [(path.stem, clip) for parts in clips.parts.values() for path, clip in parts]
    assert sorted(found) == sorted((name, clip) for name in ('one', 'two', 'three', 'flat') for clip in range(3))
    assert list(clips.broken) == ['torn.mp4']

def test_what_cannot_be_read_is_replaced_by_its_neighbour(own_videos):
    clips = VideoClips(own_videos, seconds=3.)
    clips.parts = {False: [(own_videos/'flat.mp4', 0), (own_videos/'one.mp4', 0)], True: []}
    clip = clips(0, 4, size=(16, 32))
    assert clip.shape == (4, 3, 32, 64)
    assert_close(clip, clips(1, 4, size=(16, 32)), rtol=0, atol=0)
    assert 'must be twice as wide as high, got 64x48' in clips.broken['flat.mp4, clip 0']
    with pytest.raises(InputError, match='no held-out clip can be read'): clips(0, 4, held_out=True)

def test_later_clips_start_later(own_videos):
    clips = VideoClips(own_videos, seconds=1.)
    clips.parts = {False: [(own_videos/'one.mp4', 0), (own_videos/'one.mp4', 2)]}
    truth = world_clip(0, 15, size=(32, 64))
    for index, start in ((0, 0), (1, 10)):
        errors = [(clips(index, 4, size=(16, 32)) - truth[s:s + 4]).abs().mean() for s in range(11)]
        assert min(range(11), key=errors.__getitem__) == start

def test_lists_of_clips(tmp_path):
    (tmp_path/'list.tsv').write_text('indoor\tabc-1\t4\n\nstreet\tx y\t0\n')
    assert read_clip_list(tmp_path/'list.tsv') == [('abc-1', 4), ('x y', 0)]
    (tmp_path/'list.tsv').write_text('indoor\tabc\t1\nindoor abc 2\n')
    with pytest.raises(InputError, match="line 2: must be 'category<tab>video_id<tab>clip number', got 'indoor abc 2'"):
        read_clip_list(tmp_path/'list.tsv')
    with pytest.raises(InputError, match='holds no video'): VideoClips(tmp_path)


def test_videos_of_one_name_in_two_folders_are_both_there(tmp_path):
    for part in 'ab':
        (tmp_path/part).mkdir()
        write_video(tmp_path/part/'same.mp4', torch.rand(4, 3, 32, 64, generator=make_generator(ord(part))), 4)
    assert sum(map(len, VideoClips(tmp_path, seconds=1.).parts.values())) == 2
    (tmp_path/'clips.tsv').write_text('category\tvideo_id\tclip_id\n\tsame\t0\n\tb/same\t0\n\ta/same.mp4\t0\n')
    listed = VideoClips(tmp_path, tmp_path/'clips.tsv', 1.)
    assert [p.parent.name for parts in listed.parts.values() for p, _ in parts] == ['b', 'a']
    assert listed.broken == {'same': 'could be a/same.mp4 or b/same.mp4: list it with its folder'}
    (tmp_path/'clips.tsv').write_text('category\tvideo_id\tclip_id\n\tsame\tfirst\n')
    with pytest.raises(InputError, match='line 2: must be'): VideoClips(tmp_path, tmp_path/'clips.tsv')

def test_a_tenth_of_the_names_is_held_out():
    share = sum(is_held_out(f'video-{n}') for n in range(5000))/5000
    assert .08 < share < .12 and is_held_out('video-7') == is_held_out('video-7')

def test_mirrored_cameras_film_the_mirrored_clip():
    clip = example_clip(0, 2, size=(32, 64))
    plain, mirrored = (filmed(clip, 0, 1, mirror=m).target for m in (False, True))
    assert not torch.allclose(plain, mirrored)
    assert_close(filmed(clip, 0, 2, mirror=True).target, filmed(clip, 0, 2).target, rtol=0,
                 atol=0)  # even cameras do not

def test_cached_latents_shift_as_panoramas_do():
    torch.manual_seed(0)
    vae = build_models('tiny').vae
    panorama = example_clip(2, 1, size=(32, 64))
    shifted = encode_frames(vae, panorama.roll(24, -1), circular=True)
    assert_close(shifted, encode_frames(vae, panorama, circular=True).roll(3, -1), atol=1e-4, rtol=0)

def test_clips_stay_where_they_are_without_the_shift():
    cache = dict(target=torch.arange(8.).expand(2, 3, 4, 2, 8), condition=torch.arange(8.).expand(2, 3, 4, 2, 8),
                 embeddings=torch.ones(2, 3, 5), noise=torch.ones(2))
    still, moved = (draw_batch(cache, 2, 1., make_generator(1), dropout=0., shift=shift) for shift in (False, True))
    assert torch.equal(still.target[0], cache['target'][0]) and torch.equal(still.condition[0], cache['condition'][0])
    assert not torch.equal(moved.target, still.target) and torch.equal(moved.target, moved.condition)
