"""How true projections are: a function of direction that can be drawn in every projection, and pictures that know where they look.

    python tests/benchmarks/projection_truth.py [--heights N ...] [--write]

Two pictures are drawn analytically in the source's projection (64-bit), projected by each library, and compared with what
is drawn analytically in the target's projection:
- a smooth scene, values in [0, 1]: error in values, the mean and the largest;
- the direction itself (x, y, z as colours): the direction found in a target pixel against the direction it should show,
  as an angle, in pixels of the source: the error of the geometry, largest inside, across the seam, and over the poles.
"Should" means pixel centres at one half and a field of view from edge to edge, as cameras are calibrated. Libraries that
mean something else by a pixel are then measured once more by what they mean: of all combinations of TARGETS (where the
ray of a target pixel leaves) and SOURCES (where a direction is read), the one that fits best is named, with the error that
is left. Antialiasing is off; everything is bilinear. Regions: within one pixel of the panorama's seam, within one row of
a pole, and the rest. ffmpeg works in 16 bits, which is 2e-5 of a radian; the others in float32.
--write stores the table in results/projection_truth.json, which notebook 02 shows.
"""
import argparse, itertools, math, subprocess, sys
from importlib import metadata
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import imageio_ffmpeg
import numpy as np
import torch
from torch.nn.functional import normalize
from argus_nb.projection import face_rotations, cubemap_to_panorama, panorama_to_cubemap, panorama_to_perspective, perspective_to_panorama, rotate_panorama
from argus_nb.runtime import run_record, save_json
from argus_nb.sphere import euler_from_rotation, panorama_coordinates, rotation_from_euler

FOV = math.radians(90)
POSES = {'identity': (0, 0, 0), 'yaw 90': (90, 0, 0), 'seam ahead': (180, 0, 0), 'north pole ahead': (0, 90, 0), 'south pole ahead': (0, -90, 0),
         'roll 45': (0, 0, 45), 'general 1': (34, 20, 11), 'general 2': (-120, -50, 70), 'general 3': (171, 83, -140)}

# Truth

def smooth_scene(rays):
    x, y, z = normalize(rays, dim=-1).unbind(-1)
    return torch.stack([.5 + .3*x + .15*y*z, .5 - .4*y + .1*x*z, .5 + .3*z*z - .25*x*y])

def directions(rays): return (.9*normalize(rays, dim=-1).movedim(-1, 0) + 1)/2  # off pure white, where ffmpeg's 16 bits run over to black

# Where a pixel lies along an axis of n pixels, in units of the axis: centres at one half; corners; first and last pixel at the ends
TARGETS = {'centre': lambda i, n: (i + .5)/n, 'corner': lambda i, n: i/n, 'endpoints': lambda i, n: i/max(n - 1, 1)}
# Which coordinate is read, in pixels with centres at one half, for a direction that falls at x of n
SOURCES = {'exact': lambda x, n: x, 'half a pixel on': lambda x, n: x + .5, 'a pixel on': lambda x, n: x + 1, 'half a pixel back': lambda x, n: x - .5,
           'endpoints': lambda x, n: x/n*(n - 1) + .5}

def positions(size, target):
    v, u = (TARGETS[target](torch.arange(n, dtype=torch.float64), n) for n in size)
    return v[:, None].expand(size), u.expand(size)

def sphere(v, u):
    "Directions at relative coordinates of a panorama."
    lon, lat = (u - .5)*2*math.pi, (.5 - v)*math.pi
    return torch.stack([lat.cos()*lon.sin(), -lat.sin(), lat.cos()*lon.cos()], -1)

def lens(size, fov): return math.tan(fov/2), math.tan(fov/2)*size[0]/size[1]  # half width and half height of the image plane

def plane(v, u, size, fov):
    a, b = lens(size, fov)
    return normalize(torch.stack([(2*u - 1)*a, (2*v - 1)*b, torch.ones_like(u)], -1), dim=-1)

# Other libraries, each in the words of ours; None where there is no such function

class Ours:
    name, version = 'argus_nb', ''
    def look(self, panorama, R, size): return panorama_to_perspective(panorama, R, FOV, size, antialias=False)[0]
    def turn(self, panorama, R): return rotate_panorama(panorama, R, antialias=False)
    def paint(self, frame, R, size): return perspective_to_panorama(frame[None], R, FOV, size, antialias=False)[0][0]
    def unfold(self, panorama, n): return panorama_to_cubemap(panorama, n, antialias=False)
    def fold(self, faces, size): return cubemap_to_panorama(faces, size, antialias=False)

