"""How far estimated cameras are from the truth, on forty rendered clips, eight panoramas and four long clips.

    python tests/benchmarks/tracking.py [--clips N ...] [--keep FOLDER] [--write] [--again]
    python tests/benchmarks/tracking.py --speed [--clips N ...] [--keep FOLDER] [--write]
    python tests/benchmarks/tracking.py --colmap [--keep FOLDER] [--write]
    python tests/benchmarks/tracking.py --media FOLDER

Twenty clips (0 to 19) only turn: worlds in which time stands still. Twenty (20 to 39) walk through worlds in which people
and cars move. Then come the CC0 panoramas of the test split (40 to 47), whose pixels are coarse, and four clips of 300
frames (48 to 51), to show the drift: two pan away and come back, one pans on and on, one goes once around. All are
640 x 360, 30 frames a second, from seeds that no tuning of the tracker used.

--write stores each row in results/tracking.json as soon as it is there, which notebook 07 shows; rows already stored are
not measured again unless --again is given, so a run that was broken off goes on where it was. --keep keeps the rendered
frames for the next time. --speed measures frames a second by the clock, so the machine should have nothing else to do.
--colmap measures both methods on wide walks: through four rooms whose walls are painted with noise, and in two streets. --media takes a folder of panorama videos, cuts
two clips with different cameras out of each, and prints how well the two agree; nothing of that is stored.
"""
import argparse, json, math, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np
import torch
from argus_nb.cameras import CameraTrack
from argus_nb.motion import simulate_motion
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import InputError, make_generator, run_record, save_json
from argus_nb.sphere import panorama_coordinates, perspective_rays, rotation_angle, rotation_from_euler
from argus_nb.tracking import estimate_cameras
from argus_nb.worlds import load_panorama, panorama_names, random_world

SIZE, FPS, FRAMES = (360, 640), 30, 60
RESULTS = Path(__file__).parents[2]/'results'/'tracking.json'

def as_video(frames): return (frames*255).round().byte()

def world_clip(seed, kind, moves, track):
    "A world filmed with its own camera path, or from one place at one moment."
    world, times = random_world(seed, kind), torch.arange(len(track))/FPS*moves
    parts = torch.arange(len(track)).split(15)  # a second of float frames is as much as need be held
    return torch.cat([as_video(world.render_perspective(times[n], track.world_from_camera[n], track.fov_x[n], SIZE)) for n in parts])

def panorama_clip(panorama, track):
    "A panorama, still or one for each frame, filmed by a turning camera."
    return torch.cat([as_video(panorama_to_perspective(panorama if panorama.ndim == 3 else panorama[n], R, fov, SIZE))
                      for n, (R, fov) in enumerate(zip(track.world_from_camera, track.fov_x))])

def shaken(seed, num_frames, fov, turns=5): return simulate_motion(num_frames, FPS, make_generator(seed), fov_x=math.radians(fov), min_drift=turns)

def sweeping(seed, num_frames, fov, sweep, way):
    "The tremor of a hand on a sweep of some degrees; `way` says where on it the camera is at each moment of [0, 1]."
    yaw, pitch, roll = shaken(seed, num_frames, fov, 0).euler()
    ramp = torch.linspace(0, 1, num_frames).double()
    yaw, pitch, roll = (a - ramp*(a[-1] - a[0]) for a in (yaw, pitch, roll))  # the drift of the hand is taken out
    return CameraTrack.from_euler(yaw + math.radians(sweep)*way(ramp), pitch, roll, math.radians(fov), fps=FPS)

def there_and_back(t): return .5*(1 - torch.cos(2*math.pi*t))
def on_and_on(t): return t

def clips():
    "Name, group, track, and a function that films it."
    kinds, test, out = ('room', 'street', 'landscape'), panorama_names('test'), []
    for n in range(40):
        walks, kind, seed = n >= 20, kinds[n % 3], 4001 + n + 80*(n >= 20)
        track = shaken(seed, FRAMES, 45 + 55*((7*n) % 20)/19)  # 45 to 100 degrees, in mixed order
        out.append((f"{kind} {seed}, {'walking' if walks else 'standing'}", 'walking' if walks else 'turning', track, lambda s=seed, k=kind, w=walks, t=track: world_clip(s, k, w, t)))
    for n, name in enumerate(test):
        track = shaken(5001 + n, FRAMES, 50 + 6*n); out.append((f'panorama {name}', 'panorama', track, lambda m=name, t=track: panorama_clip(load_panorama(m), t)))
    for n, (name, how, sweep, way) in enumerate([(test[3], 'there and back', 80, there_and_back), (test[6], 'there and back', 80, there_and_back),
                                                 (test[0], 'on and on', 150, on_and_on), (test[1], 'once around', 360, on_and_on)]):
        track = sweeping(6001 + n, 300, 65, sweep, way); out.append((f'panorama {name}, {how}', 'drift', track, lambda m=name, t=track: panorama_clip(load_panorama(m), t)))
    return out

