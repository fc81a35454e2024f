#!/usr/bin/env python3
"""Train nano's denoiser anew with one part of the method left out, on the same clips, for the same time; and judge the rows.

    python scripts/ablation.py cache [--work runs/ablation] [--clips 40 --cameras 2]
    python scripts/ablation.py train ROW [ROW ...] [--work runs/ablation] [--steps 400]
    python scripts/ablation.py judge [ROW ...] [--work runs/ablation] [--worlds 32 --panoramas 8]
    python scripts/ablation.py judge full 'window by window' adapted swept 'edge extension' --fov 60 --table outpainting

Every row starts from nano's autoencoder, image encoder and spatial layers; the layers that look along time are new, as
they were when SVD was made from an image model, so that no row has learned from aligned videos before. Rows are trained on
the same clips, cameras, noise and order at nano's size, 128 x 256, 16 frames, and judged on held-out clips with the
same initial noise. `train` may run for several rows side by side; all commands go on where they were stopped.

Rows: full; 'no alignment', where input and target of each frame lie in that frame's own camera (SPEC: the naive variant);
'no latitude weights'; 'no shift', without the random circular shift of the training clips; 'window by window', a denoiser
of windows of half the width (Follow-Your-Canvas' row). From the full row: 'no blending' (the same latents decoded plainly),
'blended' (by the paper's triangle; nano's own way is another), 'no roll', 'frame by frame' and 'adapted' (to each clip before it is
sampled, Be-Your-Outpainter's row; never by default, it takes minutes a clip). Without a network: 'swept' and 'edge extension'. 'bound' is the autoencoder's own reconstruction.

To be compared, the naive row's panoramas are turned into the shared frame by the exact rotations, one more reading between
pixels; 'full, turned' is the full row turned into the cameras' frames and back, two more. --only-psnr leaves out the slower
measures. Writes results/TABLE.json and nbs/images/TABLE.jpg; TABLE is ablation when no other is named.
"""
import argparse, json, math, sys
from pathlib import Path
import torch
from PIL import Image
from argus_nb.alignment import align_naive, to_camera_maps, to_shared_map
from argus_nb.baselines import Sampled, adapted, filled, frame_by_frame, swept, task_of, window_by_window, window_loss
from argus_nb.data import Pair, cache_example, example_clip, filmed, read_cache
from argus_nb.evaluation import Bound, held_out_clips, of_one_clip, picture_table, run, score_and_keep, set_distances, summary, training_features
from argus_nb.metrics import PSNR, clip_regions
from argus_nb.models import Models, build_scheduler, build_unet, load_models, save_models, silence_branches, weights_of
from argus_nb.pipeline import ArgusPipeline, sampling_for
from argus_nb.runtime import InputError, check, make_generator, pick_device, pick_dtype, run_record, save_json, write_beside
from argus_nb.training import fit, train_denoiser
from safetensors.torch import save_file

ROOT, SIZE, FRAMES, SEED = Path(__file__).resolve().parents[1], (128, 256), 16, 5
TRAINED = {'full': {}, 'no alignment': {}, 'no latitude weights': dict(kind='none'), 'no shift': dict(shift=False), 'window by window': {}}
WINDOW = 16  # columns of latents, half the width

def naive(pair: Pair) -> Pair:
    "The same example with input and target of each frame in its own camera's frame."
    condition, mask = align_naive(pair.frames, pair.cameras, tuple(pair.target.shape[-2:]))
    return Pair(to_camera_maps(pair.target, pair.cameras).clamp(0, 1), condition.clamp(0, 1), mask, pair.frames, pair.cameras)

def without_time(models: Models) -> Models:
    "The same models with new layers along time."
    torch.manual_seed(SEED)
    fresh, unet = silence_branches(build_unet('nano')).state_dict(), models.unet
    late = [name for name in fresh if 'temporal' in name or 'time_pos' in name or 'time_mixer' in name]
    unet.load_state_dict({name: fresh[name] for name in late}, strict=False)
    return models

