"The studio: what a visitor does, in Python and in a real browser at three widths."
import math, os, signal, subprocess, sys, threading
from pathlib import Path

import pytest, torch
from argus_nb.cli import main
from argus_nb.decoding import decode
from argus_nb.models import build_models, save_models
from argus_nb.motion import simulate_motion
from argus_nb.runtime import InputError, make_generator
from argus_nb.session import Listener, Session, SharedModel
from argus_nb.video import video_info, write_video
from argus_nb.worlds import random_world
from browser import PATIENCE, keep, needs_browser, open_browser, run_notebook, serve_lab, wait

CHEAP = dict(size=(64, 128), width=256)


def film(path, seed, frames=6):
    "A small film of a world."
    hand = simulate_motion(frames, 6., make_generator(19), fov_x=math.radians(70), min_drift=15)
    return write_video(path, random_world(seed).render_perspective(torch.arange(frames)/6, hand.world_from_camera,
                                                                   hand.fov_x, (120, 160)), 6, spherical=False)


@pytest.fixture(scope='module')
def here(tmp_path_factory):
    "A folder with two small films, a photograph, something else and a model of random weights."
    folder = tmp_path_factory.mktemp('studio')
    film(folder/'walk.mp4', 5); film(folder/'other.mp4', 8)
    (folder/'broken.mp4').write_bytes(b'no film at all'*100)
    torch.manual_seed(0)
    save_models(build_models('tiny'), folder/'tiny')
    return folder


@pytest.fixture(scope='module')
def shared(here): return SharedModel(here/'tiny')


@pytest.fixture
def session(here, shared):
    session = Session(shared)
    session.open_clip(here/'walk.mp4')
    yield session
    session.close()


def work(session, what, **options):
    "Do something as a page would, and wait for its end."
    session.begin(lambda listener: getattr(session, what)(listener, **CHEAP, **options))
    pictures = {listener.about for listener in session.reports(.01)}
    return session.outcome, pictures


# --- A session -----------------------------------------------------------------------------------------------------

def test_a_first_look_comes_before_the_film_and_cameras_are_found_once(session):
    outcome, pictures = work(session, 'generate', seed=3)
    assert outcome.kind == 'done' and 'a first look, in a hurry' in pictures, outcome
    known = session.tracked
    assert video_info(session.made.path)['spherical'] is not None and session.made.summary['frames'] == 6
    work(session, 'generate', seed=4)
    assert session.tracked is known
    work(session, 'generate', seconds=.6)
    assert session.tracked is not known and session.made.summary['frames'] == 4


@pytest.mark.parametrize('stage', ['finding the cameras', 'a first look', 'getting ready', 'making the film',
                                   'writing the file'])
def test_work_is_stopped_in_every_stage_and_leaves_nothing(session, stage, monkeypatch):
    say = Listener.say
    def impatient(self, text):
        if text == stage: self.stopped.set()
        say(self, text)
    monkeypatch.setattr(Listener, 'say', impatient)
    outcome, _ = work(session, 'generate')
    assert (outcome.kind, session.made, session.is_working) == ('cancelled', None, False)
    assert not os.listdir(session.scratch.name)


@pytest.mark.parametrize('choice, words', [(dict(start=99.), 'beyond its end'), (dict(start=-1.), '0 seconds or more'),
                                           (dict(fov=200.), 'between 0 and 180 degrees, got 200'),
                                           (dict(seed=-1), 'between 0 and 2^63'),
                                           (dict(seam='zip'), 'seam must be one of')])
def test_what_is_wrong_is_one_line_without_places(session, here, choice, words):
    outcome, _ = work(session, 'look_at_cameras', **choice)
    assert outcome.kind == 'trouble' and words in outcome.words
    assert '\n' not in outcome.words and 'Traceback' not in outcome.words and str(here) not in outcome.words


def test_an_unexpected_failure_is_one_line_too(session):
    def fail(listener): raise RuntimeError('one\ntwo')
    session.begin(fail); session.thread.join()
    assert session.outcome.words == 'something failed: RuntimeError: one two'


def test_a_double_click_starts_work_once(session):
    going, started = threading.Event(), []
    def slow(listener): started.append(1); going.wait(60)
    session.begin(slow); session.begin(slow)
    going.set(); session.thread.join()
    assert len(started) == 1


