"The written film: killed and resumed, from a photograph, refused where it is 360 already, marked as made."
import json, math, shutil
import xml.etree.ElementTree
from pathlib import Path

import av, numpy as np, pytest, torch
from argus_nb import clip_cameras, generate, tracking, video
from argus_nb.cli import main
from argus_nb.edges import InputError
from argus_nb.generate import generate_video
from argus_nb.headers import header_info, sphere_layout
from argus_nb.models import build_models, save_models
from argus_nb.photographs import write_picture
from argus_nb.pipeline import ArgusPipeline
from argus_nb.resuming import WindowStore, store_beside
from argus_nb.runtime import make_generator
from argus_nb.spherical import digital_source
from argus_nb.video import read_video, write_index_first, write_video
from argus_nb.worlds import load_panorama
from PIL import Image

SMALL = dict(static=True, fov=60, steps=1, width=128, level=False)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('model')/'tiny'
    save_models(build_models('tiny'), folder)
    return folder


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('film')/'film.mp4'
    write_video(path, torch.rand(60, 3, 48, 64, generator=make_generator(0)), 5, spherical=False)
    return path


class StopAt:
    "A listener that stops the run as Ctrl-C does, when enough is finished."
    def __init__(self, output, windows): self.folder, self.windows = store_beside(output), windows
    def __call__(self, *_):
        if len(list(self.folder.glob('window_*'))) >= self.windows: raise KeyboardInterrupt


