#!/usr/bin/env python3
"""Does what leaves the view go on moving? A ball in held-out worlds leaves the camera's view; where is it one to three seconds later?

    python scripts/dynamics.py [--clips 24] [--work runs/dynamics] [--write]

In every second clip the camera stands still and the ball rolls out of its view, in the others the camera turns away from a
slow ball. The ball runs along a straight line, so that its true direction is known at every moment. In panoramas it is found
by its colour, as the input showed it: the place outside the view where a disc of its size is most like it and the ring around
is not. It counts as lost where that likeness is below a threshold, which is the one that tells best, in the true panoramas,
frames with the ball from the same frames of the same worlds without it; both rates of error are written down.
Rows: argus; 'swept', where the ball stays as it was last seen; the autoencoder alone; the truth. And two guesses that need no
panorama: frozen at the last direction that was seen, and going on along the great circle at the speed that was last seen.
--write stores results/dynamics.json, which tables/dynamics shows.
"""
import argparse, dataclasses, math, sys
from pathlib import Path
import numpy as np
import torch
import torch.nn.functional as F
from argus_nb.baselines import generated, swept, task_of
from argus_nb.cameras import CameraTrack
from argus_nb.data import training_pair
from argus_nb.evaluation import Bound, bootstrap
from argus_nb.models import weights_of
from argus_nb.pipeline import ArgusPipeline
from argus_nb.runtime import make_generator, pick_device, pick_dtype, run_record, save_json, write_beside
from argus_nb.sphere import panorama_coordinates, panorama_rays, rotation_from_euler
from argus_nb.ray_tracing import ELLIPSOID, PLAIN
from argus_nb.worlds import random_world
from PIL import Image
from tqdm.auto import tqdm

ROOT, SIZE, FRAMES, FPS, FOV, RADIUS = Path(__file__).resolve().parents[1], (128, 256), 21, 5., math.radians(75), .8
LATER = (1, 2, 3)  # seconds after the last sight

def with_ball(world, start, velocity, colour):
    "The world with a ball that runs along a line; start (metres at time 0) and velocity in the panorama's axes, relative to where the camera is at time 0."
    c, s = math.cos(world.heading), math.sin(world.heading)
    scene = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    origin = world.camera_position([0.])[0].numpy()
    still = np.array([[0, 1, 0]]*3, float)
    row = dict(start=scene@(origin + start), velocity=scene@velocity, period=(1e9, 0), swing=still, hop=(0, 1, 0), spin=(0, 0))
    movement = world.movement._replace(**{name: np.concatenate([getattr(world.movement, name), np.asarray(value, float)[None]]) for name, value in row.items()})
    material = [PLAIN, *colour, *colour, *colour, 1, 1, 0, 0, .25, 0, 0]
    body = [0, 0, 0, 1, 0, RADIUS, RADIUS, RADIUS, RADIUS, ELLIPSOID, len(world.materials), len(world.materials)]
    return dataclasses.replace(world, bodies=np.vstack([world.bodies, body]), materials=np.vstack([world.materials, material]), movement=movement,
                               movement_of=np.append(world.movement_of, len(movement.start) - 1), opaque=np.append(world.opaque, len(world.bodies)))

def scene(number):
    "A held-out outdoor world, its ball's line (start, velocity), colour, and the camera's yaws; everything from the number."
    g = np.random.default_rng([number, 12])
    side, edge, turns = g.choice([-1, 1]), FOV/2, number % 2 == 1
    distance, height = g.uniform(3.6, 5), g.uniform(-.3, .4)
    rate = math.radians(g.uniform(6, 14) if turns else g.uniform(22, 38))  # at the closest point
    at_edge = .75 if turns else 1.
    direction = math.radians(12) + rate*at_edge if turns else edge           # of the ball when it leaves the view
    closest = direction + math.radians(g.uniform(-15, 35))
    when = at_edge + math.tan(closest - direction)/rate
    towards, along = np.array([math.sin(closest), 0, math.cos(closest)]), np.array([math.cos(closest), 0, -math.sin(closest)])
    velocity = distance*rate*along
    start = distance*towards - when*velocity + np.array([0, height, 0])
    mirror = np.array([side, 1, 1])
    yaw = -side*(edge - math.radians(12))/at_edge*np.arange(FRAMES)/FPS if turns else np.zeros(FRAMES)
    hue = g.uniform()
    colour = np.array([max(0., min(1., abs((hue*6 + k) % 6 - 3) - 1)) for k in (0, 4, 2)])*.75 + .02
    seed = 2*(900 + number) + 1
    return random_world(seed, 'street' if number % 4 < 2 else 'landscape'), start*mirror, velocity*mirror, colour, torch.from_numpy(yaw)

