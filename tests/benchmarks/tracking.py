"""How far estimated cameras are from the truth, on a dozen rendered clips.

    python tests/benchmarks/tracking.py [--clips N ...] [--write]

Half of the clips only turn (worlds in which time stands still, and panoramas), half walk through worlds in which
people and cars move; the last one pans away and comes back, to show the drift. Clips are 640 x 360, 30 frames a
second, all from fixed seeds. --write stores the table in results/tracking.json, which notebook 07 shows.
"""
import argparse, math, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np
import torch
from argus_nb.cameras import CameraTrack
from argus_nb.motion import simulate_motion
from argus_nb.projection import panorama_to_perspective
from argus_nb.runtime import make_generator, run_record, save_json
from argus_nb.sphere import rotation_angle
from argus_nb.tracking import estimate_cameras
from argus_nb.worlds import load_panorama, panorama_names, random_world

SIZE, FPS = (360, 640), 30

def as_video(frames): return (frames*255).round().byte()

def world_clip(seed, kind, moves, track):
    "A world filmed with its own camera path, or from one place at one moment."
    world = random_world(seed, kind)
    times = torch.arange(len(track))/FPS*moves
    return torch.cat([as_video(world.render_perspective([t], R, fov, SIZE)) for t, R, fov in zip(times, track.world_from_camera, track.fov_x)])

def panorama_clip(name, track):
    "A still panorama filmed by a turning camera; its pixels are coarse, so the video is soft."
    panorama = load_panorama(name)
    return torch.cat([as_video(panorama_to_perspective(panorama, R, fov, SIZE)) for R, fov in zip(track.world_from_camera, track.fov_x)])

def shaken(seed, num_frames, fov): return simulate_motion(num_frames, FPS, make_generator(seed), fov_x=math.radians(fov), min_drift=5)

def there_and_back(seed, num_frames, fov):
    "A pan of 80 degrees and back with the tremor of a hand."
    hand = simulate_motion(num_frames, FPS, make_generator(seed), fov_x=math.radians(fov))
    yaw, pitch, roll = hand.euler()
    sweep = .5*(1 - torch.cos(torch.linspace(0, 2*math.pi, num_frames).double()))
    ramp = torch.linspace(0, 1, num_frames).double()
    yaw = math.radians(80)*sweep + (yaw - yaw[0]) - ramp*(yaw[-1] - yaw[0])  # the drift of the hand is taken out: it comes back
    pitch, roll = (a - ramp*(a[-1] - a[0]) for a in (pitch, roll))
    return CameraTrack.from_euler(yaw, pitch, roll, hand.fov_x, fps=FPS)

def clips():
    "Name, group, track, and a function that films it."
    test, out = panorama_names('test'), []
    for n, (seed, kind, fov) in enumerate([(101, 'room', 70), (102, 'street', 60), (103, 'landscape', 85)]):
        track = shaken(n, 90, fov); out.append((f'{kind}, standing', 'turning', track, lambda s=seed, k=kind, t=track: world_clip(s, k, 0, t)))
    for n, (name, fov) in enumerate([(test[0], 65), (test[1], 90), (test[2], 50)]):
        track = shaken(10 + n, 90, fov); out.append((f'panorama {name}', 'turning', track, lambda m=name, t=track: panorama_clip(m, t)))
    for n, (seed, kind, fov) in enumerate([(201, 'room', 70), (202, 'street', 65), (203, 'landscape', 80), (204, 'room', 90), (205, 'street', 75), (206, 'landscape', 60)]):
        track = shaken(20 + n, 90, fov); out.append((f'{kind}, walking', 'walking', track, lambda s=seed, k=kind, t=track: world_clip(s, k, 1, t)))
    track = there_and_back(40, 300, 65); out.append((f'panorama {test[3]}, there and back', 'drift', track, lambda t=track: panorama_clip(test[3], t)))
    return out

def measure(track, frames):
    "Errors of one clip in degrees and per cent, and seconds of processor time a frame."
    start = time.process_time(); estimate = estimate_cameras(frames, FPS); seconds = time.process_time() - start
    error = rotation_angle(estimate.world_from_camera.mT @ track.relative_to_first().world_from_camera).rad2deg()
    fov = 100*(estimate.fov_x/track.fov_x - 1)
    return dict(median=error.median().item(), largest=error.max().item(), last=error[-1].item(), fov_percent=fov.abs().median().item(),
                fov_found='assumed' not in estimate.source, remarks=estimate.source, ms=1e3*seconds/len(frames), frames=len(frames))

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--clips', type=int, nargs='*', help='which clips, all by default')
    parser.add_argument('--write', action='store_true', help='store the table in results/tracking.json')
    args = parser.parse_args()
    rows = []
    print(f"{'clip':42} {'median':>7} {'largest':>7} {'last':>6} {'fov %':>6} {'ms':>5}  remarks")
    for n, (name, group, track, film) in enumerate(clips()):
        if args.clips and n not in args.clips: continue
        row = dict(clip=name, group=group) | measure(track, film()); rows.append(row)
        print(f"{name:42} {row['median']:7.3f} {row['largest']:7.3f} {row['last']:6.3f} {row['fov_percent']:6.2f} {row['ms']:5.1f}  {row['remarks']}", flush=True)
    for group in ('turning', 'walking', 'drift'):
        those = [r for r in rows if r['group'] == group]
        if those: print(f"{group:10} median rotation error {np.median([r['median'] for r in those]):.3f} degrees, field of view {np.median([r['fov_percent'] for r in those if r['fov_found']] or [math.nan]):.2f}% where found")
    if args.write: save_json(Path(__file__).parents[2]/'results'/'tracking.json', run_record(size=list(SIZE), fps=FPS, rows=rows))

if __name__ == '__main__': main()
