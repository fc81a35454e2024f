"""What sampling settings do on held-out clips: fewer calls, borders between windows, poles.

    python tests/benchmarks/sampling.py calls|levels|windows|poles|rolled [--clips N] [--write]

*calls*: every setting samples the same clips from the same noise, in the precision that is fastest here; one setting does so in
float32, too. PSNR and ST-LPIPS against the truth, over four decoded frames; differences to 25 guided Euler steps are paired,
with a bootstrap interval of 95 %. What is done is kept in runs/sampling and not done again. *levels*: where the noise levels of
the sampler begin and end, with the model's own number of steps and three seeds a clip. *windows*: the step between neighbouring
frames across window borders, relative to the steps inside windows, with overlap as context, with overlap that is only mixed,
and without. *poles*: variation along the outermost rows before and after `calm_poles`, beside the truth's. *rolled*: cameras that begin on
their side, generated in the first camera's frame and in one whose pitch and roll are as in training. --write stores
results/sampling_<what>.json, which notebooks 15 and 16 show.
"""
import argparse, functools, json, math, statistics, sys, time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2]/'scripts')]
import numpy as np
import torch
from argus_nb.data import filmed, panorama_clip, training_pair, world_clip
from argus_nb.decoding import calm_poles, decode, pole_spread
from argus_nb.models import encode_frames, weights_of
from argus_nb.motion import simulate_motion
from argus_nb.pipeline import ArgusPipeline, Source, generation_frame, sampling_for
from argus_nb.projection import panorama_to_cubemap, rotate_panorama
from argus_nb.runtime import make_generator, pick_device, pick_dtype, run_record, save_json
from argus_nb.sphere import rotation_from_euler
from torch.nn.functional import avg_pool2d
from evaluate_nano import PerceptualDistance

ROOT = Path(__file__).parents[2]
BASELINE = '25 Euler, guided'
SETTINGS = {
    BASELINE:       dict(num_inference_steps=25, solver='euler', guidance_scale=2.),
    '25 Euler':     dict(num_inference_steps=25, solver='euler', guidance_scale=1.),
    '12 Euler':     dict(num_inference_steps=12, solver='euler', guidance_scale=1.),
    '12 multistep': dict(num_inference_steps=12, solver='dpmpp_2m', guidance_scale=1.),
    '12 multistep, guided in the middle': dict(num_inference_steps=12, solver='dpmpp_2m', guidance_scale=2., guided=(.3, 10.)),
    '8 multistep':  dict(num_inference_steps=8, solver='dpmpp_2m', guidance_scale=1.),
    '8 Euler':      dict(num_inference_steps=8, solver='euler', guidance_scale=1.),
    '5 Euler':      dict(num_inference_steps=5, solver='euler', guidance_scale=1.),
    '5 multistep':  dict(num_inference_steps=5, solver='dpmpp_2m', guidance_scale=1.),
}
IN_FLOAT32 = '8 Euler'  # is done a second time, in float32 from the first picture to the last
JUDGED = slice(6, 10)

