"""How fast worlds are rendered, how exactly their two renderers agree, and how different they look.

    python tests/benchmarks/worlds.py [--only speed|agreement|variety] [--write]

--write stores the tables in results/worlds.json, which notebook 06 shows.

Speed: clips of 16 panoramas of 128 x 256, the making of each world included; median over clips, by the clock and, since a
machine is seldom idle, per two seconds of processor time, which is what two cores of its own give. Agreement: a view of
48 x 64 pixels against the same view read bilinearly from panoramas as fine and four times as fine, textures smoothed for the
view's pixels in both, so that only interpolation is left; beside it what interpolation costs in that panorama itself,
measured where it is dearest: midway between four of its pixels, against rays traced there. Variety: mean difference of
8 x 16 thumbnails at the most favourable turn.
"""
import argparse, json, math, os, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import numba
import numpy as np
import torch
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import run_record, save_json
from argus_nb.sphere import panorama_rays, perspective_coordinates, perspective_rays, rotation_from_euler
from argus_nb.video import write_video
from argus_nb.worlds import load_clip, random_world

KINDS = 'room', 'street', 'landscape'
VIEW, FOV, TURN = (48, 64), math.radians(75), rotation_from_euler(2.5, -.3, -.2)


def timed(make, seed):
    "Panoramas a second by the clock, and for each pair of seconds that processors worked on them."
    clock, work = time.perf_counter(), time.process_time()
    number = make(seed)
    return number/(time.perf_counter() - clock), 2*number/(time.process_time() - work)


def speed_row(what, rates):
    by_clock, by_work = np.array(rates).T
    return dict(what=what, by_clock=round(float(np.median(by_clock)), 1), two_cores=round(float(np.median(by_work)), 1), two_cores_slowest=round(float(by_work.min()), 1))


def speed(clips=4, frames=16, size=(128, 256)):
    "Panoramas a second, by kind and rays per pixel, and frames a second read from a video file."
    random_world(0).render_panorama([0.], (8, 16))  # machine code is loaded
    rows = []
    for kind, supersample in [(k, 1) for k in KINDS] + [(k, 2) for k in KINDS]:
        rates = [timed(lambda s: len(random_world(s, kind).render_panorama(torch.arange(frames)/5, size, supersample=supersample)), seed) for seed in range(clips)]
        rows.append(speed_row(f'{kind}, {supersample**2} ray{"s"*(supersample > 1)} a pixel', rates))
    with tempfile.TemporaryDirectory() as folder:
        video = (random_world(1).render_panorama(torch.arange(60)/30, (256, 512))*255).round().byte()
        write_video(f'{folder}/clip.mp4', video, 30)
        rows.append(speed_row('from a video of 256x512', [timed(lambda s: len(load_clip(f'{folder}/clip.mp4', fps=30, size=size)), n) for n in range(3)]))
    return rows


def errors(found, true):
    "Mean difference of colours, and of logarithms of distances; both (N, 4)."
    return (found - true)[:, :3].abs().mean().item(), (found[:, 3].log() - true[:, 3].log()).abs().mean().item()


def compared(world, fineness, moment=1.3):
    "Errors of the cut view, and of the panorama midway between its pixels inside the view."
    pixel = math.tan(FOV/2)/(VIEW[1]/2)  # radians in the view's middle
    height = round(math.pi/pixel*fineness)
    trace = lambda rays, R=torch.eye(3).double(): torch.cat(world._render(np.array([moment]), R, rays[None], pixel, tuple(rays.shape[:2]), 1, True), 1)
    flat = lambda image: image[0].movedim(0, -1).reshape(-1, 4)
    panorama, view = trace(panorama_rays(height, 2*height)), trace(perspective_rays(*VIEW, FOV), TURN)
    of_view = errors(flat(panorama_to_perspective(panorama, TURN, FOV, VIEW, antialias=False)), flat(view))
    lat = (torch.arange(1, height).double()/height - .5)*math.pi
    lon = (torch.arange(1, 2*height + 1).double()/(2*height) - .5)*2*math.pi
    corners = torch.stack([lat.cos()[:, None]*lon.sin(), lat.sin()[:, None].expand(-1, 2*height), lat.cos()[:, None]*lon.cos()], -1)
    mean = sum(part for part in (panorama[:, :, :-1], panorama[:, :, 1:], panorama[:, :, :-1].roll(-1, -1), panorama[:, :, 1:].roll(-1, -1)))/4
    u, v, front = perspective_coordinates(corners @ TURN, VIEW, FOV)
    inside = (front & (u > 0) & (u < VIEW[1]) & (v > 0) & (v < VIEW[0])).flatten()
    return of_view, errors(flat(mean)[inside], flat(trace(corners))[inside])


def agreement(seeds=range(4), fineness=(1, 4)):
    "Mean errors by kind and fineness, and in how many worlds the view stays within the panorama's own interpolation error."
    rows = []
    for kind in KINDS:
        for fine in fineness:
            pairs = np.array([compared(random_world(s, kind), fine) for s in seeds])  # (worlds, view or midway, colour or distance)
            within = (pairs[:, 0] <= pairs[:, 1]).all(-1).sum()
            (colour, far), (colour_midway, far_midway) = pairs.mean(0)
            rows.append(dict(kind=kind, times_finer=fine, colour=round(colour, 5), colour_midway=round(colour_midway, 5), distance_percent=round(100*far, 3),
                             distance_midway_percent=round(100*far_midway, 3), within=int(within), worlds=len(pairs)))
    return rows


def variety(seeds=200):
    "How far each world's thumbnail is from its nearest neighbour, and from itself one second later."
    thumbnail = lambda w, t: torch.nn.functional.adaptive_avg_pool2d(w.render_panorama([t], (32, 64))[0], (8, 16))
    now, later = (torch.stack([thumbnail(random_world(s), t) for s in range(seeds)]) for t in (0., 1.))
    turned = torch.stack([now.roll(k, -1) for k in range(16)])
    gaps = torch.stack([(turned - one).abs().mean((2, 3, 4)).amin(0) for one in now])
    nearest = (gaps + 9*torch.eye(seeds)).amin(1)
    itself = (now - later).abs().mean((1, 2, 3))
    return dict(seeds=seeds, nearest_smallest=round(nearest.min().item(), 4), nearest_median=round(nearest.median().item(), 4),
                any_two_median=round(gaps[gaps > 0].median().item(), 4), one_second_later_median=round(itself.median().item(), 4), one_second_later_largest=round(itself.max().item(), 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', choices=['speed', 'agreement', 'variety'], nargs='*', default=['speed', 'agreement', 'variety'])
    parser.add_argument('--write', action='store_true', help='store the tables in results/worlds.json, beside what stands there')
    args = parser.parse_args()
    path = Path(__file__).parents[2]/'results'/'worlds.json'
    for name in args.only:
        made = dict(speed=speed, agreement=agreement, variety=variety)[name]()
        for row in made if isinstance(made, list) else [made]: print(name, row, flush=True)
        part = {name: run_record(threads=numba.config.NUMBA_NUM_THREADS, load=round(os.getloadavg()[0], 1), rows=made)}
        if args.write: save_json(path, (json.loads(path.read_text()) if path.exists() else {}) | part)


if __name__ == '__main__': main()
