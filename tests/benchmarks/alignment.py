"""What alignment is worth: how far still points wander on the map, what levelling leaves, what stitching forgets.

    python tests/benchmarks/alignment.py [--only wander|levelling|stitching] [--write]

--write stores the tables in results/alignment.json, which notebook 08 shows.

Wander: six clips of 3 seconds, 12 frames a second, 480 x 270, filmed in worlds by a simulated hand that turns at least 12
degrees a second; in three of them time stands still, in three the camera walks and things move. Points are taken from the
middle frame's exact depth and followed to every frame in which they stand still, are in view and not hidden. Their root
mean square distance from their mean place on the map is given in degrees and in pixels of a map 1024 wide, for maps made
with the true cameras, with cameras tracked from the pixels, and without alignment.
"""
import argparse, json, math, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np
import torch
from torch.nn.functional import normalize
from argus_nb.alignment import level_rotation, stitch_frames, wander
from argus_nb.motion import simulate_motion
from argus_nb.runtime import make_generator, run_record, save_json
from argus_nb.sphere import perspective_coordinates, perspective_rays
from argus_nb.tracking import estimate_cameras
from argus_nb.ray_tracing import FAR, STILL
from argus_nb.worlds import random_world

SIZE, FPS, FRAMES, WIDTH = (270, 480), 12, 36, 1024
CLIPS = [('room', 301, 70, 0), ('street', 302, 60, 0), ('landscape', 303, 80, 0), ('room', 304, 75, 1), ('street', 305, 70, 1), ('landscape', 306, 65, 1)]


def film(world, times, hand, size=SIZE):
    "8-bit frames, a few at a time: floats of all of them would be large."
    shoot = lambda n: world.render_perspective(times[n:n + 1], hand.world_from_camera[n], hand.fov_x[n], size)
    return torch.cat([(shoot(n)*255).round().byte() for n in range(len(times))])


def still_points(world, times, hand, grid=(18, 32)):
    "Directions (T, N, 3) to points of the middle frame's surfaces from every frame's place, and where they are seen there (T, N)."
    middle, places = len(times)//2, world.camera_position(times)
    R, trace = hand.world_from_camera, lambda rays, t, eye=torch.eye(3).double(): world._render(np.array(t), eye, rays, .01, tuple(rays.shape[1:3]), 1, True)[1][:, 0].double()
    ahead = perspective_rays(*grid, hand.fov_x[middle]) @ R[middle].T
    far = trace(ahead[None], [float(times[middle])])[0]
    offset = (places[middle] + ahead*far[..., None])[None] - places[:, None, None]
    distance = offset.norm(dim=-1)
    rays = offset/distance[..., None]
    u, v, front = perspective_coordinates(torch.einsum('thwi,tij->thwj', rays, R), SIZE, hand.fov_x[:, None, None])
    inside = front & (u > 0) & (u < SIZE[1]) & (v > 0) & (v < SIZE[0]) & (far < .5*FAR)
    met = trace(rays.contiguous(), times.tolist())
    return rays.flatten(1, 2), (inside & ((met - distance).abs() < .01*distance)).flatten(1)


def spread_on_map(rays, seen, map_from_world):
    "Root mean square and 95th percentile of the angle between a point's places on the map and their mean, in degrees."
    places, weight = torch.einsum('tij,tnj->tni', map_from_world, rays), seen[..., None].double()
    mean = normalize((weight*places).sum(0), dim=-1)
    angle = torch.atan2(torch.linalg.cross(places, mean.expand_as(places)).norm(dim=-1), (places*mean).sum(-1)).rad2deg()
    angle = angle[seen & (seen.sum(0) >= 5)]
    return angle.square().mean().sqrt().item(), angle.quantile(.95).item()


