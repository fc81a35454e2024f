"""The viewer: what a page must be told, and in a real browser, inside JupyterLab, that the picture turns where the hand
drags it."""
import functools, hashlib, http.server, io, json, math, shutil, subprocess, threading, time, wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from argus_nb.cameras import CameraTrack
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import InputError
from argus_nb.sphere import perspective_coordinates, perspective_rays, rotation_from_euler
from argus_nb.video import read_video, write_video
from argus_nb.viewer import FOV_LIMITS, edge_distance, image_corners, look, look_together, still_picture
from argus_nb.worlds import load_panorama
from browser import keep, needs_browser, open_browser, run_notebook, serve_lab, wait

ROOT = Path(__file__).parents[1]
VIEWER, STATIC = ROOT/'viewer', ROOT/'argus_nb'/'static'


def track(*degrees, fov=70, **more) -> CameraTrack:
    "Cameras from (yaw, pitch, roll) in degrees."
    return CameraTrack(rotation_from_euler(*torch.tensor(degrees).double().deg2rad().T), math.radians(fov), **more)


def png(panorama, path) -> Path:
    Image.fromarray((panorama.movedim(0, -1)*255).round().byte().numpy()).save(path)
    return path


# --- Python's side -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('more', [{}, dict(fov_y=math.radians(95)), dict(principal_point=torch.tensor([.7, .4]))],
                         ids=['plain', 'fov_y', 'principal point'])
def test_corners_are_those_of_the_image_rectangle(more):
    cameras, (height, width) = track((150, -40, 10), (-20, 80, -30), fov=100, **more), (9, 16)
    corners = image_corners(cameras, (height, width))
    for n in range(2):
        point = None if cameras.principal_point is None else cameras.principal_point[n]
        u, v, front = perspective_coordinates(corners[n] @ cameras.world_from_camera[n], (height, width),
                                              cameras.fov_x[n], None if cameras.fov_y is None else cameras.fov_y[n],
                                              point)
        torch.testing.assert_close(torch.stack([u, v], -1),
                                   torch.tensor([[0, 0], [width, 0], [width, height], [0, height]]).double())
        assert front.all() and edge_distance(corners[n], corners[n]).abs().max() < 1e-12


def test_files_that_browsers_show_go_as_they_are_and_others_are_rewritten(tmp_path):
    hall = load_panorama('pmndrs_hall')
    path = png(hall, tmp_path/'hall.png')
    assert look(path).media == [path.read_bytes()] and look(path).kinds == ['image/png']
    Image.open(path).save(tmp_path/'hall.bmp')
    rewritten = look(str(tmp_path/'hall.bmp'))
    assert rewritten.kinds == ['image/png'] and np.array_equal(np.array(Image.open(io.BytesIO(rewritten.media[0]))),
                                                               np.array(Image.open(path)))
    frames = torch.stack([hall[:, ::4, ::4].roll(8*n, -1) for n in range(5)])
    movie = write_video(tmp_path/'movie.mp4', frames, 10)
    viewer = look(movie)
    assert viewer.media == [movie.read_bytes()] and (viewer.num_frames, viewer.fps,
                                                     viewer.kinds) == (5, 10., ['video/mp4'])
    assert len(look(read_video(movie)).media[0]) > 1000 and look(frames, track((0, 0, 0))[[0]*5],
                                                                 fps=10).num_frames == 5


def test_a_wrong_direction_is_refused_and_changes_nothing():
    viewer = look(load_panorama('pmndrs_hall'), yaw=7., pitch=1.)
    assert abs(viewer.yaw - (7 - 2*math.pi)) < 1e-12
    for name, wrong in (('pitch', 1.6), ('pitch', math.nan), ('yaw', math.inf), ('fov', FOV_LIMITS[1] + .01),
                        ('fov', 0), ('frame', 1), ('frame', -1)):
        before = getattr(viewer, name)
        with pytest.raises(Exception, match=name): setattr(viewer, name, wrong)
        assert getattr(viewer, name) == before


