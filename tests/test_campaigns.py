"Short forms of the campaigns, and what they have found."
import json, random, subprocess, sys

import numpy as np, pytest, torch

from argus_nb.cli import main
from argus_nb.experiments import kills, length, mutations
from argus_nb.headers import header_info
from argus_nb.models import build_models, load_models, save_models
from argus_nb.photographs import open_panoramas
from argus_nb.runtime import InputError
from argus_nb.video import read_video, write_video


# --- Mutations -----------------------------------------------------------------------------------------------------

def test_damaged_files_end_in_a_result_or_a_line(tmp_path):
    record = mutations.run(tmp_path, containers=24, cameras=30, models=4, seed=3)
    assert record['faults'] == [] and sum(sum(v.values()) for k in record['counts'].values() for v in k.values()) == 58
    kinds = {verdict for ways in record['counts'].values() for way in ways.values() for verdict in way}
    assert kinds == {'read', 'refused'}
    lines = (tmp_path/'cases.jsonl').read_text()
    assert mutations.run(tmp_path, containers=24, cameras=30, models=4, seed=3)['counts'] == record['counts']
    assert (tmp_path/'cases.jsonl').read_text() == lines  # nothing is tried twice


def test_a_fault_is_one_and_a_silent_process_is_replaced(tmp_path, monkeypatch):
    mutations.make_samples(tmp_path/'samples')
    monkeypatch.setattr(mutations, 'LIMIT', 1)
    stuck = 'import time; time.sleep(100)'
    real = subprocess.Popen
    monkeypatch.setattr(mutations.subprocess, 'Popen',
                        lambda words, **rest: real([sys.executable, '-c', stuck], **rest))
    monkeypatch.setattr(mutations.select, 'select', lambda *where: ([], [], []))
    found = list(mutations.watched(tmp_path/'samples', tmp_path, [('cameras', 1), ('cameras', 2)], 1))
    assert [case['verdict'] for case in found] == ['fault', 'fault'] and 'silent' in found[0]['why']
    judge = mutations.judge_command
    assert judge(0, '', ['out.mp4'], ['out.mp4'])[0] == 'read' and judge(0, '', [], ['out.mp4'])[0] == 'fault'
    assert judge(2, 'argus: error: x\n', [], ['out.mp4'])[0] == 'refused'
    for code, said, left in ((2, '', []), (2, 'argus: error: x\n', ['.out-argus-abc.mp4']), (1, 'argus: failed: x', []),
                             (-9, '', []), (2, 'Traceback\nargus: error: x', []), (0, '', ['out.mp4', '.x'])):
        assert judge(code, said, left, ['out.mp4'])[0] == 'fault'


@pytest.mark.parametrize('part, change', [
    ('scheduler/scheduler_config.json', dict(beta_start=[.1])),
    ('scheduler/scheduler_config.json', dict(sigma_max='x')),
    ('scheduler/scheduler_config.json', None), ('vae/config.json', dict(block_out_channels=[])),
    ('vae/config.json', dict(scaling_factor=[1])), ('vae/config.json', dict(scaling_factor=float('nan'))),
    ('unet/config.json', dict(num_attention_heads=[-1, 1])), ('unet/config.json', dict(addition_time_embed_dim=256)),
    ('unet/config.json', dict(layers_per_block='x')), ('image_encoder/config.json', dict(hidden_act='gelugelu')),
    ('image_encoder/config.json', dict(layer_norm_eps=[1])), ('model_index.json', dict(settings=dict(overlap=[4]))),
])
def test_damaged_models_are_refused_in_a_line(tmp_path, part, change):
    torch.manual_seed(0)
    save_models(build_models('tiny'), tmp_path)
    load_models(tmp_path)
    file = tmp_path/part
    if change is None: file.unlink()
    else:
        config = json.loads(file.read_text())
        if 'settings' in change: config['settings'] |= change['settings']
        else: config |= change
        file.write_text(json.dumps(config))
    with pytest.raises(InputError) as error: load_models(tmp_path)
    assert '\n' not in str(error.value) and (part.split('/')[0] in str(error.value))


