"""Add photographed places to the panoramas that ship with the package.

    python scripts/make_photographs.py FOLDER [argus_nb/panoramas]

FOLDER holds 1024x512 JPEG and manifest.tsv (file, group, place, source, licence class, licence, author, size, note).
Each picture of the group `real` is stored again at a quality that keeps all within the package's limit: training
reads these very files. The split goes by place and is fixed here, by name; places of one building or one town square
stay on one side. Appends to manifest.json and writes NOTICE, which credits every author.
"""
import csv, hashlib, json, re, sys
from pathlib import Path

from PIL import Image

QUALITY = 80
# Held out: about one place in seven of every kind, none of them with a sibling among the others.
TEST = """art_studio autumn_park canary_wharf crystal_falls double_arch_utah fireplace garden_nook gray_pier hansaplatz
humus_fishermansbastion humus_house humus_iceriver humus_lancellottichapel humus_yokohama3 humus_yokohama
konzerthaus lakeside_night leadenhall_market o3d_entrance_hall outdoor_umbrellas
parking_garage pond_bridge_night red_wall rogland_clear_night skylit_garage wooden_cabin_room""".split()
PREFIX = 'place_'
CREDITS = """The panoramas in this folder whose names begin with `place_` were photographed by others and reached this
project through public repositories. HDR pictures were exposed and tone-mapped, cube maps resampled to
equirectangular ones, all brought to 1024x512 pixels and stored as JPEG of quality 80
(scripts/make_photographs.py). Each is listed with its licence, its author where one is stated, and where it
was found. The cube maps named humus_* are by Emil Persson, humus.name, CC BY 3.0. Where only the licence of
the publishing repository is known, this is said. LICENCE speaks of the other panoramas in this folder."""

def rows(folder):
    "The photographs that the manifest lists, one a place: of one place in different light the first alone."
    with (folder/'manifest.tsv').open(encoding='utf-8') as file:
        listed = [r for r in csv.DictReader(file, delimiter='\t') if r['group'] == 'real']
    return {r['file']: r for r in sorted(listed, key=lambda r: r['file'])}.values()

def notice(entries):
    "Who is to be credited for what."
    lines = [*CREDITS.splitlines(), '']
    return '\n'.join(lines + [f"{e['name']}: {e['licence']}" + (f"; {e['author']}" if e['author'] else '')
                              + f"; {e['source']}" for e in entries]) + '\n'

def main(source, target):
    known = json.loads((target/'manifest.json').read_text())
    entries = []
    for row in rows(source):
        stem = Path(row['file']).stem
        path = target/f'{PREFIX}{stem}.jpg'
        with Image.open(source/row['file']) as image:
            image.convert('RGB').save(path, quality=QUALITY, subsampling=0, optimize=True)
        kind = re.match(r'scene: ([^;]*)', row['note'])
        author = row['author_if_stated'] or ('Emil Persson (humus.name)' if stem.startswith('humus_') else '')
        entries.append(dict(name=PREFIX + stem, file=path.name, source=row['source'], place=row['place'],
                            kind=kind[1] if kind else '', split='test' if stem in TEST else 'train',
                            licence=row['licence'], author=author,
                            sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    assert {e['name'].removeprefix(PREFIX) for e in entries if e['split'] == 'test'} == set(TEST)
    known |= dict(licence='CC0 1.0 for the first 26; see the entries of the others',
                  origin='Poly Haven for the first 26; see the entries of the others',
                  script='scripts/make_panoramas.py, then scripts/make_photographs.py')
    known['panoramas'] = [e for e in known['panoramas'] if not e['name'].startswith(PREFIX)] + entries
    (target/'manifest.json').write_text(json.dumps(known, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    (target/'NOTICE').write_text(notice(entries), encoding='utf-8')
    print(f'{len(entries)} photographs, {len(TEST)} held out, '
          f'{sum(p.stat().st_size for p in target.iterdir())/1e6:.2f} MB in all')

if __name__ == '__main__':
    if len(sys.argv) < 2: sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2
                                 else Path(__file__).parents[1]/'argus_nb'/'panoramas'))
