"""Every notebook is clean, in order, and says exactly what the package says."""
import ast, json, re, shutil, subprocess, sys
from functools import cache
from pathlib import Path

import pytest
from execnb.nbio import dict2nb, nb2str
from nbdev.clean import clean_nb

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb')
                   if not any(part.startswith(('.', '_')) for part in p.parts[len(ROOT.parts):]))
MODULES = sorted(p for p in (ROOT/'argus_nb').rglob('*.py') if not p.name.startswith('_'))
LARGEST_KB = 500

# What must not stand in a stored output, and how to call it. Each reader has another machine and another clock.
UNWELCOME = {
    'an absolute path': re.compile(r'(?<![\w.:/])/(?:home|root|tmp|work|usr|mnt|Users)/'),
    'an address in memory': re.compile(r'\bat 0x[0-9a-f]{6,}'),
    'a progress bar': re.compile(r'\d+%\s*\||\d+(?:\.\d+)?\s*(?:it/s|s/it)\b|\r(?!\n)'),
    'a timing': re.compile(r'Wall time|CPU times|per loop \(mean'),
    'an address': re.compile(r'\b(?:localhost|127\.0\.0\.1)\b'),
}


def name_of(path: Path) -> str: return path.stem
def dotted(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT/'argus_nb').with_suffix('').parts)  # 'experiments.seams'
def cells_of(path: Path) -> list[dict]: return json.loads(path.read_text(encoding='utf-8'))['cells']
def source_of(cell: dict) -> str: return ''.join(cell['source'])


def text_outputs(cell: dict) -> str:
    "What a code cell printed, returned or raised, as one text."
    parts = []
    for output in cell.get('outputs', []):
        parts += [output.get('text', ''), output.get('traceback', '')]
        parts += [text for kind, text in output.get('data', {}).items() if kind.startswith('text/')]
    return '\n'.join(''.join(part) for part in parts)


def module_of(path: Path) -> str|None:
    "The module that a notebook exports to, from its `#| default_exp`."
    names = [m[1] for cell in cells_of(path) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', source_of(cell),
                                                                re.MULTILINE))]
    assert len(names) <= 1, f'{path.name} has {len(names)} default_exp directives'
    return names[0] if names else None


def number_of(path: Path) -> int|None:
    "The number in front of a notebook's name; None for the index."
    match = re.match(r'(\d\d)_', path.name)
    return int(match[1]) if match else None


# Experiments have no numbers: they may import from anything, and nothing but the command line imports from them, which
# needs their list; the list itself imports nothing.
LIST, LAST = 'experiments.reproduce', 100
NUMBERS = {module: 67 if module == LIST else LAST if number_of(path) is None else number_of(path)
           for path in NOTEBOOKS if (module := module_of(path))}


def imported_modules(source: str, package: str = 'argus_nb') -> set[str]:
    "Modules of this project that a piece of Python in a package imports, absolutely or relatively, anywhere in it."
    source = re.sub(r'^\s*[%!].*$', '', source, flags=re.MULTILINE)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base, parts = node.module or '', package.split('.')
            if node.level: base = '.'.join([*parts[:len(parts) + 1 - node.level], base])
            names = [f"{base.rstrip('.')}.{alias.name}" for alias in node.names]
        else: continue
        found |= {'.'.join(name.split('.')[1:1 + n]) for name in names if name.startswith('argus_nb.') for n in (1, 2)}
    return found & set(NUMBERS)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_notebook_is_clean(path):
    text = path.read_text(encoding='utf-8')
    notebook = dict2nb(json.loads(text))
    clean_nb(notebook)
    clean, kilobytes = nb2str(notebook) == text, len(text.encode())//1000
    assert clean, f'{path.name} carries execution counts or metadata: run `make clean-notebooks`'
    assert kilobytes <= LARGEST_KB, f'{path.name} has {kilobytes} KB'
    ids = [cell.get('id') for cell in cells_of(path)]
    assert None not in ids and len(set(ids)) == len(ids), f'{path.name} has missing or repeated cell ids'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_outputs_are_fit_to_keep(path):
    for cell in cells_of(path):
        where = f"{path.name}, cell {cell['id']}"
        for output in cell.get('outputs', []):
            assert output['output_type'] != 'error', f'{where} stopped with an error'
            assert output.get('name') != 'stderr', f'{where} keeps what it wrote to stderr'
        for called, pattern in UNWELCOME.items():
            found = pattern.search(text_outputs(cell))
            assert not found, f'{where} shows {called}: {found[0]!r}'


@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if p.stem != 'index'], ids=name_of)
def test_notebook_begins_as_all_do(path):
    first = cells_of(path)[0]
    assert first['cell_type'] == 'markdown' and re.match(r'# .+\n+> .+', source_of(first)), \
        f'{path.name} does not open with a title and one quoted line'


