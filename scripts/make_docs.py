#!/usr/bin/env python3
"""Build the documentation site in _docs from the notebooks, and check every link in it.

    python scripts/make_docs.py

The notebooks that belong to the repository go through nbdev's processors (hidden cells and directives disappear) and
are rendered by mkdocs-material and mkdocs-jupyter as they are stored; nothing is executed, and a reader's own notebook
beside them stays out. Unlike nbdev's own pages these keep the code of what is
exported: it is what the notebooks explain. Each module gets a reference page from its docments; names in backticks lead
there, and links between notebooks become links between pages. Formulas become MathML, which browsers draw without
scripts. Order and groups are those of the table in nbs/index.ipynb. No page loads anything from another host.
"""
import ast, html, importlib, inspect, json, posixpath, re, shutil, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

ROOT = Path(__file__).resolve().parents[1]
PAGES, SITE = ROOT/'_proc', ROOT/'_docs'
ROW = re.compile(r'^\|\s*(?:\*(?P<group>[^*]+)\*)?\s*\|\s*\[(?P<title>[^\]]+)\]\((?P<path>[^)]+\.ipynb)\)',
                 re.MULTILINE)
CODE = re.compile(r'(```.*?```|`[^`\n]+`)', re.DOTALL)
LINK = re.compile(r'(\]\()([^)\s]+)(\))')
FORMULA = re.compile(r'\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?!\s)(?P<inline>[^$\n]+?)(?<!\s)\$', re.DOTALL)
FETCHING = dict(script='src', img='src', iframe='src', source='src', video='src', audio='src', embed='src')

# what is wider than the page is scrolled inside of it
WIDE = '''.jupyter-wrapper table, .md-typeset table:not([class]) { display: block; max-width: 100%; overflow-x: auto; }
.jupyter-wrapper pre, .md-typeset pre { max-width: 100%; overflow-x: auto; white-space: pre; }
.jupyter-wrapper img { max-width: 100%; height: auto; }
'''

def text_of(cell: dict) -> str: return ''.join(cell['source'])

def navigation(index: dict) -> list[tuple[str, list[tuple[str, str]]]]:
    "Groups of (title, path) in the order of the index's table."
    groups = []
    for row in ROW.finditer('\n'.join(text_of(cell) for cell in index['cells'] if cell['cell_type'] == 'markdown')):
        if row['group']: groups.append((row['group'], []))
        groups[-1][1].append((row['title'], row['path']))
    return groups

def modules(notebooks: list[Path]) -> dict[str, str]:
    "Module -> path of the notebook that exports it."
    found = {}
    for path in notebooks:
        names = re.findall(r'^#\|\s*default_exp\s+([\w.]+)',
                           '\n'.join(map(text_of, json.loads(path.read_text())['cells'])), re.MULTILINE)
        found |= {name: path.relative_to(ROOT/'nbs').as_posix() for name in names}
    return found

def own_notebooks(folder: Path = ROOT/'nbs') -> list[Path]:
    "The notebooks that git knows; without git (an unpacked archive) all that lie there."
    listed = subprocess.run(['git', 'ls-files', '-z', '--', str(folder)], cwd=folder, capture_output=True, text=True)
    known = {Path(name).resolve() for name in (folder/n for n in listed.stdout.split('\0') if n)}
    there = sorted(p for p in folder.rglob('*.ipynb')
                   if not any(part.startswith('.') for part in p.relative_to(folder).parts))
    return [p for p in there if p.resolve() in known] if listed.returncode == 0 else there

def repository() -> str:
    "Where files that are no pages can be read."
    from configparser import ConfigParser
    settings = ConfigParser(delimiters=['='], interpolation=None); settings.read(ROOT/'settings.ini')
    return f"{settings['DEFAULT']['git_url']}/blob/{settings['DEFAULT']['branch']}"

# --- Text of a page -----------------------------------------------------------------------------------------------

def page_link(target: str, page: str) -> str:
    "A link of a notebook as a link of its page."
    if re.match(r'[a-z]+:|#|/', target): return target
    path, anchor = urldefrag(target)
    whole = posixpath.normpath(posixpath.join('nbs', posixpath.dirname(page), path))
    if not whole.startswith('nbs/'): return f'{repository()}/{whole}'
    return re.sub(r'\.ipynb$', '.html', path) + (f'#{anchor}' if anchor else '')

