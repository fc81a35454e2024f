"""The command line as a shell sees it: exit codes, single lines, nothing left behind, and real files of every odd kind."""
import fractions, json, os, signal, subprocess, sys, time, wave
from pathlib import Path

import av
import numpy as np
import pytest
from argus_nb.cli import main

ROOT = Path(__file__).parents[1]
ARGUS = [sys.executable, '-c', 'import sys; from argus_nb.cli import main; sys.exit(main())']


# --- Helpers -------------------------------------------------------------------------------------------------------

def make_clip(path: Path, frames: int = 6, size: tuple[int, int] = (96, 128), fps: int = 5) -> Path:
    "A little H.264 clip of something with texture that moves to the left."
    height, width = size
    noise = np.random.default_rng(0).integers(0, 255, (height//8, width//8 + frames, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fractions.Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for i in range(frames): container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, i*4:i*4 + width]), format='rgb24')))
        container.mux(stream.encode())
    return path


def make_sound(path: Path) -> Path:
    "A file with sound and nothing to see."
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1); file.setsampwidth(2); file.setframerate(8000); file.writeframes(bytes(16000))
    return path


@pytest.fixture(scope='module')
def clip(tmp_path_factory) -> Path: return make_clip(tmp_path_factory.mktemp('clip')/'clip.mp4')


def shell(*words, cwd, timeout=60) -> subprocess.CompletedProcess:
    "Run `argus` in a process of its own."
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    return subprocess.run([*ARGUS, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


def files_in(folder: Path) -> dict:
    "Every file below a folder, hidden ones too, with its content."
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def assert_refused(code: int, out: str, err: str, *mentions: str) -> None:
    "One line on stderr that says what was wrong, exit code 2."
    assert code == 2, err
    assert out == '' and err.startswith('argus: error: ') and err.count('\n') == 1 and err.endswith('\n'), (out, err)
    for mention in mentions: assert mention in err, f'{mention!r} is not in: {err}'


# --- Answers without work ------------------------------------------------------------------------------------------

def test_help_is_there_within_a_second(tmp_path):
    took = []
    for _ in range(2):
        began = time.perf_counter()
        result = shell('--help', cwd=tmp_path)
        took.append(time.perf_counter() - began)
    assert result.returncode == 0 and result.stderr == ''
    for command in ('generate', 'view', 'info', 'train'): assert f'  {command} ' in result.stdout
    assert min(took) < 1, f'argus --help took {min(took):.2f} s'


@pytest.mark.parametrize('command', ['generate', 'view', 'info', 'train'])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop: main([command, '--help'])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith(f'usage: argus {command} ')


def test_the_installed_script_answers(tmp_path):
    script = Path(sys.executable).with_name('argus')
    if not script.exists(): pytest.skip('argus_nb is not installed in this environment')
    assert subprocess.run([script, '--version'], cwd=tmp_path, capture_output=True, text=True).stdout.startswith('argus_nb ')


QUICK = {  # What can be said without opening a video, so before anything heavy is imported
    'no command': ([], 'COMMAND'),
    'unknown command': (['invent'], 'invent', 'generate'),
    'unknown option': (['info', 'clip.mp4', '--please'], '--please'),
    'no output': (['generate', 'clip.mp4'], 'OUTPUT'),
    'no such file': (['generate', 'missing.mp4', 'out.mp4'], 'missing.mp4', 'No such file'),
    'a directory': (['generate', 'folder', 'out.mp4'], 'folder is a folder'),
    'zero bytes': (['generate', 'empty.mp4', 'out.mp4'], 'empty.mp4', '0 bytes'),
    'output exists': (['generate', 'clip.mp4', 'done.mp4'], 'done.mp4', '--overwrite'),
    'output is a folder': (['generate', 'clip.mp4', 'folder'], 'folder'),
    'output in no folder': (['generate', 'clip.mp4', 'nowhere/out.mp4'], 'nowhere'),
    'output in a file': (['generate', 'clip.mp4', 'done.mp4/out.mp4'], 'done.mp4'),
    'output of another kind': (['generate', 'clip.mp4', 'out.gif'], '.mp4'),
    'output is the input': (['generate', 'clip.mp4', 'clip.mp4', '--overwrite'], 'input'),
    'output is a link to the input': (['generate', 'clip.mp4', 'link.mp4', '--overwrite'], 'input'),
    **{f'fov {fov}': (['generate', 'clip.mp4', 'out.mp4', '--fov', fov], '--fov', 'between 0 and 180', fov) for fov in ('0', '180', '-10', '400', 'nan', 'inf', 'wide')},
    'no time': (['generate', 'clip.mp4', 'out.mp4', '--seconds', '0'], '--seconds'),
    'before the start': (['generate', 'clip.mp4', 'out.mp4', '--start', '-1'], '--start'),
    'no steps': (['generate', 'clip.mp4', 'out.mp4', '--steps', '0'], '--steps'),
    'half a step': (['generate', 'clip.mp4', 'out.mp4', '--steps', '2.5'], '--steps'),
    'odd width': (['generate', 'clip.mp4', 'out.mp4', '--width', '101'], '--width'),
    'unknown seam': (['generate', 'clip.mp4', 'out.mp4', '--seam', 'sewn'], '--seam', 'blended'),
    'both static and known': (['generate', 'clip.mp4', 'out.mp4', '--static', '--cameras', 'done.mp4'], '--static', '--cameras'),
    'no such camera file': (['generate', 'clip.mp4', 'out.mp4', '--cameras', 'poses.npz'], 'poses.npz'),
    'size without height': (['view', 'clip.mp4', 'out.png', '--size', '640'], '--size', 'WIDTHxHEIGHT'),
    'view: no such file': (['view', 'missing.mp4', 'out.png'], 'missing.mp4'),
    'view: output of another kind': (['view', 'clip.mp4', 'out.txt'], '.mp4', '.png'),
    'view: a video from a picture': (['view', 'pano.png', 'out.mp4'], '.png'),
    'info: no such file': (['info', 'missing.mp4'], 'missing.mp4'),
}


@pytest.fixture
def folder(tmp_path, clip) -> Path:
    "A folder with one of each thing to stumble over."
    (tmp_path/'clip.mp4').write_bytes(clip.read_bytes())
    for name in ('empty.mp4', 'poses.json'): (tmp_path/name).touch()
    for name in ('done.mp4', 'pano.png', 'text.mp4'): (tmp_path/name).write_text('not what the name says')
    (tmp_path/'folder').mkdir()
    (tmp_path/'link.mp4').symlink_to('clip.mp4')
    return tmp_path


@pytest.mark.parametrize('words, mentions', [(words, mentions) for words, *mentions in QUICK.values()], ids=QUICK)
def test_mistakes_are_answered_at_once(words, mentions, folder):
    before = files_in(folder)
    result = shell(*words, cwd=folder)
    assert_refused(result.returncode, result.stdout, result.stderr, *mentions)
    assert files_in(folder) == before


def test_mistakes_are_answered_without_heavy_imports(folder):
    code = ARGUS[2].replace('sys.exit(main())', 'code = main(); print(sorted({"torch", "numpy", "av"} & set(sys.modules))); sys.exit(code)')
    result = subprocess.run([sys.executable, '-c', code, 'generate', 'clip.mp4', 'done.mp4'], cwd=folder, env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, '[]\n')


def test_a_folder_that_cannot_be_written(folder):
    if os.geteuid() == 0: target = next((p for p in ('/proc', '/sys') if Path(p).is_dir()), None)
    else: target = folder/'locked'; target.mkdir(mode=0o500)
    if target is None: pytest.skip('nothing here that root cannot write')
    result = shell('generate', 'clip.mp4', f'{target}/out.mp4', cwd=folder)
    assert_refused(result.returncode, result.stdout, result.stderr, 'cannot be written')


# --- How a run can end ---------------------------------------------------------------------------------------------

def ending(monkeypatch, capsys, clip, error, *extra) -> tuple[int, str]:
    "Exit code and stderr of a command that raises `error`."
    def stumble(args): raise error
    monkeypatch.setattr('argus_nb.cli.info', stumble)
    code = main(['info', str(clip), *extra])
    return code, capsys.readouterr().err


def test_an_input_error_of_the_package_is_one_line_and_two(monkeypatch, capsys, clip):
    from argus_nb.runtime import InputError
    for extra in ([], ['--debug']):
        assert ending(monkeypatch, capsys, clip, InputError('frames must\nbe many'), *extra) == (2, 'argus: error: frames must be many\n')


def test_a_failure_is_one_line_and_one(monkeypatch, capsys, clip):
    code, err = ending(monkeypatch, capsys, clip, ZeroDivisionError('division\nby zero'))
    assert code == 1 and err == 'argus: failed: ZeroDivisionError: division by zero (--debug shows where)\n'


def test_debug_shows_the_traceback(monkeypatch, capsys, clip):
    with pytest.raises(ZeroDivisionError): ending(monkeypatch, capsys, clip, ZeroDivisionError(), '--debug')


def test_an_interruption_is_one_line_and_130(monkeypatch, capsys, clip):
    assert ending(monkeypatch, capsys, clip, KeyboardInterrupt()) == (130, 'argus: interrupted\n')
