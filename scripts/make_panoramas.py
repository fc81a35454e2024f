"""Make the panoramas that ship with the package from CC0 high dynamic range panoramas.

    python scripts/make_panoramas.py FOLDER_OF_EXR [argus_nb/panoramas]

Each EXR (linear light, equirectangular, 512x256 or 1024x512) becomes a 512x256 JPEG in display values: broken pixels
repaired, averaged down, exposed, put through a filmic curve and the sRGB gamma. Beside them: manifest.json and LICENCE.
Needs OpenEXR.
"""
import hashlib, json, sys
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image
from scipy.ndimage import binary_dilation, maximum_filter, median_filter

# Name, place, split. The split goes by place: pictures of one place are on one side. blender_sunrise and
# pmndrs_sunrise are one photograph, the two studios one room with other lamps, the three Venetian ones one waterfront.
PLACES = [
    ('blender_city', 'plaza with cranes', 'test'), ('blender_courtyard', 'courtyard', 'train'),
    ('blender_forest', 'garden with bamboo fence', 'test'), ('blender_interior', 'hotel room', 'test'),
    ('blender_night', 'field by a town', 'train'), ('blender_studio', 'photo studio', 'train'),
    ('blender_sunrise', 'morning meadow', 'train'), ('blender_sunset', 'Venice', 'train'),
    ('pmndrs_apartment', 'empty apartment', 'train'), ('pmndrs_bridge', 'covered bridge', 'train'),
    ('pmndrs_city', 'square with towers', 'train'), ('pmndrs_dawn', 'stony hills', 'test'),
    ('pmndrs_esplanade', 'shopping arcade', 'train'), ('pmndrs_forest', 'forest slope', 'train'),
    ('pmndrs_hall', 'ballroom', 'train'), ('pmndrs_lab', 'old laboratory', 'train'),
    ('pmndrs_lobby', 'museum lobby', 'test'), ('pmndrs_night', 'bush at night', 'test'),
    ('pmndrs_park', 'park', 'test'), ('pmndrs_sky', 'sky', 'train'),
    ('pmndrs_studio', 'photo studio', 'train'), ('pmndrs_sunrise', 'morning meadow', 'train'),
    ('pmndrs_sunset', 'Venice', 'train'), ('pmndrs_venice', 'Venice', 'train'),
    ('pmndrs_warehouse', 'empty warehouse', 'test'), ('pmndrs_workshop', 'machine workshop', 'train'),
]
PACKAGING = {'blender': 'Debian package blender-data 3.4.1, studio light',
             'pmndrs': 'npm package @pmndrs/assets 1.7.0, hdri'}
LICENCE = """The panoramas in this folder were photographed for Poly Haven (polyhaven.com) and published under
CC0 1.0 Universal: https://creativecommons.org/publicdomain/zero/1.0/

To the extent possible under law, their authors have waived all copyright and related or neighbouring rights to them.
They reached this project inside other packages, as manifest.json states for each, and were averaged to 512x256 pixels,
tone-mapped and stored as JPEG by scripts/make_panoramas.py. These changes are dedicated to the public domain as well.
"""

def read_exr(path):
    "Linear RGB as float64 (H, W, 3)."
    with OpenEXR.File(str(path)) as file:
        channels = file.channels()
        return np.array(channels['RGB' if 'RGB' in channels else 'RGBA'].pixels, np.float64)[..., :3]

def repaired(linear):
    """Undo what packing as half floats did around clipped suns and stars.

    There the channels ring: some are huge, some negative or nothing at all. Such pixels become as white as their
    brightest neighbour. Dark rings around stars become like their surroundings.
    """
    brightest, darkest = linear.max(-1), linear.min(-1)
    broken = ~np.isfinite(linear).all(-1) | (darkest < -.5) | ((brightest > 1) & (darkest < 1e-3*brightest))
    around = binary_dilation(broken, iterations=1) & (brightest > 5) | broken
    linear = np.nan_to_num(linear, nan=0., posinf=1e4, neginf=0.).clip(-1, 1e4)
    median = median_filter(linear, (5, 5, 1))
    share, bright = linear.mean(-1)/np.maximum(median.mean(-1), 1e-6), median.mean(-1) > 2
    ring = ((linear.min(-1) < 0) & (share < .5)) | (bright & (share < .4))
    linear = np.where(ring[..., None], median, linear).clip(0)
    return np.where(around[..., None], maximum_filter(linear.max(-1), 7)[..., None], linear)

def halved(linear):
    "Average 2x2 pixels until the picture is 512 wide."
    while linear.shape[1] > 512:
        linear = (linear[::2, ::2] + linear[1::2, ::2] + linear[::2, 1::2] + linear[1::2, 1::2])/4
    return linear

def displayed(linear, exposure=1.):
    "Expose (log average to a mid grey, unless that would burn out more than a twentieth), filmic curve, sRGB gamma."
    area = np.cos((np.arange(len(linear)) + .5 - len(linear)/2)/len(linear)*np.pi)[:, None]
    luminance = linear @ [.2126, .7152, .0722]
    middle = np.exp((np.log(luminance + 1e-3)*area).mean()/area.mean())
    x = exposure*linear*min(.19/middle, 1.6/np.percentile(luminance, 95) + .04/middle)
    x = (x*(2.51*x + .03)/(x*(2.43*x + .59) + .14)).clip(0, 1)
    return np.where(x < .0031308, 12.92*x, 1.055*x**(1/2.4) - .055)

def main(source, target):
    target.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, place, split in PLACES:
        path = target/f'{name}.jpg'
        # a night is darker than a day
        picture = displayed(halved(repaired(read_exr(source/f'{name}.exr'))), .4 if 'night' in name else 1.)
        Image.fromarray((picture*255).round().astype(np.uint8)).save(path, quality=94, subsampling=0, optimize=True)
        package, original = name.split('_')
        entries.append(dict(name=name, file=path.name, source=f'{original}.exr', packaging=PACKAGING[package],
                            place=place, split=split,
                            sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    manifest = dict(licence='CC0 1.0', origin='Poly Haven', script='scripts/make_panoramas.py', panoramas=entries)
    (target/'manifest.json').write_text(json.dumps(manifest, indent=1) + '\n')
    (target/'LICENCE').write_text(LICENCE)
    print(f'{len(entries)} panoramas, {sum(p.stat().st_size for p in target.iterdir())/2**20:.2f} MiB')

if __name__ == '__main__':
    if len(sys.argv) < 2: sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2
                                 else Path(__file__).parents[1]/'argus_nb'/'panoramas'))