def drawn(match: re.Match) -> str:
    "A formula as MathML."
    from latex2mathml.converter import convert
    return convert(match['block'] or match['inline'], display='block' if match['block'] else 'inline')

def named(code: str, page: str, symbols: dict[str, str]) -> str:
    "A name in backticks with a link to what it names."
    name = code.strip('`').removesuffix('()')
    if code.startswith('```') or name not in symbols: return code
    return f'[{code}]({posixpath.relpath(symbols[name], posixpath.dirname(page) or ".")})'

def page_text(markdown: str, page: str, symbols: dict[str, str]) -> str:
    "A markdown cell with links that lead on, names that lead to their reference, and formulas as MathML."
    # tables of contents stumble over code
    markdown = re.sub(r'^#+ .*$', lambda m: m[0].replace('`', ''), markdown, flags=re.MULTILINE)
    parts = CODE.split(LINK.sub(lambda m: m[1] + page_link(m[2], page) + m[3], markdown))
    inside_link = lambda n: parts[n - 1].endswith('[') and n + 1 < len(parts) and parts[n + 1].startswith('](')
    return ''.join((part if inside_link(n) else named(part, page, symbols)) if n % 2 else FORMULA.sub(drawn, part)
                   for n, part in enumerate(parts))

def on_page(cell: dict, page: str, symbols: dict[str, str]) -> None:
    "Give a markdown cell, and what a code cell shows as markdown, the links and formulas of its page."
    if cell['cell_type'] == 'markdown': cell['source'] = page_text(text_of(cell), page, symbols)
    for output in cell.get('outputs', []):
        shown = output.get('data', {}).get('text/markdown')
        if shown is not None: output['data']['text/markdown'] = page_text(''.join(shown), page, symbols)

def processed(path: Path) -> dict:
    "A notebook after those of nbdev's processors that take away what no reader needs."
    from execnb.nbio import nb2dict
    from nbdev.process import NBProcessor
    from nbdev.processors import clean_magics, hide_, hide_line, strip_ansi
    nb = NBProcessor(path, procs=[hide_, hide_line, strip_ansi, clean_magics])
    nb.process()
    notebook = json.loads(json.dumps(nb2dict(nb.nb)))
    for cell in notebook['cells']: cell['source'] = re.sub(r'^#\|.*\n?', '', text_of(cell), flags=re.MULTILINE)
    notebook['cells'] = [cell for cell in notebook['cells'] if cell['source'].strip()
                         and cell.get('metadata', {}).get('hidden') is not True]
    return notebook

def folded(cell: dict) -> dict:
    "A code cell that only imports, as a line that opens; other cells as they are."
    if cell['cell_type'] != 'code' or cell.get('outputs'): return cell
    source = text_of(cell).strip('\n')
    try: lines = ast.parse(source).body
    except SyntaxError: return cell
    if len(lines) < 4 or not all(isinstance(line, (ast.Import, ast.ImportFrom)) for line in lines): return cell
    text = f'<details><summary>Imports</summary>\n\n```python\n{source}\n```\n\n</details>'
    return dict(cell_type='markdown', id=cell['id'], metadata={}, source=text)

def live_viewer(panorama: str = 'pmndrs_venice') -> str:
    "Write the viewer of the notebooks as a page of its own, with a panorama; gives what shows it on another page."
    from argus_nb.viewer import viewer_page
    package, place = ROOT/'argus_nb', PAGES/'live'
    place.mkdir()
    (place/'look.html').write_text(viewer_page('image/jpeg'))
    shutil.copy(package/'panoramas'/f'{panorama}.jpg', place/'film')  # the page asks for it by this name
    for name in ('viewer.js', 'viewer.css'): shutil.copy(package/'static'/name, PAGES/name)
    return ('<iframe src="live/look.html" title="The viewer, live" loading="lazy" allow="fullscreen; gyroscope; '
            'accelerometer" style="width:100%;height:420px;border:0"></iframe>\n\nAbove, the viewer itself: drag to '
            'turn, scroll to zoom. (It needs a web server, as the site has one; from a folder browsers load no parts.)')

# --- Reference ----------------------------------------------------------------------------------------------------

def own_methods(symbol: type) -> list[str]:
    "Names of the methods for users that a class defines itself and says something about; being called comes first."
    found = [name for name in vars(symbol) if (name == '__call__' or not name.startswith('_'))
             and inspect.isroutine(getattr(symbol, name)) and getattr(symbol, name).__doc__]
    return sorted(found, key=lambda name: name != '__call__')

