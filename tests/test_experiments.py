"Every experiment has a page, a run and a record; the command runs it; every command that a page shows can be typed."
import ast, inspect, io, json, re, shlex, subprocess, sys
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path

import pytest
from argus_nb.cli import build_parser, main
from argus_nb.experiments.reproduce import (ALIASES, EXPERIMENTS, find_experiment, list_experiments, origin_of,
                                            read_record, recorded, reproduce, what_it_takes)

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT/'nbs'/'experiments').glob('*.ipynb'))
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
def cells(path: Path, kind: str) -> list[str]: return [''.join(c['source'])
                                                       for c in json.loads(path.read_text())['cells']
                                                       if c['cell_type'] == kind]
def name_of(thing) -> str: return thing.stem if isinstance(thing, Path) else thing.name


# --- The list ------------------------------------------------------------------------------------------------------

def test_the_list_needs_nothing_but_python():
    heavy = "any(name.split('.')[0] in ('torch', 'numpy', 'matplotlib', 'diffusers') for name in sys.modules)"
    code = ('import sys; from argus_nb.experiments.reproduce import list_experiments; '
            f'assert len(list_experiments()) > 20; sys.exit({heavy})')
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_pages_and_list_agree():
    assert {path.stem for path in PAGES} == {e.name for e in EXPERIMENTS} | {'reproduce'}
    assert set(ALIASES.values()) <= {e.name for e in EXPERIMENTS}


@pytest.mark.parametrize('experiment', EXPERIMENTS, ids=name_of)
def test_an_experiment_exports_its_run_alone(experiment):
    module = import_module(f'argus_nb.experiments.{experiment.name}')
    assert module.__all__ == ['run']
    names = list(inspect.signature(module.run).parameters)
    assert names[0] == 'work' and 'quick' in names
    assert set(experiment.settings) <= set(names)


@pytest.mark.parametrize('experiment', EXPERIMENTS, ids=name_of)
def test_an_experiment_is_recorded_or_says_that_it_is_not(experiment, tmp_path):
    assert recorded(experiment) == 'not recorded' or re.fullmatch(r'\d{4}-\d\d-\d\d', recorded(experiment))
    assert recorded(experiment, tmp_path) == 'not recorded'
    for file in experiment.records:
        if not (ROOT/'results'/file).exists(): continue
        record = json.loads((ROOT/'results'/file).read_text())
        for part in [record] if 'command' in record else record.values():
            assert part['command'].startswith('argus ') and {'date', 'device', 'versions'} <= set(part)


@pytest.mark.parametrize('path', [p for p in PAGES if p.stem != 'reproduce'], ids=name_of)
def test_a_page_asks_measures_shows_and_says_what_it_cannot_tell(path):
    text = '\n'.join(cells(path, 'markdown'))
    for part in ('**Question.**', '**How it is measured.**', 'What came out', 'hat follows', 'hat it cannot tell'):
        assert part in text, f'{path.name} has no {part}'
    assert re.search(r"\*\*The paper|\*\*The release", text)
    assert f'argus reproduce {path.stem}' in text or any(f'argus reproduce {alias}' in text
                                                         for alias, name in ALIASES.items() if name == path.stem)
    code = cells(path, 'code')
    assert any('#| eval: false' in cell and 'run(' in cell for cell in code) and any('read_record' in cell
        for cell in code)


FACTS = {'4.9', '0.7', '0.2', '0.3'}  # of mathematics, of the grid, of the paper

@pytest.mark.parametrize('path', PAGES, ids=name_of)
def test_no_measured_number_is_typed_by_hand(path):
    said = '\n'.join(cells(path, 'markdown')).partition('What came out')[2]
    said = re.sub(r'\]\([^)]*\)|`[^`]*`|arXiv [\d.]+', '', said)
    assert set(re.findall(r'\d+\.\d+', said)) <= FACTS


def test_the_list_asks_for_the_clips_of_the_record():
    told, record = find_experiment('nano').settings, read_record('nano')
    assert len(record['clips']) == told['worlds'] + told['panoramas']


def test_a_record_says_whose_weights_it_judged():
    record = read_record('nano')
    assert 'nano' not in origin_of(record) and record['date'] in origin_of(record)
    other = record | dict(weights=record['weights'] | dict(vae='another'))
    assert origin_of(other).endswith('with an earlier nano')
    assert origin_of(record | dict(weights=record['weights']['unet'])) == origin_of(record)
    assert origin_of(dict(date='2026-01-01')) == '2026-01-01, with a nano that it does not name'


def test_a_name_that_is_not_known_is_refused(capsys):
    with pytest.raises(ValueError, match="no experiment is called 'table4'"): find_experiment('table4')
    with pytest.raises(SystemExit) as stopped: main(['reproduce', 'table4'])
    assert stopped.value.code == 2 and 'table4' in capsys.readouterr().err
    assert main(['reproduce', '--quick']) == 2 and 'NAME is missing' in capsys.readouterr().err


# --- The command ---------------------------------------------------------------------------------------------------

