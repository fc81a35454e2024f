r"""Keep the averaged weights of a training stage, in half precision, from its checkpoint.

    python scripts/make_milestone.py runs/folded/autoencoder_0/checkpoint.pt milestones/autoencoder.safetensors
    python scripts/make_milestone.py runs/folded/pictures/checkpoint.pt milestones/pictures.safetensors \
        'temporal|time_pos|time_mixer'

The third argument names parts that are left out, as a regular expression: those that the stage did not train.

A run whose folder was lost goes on from such a file (`weights=` of the stage's function): the optimizer begins anew,
the weights do not. The step, the minutes and the last losses are noted in the file's header.
"""
import json, re, sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from argus_nb.runtime import write_beside


def main(checkpoint: Path, target: Path, without: str = '$^') -> None:
    state = torch.load(checkpoint, weights_only=True, map_location='cpu')
    buffers = {name: value for name, value in state['module'].items() if name not in state['average']}
    weights = {name: value.half().contiguous() if value.is_floating_point() else value
               for name, value in (state['average'] | buffers).items() if not re.search(without, name)}
    note = dict(step=str(state['step']), minutes=f"{state['seconds']/60:.0f}", last=json.dumps(state['log'][-3:]))
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(target) as temporary: save_file(weights, temporary, metadata=note)
    print(f"{target}: step {state['step']}, {target.stat().st_size/1e6:.1f} MB")


if __name__ == '__main__':
    if len(sys.argv) not in (3, 4): sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
