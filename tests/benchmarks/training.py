"""What a latent cache saves, what it costs in quality, and what encoding around the seam costs.

    python tests/benchmarks/training.py speed|encoding|precision [--rounds N] [--write]
    python tests/benchmarks/training.py cameras|kept --run FOLDER [--before MODEL] [--clips N] [--write]

*speed*: samples a second of a step on cached latents against a step that makes its latents first, as the released code
does. Both train the same UNet with AdamW on the same clips of a world; the second films the clip, aligns it, runs the
autoencoder twice and the image encoder once inside every step. *cameras*: the denoiser's loss, with the weights that a
run of `argus train` arrived at, on its cached examples, on the same clips seen by cameras that were not cached, and on
clips that it never saw, at the same noise and levels.
*encoding*: a clip encoded with convolutions that continue around the seam, against the plain encoder. *precision*: a step of
nano's denoiser and one of its decoder in float32, and in bfloat16 with `processor_kernels`. *kept*: the denoiser's loss on
worlds and photographs that training never sees, with the weights that a run began with, with those that it arrived at, and
half-way between (`keep_share`). Contestants take turns
in one process; medians and ratios are printed. --write stores them in results/training_speed.json, which notebook 14 shows.
"""
import argparse, contextlib, json, statistics, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import torch
from argus_nb.data import build_cache, cache_example, example_clip, filmed, panorama_clip
from argus_nb.diffusion import added_time_ids, append_dims, denoise, sample_sigma
from argus_nb.loss import edm_loss
from argus_nb.evaluation import bootstrap
from argus_nb.models import build_models, embed_frames, encode_frames, load_models, preset
from argus_nb.runtime import make_generator, run_record, save_json
from argus_nb.training import denoiser_loss, keep_share, processor_kernels, reconstruction_loss
from argus_nb.worlds import panorama_names

def step(unet, optimizer, loss):
    loss.backward(); torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.); optimizer.step(); optimizer.zero_grad()

def released_loss(models, clip, number, generator):
    "Film, align, encode twice, embed, then the same objective."
    pair = filmed(clip, 0, camera=number)
    with torch.no_grad(): embeddings = embed_frames(models.image_encoder, pair.frames)[None]
    target = encode_frames(models.vae, pair.target, sample=True, generator=generator)[None]*models.vae.config.scaling_factor
    condition = encode_frames(models.vae, pair.condition, sample=True, generator=generator)[None]
    sigma = sample_sigma(1, generator)
    noised = target + append_dims(sigma, target)*torch.randn(target.shape, generator=generator)
    return edm_loss(denoise(models.unet, noised, sigma, condition, embeddings, added_time_ids(torch.tensor([.02]))), target, sigma)

def medians(contestants, rounds):
    "Median seconds of each, run in turn; a first round is not counted."
    seconds = {name: [] for name in contestants}
    for n in range(rounds + 1):
        for name, work in contestants.items(): start = time.perf_counter(); work(n); seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}

def measure_speed(args):
    torch.manual_seed(0)
    models, p, generator = build_models(args.preset), preset(args.preset), make_generator(0)
    clip = example_clip(0, p['frames'], size=p['size'])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cache = build_cache(folder, models.vae, models.image_encoder, 1, p['frames'], cameras=4, size=p['size'])
        caching = time.perf_counter() - start
    models.unet.train(); optimizer = torch.optim.AdamW(models.unet.parameters(), lr=1e-5)
    median = medians(dict(cached=lambda n: step(models.unet, optimizer, denoiser_loss(models.unet, cache, models.vae.config.scaling_factor, generator, batch=1)[0]),
                          released=lambda n: step(models.unet, optimizer, released_loss(models, clip, n, generator))), args.rounds)
    ratio = median['released']/median['cached']
    print(', '.join(f'{kind} {1/value:.3f} samples/s' for kind, value in median.items()) + f'; {ratio:.2f} times as fast; making the cache takes {caching/4:.2f} s a sample, once')
    return dict(preset=args.preset, frames=p['frames'], size=list(p['size']), rounds=args.rounds, threads=torch.get_num_threads(),
                samples_per_second={kind: round(1/value, 4) for kind, value in median.items()}, ratio=round(ratio, 3), seconds_to_cache_a_sample=round(caching/4, 3))

def one_loss(models, example, number, levels=(.3, 1., 3., 10.)):
    "Mean loss of one example over fixed noise levels; the noise depends on the number alone."
    target = example['target'].float()[None]*models.vae.config.scaling_factor
    told = [example[name].float()[None] for name in ('condition', 'embeddings')] + [added_time_ids(example['noise'].float()[None])]
    losses = []
    for k, level in enumerate(levels):
        sigma, noise = torch.tensor([level]), torch.randn(target.shape, generator=make_generator(100*number + k))
        with torch.no_grad(): losses.append(edm_loss(denoise(models.unet, target + level*noise, sigma, *told), target, sigma, normalise=True).item())
    return statistics.mean(losses)

def arrived_at(run):
    "The denoiser's weights at the end of a run, before `keep_share`."
    return torch.load(Path(run)/'videos'/'checkpoint.pt', weights_only=True)['average']

