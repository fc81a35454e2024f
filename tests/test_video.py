"""Video in and out: odd files made with an independent ffmpeg, damage, colours, sound, boxes. Lessons are in
nbs/19_video.ipynb."""
import os, random, resource, socket, struct, subprocess, threading, wave
from fractions import Fraction
from pathlib import Path
import av, imageio_ffmpeg, numpy as np, pytest, torch
from argus_nb.runtime import InputError
from argus_nb import reading, spherical, video as V
from argus_nb.video import exact_rate, read_video, spherical_metadata, video_info, write_index_first, write_video

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
MEDIA = Path(__file__).parents[1].parent/'shared'/'media'
QUADRANTS = torch.tensor([[[200, 40, 40], [40, 180, 40]], [[40, 60, 200], [200, 190, 60]]], dtype=torch.uint8)

def picture(number, height=64, width=96):
    "Four coloured quadrants, and the frame's number in eight bits across the middle; uint8 (H, W, 3)."
    image = QUADRANTS.repeat_interleave(height//2, 0).repeat_interleave(width//2, 1).clone()
    for bit in range(8):
        columns = slice(width*(8 + 10*bit)//96, width*(16 + 10*bit)//96)
        image[height//2 - 6:height//2 + 6, columns] = 235 if number >> bit & 1 else 20
    return image

def number_in(image):
    "The number that a frame (3, H, W) shows."
    height, width = image.shape[1:]
    return sum(int(image[:, height//2, width*(12 + 10*bit)//96].float().mean() > 128) << bit for bit in range(8))

def ffmpeg(*arguments, data=None):
    done = subprocess.run([FFMPEG, '-hide_banner', '-loglevel', 'error', '-y', *map(str, arguments)], input=data,
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-500:]
    return done.stdout

def make(path, *arguments, count=30, rate='30', height=64, width=96, inputs=()):
    data = b''.join(picture(n, height, width).numpy().tobytes() for n in range(count))
    ffmpeg('-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', rate, '-i', '-', *inputs,
           *arguments, path, data=data)
    return path

H264 = ('-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p')
GOPS = (*H264, '-preset', 'fast', '-bf', '3', '-x264-params', 'keyint=12:open-gop=1:bframes=3')

@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    "90 frames, B-frames, open groups of 12."
    return make(tmp_path_factory.mktemp('clip')/'clip.mp4', *GOPS, count=90)

# --- what people have -------------------------------------------------------------------------------------------------

KINDS = {
    'h264.mp4': H264, 'gops.mkv': GOPS, 'yuv444.mp4': ('-c:v', 'libx264', '-pix_fmt', 'yuv444p'),
    'ten.mp4': ('-c:v', 'libx264', '-pix_fmt', 'yuv422p10le'),
    'hevc.mp4': ('-c:v', 'libx265', '-pix_fmt', 'yuv420p10le', '-x265-params', 'log-level=none'),
    'vp9.webm': ('-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-pix_fmt', 'yuv420p', '-crf', '10',
                 '-b:v', '0'),
    'live.webm': ('-c:v', 'libvpx', '-deadline', 'realtime', '-live', '1', '-b:v', '1M'),
    'av1.mkv': ('-c:v', 'libaom-av1', '-cpu-used', '8', '-usage', 'realtime', '-pix_fmt', 'yuv420p', '-crf', '20'),
    'mjpeg.avi': ('-c:v', 'mjpeg', '-q:v', '2'),
    'coded_order.avi': ('-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-bf', '3'),
    'raw.h264': ('-c:v', 'libx264', '-pix_fmt', 'yuv420p'),
    'prores.mov': ('-c:v', 'prores_ks', '-pix_fmt', 'yuva444p10le'),
    'mpeg2.ts': ('-c:v', 'mpeg2video', '-q:v', '2'), 'offset.ts': (*H264, '-output_ts_offset', '100'),
    'fragments.mp4': (*H264, '-g', '10', '-movflags', 'frag_keyframe+empty_moov'),
    'palette.avi': ('-c:v', 'rawvideo', '-pix_fmt', 'pal8'), 'loop.gif': (), 'loop.apng': ('-f', 'apng'),
    'lossless.mkv': ('-c:v', 'ffv1', '-pix_fmt', 'bgra'),
    'odd.mkv': ('-c:v', 'ffv1', '-pix_fmt', 'yuv444p', '-vf', 'crop=95:63:0:0'),
    'flash.flv': ('-c:v', 'flv1', '-q:v', '2'),
}

@pytest.mark.parametrize('name', KINDS)
def test_every_frame_of_every_kind_arrives_once_in_order_and_in_colour(tmp_path, name, capfd):
    path = make(tmp_path/name, *KINDS[name], rate='25' if name.endswith(('.ts', '.gif')) else '30')
    video = read_video(path)
    frames = list(video.frames)
    assert video.rate == (25 if name.endswith(('.ts', '.gif')) else 30) and video.warning is None
    assert [number_in(frame) for frame in frames] == list(range(30)) and len(video.frames) == 30
    corners = torch.stack([frames[0][:, y:y + 16, x:x + 16].float().mean((1, 2)) for y in (4, -20) for x in (4, -20)])
    assert (corners - QUADRANTS.reshape(4, 3).float()).abs().max() < (8 if name in ('loop.gif', 'palette.avi')
                                                                      else 4)  # 256 dithered colours
    picks = random.Random(name).sample(range(30), 5) + [0]
    torch.testing.assert_close(video.frames[picks], torch.stack([frames[n] for n in picks]), atol=0, rtol=0)
    assert video_info(path)['frames'] == 30 and video_info(path)['rate'] == video.rate
    assert capfd.readouterr() == ('', '')  # libav keeps its thoughts to itself

@pytest.mark.parametrize('mirror', [False, True])
@pytest.mark.parametrize('turn', [0, 90, 180, 270])
def test_all_eight_orientations_are_those_of_ffmpeg(tmp_path, turn, mirror):
    make(tmp_path/'plain.mp4', *H264, count=2)
    ffmpeg('-display_rotation', turn, *(['-display_hflip'] if mirror else []), '-i', tmp_path/'plain.mp4', '-c',
           'copy', tmp_path/'turned.mp4')
    frame = read_video(tmp_path/'turned.mp4').frames[0]
    theirs = ffmpeg('-i', tmp_path/'turned.mp4', '-frames:v', 1, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-')
    theirs = torch.frombuffer(bytearray(theirs), dtype=torch.uint8).view(*frame.shape[1:], 3).movedim(-1, 0)
    assert (frame.float() - theirs.float()).abs().mean() < 4  # chroma is interpolated in another way
    if not mirror: assert video_info(tmp_path/'turned.mp4')['rotation'] == -turn % 360

@pytest.mark.parametrize('aspect, size', [('3:1', (64, 192)), ('3:8', (64, 24)), ('97:64', (64, 96))])
def test_pixels_become_square(tmp_path, aspect, size):
    frames = read_video(make(tmp_path/'wide.mp4', *H264, '-aspect', aspect, count=3)).frames
    assert frames.shape == (3, 3, *size) and number_in(frames[2]) == (2 if size[1] > 90 else number_in(frames[2]))

@pytest.mark.parametrize('matrix', ['bt709', 'smpte170m', 'bt2020nc'])
@pytest.mark.parametrize('colour_range', ['tv', 'pc'])
@pytest.mark.parametrize('pixels', ['yuv420p', 'yuv444p10le'])
def test_colours_are_those_of_ffmpeg(tmp_path, matrix, colour_range, pixels):
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(1)),
                                             (64, 96), mode='bilinear')[0]
    data = (255*smooth).byte().movedim(0, -1).contiguous().numpy().tobytes()
    ffmpeg('-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', '96x64', '-r', 30, '-i', '-', '-vf',
           f'scale=out_color_matrix={matrix}:out_range={colour_range}', '-c:v', 'ffv1', '-pix_fmt', pixels,
           '-colorspace', matrix, '-color_range', colour_range, tmp_path/'colour.mkv', data=2*data)
    ours = read_video(tmp_path/'colour.mkv').frames[0].float()
    theirs = ffmpeg('-i', tmp_path/'colour.mkv', '-frames:v', 1, '-vf',
                    'scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24', '-f', 'rawvideo',
                    '-')
    theirs = torch.frombuffer(bytearray(theirs), dtype=torch.uint8).view(64, 96, 3).movedim(-1, 0).float()
    assert (ours - theirs).abs().mean() < .6 and (ours - theirs).abs().max() < 8
    assert (ours - 255*smooth).abs().mean() < 1.5

def test_a_large_unnamed_file_is_taken_for_bt709_and_a_small_one_for_bt601(tmp_path):
    red, green, blue = QUADRANTS[0, 0].double()/255
    for name, width, height, (kr, kb) in (('large', 1280, 8, (.2126, .0722)), ('small', 96, 64, (.299, .114))):
        luma = kr*red + (1 - kr - kb)*green + kb*blue
        codes = [16 + 219*luma, 128 + 112*(blue - luma)/(1 - kb), 128 + 112*(red - luma)/(1 - kr)]
        data = b''.join(bytes([round(float(code))])*(width*height) for code in codes)
        ffmpeg('-f', 'rawvideo', '-pix_fmt', 'yuv444p', '-s', f'{width}x{height}', '-r', 30, '-i', '-', '-c:v', 'ffv1',
               tmp_path/f'{name}.mkv', data=2*data)
        corner = read_video(tmp_path/f'{name}.mkv').frames[0][:, 0, 0].float()
        assert (corner - QUADRANTS[0, 0].float()).abs().max() <= 2

@pytest.mark.parametrize('curve, white', [('smpte2084', .5807), ('arib-std-b67', .75)])
def test_hdr_white_is_bright_neutral_and_the_same_for_both_curves(tmp_path, curve, white):
    codes = np.repeat(np.round(64 + 876*np.linspace(0, white, 8)).astype('<u2'),
                      8)  # a grey ramp up to reference white, 10 bits
    luma, chroma = np.tile(codes, (32, 1)), np.full((16, 64), 512, '<u2')
    ffmpeg('-f', 'rawvideo', '-pix_fmt', 'yuv420p10le', '-s', '64x32', '-r', 30, '-color_range', 'tv', '-colorspace',
           'bt2020nc', '-color_trc', curve, '-color_primaries', 'bt2020', '-i', '-',
           '-c:v', 'libx265', '-x265-params', 'log-level=none:lossless=1', tmp_path/'hdr.mp4',
           data=2*(luma.tobytes() + chroma.tobytes()))
    ramp = read_video(tmp_path/'hdr.mp4').frames[0][:, 16, 4::8].int()
    assert (ramp - ramp[:1]).abs().max() <= 1 and (ramp.diff() > 0).all()
    assert ramp[0, 0] <= 1 and abs(ramp[0, -1] - 227) <= 2

@pytest.mark.parametrize('codec', ['libvpx', 'libvpx-vp9'])
def test_transparent_is_black(tmp_path, codec):
    alpha = "format=yuva420p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='if(lt(X,48),255,if(lt(Y,32),128,0))'"
    make(tmp_path/'alpha.webm', '-vf', alpha, '-c:v', codec, '-pix_fmt', 'yuva420p', '-auto-alt-ref', '0', '-b:v', '1M',
         count=3)
    frame = read_video(tmp_path/'alpha.webm').frames[0].float()
    expected = QUADRANTS.reshape(4, 3)[[0, 1, 3]]*torch.tensor([[1.], [128/255], [0]])
    assert (torch.stack([frame[:, 8, 8], frame[:, 8, 80], frame[:, 56, 80]]) - expected).abs().max() < 8

def test_the_video_is_not_the_cover_and_tracks_do_not_confuse(tmp_path, clip):
    make(tmp_path/'cover.png', count=1, height=200, width=300)
    ffmpeg('-i', clip, '-i', tmp_path/'cover.png', '-f', 'lavfi', '-i', 'sine=duration=3', '-f', 'lavfi', '-i',
           'sine=frequency=99:duration=1', '-map', 1, '-map', 2, '-map', 0, '-map', 3,
           '-c:v:0', 'png', '-disposition:v:0', 'attached_pic', '-c:v:1', 'copy', tmp_path/'many.mp4')
    video = read_video(tmp_path/'many.mp4')
    assert video.frames.shape == (90, 3, 64, 96) and video.has_audio
    ffmpeg('-f', 'lavfi', '-i', 'sine=duration=1', '-i', tmp_path/'cover.png', '-map', 0, '-map', 1, '-c:v', 'png',
           '-disposition:v', 'attached_pic', tmp_path/'song.m4a')
    with pytest.raises(InputError, match='only sound and no video'): read_video(tmp_path/'song.m4a')

def test_a_size_that_changes_on_the_way_keeps_the_first(tmp_path):
    make(tmp_path/'a.ts', *H264, rate='25', count=10)
    make(tmp_path/'b.ts', *H264, '-output_ts_offset', '0.4', rate='25', count=10, height=32, width=48)
    (tmp_path/'both.ts').write_bytes((tmp_path/'a.ts').read_bytes() + (tmp_path/'b.ts').read_bytes())
    frames = list(read_video(tmp_path/'both.ts').frames)
    assert len(frames) == 20 and {frame.shape for frame in frames} == {(3, 64, 96)} and number_in(frames[-1]) == 9

def test_interlaced_frames_do_not_comb(tmp_path):
    moving = "color=s=96x64:r=50:d=0.4[a];color=white:s=16x64:r=50:d=0.4[b];[a][b]overlay=x='8*t*50':shortest=1"
    for name, extra in (('woven.mp4', ',interlace=lowpass=off'), ('plain.mp4', ',fps=25')):
        ffmpeg('-f', 'lavfi', '-i', moving + extra, '-c:v', 'libx264',
               *(['-flags', '+ilme+ildct'] if 'woven' in name else []), '-pix_fmt', 'yuv420p', tmp_path/name)
    comb = lambda image: (image[:, 1:-1].float() - (image[:, :-2].float() + image[:, 2:].float())/2).abs().mean()
    woven, plain = read_video(tmp_path/'woven.mp4').frames[4], read_video(tmp_path/'plain.mp4').frames[4]
    assert comb(woven) < comb(plain) + .5 and comb(woven) < 2

# --- time -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('rate, name', [('24000/1001', 'a.webm'), ('30000/1001', 'a.mkv'), ('2997/100', 'a.mp4'),
                                        ('120000/1001', 'a.mp4'), ('7/2', 'a.mp4')])
def test_the_rate_of_a_constant_file_is_exact(tmp_path, rate, name):
    codec = ('-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8') if name.endswith('webm') else H264
    video = read_video(make(tmp_path/name, *codec, rate=rate, count=40))
    assert video.rate == Fraction(rate) and len(video.frames) == 40
    assert video.duration == pytest.approx(40/Fraction(rate))

@pytest.mark.parametrize('name', ['a.mkv', 'a.mp4'])
def test_a_variable_file_shows_what_a_viewer_sees(tmp_path, name):
    kept = [n for n in range(120) if (n < 45 and n % 3 != 1) or (n >= 45 and n % 5 == 0)]
    select = '+'.join(f'eq(n\\,{n})' for n in kept)
    video = read_video(make(tmp_path/name, '-vf', f'select={select}', '-fps_mode', 'vfr', *H264, count=120))
    assert len(video.frames) == len(kept)
    assert video.duration == pytest.approx(116/30, abs=.05)  # the last frame lasts 1/30 s
    for number, frame in enumerate(video.frames):
        time = (number + .5)/video.fps
        assert number_in(frame) in {max(n for n in kept if n/30 <= max(t, 0))
                                    for t in (time - .002, time + .002)}  # at the edge of a millisecond either will do

def test_a_hole_holds_the_last_frame(tmp_path):
    video = read_video(make(tmp_path/'hole.mp4', '-vf', 'select=not(between(n\\,20\\,25))', '-fps_mode', 'vfr', *H264,
                            count=90))
    assert video.rate == 30 and video.warning is None
    assert [number_in(frame) for frame in video.frames] == [19 if 20 <= n <= 25 else n for n in range(90)]

def test_parts_are_cut_out_of_the_whole(clip):
    for seed in range(8):
        chance = random.Random(seed)
        first, count = chance.randrange(0, 80), chance.randrange(2, 30)
        part = read_video(clip, start=first/30 + chance.uniform(-.4, .4)/30*(first > 0), seconds=count/30)
        count = min(count, 90 - first)
        assert part.start == pytest.approx(first/30) and len(part.frames) == count
        chosen = sorted(chance.sample(range(count), 2), reverse=True)
        assert [number_in(frame) for frame in part.frames[chosen]] == [first + n for n in chosen]
    assert [number_in(f) for f in read_video(clip, start=1, seconds=1, fps=5).frames] == [30, 36, 42, 48, 54]
    assert [number_in(f) for f in read_video(clip, seconds=.1, fps=60).frames] == [0, 0, 1, 1, 2, 2]

def test_a_cut_by_edit_list_and_a_late_start_begin_at_zero(tmp_path, clip):
    make(tmp_path/'groups.mp4', *H264, '-g', '12', count=60)
    ffmpeg('-ss', '0.7', '-i', tmp_path/'groups.mp4', '-c', 'copy', tmp_path/'edited.mp4')
    video = read_video(tmp_path/'edited.mp4')
    assert [number_in(frame) for frame in video.frames] == list(range(21, 60)) and video.warning is None
    ffmpeg('-ss', '0.7', '-i', clip, '-c', 'copy',
           tmp_path/'open.mp4')  # begins with frames that need others before them
    video = read_video(tmp_path/'open.mp4')
    assert [number_in(frame) for frame in video.frames] == list(range(24, 90)) and video.warning is None
    ffmpeg('-itsoffset', '5', '-i', clip, '-c', 'copy', tmp_path/'late.mkv')
    video = read_video(tmp_path/'late.mkv', start=1)
    assert video.start == 1 and number_in(video.frames[0]) == 30 and len(video.frames) == 60

def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    path = make(tmp_path/'long.mp4', *H264, '-g', '10', count=250)
    decoded, frames = [], reading.Reader.frames
    def counting(self):
        for pair in frames(self):
            decoded.append(pair[0])
            yield pair
    monkeypatch.setattr(reading.Reader, 'frames', counting)
    video = read_video(path, start=5, seconds=.5)
    assert len(video.frames) == 15 and len(decoded) < 60
    decoded.clear(); video.frames[-1]; assert len(decoded) <= 20
    decoded.clear()
    [video.frames[n] for n in range(15)]
    assert len(decoded) <= 26  # one after another without jumping back
    decoded.clear(); video_info(path); assert len(decoded) <= 8

def test_memory_does_not_grow(tmp_path):
    peak, marks = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, []
    for count in (80, 480):
        ffmpeg('-f', 'lavfi', '-i', f'testsrc2=size=320x192:rate=30:duration={count/30}', *H264,
               tmp_path/f'{count}.mp4')
        video = read_video(tmp_path/f'{count}.mp4')
        write_video(tmp_path/'copy.mp4', video.frames, video.rate, audio_from=video.path)
        marks.append(peak())
    assert marks[1] - marks[0] < 30  # 400 frames are 74 MB; allocators and threads are worth a few

def test_threads_share_a_video(clip):
    frames = read_video(clip).frames
    wrong = []
    def work(seed):
        for n in random.Random(seed).sample(range(90), 12):
            if number_in(frames[n]) != n: wrong.append(n)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not wrong
    for (a, x), (b, y) in zip(enumerate(frames), enumerate(frames)):
        assert number_in(x) == a and number_in(y) == b  # two iterations at once

def test_frames_answer_like_a_sequence(clip):
    frames = read_video(clip).frames
    assert number_in(frames[np.int64(7)]) == number_in(frames[torch.tensor(7)]) == 7 and number_in(frames[-1]) == 89
    assert [number_in(f) for f in frames[torch.tensor([3, 1, 3])]] == [3, 1, 3] and frames[5:5].shape == (0, 3, 64, 96)
    with pytest.raises(IndexError): frames[90]

# --- what goes wrong --------------------------------------------------------------------------------------------------

def one_line(error, path): return '\n' not in str(error.value).replace(str(path),
                                                                       '') and str(error.value).startswith(str(path))

def test_each_useless_input_has_its_line(tmp_path, clip):
    (tmp_path/'empty.mp4').touch()
    (tmp_path/'letter.mp4').write_text('Dear reader,\n'*200)
    (tmp_path/'letter.txt').write_text('Dear reader,\n'*200)
    (tmp_path/'noise.mp4').write_bytes(random.Random(0).randbytes(5000))
    (tmp_path/'folder.mp4').mkdir()
    os.mkfifo(tmp_path/'pipe.mp4')
    make(tmp_path/'photo.png', count=1); make(tmp_path/'short.mp4', *H264, count=1)
    (tmp_path/'cut.mp4').write_bytes(clip.read_bytes()[:-600]); (tmp_path/'nowhere.mp4').symlink_to(tmp_path/'nothing')
    for name, said in {'missing.mp4': 'no such file', 'nowhere.mp4': 'no such file', 'folder.mp4': 'folder',
                       'empty.mp4': 'empty', 'letter.mp4': 'not a video', 'letter.txt': 'text',
                       'noise.mp4': 'not a video',
                       'pipe.mp4': 'not a regular file', 'photo.png': 'single frame', 'short.mp4': 'single frame',
                       'cut.mp4': 'index', 'long'*80: 'too long', 'letter.mp4/a.mp4': 'not a directory'}.items():
        for use in (read_video, video_info):
            with pytest.raises(InputError, match=said) as error: use(tmp_path/name)
            assert one_line(error, tmp_path/name)
    with pytest.raises(InputError, match='not a regular file'): read_video('/dev/zero')

def test_a_playlist_does_not_reach_for_the_network(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'http://127.0.0.1:{server.getsockname()[1]}/x.ts'
        (tmp_path/'list.m3u8').write_text(f'#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n')
        server.settimeout(.3); called = []
        def listen():
            try: called.append(server.accept()[0].close())
            except TimeoutError: pass
        thread = threading.Thread(target=listen); thread.start()
        with pytest.raises(InputError): read_video(tmp_path/'list.m3u8')
        thread.join()
        assert not called

@pytest.mark.parametrize('name', ['-dash.mp4', 'with blank ünï.mp4', '100%d.mp4', 'http:colon.mp4', 'new\nline.mp4',
                                  "quo'te.mp4", b'not-utf8-\xff.mp4'])
def test_names_are_only_names(tmp_path, clip, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(name)
    Path(name).write_bytes(clip.read_bytes()); Path('link.mp4').symlink_to(name)
    assert len(read_video(name).frames) == len(read_video('link.mp4').frames) == 90
    write_video('out' + name, read_video(name).frames[:3], 30, audio_from=name)
    assert spherical_metadata('out' + name) == ('v1', 'v2')

def damaged(path, clip, start, length, fill):
    "A copy of `clip` with a stretch of its frames' bytes overwritten; positions relative to the frames' bytes."
    data = bytearray(clip.read_bytes())
    with open(clip, 'rb') as file: _, begin, end = next(b for b in spherical.file_boxes(file) if b[0] == 'mdat')
    at, size = begin + 8 + int(start*(end - begin - 8)), int(length*(end - begin))
    data[at:at + size] = fill(size); path.write_bytes(data)
    return path

@pytest.mark.parametrize('fill', [bytes, lambda n: b'\xff'*n, random.Random(5).randbytes])
def test_a_damaged_middle_costs_its_frames_and_keeps_time(tmp_path, clip, fill):
    video = read_video(damaged(tmp_path/'damaged.mp4', clip, .4, .2, fill))
    used, lost = [int(word) for word in video.warning.replace(',', '').split() if word.isdigit()]
    assert used + lost == 90 == len(video.frames) and 40 <= used <= 88 and '\n' not in video.warning
    frames = list(video.frames)
    assert [number_in(frames[n]) for n in (0, 10, 25, 85, 89)] == [0, 10, 25, 85, 89]
    assert read_video(tmp_path/'damaged.mp4', seconds=.5).warning is None  # the healthy part is healthy

def test_frames_that_the_decoder_patched_up_are_not_used(tmp_path):
    path = tmp_path/'noisy.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=160x96:rate=30:duration=2,noise=alls=40:allf=t', '-c:v', 'libx264',
           '-preset', 'ultrafast', '-g', '10', '-pix_fmt', 'yuv420p', path)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    at, size = packets[14]
    data[at + size//3:at + size] = random.Random(1).randbytes(size - size//3)  # inside the picture, behind its header
    (tmp_path/'flips.mp4').write_bytes(data)
    video = read_video(tmp_path/'flips.mp4')
    assert 'is damaged, 59 frames used, 1 lost' in video.warning and len(video.frames) == 60
    assert torch.equal(video.frames[14], video.frames[13]) and not torch.equal(video.frames[13], video.frames[12])

def test_a_file_that_ends_early(tmp_path, clip):
    write_index_first(clip, tmp_path/'first.mp4', spherical=False)
    data = (tmp_path/'first.mp4').read_bytes(); (tmp_path/'early.mp4').write_bytes(data[:len(data)*6//10])
    video = read_video(tmp_path/'early.mp4')
    used, lost = [int(word) for word in video.warning.replace(',', '').split() if word.isdigit()]
    assert used + lost == 90 and 20 < used < 70 and abs(len(video.frames) - used) <= 3
    assert len(list(video.frames)) == len(video.frames)
    make(tmp_path/'whole.mkv', *GOPS, count=90)
    data = (tmp_path/'whole.mkv').read_bytes()
    (tmp_path/'early.mkv').write_bytes(data[:len(data)*6//10])
    video = read_video(tmp_path/'early.mkv')
    used, lost = [int(word) for word in video.warning.replace(',', '').split() if word.isdigit()]
    assert used + lost == 90

def test_no_damage_ends_in_a_traceback(tmp_path, clip):
    "Any bytes may be broken: either one line, or as many frames as were promised."
    original = clip.read_bytes()
    for seed in range(12):
        chance, data = random.Random(seed), bytearray(original)
        for _ in range(chance.choice((1, 5, 40))): data[chance.randrange(len(data))] = chance.randrange(256)
        if seed % 5 == 0: del data[chance.randrange(len(data)):]
        (tmp_path/'fuzz.mp4').write_bytes(data)
        try: video = read_video(tmp_path/'fuzz.mp4')
        except InputError as error: assert str(error).count('\n') == 0; continue
        if len(video.frames) > 2000: continue  # a length that nobody can check, in a broken index
        assert sum(1 for _ in video.frames) == len(video.frames)
        spherical_metadata(tmp_path/'fuzz.mp4')

# --- writing ----------------------------------------------------------------------------------------------------------

def smooth_frames(count, height=64, width=128):
    "Smooth colours that drift; float (T, 3, H, W)."
    coarse = torch.rand(1, 3, 4, 8, generator=torch.Generator().manual_seed(2))
    still = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic').clamp(0, 1)[0]
    return torch.stack([still.roll(2*n, -1) for n in range(count)])

@pytest.mark.parametrize('rate', [Fraction(24000, 1001), Fraction(2997, 100), 25, 29.97002997, 60, Fraction(7, 2)])
def test_what_is_written_is_exact(tmp_path, rate):
    frames = smooth_frames(31)
    write_video(tmp_path/'out.mp4', iter([frames[:10], frames[10], frames[11:]]), rate, crf=8)
    exact = exact_rate(rate)
    with av.open(str(tmp_path/'out.mp4')) as container:
        stream = container.streams.video[0]; codec = stream.codec_context
        assert stream.average_rate == exact and stream.frames == 31 and stream.start_time == 0
        assert stream.duration*stream.time_base == 31/exact
        assert container.duration == pytest.approx(31e6/float(exact), abs=2)
        assert (codec.name, codec.pix_fmt, codec.color_range, codec.colorspace, codec.color_primaries,
                codec.color_trc) == ('h264', 'yuv420p', 1, 1, 1, 1)
        assert {'SPHERICAL', 'STEREO3D'} <= {item.type.name for item in next(container.decode(stream)).side_data}
    with open(tmp_path/'out.mp4', 'rb') as file:
        assert [kind for kind, *_ in spherical.file_boxes(file)] == ['ftyp', 'moov', 'mdat']
    timescale, length = struct.unpack('>II', next(spherical.file_index(tmp_path/'out.mp4').all('mvhd')).data[12:20])
    assert Fraction(length, timescale) == 31/exact
    again = read_video(tmp_path/'out.mp4')
    assert again.rate == exact and (again.frames[:].float()/255 - frames).abs().mean() < .012

def test_the_written_colours_are_what_ffmpeg_reads(tmp_path):
    write_video(tmp_path/'out.mp4', (QUADRANTS.repeat_interleave(32, 0).repeat_interleave(32, 1).movedim(-1, 0),)*2,
                30, crf=1, spherical=False)
    seen = np.frombuffer(ffmpeg('-i', tmp_path/'out.mp4', '-frames:v', 1, '-vf',
                                'scale=flags=accurate_rnd+full_chroma_int,format=rgb24', '-f', 'rawvideo', '-'),
                                np.uint8).reshape(64, 64, 3)
    assert np.abs(seen[16::32, 16::32].astype(int) - QUADRANTS.numpy()).max() <= 3
    assert spherical_metadata(tmp_path/'out.mp4') == () and video_info(tmp_path/'out.mp4')['spherical'] is None
    said = subprocess.run([FFMPEG, '-i', str(write_video(tmp_path/'out.mp4', smooth_frames(2), 30))],
                          capture_output=True, text=True).stderr
    assert 'equirectangular' in said and 'bt709' in said and 'tv' in said

def flashes_and_clicks(path):
    "Times of white frames and of clicks in seconds after the first picture."
    video, origin, loud = read_video(path), float(V.first_picture_time(path)), []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            if frame.time is None: continue
            wave = frame.to_ndarray().astype(float)
            wave = wave[0] if frame.format.is_planar else wave.reshape(-1, len(frame.layout.channels))[:, 0]
            if not frame.format.name.startswith('flt'): wave = wave/2**(8*frame.format.bytes - 1)
            loud.append(frame.time - origin + np.nonzero(np.abs(wave) > .25)[0]/frame.sample_rate)
    loud = np.concatenate(loud)
    return [n/video.fps for n, frame in enumerate(video.frames)
            if frame.float().mean() > 128], loud[np.diff(loud, prepend=-9) > .1].tolist()

def click_film(path, *codecs, seconds=6, rate=48000, inputs=()):
    "A white frame and a click every half second."
    samples = np.zeros(int(seconds*rate)); pulse = np.sin(.6*np.arange(240))*np.hanning(240)
    for time in np.arange(0, seconds, .5): samples[int(time*rate):int(time*rate) + 240] = 30000*pulse
    with wave.open(str(path.with_suffix('.wav')), 'wb') as file:
        file.setparams((1, 2, rate, 0, 'NONE', None)); file.writeframes(samples.astype('<i2').tobytes())
    pictures = b''.join((b'\xff' if n % 15 == 0 else b'\0')*(32*16*3) for n in range(int(seconds*30)))
    ffmpeg('-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', '32x16', '-r', 30, '-i', '-', *inputs, '-i',
           path.with_suffix('.wav'), *codecs, path, data=pictures)
    return path

SOUNDS = {'aac.mp4': ('-c:a', 'aac'), 'aac.ts': ('-c:a', 'aac'), 'mp3.mkv': ('-c:a', 'libmp3lame'),
          'opus.mkv': ('-c:a', 'libopus'), 'pcm.mov': ('-c:a', 'pcm_s16le'), 'vorbis.mkv': ('-c:a', 'libvorbis'),
          'mp2.ts': ('-c:a', 'mp2')}

@pytest.mark.parametrize('name', SOUNDS)
def test_sound_keeps_step(tmp_path, name):
    path = click_film(tmp_path/name, *H264, *SOUNDS[name])
    before = np.subtract(*[times[:8] for times in flashes_and_clicks(path)])
    assert np.abs(before).max() < .006
    for start in (1.21, 3.7):
        part = read_video(path, start=start, seconds=1.6)
        write_video(tmp_path/'out.mp4', part.frames, part.rate, audio_from=path, audio_start=part.start)
        flashes, clicks = flashes_and_clicks(tmp_path/'out.mp4')
        assert len(flashes) == len(clicks) == 3
        assert np.abs(np.subtract(flashes, clicks) - before[0]).max() < .003
        with av.open(str(tmp_path/'out.mp4')) as container:
            pictures, sound = container.streams
            assert sound.codec_context.codec.canonical_name == (name.split('.')[0]
                                                                if name.split('.')[0] in V._CODECS_OF_MP4 else 'aac')
            assert float(pictures.duration*pictures.time_base) == pytest.approx(1.6)
            assert float(sound.duration*sound.time_base) == pytest.approx(1.6, abs=.001)
            assert container.duration == pytest.approx(1_600_000, abs=2000)

@pytest.mark.parametrize('codec', ['aac', 'pcm_s16le'])
def test_an_offset_between_sound_and_picture_survives(tmp_path, codec):
    path = click_film(tmp_path/'late.mkv', *H264, '-c:a', codec, inputs=('-itsoffset', '0.2'), seconds=3)
    part = read_video(path, start=.5)
    write_video(tmp_path/'out.mp4', part.frames, part.rate, audio_from=path, audio_start=part.start)
    flashes, clicks = flashes_and_clicks(tmp_path/'out.mp4')
    assert clicks[0] == pytest.approx(.2, abs=.004) and flashes[0] == 0
    whole = read_video(path)
    write_video(tmp_path/'out.mp4', whole.frames, whole.rate, audio_from=path)
    assert flashes_and_clicks(tmp_path/'out.mp4')[1][0] == pytest.approx(.2, abs=.004)  # silence first, then sound

def test_sound_ends_with_the_pictures_and_may_be_missing_or_short(tmp_path, clip):
    path = click_film(tmp_path/'long.mp4', *H264, '-c:a', 'aac', seconds=3)
    write_video(tmp_path/'out.mp4', smooth_frames(10), 30, audio_from=path)
    write_video(tmp_path/'half.mp4', smooth_frames(30), 30, audio_from=path, audio_seconds=.5)
    write_video(tmp_path/'wave.mp4', smooth_frames(30), 30, audio_from=path.with_suffix('.wav'), audio_start=2.5)
    lengths = {}
    for name in ('out', 'half', 'wave'):
        with av.open(str(tmp_path/f'{name}.mp4')) as container:
            lengths[name] = [float(s.duration*s.time_base) for s in container.streams]
    assert lengths['out'] == pytest.approx([1/3, 1/3], abs=.001)
    assert lengths['half'] == pytest.approx([1, .5], abs=.001)
    assert lengths['wave'] == pytest.approx([1, .5], abs=.03)
    write_video(tmp_path/'mute.mp4', smooth_frames(4), 30, audio_from=clip)
    assert video_info(tmp_path/'mute.mp4')['audio'] is None
    with pytest.raises(InputError, match='no such file'):
        write_video(tmp_path/'never.mp4', smooth_frames(4), 30, audio_from=tmp_path/'missing.mp4')

class Stop(BaseException): pass

def test_failure_leaves_what_was_there(tmp_path):
    write_video(tmp_path/'out.mp4', smooth_frames(3), 30)
    before, there = (tmp_path/'out.mp4').read_bytes(), sorted(tmp_path.iterdir())
    def failing(error):
        yield from smooth_frames(50)
        raise error
    for error in (KeyboardInterrupt, Stop, RuntimeError, InputError('x')):
        with pytest.raises(error if isinstance(error, type) else InputError):
            write_video(tmp_path/'out.mp4', failing(error), 30)
    for frames, fps, said in [(smooth_frames(2), -1, 'fps'), (smooth_frames(2), float('nan'), 'fps'),
                              (smooth_frames(2)[..., :-1], 30, 'even'), (smooth_frames(2)*255, 30, r'\[0, 1\]'),
                              ([], 30, 'at least one')]:
        with pytest.raises(InputError, match=said): write_video(tmp_path/'out.mp4', frames, fps)
    with pytest.raises(InputError, match='exists'):
        write_video(tmp_path/'out.mp4', smooth_frames(2), 30, overwrite=False)
    assert (tmp_path/'out.mp4').read_bytes() == before and sorted(tmp_path.iterdir()) == there

def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*arguments, **keywords): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(V, 'write_index_first', full)
    with pytest.raises(InputError, match='out.mp4: cannot be written .no space left on device'):
        write_video(tmp_path/'out.mp4', smooth_frames(2), 30)
    assert not list(tmp_path.iterdir())

@pytest.mark.skipif(not Path('/proc').is_dir(), reason='needs a folder in which nobody can write')
def test_an_unwritable_folder_is_found_before_work_starts():
    with pytest.raises(InputError, match='/proc/out.mp4: cannot be written'):
        write_video('/proc/out.mp4', iter(lambda: pytest.fail('work started'), None), 30)

def test_same_frames_same_file(tmp_path):
    for name in ('a.mp4', 'b.mp4'): write_video(tmp_path/name, smooth_frames(8), 30)
    assert (tmp_path/'a.mp4').read_bytes() == (tmp_path/'b.mp4').read_bytes()

# --- boxes ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('arguments', [H264, ('-c:v', 'libx265', '-tag:v', 'hvc1', '-x265-params', 'log-level=none'),
                                       ('-c:v', 'prores_ks', '-f', 'mov')])
def test_a_tree_that_is_read_is_written_unchanged_and_can_be_marked(tmp_path, arguments):
    path = make(tmp_path/'some.mp4', *arguments, count=4)
    with open(path, 'rb') as file:
        _, start, end = next(b for b in spherical.file_boxes(file) if b[0] == 'moov')
        file.seek(start)
        data = file.read(end - start)
    assert b''.join(box.to_bytes() for box in spherical.parse_boxes(data)) == data
    write_index_first(path, tmp_path/'marked.mp4')
    assert 'v1' in spherical_metadata(tmp_path/'marked.mp4')
    assert torch.equal(read_video(path).frames[:], read_video(tmp_path/'marked.mp4').frames[:])

def test_boxes_of_64_bits_and_several_stretches_of_frames(tmp_path, clip):
    "Frames in a box with a 64-bit size, another box between, the index in the middle: offsets follow each stretch."
    data = clip.read_bytes()
    with open(clip, 'rb') as file: boxes = {kind: (start, end) for kind, start, end in spherical.file_boxes(file)}
    (start, end), index = boxes['mdat'], spherical.file_index(clip)
    body = data[start + 8:end]; head = data[:boxes['ftyp'][1]]
    for table in index.all('stco'):
        table.kind = 'co64'; offsets = spherical._chunk_offsets(spherical.Box('stco', table.data))
        moved = offsets - (start + 8) + len(head) + 16 + 24
        spherical._set_chunk_offsets(table, moved)
    large = struct.pack('>I4sQ', 1, b'mdat', 16 + len(body)) + body
    (tmp_path/'large.mp4').write_bytes(head + struct.pack('>I4s', 24, b'skip') + bytes(16) + large
                                       + index.to_bytes() + struct.pack('>I4s', 0, b'free') + b'to the end')
    expected = read_video(clip).frames[::9]
    assert torch.equal(read_video(tmp_path/'large.mp4').frames[::9], expected)
    write_index_first(tmp_path/'large.mp4', tmp_path/'first.mp4')
    with open(tmp_path/'first.mp4', 'rb') as file:
        assert [kind for kind, *_ in spherical.file_boxes(file)][:2] == ['ftyp', 'moov']
    assert torch.equal(read_video(tmp_path/'first.mp4').frames[::9], expected)

def test_metadata_of_others_is_recognised(tmp_path, clip):
    index = spherical.file_index(write_video(tmp_path/'both.mp4', smooth_frames(3), 30))
    both = (tmp_path/'both.mp4').read_bytes()
    (tmp_path/'v2.mp4').write_bytes(both.replace(b'<GSpherical:Spherical>true', b'<GSpherical:Spherical>nope'))
    (tmp_path/'v1.mp4').write_bytes(both.replace(b'sv3d', b'free').replace(b'st3d', b'free'))
    assert spherical_metadata(tmp_path/'v1.mp4') == ('v1',) and spherical_metadata(tmp_path/'v2.mp4') == ('v2',)
    for name in ('v1.mp4', 'v2.mp4'):
        assert 'equirectangular' in subprocess.run([FFMPEG, '-i', str(tmp_path/name)], capture_output=True,
                                                   text=True).stderr
    assert video_info(tmp_path/'both.mp4')['spherical'] == 'v1 and v2' and index is not None
    ffmpeg('-i', tmp_path/'v2.mp4', '-c', 'copy', '-strict', 'unofficial', tmp_path/'v2.mkv')
    assert spherical_metadata(tmp_path/'v2.mkv') == ('v2',) and spherical_metadata(clip) == ()

# --- real files -------------------------------------------------------------------------------------------------------

ODD = {'video_90.mov': (3, 568, 320, 30), 'video_180.mov': (3, 320, 568, 30), 'h265_video.mp4': (10, 128, 128, 10),
       'no_duration.webm': (74, 720, 1280, Fraction(15000, 1001)), 'odd_321x181_vp9.webm': (20, 181, 321, 25),
       'sar_2x1.mp4': (150, 360, 1280, 30), 'transparent.webm': (150, 200, 200, 30),
       'var_fps_video.mp4': (300, 128, 128, Fraction(1125, 56)), 'av1_video.mkv': (125, 360, 640, 25),
       'h264_10bits.mp4': (30, 200, 200, 30), 'corrupted.mp4': (50, 720, 1280, 10)}

@pytest.mark.skipif(not MEDIA.is_dir(), reason='the media for development are not here')
@pytest.mark.parametrize('name', ODD)
def test_odd_real_files(name):
    video = read_video(MEDIA/'odd'/name)
    count, height, width, rate = ODD[name]
    assert video.frames.shape == (count, 3, height, width) and video.rate == rate
    assert (video.warning is not None) == (name == 'corrupted.mp4')
    assert video.frames[count - 1].shape == (3, height, width)

@pytest.mark.skipif(not MEDIA.is_dir(), reason='the media for development are not here')
@pytest.mark.parametrize('name, said', [('audio_only.mp4', 'only sound'), ('chunk_out_of_range.mp4', 'index'),
                                        ('truncated.mp4', 'index'), ('zero_byte.mp4', 'empty'),
                                        ('zero_empty_stsc.mp4', 'decoded')])
def test_useless_real_files(name, said):
    with pytest.raises(InputError, match=said): read_video(MEDIA/'odd'/name)


# --- Alarms that were none -----------------------------------------------------------------------------------------

def told(path):
    "Frames, rate and length, as decoding, packets and the header tell them; all must agree."
    decoded, packets, header = read_video(path), video_info(path), V.header_info(path)
    assert decoded.warning is None and packets['warning'] is None
    counts = {len(decoded.frames), packets['frames'], header['frames']}
    assert len(counts) == 1 and decoded.rate == packets['rate'] == header['rate']
    assert abs(decoded.duration - header['duration']) < .011 and abs(packets['duration'] - decoded.duration) < 1e-9
    return counts.pop(), decoded.rate

def test_frames_that_an_edit_list_hides_are_nowhere(tmp_path):
    make(tmp_path/'whole.mp4', *GOPS, count=40)
    ffmpeg('-ss', '0.5', '-i', tmp_path/'whole.mp4', '-c', 'copy', tmp_path/'cut.mp4')
    count, rate = told(tmp_path/'cut.mp4')
    assert (count, rate) == (25, 30) and number_in(read_video(tmp_path/'cut.mp4').frames[0]) == 15

def test_a_film_that_begins_after_an_hour(tmp_path):
    make(tmp_path/'late.mkv', *H264, '-output_ts_offset', '3600', count=20)
    assert told(tmp_path/'late.mkv') == (20, 30)

def test_a_thousand_frames_a_second(tmp_path):
    make(tmp_path/'fast.mp4', *H264, count=40, rate='1000')
    assert told(tmp_path/'fast.mp4') == (40, 1000)

def test_empty_frames_of_an_avi_show_the_one_before(tmp_path):
    make(tmp_path/'whole.avi', '-c:v', 'mjpeg', count=12, rate='12')
    data = (tmp_path/'whole.avi').read_bytes()
    at = [n for n in range(data.index(b'idx1') + 8, len(data) - 15, 16) if data[n:n + 4] == b'00dc']
    data = bytearray(data)
    for n in (5, 8, 9):
        place = struct.unpack_from('<I', data, at[n] + 8)[0] + data.index(b'movi')
        size = struct.unpack_from('<I', data, place + 4)[0]
        data[at[n] + 12:at[n] + 16] = bytes(4)
        data[place:place + 16] = struct.pack('<4sI4sI', b'00dc', 0, b'JUNK', size - 8)
    (tmp_path/'repeat.avi').write_bytes(data)
    video = read_video(tmp_path/'repeat.avi')
    assert len(video.frames) == 12 and [number_in(f) for f in video.frames] == \
        [0, 1, 2, 3, 4, 4, 6, 7, 7, 7, 10, 11]
    assert told(tmp_path/'repeat.avi') == (12, 12)

def test_side_data_without_a_name_and_moving_webp(tmp_path, capsys):
    from PIL import Image
    exif = Image.Exif(); exif[0x010e] = 'a note'
    pictures = [Image.fromarray(picture(n).numpy()) for n in range(6)]
    for n, image in enumerate(pictures): image.save(tmp_path/f'{n}.jpg', exif=exif)
    ffmpeg('-framerate', '12', '-i', tmp_path/'%d.jpg', '-c', 'copy', tmp_path/'exif.avi')
    assert told(tmp_path/'exif.avi') == (6, 12)
    pictures[0].save(tmp_path/'moving.webp', save_all=True, append_images=pictures[1:])
    with pytest.raises(InputError, match='moving.webp: is an animated WebP'): read_video(tmp_path/'moving.webp')

def test_a_mirrored_picture_is_called_that(tmp_path):
    from argus_nb.headers import facts_of
    make(tmp_path/'plain.mp4', *H264)
    info = V.header_info(tmp_path/'plain.mp4') | dict(rotation='mirrored')
    assert facts_of('a.mp4', info)['picture'].endswith(', mirrored')
