"Curation: the engine on a small collection, kills and full disks, indexes and lists, and training from what is kept."
import json, os, subprocess, sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('pyarrow')
import pyarrow as pa
import pyarrow.parquet as pq

from argus_nb import clips, curation, latent_cache
from argus_nb.choosing import choose, read_manifest
from argus_nb.cli import main, some_models
from argus_nb.collection import clips_of, find_videos, finished, part_files
from argus_nb.curating import curate, score_all, score_rows
from argus_nb.edges import InputError
from argus_nb.runtime import make_generator
from argus_nb.training_set import kept_clips, open_clips, write_shards
from argus_nb.video import write_video
from argus_nb.worlds import random_world

from browser import needs_browser, open_browser, run_notebook, serve_lab, wait

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def films(tmp_path_factory) -> Path:
    "Three films of two clips of one second, one copy that is turned, and one file that was cut off."
    folder = tmp_path_factory.mktemp('films')
    for seed in range(3):
        frames = random_world(seed).render_panorama(torch.arange(10)/5, (64, 128))
        write_video(folder/f'film_{seed}.mp4', frames, 5)
        if seed == 0: write_video(folder/'turned.mp4', frames.roll(40, -1), 5)
    (folder/'cut_off.mp4').write_bytes((folder/'film_0.mp4').read_bytes()[:600])
    return folder


def rows_of(films: Path, seconds: float = 1.) -> list[dict]:
    return [row for video in find_videos(films) for row in clips_of(video, seconds)]


def begun(out: Path) -> Path:
    (out/'parts').mkdir(parents=True)
    return out


# --- The engine ----------------------------------------------------------------------------------------------------

def test_ray_scores_everything_once_and_goes_on(films, tmp_path):
    "One start of Ray: half of the clips are there already, as a killed run leaves them; nothing is done twice or lost."
    ray = pytest.importorskip('ray')
    out, rows = begun(tmp_path/'out'), rows_of(films)
    score_rows(rows[:4], out, ())
    before = {path.name: path.stat().st_mtime_ns for path in part_files(out)}
    (out/'settings.json').write_text(json.dumps(dict(seconds=1., models=[])))
    try: columns = curate(films, out, seconds=1., models=(), workers=1, wanted='change > 0')
    finally: ray.shutdown()
    assert sorted(columns['key']) == sorted(row['key'] for row in rows)
    keys = [key for path in part_files(out) for key in pq.read_table(path, columns=['key'])['key'].to_pylist()]
    assert sorted(keys) == sorted(set(keys)) == sorted(columns['key'])
    assert all((out/'parts'/name).stat().st_mtime_ns == at for name, at in before.items())
    alone = begun(tmp_path/'alone')
    score_rows(rows, alone, ())
    other = choose(alone, 'change > 0')
    for name in ('key', 'seam', 'change', 'sharpness', 'trouble'):
        assert list(map(str, columns[name])) == list(map(str, other[name])), name
    # a second call finds nothing to do, and needs no Ray
    assert curate(films, out, seconds=1., models=())['kept'].tolist() == columns['kept'].tolist()
    with pytest.raises(InputError, match='was begun with other settings'): curate(films, out, seconds=2., models=())


def test_a_missing_ray_is_one_line(films, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'ray', None)
    code = main(['curate', str(films), str(tmp_path/'out'), '--models', 'none'])
    err = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and err.startswith('argus: error: curation needs ray: pip install')


