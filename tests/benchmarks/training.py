"""Samples a second: a step on cached latents against a step that makes its latents first, as the released code does.

    python tests/benchmarks/training.py [--rounds N] [--write]

Both train the same UNet with AdamW on the same clips of a world; the second films the clip, aligns it, runs the autoencoder
twice and the image encoder once inside every step. They take turns in one process; medians and their ratio are printed.
--write stores them in results/training_speed.json, which notebook 14 shows.
"""
import argparse, statistics, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import torch
from argus_nb.data import build_cache, example_clip, filmed
from argus_nb.diffusion import added_time_ids, append_axes, denoise, sample_sigma
from argus_nb.loss import edm_loss
from argus_nb.models import build_models, embed_frames, encode_frames, preset
from argus_nb.runtime import make_generator, run_record, save_json
from argus_nb.training import denoiser_loss

def step(unet, optimizer, loss):
    loss.backward(); torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.); optimizer.step(); optimizer.zero_grad()

def released_loss(models, clip, number, generator):
    "Film, align, encode twice, embed, then the same objective."
    pair = filmed(clip, 0, camera=number)
    with torch.no_grad(): embeddings = embed_frames(models.image_encoder, pair.frames)[None]
    target = encode_frames(models.vae, pair.target, sample=True, generator=generator)[None]*models.vae.config.scaling_factor
    condition = encode_frames(models.vae, pair.condition, sample=True, generator=generator)[None]
    sigma = sample_sigma(1, generator)
    noised = target + append_axes(sigma, target)*torch.randn(target.shape, generator=generator)
    return edm_loss(denoise(models.unet, noised, sigma, condition, embeddings, added_time_ids(torch.tensor([.02]))), target, sigma)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--preset', default='nano', help='sizes of the networks, with random weights')
    parser.add_argument('--rounds', type=int, default=5, help='steps of each kind that are timed')
    parser.add_argument('--write', action='store_true', help='store the result in results/training_speed.json')
    args = parser.parse_args()
    torch.manual_seed(0)
    models, p, generator = build_models(args.preset), preset(args.preset), make_generator(0)
    clip = example_clip(0, p['frames'], size=p['size'])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cache = build_cache(folder, models.vae, models.image_encoder, 1, p['frames'], cameras=4, size=p['size'])
        caching = time.perf_counter() - start
    models.unet.train(); optimizer = torch.optim.AdamW(models.unet.parameters(), lr=1e-5)
    kinds = dict(cached=lambda n: denoiser_loss(models.unet, cache, models.vae.config.scaling_factor, generator, batch=1)[0],
                 released=lambda n: released_loss(models, clip, n, generator))
    seconds = {kind: [] for kind in kinds}
    for n in range(args.rounds + 1):
        for kind, loss in kinds.items():
            start = time.perf_counter(); step(models.unet, optimizer, loss(n)); seconds[kind].append(time.perf_counter() - start)
    median = {kind: statistics.median(values[1:]) for kind, values in seconds.items()}  # the first one warms up
    ratio = median['released']/median['cached']
    print(', '.join(f'{kind} {1/value:.3f} samples/s' for kind, value in median.items()) + f'; {ratio:.2f} times as fast; making the cache takes {caching/4:.2f} s a sample, once')
    if args.write: save_json(Path(__file__).parents[2]/'results'/'training_speed.json', run_record(preset=args.preset, frames=p['frames'], size=list(p['size']), rounds=args.rounds, threads=torch.get_num_threads(),
                             samples_per_second={kind: round(1/value, 4) for kind, value in median.items()}, ratio=round(ratio, 3), seconds_to_cache_a_sample=round(caching/4, 3)))

if __name__ == '__main__': main()