@pytest.mark.parametrize('shared', [0., .5])
def test_a_stopped_film_goes_on_and_is_the_same_to_the_bit(film, tiny, tmp_path, tmp_path_factory, shared):
    model = shutil.copytree(tiny, tmp_path_factory.mktemp('models')/'tiny')
    index = json.loads((model/'model_index.json').read_text())
    index['settings']['shared_noise'] = shared
    (model/'model_index.json').write_text(json.dumps(index))
    whole, parted = tmp_path/'whole.mp4', tmp_path/'parted.mp4'
    generate_video(film, whole, model=model, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        generate_video(film, parted, model=model, progress=StopAt(parted, 2), **SMALL)
    assert len(list(store_beside(parted).glob('window_*'))) == 2 and not parted.exists()
    said = []
    class Listener:
        def __call__(self, *_): pass
        def say(self, text): said.append(text)
    generate_video(film, parted, model=model, progress=Listener(), **SMALL)
    assert any('2 windows are taken over' in text for text in said)
    assert torch.equal(read_video(parted).frames[:], read_video(whole).frames[:])
    assert not store_beside(parted).exists() and {p.suffix for p in tmp_path.iterdir()} == {'.mp4', '.jpg'}


@pytest.fixture(scope='module')
def panned(tmp_path_factory) -> Path:
    path, wide = tmp_path_factory.mktemp('film')/'panned.mp4', load_panorama('pmndrs_hall')[:, 92:164]
    write_video(path, (wide[..., 3*n:3*n + 96] for n in range(24)), 5, spherical=False)
    return path


def stages_of(told) -> dict:
    "The reports of each stage, in order."
    stages = {}
    for stage, done, total in told: stages.setdefault(stage, []).append(round(done/total, 9))
    return stages


def test_a_stopped_film_does_not_look_for_its_cameras_again(panned, tiny, tmp_path, monkeypatch):
    whole, parted, said, tracked = tmp_path/'whole.mp4', tmp_path/'parted.mp4', [], []
    found = clip_cameras.estimate_cameras
    monkeypatch.setattr(clip_cameras, 'estimate_cameras', lambda *a, **k: tracked.append(a) or found(*a, **k))
    options = dict(model=tiny, steps=1, width=128)
    generate_video(panned, whole, **options)
    with pytest.raises(KeyboardInterrupt): generate_video(panned, parted, progress=StopAt(parted, 1), **options)
    assert len(tracked) == 2
    class Listener:
        def __call__(self, *told): said.append(told[0])
        def say(self, text): said.append(text)
    generate_video(panned, parted, progress=Listener(), **options)
    assert len(tracked) == 2 and 'tracking' not in said
    assert any('the cameras are taken over' in text for text in said)
    assert any('1 windows are taken over' in text for text in said)
    assert torch.equal(read_video(parted).frames[:], read_video(whole).frames[:])
    assert {p.suffix for p in tmp_path.iterdir()} == {'.mp4', '.jpg'}


@pytest.mark.parametrize('change, again', [(dict(fov=60), True), (dict(start=1.), True), (dict(seed=4), False)])
def test_cameras_are_looked_for_again_where_they_may_differ(change, again, panned, tiny, tmp_path, monkeypatch):
    output, tracked = tmp_path/'out.mp4', []
    found = clip_cameras.estimate_cameras
    monkeypatch.setattr(clip_cameras, 'estimate_cameras', lambda *a, **k: tracked.append(a) or found(*a, **k))
    def stop(stage, done, total):
        if stage == 'generating': raise KeyboardInterrupt
    for more in (dict(), change):
        with pytest.raises(KeyboardInterrupt):
            generate_video(panned, output, model=tiny, steps=1, width=128, progress=stop, **more)
    assert len(tracked) == 1 + again


def test_bars_end_when_the_work_does(panned, tiny, tmp_path, monkeypatch):
    "Stages follow one another, none goes back, and none stands at its end while there is work."
    told, moments = [], []
    def note(name, module):
        work = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: moments.append((name, told[-1])) or work(*a, **k))
    note('open_input', generate); note('look_at_film', clip_cameras); note('refine_frames', tracking)
    note('write_index_first', video)
    monkeypatch.setattr(generate.ContactSheet, 'save', lambda *a: moments.append(('sheet', told[-1])))
    generate_video(panned, tmp_path/'out.mp4', model=tiny, steps=2, width=128,
                   progress=lambda *report: told.append(report))
    stages = stages_of(told)
    assert [*stages] == ['loading', 'tracking', 'generating', 'writing']
    assert [stage for stage, *_ in told] == sorted((stage for stage, *_ in told), key=[*stages].index)
    for stage, shares in stages.items(): assert shares == sorted(shares) and (shares[0] == 0 or stage == 'loading')
    assert stages['tracking'][-1] == stages['generating'][-1] == 1
    working = dict(moments)
    wanted = dict(open_input='loading', look_at_film='tracking', refine_frames='tracking', write_index_first='writing',
                  sheet='writing')
    assert {name: report[0] for name, report in working.items()} == wanted
    assert all(done < total for _, done, total in working.values()), working


def test_a_film_with_other_settings_begins_anew(film, tiny, tmp_path):
    output = tmp_path/'out.mp4'
    with pytest.raises(KeyboardInterrupt): generate_video(film, output, model=tiny, progress=StopAt(output, 1), **SMALL)
    said = []
    class Listener:
        def __call__(self, *_): pass
        def say(self, text): said.append(text)
    generate_video(film, output, model=tiny, progress=Listener(), seed=1, **SMALL)
    assert not any('taken over' in text for text in said)


def test_a_damaged_window_is_made_again(tmp_path):
    store = WindowStore(tmp_path/'kept', dict(seed=1))
    for number in range(3): store.write(number, dict(ready=torch.ones(2)))
    (tmp_path/'kept'/'window_000001.safetensors').write_bytes(b'damaged')
    again = WindowStore(tmp_path/'kept', dict(seed=1))
    assert len(again) == 1 and again.read(1) is None and again.read(2) is not None
    (tmp_path/'kept'/'identity.json').write_text('{')
    assert len(WindowStore(tmp_path/'kept', dict(seed=1))) == 0


