"Runs that are killed, and what they leave behind."
import os, signal, subprocess, sys, time
from pathlib import Path
import pytest, torch
from torch.testing import assert_close
from argus_nb.training import fit, learning_rate, save_checkpoint

RUN = '''
import sys, time, torch
from argus_nb.diffusion import sample_sigma
from argus_nb.models import build_unet
from argus_nb.training import train_denoiser
torch.set_num_threads(1); torch.manual_seed(0)
generator = torch.Generator().manual_seed(1)
cache = {n: torch.randn(5, 2, *s, generator=generator) for n, s in dict(target=(4, 4, 8), condition=(4, 4, 8), embeddings=(32,)).items()} | dict(noise=torch.full((5,), .05))
unet = build_unet('tiny')
import argus_nb.training as training
fit = training.fit
def slow(module, loss_of, *a, **k):
    def loss(step, generator):
        print(step, flush=True); time.sleep(float(sys.argv[2]))
        return loss_of(step, generator)
    return fit(module, loss, *a, **k, save_every=0)
training.fit = slow
train_denoiser(unet, cache, .5, sys.argv[1], steps=12, batch=2, progress=False)
torch.save(unet.state_dict(), sys.argv[1] + '/final.pt')
'''

def run(folder, pause=0., kill_after=None):
    process = subprocess.Popen([sys.executable, '-c', RUN, str(folder), str(pause)], stdout=subprocess.PIPE, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))
    if kill_after is None: return process.wait(), process.stdout.read()
    for line in process.stdout:
        if int(line) >= kill_after: break
    time.sleep(pause/2)
    process.send_signal(signal.SIGKILL); process.wait()
    return process.returncode, ''

def test_killed_run_ends_bit_identical(tmp_path):
    "kill -9 at three moments of one run, resumed each time: the result and the log are those of a run that nobody disturbed."
    whole, broken = tmp_path/'whole', tmp_path/'broken'
    assert run(whole)[0] == 0
    for moment in (2, 5, 9): assert run(broken, .05, moment)[0] == -signal.SIGKILL
    code, printed = run(broken)
    assert code == 0 and int(printed.split()[0]) >= 8, 'the last run started over instead of resuming'
    one, two = (torch.load(f/'final.pt', weights_only=True) for f in (whole, broken))
    for name in one: assert_close(one[name], two[name], rtol=0, atol=0)

def test_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path/'checkpoint.pt'
    save_checkpoint(path, dict(step=1))
    def full(state, file): Path(file).write_bytes(b'half'); raise OSError(28, 'No space left on device')
    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError): save_checkpoint(path, dict(step=2))
    assert torch.load(path, weights_only=True) == dict(step=1)
    assert [p.name for p in tmp_path.iterdir()] == ['checkpoint.pt']

def test_learning_rate_by_hand():
    assert learning_rate(0, 1000, 1., warmup=10) == pytest.approx(.1)
    assert learning_rate(9, 1000, 1., warmup=10) == pytest.approx(1.)
    assert learning_rate(750, 1000, 1., warmup=10, decay=.5) == pytest.approx(.5)

def test_gradients_are_clipped(tmp_path):
    "One huge gradient moves the weights no further than a small one, up to Adam's scale."
    class One(torch.nn.Module):
        def __init__(self): super().__init__(); self.w = torch.nn.Parameter(torch.zeros(1))
    module = One()
    log = fit(module, lambda step, g: (1e6*module.w.sum(), {}), 1, tmp_path, lr=.1, progress=False)
    assert log[0]['norm'] == pytest.approx(1e6) and module.w.abs().item() <= .1
