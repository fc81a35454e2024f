"The protocol: clips from folders, a run that is stopped and goes on, the command from end to end."
import json, math
from pathlib import Path

import pytest, torch
from argus_nb import evaluation as ev
from argus_nb.baselines import ResultFolder
from argus_nb.cli import main
from argus_nb.motion import simulate_motion
from argus_nb.runtime import InputError, make_generator
from argus_nb.sets import bootstrap
from argus_nb.video import write_video


def test_the_command_writes_a_table_goes_on_and_refuses_to_mix(tiny, tmp_path, capsys):
    command = ['evaluate', str(tmp_path/'run'), '--model', str(tiny), '--worlds', '3', '--panoramas', '1', '--steps',
               '1', '--examples', '4', '--rows', 'argus; edge extension; bound']
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith('| row | PSNR, seen') and '| edge extension |' in out
    record = json.loads((tmp_path/'run'/'results.json').read_text())
    assert set(record['clips']) == {'argus', 'edge extension',
                                    'bound'} and all(len(rows) == 4 for rows in record['clips'].values())
    assert record['summary']['worlds']['differences']['bound']['PSNR, whole']['clips'] == 3
    assert {'command', 'date', 'device', 'versions', 'settings', 'set_distances'} <= set(record)
    [clip] = [name for name in record['groups'] if name.startswith('room')]
    (kept := tmp_path/'run'/'argus'/f'{clip}.json').unlink()
    others = {path: path.stat().st_mtime_ns for path in (tmp_path/'run').glob('*/*.json')}
    assert main(command) == 0 and kept.exists()
    assert all(path.stat().st_mtime_ns == when for path, when in others.items())  # nothing else was made again
    assert json.loads((tmp_path/'run'/'results.json').read_text())['clips'] == record['clips']
    capsys.readouterr()
    assert main(command[:-2] + ['--steps', '2']) == 2 and 'other settings' in capsys.readouterr().err


def test_parts_of_a_run_add_up_to_the_whole(tiny, tmp_path, capsys):
    def command(name, *more): return ['evaluate', str(tmp_path/name), '--model', str(tiny), '--worlds', '3',
                                      '--panoramas', '1', '--steps', '1', '--examples', '4', '--rows', 'swept; truth',
                                      *more]
    assert main(command('parts', '--part', '1/2')) == 0 and not (tmp_path/'parts'/'results.json').exists()
    assert len([*(tmp_path/'parts'/'swept').glob('*.json')]) == 2
    assert main(command('parts', '--part', '2/2')) == main(command('parts')) == main(command('whole')) == 0
    parts, whole = (json.loads((tmp_path/name/'results.json').read_text())['clips'] for name in ('parts', 'whole'))
    assert parts == whole
    capsys.readouterr()
    for wrong in ('0/2', '3/2', '1', 'a/b'):
        with pytest.raises(SystemExit): main(command('parts', '--part', wrong))
        assert 'must be K/N' in capsys.readouterr().err


def test_a_field_of_view_that_is_asked_for_is_what_is_filmed_and_noted(tiny, tmp_path, capsys):
    [clip] = ev.held_out_clips(1, 0, fov=math.radians(60))
    cameras = clip.pair(2, (32, 64)).cameras
    for angle in (cameras.fov_x, cameras.fov_y): assert (angle.rad2deg() - 60).abs().max() < 1e-9
    command = ['evaluate', str(tmp_path/'run'), '--model', str(tiny), '--worlds', '3', '--panoramas', '1',
               '--examples', '4', '--rows', 'swept', '--fov']
    assert main([*command, '60']) == 0
    assert json.loads((tmp_path/'run'/'results.json').read_text())['settings']['fov'] == 60
    assert main([*command, '70']) == 2 and 'other settings' in capsys.readouterr().err
    assert main([*command, '60', '--clips', str(tmp_path)]) == 2 and 'have theirs in fov/' in capsys.readouterr().err


def test_pasted_is_argus_with_the_input_laid_over_it_and_decodes_nothing_again(tiny, monkeypatch):
    from argus_nb.fills import task_of
    from argus_nb.pipeline import ArgusPipeline
    [clip] = ev.held_out_clips(1, 0)
    task = task_of(clip.pair(2, (32, 64)), 1, clip.name)
    pipeline, calls = ArgusPipeline.from_pretrained(tiny), []
    decoded = pipeline.stream_decoded
    monkeypatch.setattr(pipeline, 'stream_decoded', lambda *given: calls.append(1) or decoded(*given))
    rows = ev.rows_by_name(['argus', 'pasted'], pipeline, num_inference_steps=1)
    argus, pasted = (rows[name](task) for name in ('argus', 'pasted'))
    assert torch.equal(pasted, torch.where(task.mask, task.panorama, argus)) and not torch.equal(pasted, argus)
    assert len(calls) == 1