def wandering():
    "One row for each clip and kind of cameras."
    rows = []
    for kind, seed, fov, moves in CLIPS:
        world, times = random_world(seed, kind), torch.arange(FRAMES).double()/FPS*moves
        hand = simulate_motion(FRAMES, FPS, make_generator(seed), fov_x=math.radians(fov), min_drift=12)
        tracked, (rays, seen) = estimate_cameras(film(world, times, hand), FPS), still_points(world, times, hand)
        travel = (world.camera_position(times).diff(dim=0).norm(dim=-1)).sum().item()
        for name, cameras in {'true cameras': hand, 'tracked cameras': tracked, 'naive': None}.items():
            turn = (torch.eye(3).double() if cameras is None else cameras.world_from_camera) @ hand.world_from_camera.mT
            rms, high = spread_on_map(rays, seen, turn)
            by_rotation = wander(hand, (WIDTH//2, WIDTH), cameras, SIZE)
            rows.append(dict(clip=f'{kind}, {"walking" if moves else "standing"}', travel_m=round(travel, 2), cameras=name, degrees=round(rms, 3), pixels=round(rms*WIDTH/360, 2),
                             pixels_95=round(high*WIDTH/360, 2), rotation_alone_pixels=round(by_rotation, 2)))
            print(rows[-1], flush=True)
    return rows


def levelling(clips=600, seconds=10, fps=5):
    "Tilt of the panorama in the first camera's frame and after levelling, in degrees: median and 90th percentile, by how far the hand turned."
    pairs = []
    for seed in range(clips):
        hand = simulate_motion(seconds*fps, fps, make_generator(seed), fov_x=1.2)
        up = hand.world_from_camera[0].T @ torch.tensor([0., -1, 0]).double()          # the true up in the first camera's frame
        left = level_rotation(hand.relative_to_first()) @ up
        tilt = lambda v: math.degrees(math.acos(min(1, -v[1].item())))
        yaw = hand.euler()[0].numpy()
        pairs.append((math.degrees(np.ptp(np.unwrap(yaw))), tilt(up), tilt(left)))
    rows = []
    for low, high in ((0, 15), (15, 45), (45, 360)):
        part = np.array([p for p in pairs if low <= p[0] < high])
        if len(part): rows.append(dict(turned=f'{low} to {high} degrees', clips=len(part), before=round(np.median(part[:, 1]), 1), after=round(np.median(part[:, 2]), 1),
                                       before_90=round(np.quantile(part[:, 1], .9), 1), after_90=round(np.quantile(part[:, 2], .9), 1)))
    return rows


def stitching(seed=305, size=(256, 512)):
    "A street with traffic from one place: PSNR against what stands there most of the time."
    world, times = random_world(seed, 'street'), torch.arange(FRAMES).double()/FPS
    world = replace(world, path=world.path._replace(swing=np.array([(STILL,)*3], float)))  # stands still; the traffic does not
    hand = simulate_motion(FRAMES, FPS, make_generator(seed), fov_x=math.radians(70), min_drift=12, level=True)
    frames, background = film(world, times, hand), world.render_panorama(np.linspace(-20, 24, 25), size).median(0).values
    tracked = estimate_cameras(frames, FPS).rotated(hand.world_from_camera[0])
    rows = []
    for name, cameras, passes in (('true cameras, one pass', hand, 1), ('true cameras, three passes', hand, 3), ('tracked cameras, one pass', tracked, 1), ('tracked cameras, three passes', tracked, 3)):
        panorama, seen = stitch_frames(frames, cameras, size, passes=passes)
        error = (panorama - background)[seen.expand_as(panorama)]
        rows.append(dict(what=name, psnr=round(-10*math.log10(error.square().mean().item()), 2), covered=round(seen.float().mean().item(), 3)))
        print(rows[-1], flush=True)
    return rows


PARTS = dict(wander=wandering, levelling=levelling, stitching=stitching)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', choices=list(PARTS), nargs='*', default=list(PARTS))
    parser.add_argument('--write', action='store_true', help='store the tables in results/alignment.json, beside what stands there')
    args = parser.parse_args()
    path = Path(__file__).parents[2]/'results'/'alignment.json'
    for name in args.only:
        part = {name: run_record(map_width=WIDTH, rows=PARTS[name]())}
        if name == 'levelling': print(*part[name]['rows'], sep='\n')
        if args.write: save_json(path, (json.loads(path.read_text()) if path.exists() else {}) | part)


if __name__ == '__main__': main()
