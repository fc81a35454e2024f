"""How fast the projections are, beside pyequilib, OpenCV and the mere writing of the output.

    python tests/benchmarks/projection.py [--rounds N] [--threads N] [--clock wall|processor] [--jobs NAME ...] [--write]

Every job runs all contestants in one process, one after the other, round after round; medians over the rounds are
reported, and ratios of medians. One round before the first is not counted (compilation, caches). Everything is float32
RGB, bilinear, without antialiasing, which no other contestant has. Each frame has a rotation of its own.

pyequilib: its torch path with its default backend. For frames onto the panorama that is pers2equi, which came with
0.6 and gives no mask; ours does. OpenCV: maps are built with numpy in float32, for every frame anew as its camera
turns, and sampled by cv2.remap, from images already laid out as it wants them; for the cube, whose cameras stay, the
maps are built once for all frames. Writing: a fresh tensor of the output's shape, filled with a number.
On a machine that does other things as well, --threads 1 --clock processor counts the processor's time instead of the
wall clock's: what the job takes when it has a core for itself.
--write stores the table in results/projection.json, which notebook 02 shows.
"""
import argparse, math, sys, time
from functools import partial
from importlib import metadata
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import cv2
import numpy as np
import torch
from argus_nb.projection import panorama_to_cubemap, panorama_to_perspective, perspective_to_panorama, rotate_panorama
from argus_nb.runtime import make_generator, run_record, save_json
from argus_nb.sphere import euler_from_rotation, rotation_from_euler

FOV = math.radians(90)

def poses(count):
    "A camera that swings about, every frame a little further."
    t = torch.linspace(0, 2*math.pi, count, dtype=torch.float64)
    return rotation_from_euler(2*t.sin(), .4*(2*t).cos(), .2*(3*t).sin())

def noise(*shape): return torch.rand(*shape, generator=make_generator(0))

# pyequilib: angles as ours with z_down

def as_equilib(rotations): return [dict(zip(('yaw', 'pitch', 'roll'), map(float, angles))) for angles in zip(*euler_from_rotation(rotations))]

def equilib_paint(frames, rotations, size):
    from equilib import pers2equi
    return pers2equi(frames, as_equilib(rotations), *size, math.degrees(FOV), z_down=True)

def equilib_look(panoramas, rotations, size):
    from equilib import equi2pers
    return equi2pers(panoramas, as_equilib(rotations), *size, math.degrees(FOV), z_down=True)

def equilib_turn(panoramas, rotations):
    from equilib import equi2equi
    return equi2equi(panoramas, as_equilib(rotations), z_down=True)

def equilib_cube(panoramas, face_size):
    from equilib import equi2cube
    return equi2cube(panoramas, as_equilib(torch.eye(3, dtype=torch.float64).expand(len(panoramas), 3, 3)), face_size, 'horizon')

# OpenCV: what one writes by hand

def panorama_maps(rays, height, width):
    "Maps into a panorama; float32, pixel centres at whole numbers as cv2.remap has them."
    x, y, z = rays[..., 0], rays[..., 1], rays[..., 2]
    u, v = (np.arctan2(x, z)/np.float32(2*math.pi) + np.float32(.5))*width, (np.arctan2(y, np.hypot(x, z))/np.float32(math.pi) + np.float32(.5))*height
    return u - np.float32(.5), v - np.float32(.5)

def sphere_rays(height, width):
    lon, lat = ((np.arange(width, dtype=np.float32) + .5)/width - .5)*2*math.pi, (.5 - (np.arange(height, dtype=np.float32) + .5)/height)*math.pi
    cos = np.cos(lat)[:, None]
    return np.stack([cos*np.sin(lon), np.broadcast_to(-np.sin(lat)[:, None], (height, width)), cos*np.cos(lon)], -1).astype(np.float32)

def view_rays(height, width):
    f = width/(2*math.tan(FOV/2))
    x, y = np.meshgrid((np.arange(width) + .5 - width/2)/f, (np.arange(height) + .5 - height/2)/f)
    return np.stack([x, y, np.ones_like(x)], -1).astype(np.float32)

def opencv_paint(frames, rotations, size):
    (h, w), rays, out, masks = frames[0].shape[:2], sphere_rays(*size), [], []
    f = np.float32(w/(2*math.tan(FOV/2)))
    for frame, R in zip(frames, rotations):
        x, y, z = np.moveaxis(rays @ R.astype(np.float32), -1, 0)
        d = f/np.where(z > 0, z, np.float32(1))
        u, v = x*d + np.float32(w/2), y*d + np.float32(h/2)
        masks.append((z > 0) & (u > 0) & (u < w) & (v > 0) & (v < h))
        out.append(cv2.remap(frame, u - np.float32(.5), v - np.float32(.5), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)*masks[-1][..., None])
    return out, masks

