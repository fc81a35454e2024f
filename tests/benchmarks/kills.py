"""Kill a training run at random moments, resume it each time, and compare its end with that of a run that nobody disturbed.

    python tests/benchmarks/kills.py [--kills N] [--seed N] [--write]

The same that `make test-all` does; --write stores what came out in results/kills.json, which notebook 14 shows.
"""
import argparse, sys, tempfile
from pathlib import Path
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from argus_nb.runtime import run_record, save_json
from test_training import ends_as_undisturbed

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--write', action='store_true')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder: found = ends_as_undisturbed(Path(folder), args.kills, args.seed)
    print(found)
    if args.write: save_json(Path(__file__).parents[2]/'results'/'kills.json', run_record(seed=args.seed, **found))

if __name__ == '__main__': main()
