"What people type first: names at the top of the package, without the import costing more than Python's own."
import subprocess, sys
from pathlib import Path

import argus_nb, pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('name', argus_nb.__all__)
def test_names_at_the_top_are_the_things_themselves(name):
    thing = getattr(argus_nb, name)
    assert callable(thing) and thing.__name__ == name and name in dir(argus_nb)


def test_names_stay_what_they_are_when_modules_are_imported():
    from argus_nb import look, looking
    assert callable(look) and look is argus_nb.look and callable(looking.look_video)


def test_the_package_itself_imports_nothing_heavy():
    code = "import argus_nb, sys; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'diffusers')))"
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize('name', ['look', 'load_cameras', 'estimate_cameras'])
def test_what_needs_no_network_imports_no_library_of_networks(name):
    heavy = "('diffusers', 'transformers', 'torchvision', 'torch._dynamo')"
    code = f'from argus_nb import {name}; import sys; sys.exit(any(module in sys.modules for module in {heavy}))'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lok'"): argus_nb.lok


def test_make_lab_opens_the_page_to_start_with():
    assert 'jupyter lab nbs/start_here.ipynb' in (ROOT/'Makefile').read_text()


@pytest.mark.parametrize('own', [False, True])
def test_the_page_to_start_with_runs_on_the_demo_and_on_an_own_clip_and_replaces_nothing(own, tiny, tmp_path,
                                                                                         monkeypatch):
    import json, matplotlib
    from argus_nb.services import film_demo
    matplotlib.use('agg')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    generate = argus_nb.generate_video
    monkeypatch.setattr(argus_nb, 'generate_video', lambda *files, **told: generate(*files, model=str(tiny), steps=1,
                                                                                     **told), raising=False)
    clip = film_demo(tmp_path/'my_clip.mp4', 3, .5, (96, 128), 8) if own else ''
    before, known = clip and clip.read_bytes(), dict(clip=str(clip))
    for cell in json.loads((ROOT/'nbs'/'start_here.ipynb').read_text())['cells']:
        code = '\n'.join(line for line in ''.join(cell['source']).splitlines() if 'matplotlib_inline' not in line
                         and not line.startswith(('clip = \'\'', 'set_matplotlib_formats')))
        if cell['cell_type'] == 'code': exec(code.replace('seconds = 3 ', 'seconds = .5 '), known)
    assert known['film'].parent == Path(known['clip']).parent and known['film'].stem.endswith('_around')
    assert known['left'].is_file() and known['film'].is_file()
    if own: assert clip.read_bytes() == before
    with pytest.raises(argus_nb.edges.InputError, match='exists already'):
        known['generate_video'](known['clip'], known['film'])