def opencv_look(panoramas, rotations, size):
    rays = view_rays(*size)
    return [cv2.remap(p, *panorama_maps(rays @ R.T.astype(np.float32), *p.shape[:2]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for p, R in zip(panoramas, rotations)]

def opencv_turn(panoramas, rotations):
    rays = sphere_rays(*panoramas[0].shape[:2])
    return [cv2.remap(p, *panorama_maps(rays @ R.astype(np.float32), *p.shape[:2]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for p, R in zip(panoramas, rotations)]

def opencv_cube(panoramas, face_size):
    from argus_nb.projection import face_rotations
    rays = view_rays(face_size, face_size)
    maps = [panorama_maps(rays @ R.T.astype(np.float32), *panoramas[0].shape[:2]) for R in face_rotations().numpy()]
    return [[cv2.remap(p, *m, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for m in maps] for p in panoramas]

# Jobs

def write(*shapes):
    "Merely the output: memory that is new, written once."
    return [torch.empty(shape, dtype=dtype).fill_(1) for shape, dtype in shapes]

def as_opencv(images): return [np.ascontiguousarray(image) for image in images.movedim(1, -1).numpy()]

def painting(count=25, frame=(360, 640), size=(512, 1024)):
    frames, R = noise(count, 3, *frame), poses(count)
    return dict(ours=partial(perspective_to_panorama, frames, R, FOV, size, antialias=False), pyequilib=partial(equilib_paint, frames, R, size),
                OpenCV=partial(opencv_paint, as_opencv(frames), R.numpy(), size), writing=partial(write, ((count, 3, *size), torch.float32), ((count, 1, *size), torch.bool)))

def looking(count, panorama, size=(480, 480)):
    panoramas, R = noise(count, 3, *panorama), poses(count)
    return dict(ours=partial(panorama_to_perspective, panoramas, R, FOV, size, antialias=False), pyequilib=partial(equilib_look, panoramas, R, size),
                OpenCV=partial(opencv_look, as_opencv(panoramas), R.numpy(), size), writing=partial(write, ((count, 3, *size), torch.float32)))

def turning(count=25, size=(512, 1024)):
    panoramas, R = noise(count, 3, *size), poses(count)
    return dict(ours=partial(rotate_panorama, panoramas, R, antialias=False), pyequilib=partial(equilib_turn, panoramas, R),
                OpenCV=partial(opencv_turn, as_opencv(panoramas), R.numpy()), writing=partial(write, ((count, 3, *size), torch.float32)))

def folding(count=25, size=(512, 1024), face_size=256):
    panoramas = noise(count, 3, *size)
    return dict(ours=partial(panorama_to_cubemap, panoramas, face_size, antialias=False), pyequilib=partial(equilib_cube, panoramas, face_size),
                OpenCV=partial(opencv_cube, as_opencv(panoramas), face_size), writing=partial(write, ((count, 6, 3, face_size, face_size), torch.float32)))

JOBS = {  # name: what is done, the jobs, and how many times faster than pyequilib the aim is
    'frames': ('25 frames 640×360 onto 512×1024, with mask', painting, 8),
    'views': ('25 panoramas 512×1024 to views 480×480', partial(looking, 25, (512, 1024)), 8),
    'large views': ('3 panoramas 2048×4096 to views 480×480', partial(looking, 3, (2048, 4096)), None),
    'rotation': ('25 panoramas 512×1024 turned', turning, 5),
    'cube': ('25 panoramas 512×1024 to cube faces 256×256', folding, 8),
}

def medians(contestants, rounds, clock):
    "Median seconds of each, run in turn."
    seconds = {name: [] for name in contestants}
    for n in range(rounds + 1):
        for name, run in contestants.items():
            start = clock(); run(); seconds[name].append(clock() - start)
    return {name: float(np.median(times[1:])) for name, times in seconds.items()}

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--clock', choices=['wall', 'processor'], default='wall')
    parser.add_argument('--jobs', nargs='*', default=list(JOBS), choices=list(JOBS))
    parser.add_argument('--write', action='store_true', help='store the table in results/projection.json')
    args = parser.parse_args()
    torch.set_num_threads(args.threads); cv2.setNumThreads(args.threads)
    rows = []
    print(f"{'job':48} {'ours':>7}  {'pyequilib':>9} {'OpenCV':>7} {'writing':>8}   (milliseconds; times ours)")
    for name in args.jobs:
        work, make, aim = JOBS[name]
        with torch.no_grad(): ms = {key: 1e3*value for key, value in medians(make(), args.rounds, dict(wall=time.perf_counter, processor=time.process_time)[args.clock]).items()}
        ratio = {key: value/ms['ours'] for key, value in ms.items() if key != 'ours'}
        rows.append(dict(job=work, milliseconds={k: round(v, 2) for k, v in ms.items()}, times_ours={k: round(v, 3) for k, v in ratio.items()}, aim_pyequilib=aim, aim_OpenCV=1.5, aim_writing=.2))
        print(f"{work:48} {ms['ours']:7.1f}  {ratio['pyequilib']:8.1f}x {ratio['OpenCV']:6.1f}x {ratio['writing']:7.2f}x", flush=True)
    if args.write:
        libraries = {name: metadata.version(name) for name in ('numba', 'pyequilib', 'opencv-python-headless')}
        save_json(Path(__file__).parents[2]/'results'/'projection.json', run_record(threads=args.threads, clock=args.clock, rounds=args.rounds, libraries=libraries, rows=rows))

if __name__ == '__main__': main()