def caches(work: Path, models: Models, clips: int, cameras: int, part: int, parts: int) -> None:
    "The latents of all clips, aligned and naive: the same pixels, cameras and noise levels."
    for start in range(0, clips, 10)[part::parts]:
        paths = {kind: work/f'cache_{kind}'/f'{start:06d}.safetensors' for kind in ('aligned', 'naive')}
        if all(path.exists() for path in paths.values()): continue
        rows = {kind: [] for kind in paths}
        for n in range(start, min(start + 10, clips)):
            index = 1_000_000*SEED + n
            clip = example_clip(index, FRAMES, size=SIZE)
            for camera in range(cameras):
                pair = filmed(clip, index, camera)
                for kind, p in dict(aligned=pair, naive=naive(pair)).items():
                    rows[kind].append(cache_example(p, models.vae, models.image_encoder, make_generator(index*17 + camera), bfloat16=True))
        for kind, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_beside(path) as temporary: save_file({name: torch.stack([r[name] for r in rows[kind]]) for name in rows[kind][0]}, temporary)
        print(f'latents of {min(start + 10, clips)} clips', flush=True)

def train(args) -> None:
    for row in args.rows:
        check(row in TRAINED, f'no row {row!r}: {", ".join(TRAINED)}')
        models = without_time(load_models('nano'))
        cache = read_cache(args.work/('cache_naive' if row == 'no alignment' else 'cache_aligned'))
        models.unet.requires_grad_(True)
        common = dict(lr=4e-4, decay=.7, seed=SEED, progress=args.progress)
        if row == 'window by window':
            models.unet.train()
            log = fit(models.unet, lambda step, generator: window_loss(models.unet, cache, models.vae.config.scaling_factor, generator, args.batch, WINDOW, mean=1.6, std=1.8), args.steps, args.work/row, **common)
            save_json(args.work/row/'log.json', run_record(seed=SEED, steps=args.steps, batch=args.batch, lr=4e-4, clips=len(cache['noise']), log=log))
        else: train_denoiser(models.unet, cache, models.vae.config.scaling_factor, args.work/row, args.steps, batch=args.batch, mean=1.6, std=1.8, **common, **TRAINED[row])
        save_models(Models(models.vae, models.unet, models.image_encoder, build_scheduler()), args.work/row/'model', dtype=torch.float32)
        print(f'{row}: trained', flush=True)

class Naive(Sampled):
    "The naive row: aligned naively, its panoramas turned into the shared frame."
    def latents(self, task):
        condition, mask = align_naive(task.frames, task.cameras, tuple(task.panorama.shape[-2:]))
        return super().latents(task._replace(panorama=condition, mask=mask > 0))

    def decoded(self, seam: str | None = None):
        method = super().decoded(seam)
        return lambda task: to_shared_map(method(task), task.cameras)

def turned(method):
    "A method's panoramas turned into the cameras' frames and back."
    return lambda task: to_shared_map(to_camera_maps(method(task), task.cameras), task.cameras)

def methods_of(work: Path, options: dict, asked: list) -> dict:
    "All rows that are trained, and those that need no training; only those that were asked for, if any."
    def loaded(row):
        pipeline = ArgusPipeline.from_pretrained(str(work/row/'model'), dtype=pick_dtype(pick_device())); pipeline.set_progress_bar_config(disable=True)
        return pipeline
    trained = {row: (Naive if row == 'no alignment' else Sampled)(loaded(row), **options) for row in TRAINED if (work/row/'model').is_dir() and row != 'window by window'}
    check('full' in trained, f'{work} holds no finished full row')
    full = trained['full'].pipeline
    methods = {row: sampled.decoded() for row, sampled in trained.items()} | {'full, turned': turned(trained['full'].decoded())}
    methods |= {'no blending': trained['full'].decoded('none'), 'blended': trained['full'].decoded('blended')}
    if (work/'window by window'/'model').is_dir(): methods['window by window'] = window_by_window(loaded('window by window'), WINDOW, **options)
    methods |= {'no roll': Sampled(full, roll=False, **options).decoded(), 'frame by frame': frame_by_frame(full, **options), 'adapted': adapted(full, **options),
                'swept': swept, 'edge extension': filled('edge extension'), 'bound': Bound(full)}
    unknown = [name for name in asked if name not in methods]
    check(not unknown, f"no row {', '.join(unknown)}: {', '.join(methods)}")
    return {name: method for name, method in methods.items() if name in (asked or methods.keys() - {'adapted'})}