def test_window_by_window_is_a_row_by_name(tiny):
    from argus_nb.baselines import window_by_window
    from argus_nb.fills import task_of
    from argus_nb.latents import latent_stride
    from argus_nb.pipeline import ArgusPipeline
    [clip] = ev.held_out_clips(1, 0)
    pipeline = ArgusPipeline.from_pretrained(tiny)
    task = task_of(clip.pair(2, (32, 64)), 1, clip.name)
    half = pipeline.settings['size'][1]//latent_stride(pipeline.vae)//2
    rows = ev.rows_by_name(['argus', 'window by window'], pipeline, num_inference_steps=1)
    made = rows['window by window'](task)
    assert torch.equal(made, window_by_window(pipeline, half, num_inference_steps=1)(task))
    assert not torch.equal(made, rows['argus'](task))


def test_results_of_another_system_are_a_row(tmp_path):
    clips = ev.held_out_clips(3, 1)
    (tmp_path/'theirs').mkdir()
    for clip in clips: write_video(tmp_path/'theirs'/f'{clip.name}.mp4', clip.pair(4, (64, 128)).target, 5)
    rows = ev.run({'theirs': ResultFolder(tmp_path/'theirs')}, clips, tmp_path/'run', 4, (64, 128), progress=False)
    assert all(30 < scores['PSNR, whole'] < 60 for scores in rows['theirs'].values())  # the truth, but for the codec


def test_a_row_cannot_be_called_like_another_place(tmp_path):
    with pytest.raises(InputError, match="names that folders can have, got '../elsewhere'"):
        ev.run({'../elsewhere': None}, [], tmp_path, 4, (32, 64), progress=False)


def test_a_method_that_answers_in_another_shape_is_named(tmp_path):
    with pytest.raises(InputError, match=r'short gave \(3, 3, 32, 64\) for'):
        ev.run({'short': lambda task: task.panorama[:3]}, ev.held_out_clips(1, 0), tmp_path, 4, (32, 64),
               progress=False)
    assert not [*tmp_path.glob('short/*.json')]


@pytest.mark.parametrize('values, mean', [([1., 2., 3.], 2.), ([1., math.inf, math.nan], 1.)])
def test_the_bootstrap_brackets_the_mean_of_what_is_finite(values, mean):
    found = bootstrap(values)
    assert found['mean'] == mean and found['low'] <= mean <= found['high']


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    draws = [bootstrap(torch.randn(25, generator=generator).tolist(), draws=400) for _ in range(200)]
    assert .86 < sum(b['low'] < 0 < b['high'] for b in draws)/200 < .99


def test_trajectories_without_both_fields_of_view_are_refused(tmp_path):
    (tmp_path/'motion').mkdir(); (tmp_path/'fov').mkdir()
    simulate_motion(2, 5., make_generator(3)).save(tmp_path/'motion'/'walk.txt')
    with pytest.raises(InputError, match='no video for 1 of 1'): ev.folder_clips(tmp_path)
    with pytest.raises(InputError, match='no trajectory'): ev.folder_clips(tmp_path/'motion')


def test_what_is_kept_back_of_an_own_video_is_filmed_in_the_layout_that_is_judged(tmp_path):
    "experiments/own_training: the last ten seconds, from several starts, by several hands."
    from argus_nb.experiments import own_training as own
    shades = torch.linspace(0, 1, 100)[:, None, None, None].expand(100, 3, 64, 128)  # twenty seconds that grow brighter
    write_video(tmp_path/'walk.mp4', shades, 5)
    own.films(tmp_path/'walk.mp4', 1, tmp_path/'kept', 2)
    clips = ev.folder_clips(tmp_path/'kept')
    assert [clip.name for clip in clips] == ['walk_0', 'walk_1']
    first, last = (clip.pair(16, (32, 64)) for clip in clips)
    assert abs(first.target[0].mean() - 50/99) < .03 and abs(last.target[-1].mean() - 1) < .04
    assert (first.cameras.world_from_camera - last.cameras.world_from_camera).abs().max() > 1e-3


def test_models_of_other_sizes_are_shown_the_same_place_from_the_same_camera():
    for clip in (*ev.held_out_clips(3, 0), ev.held_out_clips(3, 1)[-1]):
        small, large = (clip.pair(2, size) for size in ((128, 256), (256, 512)))
        torch.testing.assert_close(small.cameras.world_from_camera, large.cameras.world_from_camera)
        reduced = torch.nn.functional.avg_pool2d(large.target, 2)
        assert (reduced - small.target).abs().mean() < .02 < (reduced.roll(64, -1) - small.target).abs().mean()
        assert (torch.nn.functional.max_pool2d(large.mask.float(), 2) - small.mask.float()).abs().mean() < .02
