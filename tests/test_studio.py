"The studio: what its buttons do, in Python and in a real browser."
import io, math, os, subprocess, sys, threading, time
from datetime import datetime

import numpy as np
import pytest, torch
from PIL import Image
from argus_nb.cameras import CameraTrack
from argus_nb.models import build_models, save_models
from argus_nb.motion import simulate_motion
from argus_nb.runtime import InputError, make_generator
from argus_nb.studio import Listener, camera_curves, studio
from argus_nb.video import video_info, write_video
from argus_nb.worlds import random_world
from browser import PATIENCE, keep, needs_browser, open_browser, run_notebook, serve_lab, wait

NOTEBOOK = """
from argus_nb.studio import studio
panel = studio('.', 'tiny')
panel.controls.seconds.value, panel.controls.estimate.value, panel.controls.fov.value = 1., False, 70.
display(panel)
"""


@pytest.fixture(scope='module')
def here(tmp_path_factory):
    "A folder with a small film and a model of random weights."
    folder = tmp_path_factory.mktemp('studio')
    hand = simulate_motion(12, 6., make_generator(19), fov_x=math.radians(70), min_drift=15)
    write_video(folder/'walk.mp4', random_world(5).render_perspective(torch.arange(12)/6, hand.world_from_camera,
                                                                      hand.fov_x, (120, 160)), 6, spherical=False)
    torch.manual_seed(0)
    save_models(build_models('tiny'), folder/'tiny')
    return folder


@pytest.fixture
def panel(here):
    panel = studio(here, here/'tiny')
    c = panel.controls
    c.video.value, c.seconds.value, c.estimate.value, c.fov.value = str(here/'walk.mp4'), 1., False, 70.
    return panel


def press(panel, button):
    "Press a button that starts work, and wait for its end."
    button.click(); panel.thread.join(PATIENCE)
    assert not panel.thread.is_alive()


def test_generate_finds_the_cameras_first_and_keeps_them(panel, here):
    c = panel.controls
    press(panel, c.generate)
    assert 'Save keeps it' in panel.status.value and panel.curves.layout.display is None and panel.curves.value[1:4] == b'PNG'
    known = panel.track
    c.seed.value = 7
    press(panel, c.generate)
    assert panel.track is known and panel.result.name == 'walk_7.mp4' and video_info(panel.result)['spherical'] is not None
    c.seconds.value = 1.5
    press(panel, c.find)
    assert panel.track is not known and len(panel.track[1]) == 9


@pytest.mark.parametrize('stage', ['track', 'generate'])
def test_cancel_works_in_every_stage_and_leaves_nothing(panel, stage, monkeypatch):
    listen = type(panel.listener).__call__
    def impatient(self, now, done, total):
        if now == stage: self.stopped.set()
        listen(self, now, done, total)
    monkeypatch.setattr(Listener, '__call__', impatient)
    press(panel, panel.controls.generate)
    assert '>cancelled<' in panel.status.value and panel.result is None and panel.controls.save.disabled and not panel.controls.generate.disabled
    assert not os.listdir(panel.scratch.name)


def test_while_it_works_only_cancel_can_be_pressed(panel, monkeypatch):
    going, seen = threading.Event(), {}
    def slow(choices): going.wait(60)
    panel.begin(slow)
    c = panel.controls
    seen = {name: getattr(c, name).disabled for name in ('find', 'generate', 'cancel', 'save')}
    going.set(); panel.thread.join()
    assert seen == dict(find=True, generate=True, cancel=False, save=True)
    assert [c.find.disabled, c.generate.disabled, c.cancel.disabled, c.save.disabled] == [False, False, True, True]


@pytest.mark.parametrize('change, words', [(dict(video=None), 'choose a video first'),
                                           (dict(start=99.), 'beyond its end'), (dict(start=-1.), '0 seconds or more'),
                                           (dict(seconds=0.), 'more than 0'),
                                           (dict(fov=200.), 'between 0 and 180 degrees, got 200'),
                                           (dict(fov=0.), 'between 0 and 180 degrees, got 0'),
                                           (dict(seed=-1), 'between 0 and 2^63')])
def test_what_is_wrong_is_one_line(panel, change, words):
    for name, value in change.items(): getattr(panel.controls, name).value = value
    press(panel, panel.controls.find)
    assert words in panel.status.value and '#b00020' in panel.status.value and '\n' not in panel.status.value and 'Traceback' not in panel.status.value


def upload(panel, name, data):
    "What the browser sends when a file was picked."
    panel.controls.upload.value = ({'name': name, 'type': 'video/mp4', 'size': len(data), 'content': memoryview(data),
                                    'last_modified': datetime(2026, 1, 1)},)


