"""What every test file shares: the `slow` mark and the real footage."""
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEDIA = ROOT.parent/'shared'/'media'  # footage that is not ours to ship; tests that want it skip where it is absent


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='also run the tests marked slow')


def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: takes more than a few seconds; runs with --slow (make test-all)')


def pytest_collection_modifyitems(config, items):
    if config.getoption('--slow'): return
    for item in items:
        if 'slow' in item.keywords: item.add_marker(pytest.mark.skip(reason='slow: pytest --slow'))


@pytest.fixture
def media() -> Path:
    "The folder of real footage beside the checkout."
    if not MEDIA.is_dir(): pytest.skip('no shared media beside this checkout')
    return MEDIA


@pytest.fixture(scope='session')
def tiny(tmp_path_factory) -> Path:
    "A folder with a model of random weights."
    import torch
    from argus_nb.models import build_models, save_models
    torch.manual_seed(0)
    save_models(build_models('tiny'), folder := tmp_path_factory.mktemp('tiny'))
    return folder