def test_the_command_lists_what_there_is(capsys):
    assert main(['reproduce']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(EXPERIMENTS) and any('table1' in line and 'table 1' in line for line in lines)
    assert [row['name'] for row in list_experiments()] == [e.name for e in EXPERIMENTS]


@pytest.mark.parametrize('name', ['projection_truth', 'commands'])
def test_a_rehearsal_runs_from_the_command_line_and_leaves_results_alone(name, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in (ROOT/'results').glob('*.json')}
    assert main(['reproduce', name, '--quick', '--work', str(tmp_path/'run')]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        what_it_takes(find_experiment(name), True)) and f"record     {tmp_path/'run'/name}.json" in said
    record = json.loads((tmp_path/'run'/f'{name}.json').read_text())
    assert record['rows'] and {'command', 'date', 'device', 'versions'} <= set(record)
    assert before == {path: path.stat().st_mtime_ns for path in (ROOT/'results').glob('*.json')}
    assert main(['reproduce', name, '--quick', '--write', '--work',
                 str(tmp_path/'run')]) == 2 and 'a rehearsal' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize('name', [e.name for e in EXPERIMENTS if e.name not in ('projection_truth', 'commands')])
def test_every_rehearsal_runs(name, tmp_path):
    for path in reproduce(name, tmp_path, quick=True): assert json.loads(path.read_text())


def test_an_interrupted_record_is_never_half_written(tmp_path, monkeypatch):
    from argus_nb.experiments import commands
    monkeypatch.setattr(commands, 'run', lambda work, quick=False: dict(rows=object()))
    with pytest.raises(TypeError): reproduce('commands', tmp_path, quick=True)
    assert not [*tmp_path.glob('*.json')]


# --- What pages show -----------------------------------------------------------------------------------------------

def shown_commands() -> list[tuple[str, str]]:
    "Every line that begins with argus in a fenced block of a notebook or the README, without its comment."
    texts = [(path.name, text) for path in NOTEBOOKS for text in cells(path, 'markdown')] + [('README.md',
        (ROOT/'README.md').read_text())]
    found = []
    for name, text in texts:
        for block in re.findall(r'```(?:sh|bash|console|text)?\n(.*?)```', text, re.DOTALL):
            joined = re.sub(r'\\\n\s*', ' ', block)
            found += [(name, m[1]) for line in joined.splitlines() if (m := re.match(r'\s*(?:\$ )?(argus .*)', line))]
    return list(dict.fromkeys(found))


def test_there_are_commands_on_pages(): assert len(shown_commands()) > 20


@pytest.mark.parametrize('page, line', shown_commands(), ids=lambda text: text[:60])
def test_a_command_that_a_page_shows_can_be_typed(page, line, tmp_path, monkeypatch):
    words = shlex.split(line, comments=True)[1:]
    if '...' in line or '…' in line: pytest.skip('an abbreviation')
    monkeypatch.setattr('argus_nb.cli.existing_file', Path); monkeypatch.setattr('argus_nb.cli.existing_folder', Path)
    for end in ('|', '&&', '>'): words = words[:words.index(end)] if end in words else words
    with redirect_stderr(io.StringIO()) as said:
        try: build_parser().parse_args(words)
        except SystemExit as stopped: assert stopped.code == 0, f'{page} shows {line!r}: {said.getvalue()}'


def test_writing_keeps_what_a_run_does_not_make(tmp_path, monkeypatch):
    from argus_nb.experiments import reproduce as module, tracking, worlds
    (tmp_path/'results').mkdir()
    monkeypatch.setattr(module, 'RESULTS', tmp_path/'results')
    old = {'tracking': dict(command='x', date='2026-01-01', rows=[1], before=dict(rows=[0])),
           'worlds': dict(speed=dict(date='2026-01-01'), variety=dict(date='2026-01-01'))}
    for name, record in old.items(): (tmp_path/'results'/f'{name}.json').write_text(json.dumps(record))
    monkeypatch.setattr(tracking, 'run', lambda work: dict(command='y', date='2026-02-02', rows=[2]))
    monkeypatch.setattr(worlds, 'run', lambda work: dict(speed=dict(date='2026-02-02')))
    for name in old: reproduce(name, tmp_path/name, write=True)
    found = {name: json.loads((tmp_path/'results'/f'{name}.json').read_text()) for name in old}
    assert found['tracking'] == dict(command='y', date='2026-02-02', rows=[2], before=dict(rows=[0]))
    assert found['worlds'] == dict(speed=dict(date='2026-02-02'), variety=dict(date='2026-01-01'))
    assert json.loads((tmp_path/'worlds'/'worlds.json').read_text()) == dict(speed=dict(date='2026-02-02'))


def test_own_training_compares_before_and_after_clip_by_clip(tmp_path, monkeypatch):
    from argus_nb.experiments import own_training as own
    def command(what, folder, *words):
        folder.mkdir(parents=True, exist_ok=True)
        rows = {row: {clip: {m: n + (folder.name == 'after') for m in own.MEASURES} for n, clip in enumerate('abcd')}
                for row in ('argus', 'bound', 'edge extension')}
        stages = dict(videos=dict(steps=2, minutes=.1))
        (folder/'results.json').write_text(json.dumps(dict(clips=rows)))
        (folder/'nano_training.json').write_text(json.dumps(dict(stages=stages)))
        return shlex.join(['argus', what, str(folder), *map(str, words)])
    monkeypatch.setattr(own, 'argus', command)
    monkeypatch.setattr(own, 'films', lambda video, number, folder, hands: None)
    monkeypatch.setattr(own, 'stand_in', lambda path: path)
    monkeypatch.setattr(own, 'video_info', lambda path: dict(duration=21.))
    record = own.run(tmp_path, quick=True)
    assert record['clips'] == 2 and (tmp_path/'clips.tsv').read_text() == 'own\tworld\t0\n'
    assert record['differences']['PSNR, never'] == dict(mean=1., low=1., high=1., clips=4)
    assert len(record['commands']) == 3 and not any(str(tmp_path) in line for line in record['commands'])
    json.dumps(record)