def test_a_film_says_what_is_invented(film, tiny, tmp_path):
    generate_video(film, tmp_path/'out.mp4', model=tiny, seconds=2, **SMALL)
    with av.open(str(tmp_path/'out.mp4')) as written:
        comment = written.metadata['comment']
    assert 'generated by argus_nb with tiny, seed 0, from film.mp4' in comment and 'TrainedAlgorithmicMedia' in comment


def test_a_film_says_for_programs_what_is_invented(film, tiny, tmp_path, capsys):
    output = tmp_path/'out.mp4'
    generate_video(film, output, model=tiny, seconds=2, **SMALL)
    with av.open(str(output), options=dict(export_xmp='1')) as written: packet = written.metadata['xmp']
    about = xml.etree.ElementTree.fromstring(packet)[0][0].attrib  # x:xmpmeta/rdf:RDF/rdf:Description
    iptc = '{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}'
    assert about[f'{iptc}DigitalSourceType'].endswith('/digitalsourcetype/compositeWithTrainedAlgorithmicMedia')
    assert about[f'{iptc}AISystemUsed'] == 'argus_nb with tiny'
    assert video.spherical_metadata(output) == ('v1', 'v2') and sphere_layout(output).is_full
    main(['mark', str(output), str(tmp_path/'again.mp4')])
    main(['info', str(output), str(tmp_path/'again.mp4'), str(film)])
    assert capsys.readouterr().out.count('generated surroundings') == 2
    assert torch.equal(read_video(tmp_path/'again.mp4').frames[:], read_video(output).frames[:])


