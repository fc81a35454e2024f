#!/usr/bin/env python3
"""What training on one's own 360° video is worth on a part of it that was kept back.

    python scripts/own_training.py VIDEO [--work runs/own] [--effort 0.05]

Takes all but the last clip of ten seconds for training (`argus train --videos --clips --start nano`), films the last one with
eight simulated hands, and runs `argus evaluate` on that with nano and with the trained model. Goes on where it was stopped.
Writes results/own_training.json, which notebook 14 shows.
"""
import argparse, json, shlex, subprocess, sys
from pathlib import Path
import torch
from argus_nb.evaluation import paired
from argus_nb.motion import simulate_motion
from argus_nb.runtime import InputError, check, make_generator, run_record, save_json, write_beside
from argus_nb.video import read_video, video_info, write_video

ROOT, SECONDS, FRAMES = Path(__file__).resolve().parents[1], 10, 16
MEASURES = ['PSNR, seen', 'PSNR, never', 'PSNR, whole', 'ST-LPIPS, seen', 'ST-LPIPS, never', 'ST-LPIPS, whole', 'motion']

def films(video: Path, number: int, folder: Path, hands: int) -> None:
    "The clip that is kept back, from several starts, each with a trajectory, in the layout that `argus evaluate` reads."
    for hand in range(hands):
        name = f'{video.stem}_{hand}'
        if (folder/'fov'/f'{name}.txt').exists(): continue
        start = SECONDS*number + hand*(SECONDS - FRAMES/5)/max(1, hands - 1)
        folder.mkdir(parents=True, exist_ok=True); (folder/'motion').mkdir(exist_ok=True)
        write_video(folder/f'{name}.mp4', read_video(video, start, FRAMES/5, 5.).frames[:FRAMES], 5, overwrite=True)
        simulate_motion(FRAMES, 5., make_generator(hand)).save(folder/'motion'/f'{name}.txt')

def argus(*words) -> str:
    "Run the program; its command line as one would type it."
    words = [str(word) for word in words]
    print('argus', shlex.join(words), flush=True)
    subprocess.run([Path(sys.executable).with_name('argus'), *words], check=True)
    return shlex.join(['argus', *(word.replace(f'{ROOT}/', '') for word in words)])

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('video', type=Path)
    parser.add_argument('--work', type=Path, default=Path('runs/own'))
    parser.add_argument('--effort', type=float, default=.05)
    parser.add_argument('--hands', type=int, default=8)
    args = parser.parse_args()
    clips = int(video_info(args.video)['duration']//SECONDS)
    check(clips >= 2, f'{args.video}: at least {2*SECONDS} seconds are wanted, so that {SECONDS} can be kept back')
    films(args.video, clips - 1, args.work/'kept_back', args.hands)
    listed = args.work/'clips.tsv'
    with write_beside(listed) as temporary: temporary.write_text(''.join(f'own\t{args.video.stem}\t{n}\n' for n in range(clips - 1)))
    trained = args.work/'training'
    commands = [argus('train', trained, '--videos', args.video.parent, '--clips', listed, '--start', 'nano', '--effort', args.effort)]
    for name, model in dict(before='nano', after=trained/'model').items():
        commands.append(argus('evaluate', args.work/name, '--model', model, '--clips', args.work/'kept_back', '--rows', 'argus;bound;edge extension'))
    before, after = (json.loads((args.work/name/'results.json').read_text())['clips'] for name in ('before', 'after'))
    rows = dict(nano=before['argus'], trained=after['argus'], bound=before['bound'], **{'edge extension': before['edge extension']})
    stages = json.loads((trained/'nano_training.json').read_text())['stages']
    differences = {measure: paired(rows, 'trained', 'nano', measure) for measure in MEASURES}
    for measure, d in differences.items(): print(f"{measure:18} {d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})")
    shown = [command.replace(str(args.video.parent), 'VIDEOS') for command in commands]
    record = run_record(video=args.video.name, clips=clips, commands=shown, stages={name: {k: stage[k] for k in ('steps', 'minutes')} for name, stage in stages.items()},
                        means={name: {m: round(sum(v[m] for v in row.values())/len(row), 4) for m in MEASURES} for name, row in rows.items()}, differences=differences, rows=rows)
    save_json(ROOT/'results'/'own_training.json', record | dict(command=record['command'].replace(str(args.video.parent), 'VIDEOS')))

if __name__ == '__main__':
    try: main()
    except InputError as error: sys.exit(f'error: {error}')
