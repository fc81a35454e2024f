"One truth about length, rate and frames, whoever asks; and edit lists of every kind."
import struct
from fractions import Fraction
from pathlib import Path

import pytest, torch

from argus_nb.cli import main
from argus_nb.clip_cameras import cameras_for
from argus_nb.clips import VideoClips
from argus_nb.films import film
from argus_nb.generation import Generation
from argus_nb.headers import header_info
from argus_nb.photographs import open_panoramas
from argus_nb.pipeline import ArgusPipeline
from argus_nb.runtime import InputError
from argus_nb.sampling import sampling_for
from argus_nb.spherical import Box, file_index
from argus_nb.video import read_video, video_info
from conftest import MEDIA

ENDINGS = ('.mp4', '.mov', '.mkv', '.webm', '.avi')
FILES = [p for folder in (MEDIA, MEDIA.parent/'cases') if folder.is_dir()
         for p in sorted(folder.rglob('*')) if p.suffix in ENDINGS]
# what a header cannot know: that frames are missing at the end, or how long a stream will be that was never closed
HEADERS_THAT_CANNOT_KNOW = {'hflip.mp4', 'no_duration.webm'}


@pytest.fixture(scope='module')
def pipeline(tiny): return ArgusPipeline.from_pretrained(tiny, device='cpu')


@pytest.mark.skipif(not FILES, reason='no shared media beside this checkout')
@pytest.mark.parametrize('path', [pytest.param(path, marks=[pytest.mark.slow]*(path.stat().st_size > 1_000_000))
                                  for path in FILES], ids=lambda path: path.name)
def test_everybody_counts_alike(path, pipeline, tmp_path, capsys):
    try: video = read_video(path)
    except InputError:
        for ask in (lambda: video_info(path, decode=True), lambda: open_panoramas(path), lambda: video_info(path)):
            with pytest.raises(InputError): ask()
        assert main(['info', '--check', str(path)]) == 2 if path.stat().st_size else True
        return
    truth = dict(rate=video.rate, frames=len(video.frames), duration=video.duration)
    for told in (video_info(path, decode=True), video_info(path),
                 header_info(path) if path.name not in HEADERS_THAT_CANNOT_KNOW else truth):
        assert told['frames'] == truth['frames'] and told['rate'] == truth['rate']
        assert abs(told['duration'] - truth['duration']) < .51/float(video.rate)
    assert video_info(path, decode=True)['warning'] == video.warning
    assert main(['info', '--check', str(path)]) == 0
    assert f'{video.duration:.2f} s, {len(video.frames)} frames' in capsys.readouterr().out
    generated = Generation(pipeline, video, cameras_for(video, static=True), sampling_for(pipeline.settings), width=64)
    assert len(generated) == len(video.frames) and generated.rate == video.rate
    try: around = open_panoramas(path)  # what view, look, light and stabilise read
    except InputError: around = None
    known = lambda video: (len(video.frames), video.rate, video.warning)
    if around: assert known(around) == known(video)
    (tmp_path/path.name).symlink_to(path)
    clips = VideoClips(tmp_path, seconds=1.)
    assert sum(map(len, clips.parts.values())) == max(1, int(video.duration))


def with_edits(path, edits):
    "A film of twenty shades at ten a second, with an edit list: (seconds, from when or -1, speed) each."
    shades = torch.stack([torch.full((3, 48, 64), 20 + 9*n, dtype=torch.uint8) for n in range(20)])
    film(path, shades, 10, options=dict(crf='1', bf='0', g='5'))
    index, data = file_index(path), bytearray(path.read_bytes())
    scale, = struct.unpack_from('>I', next(index.all('mvhd')).data, 12)
    for track in index.all('trak'):
        ticks, = struct.unpack_from('>I', next(track.all('mdhd')).data, 12)
        rows = b''.join(struct.pack('>Iii', round(length*scale), -1 if start < 0 else round(start*ticks),
                                    round(speed*65536)) for length, start, speed in edits)
        children = [box for box in track.children if box.kind != 'edts']
        children.insert(1, Box('edts', children=[Box('elst', struct.pack('>II', 0, len(edits)) + rows)]))
        track.children = children
    at = data.index(b'moov'); data[at:at + 4] = b'free'  # frames stay where they are, the new index comes last
    path.write_bytes(bytes(data) + index.to_bytes())
    return path


def shades_of(video): return [round((float(f.float().mean()) - 20)/9) for f in video.frames]


@pytest.mark.parametrize('edits, shown', [
    ([(2, 0, 1)], list(range(20))), ([(.7, .3, 1)], list(range(3, 10))),
    ([(1, 0, 1), (1, 0, 1)], [*range(10), *range(10)]),
    ([(1, 1, 1), (1, 0, 1), (.5, .5, 1)], [*range(10, 20), *range(10), *range(5, 10)]),
])
def test_what_an_edit_list_shows_twice_is_shown_twice(tmp_path, edits, shown):
    path = with_edits(tmp_path/'a.mp4', edits)
    video = read_video(path)
    assert all(abs(a - b) <= 1 for a, b in zip(shades_of(video), shown)) and len(video.frames) == len(shown)
    assert video.rate == Fraction(10) and video.warning is None
    told = header_info(path), video_info(path), video_info(path, decode=True)
    assert [info['frames'] for info in told] == [len(shown)]*3


@pytest.mark.parametrize('edits', [[(1, 0, 2)], [(4, 0, .5)], [(1, .5, 0), (2, 0, 1)],
                                   [(.5, 0, 1), (1, -1, 1), (1, 1, 1)]], ids=['fast', 'slow', 'held', 'pause'])
def test_edits_that_are_not_followed_are_told(tmp_path, edits, capsys):
    path = with_edits(tmp_path/'a.mp4', edits)
    assert read_video(path).warning == f'{path}: its edit list changes the speed or pauses, which is not followed'
    assert main(['info', str(path)]) == 0 and 'which is not followed' in capsys.readouterr().out
    late = with_edits(tmp_path/'b.mp4', [(1, -1, 1), (2, 0, 1)])  # a beginning after a second is no pause
    assert read_video(late).warning is None and len(read_video(late).frames) == 20