def sheet(judged: Path, methods: dict, clips: list, path: Path) -> None:
    "The middle frame of some clips, one row for each method, the truth on top."
    truths = [Image.fromarray((clip.pair(FRAMES, SIZE).target[FRAMES//2]*255).round().byte().movedim(0, -1).numpy()) for clip in clips]
    picture_table(dict(truth=truths) | {name: [judged/name/f'{clip.name}.jpg' for clip in clips] for name in methods}, [clip.name for clip in clips]).save(path, quality=80)

def keep_psnr(name: str, method, clip, pair: Pair, folder: Path) -> None:
    "One row on one clip by PSNR alone."
    made = method(pair if isinstance(method, Bound) else task_of(pair, clip.seeds(1)[0], clip.name)).float()
    (folder/name).mkdir(parents=True, exist_ok=True)
    save_json(folder/name/f'{clip.name}.json', {f'PSNR, {region}': round(of_one_clip(PSNR(), made, pair.target, mask), 4) for region, mask in clip_regions(pair.mask).items()})

def judge(args) -> None:
    options = dict(num_inference_steps=args.sampling_steps)
    methods, clips = methods_of(args.work, options, args.rows), held_out_clips(args.worlds, args.panoramas, args.fov and math.radians(args.fov))
    mine, groups = clips[args.part::args.parts], {clip.name: clip.group for clip in clips}
    folder, keep = args.work/f'{args.table}{"_psnr"*args.only_psnr}', keep_psnr if args.only_psnr else score_and_keep
    rows = run(methods, mine, folder, FRAMES, SIZE, dict(options, steps=args.steps, fov=args.fov, precision=str(pick_dtype(pick_device())).removeprefix('torch.')), keep, args.progress)
    if args.parts > 1: return
    more = {}
    if not args.only_psnr:
        sheet(folder, methods, [*clips[:3], clips[-1]], ROOT/'nbs'/'images'/f'{args.table}.jpg')
        more = dict(distances=set_distances(folder, list(methods), list(groups), training_features(60, SIZE, args.work/'features.npy')))
    logs = {row: json.loads((args.work/row/'log.json').read_text()) for row in TRAINED if row in methods}
    training = {row: dict(steps=log['steps'], clips=log['clips'], batch=log['batch'], lr=log['lr'], loss=[entry['loss'] for entry in log['log']]) for row, log in logs.items()}
    save_json(ROOT/'results'/f'{args.table}.json', run_record(size=list(SIZE), frames=FRAMES, seed=SEED, fov=args.fov, sampling=options, training=training, weights={row: weights_of(args.work/row/'model')['unet'] for row in logs},
              rows=rows, groups=groups, summary=summary(rows, groups, 'full'), **more))

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('command', choices=['cache', 'train', 'judge'])
    parser.add_argument('rows', nargs='*')
    parser.add_argument('--work', type=Path, default=ROOT/'runs'/'ablation')
    parser.add_argument('--clips', type=int, default=40, help='training clips')
    parser.add_argument('--cameras', type=int, default=2, help='cameras in each')
    parser.add_argument('--steps', type=int, default=400, help='of training')
    parser.add_argument('--batch', type=int, default=1, help='clips in a step')
    parser.add_argument('--worlds', type=int, default=32)
    parser.add_argument('--panoramas', type=int, default=8)
    parser.add_argument('--fov', type=float, metavar='DEG', help='field of view of the held-out clips, both ways (drawn when left out)')
    parser.add_argument('--table', default='ablation', help='what the results are called')
    parser.add_argument('--sampling-steps', type=int, default=8)
    parser.add_argument('--part', type=int, default=0, help='do only every so many-th part of the clips, beginning with this one')
    parser.add_argument('--parts', type=int, default=1)
    parser.add_argument('--only-psnr', action='store_true', help='leave out the slower measures, the set distances and the sheet')
    parser.add_argument('--progress', action='store_true')
    args = parser.parse_args()
    if args.command == 'cache': caches(args.work, load_models('nano'), args.clips, args.cameras, args.part, args.parts)
    else: dict(train=train, judge=judge)[args.command](args)

if __name__ == '__main__':
    try: main()
    except InputError as error: sys.exit(f'error: {error}')