def test_uploads_are_offered_and_the_last_is_chosen(panel, here):
    data = (here/'walk.mp4').read_bytes()
    upload(panel, '../mine.mp4', data)
    assert panel.controls.video.value.endswith('mine.mp4') and panel.uploads.name in panel.controls.video.value
    press(panel, panel.controls.find)
    assert '6 cameras' in panel.status.value
    upload(panel, 'second.mp4', data)
    assert {'mine.mp4', 'second.mp4'} <= {name for name, _ in panel.controls.video.options} and panel.controls.video.value.endswith('second.mp4')
    upload(panel, 'notes.txt', b'no video')
    assert 'notes.txt: is not a video by its name' in panel.status.value and panel.controls.video.value.endswith('second.mp4')


def test_another_upload_of_a_known_name_is_another_film(panel, here):
    upload(panel, 'clip.mp4', (here/'walk.mp4').read_bytes())
    press(panel, panel.controls.find)
    known = panel.track
    write_video(here.parent/'other.mp4', random_world(8).render_perspective(torch.arange(6)/6,
                                                                            torch.eye(3).repeat(6, 1, 1), 1.2,
                                                                            (120, 160)), 6, spherical=False)
    upload(panel, 'clip.mp4', (here.parent/'other.mp4').read_bytes())
    press(panel, panel.controls.find)
    assert panel.track is not known


def test_an_upload_with_the_name_of_a_result_does_not_replace_it(panel, here):
    press(panel, panel.controls.generate)
    made = panel.result.read_bytes()
    upload(panel, panel.result.name, (here/'walk.mp4').read_bytes())
    assert panel.result.read_bytes() == made


def test_the_input_is_never_replaced(panel, here):
    press(panel, panel.controls.generate)
    film, panel.controls.name.value, panel.controls.overwrite.value = (here/'walk.mp4').read_bytes(), 'walk.mp4', True
    panel.controls.save.click()
    assert 'is the input itself' in panel.status.value and (here/'walk.mp4').read_bytes() == film


def test_a_double_click_starts_work_once(panel):
    going, started = threading.Event(), []
    def slow(choices): started.append(1); going.wait(60)
    panel.begin(slow); panel.begin(slow)
    going.set(); panel.thread.join()
    assert len(started) == 1


def test_without_ipywidgets_there_is_one_clear_line():
    program = "import sys; sys.modules['ipywidgets'] = None\nimport argus_nb.studio"
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1].endswith("InputError: the studio needs ipywidgets: pip install "
                                                         "'ipywidgets>=8'")


def test_long_remarks_of_the_tracker_fit_the_picture():
    short, long = (CameraTrack(torch.eye(3).repeat(3, 1, 1), 1., fps=5., source=source)
                   for source in ('tracked', 'tracked, ' + 'the camera travels, '*10))
    pictures = [torch.from_numpy(np.array(Image.open(io.BytesIO(camera_curves(track))).convert('L')))
                for track in (short, long)]
    assert pictures[1].shape[0] > pictures[0].shape[0] and all((picture[:, [0, -1]] == 255).all()
                                                               for picture in pictures)  # nothing reaches the edge


def test_a_folder_that_is_none():
    with pytest.raises(InputError, match='no such folder'): studio('nowhere')


@needs_browser
def test_in_a_browser_work_is_cancelled_and_a_video_is_made_shown_and_saved(here, tmp_path_factory):
    with serve_lab(here, NOTEBOOK) as address, open_browser(tmp_path_factory.mktemp('chromium')) as browser:
        browser.set_window_size(1280, 1400)
        run_notebook(browser, address)
        def button(text): return next((b for b in browser.find_elements('css selector', 'button.jupyter-button')
                                       if b.text.strip() == text), None)
        def says(words): return any(words in element.text
                                    for element in browser.find_elements('css selector',
                                                                         '.widget-html-content, '
                                                                         '.jupyter-widgets-html-content, .widget-html'))
        try:
            wait(lambda: button('Generate'), 'the panel')
            button('Generate').click()
            wait(lambda: button('Cancel').is_enabled(), 'Cancel')
            assert not button('Generate').is_enabled()
            button('Cancel').click()
            wait(lambda: says('cancelled'), 'the end of the work')
            wait(lambda: button('Generate').is_enabled(), 'the button to come back')
            keep(browser, 'studio_cancelled')
            assert not button('Cancel').is_enabled() and not button('Save').is_enabled() and not browser.find_elements('css selector', '.argus-viewer')
            button('Generate').click()
            wait(lambda: says('Save keeps it'), 'the film')
            wait(lambda: browser.find_elements('css selector', '.argus-viewer[data-ready]'), 'the viewer')
            time.sleep(1)
            browser.execute_script("arguments[0].scrollIntoView({block: 'start'})",
                                   button('Find cameras').find_element('xpath', '../..'))
            keep(browser, 'studio')
            button('Save').click()
            wait(lambda: says('saved as'), 'the file')
        finally: keep(browser, 'studio_end')
    assert video_info(here/'around.mp4')['spherical'] is not None