def test_a_film_that_is_not_ours_may_say_it_in_other_ways(tmp_path):
    plain, path = tmp_path/'plain.mp4', tmp_path/'theirs.mp4'
    write_video(plain, torch.zeros(4, 3, 32, 64), 5, spherical=False)
    term = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'
    for entry in (f'<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>',
                  f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{term}"/>'):
        write_index_first(plain, path, spherical=False, xmp=f'<x:xmpmeta>{entry}</x:xmpmeta>')
        assert header_info(path)['source'] == 'trainedAlgorithmicMedia'
    path.write_bytes(plain.read_bytes() + bytes([0, 0, 0, 9]) + b'uuid')  # cut off
    assert digital_source(path) == '' and header_info(plain)['source'] is None


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = (torch.rand(3, 40, 60, generator=make_generator(1))*255).byte()
    tags = Image.Exif(); tags[0x112] = 8
    Image.fromarray(pixels.movedim(0, -1).numpy()).save(tmp_path/'photo.jpg', exif=tags)
    return tmp_path/'photo.jpg'


@pytest.mark.parametrize('ending', ['jpg', 'png'])
def test_a_photograph_becomes_a_panorama(ending, photo, tiny, tmp_path):
    summary = generate_video(photo, tmp_path/f'around.{ending}', model=tiny, fov=60, steps=1, width=128)
    layout = sphere_layout(tmp_path/f'around.{ending}')
    assert layout.is_full and layout.marks == ('GPano',) and summary['frames'] == 1
    with Image.open(tmp_path/f'around.{ending}') as picture: assert picture.size == (128, 64)


def test_a_photograph_becomes_a_film(photo, tiny, tmp_path):
    generate_video(photo, tmp_path/'around.mp4', model=tiny, seconds=1, fov=60, steps=1, width=128)
    assert len(read_video(tmp_path/'around.mp4').frames) == 25


def test_a_video_does_not_become_a_picture(film, tiny, tmp_path):
    with pytest.raises(InputError, match='must end in .mp4'): generate_video(film, tmp_path/'out.jpg', model=tiny)


def test_one_frame_is_enough_for_the_pipeline(tiny):
    from argus_nb.cameras import CameraTrack
    pipeline = ArgusPipeline.from_pretrained(tiny, device='cpu')
    made = pipeline(torch.rand(1, 3, 24, 32), CameraTrack.static(1, math.radians(60)), num_inference_steps=1)
    assert made.shape[0] == 1 and made.isfinite().all()


def test_what_is_360_already_is_refused(tiny, tmp_path):
    around = load_panorama('pmndrs_hall')
    write_video(tmp_path/'marked.mp4', around.expand(3, -1, -1, -1), 5)
    write_video(tmp_path/'plain.mp4', around.expand(3, -1, -1, -1), 5, spherical=False)
    write_picture(tmp_path/'around.jpg', around)
    for name in ('marked.mp4', 'plain.mp4', 'around.jpg'):
        with pytest.raises(InputError, match='argus view shows it'):
            generate_video(tmp_path/name, tmp_path/'out.mp4', model=tiny)
    generate_video(tmp_path/'plain.mp4', tmp_path/'out.mp4', model=tiny, **SMALL)  # its lens is told


def test_variations_are_a_sheet_and_no_film(film, tiny, tmp_path):
    summary = generate_video(film, tmp_path/'out.mp4', model=tiny, variations=3, seed=4, **SMALL)
    assert summary['seeds'] == '4 to 6' and sorted(p.name for p in tmp_path.iterdir()) == ['out_variations.jpg']
    with Image.open(tmp_path/'out_variations.jpg') as sheet: assert sheet.size == (480 + 4*240, 3*246 - 6)
    with pytest.raises(InputError, match='out_variations.jpg: exists already'):
        generate_video(film, tmp_path/'out.mp4', model=tiny, variations=3, **SMALL)


def test_info_knows_a_marked_picture(photo, tiny, tmp_path, capsys):
    generate_video(photo, tmp_path/'around.jpg', model=tiny, fov=60, steps=1, width=128)
    main(['info', str(tmp_path/'around.jpg')])
    said = capsys.readouterr().out
    assert 'yes, marked as GPano' in said and 'generated surroundings' in said


def test_another_part_of_the_same_film_begins_anew(film, tiny, tmp_path):
    output, said = tmp_path/'out.mp4', []
    with pytest.raises(KeyboardInterrupt):
        generate_video(film, output, model=tiny, progress=StopAt(output, 1), seconds=3, **SMALL)
    class Listener:
        def __call__(self, *_): pass
        def say(self, text): said.append(text)
    generate_video(film, output, model=tiny, progress=Listener(), start=5, seconds=3, **SMALL)
    assert not any('taken over' in text for text in said)


def test_a_film_with_nothing_to_track_is_made(tiny, tmp_path):
    write_video(tmp_path/'grey.mp4', torch.full((10, 3, 48, 64), .5), 5, spherical=False)
    generate_video(tmp_path/'grey.mp4', tmp_path/'out.mp4', model=tiny, steps=1, width=128)
    assert len(read_video(tmp_path/'out.mp4').frames) == 10


def test_a_spatial_film_of_a_phone_is_an_ordinary_one(film, tiny, tmp_path, monkeypatch):
    from argus_nb import generate
    from argus_nb.spherical import Layout
    monkeypatch.setattr(generate, 'sphere_layout', lambda path: Layout(('APMP',), 'an ordinary picture'))
    generate_video(film, tmp_path/'out.mp4', model=tiny, seconds=1, **SMALL)
    assert (tmp_path/'out.mp4').exists()


@pytest.mark.parametrize('width', [1.5, 6., 24.])
def test_wide_gaussians_on_few_pixels_are_those_of_scipy(width):
    "Around the seam and reflected at the poles, as colours of the surroundings are matched."
    from scipy.ndimage import gaussian_filter
    from argus_nb.memory import _smooth
    rough = np.random.default_rng(0).random((64, 128, 2)).astype(np.float32)
    rough[20:40, :30] += 3  # something at the seam
    exact = gaussian_filter(rough, width, mode=('reflect', 'wrap'), axes=(0, 1))
    assert np.abs(_smooth(rough, width) - exact).max() < .005*np.ptp(exact)