def test_bad_input_is_one_line(tmp_path):
    (tmp_path/'text.txt').write_text('no picture')
    (tmp_path/'empty.mp4').touch()
    (tmp_path/'cut.png').write_bytes(png(load_panorama('pmndrs_hall'), tmp_path/'whole.png').read_bytes()[:5000])
    wide = png(torch.zeros(3, 9, 16), tmp_path/'wide.png')
    write_video(tmp_path/'wide.mp4', torch.zeros(3, 3, 36, 64), 5, spherical=False)
    for bad, words in ((tmp_path/'text.txt', 'text.txt'), (tmp_path/'lost.mp4', 'lost.mp4: no such file'),
                       (tmp_path/'empty.mp4', 'empty'), (tmp_path/'cut.png', 'cut.png'), (tmp_path, 'is a folder'),
                       (wide, 'wide.png: a panorama is twice as wide as high, got 16x9 pixels'),
                       (tmp_path/'wide.mp4', 'got 64x36 pixels'),
                       (torch.zeros(3, 8, 8), 'got 8x8'), (torch.zeros(1, 8, 16), 'shape'),
                       (torch.zeros(8, 16), 'shape'), (None, 'NoneType'), (torch.zeros(2, 3, 8, 16), 'fps')):
        with pytest.raises(InputError, match=words) as caught: look(bad)
        assert '\n' not in str(caught.value)
    with pytest.raises(InputError, match='cameras'): look(torch.zeros(3, 3, 8, 16), track((0, 0, 0))[[0, 0]], fps=5)
    with pytest.raises(InputError, match='dictionary'): look_together([torch.zeros(3, 8, 16)])


def test_the_still_picture_shows_the_view_and_both_outlines():
    hall, wanted = load_panorama('pmndrs_hall'), (90, 120)
    viewer = look(hall, track((40, 10, 0)), yaw=-1.2, pitch=.3, fov=1.)
    image = Image.open(io.BytesIO(still_picture(viewer, wanted))).convert('RGB')
    picture = torch.from_numpy(np.array(image)).movedim(-1, 0)/255
    view = panorama_to_perspective(hall[None], rotation_from_euler(-1.2, .3, 0.)[None], 1., wanted)[0]
    assert (picture[..., :120] - view).abs().mean() < .03 < (picture[..., :120] - view.flip(-1)).abs().mean()
    flat = picture[..., 124:]
    orange = (flat[0] > .85) & (flat[1] - .6).abs().lt(.15) & (flat[2] < .3)
    columns = orange.any(0).nonzero()[:, 0]
    middle = (columns.min() + columns.max())/2/flat.shape[-1]*360 - 180
    assert abs(middle - 40) < 4, middle


def test_the_bundle_is_built_from_these_sources():
    names = ['build.mjs', 'package.json', 'package-lock.json',
             *(f'src/{path.name}' for path in sorted((VIEWER/'src').iterdir()))]
    digest = hashlib.sha256(b''.join((VIEWER/name).read_bytes() for name in names)).hexdigest()
    built = (STATIC/'viewer.js').read_text(encoding='utf-8')
    assert digest in built[:300], 'stale: cd viewer && npm ci && npm run build'
    assert (STATIC/'viewer.css').read_bytes() == (VIEWER/'src'/'viewer.css').read_bytes()


def test_the_bundle_is_locked_licensed_and_fetches_nothing():
    lock = json.loads((VIEWER/'package-lock.json').read_text())['packages']
    wanted = json.loads((VIEWER/'package.json').read_text())
    for name, version in {**wanted['dependencies'], **wanted['devDependencies']}.items():
        assert lock[f'node_modules/{name}']['version'] == version
    assert all('integrity' in package and 'resolved' not in package for name, package in lock.items() if name)
    licence = (STATIC/'LICENCE').read_text()
    assert 'MIT License' in licence and wanted['dependencies']['three'] in licence
    assert not any(f'import {q}' in (STATIC/'viewer.js').read_text()
                   or f'from{q}' in (STATIC/'viewer.js').read_text() for q in '"\'')


# --- In a browser --------------------------------------------------------------------------------------------------

NOTEBOOK = """
import os, pathlib, torch
from argus_nb.cameras import CameraTrack
from argus_nb.sphere import rotation_from_euler
from argus_nb.viewer import look, look_together
def note(name, state):  # whole or not at all: the test reads while this writes
    pathlib.Path('new').write_text(repr(state))
    os.replace('new', name)
viewer = look('hall.png', shows_map=False, yaw=.3, pitch=.1, fov=1.2, height=300)
viewer.observe(lambda change: note('state.txt', [viewer.yaw, viewer.pitch, viewer.fov]), ['yaw', 'pitch', 'fov'])
def answer(change):
    if viewer.fov < .7: viewer.yaw, viewer.pitch = 2.5, -.4
viewer.observe(answer, 'fov')
display(viewer)
input_cameras = CameraTrack(rotation_from_euler(torch.arange(12)*.1, torch.zeros(12), torch.zeros(12)), 1.)
movie = look_together({'moving': 'clip.mp4', 'still': 'hall.png'}, input_cameras, height=160)
movie.observe(lambda change: note('frame.txt', [movie.frame, movie.is_playing]), ['frame', 'is_playing'])
display(movie)
"""