def described(symbol, anchor: str, level: int) -> str:
    "Signature with docments and docstring of one symbol, under a heading with an anchor."
    from nbdev.showdoc import BasicMarkdownRenderer, show_doc
    # what it hands its options on to may be a dataclass, whose `__init__` has no source
    if '__delwrap__' in vars(symbol) and not isinstance(symbol, type): del symbol.__delwrap__
    try:
        shown = show_doc(symbol, renderer=BasicMarkdownRenderer)._repr_markdown_()
        body = shown.partition('\n### ')[2].partition('\n')[2]
    # no source (a named tuple), or an annotation that only a type checker reads
    except (OSError, TypeError, ValueError, NameError):
        body = f'```python\n{anchor}{inspect.signature(symbol)}\n```\n\n*{inspect.getdoc(symbol) or ""}*'
    # no empty lines around a signature
    body = re.sub(r'(?<=```python\n)\n+', '', re.sub(r'\n{2,}(?=```(?:\n|$))', '\n', body.strip()))
    title = html.escape(anchor).replace('__', '\\_\\_')
    return f'{"#"*level} <a id="{anchor}"></a>{title}\n\n{body}'

def reference(module: str, notebook: str, symbols: dict[str, str]) -> str:
    "The reference page of a module, from its docments."
    loaded = importlib.import_module(f'argus_nb.{module}')
    parts = [f'# argus_nb.{module}', (loaded.__doc__ or '').strip(),
             f'Explained, shown and tested in [{Path(notebook).stem}](../{notebook.removesuffix(".ipynb")}.html).']
    import argus_nb
    for name in sorted(loaded.__all__, key=lambda name: name not in argus_nb.__all__):  # what users import comes first
        symbol = getattr(loaded, name)
        if getattr(symbol, '__module__', None) != loaded.__name__: continue
        parts.append(described(symbol, name, 2))
        if isinstance(symbol, type):
            parts += [described(getattr(symbol, method), f'{name}.{method}', 3) for method in own_methods(symbol)]
    return page_text('\n\n'.join(parts), f'api/{module}.md', symbols) + '\n'

def all_symbols(found: dict[str, str]) -> dict[str, str]:
    "What can be named in backticks -> where it is explained: names of one module only, notebooks by stem, modules."
    places = {}
    for module in found:
        loaded = importlib.import_module(f'argus_nb.{module}')
        for name in loaded.__all__:
            where = f'api/{module}.html#{name}'
            if _has_page(where):
                places.setdefault(name, []).append(where)  # a name that is handed on is explained where it comes from
        places[f'argus_nb.{module}'] = [f'api/{module}.html']
    for notebook in own_notebooks():
        if notebook.stem != 'index' and notebook.parent.name != 'experiments':  # their names are words of everyday
            places[notebook.stem] = [notebook.relative_to(ROOT/'nbs').with_suffix('.html').as_posix()]
    return {name: where[0] for name, where in places.items() if len(where) == 1
            and ('#' not in where[0] or _has_page(where[0]))}

def _has_page(where):
    module, name = where.removeprefix('api/').split('.html#')
    loaded = importlib.import_module(f'argus_nb.{module}')
    return getattr(getattr(loaded, name), '__module__', None) == loaded.__name__

# --- The site -----------------------------------------------------------------------------------------------------

def configuration(groups: list, found: dict[str, str]) -> dict:
    "What mkdocs is told."
    nav = [{'Overview': 'index.ipynb'}] + [{group: [{title: path} for title, path in pages]} for group, pages in groups]
    nav.append({'Reference': [{f'argus_nb.{module}': f'api/{module}.md'} for module in found]})
    schemes = [dict(scheme=scheme, media=f'(prefers-color-scheme: {media})',
                    toggle=dict(icon=icon, name=f'Switch to {other}'))
               for scheme, media, icon, other in (('default', 'light', 'material/weather-night', 'dark'),
                                                  ('slate', 'dark', 'material/weather-sunny', 'light'))]
    return dict(site_name='argus_nb', docs_dir=str(PAGES), site_dir=str(SITE), use_directory_urls=False, nav=nav,
                theme=dict(name='material', font=False, palette=schemes,
                           features=['navigation.sections', 'navigation.footer', 'toc.follow']),
                extra_css=['wide.css'],
                plugins=['material/search', {'mkdocs-jupyter': dict(execute=False, include_source=False,
                                                                    include_requirejs=False, ignore_h1_titles=True,
                                                                    show_input=True, no_input=False)}],
                markdown_extensions=['tables', 'fenced_code', 'attr_list', 'md_in_html',
                                     {'pymdownx.highlight': dict(use_pygments=True)}],
                validation=dict(links=dict(not_found='ignore', unrecognized_links='ignore', absolute_links='ignore'),
                                nav=dict(omitted_files='ignore')))