def as_row(faces): return faces.permute(1, 2, 0, 3).flatten(2)       # (6, C, n, n) -> (C, n, 6n)
def from_row(row): return row.unflatten(2, (6, -1)).permute(2, 0, 1, 3)

class Equilib:
    name, version = 'pyequilib', metadata.version('pyequilib')
    def angles(self, R): return [dict(zip(('yaw', 'pitch', 'roll'), map(float, euler_from_rotation(R))))]
    def look(self, panorama, R, size):
        from equilib import equi2pers
        return equi2pers(panorama[None], self.angles(R), *size, math.degrees(FOV), z_down=True)[0]
    def turn(self, panorama, R):
        from equilib import equi2equi
        return equi2equi(panorama[None], self.angles(R.mT), z_down=True)[0]
    def paint(self, frame, R, size):
        from equilib import pers2equi
        return pers2equi(frame[None], self.angles(R.mT), *size, math.degrees(FOV), z_down=True)[0]
    def unfold(self, panorama, n):
        from equilib import equi2cube
        return from_row(equi2cube(panorama[None], [dict(yaw=0., pitch=0., roll=0.)], n, 'horizon')[0])
    def fold(self, faces, size):
        from equilib import cube2equi
        return cube2equi(as_row(faces)[None], 'horizon', *size).reshape(-1, *size)

class Py360:
    name, version = 'py360convert', metadata.version('py360convert')
    turn = paint = None
    def look(self, panorama, R, size):
        from py360convert import e2p
        yaw, pitch, roll = (math.degrees(a) for a in euler_from_rotation(R))
        a, b = lens(size, FOV)
        view = e2p(panorama.movedim(0, -1).numpy(), (math.degrees(2*math.atan(a)), math.degrees(2*math.atan(b))), yaw, pitch, size, in_rot_deg=roll)
        return torch.from_numpy(view).movedim(-1, 0)
    def unfold(self, panorama, n):
        from py360convert import e2c
        return torch.from_numpy(np.stack(e2c(panorama.movedim(0, -1).numpy(), n, cube_format='list'))).movedim(-1, 1)
    def fold(self, faces, size):
        from py360convert import c2e
        return torch.from_numpy(c2e(list(faces.movedim(1, -1).numpy()), *size, cube_format='list')).movedim(-1, 0)

class FFmpeg:
    name, version = 'ffmpeg v360', imageio_ffmpeg.get_ffmpeg_version().split('-')[0]
    def run(self, image, options, size):
        raw = (image[[1, 2, 0]]*65535).round().numpy().astype('<u2').tobytes()  # planes in the order green, blue, red
        command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-f', 'rawvideo', '-pix_fmt', 'gbrp16le', '-s', f'{image.shape[2]}x{image.shape[1]}', '-i', '-',
                   '-vf', f'v360={options}:w={size[1]}:h={size[0]}:interp=linear', '-f', 'rawvideo', '-pix_fmt', 'gbrp16le', '-']
        done = subprocess.run(command, input=raw, capture_output=True, check=True).stdout
        return torch.from_numpy(np.frombuffer(done, '<u2').reshape(3, *size)[[2, 0, 1]]/np.float32(65535))
    def angles(self, R): return ':'.join(f'{name}={math.degrees(a):.9f}' for name, a in zip(('yaw', 'pitch', 'roll'), euler_from_rotation(R)))
    def look(self, panorama, R, size):
        a, b = lens(size, FOV)
        return self.run(panorama, f'e:flat:h_fov={math.degrees(2*math.atan(a)):.9f}:v_fov={math.degrees(2*math.atan(b)):.9f}:{self.angles(R)}', size)
    def turn(self, panorama, R): return self.run(panorama, f'e:e:{self.angles(R.mT)}', panorama.shape[-2:])
    def paint(self, frame, R, size):
        a, b = lens(frame.shape[-2:], FOV)
        return self.run(frame, f'flat:e:ih_fov={math.degrees(2*math.atan(a)):.9f}:iv_fov={math.degrees(2*math.atan(b)):.9f}:{self.angles(R.mT)}', size)
    def unfold(self, panorama, n): return from_row(self.run(panorama, 'e:c6x1:out_forder=frblud', (n, 6*n)))
    def fold(self, faces, size): return self.run(as_row(faces), 'c6x1:e:in_forder=frblud', size)

LIBRARIES = [Ours(), Equilib(), Py360(), FFmpeg()]

# Jobs: how the source is drawn, what is called, which way the target looks, and where the source is read