def footage(folder) -> Path:
    "A folder with a still panorama, hall.png, and a video of it turning, clip.mp4."
    hall = load_panorama('pmndrs_hall')
    png(hall, folder/'hall.png')
    write_video(folder/'clip.mp4', [hall[:, ::2, ::2].roll(16*n, -1) for n in range(12)], 6)
    return folder


def turning() -> CameraTrack: return track(*((6.*n, 0, 0) for n in range(12)), fov=57)


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A JupyterLab in a folder of its own, with a notebook that shows viewers: (address, folder)."
    folder = footage(tmp_path_factory.mktemp('lab'))
    with serve_lab(folder, NOTEBOOK) as address: yield address, folder


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp('chromium')) as driver: yield driver


def grab(element) -> torch.Tensor:
    "What an element looks like on the screen; (3, H, W) in [0, 1]."
    image = Image.open(io.BytesIO(element.screenshot_as_png)).convert('RGB')
    return torch.from_numpy(np.array(image)).movedim(-1, 0)/255


def read_state(path):
    "The list that the notebook wrote last; None before."
    try: return json.loads(path.read_text().replace('False', 'false').replace('True', 'true'))
    except (OSError, ValueError): return None


def difference(element, panorama, yaw, pitch, fov, border=6) -> float:
    "Mean difference between the screen and `panorama_to_perspective`, away from the frame of the focus."
    shown = grab(element)
    wanted = panorama_to_perspective(panorama[None], rotation_from_euler(yaw, pitch, 0.)[None], fov,
                                     tuple(shown.shape[-2:]), antialias=False)[0]
    return (shown - wanted)[:, border:-border, border:-border].abs().mean().item()


# A page without JupyterLab, quick enough for everything that hands and videos do. The model is the least that a widget
# needs.
PLAIN = """<!doctype html><meta charset="utf8"><link rel="icon" href="data:,"><link rel="stylesheet" href="viewer.css">
<body style="margin: 0; width: 700px"><div id="place"></div><script type="module">
import widget from './viewer.js';
class Model {
  constructor(state) { this.state = state; this.listeners = []; this.frames = []; }
  get(name) { return this.state[name]; }
  set(changes) {
    for (const [name, value] of Object.entries(changes)) if (this.state[name] !== value) {
      this.state[name] = value;
      if (name === 'frame') this.frames.push(value);
      for (const [names, listener] of this.listeners) if (names.split(' ').includes(`change:${name}`)) listener();
    }
  }
  save_changes() {}
  on(...listener) { this.listeners.push(listener); }
  off(names, listener) { this.listeners = this.listeners.filter(other => other[1] !== listener); }
}
const load = async name => new DataView(await (await fetch(name)).arrayBuffer());
const state = await (await fetch('state.json')).json();
window.model = new Model({ ...state, media: [await load('clip.mp4'), await load('hall.png')],
                           corners: await load('corners') });
window.end = widget.render({ model, el: place });
</script>"""


@pytest.fixture(scope='module')
def plain(browser, tmp_path_factory):
    "A page with the widget alone: a moving panel and a still one, and the outline of an input that turns."
    folder = footage(tmp_path_factory.mktemp('plain'))
    viewer = look_together({'moving': folder/'clip.mp4', 'still': folder/'hall.png'}, turning(), yaw=.2, pitch=.1,
                           fov=1.2, height=300)
    for name in ('viewer.js', 'viewer.css'): shutil.copy(STATIC/name, folder)
    (folder/'corners').write_bytes(viewer.corners)
    (folder/'state.json').write_text(json.dumps({name: getattr(viewer, name) for name in viewer.keys
                                                 if not name.startswith('_')
                                                 and name not in ('media', 'corners', 'layout', 'tabbable',
                                                                  'tooltip')}))
    (folder/'index.html').write_text(PLAIN)
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.get(f'http://127.0.0.1:{server.server_port}/index.html')
    wait(lambda: browser.execute_script("return document.querySelector('.argus-viewer[data-ready]') !== null"),
         'the page')
    yield browser
    server.shutdown()


