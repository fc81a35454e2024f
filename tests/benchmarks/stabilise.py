"""How much calmer a stabilised film is when everything around it was generated: python tests/benchmarks/stabilise.py [--write]

A shaky hand films an own world that training never saw; `argus generate` tracks it and makes the surroundings,
`argus stabilise` cuts the calm film and the one on a tripod out of the result, and the tracker is asked about all three.
Shake is the root mean square angle of the tracked rotations from their own moving average over a quarter of a second.
With --film FILE the same is printed for a film of one's own. --write puts the figures into results/stabilise.json.
"""
import argparse, math, subprocess, sys, tempfile
from pathlib import Path
import numpy as np
from argus_nb.steady import shake
from argus_nb.motion import HandMotion, simulate_motion
from argus_nb.runtime import make_generator, run_record, save_json
from argus_nb.tracking import estimate_cameras
from argus_nb.video import read_video, write_video
from argus_nb.worlds import random_world

ROOT = Path(__file__).parents[2]
ARGUS = str(Path(sys.executable).with_name('argus'))
FPS, FOV = 15, 70
SHAKY = HandMotion(noise=(.5, .5, .4), amplitude=(3., 2.5, 1.5), drift=(15., 3., 0.), frequency=3.)

def film(path: Path, seed: int, seconds: float = 3., size: tuple = (240, 320)) -> None:
    "A shaky clip of an own world."
    times = np.arange(round(seconds*FPS))/FPS
    hand = simulate_motion(len(times), FPS, make_generator(seed), fov_x=math.radians(FOV), level=True, motion=SHAKY)
    write_video(path, random_world(seed).render_perspective(times, hand.world_from_camera, hand.fov_x, size), FPS, spherical=False)

def figures(path: Path, fov: float|None) -> dict:
    "Shake in degrees, and the share of black pixels."
    video = read_video(path)
    track = estimate_cameras(video.frames, video.fps, fov_x=fov)
    black = np.mean([(np.asarray(video.frames[n]).max(0) < 8).mean() for n in range(0, len(video.frames), 5)])
    return dict(shake=math.degrees(shake(track.world_from_camera, .25*float(video.fps))), black=float(black))

def judged(clip: Path, folder: Path, fov: float|None) -> dict:
    "The input's figures beside those of the calm film and the one on a tripod."
    around = folder/'around.mp4'
    told = ['--fov', f'{math.degrees(fov):g}'] if fov else []
    run = lambda *command: subprocess.run([ARGUS, *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run('generate', clip, around, '--overwrite', *told)
    rows = {'input': figures(clip, fov)}
    for name, still in (('calm', []), ('tripod', ['--still'])):
        run('stabilise', around, folder/f'{name}.mp4', '--input', clip, '--overwrite', *told, *still)
        rows[name] = figures(folder/f'{name}.mp4', fov)
    return rows

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[3, 5, 7], help='worlds; training never sees odd ones')
    parser.add_argument('--film', type=Path, help='a film of your own instead')
    parser.add_argument('--keep', type=Path, help='folder for the films')
    parser.add_argument('--write', action='store_true', help='write results/stabilise.json')
    args = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in [args.film.stem] if args.film else args.seeds:
            folder = (args.keep or Path(temporary))/str(seed); folder.mkdir(parents=True, exist_ok=True)
            clip = args.film or folder/'input.mp4'
            if not args.film: film(clip, seed)
            rows[str(seed)] = judged(clip, folder, None if args.film else math.radians(FOV))
            base = rows[str(seed)]['input']['shake']
            print(f"{seed}: " + ', '.join(f"{name} {r['shake']:.2f} degrees ({base/r['shake']:.1f} times less, {r['black']:.1%} black)" for name, r in rows[str(seed)].items()), flush=True)
    if args.write: save_json(ROOT/'results'/'stabilise.json', run_record(fps=FPS, fov=FOV, rows=rows))

if __name__ == '__main__': main()