def test_one_session_does_not_see_the_film_of_another(session, here, shared):
    other = Session(shared)
    other.open_clip(here/'other.mp4')
    work(session, 'generate')
    assert other.made is None and not os.listdir(other.scratch.name)
    with pytest.raises(InputError, match='there is no film yet'): other.save('a.mp4', here)
    other.close()


def test_whoever_waits_for_another_film_is_told_and_may_leave(session, here, shared):
    with shared.turn(Listener()):
        session.begin(lambda listener: session.generate(listener, **CHEAP))
        wait(lambda: session.listener.stage.startswith('waiting: another film'), 'the queue')
        session.stop(); session.thread.join(PATIENCE)
    assert session.outcome.kind == 'cancelled'


def test_what_is_coming_is_at_the_last_step_what_comes(session):
    request = session.request(**CHEAP, steps=4)
    run = session.generation(Listener(), request, session.find_cameras(Listener(), **CHEAP))
    steps = []
    latents = next(run.pipeline.stream_latents(run.source, run.sampling, generator=make_generator(0),
                                               on_step=lambda number, level, x: steps.append(x) or x))
    middle = latents[steps[-1].shape[1]//2][None]
    wanted = run.enlarge(decode(run.pipeline.vae, middle, 'none')[0].float().cpu())
    torch.testing.assert_close(run.coming(steps[2], steps[3], 3), wanted, atol=1e-4, rtol=0)
    assert (run.coming(steps[1], steps[2], 2) - wanted).abs().mean() > 1e-4  # and before that on its way


def test_a_level_by_hand_is_laid_over_what_was_found(session):
    before = work(session, 'look_at_cameras')[0].value[1]
    after = work(session, 'look_at_cameras', pitch=12.)[0].value[1]
    assert after['level']['pitch'] == 12. and after['level']['roll'] == pytest.approx(before['level']['roll'], abs=.2)


def test_an_upload_is_moved_and_ends_with_the_session(here, shared, tmp_path):
    session, clip = Session(shared), tmp_path/'mine.mp4'
    clip.write_bytes((here/'walk.mp4').read_bytes())
    session.open_clip(clip, owned=True)
    assert not clip.exists() and session.clip.parent == Path(session.scratch.name)
    session.close()
    assert not session.clip and not os.path.exists(session.scratch.name)


def test_without_gradio_there_is_one_clear_line():
    program = "import sys; sys.modules['gradio'] = None\nfrom argus_nb.cli import main\nsys.exit(main(['studio']))"
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "argus: error: the studio needs Gradio: pip install 'argus_nb[studio]'"


@pytest.mark.parametrize('arguments, words', [(['--model', 'nanu'], 'nanu'),
                                              (['nowhere.mp4'], 'nowhere.mp4: no such file'),
                                              (['--port', '70000'], 'between 0 and 65535')])
def test_the_command_refuses_in_one_line(arguments, words, capsys):
    try: code = main(['studio', '--no-browser', *arguments])
    except SystemExit as end: code = end.code
    said = capsys.readouterr().err
    assert code == 2 and words in said and len(said.strip().splitlines()) == 1, said


# --- A page --------------------------------------------------------------------------------------------------------

SERVER = """
import signal, sys
from argus_nb.studio import Studio
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background of a shell
page = Studio(None, sys.argv[1], size=(64, 128), width=256)
print(page.serve(0), flush=True)
try: page.thread.join()
except KeyboardInterrupt: page.close()
"""


@pytest.fixture(scope='module')
def address(here):
    "The studio with a tiny model, on a port of its own."
    server = subprocess.Popen([sys.executable, '-c', SERVER, str(here/'tiny')], stdout=subprocess.PIPE, text=True)
    yield server.stdout.readline().strip()
    server.send_signal(signal.SIGINT); server.wait(120)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp('chromium')) as browser: yield browser


class Page:
    "A tab, as somebody uses it."
    def __init__(self, browser, address, width):
        self.browser, self.width = browser, width
        size = dict(width=width, height=900, deviceScaleFactor=1, mobile=False)
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
        browser.get(address)
        wait(lambda: self.js("return document.querySelector('#live')?.getAttribute('role') == 'status'"), 'the page')
        wait(lambda: self.is_there('.nothing'), 'the empty page')

    def js(self, program, *values): return self.browser.execute_script(program, *values)
    def is_there(self, selector): return self.js('return !!document.querySelector(arguments[0])', selector)
    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
    def choose(self, path): self.browser.find_element('css selector', '#drop input[type=file]').send_keys(str(path))

    def press(self, selector):
        "By keyboard."
        from selenium.webdriver.common.keys import Keys
        wait(lambda: self.js('return document.querySelector(arguments[0])?.disabled === false', selector), selector)
        self.js('document.querySelector(arguments[0]).focus()', selector)
        self.browser.switch_to.active_element.send_keys(Keys.ENTER)

    def check(self, name):
        "Nothing is wider than the window; a picture for whoever asked for one."
        keep(self.browser, f'studio_{name}_{self.width}')
        assert self.js('return document.documentElement.scrollWidth <= window.innerWidth'), f'{name} scrolls sideways'