def model(browser, *names) -> list: return browser.execute_script('return arguments[0].map(name => model.get(name))',
                                                                  list(names))


def settle(browser, **state):
    "Set the state of the model and wait until it was drawn."
    browser.execute_script('model.set(arguments[0])', state)
    browser.execute_async_script('requestAnimationFrame(() => requestAnimationFrame(arguments[0]))')


@needs_browser
@pytest.mark.parametrize('direction', [(.2, .1, 1.2), (math.pi - .1, -.3, 2.), (1., math.pi/2, 1.5), (-2., -1.3, .4)],
                         ids=['ahead', 'seam', 'pole', 'near'])
def test_the_shader_shows_what_the_projection_gives(plain, direction):
    settle(plain, **dict(zip(('yaw', 'pitch', 'fov'), direction)), shows_outline=False, shows_map=False)
    right = grab(plain.find_element('css selector', 'canvas'))[..., 351:]
    wanted = panorama_to_perspective(load_panorama('pmndrs_hall')[None], rotation_from_euler(*direction[:2], 0.)[None],
                                     direction[2], (300, 349), antialias=False)[0]
    error = (right - wanted)[:, 30:-6, 6:-6].abs().mean()  # below the title
    assert error < .003 < .03 < (right - wanted.flip(-1)).abs().mean(), error


@needs_browser
def test_outlines_and_map_show_where_input_and_view_are(plain):
    settle(plain, yaw=.2, pitch=.1, fov=1.2, frame=0, shows_outline=True, shows_map=True)
    shown = grab(plain.find_element('css selector', 'canvas'))
    keep(plain, 'plain')
    view = panorama_to_perspective(load_panorama('pmndrs_hall')[None], rotation_from_euler(.2, .1, 0.)[None], 1.2,
                                   (300, 349), antialias=False)[0]
    rays = perspective_rays(300, 349, 1.2) @ rotation_from_euler(.2, .1, 0.).T
    distance = edge_distance(image_corners(turning(), (9, 16))[0], rays).abs()
    changed = (shown[..., 351:] - view).abs().amax(0) > .02
    pixel = 2*math.tan(.6)/349
    changed[:6], changed[-6:], changed[:, -6:], changed[:30, :70] = (False,)*4  # rounded corners, and the title
    assert changed[distance < .4*pixel].float().mean() > .97 and not changed[distance > 4*pixel].any()
    flat = shown[:, 222:292, 8:148]  # the map, 140 wide, 8 from the left and from below
    middle = (flat.amin(0) > .97).nonzero().float()
    plain_map = torch.nn.functional.interpolate(load_panorama('pmndrs_hall')[None], (70, 140), mode='area')[0]
    assert (flat - plain_map).abs().median() < .03 and len(middle) > 20


@needs_browser
def test_fingers_zoom_and_a_click_on_the_map_goes_there(plain):
    from selenium.webdriver import ActionChains
    settle(plain, yaw=0, pitch=0, fov=1.2, shows_map=True)
    def touch(kind, *points): plain.execute_cdp_cmd('Input.dispatchTouchEvent',
                                                    dict(type=kind,
                                                         touchPoints=[dict(x=x, y=y, id=n)
                                                                      for n, (x, y) in enumerate(points)]))
    touch('touchStart', (480, 150))
    touch('touchStart', (480, 150), (570, 150))
    touch('touchMove', (435, 150), (615, 150))
    touch('touchEnd')
    yaw, pitch, fov = wait(lambda: (s := model(plain, 'yaw', 'pitch', 'fov'))[2] < 1.1 and s, 'the fingers')
    assert abs(fov - 2*math.atan(math.tan(.6)/2)) < 1e-6 and abs(yaw) < .05 and abs(pitch) < .05
    canvas = plain.find_element('css selector', 'canvas')
    ActionChains(plain).move_to_element_with_offset(canvas, -350 + 8 + 105, 150 - 8 - 17).click().perform()
    yaw, pitch = wait(lambda: (s := model(plain, 'yaw', 'pitch'))[0] > .2 and s, 'the map')
    assert abs(yaw - math.pi/2) < .05 and abs(pitch + math.pi/4) < .05


