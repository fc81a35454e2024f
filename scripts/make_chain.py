#!/usr/bin/env python3
"""Make the pictures that lead through the pages: one clip, and what becomes of it step by step.

    python scripts/make_chain.py [CLIP] [--seed N]

CLIP is the demo's by default, filmed anew. Writes nbs/images/chain.jpg, and chain_input.jpg to chain_views.jpg, where
the step of that page is outlined.
"""
import argparse, math, tempfile
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import pad

from make_demo_input import film

IMAGES = Path(__file__).parent.parent/'nbs'/'images'
STEPS = dict(input='the clip', cameras='its cameras', seen='what a frame saw', generated='the panorama',
             views='looking around')
WIDTH, GAP, LETTERS, ACCENT = 300, 16, 19, (214, 110, 0)


def stages(clip: Path, seed: int) -> dict[str, torch.Tensor]:
    "A picture in [0, 1] of every step, at the middle of the clip; (3, H, W) each."
    from argus_nb.alignment import align_frames, level_rotation
    from argus_nb.clip_cameras import cameras_for
    from argus_nb.generate import generate_video
    from argus_nb.projection import panorama_to_perspective
    from argus_nb.session import globe, tracked_picture
    from argus_nb.sphere import rotation_from_euler
    from argus_nb.video import read_video
    video = read_video(clip)
    track, middle, size = cameras_for(video), len(video.frames)//2, (300, 600)
    frame = video.frames[[middle]].float()/255
    upright = track.rotated(level_rotation(track))
    seen, mask = align_frames(frame, upright[[middle]], size)
    with tempfile.TemporaryDirectory() as folder:
        generate_video(clip, f'{folder}/around.mp4', seed=seed, width=1200)
        around = read_video(f'{folder}/around.mp4').frames[[middle]].float()/255
    yaw = torch.tensor([-120., 0., 120.]).deg2rad()
    views = panorama_to_perspective(around, rotation_from_euler(yaw, 0*yaw, 0*yaw), math.radians(80), (300, 200))
    return dict(input=frame[0], cameras=tracked_picture(video.frames, track, size[0]),
                seen=torch.where(mask, seen, globe(size[0]))[0], generated=around[0],
                views=pad(torch.cat([*pad(views, (6, 6), value=1.)], -1), (-6, -6)))


def strip(pictures: dict[str, torch.Tensor], here: str = '') -> Image.Image:
    "All steps in a row; the one of this page outlined and the others paler."
    from argus_nb.runtime import as_bytes
    height = WIDTH//2
    page = Image.new('RGB', (len(STEPS)*(WIDTH + GAP) + GAP, height + 2*GAP + LETTERS + 6), 'white')
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(LETTERS)
    for number, (name, picture) in enumerate(pictures.items()):
        x, image = GAP + number*(WIDTH + GAP), Image.fromarray(as_bytes(picture).movedim(0, -1).numpy())
        scale = min(WIDTH/image.width, height/image.height)
        image = image.resize((round(image.width*scale), round(image.height*scale)), Image.Resampling.LANCZOS)
        if here and name != here: image = Image.blend(image, Image.new('RGB', image.size, 'white'), .55)
        left, top = x + (WIDTH - image.width)//2, GAP + (height - image.height)//2
        page.paste(image, (left, top))
        colour = ACCENT if name == here else (90, 90, 90)
        if name == here: pen.rectangle((left - 4, top - 4, left + image.width + 3, top + image.height + 3),
                                       outline=ACCENT, width=4)
        pen.text((x + WIDTH/2, height + GAP + 8), f'{number + 1}  {STEPS[name]}', fill=colour, font=font, anchor='mt')
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('CLIP', nargs='?', type=Path)
    parser.add_argument('--seed', type=int, default=0, help='of what is generated')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.CLIP is None: film(clip := Path(folder)/'input.mp4', 19, 4., (360, 640))
        else: clip = args.CLIP
        pictures = stages(clip, args.seed)
    for here in ('', *STEPS):
        strip(pictures, here).save(path := IMAGES/f'chain{"_"*bool(here)}{here}.jpg', quality=82)
        print(f'wrote {path.name}, {path.stat().st_size//1000} kB')


if __name__ == '__main__': main()
