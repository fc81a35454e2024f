"The site: its order is the index's, its links lead somewhere, and nothing is fetched from elsewhere."
import json, re, shutil, subprocess, sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WANTED = [name for name in ('mkdocs', 'material', 'mkdocs_jupyter', 'latex2mathml') if find_spec(name) is None]


@pytest.fixture(scope='module')
def docs():
    "The script as a module."
    spec = spec_from_file_location('make_docs', ROOT/'scripts'/'make_docs.py')
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


def test_every_notebook_has_one_place_in_the_navigation(docs):
    groups = docs.navigation(json.loads((ROOT/'nbs'/'index.ipynb').read_text()))
    pages = [path for _, pages in groups for _, path in pages]
    there = {p.relative_to(ROOT/'nbs').as_posix() for p in docs.own_notebooks()}
    assert sorted(pages) == sorted(there - {'index.ipynb'})
    assert [group for group, _ in groups] == ['First', 'Edges', 'Pixels', 'Cameras and worlds',
                                            'Where the camera looked', 'Generating', 'Training', 'Judging', 'Films',
                                            'Full size', 'For people', 'Experiments']


@pytest.mark.parametrize('page, target, wanted', [
    ('10_sphere.ipynb', '14_projection.ipynb', '14_projection.html'),
    ('10_sphere.ipynb', '14_projection.ipynb#cubes', '14_projection.html#cubes'),
    ('tables/nano.ipynb', '../48_pipeline.ipynb', '../48_pipeline.html'),
    ('tables/nano.ipynb', '../images/a.jpg', '../images/a.jpg'),
    ('index.ipynb', 'https://arxiv.org/abs/2504.07940', 'https://arxiv.org/abs/2504.07940'),
    ('index.ipynb', '#two-commands', '#two-commands')])
def test_links_of_notebooks_become_links_of_pages(docs, page, target,
                                                  wanted): assert docs.page_link(target, page) == wanted


def test_a_file_outside_the_notebooks_is_read_in_the_repository(docs):
    assert docs.page_link('../LICENSE', 'index.ipynb') == f'{docs.repository()}/LICENSE'


def test_names_lead_to_their_reference_and_code_stays_as_it_is(docs):
    symbols = {'panorama_rays': 'api/sphere.html#panorama_rays'}
    text = 'Call `panorama_rays()`, `other`, [`panorama_rays`](x.ipynb).\n```\n`panorama_rays` costs 3$ or 4$\n```'
    assert docs.page_text(text, 'tables/nano.ipynb',
                          symbols) == ('Call [`panorama_rays()`](../api/sphere.html#panorama_rays), `other`, '
                                       '[`panorama_rays`](x.html).\n'
                                                                  '```\n`panorama_rays` costs 3$ or 4$\n```')


@pytest.mark.skipif(find_spec('latex2mathml') is None, reason='latex2mathml is not installed: make docs does that')
def test_formulas_are_drawn_without_scripts(docs):
    text = docs.page_text('where $x^2$ and\n\n$$\\frac{a}{b}$$', 'index.ipynb', {})
    assert text.count('<math') == 2 and 'display="block"' in text and '$' not in text


def test_what_a_cell_shows_as_markdown_has_the_links_of_its_page(docs):
    shown = dict(output_type='display_data', data={'text/markdown': ['see [here](../48_pipeline.ipynb)']})
    cell = dict(cell_type='code', source='', outputs=[shown])
    docs.on_page(cell, 'tables/nano.ipynb', {})
    assert cell['outputs'][0]['data']['text/markdown'] == 'see [here](../48_pipeline.html)'


def test_a_cell_of_imports_is_folded_and_others_stay(docs):
    cell = lambda source, **more: dict(cell_type='code', id='a', source=source, **more)
    imports = 'import json\nimport math\nfrom pathlib import Path\nimport torch'
    text = docs.folded(cell(imports))
    assert text['cell_type'] == 'markdown' and text['source'].startswith('<details>') and imports in text['source']
    for other in (cell('import json'), cell(imports + '\nprint(1)'), cell(imports, outputs=[1]), cell('%magic'),
                  dict(cell_type='markdown', id='b', source='import json')):
        assert docs.folded(other) is other


def test_being_called_comes_first_in_the_reference(docs):
    class Thing:
        def other(self): "Does something."
        def __call__(self): "Does the thing."
        def _hidden(self): "Nothing for users."
    assert docs.own_methods(Thing) == ['__call__', 'other']