def directions(world, start, velocity):
    "Unit vectors from the camera to the ball; (T, 3)."
    times = np.arange(FRAMES)/FPS
    camera = world.camera_position(times).numpy()
    return F.normalize(torch.from_numpy(camera[0] + start + times[:, None]*velocity - camera), dim=-1)

def likeness(panorama, colour, radius, allowed):
    "How much more a disc looks like the ball than the ring around it, and where most; (value, direction)."
    like = torch.exp(-((panorama - colour[:, None, None]).square().sum(0)/.18**2))[None, None]
    reach = math.ceil(2*radius)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.)]*2, indexing='ij')
    away = (x*x + y*y).sqrt()
    disc, ring = (away <= .85*radius).float(), ((away > 1.25*radius) & (away <= 2*radius)).float()
    around = F.pad(F.pad(like, (reach, reach, 0, 0), mode='circular'), (0, 0, reach, reach), mode='replicate')
    found = F.conv2d(around, (disc/disc.sum() - ring/ring.sum())[None, None])[0, 0]
    found = found.where(allowed, torch.tensor(-1.))
    return found.max().item(), panorama_rays(*SIZE).reshape(-1, 3)[found.argmax()]

def angle(a, b): return math.degrees(torch.arccos((a*b).sum().clamp(-1, 1)))

class Clip:
    "One clip: the world filmed with the ball, the truth, and where to look for the ball."
    def __init__(self, number):
        world, start, velocity, colour, yaw = scene(number)
        balled, times = with_ball(world, start, velocity, colour), torch.arange(FRAMES)/FPS
        rotations = rotation_from_euler(yaw, 0*yaw, 0*yaw)
        fov_y = 2*math.atan(math.tan(FOV/2)*.75)
        cameras = CameraTrack(rotations, torch.full((FRAMES,), FOV), torch.full((FRAMES,), fov_y), fps=FPS)
        big = balled.render_panorama(times, (2*SIZE[0], 2*SIZE[1]))
        self.number, self.name, self.pair = number, f'{world.kind}_{world.seed}', training_pair(big, cameras)
        self.without = F.avg_pool2d(world.render_panorama(times, (2*SIZE[0], 2*SIZE[1])), 2)
        self.truth = directions(world, start, velocity)
        inside = [bool(self.pair.mask[t, 0][self._pixel(t)]) for t in range(FRAMES)]
        self.last = max(t for t in range(6) if inside[t])
        distance = (torch.from_numpy(world.camera_position(times.tolist()).numpy()[0] + start + times.numpy()[:, None]*velocity) - world.camera_position(times.tolist())).norm(dim=-1)
        self.radius = (RADIUS/distance).asin()/math.pi*SIZE[0]  # pixels; (T,)
        near = panorama_rays(*SIZE) @ self.truth[self.last] > math.cos(.7*float(self.radius[self.last])/SIZE[0]*math.pi)
        self.colour = self.pair.condition[self.last][:, near & (self.pair.mask[self.last, 0] > 0)].mean(1)

    def _pixel(self, t):
        u, v = panorama_coordinates(self.truth[t], SIZE)
        return int(v.clamp(0, SIZE[0] - 1)), int(u % SIZE[1])

    def look(self, panoramas, t):
        "Likeness and error in degrees of what is found in one frame."
        rows = (.5 - (torch.arange(SIZE[0]) + .5)/SIZE[0]).abs()*180 <= 45
        allowed = rows[:, None] & ~(self.pair.mask[t, 0] > 0)
        value, direction = likeness(panoramas[t], self.colour, float(self.radius[t]), allowed)
        return dict(likeness=round(value, 4), error=round(angle(direction, self.truth[t]), 3))

    def guesses(self, t):
        "Errors of the two guesses, in degrees."
        before, last = self.truth[self.last - 1], self.truth[self.last]
        axis, turn = F.normalize(torch.linalg.cross(before, last), dim=0), math.radians(angle(before, last))*(t - self.last)
        ahead = last*math.cos(turn) + torch.linalg.cross(axis, last)*math.sin(turn)
        return dict(frozen=round(angle(last, self.truth[t]), 3), steady=round(angle(ahead, self.truth[t]), 3))