def write_pages() -> dict:
    "Fill the folder that mkdocs reads; returns its configuration."
    shutil.rmtree(PAGES, ignore_errors=True); (PAGES/'api').mkdir(parents=True)
    notebooks = own_notebooks()
    found = modules(notebooks); symbols = all_symbols(found)
    for path in notebooks:
        page, notebook = path.relative_to(ROOT/'nbs').as_posix(), processed(path)
        notebook['cells'] = [folded(cell) for cell in notebook['cells']]
        for cell in notebook['cells']: on_page(cell, page, symbols)
        if page == '75_viewer.ipynb':
            notebook['cells'].insert(1, dict(cell_type='markdown', id='live', metadata={}, source=live_viewer()))
        module = next((m for m, where in found.items() if where == page), None)
        if module:
            up = '../'*page.count('/')
            notebook['cells'].append(dict(cell_type='markdown', id='reference', metadata={},
                                          source=f'---\nReference: [argus_nb.{module}]({up}api/{module}.html)'))
        (PAGES/page).parent.mkdir(parents=True, exist_ok=True); (PAGES/page).write_text(json.dumps(notebook))
    for module, notebook in found.items(): (PAGES/'api'/f'{module}.md').write_text(reference(module, notebook, symbols))
    shutil.copytree(ROOT/'nbs'/'images', PAGES/'images')
    (PAGES/'wide.css').write_text(WIDE)
    return configuration(navigation(json.loads((ROOT/'nbs'/'index.ipynb').read_text())), found)

# --- Links --------------------------------------------------------------------------------------------------------

class Links(HTMLParser):
    "What a page links to, what it loads, and the anchors it has."
    def __init__(self, page: str):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[key] for key in ('id', 'name') if given.get(key)}
        if tag == 'a' and given.get('href'): self.links.append(given['href'])
        if given.get(FETCHING.get(tag, '')): self.loads.append(given[FETCHING[tag]])
        is_loaded = tag == 'link' and given.get('rel') in ('stylesheet', 'icon', 'preload', 'modulepreload')
        if is_loaded and given.get('href'): self.loads.append(given['href'])

def broken_links(site: Path) -> list[str]:
    "Every link to a page, an anchor or a file that is not there, and everything that is loaded from elsewhere."
    pages = {path: Links(path.read_text(encoding='utf-8')) for path in sorted(site.rglob('*.html'))}
    wrong = []
    for path, page in pages.items():
        for target in page.links + page.loads:
            if re.match(r'(?:https?:)?//', target):
                if target in page.loads: wrong.append(f'{path.relative_to(site)} loads {target}')
                continue
            if re.match(r'[a-z]+:', target): continue
            name, anchor = urldefrag(target)
            goal = (path.parent/unquote(name)).resolve() if name else path
            if goal.is_dir(): goal = goal/'index.html'
            if not goal.exists(): wrong.append(f'{path.relative_to(site)}: {target} is not there')
            elif not anchor or goal not in pages or anchor.startswith('__'): continue
            elif unquote(anchor) not in pages[goal].anchors:
                wrong.append(f'{path.relative_to(site)}: {target} has no such anchor')
    return wrong

def main() -> int:
    import argus_nb.runtime  # noqa: F401 (first: it lets torchvision be imported)
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    settings = write_pages()
    (config := ROOT/'_proc.yml').write_text(json.dumps(settings))  # JSON is YAML
    try: build(load_config(str(config)))
    finally: config.unlink()
    (SITE/'404.html').unlink()  # it knows its style sheets only by a host's address
    wrong = broken_links(SITE)
    for line in wrong: print(line, file=sys.stderr)
    size = sum(path.stat().st_size for path in SITE.rglob('*') if path.is_file())
    print(f"{len([*SITE.rglob('*.html')])} pages, {size/1e6:.0f} MB in {SITE.name}; {len(wrong)} broken links")
    print(f'to read and search it: python -m http.server -d {SITE.name}')
    return bool(wrong)

if __name__ == '__main__': sys.exit(main())