@needs_browser
@pytest.mark.parametrize('width', [380, pytest.param(800, marks=pytest.mark.slow), 1280])
def test_in_a_browser_a_clip_becomes_a_film_and_goes_with_the_next_clip(browser, address, here, width):
    page = Page(browser, address, width)
    page.check('empty')
    page.choose(here/'broken.mp4')
    wait(lambda: 'broken.mp4: is not a video' in page.text('#trouble'), 'the mistake')
    assert page.text('#trouble').startswith('Problem:') and 'Traceback' not in page.text('body')
    page.check('trouble')
    wait(lambda: page.is_there('#drop input[type=file]'), 'the drop zone')
    page.choose(here/'walk.mp4')
    wait(lambda: 'Field of view' in page.text('#camera'), 'the cameras')
    assert 'Problem' not in page.text('#trouble') and 'walk.mp4' in page.text('#clip')
    page.check('cameras')
    page.js("""window.seen = [];
        new MutationObserver(() => { const t = document.querySelector('#preview figcaption')?.innerText;
            if (t) window.seen.push([t, !!document.querySelector('#film iframe')]); })
        .observe(document.body, {subtree: true, childList: true});""")
    page.press('#generate')
    wait(lambda: page.is_there('#film iframe'), 'the film')
    assert ['a first look, in a hurry', False] in page.js('return window.seen')
    assert 'The film is ready' in page.text('#live')
    assert all(page.js("return [...document.querySelectorAll('img')].map(i => !!i.alt)"))
    link = page.js("return document.querySelector('#film a.button').href")
    assert page.js("return document.querySelector('#film a.button').download") == 'walk_360.mp4'
    browser.switch_to.frame(browser.find_element('css selector', '#film iframe'))
    wait(lambda: page.is_there('.argus-viewer[data-ready]'), 'the viewer')
    bar = "return document.querySelector('.argus-bar').getBoundingClientRect().bottom <= innerHeight"
    wait(lambda: page.js(bar), 'the viewer to fit its frame', 20)
    browser.switch_to.default_content()
    page.check('film')
    outside = page.js("return performance.getEntriesByType('resource').map(e => e.name)"
                      ".filter(n => !['data:', 'blob:', location.origin].some(own => n.startsWith(own)))")
    assert not outside, f'the page asks others: {outside}'
    fetch = "const done = arguments[1]; fetch(arguments[0]).then(a => a.blob().then(b => done([a.status, b.size])))"
    status, size = browser.execute_async_script(fetch, link)
    assert status == 200 and size > 1000
    browser.switch_to.new_window('tab')  # somebody else
    other = Page(browser, address, width)
    assert not other.is_there('#film iframe') and 'walk.mp4' not in other.text('body')
    browser.close(); browser.switch_to.window(browser.window_handles[0])
    page.press('#example_park')
    wait(lambda: 'park.jpg' in page.text('#clip'), 'the next clip')
    assert not page.is_there('#film iframe') and page.is_there('.nothing')
    assert browser.execute_async_script(fetch, link)[0] == 404
    page.check('next')


NOTEBOOK = """
from argus_nb.studio import studio
studio('walk.mp4', 'tiny', size=(64, 128), width=256)
"""


@pytest.mark.slow
@needs_browser
def test_in_a_notebook_the_cell_is_the_studio(here, browser):
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    with serve_lab(here, NOTEBOOK) as lab:
        run_notebook(browser, lab)
        frame = wait(lambda: browser.find_elements('css selector', 'iframe[title="Argus studio"][src]'), 'the cell')[0]
        browser.switch_to.frame(frame)
        wait(lambda: 'walk.mp4' in browser.execute_script("return document.querySelector('#clip')?.innerText ?? ''"),
             'the clip')
        keep(browser, 'studio_notebook')
        browser.switch_to.default_content()