def threshold(with_it, without):
    "The likeness that tells the two sets best, the geometric mean of its neighbours, and how often it misses and how often it cries wolf."
    values = sorted([*with_it, *without])
    told = [sum(w > v for w in with_it)/len(with_it) + sum(w <= v for w in without)/len(without) for v in values]
    low = max(range(len(values) - 1), key=told.__getitem__)
    best = math.sqrt(max(values[low], 1e-6)*max(values[low + 1], 1e-6))
    return dict(likeness=round(best, 4), missed=round(sum(w < best for w in with_it)/len(with_it), 4), imagined=round(sum(w >= best for w in without)/len(without), 4))

def summarise(rows, names):
    "Share lost and mean error of what was found, for each row and delay; the guesses beside them."
    limit, found = threshold([m['likeness'] for r in rows for m in r['truth'].values()], [m['likeness'] for r in rows for m in r['without'].values()]), {}
    for kind in ('leaves', 'turned away', 'all'):
        part = [r for r in rows if kind in (r['kind'], 'all')]
        for later in map(str, LATER):
            of = found.setdefault(kind, {}).setdefault(later, {})
            for name in names:
                seen = [r[name][later] for r in part]
                kept = [m['error'] for m in seen if m['likeness'] >= limit['likeness']]
                of[name] = dict(lost=round(1 - len(kept)/len(seen), 4), error=bootstrap(kept), within_15=round(sum(e < 15 for e in kept)/len(seen), 4), clips=len(seen))
            for guess in ('frozen', 'steady'): of[guess] = dict(lost=0., error=bootstrap([r['guesses'][later][guess] for r in part]), within_15=round(sum(r['guesses'][later][guess] < 15 for r in part)/len(part), 4), clips=len(part))
    return dict(threshold=limit, summary=found)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clips', type=int, default=24)
    parser.add_argument('--model', default='nano', help='name or folder')
    parser.add_argument('--work', type=Path, default=ROOT/'runs'/'dynamics', help='where pictures go')
    parser.add_argument('--write', action='store_true', help='store results/dynamics.json')
    args = parser.parse_args()
    pipeline = ArgusPipeline.from_pretrained(args.model, dtype=pick_dtype(pick_device())); pipeline.set_progress_bar_config(disable=True)
    methods, rows = {'argus': generated(pipeline), 'swept': swept}, []
    args.work.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(args.clips)):
        clip = Clip(number)
        made = {name: method(task_of(clip.pair, number, clip.name)).float() for name, method in methods.items()} | {'bound': Bound(pipeline)(clip.pair).float(), 'truth': clip.pair.target, 'without': clip.without}
        when = {str(later): clip.last + round(later*FPS) for later in LATER}
        rows.append(dict(clip=clip.name, number=number, kind='turned away' if number % 2 else 'leaves', last=clip.last, guesses={later: clip.guesses(t) for later, t in when.items()},
                         **{name: {later: clip.look(panoramas, t) for later, t in when.items()} for name, panoramas in made.items()}))
        shown = [clip.last, *when.values()]
        page = torch.cat([torch.cat([p[t] for t in shown], -1) for p in (clip.pair.condition, made['truth'], made['argus'])], -2)
        with write_beside(args.work/f'{number:02d}.png') as temporary: Image.fromarray((page.clamp(0, 1)*255).byte().movedim(0, -1).numpy()).save(temporary)
    found = summarise(rows, [*methods, 'bound', 'truth'])
    print(found['threshold'])
    for later, of in found['summary']['all'].items():
        for name, v in of.items(): print(f"{later} s later, {name:8} lost {100*v['lost']:3.0f} %, error {v['error']['mean']:6.1f} degrees ({v['error']['low']:.1f} to {v['error']['high']:.1f}), within 15 degrees {100*v['within_15']:3.0f} %")
    if args.write: save_json(ROOT/'results'/'dynamics.json', run_record(model=args.model, weights=weights_of(args.model)['unet'], frames=FRAMES, size=list(SIZE), fps=FPS, rows=rows, **found))

if __name__ == '__main__': main()