def held_out(number, frames, size=(128, 256)):
    "Held-out clip number n, filmed: three worlds, then a photograph, and so on."
    make, index = (panorama_clip, 75 + number//4) if number % 4 == 3 else (world_clip, 100 + number)
    return filmed(make(index, frames, size=(2*size[0], 2*size[1]), held_out=True), index, camera=number, held_out=True)

def psnr(a, b): return -10*math.log10((a - b).square().mean().item())

def bootstrap(values, seed=0):
    "Mean and interval of 95 %."
    values = np.asarray(values); draws = np.random.default_rng(seed).choice(values, (4000, len(values))).mean(1)
    return dict(mean=round(float(values.mean()), 4), low=round(float(np.quantile(draws, .025)), 4), high=round(float(np.quantile(draws, .975)), 4))

@functools.cache
def judges():
    "The pipeline, as fast as the device has it, and the perceptual distance of this process."
    return pipeline(pick_dtype(pick_device())), PerceptualDistance()

@functools.cache
def pipeline(dtype):
    "nano in a precision."
    pipe = ArgusPipeline.from_pretrained('nano', dtype=dtype); pipe.set_progress_bar_config(disable=True)
    return pipe

def calls_of_a_clip(number, path):
    "Scores of every setting on one clip, kept in a file."
    settings_of = SETTINGS | {f'{IN_FLOAT32}, float32': SETTINGS[IN_FLOAT32]}
    scores = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in settings_of if name not in scores]
    if not missing: return
    (fast, perceptual), pair = judges(), held_out(number, 16)
    noise = torch.randn(1, 16, 4, 16, 32, generator=make_generator(number))
    seen = pair.mask[JUDGED].expand(-1, 3, -1, -1)
    for name in missing:
        settings, pipe = settings_of[name], pipeline(torch.float32) if name.endswith('float32') else fast
        calls, start = [0], time.perf_counter()
        handle = pipe.unet.register_forward_pre_hook(lambda module, args: calls.__setitem__(0, calls[0] + len(args[0])))
        latents = pipe(pair.frames, pair.cameras, latents=noise, generator=make_generator(number), output_type='latent', **settings)[0]
        handle.remove()
        seconds, s = time.perf_counter() - start, sampling_for(pipe.unet)
        start = time.perf_counter()
        made, truth = decode(pipe.vae, latents[JUDGED], s.seam, poles=s.poles), pair.target[JUDGED]
        decoding = time.perf_counter() - start
        distance = perceptual(made, perceptual.features(truth))
        scores[name] = dict(psnr=psnr(made, truth), seen=psnr(made[seen], truth[seen]), unseen=psnr(made[~seen], truth[~seen]), st_lpips=distance, calls=calls[0], seconds=round(seconds, 2), decoding=round(decoding, 2))
    save_json(path, scores)

