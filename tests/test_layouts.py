"What a file's marks say besides 360°, by both versions, photographs and other containers; what becomes of it."
import io, struct
import pytest, torch
from PIL import Image

from argus_nb.cli import main
from argus_nb.clips import VideoClips
from argus_nb.headers import check_full_sphere, facts_of, header_info, sphere_layout
from argus_nb.photographs import open_panoramas, panorama_at
from argus_nb.runtime import InputError
from argus_nb.spherical import Box, file_boxes, file_index
from argus_nb.video import write_video
from argus_nb.viewer import look, read_medium

COLOURS = torch.tensor([[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20]]).to(torch.uint8)


def apple(kind, eyes=0, packing=None):
    "A box of Apple's marks."
    parts = [Box('proj', children=[Box('prji', bytes(4) + kind)])] if kind else []
    if eyes: parts.append(Box('eyes', children=[Box('stri', bytes(4) + bytes([eyes]))]))
    if packing: parts.append(Box('pack', children=[Box('pkin', bytes(4) + packing)]))
    return Box('vexu', children=parts)


def marked(path, size=(64, 128), v1='', stereo=0, bounds=(0, 0, 0, 0), turn=(0, 0, 0), projection=None, vexu=None):
    "A film of four quarters in four colours, with marks of our own changed into others."
    height, width = size
    rows, columns = torch.arange(height)*2//height, torch.arange(width)*2//width
    picture = COLOURS[2*rows[:, None] + columns].movedim(-1, 0)
    write_video(path, picture.expand(4, -1, -1, -1).float()/255, 4)
    index = file_index(path)
    for box in index.all('uuid'):
        box.data = box.data.replace(b'</rdf:SphericalVideo>', v1.encode() + b'</rdf:SphericalVideo>')
    for box in index.all('st3d'): box.data = bytes([0, 0, 0, 0, stereo])
    for box in index.all('prhd'): box.data = bytes(4) + struct.pack('>3i', *(a << 16 for a in turn))
    for box in index.all('equi'):
        box.data = bytes(4) + struct.pack('>4I', *(int(b*2**32) for b in bounds))
        box.kind = projection or box.kind
    if vexu:
        for track in index.all('trak'): track.children = [b for b in track.children if b.kind != 'uuid']
        for entry in index.all('avc1'):
            entry.children = [b for b in entry.children if b.kind not in ('st3d', 'sv3d')] + [vexu]
    data = path.read_bytes()
    with open(path, 'rb') as file: spans = file_boxes(file)
    last = b''.join(data[a:b] for kind, a, b in spans if kind not in ('moov', 'ftyp', 'free'))
    first = next(data[a:b] for kind, a, b in spans if kind == 'ftyp')
    old = next(a for kind, a, b in spans if kind == 'mdat')
    for table in index.all('stco'):  # the frames have moved by as much as the index has grown
        places = struct.unpack(f'>{len(table.data)//4 - 2}I', table.data[8:])
        offsets = [n - old + len(first) + len(index.to_bytes()) for n in places]
        table.data = table.data[:8] + struct.pack(f'>{len(offsets)}I', *offsets)
    path.write_bytes(first + index.to_bytes() + last)
    return path


def near(image, row, column, colour):
    return (image[:, row, column].int() - COLOURS[colour].int()).abs().max() < 60 if colour is not None \
        else image[:, row, column].max() < 12


ODD = {
    'v1 stereo': (dict(v1='<GSpherical:StereoMode>top-bottom</GSpherical:StereoMode>'),
                  'two eyes, one above the other'),
    'v2 stereo': (dict(stereo=1), 'two eyes, one above the other'),
    'v2 side by side': (dict(stereo=2), 'two eyes, side by side'),
    'VR180': (dict(stereo=2, bounds=(0, 0, .25, .25)), 'two eyes, side by side, 180 x 180 degrees of the sphere'),
    'mesh': (dict(projection='mshp'), 'not equirectangular but a mesh'),
    'cube': (dict(projection='cbmp'), 'not equirectangular but a cube map'),
    'turned': (dict(turn=(90, 0, 0)), 'turned by 90, 0, 0 degrees'),
    'cropped': (dict(v1='<GSpherical:CroppedAreaImageWidthPixels>128</GSpherical:CroppedAreaImageWidthPixels>'
                        '<GSpherical:FullPanoWidthPixels>256</GSpherical:FullPanoWidthPixels>'),
                '180 x 180 degrees of the sphere'),
}


