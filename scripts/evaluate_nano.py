#!/usr/bin/env python3
"""Judge a model on worlds and places that training never saw: the model alone, nothing pasted.

    python scripts/evaluate_nano.py --work runs/evaluate_nano

Every clip is filmed by one simulated hand, given to `ArgusPipeline` as a user would, and compared with the whole truth:
where the camera looked, with the autoencoder's own reconstruction as the bound; where it never looked, with simple ways to
fill the gap. Finished clips are kept in the folder of --work, so that the same command goes on after an interruption.
Writes results/nano.json and the pictures nbs/images/nano_*.jpg; nbs/tables/nano.ipynb shows them.
"""
import argparse, contextlib, functools, hashlib, json, math, sys, types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from argus_nb.runtime import make_generator, run_record, save_json, write_beside
from argus_nb.baselines import FILLS, everything_seen, fill, mean_panorama
from argus_nb.data import Pair
from argus_nb.decoding import decode
from argus_nb.evaluation import KINDS, HeldOut, bootstrap, held_out_clips
from argus_nb.models import encode_frames, weights_of
from argus_nb.pipeline import ArgusPipeline, model_settings, sampling_for

ROOT = Path(__file__).resolve().parents[1]


# --- What is judged ------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Settings:
    "Everything that the numbers of a clip depend on, apart from the code."
    weights: str             # SHA-256 over the networks' own
    frames: int              # in a clip
    size: tuple              # height and width of the panorama
    steps: int               # of the sampler
    guidance: float          # 1 follows the input as it is
    samples: int             # for each clip
    judged: int              # frames of each clip that ST-LPIPS looks at
    examples: int            # training examples in the mean panorama
    bfloat16: bool           # whether latents are decoded in bfloat16

    @property
    def told(self) -> dict:
        "What the pipeline is told; the rest is its own."
        return dict(num_inference_steps=self.steps, guidance_scale=self.guidance)


@functools.lru_cache(maxsize=2)
def film(held: HeldOut, frames: int, size: tuple) -> Pair:
    "Target, condition, mask and frames of a held-out clip; worlds have odd seeds, training has even ones."
    return held.pair(frames, size)


# --- Simple ways to fill the gap -----------------------------------------------------------------------------------

def fills(image: Tensor, seen: Tensor, mean: Tensor) -> dict[str, Tensor]:
    "Every fill of `64_baselines` by name, of a panorama (3, H, W) that is known where `seen` (H, W) is true."
    return {name: fill(name, image, seen, mean) for name in FILLS}


# --- Distances -----------------------------------------------------------------------------------------------------

def psnr(image: Tensor, target: Tensor, where: Tensor|None = None) -> float:
    "Decibels from one mean squared error over all pixels of a clip (T, 3, H, W), or over those where a mask (T or 1, 1, H, W) holds."
    error = (image - target).square().double()
    if where is not None: error = error[where.expand_as(error)]
    return -10*math.log10(max(error.mean().item(), 1e-10)) if error.numel() else math.nan


def regions(mask: Tensor) -> dict[str, Tensor|None]:
    "The parts of a clip that are scored, from the mask of what each frame saw (T, 1, H, W)."
    union = mask.any(0, keepdim=True)
    return {'whole': None, 'frames': mask, 'union': union, 'never': ~union}


class PerceptualDistance:
    "ST-LPIPS (Ghildyal and Liu 2022), AlexNet, with the weights inside its package; images in [0, 1], RGB, (n, 3, H, W)."
    def __init__(self):
        try: import torchsummary
        except ImportError: sys.modules['torchsummary'] = types.SimpleNamespace(summary=None)  # wanted, not declared, and never called
        from stlpips_pytorch import stlpips
        self.network = stlpips.LPIPS(net='alex', variant='shift_tolerant', verbose=False).eval().requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        "Activations of every layer, each of unit length; the network wants RGB in [-1, 1]."
        from stlpips_pytorch.utils import normalize_tensor
        with torch.no_grad(): return [normalize_tensor(f) for f in self.network.net(self.network.scaling_layer(2*images - 1))]

    def __call__(self, images: Tensor, target: list[Tensor]) -> float:
        "Mean distance of images from others, whose features are given."
        with torch.no_grad():
            layers = zip(self.network.lins, self.features(images), target)
            return sum(linear((a - b).square()).mean() for linear, a, b in layers).item()