def test_no_two_notebooks_share_a_number():
    numbers = [path.name[:2] for path in sorted((ROOT/'nbs').glob('[0-9][0-9]_*.ipynb'))]
    assert len(numbers) > 60 and numbers == sorted(set(numbers))


@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if number_of(p) is not None and p.parent.name == 'nbs'],
                         ids=name_of)
def test_imports_only_point_to_lower_numbers(path):
    number = number_of(path)
    for cell in cells_of(path):
        if cell['cell_type'] != 'code' or re.search(r'^\s*%%', source_of(cell)): continue
        for name in imported_modules(source_of(cell)):
            own = name == module_of(path)
            where = f"{path.name}, cell {cell['id']}"
            assert own or NUMBERS[name] < number, f'{where} imports {name}, which is notebook {NUMBERS[name]}'


@cache
def names_in(module: str) -> set[str]:
    "What a module defines or imports at its top level, and its submodules."
    path = ROOT/'argus_nb'/module.replace('.', '/')
    path = path/'__init__.py' if path.is_dir() else path.with_suffix('.py')
    found = {p.stem for p in path.parent.glob('*')} if path.name == '__init__.py' else set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split('.')[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): found.add(node.id)
    return found


@pytest.mark.parametrize('path', [*NOTEBOOKS, *sorted((ROOT/'tests').glob('*.py')),
                                  *sorted((ROOT/'scripts').glob('*.py'))], ids=name_of)
def test_whatever_is_imported_is_there(path):
    "Cells that are not evaluated import, too."
    sources = [path.read_text(encoding='utf-8')] if path.suffix == '.py' else \
        [source_of(cell) for cell in cells_of(path) if cell['cell_type'] == 'code']
    for source in sources:
        source = '\n'.join(line for line in source.splitlines() if not re.match(r'\s*[%!]', line))
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or '').startswith('argus_nb.'): continue
            missing = {alias.name for alias in node.names} - names_in(node.module.removeprefix('argus_nb.')) - {'*'}
            assert not missing, f'{path.name}: {node.module} has no {", ".join(sorted(missing))}'


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_module_imports_only_point_to_lower_numbers(path):
    package = '.'.join(['argus_nb', *dotted(path).split('.')[:-1]])
    for name in imported_modules(path.read_text(encoding='utf-8'), package):
        between_experiments = NUMBERS[name] == NUMBERS[dotted(path)] == LAST
        assert between_experiments or NUMBERS[name] < NUMBERS[dotted(path)], \
            f'{path.name} imports {name}, which comes later'


def test_imports_are_found_in_nested_modules():
    nested = ('from ..data import Pair\nfrom .main import run\nfrom argus_nb.experiments.nano import line\n'
              'import argus_nb.sphere\n')
    assert imported_modules(nested, 'argus_nb.experiments') == {'data', 'experiments.main', 'experiments.nano',
                                                                'sphere'}
    flat = 'from .data import Pair\nfrom .experiments.reproduce import list_experiments'
    assert imported_modules(flat) == {'data', LIST}


def test_every_module_has_its_notebook_and_every_notebook_its_module():
    exported = [module_of(path) for path in NOTEBOOKS if module_of(path)]
    assert len(exported) == len(set(exported)), 'two notebooks write one module'
    assert sorted(exported) == sorted(map(dotted, MODULES))
    for path in NOTEBOOKS:
        if not (module := module_of(path)): continue
        is_room = path.parent.name == 'nbs'
        wanted = f'{number_of(path):02}_{module}' if is_room else module.removeprefix(f'{path.parent.name}.')
        assert path.stem == wanted, f'{path.name} writes {module}.py'


def test_exporting_changes_nothing(tmp_path):
    shutil.copy(ROOT/'settings.ini', tmp_path)
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs', ignore=shutil.ignore_patterns('.*', '_*', 'images'))
    (tmp_path/'argus_nb').mkdir()
    for name in ('__init__.py', '__main__.py'): shutil.copy(ROOT/'argus_nb'/name, tmp_path/'argus_nb')  # by hand
    export = 'from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__()'
    subprocess.run([sys.executable, '-c', export], cwd=tmp_path, check=True, timeout=120)
    ours, fresh = ({str(p.relative_to(folder)): p.read_text(encoding='utf-8')
                    for p in (folder/'argus_nb').rglob('*.py')} for folder in (ROOT, tmp_path))
    assert sorted(ours) == sorted(fresh)
    stale = [name for name in ours if ours[name] != fresh[name]]
    assert not stale, f"{', '.join(stale)} not as the notebooks have it: run `make export`"


def test_readme_is_fresh():
    check = subprocess.run([sys.executable, ROOT/'scripts'/'make_readme.py', '--check'], capture_output=True,
                           text=True, timeout=60)
    assert check.returncode == 0, check.stderr
