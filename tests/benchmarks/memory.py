"""Peak memory of `argus generate` against the length of the film, and of decoding against the frames decoded together.

    python tests/benchmarks/memory.py [--frames 50 250] [--chunks 1 4 10] [--write]

Films of a world are written at the model's own rate, so that each of their frames has a generated one, and `argus generate`
runs on each in a process of its own with the camera declared static; its largest resident set is read when it ends.
Few steps and a small output keep the wait short: neither changes what is held at once. Decoding is tried at twice nano's size,
twenty frames, again each in a process of its own. --write stores results/memory.json.
"""
import argparse, os, subprocess, sys, tempfile
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import torch
from argus_nb.runtime import run_record, save_json
from argus_nb.video import write_video
from argus_nb.worlds import random_world

def peak(command):
    "Largest resident set of a command, in MiB."
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status: sys.exit(f'failed: {" ".join(map(str, command))}')
    return usage.ru_maxrss/1024

DECODING = """
import sys, torch
from argus_nb.decoding import decode
from argus_nb.models import load_part, locate_model
vae = load_part('vae', locate_model('nano'), getattr(torch, sys.argv[2]))
latents = torch.randn(20, 4, 32, 64)
if int(sys.argv[1]): decode(vae, latents, 'circular_padding', chunk=int(sys.argv[1]))
"""

def decoding(chunks):
    "Peaks in MiB above what is there before anything is decoded, for each precision and chunk."
    of = lambda chunk, dtype: peak([sys.executable, '-c', DECODING, str(chunk), dtype])
    rows = {}
    for dtype in ('float32', 'bfloat16'):
        before = of(0, dtype)
        rows[dtype] = {str(chunk): round(of(chunk, dtype) - before) for chunk in chunks}
        print(f'decoding 20 frames of 256x512 in {dtype}: ' + ', '.join(f'{mib} MiB with chunk={chunk}' for chunk, mib in rows[dtype].items()), flush=True)
    return rows

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, nargs='+', default=[50, 250], help='generated frames of each film')
    parser.add_argument('--chunks', type=int, nargs='+', default=[1, 4, 10], help='frames decoded together')
    parser.add_argument('--write', action='store_true', help='store the result in results/memory.json')
    args = parser.parse_args()
    rows, decoded = {}, decoding(args.chunks)
    with tempfile.TemporaryDirectory() as folder:
        for count in args.frames:
            film, world = Path(folder)/f'{count}.mp4', random_world(4)
            views = (world.render_perspective(torch.tensor([n/5]), torch.eye(3, dtype=torch.float64)[None], 1.2, (120, 160))[0] for n in range(count))
            write_video(film, views, 5, spherical=False)
            rows[count] = peak([Path(sys.executable).with_name('argus'), 'generate', film, Path(folder)/f'{count}_360.mp4', '--static', '--steps', '1', '--width', '256'])
            print(f'{count:4} generated frames: {rows[count]:7.0f} MiB at the peak', flush=True)
    ratio = rows[max(rows)]/rows[min(rows)]
    print(f'{ratio:.3f} times the memory for {max(rows)/min(rows):.0f} times the length')
    if args.write: save_json(Path(__file__).parents[2]/'results'/'memory.json', run_record(steps=1, width=256, mebibytes={str(k): round(v) for k, v in rows.items()}, ratio=round(ratio, 4), decoding_mebibytes=decoded))

if __name__ == '__main__': main()