COLOURS = {'brightness': (1/3, 1/3, 1/3), 'red against green': (1, -1, 0), 'blue against yellow': (-.5, -.5, 1)}

def colour_agreement(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    "Correlation of two pictures (3, H, W) along brightness and two directions of colour: what a PSNR does not tell apart."
    def along(axis, picture): return np.tensordot(axis, picture.astype(float), 1).ravel()
    return {name: float(np.corrcoef(along(axis, image), along(axis, truth))[0, 1]) for name, axis in COLOURS.items()}


# --- One clip ------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def without_embeddings(pipeline: ArgusPipeline) -> Iterator[None]:
    "Silence the image encoder: its projection has no bias, so that with zero weights its embeddings are zero."
    weight = pipeline.image_encoder.visual_projection.weight
    kept = weight.detach().clone()
    try: weight.data.zero_(); yield
    finally: weight.data.copy_(kept)


def decoded(pipeline: ArgusPipeline, latents: Tensor, settings: Settings) -> Tensor:
    "Latents (T, 4, h, w) to panoramas (T, 3, H, W), as the pipeline does it."
    s = sampling_for(pipeline.unet, **settings.told)
    with torch.autocast('cpu', torch.bfloat16, enabled=settings.bfloat16): return decode(pipeline.vae, latents, s.seam, s.chunk, s.ratio, s.poles)


def generated(pipeline: ArgusPipeline, pair: Pair, seed: int, settings: Settings) -> Tensor:
    "What a user gets for these frames, aligned as in training; (T, 3, H, W)."
    latents = pipeline(pair.frames, panorama=pair.condition, mask=pair.mask, generator=make_generator(seed), output_type='latent', **settings.told)
    return decoded(pipeline, latents[0], settings)


def reconstruction(pipeline: ArgusPipeline, pair: Pair, settings: Settings) -> Tensor:
    "The target through the autoencoder and back, encoded as in training: the bound; (T, 3, H, W)."
    return decoded(pipeline, encode_frames(pipeline.vae, pair.target, circular=True)*pipeline.vae.config.scaling_factor, settings)


def outputs(pipeline: ArgusPipeline, pair: Pair, other: Pair, seeds: list[int], settings: Settings) -> dict[str, Tensor]:
    "All that the model makes of a clip; (T, 3, H, W) each, samples (S, T, 3, H, W)."
    found = {'autoencoder': reconstruction(pipeline, pair, settings)}
    found['samples'] = torch.stack([generated(pipeline, pair, seed, settings) for seed in seeds])
    found['other input'] = generated(pipeline, other, seeds[0], settings)
    with without_embeddings(pipeline): found['no embeddings'] = generated(pipeline, pair, seeds[0], settings)
    return found


def psnr_rows(made: dict[str, Tensor], simple: dict[str, Tensor], pair: Pair) -> dict[str, dict]:
    "PSNR of everything in every region; of the fills where they fill."
    where, samples = regions(pair.mask), made['samples']
    score = lambda image: {region: psnr(image, pair.target, mask) for region, mask in where.items()}
    each = [score(sample) for sample in samples]
    rows = {'autoencoder': score(made['autoencoder']), 'mean of samples': score(samples.mean(0))}
    rows |= {'one sample': {region: float(np.mean([row[region] for row in each])) for region in where}, 'first sample': each[0]}
    rows |= {name: score(made[name]) for name in ('other input', 'no embeddings')}
    return rows | {name: {'never': psnr(image.expand_as(pair.target), pair.target, where['never'])} for name, image in simple.items()}


def perceptual_rows(made: dict[str, Tensor], simple: dict[str, Tensor], pair: Pair, judged: int, distance: PerceptualDistance) -> dict[str, dict]:
    "ST-LPIPS on a few frames: as they are ('plain'), and with all that was seen replaced by the truth ('never')."
    pick = torch.linspace(0, len(pair.target) - 1, judged).round().long()
    target, mask, union = pair.target[pick], pair.mask[pick], regions(pair.mask)['union']
    videos = {'autoencoder': made['autoencoder'][pick], 'first sample': made['samples'][0, pick], 'mean of samples': made['samples'][:, pick].mean(0)}
    videos |= {name: torch.where(mask, pair.condition[pick], image) for name, image in simple.items()}
    truth = distance.features(target)
    return {name: {'never': distance(torch.where(union, target, video), truth), 'plain': distance(video, truth)} for name, video in videos.items()}


def moment(made: dict[str, Tensor], simple: dict[str, Tensor], pair: Pair) -> dict[str, Tensor]:
    "The middle frame of everything that may be shown, as bytes (3, h, w)."
    t = len(pair.target)//2
    shown = dict(input=pair.frames[t], condition=pair.condition[t], truth=pair.target[t], autoencoder=made['autoencoder'][t])
    shown |= {'first sample': made['samples'][0, t], 'mean of samples': made['samples'][:, t].mean(0)}
    shown |= {name: torch.where(pair.mask[t], pair.condition[t], image) for name, image in simple.items()}
    return {name: (image.clamp(0, 1)*255).round().byte().numpy() for name, image in shown.items()}


def rounded(value, digits: int = 4):
    "The same with every number rounded, so that the file can be read."
    if isinstance(value, dict): return {name: rounded(v, digits) for name, v in value.items()}
    if isinstance(value, list): return [rounded(v, digits) for v in value]
    return round(value, digits) if isinstance(value, float) else value


def judge(held: HeldOut, other: HeldOut, settings: Settings, pipeline: ArgusPipeline, mean: Tensor, distance: PerceptualDistance) -> tuple[dict, dict]:
    "All numbers of one clip, and its pictures."
    pair, seeds = film(held, settings.frames, settings.size), held.seeds(settings.samples)
    made = outputs(pipeline, pair, film(other, settings.frames, settings.size), seeds, settings)
    simple = fills(*everything_seen(pair.condition, pair.mask), mean)
    fov = [round(math.degrees(float(f[0])), 1) for f in (pair.cameras.fov_x, pair.cameras.fov_y)]
    pictures = moment(made, simple, pair)
    row = dict(name=held.name, kind=held.kind, group=held.group, index=held.index, fov_x=fov[0], fov_y=fov[1], seeds=seeds, other=other.name,
               seen=round(regions(pair.mask)['union'].double().mean().item(), 4), psnr=psnr_rows(made, simple, pair),
               stlpips=perceptual_rows(made, simple, pair, settings.judged, distance),
               colour={name: colour_agreement(pictures[name], pictures['truth']) for name in ('autoencoder', 'first sample')})
    return rounded(row), pictures


# --- All clips -----------------------------------------------------------------------------------------------------

def finished(path: Path, other: HeldOut, settings: Settings) -> dict|None:
    "The row of a clip that was judged before under the same settings."
    if not path.exists(): return None
    record = json.loads(path.read_text())
    same = record['settings'] == json.loads(json.dumps(asdict(settings))) and record['row']['other'] == other.name
    return record['row'] if same else None


@functools.cache
def tools(model: str, work: Path, examples: int, size: tuple) -> tuple[ArgusPipeline, Tensor, PerceptualDistance]:
    "What every clip needs: the model, the mean panorama (kept beside the clips), the perceptual distance."
    path = work/f'mean_of_{examples}_{size[0]}x{size[1]}.npy'
    pipeline = ArgusPipeline.from_pretrained(model, device='cpu')
    return pipeline, mean_panorama(examples, size, file=path), PerceptualDistance()


def judge_and_keep(held: HeldOut, other: HeldOut, model: str, work: Path, settings: Settings) -> dict:
    "Judge one clip, or read what is known of it."
    path = work/f'{held.name}.json'
    if (row := finished(path, other, settings)) is None:
        row, pictures = judge(held, other, settings, *tools(model, work, settings.examples, settings.size))
        with write_beside(path.with_suffix('.npz')) as temporary: np.savez_compressed(temporary, **pictures)
        save_json(path, dict(settings=asdict(settings), row=row))
    return row


def judge_all(clips: list[HeldOut], model: str, work: Path, settings: Settings, workers: int) -> list[dict]:
    "Judge all clips, some at a time, saying each; the control gets the input of the clip that comes next."
    work.mkdir(parents=True, exist_ok=True)
    jobs = [(held, clips[(n + 1) % len(clips)], model, work, settings) for n, held in enumerate(clips)]
    tools(model, work, settings.examples, settings.size)  # so that workers find the mean panorama
    with ProcessPoolExecutor(workers, get_context('spawn'), torch.set_num_threads, (1,)) if workers > 1 else contextlib.nullcontext() as pool:
        waiting = [pool.submit(judge_and_keep, *job) for job in jobs] if pool else None
        rows = (w.result() for w in waiting) if waiting else (judge_and_keep(*job) for job in jobs)
        found = []
        for row in rows:
            found.append(row)
            print(f'{len(found):2}/{len(jobs)} {line(row)}', flush=True)
    return found


# --- What the clips say together -----------------------------------------------------------------------------------

def best_fill(rows: list[dict], measure: str) -> str:
    "The name of the fill that does best in the never-seen region, by the mean over clips."
    score = {name: np.nanmean([row[measure][name]['never'] for row in rows]) for name in FILLS}
    return (max if measure == 'psnr' else min)(score, key=score.get)


def differences(rows: list[dict], psnr_fill: str, stlpips_fill: str) -> dict[str, dict]:
    "Paired differences over clips, each between two things on the same clip."
    def paired(measure, a, b, region): return bootstrap([row[measure][a][region] - row[measure][b][region] for row in rows])
    found = {f'autoencoder - one sample, {region}': paired('psnr', 'autoencoder', 'one sample', region) for region in ('frames', 'union')}
    found |= {f'mean of samples - {kind}, never': paired('psnr', 'mean of samples', name, 'never') for kind, name in (('best fill', psnr_fill), ('one sample', 'one sample'))}
    found |= {f'first sample - best fill, ST-LPIPS {region}': paired('stlpips', 'first sample', stlpips_fill, region) for region in ('never', 'plain')}
    for control in ('other input', 'no embeddings'):
        found |= {f'first sample - {control}, {region}': paired('psnr', 'first sample', control, region) for region in ('frames', 'union', 'never')}
    return found


def summary(rows: list[dict]) -> dict:
    "Means over clips with their intervals, the best fills, and the paired differences."
    means = {measure: {name: {region: bootstrap([row[measure][name][region] for row in rows]) for region in regions_of}
                       for name, regions_of in rows[0][measure].items()} for measure in ('psnr', 'stlpips', 'colour')}
    best = {measure: best_fill(rows, measure) for measure in ('psnr', 'stlpips')}
    seen = bootstrap([row['seen'] for row in rows])
    return dict(clips=len(rows), seen=seen, best_fill=best, **means, differences=differences(rows, best['psnr'], best['stlpips']))


def summaries(rows: list[dict]) -> dict[str, dict]:
    "One summary for worlds, one for panoramas, one for all."
    groups = {'worlds': [r for r in rows if r['group'] == 'worlds'], 'panoramas': [r for r in rows if r['group'] == 'panoramas'], 'all': rows}
    return {group: summary(members) for group, members in groups.items() if members}


def sheet(pictures: dict, names: list[str], columns: int = 4, gap: int = 4) -> Image.Image:
    "Pictures side by side, the input fitted to the size of the others."
    height, width = pictures['truth'].shape[1:]
    page = Image.new('RGB', (columns*(width + gap) - gap, -(-len(names)//columns)*(height + gap) - gap), 'white')
    for n, name in enumerate(names):
        picture = Image.fromarray(np.moveaxis(pictures[name], 0, -1))
        picture = picture.resize([max(1, round(side*min(width/picture.width, height/picture.height))) for side in picture.size], Image.Resampling.LANCZOS)
        page.paste(picture, (n % columns*(width + gap) + (width - picture.width)//2, n//columns*(height + gap) + (height - picture.height)//2))
    return page


def save_pictures(rows: list[dict], work: Path, folder: Path, best: dict[str, str]) -> dict[str, str]:
    "The first clip of each kind, and the one where the model did worst against the best fill; returns which clip each shows."
    shown = {kind: next((row['name'] for row in rows if row['kind'] == kind), None) for kind in (*KINDS, 'panorama')}
    shown['worst'] = min(rows, key=lambda row: row['psnr']['mean of samples']['never'] - row['psnr'][best['psnr']]['never'])['name']
    shown = {title: name for title, name in shown.items() if name}
    for title, name in shown.items():
        page = sheet(np.load(work/f'{name}.npz'), ['input', 'condition', 'truth', 'autoencoder', 'first sample', 'mean of samples', best['psnr'], best['stlpips']])
        with write_beside(folder/f'nano_{title}.jpg') as temporary: page.save(temporary, quality=85)
    return shown


def line(row: dict) -> str:
    "One clip in a line."
    p, s, best = row['psnr'], row['stlpips'], max(row['psnr'][name]['never'] for name in FILLS)
    return (f"{row['name']:18} seen {row['seen']:4.0%}: PSNR seen {p['one sample']['union']:5.2f} (bound {p['autoencoder']['union']:5.2f}), never seen: mean {p['mean of samples']['never']:5.2f}, "
            f"one {p['one sample']['never']:5.2f}, best fill {best:5.2f}; ST-LPIPS {s['first sample']['never']:.4f}, best fill {min(s[name]['never'] for name in FILLS):.4f}")


def main(arguments: list[str]|None = None) -> dict:
    "Judge every clip and write what came out."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='nano', help='name or folder')
    parser.add_argument('--work', type=Path, default=Path('runs/evaluate_nano'), help='where finished clips are kept')
    parser.add_argument('--output', type=Path, default=ROOT/'results'/'nano.json', help='the results file')
    parser.add_argument('--pictures', type=Path, default=ROOT/'nbs'/'images', help='where the pictures go')
    parser.add_argument('--worlds', type=int, default=9, help='held-out worlds, a room, a street and a landscape in turn')
    parser.add_argument('--panoramas', type=int, default=8, help='held-out panoramas; there are 8')
    parser.add_argument('--samples', type=int, default=8, help='samples of each clip')
    parser.add_argument('--steps', type=int, help="steps of the sampler; the pipeline's own when not given")
    parser.add_argument('--guidance', type=float, help="guidance; the pipeline's own when not given")
    parser.add_argument('--judged', type=int, default=4, help='frames of each clip that ST-LPIPS looks at')
    parser.add_argument('--examples', type=int, default=100, help='training examples in the mean panorama')
    parser.add_argument('--bfloat16', action='store_true', help='decode in bfloat16: three times as fast on a processor that has it')
    parser.add_argument('--workers', type=int, default=1, help='clips judged at a time, each on one core; 1 uses all cores for one clip')
    args = parser.parse_args(arguments)
    unet, weights = ArgusPipeline.from_pretrained(args.model, device='cpu').unet, weights_of(args.model)
    own, usual = model_settings(unet), sampling_for(unet)
    settings = Settings(hashlib.sha256(''.join(weights.values()).encode()).hexdigest(), own['frames'], tuple(own['size']), args.steps or usual.num_inference_steps,
                        usual.guidance_scale if args.guidance is None else args.guidance, args.samples, args.judged, args.examples, args.bfloat16)
    clips = held_out_clips(args.worlds, args.panoramas)
    rows = judge_all(clips, args.model, args.work, settings, args.workers)
    record = run_record(model=args.model, weights=weights, settings=asdict(settings), sampling=asdict(sampling_for(unet, **settings.told)),
                        held_out=dict(worlds=[2*c.index + 1 for c in clips if c.group == 'worlds'], panoramas=[c.name for c in clips if c.group == 'panoramas']),
                        summary=summaries(rows))
    record['pictures'] = save_pictures(rows, args.work, args.pictures, record['summary']['all']['best_fill'])
    save_json(args.output, record | dict(clips=rows))
    print(f"wrote {args.output.name} and {len(record['pictures'])} pictures")
    return record


if __name__ == '__main__': main()
