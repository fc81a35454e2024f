"""How long the promised commands take: python tests/benchmarks/commands.py, written to results/commands.json.

`argus --help` (median of 5), `argus generate` on the demo's own input (4 s, 640x360, 30 fps) and on ten seconds of
640x480 at 30 fps filmed in an own world, each with tracking on and everything else at its default.
"""
import statistics, subprocess, sys, tempfile, time
from pathlib import Path
from argus_nb.runtime import run_record, save_json

ROOT = Path(__file__).parents[2]
ARGUS = str(Path(sys.executable).with_name('argus'))

def seconds(*command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - start

def generate(folder, name, *options):
    source = Path(folder)/f'{name}.mp4'
    subprocess.run([sys.executable, 'scripts/make_demo_input.py', str(source), *options], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return seconds(ARGUS, 'generate', str(source), str(Path(folder)/f'{name}_360.mp4'))

def main():
    rows = {'argus --help': dict(seconds=statistics.median(seconds(ARGUS, '--help') for _ in range(5)), wanted=1)}
    with tempfile.TemporaryDirectory() as folder:
        rows['argus generate, 4 s of 640x360 (make demo)'] = dict(seconds=generate(folder, 'demo'), wanted=120)
        rows['argus generate, 10 s of 640x480'] = dict(seconds=generate(folder, 'ten', '--seconds', '10', '--size', '640x480'), wanted=360)
    for name, row in rows.items(): print(f"{name:45} {row['seconds']:7.2f} s  (wanted: under {row['wanted']} s)")
    save_json(ROOT/'results'/'commands.json', run_record(rows={n: r | dict(seconds=round(r['seconds'], 2)) for n, r in rows.items()}))

if __name__ == '__main__': main()