def measure_cameras(args):
    record, models, p = json.loads((Path(args.run)/'nano_training.json').read_text()), load_models(args.before), preset('nano')
    models.unet.load_state_dict(arrived_at(args.run), strict=False)
    first, clips = 1_000_000*record['seed'] + 100_000, json.loads((Path(args.run)/'settings.json').read_text())['recipe']['videos']['examples']  # its own, as `train_nano` counts
    losses = {'cached camera': [], 'another camera': [], 'another clip': []}
    for n in range(args.clips):
        number = n*clips//args.clips
        for kind, index, camera in (('cached camera', first + number, 0), ('another camera', first + number, 5), ('another clip', first + 50_000 + number, 0)):
            pair = filmed(example_clip(index, p['frames'], size=p['size'], vary=True), index, camera)
            losses[kind].append(one_loss(models, cache_example(pair, models.vae, models.image_encoder, make_generator(index*17 + camera), bfloat16=True), number))
        print({kind: round(values[-1], 4) for kind, values in losses.items()}, flush=True)
    found = dict(run=args.run, clips=args.clips, of=clips, loss={kind: bootstrap(values) for kind, values in losses.items()},
                 more={kind: bootstrap([a/b - 1 for a, b in zip(losses[kind], losses['cached camera'])]) for kind in ('another camera', 'another clip')})
    print(found)
    return found

def measure_encoding(args):
    models, p = load_models('nano'), preset('nano')
    target = filmed(example_clip(0, p['frames'], size=p['size']), 0).target
    found = {}
    for name, dtype in (('float32', None), ('bfloat16', torch.bfloat16)):
        def encode(circular):
            with torch.no_grad(), torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None): return encode_frames(models.vae, target, circular=circular)
        median = medians(dict(plain=lambda n: encode(False), circular=lambda n: encode(True)), args.rounds)
        found[name] = {kind: round(value, 3) for kind, value in median.items()} | dict(ratio=round(median['circular']/median['plain'], 3))
    print(found)
    return dict(frames=p['frames'], size=list(p['size']), rounds=args.rounds, threads=torch.get_num_threads(), seconds=found)

def measure_precision(args):
    models, p, generator = load_models('nano'), preset('nano'), make_generator(0)
    models.unet.train().requires_grad_(True); models.vae.decoder.requires_grad_(True)
    pair = filmed(example_clip(0, p['frames'], size=p['size']), 0)
    cache = {name: value[None] for name, value in cache_example(pair, models.vae, models.image_encoder, generator).items()}
    pixels = pair.target[:4, :, :, :128]*2 - 1
    def decoder_loss():
        with torch.no_grad(): latents = models.vae.encode(pixels).latent_dist.mean
        return reconstruction_loss(models.vae.decode(latents, num_frames=2).sample, pixels, .01)[0]
    losses = dict(denoiser=lambda: denoiser_loss(models.unet, cache, models.vae.config.scaling_factor, generator, batch=1)[0], decoder=decoder_loss)
    def work(loss, low):
        with (processor_kernels() if low else contextlib.nullcontext()):
            with torch.autocast('cpu', torch.bfloat16, enabled=low): value = loss()
            value.backward()
    found = {}
    for name, loss in losses.items():
        median = medians(dict(float32=lambda n: work(loss, False), bfloat16=lambda n: work(loss, True)), args.rounds)
        found[name] = {kind: round(value, 3) for kind, value in median.items()} | dict(ratio=round(median['bfloat16']/median['float32'], 3))
    print(found)
    return dict(frames=p['frames'], size=list(p['size']), rounds=args.rounds, threads=torch.get_num_threads(), seconds=found)

def measure_kept(args):
    models, p = load_models(args.before), preset('nano')
    before = {name: value.clone() for name, value in models.unet.state_dict().items()}
    after = before | arrived_at(args.run)
    photographs, first = len(panorama_names('test')), 5_000_000  # these worlds are in no table
    clips = {('worlds', n): example_clip(first + n, p['frames'], size=p['size'], worlds=1, held_out=True) for n in range(args.clips)}
    clips |= {('photographs', n): panorama_clip(n, p['frames'], (2*p['size'][0], 2*p['size'][1]), held_out=True) for n in range(photographs)}
    losses = {kind: {'before': [], 'half-way': [], 'after': []} for kind in ('worlds', 'photographs')}
    for (kind, n), clip in clips.items():
        example = cache_example(filmed(clip, first + n, held_out=True), models.vae, models.image_encoder, make_generator(n), bfloat16=True)
        for name, share in (('before', 1.), ('half-way', .5), ('after', 0.)):
            models.unet.load_state_dict(after); keep_share(models.unet, before, share)
            losses[kind][name].append(one_loss(models, example, n, levels=(.5, 3., 20., 100.)))
        print(kind, {name: round(values[-1], 4) for name, values in losses[kind].items()}, flush=True)
    found = {kind: {name: bootstrap([a/b - 1 for a, b in zip(values[name], values['before'])]) for name in ('half-way', 'after')} for kind, values in losses.items()}
    print(found)
    return dict(before=args.before, run=args.run, worlds=args.clips, photographs=photographs, more=found)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', choices=['speed', 'cameras', 'encoding', 'precision', 'kept'])
    parser.add_argument('--preset', default='nano', help='sizes of the networks, with random weights')
    parser.add_argument('--rounds', type=int, default=5, help='how often everything that is timed is done')
    parser.add_argument('--clips', type=int, default=20, help='for cameras and kept')
    parser.add_argument('--before', default='nano', help='the model that the run began with')
    parser.add_argument('--run', help='for cameras and kept: the folder of a finished run')
    parser.add_argument('--write', action='store_true', help='store the result in results/training_speed.json')
    args = parser.parse_args()
    if args.what in ('cameras', 'kept') and not args.run: parser.error(f'{args.what} wants --run FOLDER')
    found, path = dict(speed=measure_speed, cameras=measure_cameras, encoding=measure_encoding, precision=measure_precision, kept=measure_kept)[args.what](args), Path(__file__).parents[2]/'results'/'training_speed.json'
    name = f'{args.what} {Path(args.run).name}' if args.run else args.what  # one entry for each run
    if args.write: save_json(path, (json.loads(path.read_text()) if path.exists() else {}) | {name: run_record(**found)})

if __name__ == '__main__': main()
