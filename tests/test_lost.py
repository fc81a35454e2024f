"Nothing that somebody has is lost: sheets, two runs into one file, what killed runs leave behind, pipes."
import os, signal, subprocess, sys, time
import pytest, torch

from argus_nb.cli import main
from argus_nb.edges import claimed, write_beside
from argus_nb.request import GenerationRequest
from argus_nb.runtime import InputError
from argus_nb.video import write_video


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path/'clip.mp4', torch.zeros(4, 3, 32, 48), 4)
    return tmp_path/'clip.mp4'


def test_a_sheet_that_is_there_is_not_replaced(clip, tmp_path, capsys):
    sheet = tmp_path/'out_sheet.jpg'
    sheet.write_text('precious')
    command = f'generate {clip} {tmp_path}/out.mp4 --static --steps 1 --size 64 --width 256'.split()
    assert main(command) == 2
    assert 'out_sheet.jpg: exists already' in (err := capsys.readouterr().err) and err.count('\n') == 1
    GenerationRequest(clip, tmp_path/'out.mp4', overwrite=True).check_files()
    sheet.unlink(); sheet.mkdir()
    assert main([*command, '--overwrite']) == 2
    assert 'out_sheet.jpg: is a folder' in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ['clip.mp4', 'out_sheet.jpg']


WRITER = """
import sys, time
from pathlib import Path
from argus_nb.edges import claimed, write_beside
path = Path(sys.argv[1])
with claimed(path), write_beside(path) as temporary:
    temporary.write_text('half'); print('ready', flush=True); time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    "Another process at work on out.txt."
    process = subprocess.Popen([sys.executable, '-c', WRITER, str(tmp_path/'out.txt')], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout.readline() == 'ready\n'
    yield process
    process.kill(); process.wait()


def test_a_second_run_into_one_output_is_refused_and_a_dead_ones_claim_is_taken_over(writer, tmp_path):
    with pytest.raises(InputError, match='out.txt: is being written by another run'):
        with claimed(tmp_path/'out.txt'): pass
    with claimed(tmp_path/'other.txt'): pass
    writer.send_signal(signal.SIGKILL); writer.wait()
    with claimed(tmp_path/'out.txt'), claimed(tmp_path/'out.txt'): pass
    assert not [p for p in tmp_path.iterdir() if 'lock' in p.name]


def test_litter_goes_when_its_writer_is_dead_and_only_then(writer, tmp_path):
    others = ['.out-mine.txt', '.out-argus-notes.txt', '.other-argus-abcdefgh.txt']
    for name in others: (tmp_path/name).touch()
    litter = lambda: {p.name for p in tmp_path.iterdir() if p.name.startswith('.out-argus-')} - {'.out-argus-notes.txt'}
    def write():
        with write_beside(tmp_path/'out.txt') as temporary: temporary.write_text('whole')
    write()
    assert len(litter()) == 1
    writer.send_signal(signal.SIGKILL); writer.wait()
    write()
    assert not litter() and (tmp_path/'out.txt').read_text() == 'whole' and all((tmp_path/n).exists() for n in others)


def test_videos_claim_their_name(writer, tmp_path):
    with claimed(tmp_path/'a.mp4'): write_video(tmp_path/'a.mp4', torch.zeros(2, 3, 32, 48), 4)
    os.rename(tmp_path/'a.mp4', tmp_path/'b.mp4')
    assert not [p.name for p in tmp_path.iterdir() if p.suffix == '.mp4' and p.name != 'b.mp4']


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_pipes_are_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path/'f.mp4')
    began = time.monotonic()
    for command in ('info {}', 'view {} o.png', 'generate {} o.mp4', 'generate clip.mp4 o.mp4 --cameras {}'):
        try: code = main(command.format(tmp_path/'f.mp4').split())
        except SystemExit as stop: code = stop.code
        assert code == 2 and ('is not a regular file' in capsys.readouterr().err or 'clip.mp4' in command)
    assert time.monotonic() - began < 30
