"""The command line as a shell sees it: exit codes, single lines, nothing left behind, and real files of every odd
kind."""
import fractions, json, math, os, re, shutil, signal, subprocess, sys, time, wave
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
    noise = np.random.default_rng(0).integers(0, 255, (height//8, width//8 + frames, 3),
                                              dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fractions.Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, i*4:i*4 + width]),
                                                                   format='rgb24')))
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
    assert subprocess.run([script, '--version'], cwd=tmp_path, capture_output=True,
                          text=True).stdout.startswith('argus_nb ')


QUICK = {  # What can be said without opening a video, so before anything heavy is imported
    'no command': ([], 'COMMAND'),
    'unknown command': (['invent'], 'invent', 'generate'),
    'unknown option': (['info', 'clip.mp4', '--please'], '--please'),
    'no output': (['generate', 'clip.mp4'], 'OUTPUT'),
    'no such file': (['generate', 'missing.mp4', 'out.mp4'], 'missing.mp4', 'no such file'),
    'a directory': (['generate', 'folder', 'out.mp4'], 'folder: is a folder'),
    'zero bytes': (['generate', 'empty.mp4', 'out.mp4'], 'empty.mp4', '0 bytes'),
    'output exists': (['generate', 'clip.mp4', 'done.mp4'], 'done.mp4', '--overwrite'),
    'output is a folder': (['generate', 'clip.mp4', 'folder'], 'folder'),
    'output in no folder': (['generate', 'clip.mp4', 'nowhere/out.mp4'], 'nowhere'),
    'output in a file': (['generate', 'clip.mp4', 'done.mp4/out.mp4'], 'done.mp4'),
    'output of another kind': (['generate', 'clip.mp4', 'out.gif'], '.mp4'),
    'output is the input': (['generate', 'clip.mp4', 'clip.mp4', '--overwrite'], 'is the input itself'),
    'output is a link to the input': (['generate', 'clip.mp4', 'link.mp4', '--overwrite'], 'is the input itself'),
    **{f'size {size}': (['generate', 'clip.mp4', 'out.mp4', '--size', size], '--size', 'multiple of 16', size)
       for size in ('0', '100', '4096', 'large')},
    **{f'strength {share}': (['generate', 'clip.mp4', 'out.mp4', '--strength', share], '--strength', 'from 0 to 1',
                             share) for share in ('-1', '1.5', 'nan')},
    **{f'fov {fov}': (['generate', 'clip.mp4', 'out.mp4', '--fov', fov], '--fov', 'between 0 and 180', fov)
       for fov in ('0', '180', '-10', '400', 'nan', 'inf', 'wide')},
    'no time': (['generate', 'clip.mp4', 'out.mp4', '--seconds', '0'], '--seconds'),
    'before the start': (['generate', 'clip.mp4', 'out.mp4', '--start', '-1'], '--start'),
    'no steps': (['generate', 'clip.mp4', 'out.mp4', '--steps', '0'], '--steps'),
    'half a step': (['generate', 'clip.mp4', 'out.mp4', '--steps', '2.5'], '--steps'),
    'odd width': (['generate', 'clip.mp4', 'out.mp4', '--width', '101'], '--width'),
    'unknown seam': (['generate', 'clip.mp4', 'out.mp4', '--seam', 'sewn'], '--seam', 'blended'),
    'both static and known': (['generate', 'clip.mp4', 'out.mp4', '--static', '--cameras', 'done.mp4'], '--static',
                              '--cameras'),
    'no such camera file': (['generate', 'clip.mp4', 'out.mp4', '--cameras', 'poses.npz'], 'poses.npz'),
    'size without height': (['view', 'clip.mp4', 'out.png', '--size', '640'], '--size', 'WIDTHxHEIGHT'),
    'view: no such file': (['view', 'missing.mp4', 'out.png'], 'missing.mp4'),
    'view: output of another kind': (['view', 'clip.mp4', 'out.txt'], '.mp4', '.png'),
    'view: a video from a picture': (['view', 'pano.png', 'out.mp4'], '.png'),
    'info: no such file': (['info', 'missing.mp4'], 'missing.mp4'),
    'train: no effort': (['train', 'runs', '--effort', '0'], '--effort'),
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
    code = ARGUS[2].replace('sys.exit(main())',
                            'code = main(); print(sorted({"torch", "numpy", "av"} & set(sys.modules))); sys.exit(code)')
    result = subprocess.run([sys.executable, '-c', code, 'generate', 'clip.mp4', 'done.mp4'], cwd=folder,
                            env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, '[]\n')


def test_info_reads_headers_without_heavy_imports(folder):
    code = ARGUS[2].replace('sys.exit(main())',
                            'code = main(); print(sorted({"torch", "diffusers", "numba"} & set(sys.modules))); '
                            'sys.exit(code)')
    began = time.perf_counter()
    result = subprocess.run([sys.executable, '-c', code, 'info', 'clip.mp4'], cwd=folder,
                            env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True, text=True)
    took = time.perf_counter() - began
    said = result.stdout + result.stderr
    assert result.returncode == 0 and result.stdout.endswith('[]\n') and '1.20 s, 6 frames' in result.stdout, said
    assert took < 3, f'argus info took {took:.2f} s'  # a quarter of a second on a machine of its own


def test_old_names_of_options_are_understood_with_one_line(folder):
    result = shell('generate', 'clip.mp4', 'done.mp4', '--seam', 'convolutions', cwd=folder)
    assert result.returncode == 2 and 'Warning' not in result.stderr
    assert result.stderr.splitlines()[0] == "argus: warning: seam 'convolutions' is now called 'circular_padding'"
    assert len(result.stderr.splitlines()) == 2


def test_a_folder_that_cannot_be_written(folder):
    if os.geteuid() == 0: target = next((p for p in ('/proc', '/sys') if Path(p).is_dir()), None)
    else: target = folder/'locked'; target.mkdir(mode=0o500)
    if target is None: pytest.skip('nothing here that root cannot write')
    result = shell('generate', 'clip.mp4', f'{target}/out.mp4', cwd=folder)
    assert_refused(result.returncode, result.stdout, result.stderr, 'cannot be written')


# --- Mistakes that only show when the file is opened ---------------------------------------------------------------

@pytest.fixture(scope='module')
def tiny(tmp_path_factory) -> Path:
    "A model folder with small random weights."
    import torch
    from argus_nb.models import build_models, save_models
    from transformers.utils import logging
    # argus does it before transformers is imported, which in this process has long happened
    logging.disable_progress_bar()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('model')/'tiny'
    save_models(build_models('tiny'), folder)
    return folder


def run(capsys, *words) -> tuple[int, str, str]:
    "Run `argus` in this process, which has paid for the imports already: exit code, stdout, stderr."
    capsys.readouterr()
    try: code = main([str(word) for word in words])
    except SystemExit as stop: code = stop.code
    return code, *capsys.readouterr()


def camera_file(path: Path, frames: int) -> Path:
    from argus_nb.cameras import CameraTrack
    CameraTrack.static(frames, 1.2, fps=5).save(path)
    return path


DEEP = {
    'not a video': (['text.mp4', 'out.mp4'], 'text.mp4'),
    'sound only': (['sound.wav', 'out.mp4'], 'sound.wav', 'sound'),
    'one frame': (['one.mp4', 'out.mp4'], 'one.mp4', 'frame'),
    'starts after the end': (['clip.mp4', 'out.mp4', '--start', '60'], '60'),
    'a part of one frame': (['clip.mp4', 'out.mp4', '--seconds', '0.01'], 'frame'),
    'cameras of another length': (['clip.mp4', 'out.mp4', '--cameras', 'three.json'], 'three.json', '3', '6'),
    'cameras that are none': (['clip.mp4', 'out.mp4', '--cameras', 'text.mp4'], 'text.mp4'),
    'unknown model': (['clip.mp4', 'out.mp4', '--model', 'mega'], 'mega', 'nano', 'svd'),
    'a folder without a model': (['clip.mp4', 'out.mp4', '--model', 'folder'], 'folder'),
    'unknown device': (['clip.mp4', 'out.mp4', '--static', '--device', 'abacus'], 'abacus', 'cpu'),
}


@pytest.mark.parametrize('words, mentions', [(words, mentions) for words, *mentions in DEEP.values()], ids=DEEP)
def test_mistakes_inside_files_are_one_line_and_leave_nothing(words, mentions, folder, tiny, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    make_sound(folder/'sound.wav'); make_clip(folder/'one.mp4', frames=1); camera_file(folder/'three.json', 3)
    before = files_in(folder)
    assert_refused(*run(capsys, 'generate', '--model', tiny, *words), *mentions)
    assert files_in(folder) == before


@pytest.mark.parametrize('name', ['audio_only.mp4', 'zero_byte.mp4', 'zero_empty_stsc.mp4', 'chunk_out_of_range.mp4'])
def test_real_files_that_cannot_be_used(name, media, tiny, tmp_path, capsys):
    if not (media/'odd'/name).exists(): pytest.skip(f'no {name}')
    assert_refused(*run(capsys, 'generate', media/'odd'/name, tmp_path/'out.mp4', '--model', tiny), name)
    assert files_in(tmp_path) == {}


# --- Runs that work ------------------------------------------------------------------------------------------------

def add_sound(silent: Path, path: Path) -> Path:
    "The same clip with a second of tone."
    with av.open(str(silent)) as source, av.open(str(path), 'w') as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream('aac', rate=44100)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None: packet.stream = video; target.mux(packet)
        tone = (np.sin(np.arange(44100)/10)*8000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format='s16', layout='mono'); frame.sample_rate = 44100
        target.mux(audio.encode(frame)); target.mux(audio.encode())
    return path


def test_the_whole_way(clip, tiny, tmp_path, capsys):
    source, out = add_sound(clip, tmp_path/'with sound.mp4'), tmp_path/'around it.mp4'
    words = ['generate', source, out, '--model', tiny, '--static', '--fov', 70, '--steps', 2, '--width', 128]
    code, said, progress = run(capsys, *words)
    assert code == 0, progress
    ends = re.findall(r'^(\w+) +100%, took ', progress, re.MULTILINE)
    assert ends == ['loading', 'generating', 'writing'], progress
    assert 'warning' not in progress and 'Traceback' not in progress
    for fact in (out.name, '128x64', 'static', 'tiny'): assert fact in said, said
    assert sorted(files_in(tmp_path)) == ['around it.mp4', 'around it_sheet.jpg', 'with sound.mp4']
    code, said, _ = run(capsys, 'info', out)
    for fact in ('128x64', '5 frames per second', '1.20 s, 6 frames', 'h264, yuv420p', 'aac', 'v1 and v2'):
        assert fact in said, said
    assert 'every frame can be decoded' in run(capsys, 'info', out, '--check')[1]
    first = out.read_bytes()
    assert run(capsys, *words)[0] == 2 and out.read_bytes() == first
    assert run(capsys, *words, '--overwrite', '--seed', 1)[0] == 0 and out.read_bytes() != first


def test_views_of_a_video_and_of_a_picture(clip, tiny, tmp_path, capsys, monkeypatch):
    from PIL import Image
    monkeypatch.chdir(tmp_path)
    columns = np.zeros((64, 128, 3), np.uint8)
    columns[:, :64, 0] = 255
    columns[:, 64:, 2] = 255  # red to the left, blue to the right
    Image.fromarray(columns).save('pano.png')
    for yaw, channel in ((-90, 0), (90, 2)):
        assert run(capsys, 'view', 'pano.png', 'view.png', '--yaw', yaw, '--size', '64x32', '--overwrite')[0] == 0
        picture = np.array(Image.open('view.png'))
        assert picture.shape == (32, 64, 3)
        assert (picture[..., channel] == 255).all() and (picture[..., 2 - channel] == 0).all()
    make_clip(tmp_path/'pano.mp4', size=(64, 128))
    assert run(capsys, 'view', 'pano.mp4', 'view.mp4', '--size', '64x32', '--seconds', '0.8')[0] == 0
    said = run(capsys, 'info', 'view.mp4')[1]
    for fact in ('64x32', '0.80 s, 4 frames', 'not marked'): assert fact in said, said
    assert run(capsys, 'view', 'pano.mp4', 'moment.jpg', '--start',
               '0.4')[0] == 0 and Image.open('moment.jpg').size == (640, 360)
    assert_refused(*run(capsys, 'view', 'pano.png', 'view.mp4'), '.png')
    (tmp_path/'no.png').write_text('no picture')
    assert_refused(*run(capsys, 'view', 'no.png', 'other.png'), 'no.png')
    make_clip(tmp_path/'flat.mp4', size=(96, 128))
    assert_refused(*run(capsys, 'view', 'flat.mp4', 'other.png'), 'flat.mp4', 'twice as wide')


def test_a_file_cut_off_half_way_gives_one_warning(tiny, tmp_path, capsys):
    whole = make_clip(tmp_path/'whole.mkv', frames=40)
    cut = tmp_path/'cut.mkv'; cut.write_bytes(whole.read_bytes()[:whole.stat().st_size*6//10])
    code, said, progress = run(capsys, 'generate', cut, tmp_path/'out.mp4', '--model', tiny, '--static', '--steps', 1,
                               '--width', 64)
    assert code == 0, progress
    warnings = [line for line in progress.splitlines() if line.startswith('argus: warning: ')]
    assert len(warnings) == 1 and 'cut.mkv' in warnings[0] and (tmp_path/'out.mp4').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_run_leaves_nothing(number, clip, tiny, tmp_path):
    words = ['generate', str(clip), 'out.mp4', '--model', str(tiny), '--static', '--steps', '100000', '--width', '64']
    # A shell that starts the suite in the background has it ignore Ctrl-C, and children inherit that: undo it for this
    # one.
    process = subprocess.Popen([*ARGUS, *words], cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(ROOT)},
                               stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    lines = [process.stderr.readline()]
    while lines[-1] and 'panoramas to generate' not in lines[-1]: lines.append(process.stderr.readline())
    time.sleep(.5)
    process.send_signal(number)
    try: rest = process.communicate(timeout=60)[1]
    finally: process.kill()
    said = ''.join(lines) + rest
    assert process.returncode == 130 and rest.endswith('argus: interrupted\n') and 'Traceback' not in rest, said
    assert files_in(tmp_path) == {}


ODD = ['av1_video.mkv', 'corrupted.mp4', 'h264_10bits.mp4', 'h265_video.mp4', 'no_duration.webm',
       'odd_321x181_vp9.webm', 'sar_2x1.mp4', 'transparent.webm', 'var_fps_video.mp4', 'video_180.mov', 'video_90.mov']

@pytest.mark.slow
@pytest.mark.parametrize('name', ODD)
def test_odd_videos_simply_work(name, media, tiny, tmp_path, capsys):
    if not (media/'odd'/name).exists(): pytest.skip(f'no {name}')
    code, said, progress = run(capsys, 'generate', media/'odd'/name, tmp_path/'out.mp4', '--model', tiny, '--steps', 1,
                               '--width', 128, '--seconds', 1)
    assert code == 0 and 'Traceback' not in progress, progress
    assert 'v1 and v2' in run(capsys, 'info', tmp_path/'out.mp4')[1]


@pytest.mark.slow
def test_training_makes_a_model_and_goes_on(clip, tmp_path, capsys):
    words = ['train', tmp_path/'run', '--effort', '0.002']
    code, said, log = run(capsys, *words)
    assert code == 0, log
    assert str(tmp_path/'run'/'model') in said
    assert_refused(*run(capsys, 'train', tmp_path/'run', '--effort', '0.01'), 'effort 0.002')
    assert run(capsys, *words)[0] == 0
    assert run(capsys, 'generate', clip, tmp_path/'out.mp4', '--model', tmp_path/'run'/'model', '--static', '--steps',
               1, '--width', 64)[0] == 0


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
        assert ending(monkeypatch, capsys, clip, InputError('frames must\nbe many'),
                      *extra) == (2, 'argus: error: frames must be many\n')


def test_a_failure_is_one_line_and_one(monkeypatch, capsys, clip):
    code, err = ending(monkeypatch, capsys, clip, ZeroDivisionError('division\nby zero'))
    assert code == 1 and err == 'argus: failed: ZeroDivisionError: division by zero (--debug shows where)\n'


def test_debug_shows_the_traceback(monkeypatch, capsys, clip):
    with pytest.raises(ZeroDivisionError): ending(monkeypatch, capsys, clip, ZeroDivisionError(), '--debug')


def test_an_interruption_is_one_line_and_130(monkeypatch, capsys, clip):
    assert ending(monkeypatch, capsys, clip, KeyboardInterrupt()) == (130, 'argus: interrupted\n')


# --- Small services, and what fingers type ----------------------------------------------------------------------------

@pytest.mark.parametrize('words, wanted', [(['generat'], 'did you mean generate?'),
                                           (['generate', 'a', 'b', '--widht', '64'], 'did you mean --width?'),
                                           (['reproduce', 'seam'], 'did you mean seams?')])
def test_a_slip_of_the_finger_is_understood(words, wanted, capsys):
    code, said, complaint = run(capsys, *words)
    assert code == 2 and said == '' and complaint.count('\n') == 1 and wanted in complaint


def test_times_are_read_as_people_type_them(clip, tiny, tmp_path, capsys):
    code, said, _ = run(capsys, 'generate', clip, tmp_path/'out.mp4', '--model', tiny, '--seconds', '0:00:01',
                        '--dry-run')
    assert code == 0 and '5 frames' in said and files_in(tmp_path) == {}
    assert_refused(*run(capsys, 'generate', clip, tmp_path/'out.mp4', '--start', '1:75'), '--start', "'1:75'")


def test_info_speaks_json(clip, capsys):
    code, said, _ = run(capsys, 'info', '--json', clip, clip)
    found = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and len(found) == 2 and found[0]['width'] == 128 and found[0]['rate'] == 5.0


@pytest.mark.parametrize('name', ['cameras.npz', 'cameras.json', 'transforms.json', 'sparse'])
def test_cameras_are_written_for_every_tool(name, clip, tmp_path, capsys):
    from argus_nb.cameras import read_cameras
    code, said, complaint = run(capsys, 'track', clip, tmp_path/name, '--fov', 60, '-q')
    assert (code, said, complaint) == (0, '', '')
    track = read_cameras(tmp_path/name)
    assert len(track) == 6 and abs(math.degrees(track.fov_x[0]) - 60) < .01
    assert_refused(*run(capsys, 'track', clip, tmp_path/name), 'exists already')


def test_a_film_is_marked_again(clip, tmp_path, capsys):
    flat = make_clip(tmp_path/'flat.mp4', size=(64, 128))
    assert 'v1 and v2' in run(capsys, 'mark', flat, tmp_path/'marked.mp4')[1]
    assert 'not marked' in run(capsys, 'info', flat)[1]
    assert 'not marked' not in run(capsys, 'info', tmp_path/'marked.mp4')[1]
    assert_refused(*run(capsys, 'mark', clip), 'twice as wide as high')


def test_models_and_completion(capsys):
    assert 'in the package' in run(capsys, 'models')[1]
    code, script, _ = run(capsys, 'completion', 'bash')
    assert code == 0 and '--dry-run' in script
    assert subprocess.run(['bash', '-n'], input=script, text=True).returncode == 0


@pytest.mark.skipif(not shutil.which('bash'), reason='completion is tried in bash')
@pytest.mark.parametrize('typed, wanted', [('generate cli', 'clip.mp4'), ('train out --videos sub', 'sub'),
                                           ('evaluate out --unet su', 'sub'),
                                           ('generate clip.mp4 --tracker rot', 'rotation'), ('gen', 'generate'),
                                           ('generate clip.mp4 --qual', '--quality')])
def test_bash_completes_files_names_and_options(typed, wanted, tmp_path, capsys):
    (tmp_path/'clip.mp4').touch(); (tmp_path/'sub').mkdir(); (tmp_path/'summary.txt').touch()
    (tmp_path/'completion').write_text(run(capsys, 'completion', 'bash')[1])
    script = """source completion
function=$(complete -p argus | sed -n 's/.*-F \\([^ ]*\\).*/\\1/p')
COMP_WORDS=(argus "$@"); COMP_CWORD=$#; COMPREPLY=(); $function argus "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"
"""
    done = subprocess.run(['bash', '-c', script, 'bash', *typed.split()], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [wanted], done.stderr


def test_words_for_all_commands_stand_before_or_after_the_command(clip, capsys):
    assert run(capsys, '-q', 'info', clip)[0] == run(capsys, 'info', clip, '-q')[0] == 0
    said = run(capsys, 'generate', clip, 'out.mp4', '--quality', 'fats')[2]
    assert 'did you mean fast?' in said


def test_a_reader_that_has_gone_is_no_failure(clip):
    command = f'{sys.executable} -m argus_nb info {clip} {clip} {clip}'
    done = subprocess.run(['bash', '-c', f'{command} | true; echo ${{PIPESTATUS[0]}}'], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.stdout.strip() == '0' and done.stderr == ''


@pytest.mark.parametrize('is_terminal, variables, coloured', [(True, {}, True), (True, dict(NO_COLOR='1'), False),
                                                              (True, dict(TERM='dumb'), False), (False, {}, False)])
def test_colours_are_for_terminals_and_respect_no_color(is_terminal, variables, coloured):
    pty = pytest.importorskip('pty')
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    environment = {k: v for k, v in os.environ.items() if k != 'NO_COLOR'} | dict(TERM='xterm') | variables
    process = subprocess.Popen([sys.executable, '-m', 'argus_nb', 'genrate'], cwd=ROOT, stderr=theirs, env=environment)
    os.close(theirs)
    assert process.wait() == 2
    said = os.read(ours, 4096).decode(); os.close(ours)
    assert said.startswith('argus: \x1b[31merror\x1b[0m: ' if coloured else 'argus: error: ') and 'generate' in said
    assert said.count('\x1b') == 2*coloured


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, '-m', 'argus_nb', '--version'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith('argus_nb ')


def test_quality_and_preset_exclude_each_other(clip, tmp_path, capsys):
    both = '--preset', 'release', '--quality', 'fast'
    assert_refused(*run(capsys, 'generate', clip, tmp_path/'o.mp4', *both), 'exclude')
