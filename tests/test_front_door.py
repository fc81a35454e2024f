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


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lok'"): argus_nb.lok