@pytest.mark.parametrize('name', ODD)
def test_what_is_no_plain_sphere_is_told_and_never_learned_from(tmp_path, name):
    fields, words = ODD[name]
    path = marked(tmp_path/'a.mp4', **fields)
    assert sphere_layout(path).oddities == words
    told = facts_of(path, header_info(path))['360']
    assert told.startswith(f'not a plain 360° sphere: {words}; marked as v1 and v2')
    with pytest.raises(InputError, match='a.mp4: is not a plain 360° sphere'): check_full_sphere(path)
    clips = VideoClips(tmp_path, seconds=1.)
    for held_out in (False, True):
        with pytest.raises(InputError): clips(0, 4, 4., (16, 32), held_out)
    assert 'not a plain 360° sphere' in clips.broken['a.mp4, clip 0']


def test_plain_spheres_stay_what_they_are(tmp_path):
    path = marked(tmp_path/'a.mp4')
    check_full_sphere(path)
    assert near(open_panoramas(path).frames[0], 10, 10, 0) and sphere_layout(path).marks == ('v1', 'v2')


@pytest.mark.parametrize('eye, colours', [('left', (0, 1)), ('right', (2, 3))])
def test_one_eye_of_two_is_taken_where_it_is_named(tmp_path, eye, colours):
    path = marked(tmp_path/'a.mp4', (128, 128), stereo=1)
    for read in (open_panoramas, panorama_at, read_medium):
        with pytest.raises(InputError, match='choose one with --eye left or --eye right'): read(path)
    frame = open_panoramas(path, eye=eye).frames[1]
    assert frame.shape == (3, 64, 128) and near(frame, 30, 20, colours[0]) and near(frame, 30, 100, colours[1])
    assert torch.equal(panorama_at(path, .3, eye), frame) and read_medium(path, eye).num_frames == 4


def test_eyes_side_by_side_and_half_a_sphere(tmp_path):
    path = marked(tmp_path/'a.mp4', (64, 128), stereo=2, bounds=(0, 0, .25, .25))
    frame = open_panoramas(path, eye='right').frames[0]
    assert frame.shape == (3, 64, 128)
    assert [near(frame, row, column, colour) for row, column, colour in
            ((10, 64, 1), (50, 64, 3), (30, 10, None), (30, 120, None))] == [True]*4


def test_a_turned_sphere_is_turned_back(tmp_path):
    plain, turned = (open_panoramas(marked(tmp_path/f'{yaw}.mp4', turn=(yaw, 0, 0))).frames for yaw in (0, 90))
    assert turned.shape == plain.shape and len(turned[1:3]) == 2
    assert (turned[0].int() - plain[0].roll(32, -1).int()).abs().float().mean() < 1


@pytest.mark.parametrize('name', ['mesh', 'cube'])
def test_the_rest_is_refused_in_a_line(tmp_path, name, capsys):
    path = marked(tmp_path/'a.mp4', **ODD[name][0])
    for command in (f'view {path} {tmp_path}/o.png', f'look {path} {tmp_path}/o.mp4 --path turn',
                    f'light {path} {tmp_path}/o.mp4', f'mark {path}'):
        assert main(command.split()) == 2
        assert ODD[name][1] in (err := capsys.readouterr().err) and err.count('\n') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']


def test_marks_of_photographs(tmp_path):
    packet = ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description GPano:ProjectionType="equirectangular" '
              'GPano:CroppedAreaImageWidthPixels="64" GPano:CroppedAreaImageHeightPixels="32" '
              'GPano:FullPanoWidthPixels="128" GPano:FullPanoHeightPixels="64" GPano:CroppedAreaLeftPixels="32" '
              'GPano:CroppedAreaTopPixels="16"/></x:xmpmeta>')
    picture = Image.new('RGB', (64, 32), (230, 20, 20))
    picture.save(tmp_path/'half.jpg', xmp=packet.encode()); picture.save(tmp_path/'whole.jpg')
    half = panorama_at(tmp_path/'half.jpg')
    assert half.shape == (3, 64, 128) and near(half, 32, 64, 0) and near(half, 5, 64, None) and near(half, 32, 10, None)
    assert panorama_at(tmp_path/'whole.jpg').shape == (3, 32, 64)
    assert main(['view', str(tmp_path/'half.jpg'), str(tmp_path/'view.png')]) == 0
    shown = Image.open(io.BytesIO(look(tmp_path/'half.jpg').media[0])).convert('RGB')  # in its place, black around it
    assert shown.size == (128, 64) and shown.getpixel((64, 32))[0] > 200 and max(shown.getpixel((5, 32))) < 30


