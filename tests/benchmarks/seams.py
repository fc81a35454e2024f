"""Every way to close the seam, on held-out worlds and panoramas: how visible it is, what it does to the picture, what it costs.

    python tests/benchmarks/seams.py [--model NAME] [--worlds N] [--frames T] [--write]

The autoencoder encodes the truth and decodes it in every way of `argus_nb.decoding`; nothing is sampled. *seam* is the step
across the seam relative to the steps beside it (`seam_discontinuity`) over that of the truth; PSNR is taken over the whole
panorama and over a sixteenth of it at the seam, ST-LPIPS over the whole. Differences to plain decoding are paired, with a
bootstrap interval of 95 %. Times are medians of decodings that take turns, relative to the plain one.
--write stores the table in results/seams.json, which notebook 15 shows.
"""
import argparse, math, statistics, sys, time
from pathlib import Path
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2]/'scripts')]
import numpy as np
import torch
from argus_nb.data import filmed, panorama_clip, world_clip
from argus_nb.decoding import SEAMS, decode, seam_discontinuity
from argus_nb.evaluation import bootstrap
from argus_nb.models import encode_frames, load_models, preset, weights_of
from argus_nb.runtime import run_record, save_json
from argus_nb.worlds import panorama_names
from evaluate_nano import PerceptualDistance

def psnr(a, b): return -10*math.log10((a - b).square().mean().item())

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='nano', help='name or folder')
    parser.add_argument('--worlds', type=int, default=9, help='held-out worlds')
    parser.add_argument('--frames', type=int, default=4, help='frames of each')
    parser.add_argument('--write', action='store_true', help='store the table in results/seams.json')
    args = parser.parse_args()
    models, size, circular = load_models(args.model), preset('nano')['size'], preset('nano')['circular']
    big, photographs = (2*size[0], 2*size[1]), len(panorama_names('test'))
    clips = [(f'world {2*n + 1}', world_clip(n, args.frames, size=big, held_out=True), n) for n in range(args.worlds)]
    clips += [(panorama_names('test')[n], panorama_clip(n, args.frames, size=big, held_out=True), 100 + n) for n in range(photographs)]
    rows, seconds, perceptual = [], {seam: [] for seam in SEAMS}, PerceptualDistance()
    for name, clip, number in clips:
        truth = filmed(clip, number, held_out=True).target
        latents = encode_frames(models.vae, truth, circular=circular)*models.vae.config.scaling_factor
        features = perceptual.features(truth)
        for seam in SEAMS:
            start = time.perf_counter(); made = decode(models.vae, latents, seam); seconds[seam].append(time.perf_counter() - start)
            band = size[1]//32
            rows.append(dict(clip=name, seam=seam, step=seam_discontinuity(made)/seam_discontinuity(truth), psnr=psnr(made, truth), st_lpips=perceptual(made, features),
                             psnr_at_seam=psnr(made.roll(band, -1)[..., :2*band], truth.roll(band, -1)[..., :2*band])))
    mean = lambda key, seam: statistics.mean(row[key] for row in rows if row['seam'] == seam)
    values = lambda key, seam: np.array([row[key] for row in rows if row['seam'] == seam])
    plain = statistics.median(seconds['none'])
    table = {seam: dict(step=round(mean('step', seam), 3), psnr=round(mean('psnr', seam), 3), psnr_at_seam=round(mean('psnr_at_seam', seam), 3), st_lpips=round(mean('st_lpips', seam), 4),
                        **{f'{key}_difference': bootstrap(values(key, seam) - values(key, 'none')) for key in ('psnr', 'st_lpips')},
                        cost=round(statistics.median(s/p for s, p in zip(seconds[seam], seconds['none'])), 2)) for seam in SEAMS}
    print(f"{'seam':13} {'step':>6} {'PSNR':>7} {'at the seam':>12} {'ST-LPIPS':>9} {'cost':>6}   ({plain/args.frames:.2f} s a frame, plain)")
    for seam, row in table.items(): print(f"{seam:13} {row['step']:6.2f} {row['psnr']:7.2f} {row['psnr_at_seam']:12.2f} {row['st_lpips']:9.3f} {row['cost']:6.2f}")
    if args.write: save_json(Path(__file__).parents[2]/'results'/'seams.json', run_record(model=args.model, weights=weights_of(args.model), clips=len(clips), frames=args.frames, size=list(size), table=table, rows=[{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]))

if __name__ == '__main__': main()
