#!/usr/bin/env python3
"""Write README.md from nbs/index.ipynb; with --check only say whether it is fresh.

    python scripts/make_readme.py [--check]

Markdown cells are copied, with their links made relative to the repository's root; code cells become fenced code and
their text outputs fenced text; pictures are saved in nbs/images and shown from there. Cells marked `#| hide` are left
out.
"""
import base64, json, posixpath, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTE = '<!-- Written by `make readme` from nbs/index.ipynb: edit that, not this. -->'
FENCE = re.compile(r'(```.*?```)', re.DOTALL)
LINK = re.compile(r'(\]\(|(?:src|href)=")(?![a-z]+:|#|/)([^)"\s]+)')


def lines_joined(text) -> str:
    "Notebook text is stored as one string or as a list of lines."
    return text if isinstance(text, str) else ''.join(text)


def rooted_links(markdown: str) -> str:
    "Links that were relative to nbs/, relative to the repository's root; code blocks stay as they are."
    def rooted(match): return match[1] + posixpath.normpath(posixpath.join('nbs', match[2]))
    parts = FENCE.split(markdown)
    return ''.join(part if i % 2 else LINK.sub(rooted, part) for i, part in enumerate(parts))


def code_shown(source: str) -> str:
    "A code cell without its nbdev directives; nothing when it is hidden."
    if re.search(r'^#\|\s*hide\b', source, re.MULTILINE): return ''
    source = re.sub(r'^#\|.*\n?', '', source, flags=re.MULTILINE).strip('\n')
    return f'```python\n{source}\n```' if source else ''


def outputs_shown(cell: dict, images: dict) -> list[str]:
    "The outputs of a code cell as markdown; pictures are added to `images`, path -> bytes."
    shown = []
    for number, output in enumerate(cell.get('outputs', [])):
        data = output.get('data', {'text/plain': output.get('text', '')})
        kind = next((k for k in ('image/png', 'image/jpeg', 'text/markdown', 'text/plain') if k in data), None)
        if kind is None: continue
        text = lines_joined(data[kind]).rstrip('\n')
        if kind.startswith('image/'):
            path = f"nbs/images/index_{cell['id']}_{number}.{'png' if kind.endswith('png') else 'jpg'}"
            images[path] = base64.b64decode(text)
            shown.append(f'![]({path})')
        elif text:
            shown.append(rooted_links(text) if kind == 'text/markdown' else f'```\n{text}\n```')
    return shown


def readme(notebook: dict) -> tuple[str, dict]:
    "README text and the pictures that it shows, path -> bytes."
    blocks, images = [NOTE], {}
    for cell in notebook['cells']:
        source = lines_joined(cell['source'])
        if cell['cell_type'] == 'markdown': blocks.append(rooted_links(source.strip('\n')))
        elif cell['cell_type'] == 'code' and (code := code_shown(source)):
            blocks += [code, *outputs_shown(cell, images)]
    return '\n\n'.join(block for block in blocks if block) + '\n', images


def main(args: list[str]) -> int:
    text, images = readme(json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8')))
    files = {'README.md': text.encode(), **images}
    stale = [path for path, content in files.items() if not (ROOT/path).exists() or (ROOT/path).read_bytes() != content]
    if '--check' in args:
        if stale: print(f"{', '.join(stale)} not as nbs/index.ipynb has it: run `make readme`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale: (ROOT/path).write_bytes(files[path])
    print(f"wrote {', '.join(stale)}" if stale else 'README.md is fresh')
    return 0


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
