#!/usr/bin/env python3
"""Read a notebook from stdin and write it as the repository keeps it: no counts, no metadata of whoever ran it.

    python scripts/make_clean.py < notebook.ipynb

`make hooks` tells git to look at notebooks through this filter, so that opening, running or saving one in JupyterLab
changes nothing that git sees but what was really changed. It needs nothing but Python, so it costs a tenth of a second.
"""
import json, sys

KERNEL = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}


def lines(text) -> list[str]:
    "Text as notebooks keep it: a list of lines with their ends."
    return text.splitlines(keepends=True) if isinstance(text, str) else text


def clean(notebook: dict) -> dict:
    "The same notebook without what depends on who ran it."
    notebook['metadata'] = {'kernelspec': KERNEL}
    notebook['nbformat_minor'] = 5
    for cell in notebook['cells']:
        cell['metadata'], cell['source'] = {}, lines(cell['source'])
        if cell['cell_type'] != 'code': continue
        cell['execution_count'] = None
        for output in cell['outputs']:
            if 'execution_count' in output: output['execution_count'] = None
    return notebook


def main() -> int:
    text = sys.stdin.buffer.read().decode('utf-8')
    try: notebook = clean(json.loads(text))
    except (ValueError, KeyError, TypeError): sys.stdout.buffer.write(text.encode()); return 0  # no notebook: as it is
    text = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + '\n'
    sys.stdout.buffer.write(text.encode())
    return 0


if __name__ == '__main__': sys.exit(main())