def test_a_notebook_of_the_readers_own_stays_out_of_the_site(docs, tmp_path):
    if not shutil.which('git'): pytest.skip('no git here')
    for name in ('ours.ipynb', 'theirs.ipynb'): (tmp_path/name).write_text('{}')
    for words in (['init', '-q'], ['add', 'ours.ipynb']): subprocess.run(['git', *words], cwd=tmp_path, check=True)
    assert [path.name for path in docs.own_notebooks(tmp_path)] == ['ours.ipynb']


def formulas(docs, path: Path) -> list[str]:
    "The TeX in the markdown cells of a notebook, code left out."
    cells = [''.join(cell['source']) for cell in json.loads(path.read_text())['cells']
             if cell['cell_type'] == 'markdown']
    return [m['block'] or m['inline'] for cell in cells for part in docs.CODE.split(cell)[::2]
            for m in docs.FORMULA.finditer(part)]


def test_no_page_has_two_headings_of_one_name(docs):
    "Anchors of the second would be called otherwise by those who make the page and those who make its contents."
    for path in docs.own_notebooks():
        cells = [''.join(cell['source']) for cell in json.loads(path.read_text())['cells']
                 if cell['cell_type'] == 'markdown']
        headings = [line.lstrip('# ').lower() for cell in cells
                    for line in re.sub(r'```.*?```', '', cell, flags=re.DOTALL).splitlines() if line.startswith('#')]
        twice = {heading for heading in headings if headings.count(heading) > 1}
        assert not twice, f'{path.name}: {twice}'


def test_citations_of_the_method_resolve():
    cells = json.loads((ROOT/'nbs'/'03_method.ipynb').read_text())['cells']
    sections = re.findall(r'^## (\d+)\.', '\n'.join(''.join(cell['source']) for cell in cells), re.MULTILINE)
    cited = {number for path in (ROOT/'argus_nb').glob('*.py')
             for number in re.findall(r'`03_method`, section (\d+)', path.read_text())}
    assert cited and cited <= set(sections)
    assert not [path.name for path in (ROOT/'argus_nb').glob('*.py') if 'SPEC section' in path.read_text()]


def test_no_formula_has_doubled_backslashes(docs):
    "Before a letter two backslashes are a line break and a word, where a command was meant."
    doubled = [f'{path.name}: {tex}' for path in docs.own_notebooks() for tex in formulas(docs, path)
               if re.search(r'\\\\(?!(?:begin|end)\b)[A-Za-z]', tex)]
    assert not doubled, '\n'.join(doubled)


@pytest.mark.skipif(find_spec('latex2mathml') is None, reason='latex2mathml is not installed: make docs does that')
def test_every_formula_can_be_drawn(docs):
    for path in docs.own_notebooks():
        for tex in formulas(docs, path):
            assert '<math' in docs.drawn(re.match(r'(?P<block>.+)(?P<inline>)', tex, re.DOTALL)), f'{path.name}: {tex}'


def test_the_checker_finds_what_leads_nowhere(docs, tmp_path):
    (tmp_path/'a.html').write_text('<h1 id="top">A</h1><a href="b.html#here">b</a> <a href="#top">up</a> <a '
                                   'href="https://example.org">out</a><img src="data:image/png;base64,xx">')
    (tmp_path/'b.html').write_text('<p id="here">B</p><a href="a.html">a</a>')
    assert docs.broken_links(tmp_path) == []
    (tmp_path/'b.html').write_text('<a href="c.html">c</a><a href="a.html#bottom">a</a><img src="lost.png"><script '
                                   'src="https://example.org/x.js"></script>')
    assert docs.broken_links(tmp_path) == ['a.html: b.html#here has no such anchor', 'b.html: c.html is not there',
                                           'b.html: a.html#bottom has no such anchor',
                                           'b.html: lost.png is not there', 'b.html loads https://example.org/x.js']


@pytest.mark.slow
@pytest.mark.skipif(bool(WANTED), reason=f"{', '.join(WANTED)} not installed: make docs does that")
def test_the_whole_site_builds_every_link_leads_somewhere_and_formulas_are_drawn(docs):
    done = subprocess.run([sys.executable, 'scripts/make_docs.py'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ' 0 broken links' in done.stdout and (ROOT/'_docs'/'api'/'projection.html').exists()
    for path in docs.own_notebooks():
        page = (ROOT/'_docs'/path.relative_to(ROOT/'nbs')).with_suffix('.html').read_text(encoding='utf-8')
        assert page.count('<math') >= len(formulas(docs, path)), f'{path.name} shows fewer formulas than it has'
        for drawing in re.findall(r'<math.*?</math>', page, re.DOTALL):
            assert '\\' not in re.sub(r'<annotation.*?</annotation>', '', drawing,
                                      flags=re.DOTALL), f'{path.name}: {drawing[:300]}'