def painted_room(rotations, positions, fov, size, half=(4., 2., 5.), seed=0):
    "A room whose walls are painted with noise, filmed by a camera that walks through it; uint8."
    paint = torch.nn.functional.interpolate(torch.rand(1, 3, 128, 256, generator=make_generator(seed)), scale_factor=4, mode='bicubic').clamp(0, 1)
    rays = perspective_rays(*size, fov).double() @ rotations.mT[:, None]
    far = ((rays.sign()*torch.tensor(half) - positions[:, None, None])/rays).amin(-1, keepdim=True)  # the nearest wall along each ray
    u, v = panorama_coordinates(positions[:, None, None] + far*rays, tuple(paint.shape[2:]))
    place = torch.stack([2*u/paint.shape[3] - 1, 2*v/paint.shape[2] - 1], -1).float()
    return as_video(torch.nn.functional.grid_sample(paint.expand(len(place), -1, -1, -1), place, padding_mode='border', align_corners=False))

def wide_walks():
    "Name, track, frames a second and a function that films it: camera paths as wide as the rooms, and a walk down a street."
    t, out = torch.linspace(0, 1, 16).double(), []
    for n, (fov, turn, way) in enumerate([(65, .5, (2.4, .3, 1.5)), (80, -.6, (-3., .2, 1.)), (55, .3, (1., -.6, 3.)), (70, .9, (3., .4, -2.))]):
        R = rotation_from_euler(turn*t - .2, .1*(5*t + n).sin(), .05*(4*t).cos())
        P = torch.stack([way[0]*(t - .5), way[1]*(3*t).sin(), way[2]*(t - .5)], 1)
        out.append((f'painted room {n}', CameraTrack(R, math.radians(fov)), 4, lambda a=R, b=P, f=math.radians(fov), s=n: painted_room(a, b, f, (240, 320), seed=s)))
    for seed in (301, 307):
        track = simulate_motion(20, 4, make_generator(seed), fov_x=math.radians(70))
        out.append((f'street {seed}, walking far', track, 4, lambda s=seed, k=track: as_video(random_world(s, 'street').render_perspective(torch.arange(20)/4, k.world_from_camera, k.fov_x, (270, 480)))))
    return out

def filmed(name, film, folder):
    "The frames of a clip, read from the folder where they were kept."
    if folder is None: return film()
    path = Path(folder)/f"{name.replace(' ', '_').replace(',', '')}.npy"
    if not path.exists(): path.parent.mkdir(exist_ok=True, parents=True); np.save(path, film().numpy())
    return torch.from_numpy(np.load(path))

def errors(estimate, track):
    "Angle of each frame's rotation error in degrees; (T,)"
    return rotation_angle(estimate.world_from_camera.mT @ track.relative_to_first().world_from_camera).rad2deg()

def measure(track, frames, fps=FPS, **options):
    "Errors of one clip in degrees and per cent, and seconds of processor time a frame."
    start = time.process_time(); estimate = estimate_cameras(frames, fps, **options); seconds = time.process_time() - start
    error, fov = errors(estimate, track), 100*(estimate.fov_x/track.fov_x - 1)
    return dict(median=error.median().item(), largest=error.max().item(), last=error[-1].item(), fov_percent=fov.abs().median().item(),
                fov_found='assumed' not in estimate.source, remarks=estimate.source, ms=1e3*seconds/len(frames), frames=len(frames))

def stored(): return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

def store(**parts):
    "Put parts into the record; what is in it stays, but the date and versions are those of now."
    save_json(RESULTS, stored() | run_record(size=list(SIZE), fps=FPS) | dict(command='tracking.py --write; the same with --speed, --colmap') | parts)

def summary(rows):
    for group in ('turning', 'walking', 'panorama', 'drift'):
        those = [r for r in rows if r['group'] == group]
        if those: print(f"{group:10}{len(those):3} clips, median rotation error {np.median([r['median'] for r in those]):.3f} degrees, largest median {max(r['median'] for r in those):.3f}, "
                        f"field of view {np.median([r['fov_percent'] for r in those if r['fov_found']] or [math.nan]):.2f}%, found in {sum(r['fov_found'] for r in those)}")

