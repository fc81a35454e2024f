"""The repository as a house: nothing private in it, nothing too big, everything typed, every promised name in place."""
import ast, importlib, inspect, io, json, re, subprocess, sys, tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for p in (ROOT/'argus_nb').rglob('*.py') if not p.name.startswith('_'))
TEXT = {'.py', '.ipynb', '.md', '.txt', '.ini', '.json', '.toml', '.yml', '.yaml', '.cfg', ''}
MACHINE_PATH = re.compile(r'(?<![\w.:/])/(?:home|root|work|tmp|Users)/[\w.]')
LARGEST_KB, LARGEST_WEIGHTS_KB, ALL_WEIGHTS_KB, ALL_PANORAMAS_KB = 1000, 60_000, 60_000, 24_000


def tracked_files() -> list[Path]:
    "What git knows; without git (an unpacked archive), what lies in the folders of the project."
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split('\0') if listed.returncode == 0 else \
        [str(p.relative_to(ROOT)) for folder in ('argus_nb', 'nbs', 'scripts', 'tests', 'results')
         for p in (ROOT/folder).rglob('*') if '__pycache__' not in p.parts]
    return [ROOT/name for name in names if name and (ROOT/name).is_file()]


FILES = tracked_files()
def name_of(path: Path) -> str: return str(path.relative_to(ROOT))


# --- Files ---------------------------------------------------------------------------------------------------------

def test_no_text_names_a_place_on_somebodys_machine():
    for path in FILES:
        if path.suffix not in TEXT or path == Path(__file__): continue
        found = MACHINE_PATH.search(path.read_text(encoding='utf-8'))
        assert not found, f'{name_of(path)} names a place on a machine: {found[0]!r}'


def test_no_file_is_too_big():
    for path in FILES:
        limit = LARGEST_WEIGHTS_KB if path.suffix == '.safetensors' else LARGEST_KB
        kilobytes = path.stat().st_size//1000
        assert kilobytes <= limit, f'{name_of(path)} has {kilobytes} KB, more than {limit}'


@pytest.mark.parametrize('folder, limit', [('argus_nb/nano', ALL_WEIGHTS_KB), ('argus_nb/panoramas', ALL_PANORAMAS_KB)])
def test_what_ships_in_the_package_stays_small(folder, limit):
    total = sum(path.stat().st_size for path in FILES if (ROOT/folder) in path.parents)
    assert total <= limit*1000, f'{folder} has {total//1000} KB'


def test_weights_come_as_safetensors_only():
    pickled = [name_of(path) for path in FILES if path.suffix in {'.pt', '.pth', '.pkl', '.bin', '.ckpt'}]
    assert not pickled, f'pickled files in the repository: {pickled}'


def test_links_between_notebooks_lead_somewhere():
    def links(path):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        return re.findall(r'\]\(([^)#\s]+\.ipynb)', '\n'.join(''.join(c['source']) for c in cells
                                                             if c['cell_type'] == 'markdown'))
    notebooks = [*(ROOT/'nbs').glob('*.ipynb'), *(ROOT/'nbs'/'experiments').glob('*.ipynb')]
    lost = [f'{path.name}: {link}' for path in notebooks for link in links(path)
            if not link.startswith('http') and not (path.parent/link).exists()]
    assert not lost


def test_the_readme_links_to_what_is_there():
    links = re.findall(r'\]\((?![a-z]+:|#)([^)\s]+)', (ROOT/'README.md').read_text(encoding='utf-8'))
    lost = [link for link in links if not (ROOT/link.partition('#')[0]).exists()]
    assert not lost, f'README.md points to what is not there: {lost}'


# --- Source --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path', [p for p in FILES if p.suffix == '.py'], ids=name_of)
def test_no_star_imports(path):
    stars = [node.lineno for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
             if isinstance(node, ast.ImportFrom) and any(alias.name == '*' for alias in node.names)]
    assert not stars, f'{name_of(path)} imports * in line {stars}'