def test_a_stream_without_a_decoder_is_told_by_everything(tmp_path):
    write_video(tmp_path/'a.mp4', torch.zeros(3, 3, 32, 64), 3)
    (tmp_path/'b.mp4').write_bytes((tmp_path/'a.mp4').read_bytes().replace(b'avc1', b'xyz1'))
    for read in (header_info, open_panoramas, read_video):
        with pytest.raises(InputError, match='no decoder is known'): read(tmp_path/'b.mp4')


# --- Kills ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['stabilise', *(pytest.param(n, marks=pytest.mark.slow)
                                                 for n in ('generate', 'evaluate'))])
def test_killed_commands_and_full_disks(tmp_path, name):
    (tmp_path/'inputs').mkdir()
    kills.make_inputs(tmp_path/'inputs')
    words, chance = kills.commands(tmp_path/'inputs')[name], random.Random(1)
    found = kills.killed_commands(tmp_path/'inputs', tmp_path, name, words, 3, chance)
    assert (found['lost'], found['different'], found['left_over']) == (0, 0, 0) and found['runs_to_the_end'] == 1
    full = kills.filled_disks(tmp_path, name, words, 2, chance)
    assert (full['refused'], full['left_over'], full['different']) == (2, 0, 0), full


def test_a_full_disk_is_a_line_wherever_it_is_met(tmp_path, capsys, monkeypatch):
    import errno
    from argus_nb import cli
    for error in (OSError(errno.ENOSPC, 'No space left on device'), OSError(errno.EFBIG, 'File too large'),
                  RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 768 vs 662'),
                  RuntimeError('I/O error: No space left on device (os error 28)')):
        def train(args): raise error
        monkeypatch.setattr(cli, 'train', train)
        assert main(['train', str(tmp_path/'run')]) == 2
        said = capsys.readouterr().err
        assert 'cannot be written' in said and said.count('\n') == 1
    def train(args): raise RuntimeError('something else')
    monkeypatch.setattr(cli, 'train', train)
    assert main(['train', str(tmp_path/'run')]) == 1


def test_a_full_disk_names_the_sheet_where_the_film_is_whole(tmp_path, capsys, monkeypatch):
    import errno
    from argus_nb.sheets import ContactSheet
    (tmp_path/'inputs').mkdir()
    kills.make_inputs(tmp_path/'inputs')
    def save(self, path): raise OSError(errno.EFBIG, 'File too large')
    monkeypatch.setattr(ContactSheet, 'save', save)
    assert main(kills.commands(tmp_path/'inputs')['generate'].format(tmp_path).split()) == 2
    assert 'out_sheet.jpg: cannot be written (file too large)' in capsys.readouterr().err
    assert read_video(tmp_path/'out.mp4').warning is None


@pytest.mark.parametrize('size', [(128, 160), (144, 176)])
def test_films_of_any_width_come_out_the_same_twice(tmp_path, size):
    frames = torch.nn.functional.interpolate(torch.rand(8, 3, 6, 8), size, mode='bicubic').clamp(0, 1)
    def written(n):
        kept = [np.random.bytes(1000*n) for _ in range(20)]  # memory with other contents
        return write_video(tmp_path/'a.mp4', frames, 6, False).read_bytes(), kept
    assert len({written(n)[0] for n in range(4)}) == 1


# --- Length --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('varies', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_sound_and_pictures_of_a_long_film_begin_together(tmp_path, varies):
    length.make_loop(tmp_path/'loop.mp4')
    count, moment = length.make_film(tmp_path/'a.mp4', tmp_path/'loop.mp4', 1.2, varies)
    video = read_video(tmp_path/'a.mp4')
    assert abs(video.duration - 72) < .1 and count > 1800 and video.warning is None
    white, click = (last(tmp_path/'a.mp4', moment) for last in (length.last_white, length.last_click))
    assert abs(white - moment) < .002 and abs(click - white) < .002