def pose(name): return rotation_from_euler(*(math.radians(a) for a in POSES[name]))

class Look:
    "Views 3/4 as wide as the panorama is high, 90 degrees wide."
    name, method, poses = 'panorama to view', 'look', POSES
    def __init__(self, height, R): self.source, self.size, self.R = (height, 2*height), (height//2, 3*height//4), R
    def draw(self, scene): return scene(sphere(*positions(self.source, 'centre')))
    def call(self, library, image): return library.look(image, self.R, self.size)
    def rays(self, target): return plane(*positions(self.size, target), self.size, FOV) @ self.R.mT
    def read(self, rays, source):
        "The direction that is drawn where a direction is read."
        (h, w), (u, v) = self.source, panorama_coordinates(rays, self.source)
        return sphere(SOURCES[source](v, h)/h, SOURCES[source](u, w)/w)
    def pixel(self): return 2*math.pi/self.source[1]
    def regions(self):
        (h, w), (u, v) = self.source, panorama_coordinates(self.rays('centre'), self.source)
        poles = (v < 1) | (v > h - 1)
        seam = ((u < 1) | (u > w - 1)) & ~poles
        return dict(inside=~(seam | poles), seam=seam, poles=poles)

class Turn(Look):
    name, method = 'panorama turned', 'turn'
    def __init__(self, height, R): self.source = self.size = (height, 2*height); self.R = R
    def call(self, library, image): return library.turn(image, self.R)
    def rays(self, target): return sphere(*positions(self.size, target)) @ self.R

class Unfold(Look):
    "Faces that together have as many pixels along the equator as the panorama."
    name, method, poses = 'panorama to cube', 'unfold', ['identity']
    def __init__(self, height, R): self.source, self.n = (height, 2*height), height//2
    def call(self, library, image): return library.unfold(image, self.n).movedim(0, 1).flatten(1, 2)
    def rays(self, target):
        face = plane(*positions((self.n, self.n), target), (self.n, self.n), math.pi/2)
        return (face @ face_rotations().mT[:, None]).flatten(0, 1)

class Paint:
    "Frames 90 degrees wide, 3/4 as wide as the panorama is high, onto the panorama; two pixels along the frame's edge are left out."
    name, method, poses = 'frame to panorama', 'paint', POSES
    def __init__(self, height, R): self.size, self.source, self.R = (height, 2*height), (height//2, 3*height//4), R
    def draw(self, scene): return scene(plane(*positions(self.source, 'centre'), self.source, FOV) @ self.R.mT)
    def call(self, library, image): return library.paint(image, self.R, self.size)
    def rays(self, target): return sphere(*positions(self.size, target))
    def where(self, rays):
        (h, w), (a, b), (x, y, z) = self.source, lens(self.source, FOV), (rays @ self.R).unbind(-1)
        d = z.clamp(min=1e-9)
        return (y/d/b + 1)/2*h, (x/d/a + 1)/2*w, z > 0
    def read(self, rays, source):
        (h, w), (v, u, _) = self.source, self.where(rays)
        return plane(SOURCES[source](v, h)/h, SOURCES[source](u, w)/w, self.source, FOV) @ self.R.mT
    def pixel(self): return 2*lens(self.source, FOV)[0]/self.source[1]
    def regions(self):
        (h, w), (v, u, in_front) = self.source, self.where(self.rays('centre'))
        seen = in_front & (u > 2) & (u < w - 2) & (v > 2) & (v < h - 2)
        row, column = (torch.arange(n)[:, None] if n == self.size[0] else torch.arange(n) for n in self.size)
        poles = seen & ((row < 1) | (row >= self.size[0] - 1))
        seam = seen & ((column < 1) | (column >= self.size[1] - 1)) & ~poles
        return dict(inside=seen & ~(seam | poles), seam=seam, poles=poles)

class Fold:
    "Cube faces with as many pixels along the equator as the panorama; the edges of the cube take the place of the seam."
    name, method, poses = 'cube to panorama', 'fold', ['identity']
    def __init__(self, height, R): self.size, self.n = (height, 2*height), height//2
    def draw(self, scene):
        face = plane(*positions((self.n, self.n), 'centre'), (self.n, self.n), math.pi/2)
        return scene(face @ face_rotations().mT[:, None])
    def call(self, library, image): return library.fold(image.movedim(1, 0), self.size)
    def rays(self, target): return sphere(*positions(self.size, target))
    def read(self, rays, source):
        near = face_rotations()
        face = torch.stack([(rays @ R)[..., 2] for R in near]).argmax(0)
        local = (rays[..., None, :] @ near[face])[..., 0, :]
        u, v = ((local[..., k]/local[..., 2] + 1)/2*self.n for k in (0, 1))
        return (plane(SOURCES[source](v, self.n)/self.n, SOURCES[source](u, self.n)/self.n, (self.n, self.n), math.pi/2)[..., None, :] @ near.mT[face])[..., 0, :]
    def pixel(self): return 2/self.n
    def regions(self):
        rays = self.rays('centre')
        middle, largest = rays.abs().sort(-1).values[..., 1:].unbind(-1)
        poles = torch.zeros(self.size, dtype=torch.bool); poles[[0, -1]] = True
        seam = (largest - middle < 2*2/self.n*largest) & ~poles
        return dict(inside=~(seam | poles), seam=seam, poles=poles)

JOBS = [Look, Turn, Paint, Unfold, Fold]

def found(image):
    "Directions in a projected picture of directions; (H, W, 3)."
    return normalize(image.double().movedim(0, -1)*2 - 1, dim=-1)

def away(a, b, pixel): return 2*((a - b).norm(dim=-1)/2).clamp(max=1).asin()/pixel

def worst(error, regions): return {name: float(error[where].max()) if where.any() else None for name, where in regions.items()}

def measure(job, library):
    "All errors of one library at one job."
    regions = job.regions(); seen = regions['inside'] | regions['seam'] | regions['poles']
    values = (job.call(library, job.draw(smooth_scene).float()).double() - smooth_scene(job.rays('centre'))).abs().amax(0)
    shown = found(job.call(library, job.draw(directions).float()))
    plain = away(shown, job.rays('centre'), job.pixel())
    fits = {(t, s): away(shown, job.read(job.rays(t), s), job.pixel()) for t, s in itertools.product(TARGETS, SOURCES)}
    convention = min(fits, key=lambda key: float(fits[key][seen].median()))
    return dict(mean_value=float(values[seen].mean()), value=worst(values, regions), mean_pixels=float(plain[seen].mean()), pixels=worst(plain, regions),
                convention=convention, own_pixels=worst(fits[convention], regions), fits={key: float(e[seen].median()) for key, e in fits.items()}, _fits={key: worst(e, regions) for key, e in fits.items()})

def summary(rows):
    "Over all rotations: the largest and the mean error, and the convention that fits all of them best."
    convention = min(rows[0]['fits'], key=lambda key: sum(row['fits'][key] for row in rows))
    largest = lambda dicts: {name: max((d[name] for d in dicts if d[name] is not None), default=None) for name in ('inside', 'seam', 'poles')}
    return dict(mean_value=float(np.mean([row['mean_value'] for row in rows])), value=largest([row['value'] for row in rows]),
                mean_pixels=float(np.mean([row['mean_pixels'] for row in rows])), pixels=largest([row['pixels'] for row in rows]),
                target=convention[0], source=convention[1], own_pixels=largest([row['_fits'][convention] for row in rows]),
                rotations={row['pose']: [round(row['mean_pixels'], 5), round(max(v for v in row['pixels'].values() if v is not None), 5)] for row in rows})

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--heights', type=int, nargs='*', default=[64, 256], help='of the panoramas')
    parser.add_argument('--write', action='store_true', help='store the table in results/projection_truth.json')
    args = parser.parse_args()
    table, show = [], lambda d: ' '.join(f'{d[k]:8.4f}' if d[k] is not None else '       -' for k in ('inside', 'seam', 'poles'))
    print(f"{'':46}  values: mean and largest inside, seam, poles    geometry in source pixels      in its own convention")
    for height, kind in itertools.product(args.heights, JOBS):
        for library in LIBRARIES:
            if getattr(library, kind.method) is None: continue
            row = summary([measure(kind(height, pose(name)), library) | dict(pose=name) for name in kind.poses])
            table.append(dict(height=height, projection=kind.name, library=library.name) | row)
            print(f"{height:5} {kind.name:18} {library.name:13} {row['mean_value']:.5f} {show(row['value'])}   {show(row['pixels'])}   {show(row['own_pixels'])}  {row['target']}, {row['source']}", flush=True)
    if args.write:
        versions = {library.name: library.version for library in LIBRARIES if library.version}
        save_json(Path(__file__).parents[2]/'results'/'projection_truth.json', run_record(poses_degrees=POSES, libraries=versions, rows=table))

if __name__ == '__main__':
    with torch.no_grad(): main()