def measure_all(args):
    order, rows = [name for name, *_ in clips()], {} if args.again or not args.write else {r['clip']: r for r in stored().get('rows', [])}
    rows = {name: row for name, row in rows.items() if name in order}
    print(f"{'clip':42} {'median':>7} {'largest':>7} {'last':>6} {'fov %':>6} {'ms':>5}  remarks")
    for n, (name, group, track, film) in enumerate(clips()):
        if args.clips is not None and n not in args.clips or name in rows: continue
        row = rows[name] = dict(clip=name, group=group) | measure(track, filmed(name, film, args.keep))
        print(f"{name:42} {row['median']:7.3f} {row['largest']:7.3f} {row['last']:6.3f} {row['fov_percent']:6.2f} {row['ms']:5.1f}  {row['remarks']}", flush=True)
        if args.write: store(rows=sorted(rows.values(), key=lambda r: order.index(r['clip'])))
    summary(rows.values())

def measure_speed(args):
    rows = []
    for n, (name, group, track, film) in enumerate(clips()):
        if n not in (args.clips or (0, 21, 40)): continue
        frames = filmed(name, film, args.keep)
        start = time.perf_counter(); estimate_cameras(frames, FPS); seconds = time.perf_counter() - start
        rows.append(dict(clip=name, frames=len(frames), frames_per_second=len(frames)/seconds)); print(f"{name:42} {len(frames)/seconds:6.1f} frames a second", flush=True)
    if args.write: store(speed=rows)

def measure_colmap(args):
    rows = []
    for name, track, fps, film in wide_walks():
        frames = filmed(name, film, args.keep)
        for method in ('rotation', 'colmap'):
            try: row = measure(track, frames, fps, method=method)
            except InputError as error: row = dict(remarks=str(error))
            rows.append(dict(clip=name, method=method) | row)
            print(f"{name:26} {method:9}" + (f" {row['median']:7.3f} {row['largest']:7.3f} {row['fov_percent']:6.2f}" if 'median' in row else '') + f"  {row['remarks']}", flush=True)
    if args.write: store(colmap=rows)

def measure_media(args):
    "Two cameras in one video agree up to how they were turned, whatever the video's own camera did."
    from argus_nb.video import read_video
    for path in sorted(Path(args.media).iterdir()):
        video = read_video(path, seconds=2); T = len(video.frames)
        panoramas = torch.stack([video.frames[t] for t in range(T)])
        panoramas = panoramas.float()/255 if panoramas.dtype == torch.uint8 else panoramas
        a, b = (simulate_motion(T, video.fps, make_generator(7001 + k), fov_x=math.radians(75), min_drift=5, level=True) for k in range(2))
        b = b.rotated(CameraTrack.from_euler(.5, 0., 0., 1.).world_from_camera[0])
        one, two = (estimate_cameras(panorama_clip(panoramas, track), video.fps) for track in (a, b))
        truth, start = a.world_from_camera.mT @ b.world_from_camera, a.world_from_camera[0].T @ b.world_from_camera[0]
        apart = rotation_angle(truth.mT @ one.world_from_camera.mT @ start @ two.world_from_camera).rad2deg()
        own = rotation_angle(one.world_from_camera.mT @ a.relative_to_first().world_from_camera).rad2deg()
        print(f"{path.name:30} two cameras differ by {apart.median():.3f} degrees (largest {apart.max():.3f}); one from its own motion, the video's included, by {own.median():.3f}; "
              f"field of view {[round(t.fov_x.rad2deg().median().item(), 1) for t in (one, two)]} of 75; {one.source}; {two.source}", flush=True)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clips', type=int, nargs='*', help='which clips, all by default')
    parser.add_argument('--keep', metavar='FOLDER', help='keep the rendered frames there')
    parser.add_argument('--write', action='store_true', help='store the rows in results/tracking.json')
    parser.add_argument('--again', action='store_true', help='measure stored rows anew')
    parser.add_argument('--speed', action='store_true', help='measure frames a second by the clock')
    parser.add_argument('--colmap', action='store_true', help='measure both methods on wide walks')
    parser.add_argument('--media', metavar='FOLDER', help='panorama videos to cut clips from; printed only')
    args = parser.parse_args()
    (measure_media if args.media else measure_speed if args.speed else measure_colmap if args.colmap else measure_all)(args)

if __name__ == '__main__': main()