@needs_browser
@pytest.mark.parametrize('width', [320, 380, 800])
def test_the_bar_fits_and_its_switches_say_how_they_stand(plain, width):
    plain.execute_script(f"document.body.style.width = '{width}px'")
    settle(plain, shows_map=True)
    buttons = plain.find_elements('css selector', '.argus-bar button')
    assert len(buttons) >= 4
    for part in plain.find_elements('css selector', '.argus-bar > *'):
        box = part.rect
        assert box['x'] >= 0 and box['x'] + box['width'] <= width + 1, (part.get_attribute('class'), box)
    switch = plain.find_element('css selector', '.argus-map')
    assert switch.get_attribute('aria-pressed') == 'true'
    switch.click()
    assert switch.get_attribute('aria-pressed') == 'false' and model(plain, 'shows_map') == [False]
    plain.execute_script("document.body.style.width = '700px'")
    settle(plain, shows_map=True)


@needs_browser
def test_a_video_is_scrubbed_and_plays(plain):
    settle(plain, yaw=0, pitch=0, fov=1.4, frame=0, shows_outline=False, shows_map=False)
    plain.find_element('css selector', '.argus-scrub').send_keys('\ue014'*7)  # arrow right
    assert wait(lambda: (s := model(plain, 'frame', 'is_playing')) and s[0] == 7 and s, 'the scrubber') == [7, False]
    def off(n):
        view = panorama_to_perspective(load_panorama('pmndrs_hall')[None, :, ::2, ::2].roll(16*n, -1),
                                       torch.eye(3)[None], 1.4, (300, 349), antialias=False)[0]
        return (shown - view)[:, 30:-8, 8:341].abs().mean().item()
    for _ in range(50):  # until the picture that was sought is there
        shown = grab(plain.find_element('css selector', 'canvas'))[..., :349]
        if off(7) < .03: break
    assert off(7) < .03 and min(off(6), off(8)) > 1.5*off(7), (off(6), off(7), off(8))
    plain.find_element('css selector', '.argus-play').click()
    wait(lambda: len(plain.execute_script('return model.frames')) > 9, 'the video to play')
    plain.find_element('css selector', '.argus-play').click()
    time.sleep(.5)  # pictures that were on their way arrive
    stopped = model(plain, 'frame', 'is_playing')
    time.sleep(.5)
    assert model(plain, 'frame', 'is_playing') == stopped and not stopped[1]
    plain.execute_script('end()')  # and everything is let go of without a complaint
    assert plain.execute_script('return model.listeners.length') == 0
    assert not [entry for entry in plain.get_log('browser') if entry['level'] == 'SEVERE']


@pytest.fixture(scope='module')
def page(browser, lab):
    "The notebook, run in JupyterLab, and its two viewers."
    from selenium.webdriver.common.by import By
    address, folder = lab
    run_notebook(browser, address)
    def viewers(): return (found := browser.find_elements(By.CSS_SELECTOR,
                                                          '.argus-viewer[data-ready]')) and len(found) == 2 and found
    try: found = wait(viewers, what='the viewers')
    except TimeoutError:
        keep(browser, 'failed')
        said = [o.text for o in browser.find_elements(By.CSS_SELECTOR, '.jp-OutputArea-output')]
        raise AssertionError(f"{browser.get_log('browser')[-5:]}\n{said}") from None
    return browser, folder, found