# --- Faults --------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(films, tmp_path):
    out, code = begun(tmp_path/'out'), """
import json, resource, signal, sys
from argus_nb.collection import clips_of, find_videos
from argus_nb.curating import score_rows
rows = [row for video in find_videos(sys.argv[1]) for row in clips_of(video, 1.)]
resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
print(json.dumps(score_rows(rows, sys.argv[2], ())))"""
    done = subprocess.run([sys.executable, '-c', code, films, out], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert json.loads(done.stdout)['full'] == 'file too large', done.stderr
    assert not [path for path in (out/'parts').iterdir() if path.suffix == '.parquet']
    assert score_rows(rows_of(films), out, ())['clips'] == len(finished(out)) == len(rows_of(films))


def test_a_clip_that_ends_its_workers_becomes_a_row(films, tmp_path):
    out, rows = begun(tmp_path/'out'), [row for row in rows_of(films) if not row['trouble']][:2]

    class Ended(BaseException): pass
    def deadly(path, start, end, models):
        if start == 0: raise Ended
        return curation.score_clip(path, start, end, models)
    for _ in range(2):
        with pytest.raises(Ended): score_rows(rows, out, (), deadly)
    assert not finished(out)
    assert score_rows(rows, out, (), deadly) == dict(clips=2, troubles=1, full=None)
    table = pq.read_table(part_files(out)[0])
    assert table['trouble'].to_pylist() == ['ended its worker 2 times', None]


@pytest.mark.slow
def test_one_long_film_keeps_two_workers_busy(tmp_path, monkeypatch):
    "The first part of a single film that is scored waits until another worker has a part of it, too."
    pytest.importorskip('ray')
    from argus_nb import curating
    (long := tmp_path/'long').mkdir(); (seen := tmp_path/'seen').mkdir()
    write_video(long/'film.mp4', random_world(4).render_panorama(torch.arange(12)/2, (32, 64)), 2)
    def met(rows, out, models):
        import os, time
        (seen/str(os.getpid())).write_text('')
        end = time.monotonic() + 100
        while len(list(seen.iterdir())) < 2 and time.monotonic() < end: time.sleep(.05)
        return dict(clips=len(rows), troubles=0, full=None)
    monkeypatch.setattr(curating, 'score_rows', met)
    score_all(find_videos(long), begun(tmp_path/'out'), 1., (), workers=2, part=2)
    assert len(list(seen.iterdir())) == 2


def test_a_damaged_part_is_done_again(films, tmp_path):
    out, rows = begun(tmp_path/'out'), rows_of(films)[:2]
    score_rows(rows, out, ())
    part_files(out)[0].write_bytes(b'PAR1 and no more')
    assert finished(out) == {} and part_files(out) == []


def test_parts_of_a_version_with_other_scores_are_told_and_done_again(films, tmp_path):
    out = begun(tmp_path/'out')
    score_rows(rows_of(films)[:2], out, ())
    [part] = part_files(out)
    pq.write_table(pq.read_table(part).drop_columns(['nadir_round']), part)
    with pytest.raises(InputError, match='scored by a version with other scores'): choose(out)
    assert finished(out) == {} and part_files(out) == []


# --- What comes in -------------------------------------------------------------------------------------------------

def test_indexes_and_lists_name_the_same_clips(films, tmp_path):
    pq.write_table(pa.table(dict(title=['a', 'b', 'c'], video_id=['film_0', 'gone', 'film_2'],
                                 category=['x', 'y', None])), tmp_path/'index.parquet')
    found = find_videos(tmp_path/'index.parquet', films)
    assert [(v.name, bool(v.path), v.category, v.numbers) for v in found] == \
        [('film_0', True, 'x', None), ('film_2', True, '', None), ('gone', False, 'y', None)]
    lines = 'x\tfilm_0\t1\ny\tfilm_2\t0\nx\tfilm_0\t0\n'
    for text in (lines, 'category\tvideo_id\tclip\n' + lines):
        (tmp_path/'list.tsv').write_text(text)
        assert [(v.name, v.category, v.numbers) for v in find_videos(tmp_path/'list.tsv', films)] == \
            [('film_0', 'x', (0, 1)), ('film_2', 'y', (0,))]
    (tmp_path/'names.txt').write_text('film_1\n\nfilm_0.mp4\n')
    assert [v.name for v in find_videos(tmp_path/'names.txt', films)] == ['film_0.mp4', 'film_1']
    pq.write_table(pa.table(dict(title=['a'])), tmp_path/'other.parquet')
    with pytest.raises(InputError, match='has no column that names a video'):
        find_videos(tmp_path/'other.parquet', films)
    with pytest.raises(InputError, match='holds no video'): find_videos(tmp_path)
    (tmp_path/'noise.parquet').write_bytes(b'noise')
    with pytest.raises(InputError, match='is not a Parquet file'): find_videos(tmp_path/'noise.parquet', films)


def test_real_odd_files_are_rows(media, tmp_path):
    "Whatever is wrong with a file, it is a row with a reason, and never more than that."
    rows = rows_of(media/'odd', 10.)
    assert len({row['video'] for row in rows}) == len([p for p in (media/'odd').iterdir()
                                                      if p.suffix in clips.VIDEO_ENDINGS])
    out = begun(tmp_path/'out')
    score_rows(rows, out, ())
    columns = choose(out)
    assert not columns['kept'].any() and all(len(reasons) for reasons in columns['reasons'])


# --- What is chosen ------------------------------------------------------------------------------------------------

def test_choosing_again_decodes_nothing(films, tmp_path, capsys, monkeypatch):
    out = begun(tmp_path/'out')
    score_rows(rows_of(films), out, ())
    monkeypatch.setattr('argus_nb.curation.sample_clip', lambda *args: pytest.fail('decoded'))
    assert main(['curate', str(out), '--filter', 'change >= 0']) == 0
    assert sum(read_manifest(out)['kept']) == 8
    assert main(['curate', str(out), '--filter', 'argus and change >= 0']) == 0
    columns = read_manifest(out)
    repeats = dict(zip(columns['key'], columns['duplicate_of']))
    assert all(why != ['duplicate'] or repeats[key] for key, why in zip(columns['key'], columns['reasons']))
    assert main(['curate', str(out), '--filter', 'nonsense > 1']) == 2
    assert "there is no column 'nonsense'" in capsys.readouterr().err
    assert main(['curate', str(films), '--filter', 'argus']) == 2
    assert main(['curate', str(films)]) == 2


def test_a_turned_copy_is_a_duplicate(films, tmp_path):
    out = begun(tmp_path/'out')
    score_rows([row for row in rows_of(films) if not row['trouble']], out, ())
    from argus_nb import choosing
    from argus_nb.choosing import Rule
    kept = choosing.RULES['release']
    try:
        choosing.RULES['release'] = (Rule('duplicate', 'duplicate', high=0),)
        columns = choose(out, 'release')
    finally: choosing.RULES['release'] = kept
    repeats = {key: of for key, of in zip(columns['key'], columns['duplicate_of']) if of}
    assert {'turned.mp4#0', 'turned.mp4#1'} <= {*repeats, *repeats.values()}
    film_of = lambda key: key.split('.')[0]
    assert all({film_of(one), film_of(other)} == {'turned', 'film_0'} or film_of(one) == film_of(other)
               for one, other in repeats.items())


def test_choices_of_the_command_line_are_those_of_the_module():
    assert some_models('flow,level,shots,text') == curation.MODELS


# --- What is trained on --------------------------------------------------------------------------------------------

def test_shards_are_what_webdataset_reads(films, tmp_path):
    wds = pytest.importorskip('webdataset')
    out = begun(tmp_path/'out')
    score_rows(rows_of(films), out, ())
    choose(out, 'change >= 0 and clip == 0')
    rows = kept_clips(out)
    shards = write_shards(rows, tmp_path/'shards', 2)
    samples = [sample for shard in shards
               for sample in wds.WebDataset(str(shard), shardshuffle=False, empty_check=False)]
    assert [json.loads(sample['json'])['key'] for sample in samples] == [row['key'] for row in rows]
    (tmp_path/'first.mp4').write_bytes(samples[0]['mp4'])
    from argus_nb.video import header_info
    assert header_info(tmp_path/'first.mp4')['spherical'] == 'v1 and v2'
    clips = open_clips(tmp_path/'shards')
    whole = open_clips(out)
    counts = lambda clips: {held: len(part) for held, part in clips.parts.items()}
    assert counts(clips) == counts(whole)


def test_latents_in_shards_are_those_of_the_clips(films, tiny, tmp_path):
    "A shard's latents are what the model's encoder makes of the clip."
    import tarfile
    from safetensors.torch import load as load_bytes
    from torch.nn.functional import interpolate
    from argus_nb.latents import encode_frames
    from argus_nb.models import load_models
    from argus_nb.video import read_video
    out = begun(tmp_path/'out')
    score_rows(rows_of(films), out, ())
    choose(out, 'change >= 0 and clip == 0')
    rows = kept_clips(out)
    parts = {}
    for shard in write_shards(rows, tmp_path/'shards', 2, tiny):
        with tarfile.open(shard) as tar: parts |= {name: tar.extractfile(name).read() for name in tar.getnames()}
    about = {json.loads(data)['key']: name for name, data in parts.items() if name.endswith('.json')}
    models = load_models(tiny)
    for row in rows:
        video = read_video(row['path'], start=row['start'], seconds=row['end'] - row['start'], fps=5)
        small = interpolate(video.frames[:].float()/255, models.settings['size'], mode='bilinear', antialias=True)
        stored = load_bytes(parts[about[row['key']].replace('.json', '.safetensors')])['target'].float()
        torch.testing.assert_close(stored, encode_frames(models.vae, small, circular=True), atol=2e-3, rtol=2e-3)
    from argus_nb.training_set import latent_maker
    assert latent_maker('nano')(rows[0])  # by name, too
    assert len(open_clips(tmp_path/'shards').places) == len(rows) > 1  # training reads the shards as before


@pytest.mark.slow
@needs_browser
def test_clips_are_overruled_by_hand_in_jupyterlab(films, tmp_path):
    "Buttons of the review list write into the manifest what they say."
    out = begun(tmp_path/'out')
    score_rows(rows_of(films), out, ())
    choose(out, 'change >= 0')
    first = next(key for key, kept in zip(read_manifest(out)['key'], read_manifest(out)['kept']) if kept)
    (here := tmp_path/'lab').mkdir()
    source = f"from argus_nb.curated import review\nreview({str(out)!r})"
    with open_browser(tmp_path/'profile') as browser, serve_lab(here, source) as lab:
        run_notebook(browser, lab)
        def buttons():
            return [b for b in browser.find_elements('css selector', '.jp-OutputArea button') if b.text == 'drop']
        wait(buttons, 'the review list')[0].click()
        wait(lambda: first in decided(out), 'the manifest to change')
    assert decided(out) == {first: 'drop'}
    manifest = read_manifest(out)
    assert not manifest['kept'][manifest['key'].index(first)]


def decided(out) -> dict[str, str]:
    "What stands in the manifest by hand."
    manifest = read_manifest(out)
    return {key: how for key, how in zip(manifest['key'], manifest['by_hand']) if how}


def test_latents_streamed_from_disk_are_those_in_memory(tmp_path):
    "Every step draws the same batch from both, so a run that goes on after a stop is the same, too."
    generator = torch.Generator().manual_seed(0)
    from safetensors.torch import save_file
    for file, rows in enumerate((3, 2, 4)):
        save_file(dict(target=torch.randn(rows, 2, 4, 4, 8, generator=generator).half(),
                       condition=torch.randn(rows, 2, 4, 4, 8, generator=generator).half(),
                       embeddings=torch.randn(rows, 2, 5, generator=generator).half(),
                       noise=torch.rand(rows, generator=generator)), tmp_path/f'{file:06d}.safetensors')
    whole, streamed = latent_cache.read_cache(tmp_path), latent_cache.read_cache(tmp_path, in_memory=False)
    for name in whole:
        assert streamed[name].shape == whole[name].shape and len(streamed[name]) == 9
        for index in (slice(1, 7, 2), slice(None), torch.tensor([8, 0, 3, 3]), [-1]):
            assert torch.equal(streamed[name][index], whole[name][index]), (name, index)
    for step in range(4):
        one, other = (latent_cache.draw_batch(cache, 4, .5, make_generator(step), context=.5, known=1)
                      for cache in (whole, streamed))
        assert all(torch.equal(a, b) for a, b in zip(one, other))
