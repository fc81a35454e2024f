#!/usr/bin/env python3
"""Film a small ray-traced world with a simulated hand: a clip as it might come out of a phone.

    python scripts/make_demo_input.py demo/input.mp4 [--seed 19] [--seconds 4] [--size 640x360]

Thirty frames per second, with sound: the steps of somebody walking and a soft chord.
"""
import argparse, math, sys, tempfile, wave
from pathlib import Path

import numpy as np

FPS, FOV = 30, 70
MIN_DRIFT = 6  # degrees per second: at least 24 degrees in four seconds


def footsteps_and_chord(seconds: float, rate: int = 44100) -> np.ndarray:
    "A quiet chord that swells and fades, and a dull step at 1.5 Hz, as the hand oscillates; (samples,) in [-1, 1]."
    t = np.arange(int(seconds*rate))/rate
    chord = sum(np.sin(2*math.pi*pitch*t) for pitch in (220., 277.18, 329.63))/3
    since_step = (t*1.5 % 1)/1.5
    steps = np.sin(2*math.pi*70*since_step)*np.exp(-18*since_step)
    return .2*chord*np.sin(math.pi*t/seconds) + .35*steps


def write_wav(path: Path, samples: np.ndarray, rate: int = 44100) -> None:
    "A mono 16-bit WAV file."
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1); file.setsampwidth(2); file.setframerate(rate)
        file.writeframes((samples.clip(-1, 1)*32767).astype('<i2').tobytes())


def film(path: Path, seed: int, seconds: float, size: tuple[int, int]) -> str:
    "Film the world of this seed and write the clip; returns one line that says what was filmed."
    from argus_nb.motion import simulate_motion
    from argus_nb.runtime import make_generator
    from argus_nb.video import write_video
    from argus_nb.worlds import random_world
    world, times = random_world(seed), np.arange(round(seconds*FPS))/FPS
    hand = simulate_motion(len(times), FPS, make_generator(seed), fov_x=math.radians(FOV), level=True,
                           min_drift=MIN_DRIFT)
    chunks = (world.render_perspective(times[i:i+FPS], hand.world_from_camera[i:i+FPS], hand.fov_x[i:i+FPS], size)
              for i in range(0, len(times), FPS))
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder)/'sound.wav'
        write_wav(sound, footsteps_and_chord(seconds))
        write_video(path, chunks, FPS, spherical=False, audio_from=sound)
    yaw = hand.euler()[0].rad2deg()
    turned = abs(yaw[-1] - yaw[0])
    what = f'{seconds:g} s of a world, {size[1]}x{size[0]} at {FPS} fps'
    return f'{path}: {what}, filmed by a hand that turns by {turned:.0f} degrees'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('OUTPUT', type=Path)
    parser.add_argument('--seed', type=int, default=19,
                        help='another number, another world and another hand; training never sees odd ones')
    parser.add_argument('--seconds', type=float, default=4., help='length of the clip')
    parser.add_argument('--size', default='640x360', help='WIDTHxHEIGHT, both even')
    args = parser.parse_args()
    args.OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    width, height = map(int, args.size.split('x'))
    print(film(args.OUTPUT, args.seed, args.seconds, (height, width)))


if __name__ == '__main__': sys.exit(main())