def test_ruff_finds_nothing():
    "Names that are not there, bugs by pattern and long lines; what is looked at stands in pyproject.toml."
    pytest.importorskip('ruff')
    found = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--quiet', '--output-format', 'concise', '.'],
                           cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_types_fit():
    pytest.importorskip('mypy')
    found = subprocess.run([sys.executable, '-m', 'mypy'], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_what_jupyter_adds_to_a_notebook_is_not_seen_by_git():
    "The filter of `make hooks` takes away what JupyterLab writes, and leaves clean notebooks as they are."
    def seen(text): return subprocess.run([sys.executable, 'scripts/make_clean.py'], cwd=ROOT, input=text,
                                          capture_output=True, encoding='utf-8', check=True).stdout
    sys.path.insert(0, str(ROOT/'scripts'))
    try: from make_clean import clean
    finally: del sys.path[0]
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        text = path.read_text(encoding='utf-8')
        assert json.dumps(clean(json.loads(text)), sort_keys=True, indent=1, ensure_ascii=False) + '\n' == text, path
    text = (ROOT/'nbs'/'00_edges.ipynb').read_text(encoding='utf-8')
    assert seen(text) == text
    notebook = json.loads(text)
    notebook['metadata'] = {'kernelspec': {'display_name': 'Python 3 (ipykernel)', 'language': 'python',
                                           'name': 'python3'}, 'language_info': {'name': 'python', 'version': '3.11.7'}}
    for n, cell in enumerate(cell for cell in notebook['cells'] if cell['cell_type'] == 'code'):
        cell['execution_count'], cell['metadata'] = n, {'execution': {'iopub.status.busy': 'now'}}
    assert seen(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n') == text


def is_patch(node: ast.FunctionDef) -> bool:
    "Whether a function is a method that fastcore's `@patch` adds to a class of an earlier cell."
    return any('patch' in ast.unparse(decorator) for decorator in node.decorator_list)


def public_functions(tree: ast.Module, exported: set[str]) -> list[ast.FunctionDef]:
    "Exported functions, and the public methods that are patched into classes."
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith('_')
            and (node.name in exported or is_patch(node))]


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    "The named parameters of a function, without self."
    spec = function.args
    return [a for a in spec.posonlyargs + spec.args + spec.kwonlyargs if a.arg not in ('self', 'cls')]


def lines_with_comment(source: str) -> set[int]:
    "The numbers of the lines that carry a comment."
    return {t.start[0] for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT}


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_every_public_function_says_what_it_takes_and_gives(path):
    source = path.read_text(encoding='utf-8')
    tree, commented = ast.parse(source), lines_with_comment(source)
    module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    exported, missing = set(importlib.import_module(module).__all__), []
    for function in public_functions(tree, exported):
        called = function.name
        if not ast.get_docstring(function): missing.append(f'{called}: no docstring')
        if function.returns is None: missing.append(f'{called}: no return type')
        for argument in parameters(function):
            if argument.annotation is None: missing.append(f'{called}: {argument.arg} has no type')
            if argument.lineno not in commented: missing.append(f'{called}: {argument.arg} has no docment')
    assert not missing, '\n'.join([f'{path.name}:', *missing])


# --- Promises ------------------------------------------------------------------------------------------------------

# Names that other code may rely on, with their parameters: those without `=` come first and in this order, those with
# `=` have a default, and whatever else a function takes has a default too. A name alone promises no more than itself.
PROMISED = {
    'edges': ['InputError', 'check(condition, message)', 'write_beside(path)', 'save_json(path, record)'],
    'request': ['GenerationRequest(input, output, model=, cameras=, static=, fov=, seed=, start=, seconds=)'],
    'runtime': ['InputError', 'check(condition, message)', 'check_shape(name, tensor, pattern)', 'pick_device(name=)',
                'make_generator(seed, device=)', 'write_beside(path)', 'save_json(path, record)'],
    'sphere': ['rotation_from_euler(yaw, pitch, roll)', 'euler_from_rotation(rotation)',
               'panorama_rays(height, width, ...)',
               'perspective_rays(height, width, fov_x, fov_y=, principal_point=, ...)', 'rotation_angle(rotation)'],
    'projection': [
        'perspective_to_panorama(frames, world_from_camera, fov_x, size, *, fov_y=, principal_point=, mode=, '
        'antialias=)',
        'panorama_to_perspective(panorama, world_from_camera, fov_x, size, *, fov_y=, principal_point=, mode=, '
        'antialias=)',
        'rotate_panorama(panorama, rotation, ...)', 'panorama_to_cubemap(panorama, face_size, ...)',
        'cubemap_to_panorama(faces, size, ...)'],
    'video': ['read_video(path, ...)', 'write_video(path, frames, fps, spherical=, audio_from=, ...)',
              'video_info(path)', 'Video'],
    'cameras': ['CameraTrack(world_from_camera, fov_x, fov_y=, principal_point=, ...)', 'load_cameras(path, ...)'],
    'motion': ['simulate_motion(num_frames, fps, generator, ...)'],
    'worlds': ['random_world(seed, ...)', 'panorama_names(split=)', 'load_panorama(name)'],
    'tracking': ['estimate_cameras(frames, fps, fov_x=, ...)'],
    'alignment': ['align_frames(frames, cameras, size, ...)', 'paste_frames(panorama, frames, cameras, ...)'],
    'loss': ['latitude_weights(height, kind=, delta=, ...)', 'edm_loss'],
    'models': ['build_models', 'load_models', 'save_models'],
    'decoding': ['decode(vae, latents, seam=, chunk=, ratio=)'],
    'pipeline': ['ArgusPipeline'],
    'generate': ['generate_video(input, output, *, model=, cameras=, static=, fov=, seed=, start=, seconds=)'],
    'metrics': ['PSNR', 'SSIM', 'STLPIPS', 'Detail', 'FrechetDistance', 'SeamDiscontinuity', 'bootstrap(values, ...)'],
    'experiments.reproduce': ['list_experiments(...)', 'reproduce(name, work=, quick=)'],
    'cli': ['main(...)'],
}


def promised(text: str) -> tuple[str, list[str], list[str]]:
    "'f(a, *, b=)' as its name, what it asks for, and what it can be told."
    name, _, rest = text.partition('(')
    words = [word for word in re.split(r'[\s,]+', rest.rstrip(')')) if word not in ('', '*', '...')]
    return name, [word for word in words if word[-1] != '='], [word[:-1] for word in words if word[-1] == '=']


@pytest.mark.parametrize('module', PROMISED)
def test_promised_names_are_there(module):
    imported = importlib.import_module(f'argus_nb.{module}')
    for text in PROMISED[module]:
        name, asked, optional = promised(text)
        target = getattr(imported, name, None)
        assert target is not None and name in imported.__all__, f'argus_nb.{module} does not export {name}'
        if '(' not in text: continue
        found = inspect.signature(target).parameters
        needed = [n for n, p in found.items() if p.default is p.empty
                  and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        assert needed == asked, f'{module}.{name} asks for {needed}, promised {asked}'
        assert set(optional) <= set(found), f'{module}.{name} takes {list(found)}, promised {optional}'


def test_the_pipeline_has_the_promised_methods():
    pipeline = importlib.import_module('argus_nb.pipeline').ArgusPipeline
    for method in ('from_pretrained', '__call__', 'stream'): assert callable(getattr(pipeline, method))


def test_geometry_never_imports_the_network():
    "One process for all of it: starting PyTorch is what takes the time."
    modules = ('sphere', 'projection', 'video', 'cameras', 'motion', 'worlds', 'photographs', 'tracking', 'alignment',
               'loss')
    code = f"""import importlib, sys
for module in {modules}:
    importlib.import_module(f'argus_nb.{{module}}')
    found = {{name.split('.')[0] for name in sys.modules}} & {{'diffusers', 'transformers'}}
    if found: sys.exit(f'{{module}} imports {{found}}')"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_edges_import_nothing_but_python():
    "What the command line needs before it knows whether there is work."
    code = ("import sys, argus_nb.request, argus_nb.cli; "
            "sys.exit(', '.join({'torch', 'numpy', 'av'} & set(sys.modules)) or 0)")
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_choices_stand_once():
    from argus_nb import decoding, edges
    assert decoding.SEAMS is edges.SEAM.names
