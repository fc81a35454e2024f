#!/usr/bin/env python3
"""Write the model card of nano, argus_nb/nano/README.md, from results/nano.json; with --check only say whether it fits.

    python scripts/make_card.py [--check]

Every figure comes from the record that `argus reproduce nano --write` leaves; data, licences and limits are text.
"""
import json, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT/'argus_nb'/'nano'/'README.md'

HEAD = '''---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-video
tags: [panorama, 360-video, outpainting, stable-video-diffusion]
---
<!-- Written by `python scripts/make_card.py`: edit that, not this. -->

# nano

A small model of the family of Stable Video Diffusion that invents the surroundings of an ordinary video: from {frames}
frames and the part of the sphere that they cover, a 360° video of {width}×{height}, {fps:g} frames a second. It was
trained from nothing, on processors, by the project that ships it.

```python
from argus_nb import ArgusPipeline, estimate_cameras
from argus_nb.video import read_video

video = read_video('clip.mp4', seconds=3.2, fps=5)
panorama = ArgusPipeline.from_pretrained('nano')(video.frames, estimate_cameras(video.frames, video.fps))
```

| part | parameters |
|---|---|
{parts}

## Data

- Ray-traced rooms, streets and landscapes that the package itself makes; training takes even seeds, the judge odd ones.
- The photographed places in `argus_nb/panoramas`, except those held out by name. Their authors and licences stand in
  `argus_nb/panoramas/NOTICE` and `LICENCE`. Most are CC0 or CC BY; of some only the licence of the publishing
  repository is known.

No video of people and no personal data was used beyond what is seen on those photographs.

## Figures

The model alone, nothing of the input pasted over it, one sample; {clips},
on a grid of 256×128, with the pipeline's own estimate of the level. Means with 95 % intervals over clips.

{figures}

Recorded by `{command}` on {date}, weights {weights}…

## Limits

It invents; nothing in the surroundings may be taken for what was there. Faces, lettering and thin structures come out
as smears. It has seen few places, and hardly anything that moves. People are not modelled. What is written by
`argus generate` says in its metadata that its surroundings are generated; do not remove that.

## Licence

Apache-2.0, as the project. The photographs it learned from keep their own licences.
'''


def interval(entry: dict, digits: int = 2) -> str:
    "A mean with its interval."
    return f"{entry['mean']:.{digits}f} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"


def figures_of(record: dict) -> str:
    "The table of figures."
    groups = {'worlds': 'worlds', 'panoramas': 'photographs'}
    summaries = [record['summary'][group] for group in groups]
    fill = record['summary']['all']['best_fill']['stlpips']
    rows = [('autoencoder, whole: PSNR in dB', lambda s: interval(s['psnr']['autoencoder']['whole'])),
            ('autoencoder, never seen: ST-LPIPS', lambda s: interval(s['stlpips']['autoencoder']['never'], 3)),
            ('sample, seen by any frame: PSNR in dB', lambda s: interval(s['psnr']['one sample']['union'])),
            ('sample, never seen: ST-LPIPS', lambda s: interval(s['stlpips']['first sample']['never'], 3)),
            (f'best fill ({fill}), never seen: ST-LPIPS', lambda s: interval(s['stlpips'][fill]['never'], 3)),
            ("sample, never seen: detail, share of the truth's", lambda s: f"{s['detail']['first sample']:.2f}"),
            ('sample, never seen: restlessness', lambda s: interval(s['restlessness']['first sample'], 4))]
    lines = ['| | ' + ' | '.join(groups.values()) + ' |', '|---|---|---|']
    lines += ['| ' + ' | '.join([name, *map(of, summaries)]) + ' |' for name, of in rows]
    if 'set_distances' in record:
        far = record['set_distances']
        lines += ['', f"Fréchet distance, all clips: {far['first sample']['frechet']:.2f}; two halves of the truth "
                      f"{far['truth']['frechet']:.2f}, the autoencoder {far['autoencoder']['frechet']:.2f}."]
    return '\n'.join(lines)


def card() -> str:
    "The text."
    from argus_nb.models import stored_settings
    from argus_nb.networks import build_image_encoder, build_unet, build_vae, count_parameters
    record, settings = json.loads((ROOT/'results'/'nano.json').read_text()), stored_settings(str(CARD.parent))
    parts = {'autoencoder': build_vae, 'denoiser': build_unet, 'image encoder': build_image_encoder}
    names = {'worlds': 'worlds', 'panoramas': 'photographs of places'}
    return HEAD.format(frames=settings['frames'], height=settings['size'][0], width=settings['size'][1],
                       fps=record['sampling']['fps'],
                       parts='\n'.join(f'| {name} | {count_parameters(build("nano"))/1e6:.1f} million |'
                                       for name, build in parts.items()),
                       clips=' and '.join(f"{record['summary'][g]['clips']} {name}" for g, name in names.items())
                       + ' that it never saw', figures=figures_of(record), command=record['command'],
                       date=record['date'], weights=record['weights']['unet'][:16])


if __name__ == '__main__':
    text = card()
    if '--check' not in sys.argv: CARD.write_text(text)
    elif not CARD.exists() or CARD.read_text() != text: sys.exit(f'{CARD.relative_to(ROOT)} is not fresh')
