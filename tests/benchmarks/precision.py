"""What number formats, memory layouts, attention kernels and compilation do to one call of the denoiser and to decoding.

    python tests/benchmarks/precision.py [--model NAME] [--rounds N] [--compile] [--write]

All ways take turns in one process; times are medians, relative to plain float32. *error* is the relative distance of the result
from float32's, on random latents. --compile adds torch.compile, which takes minutes; how long its first call took is kept, too.
--write stores results/precision.json, which notebook 16 shows. What bfloat16 does to finished videos: sampling.py calls.
"""
import argparse, copy, statistics, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import torch
from argus_nb.decoding import decode
from argus_nb.diffusion import added_time_ids
from argus_nb.models import load_part, locate_model, preset
from argus_nb.runtime import make_generator, run_record, save_json
from diffusers.models.attention_processor import AttnProcessor

def channels_last(network):
    "The same network with the channels of a pixel side by side in the weights of its convolutions."
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d): layer.to(memory_format=torch.channels_last)
    return network

def taking_turns(ways, rounds):
    "Median seconds and relative error of each way; the first is the reference, and each runs once before."
    reference, table = next(iter(ways.values()))(), {}
    error = {name: ((way().float() - reference).norm()/reference.norm()).item() for name, way in ways.items()}
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter(); way(); seconds[name].append(time.perf_counter() - start)
    first = next(iter(ways))
    for name, values in seconds.items():
        table[name] = dict(seconds=round(statistics.median(values), 4), time=round(statistics.median(v/b for v, b in zip(values, seconds[first])), 3), error=error[name] if error[name] == error[name] else None)
        print(f"{name:32} {table[name]['seconds']:7.3f} s, {table[name]['time']:.2f} of the time, error {error[name]:.1e}", flush=True)
    return table

def denoiser_ways(unet, size, frames, is_compiled):
    "Ways to call the UNet once."
    g, half = make_generator(0), copy.deepcopy(unet).bfloat16()
    x, told = torch.randn(1, frames, 8, size[0]//8, size[1]//8, generator=g), torch.randn(1, frames, unet.config.cross_attention_dim, generator=g)
    level, ids = torch.tensor([.3]), added_time_ids(torch.tensor([.02]))
    def called(network): return lambda: network(x.to(unet_dtype(network)), level, told.to(unet_dtype(network)), ids).sample
    plain = copy.deepcopy(unet); plain.set_attn_processor(AttnProcessor())
    ways = {'float32': called(unet), 'without fused attention': called(plain), 'channels last': called(channels_last(copy.deepcopy(unet))), 'bfloat16': called(half)}
    waits = {}
    for name, network in (('compiled', unet), ('compiled, bfloat16', half)) if is_compiled else ():
        start, fast = time.perf_counter(), torch.compile(copy.deepcopy(network))
        ways[name] = called(fast); ways[name](); waits[name] = round(time.perf_counter() - start, 1)
    return ways, waits

def unet_dtype(network): return next(network.parameters()).dtype

def decoder_ways(vae, size, seam):
    "Ways to decode four frames."
    latents = torch.randn(4, vae.config.latent_channels, size[0]//8, size[1]//8, generator=make_generator(1))
    half = copy.deepcopy(vae).bfloat16()
    networks = {'float32': vae, 'channels last': channels_last(copy.deepcopy(vae)), 'bfloat16': half, 'bfloat16, channels last': channels_last(copy.deepcopy(half))}
    return {name: (lambda network: lambda: decode(network, latents, seam))(network) for name, network in networks.items()}

@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='nano', help='name or folder')
    parser.add_argument('--rounds', type=int, default=9, help='how often each way is run')
    parser.add_argument('--compile', action='store_true', help='try torch.compile, too')
    parser.add_argument('--write', action='store_true', help='store results/precision.json')
    args = parser.parse_args()
    own, source = preset('nano'), locate_model(args.model)
    unet, vae = (load_part(part, source).requires_grad_(False) for part in ('unet', 'vae'))
    ways, waits = denoiser_ways(unet, own['size'], own['frames'], args.compile)
    print(f"one call of the denoiser, {own['frames']} frames of {own['size'][0]}x{own['size'][1]}"); denoiser = taking_turns(ways, args.rounds)
    print('decoding four frames'); decoder = taking_turns(decoder_ways(vae, own['size'], own['seam']), args.rounds)
    if args.write: save_json(Path(__file__).parents[2]/'results'/'precision.json', run_record(model=args.model, threads=torch.get_num_threads(), denoiser=denoiser, decoder=decoder, first_call_seconds=waits))

if __name__ == '__main__': main()