def calls(count, work, workers):
    "The table of settings."
    Path(work).mkdir(parents=True, exist_ok=True)
    paths = [Path(work)/f'{number}.json' for number in range(count)]
    with ProcessPoolExecutor(workers, get_context('spawn'), torch.set_num_threads, (max(1, torch.get_num_threads()//workers),)) as pool:
        list(pool.map(calls_of_a_clip, range(count), paths))
    rows, table = [json.loads(path.read_text()) for path in paths], {}
    for name in [*SETTINGS, f'{IN_FLOAT32}, float32']:
        of = lambda key: np.array([r[name][key] for r in rows]); base = lambda key: np.array([r[BASELINE][key] for r in rows])
        table[name] = dict(calls=int(of('calls').mean()), time=round(float(np.median(of('seconds')/base('seconds'))), 3),
            **{key: bootstrap(of(key)) for key in ('psnr', 'seen', 'unseen', 'st_lpips')},
            psnr_difference=bootstrap(of('psnr') - base('psnr')), st_lpips_ratio=bootstrap(of('st_lpips')/base('st_lpips')))
        t = table[name]
        print(f"{name:36} {t['calls']:3} calls, {t['time']:.2f} of the time, PSNR {t['psnr']['mean']:.2f} ({t['psnr_difference']['mean']:+.2f}, {t['psnr_difference']['low']:+.2f} to {t['psnr_difference']['high']:+.2f}), "
              f"ST-LPIPS {t['st_lpips']['mean']:.3f} (x {t['st_lpips_ratio']['mean']:.3f}, {t['st_lpips_ratio']['low']:.3f} to {t['st_lpips_ratio']['high']:.3f})", flush=True)
    full, half = ([r[name] for r in rows] for name in (f'{IN_FLOAT32}, float32', IN_FLOAT32))
    precision = dict(psnr=bootstrap([h['psnr'] - f['psnr'] for f, h in zip(full, half)]), st_lpips_ratio=bootstrap([h['st_lpips']/f['st_lpips'] for f, h in zip(full, half)]),
                     sampling=round(float(np.median([h['seconds']/f['seconds'] for f, h in zip(full, half)])), 3), decoding=round(float(np.median([h['decoding']/f['decoding'] for f, h in zip(full, half)])), 3))
    print(f"bfloat16 against float32: PSNR {precision['psnr']['mean']:+.3f}, ST-LPIPS x {precision['st_lpips_ratio']['mean']:.4f}, sampling {precision['sampling']} and decoding {precision['decoding']} of the time")
    return dict(clips=count, frames=16, baseline=BASELINE, dtype=str(pick_dtype(pick_device())).removeprefix('torch.'), table=table, precision=precision, rows=rows)

LEVELS = {'80 to 0.002': (80., .002), '700 to 0.002': (700., .002), '700 to 0.02': (700., .02), '700 to 0.05': (700., .05)}

def levels(count, work, workers, samples=3):
    "Scores of single samples, and of their mean where nothing was seen, for several first and last noise levels."
    (pipe, perceptual), rows = judges(), []
    own = sampling_for(pipe.unet)
    for number in range(count):
        pair = held_out(number, 16)
        truth, features, row = pair.target[JUDGED], perceptual.features(pair.target[JUDGED]), {}
        seen, never = pair.mask[JUDGED].expand(-1, 3, -1, -1), ~pair.mask.any(0, keepdim=True).expand(4, 3, -1, -1)
        for name, (first, last) in LEVELS.items():
            pipe.scheduler.register_to_config(sigma_max=first, sigma_min=last)
            made = torch.stack([decode(pipe.vae, pipe(pair.frames, pair.cameras, generator=make_generator(1000*number + n), output_type='latent')[0, JUDGED], own.seam, poles=own.poles) for n in range(samples)])
            row[name] = dict(seen=statistics.mean(psnr(m[seen], truth[seen]) for m in made), never=statistics.mean(psnr(m[never], truth[never]) for m in made),
                             never_of_mean=psnr(made.mean(0)[never], truth[never]), st_lpips=statistics.mean(perceptual(m, features) for m in made), step=(made[:, 1:] - made[:, :-1]).abs().mean().item())
        rows.append(row | dict(clip=number))
        print(number, {name: {k: round(v, 3) for k, v in row[name].items()} for name in LEVELS}, flush=True)
    base = next(iter(LEVELS))
    table = {name: {key: bootstrap([r[name][key] for r in rows]) for key in rows[0][name]} | {f'{key}_difference': bootstrap([r[name][key] - r[base][key] for r in rows]) for key in rows[0][name]} for name in LEVELS}
    for name, t in table.items(): print(f"{name:16} " + ', '.join(f"{key} {t[key]['mean']:.3f} ({t[key + '_difference']['mean']:+.3f})" for key in rows[0][name]))
    return dict(clips=count, frames=16, samples=samples, table=table, rows=rows)

def windows(count, work, workers, frames=40):
    "How far frames step across the borders of windows."
    pipe, _ = judges()
    own = replace(sampling_for(pipe.unet), num_inference_steps=8, solver='dpmpp_2m')
    ways = {'no overlap': replace(own, overlap=0), 'overlap as context, mixed': own}
    rows = []
    for number in range(count):
        pair = held_out(number, frames)
        for name, s in ways.items():
            latents = torch.cat(list(pipe.stream_latents(Source(pair.frames, pair.cameras, size=(128, 256)), s, generator=make_generator(number))))
            made = torch.cat(list(pipe.stream_decoded(iter([latents]), s)))
            step = (made[1:] - made[:-1]).abs().mean((1, 2, 3))
            stride = s.window - s.overlap
            border = {b - 1 for b in range(stride, frames, stride)} | {b + s.overlap - 1 for b in range(stride, frames - s.overlap, stride)} if s.overlap else {b - 1 for b in range(stride, frames, stride)}
            inside = [step[n].item() for n in range(frames - 1) if n not in border]
            rows.append(dict(clip=number, way=name, border=statistics.mean(step[n].item() for n in border), inside=statistics.mean(inside),
                             truth=(pair.target[1:] - pair.target[:-1]).abs().mean().item(), steps=[round(v, 5) for v in step.tolist()], borders=sorted(border)))
    table = {name: dict(ratio=bootstrap([r['border']/r['inside'] for r in rows if r['way'] == name]), **{k: round(statistics.mean(r[k] for r in rows if r['way'] == name), 5) for k in ('border', 'inside', 'truth')}) for name in ways}
    for name, t in table.items(): print(f"{name:28} {t['ratio']['mean']:.2f} times the step inside ({t['ratio']['low']:.2f} to {t['ratio']['high']:.2f}); inside {t['inside']:.4f}, truth {t['truth']:.4f}")
    return dict(clips=count, frames=frames, table=table, rows=rows)

def rays(panoramas):
    "How much a star shows at the poles: standard deviation of waves 3 to 24 along the rows within 15 degrees of them."
    rows = panoramas.shape[-2]//12
    near = torch.cat([panoramas[..., :rows, :], panoramas[..., -rows:, :]], -2)
    waves = torch.fft.rfft(near)
    waves[..., :3], waves[..., 25:] = 0, 0
    return torch.fft.irfft(waves, n=near.shape[-1]).std(-1).mean().item()

def poles(count, work, workers):
    "Variation along the outermost rows and the star around the poles; what calming pictures, and latents too, does to both and to the truth's resemblance."
    pipe, _ = judges()
    rows, pictures, own = [], [], sampling_for(pipe.unet)
    def psnr_at_poles(a, b): return psnr(*[panorama_to_cubemap(x, 64)[:, 4:6] for x in (a, b)])
    for number in range(count):
        pair = held_out(number, 16)
        latents = torch.cat(list(pipe.stream_latents(Source(pair.frames, pair.cameras, size=(128, 256)), own, generator=make_generator(number))))[JUDGED]
        truth = pair.target[JUDGED]
        kept = encode_frames(pipe.vae, truth, circular=own.circular)*pipe.vae.config.scaling_factor
        made = dict(truth=truth, generated=decode(pipe.vae, latents, own.seam), autoencoder=decode(pipe.vae, kept, own.seam))
        made |= {f'{name}, pictures calmed': calm_poles(made[name]) for name in ('generated', 'autoencoder')}
        made |= {f'{name}, latents too': decode(pipe.vae, x, own.seam, poles=True) for name, x in (('generated', latents), ('autoencoder', kept))}
        rows.append(dict(clip=number, **{name: dict(spread=pole_spread(p), rays=rays(p), psnr=psnr(p, truth), psnr_poles=psnr_at_poles(p, truth)) if name != 'truth' else dict(spread=pole_spread(p), rays=rays(p)) for name, p in made.items()}))
        if number in (0, 3): pictures.append(torch.cat([torch.cat(list(panorama_to_cubemap(made[name][:1], 112)[0][4:6]), -1) for name in ('truth', 'generated', 'generated, pictures calmed', 'generated, latents too')], -1))
    table = {name: {key: round(statistics.mean(r[name][key] for r in rows), 4) for key in rows[0][name]} for name in rows[0] if name != 'clip'}
    differences = {f'{name}, {step}': bootstrap([r[f'{name}, {step}']['psnr_poles'] - r[name]['psnr_poles'] for r in rows]) for name in ('generated', 'autoencoder') for step in ('pictures calmed', 'latents too')}
    whole = {f'{name}, {step}': bootstrap([r[f'{name}, {step}']['psnr'] - r[name]['psnr'] for r in rows]) for name in ('generated', 'autoencoder') for step in ('pictures calmed', 'latents too')}
    for name, t in table.items(): print(f'{name:32}', ', '.join(f'{k} {v:.4f}' for k, v in t.items()), differences.get(name, ''))
    from PIL import Image
    Image.fromarray((torch.cat(pictures, -2).clamp(0, 1)*255).byte().movedim(0, -1).numpy()).save(ROOT/'nbs'/'images'/'poles.jpg', quality=88)
    return dict(clips=count, frames=4, table=table, psnr_at_poles=differences, psnr_whole=whole, rows=rows)

def rolled(count, work, workers, frames=16, size=(128, 256)):
    "Films of a camera that is held on its side, by 60 to 90 degrees: what was never seen against the truth, both upright."
    pipe, perceptual = judges()
    own, rows = sampling_for(pipe.unet), []
    for number in range(count):
        make, index = (panorama_clip, 75 + number//4) if number % 4 == 3 else (world_clip, 100 + number)
        clip = make(index, frames, size=(2*size[0], 2*size[1]), held_out=True)
        generator = make_generator(number)
        hand = simulate_motion(frames, 5., generator)
        angle = math.radians(60 + 30*float(torch.rand((), generator=generator)))*(-1)**number
        hand = replace(hand, world_from_camera=hand.world_from_camera @ rotation_from_euler(torch.tensor(0.), torch.tensor(0.), torch.tensor(angle)).double())
        pair = training_pair(clip, hand)
        truth = avg_pool2d(clip, 2)[JUDGED]
        for name, level in {"the first camera's frame": hand.world_from_camera[0], 'pitch and roll as in training': generation_frame(hand.world_from_camera[0])}.items():
            source = Source(pair.frames, hand.rotated(level.T), size=size, relative=False)
            latents = torch.cat(list(pipe.stream_latents(source, own, generator=make_generator(number))))
            made = rotate_panorama(decode(pipe.vae, latents[JUDGED], own.seam, poles=own.poles).clamp(0, 1), level)
            never = ~(rotate_panorama(source.read(list(range(frames)))[2].float(), level).amax(0) > 0).expand(len(truth), 3, -1, -1)
            rows.append(dict(clip=number, frame=name, roll=round(math.degrees(angle), 1), never=psnr(made[never], truth[never]), whole=psnr(made, truth), st_lpips=perceptual(made, perceptual.features(truth))))
    of = lambda name, key: np.array([r[key] for r in rows if r['frame'] == name])
    names = list(dict.fromkeys(r['frame'] for r in rows))
    table = {name: {key: bootstrap(of(name, key)) for key in ('never', 'whole', 'st_lpips')} for name in names}
    differences = {key: bootstrap(of(names[1], key) - of(names[0], key)) for key in ('never', 'whole', 'st_lpips')}
    for name, t in table.items(): print(f'{name:32}', ', '.join(f"{k} {v['mean']:.3f}" for k, v in t.items()))
    print(differences)
    return dict(clips=count, frames=frames, table=table, differences=differences, rows=rows)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', choices=['calls', 'levels', 'windows', 'poles', 'rolled'])
    parser.add_argument('--clips', type=int, help='held-out clips (default: 40 for calls, 8 for levels, 6 for windows, 12 for poles and for rolled)')
    parser.add_argument('--work', default='runs/sampling', help='where finished clips are kept')
    parser.add_argument('--workers', type=int, default=2, help='clips of `calls` that are sampled side by side')
    parser.add_argument('--write', action='store_true', help='store results/sampling_<what>.json')
    args = parser.parse_args()
    clips = args.clips or dict(calls=40, levels=8, windows=6, poles=12, rolled=12)[args.what]
    result = dict(calls=calls, levels=levels, windows=windows, poles=poles, rolled=rolled)[args.what](clips, args.work, args.workers)
    if args.write: save_json(ROOT/'results'/f'sampling_{args.what}.json', run_record(model='nano', weights=weights_of('nano'), **result))

if __name__ == '__main__': main()
