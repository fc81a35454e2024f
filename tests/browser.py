"""JupyterLab in a real browser, for the tests that look at a page: Chromium, driven by selenium."""
import contextlib, json, os, secrets, shutil, socket, subprocess, sys, time, urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
REQUIRED = os.environ.get('ARGUS_BROWSER') == 'required'  # .ci/run: never skip
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER) and not REQUIRED,
                                   reason='no Chromium here (apt-get install chromium chromium-driver)')
PATIENCE = 240  # seconds for anything, on a machine that is busy with something else


def wait(condition: Callable, what: str, seconds: float = PATIENCE):
    "What `condition` gives as soon as it is something."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (result := condition()): return result
        time.sleep(.1)
    raise TimeoutError(f'waited {seconds:g} s for {what}')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serve_lab(folder: Path, source: str) -> Iterator[str]:
    "A JupyterLab on a port of its own, in `folder`, with a notebook of one cell; gives the notebook's address."
    port, token = free_port(), secrets.token_hex(16)
    cell = dict(cell_type='code', id='12345678', metadata={}, source=source, outputs=[], execution_count=None)
    kernel = dict(name='python3', display_name='python3', language='python')
    (folder/'page.ipynb').write_text(json.dumps(dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4,
                                                     nbformat_minor=5)))
    environment = os.environ | {f'JUPYTER_{kind}_DIR': str(folder/kind)
                                for kind in ('CONFIG', 'DATA', 'RUNTIME')} | dict(PYTHONPATH=str(ROOT),
                                                                                  IPYTHONDIR=str(folder/'ipython'),
                                                                                  OMP_NUM_THREADS='1')
    log = (folder/'log.txt').open('w')
    server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1',
                               f'--port={port}', '--ServerApp.port_retries=0', f'--IdentityProvider.token={token}',
                               f'--ServerApp.root_dir={folder}', '--LabApp.news_url=',
                               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
                               '--LabApp.expose_app_in_browser=True'], cwd=folder, env=environment, stdout=log,
                               stderr=log)
    def answers():
        assert server.poll() is None, (folder/'log.txt').read_text()[-2000:]
        try: return urllib.request.urlopen(f'http://127.0.0.1:{port}/api?token={token}', timeout=5).status == 200
        except OSError: return False
    try:
        wait(answers, what='JupyterLab')
        yield f'http://127.0.0.1:{port}/lab/tree/page.ipynb?token={token}&reset'
    finally:
        server.terminate()
        try: server.wait(15)
        except subprocess.TimeoutExpired: server.kill()
        log.close()


@contextlib.contextmanager
def open_browser(profile: Path) -> Iterator:
    "A headless Chromium that draws WebGL in software."
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--use-gl=angle',
                     '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--window-size=1000,1100',
                     '--force-device-scale-factor=1', '--no-proxy-server',
                     f'--user-data-dir={profile}'): options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_window_size(1000, 1100)
    try: yield driver
    finally: driver.quit()


def run_notebook(browser, address: str) -> None:
    "Open a notebook and run it."
    browser.get(address)
    kernel = "return window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
    wait(lambda: browser.execute_script(kernel) == 'idle', what='the kernel')
    browser.execute_script("void jupyterapp.commands.execute('notebook:run-all-cells')")


def keep(browser, name: str) -> None:
    "Save a picture of the page where somebody asked for it."
    if (folder := os.environ.get('ARGUS_SCREENSHOTS')): browser.save_screenshot(str(Path(folder)/f'{name}.png'))