def test_two_lenses_in_two_streams(tmp_path):
    import av, numpy as np
    with av.open(str(tmp_path/'a.mp4'), 'w') as file:
        streams = [file.add_stream('libx264', 10) for _ in range(2)]
        for stream in streams: stream.width = stream.height = 64; stream.pix_fmt = 'yuv420p'
        for _ in range(3):
            for stream in streams:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        for stream in streams: file.mux(stream.encode())
    assert 'two lenses in two streams' in facts_of('a.mp4', header_info(tmp_path/'a.mp4'))['360']
    with pytest.raises(InputError, match='two lenses.*with the camera\'s program'): open_panoramas(tmp_path/'a.mp4')
    write_video(tmp_path/'b.mp4', torch.zeros(3, 3, 32, 64), 3)
    (tmp_path/'b.mp4').rename(tmp_path/'b.insv')
    with pytest.raises(InputError, match='two lenses'): check_full_sphere(tmp_path/'b.insv')


APPLE = {
    'whole': (apple(b'equi'), ''),
    'half, two layers': (apple(b'hequ', 3), 'two eyes, in two layers, of which the first is read, '
                                            '180 x 180 degrees of the sphere'),
    'two eyes in one': (apple(b'equi', 3, b'over'), 'two eyes, one above the other'),
    'exchanged eyes': (apple(b'equi', 11, b'side'), 'two eyes, side by side, the right one first'),
    'spatial': (apple(b'', 3), 'not equirectangular but an ordinary picture, two eyes, in two layers, of which the '
                               'first is read'),
    'fisheye': (apple(b'fish', 3), 'not equirectangular but a fisheye'),
    'lens': (apple(b'prim'), 'not equirectangular but a lens of its own kind'),
}


@pytest.mark.parametrize('name', APPLE)
def test_apples_marks(tmp_path, name, capsys):
    box, words = APPLE[name]
    path = marked(tmp_path/'a.mp4', (64, 64) if 'half' in name else (64, 128), vexu=box)
    layout = sphere_layout(path)
    assert layout.marks == ('APMP',) and layout.oddities.startswith(words) and layout.is_full == (not words)
    said = facts_of(path, header_info(path))['360']
    assert said == 'yes, marked as APMP' if not words else said.startswith(f'not a plain 360° sphere: {words}')
    if 'not equirectangular' in words:
        assert main(['view', str(path), str(tmp_path/'o.png')]) == 2 and words in capsys.readouterr().err
    elif name.startswith('half'):
        frame = open_panoramas(path).frames[0]
        assert frame.shape == (3, 64, 128) and near(frame, 10, 44, 0) and near(frame, 30, 10, None)
        with pytest.raises(InputError, match='the first alone is read'): open_panoramas(path, eye='right')


def discs(size=(128, 256), shade=.02):
    "Two bright discs in dark corners; (3, H, W) in [0, 1]."
    height, width = size
    y, x = (torch.arange(n) + .5 for n in size)
    radius = torch.hypot((y/height*2 - 1)[:, None], (x % (width/2))/(width/4) - 1)
    return torch.where(radius < .96, .3 + .3*(x/width).expand(size), shade).expand(3, -1, -1)


def test_two_fisheyes_side_by_side_are_told_by_their_corners(tmp_path, capsys):
    write_video(tmp_path/'a.mp4', discs().expand(4, -1, -1, -1), 4, spherical=False)
    Image.fromarray((discs().movedim(0, -1)*255).byte().numpy()).save(tmp_path/'a.jpg')
    assert 'two fisheyes side by side' in facts_of('a', header_info(tmp_path/'a.mp4'))['360']
    for name in ('a.mp4', 'a.jpg'):
        assert main(['view', str(tmp_path/name), str(tmp_path/'o.png')]) == 2
        said = capsys.readouterr().err
        assert 'two fisheyes side by side' in said and 'make an equirectangular panorama' in said
        assert said.count('\n') == 1
        with pytest.raises(InputError, match='two fisheyes'): read_medium(tmp_path/name)
    with pytest.raises(InputError, match='two fisheyes'): check_full_sphere(tmp_path/'a.mp4')
    write_video(tmp_path/'b.mp4', discs().expand(4, -1, -1, -1), 4)  # a mark is believed
    check_full_sphere(tmp_path/'b.mp4')


def test_panoramas_are_not_taken_for_fisheyes():
    from argus_nb.headers import has_two_discs
    from argus_nb.worlds import load_panorama, panorama_names, random_world
    grey = lambda panorama: (panorama.mean(0)*255).byte().numpy()
    assert not any(has_two_discs(grey(load_panorama(name))) for name in panorama_names())
    places = (random_world(n).render_panorama(torch.zeros(1), (64, 128))[0] for n in range(12))
    assert not any(has_two_discs(grey(place)) for place in places)
    assert has_two_discs(grey(discs())) and not has_two_discs(grey(discs(shade=.3)))