@needs_browser
def test_in_jupyterlab_the_picture_turns_where_it_is_dragged(page):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.by import By
    browser, folder, (viewer, _) = page
    hall, canvas = load_panorama('pmndrs_hall'), viewer.find_element(By.CSS_SELECTOR, 'canvas')
    browser.execute_script("arguments[0].scrollIntoView({block: 'start'})", viewer)
    keep(browser, 'begin')
    assert difference(canvas, hall, .3, .1, 1.2) < .01

    # Dragging: the point that was taken hold of stays under the pointer.
    width = canvas.size['width']
    hand = ActionChains(browser, duration=50).move_to_element_with_offset(canvas, 60, 20).click_and_hold()
    hand.move_by_offset(-100, 40).move_by_offset(-60, 20).release().perform()
    yaw, pitch, fov = wait(lambda: (s := read_state(folder/'state.txt')) and abs(s[0] - .3) > .2 and s, 'the drag')
    time.sleep(.3)
    yaw, pitch, fov = read_state(folder/'state.txt')
    def direction(yaw, pitch, x, y):
        focal = width/2/math.tan(1.2/2)
        return torch.nn.functional.normalize(rotation_from_euler(yaw, pitch,
                                                                 0.) @ torch.tensor([x/focal, y/focal, 1.]).double(),
                                                                 dim=0)
    angle = (direction(.3, .1, 60, 20) @ direction(yaw, pitch, -100, 80)).clamp(-1, 1).acos().rad2deg()
    assert angle < .2 and yaw > .45 and pitch > .15 and fov == 1.2, (angle, yaw, pitch, fov)
    keep(browser, 'dragged')
    assert difference(canvas, hall, yaw, pitch, fov) < .01
    assert min(difference(canvas, hall, *wrong)
               for wrong in ((.3, .1, 1.2), (-yaw, pitch, fov), (yaw, -pitch, fov), (yaw, pitch, 1.3))) > .03

    # Keys and wheel, and what Python sets in answer.
    canvas.send_keys(Keys.ARROW_LEFT)
    assert abs(wait(lambda: (s := read_state(folder/'state.txt')) and abs(s[0] - yaw) > .01 and s,
                    'the key')[0] - (yaw - 1.2/18)) < 1e-9
    for _ in range(8): canvas.send_keys('+')
    fov = 2*math.atan(math.tan(.6)/1.1**8)
    wait(lambda: (s := read_state(folder/'state.txt'))[:2] == [2.5, -.4] and abs(s[2] - fov) < 1e-9,
         'the keys and the answer of Python')
    time.sleep(.3)
    keep(browser, 'set')
    assert difference(canvas, hall, 2.5, -.4, fov) < .01  # the seam lies within this view
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 100).perform()
    assert wait(lambda: read_state(folder/'state.txt')[2] > fov + .05, 'the wheel')


@needs_browser
def test_in_jupyterlab_a_video_arrives_and_its_frame_is_known_to_python(page):
    from selenium.webdriver import ActionChains
    browser, folder, (_, movie) = page
    browser.execute_script("arguments[0].scrollIntoView({block: 'end'})", movie)
    scrubber = movie.find_element('css selector', '.argus-scrub')
    ActionChains(browser).move_to_element_with_offset(scrubber, round((scrubber.size['width'] - 16)*(7/11 - .5)),
                                                      0).click().perform()
    wait(lambda: read_state(folder/'frame.txt') == [7, False], 'the scrubber')
    scrubber.send_keys('\ue014')  # arrow right, which the notebook would like to have
    wait(lambda: read_state(folder/'frame.txt') == [8, False], 'the key')
    movie.find_element('css selector', '.argus-play').click()
    wait(lambda: (s := read_state(folder/'frame.txt')) and s[1] and s[0] != 8, 'the video to play')
    movie.find_element('css selector', '.argus-play').click()
    wait(lambda: read_state(folder/'frame.txt')[1] is False, 'the pause')
    keep(browser, 'video')


@pytest.mark.parametrize('angles, wanted', [((0, 90, 0), (0, 0)), ((-90, 90, 0), (90, 0)), ((0, 120, 0), (0, 30)),
                                            ((0, 0, 0), (None, -90))])
def test_a_phone_that_is_turned_turns_the_view(angles, wanted):
    node = shutil.which('node')
    if node is None: pytest.skip('no node')
    code = (f"import {{ deviceDirection }} from '{(VIEWER/'src'/'device.js').as_uri()}';"
            f"const d = deviceDirection({', '.join(map(str, angles))}); console.log(JSON.stringify(d));")
    said = subprocess.run([node, '--input-type=module', '-e', code], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout)
    for name, angle in zip(('yaw', 'pitch'), wanted):
        if angle is not None: assert math.degrees(found[name]) == pytest.approx(angle, abs=1e-6)


def test_sound_travels_with_a_film(tmp_path):
    with wave.open(str(tmp_path/'tone.wav'), 'wb') as file:
        file.setnchannels(1); file.setsampwidth(2); file.setframerate(8000)
        file.writeframes((3000*np.sin(np.arange(8000)/3)).astype('<i2').tobytes())
    still = load_panorama('pmndrs_hall')[:, ::4, ::4].expand(6, -1, -1, -1)
    write_video(tmp_path/'loud.mp4', still, 6, audio_from=tmp_path/'tone.wav')
    write_video(tmp_path/'mute.mp4', load_panorama('pmndrs_hall')[:, ::4, ::4].expand(6, -1, -1, -1), 6)
    assert [look(tmp_path/name).has_sound for name in ('loud.mp4', 'mute.mp4')] == [True, False]
    assert not look(tmp_path/'loud.mp4').has_sound_on  # browsers begin silent
