"Runs that are killed, and what they leave behind."
import json, os, subprocess, sys, time
from pathlib import Path
import pytest, torch
from torch.testing import assert_close
from argus_nb.runtime import InputError
from argus_nb import precision, recipe, training
from argus_nb.experiments.kills import ends_as_undisturbed
from argus_nb.models import load_models
from argus_nb.training import fit, learning_rate, save_checkpoint

@pytest.mark.parametrize('kind, kills', [('fp32', 1), pytest.param('fp32', 3, marks=pytest.mark.slow),
                                         pytest.param('bf16', 3, marks=pytest.mark.slow)])
def test_killed_run_ends_bit_identical(kind, kills, tmp_path):
    found = ends_as_undisturbed(tmp_path, kills, precision=kind)
    assert found['same_weights'] and found['same_log']

@pytest.mark.slow
def test_killed_at_thirty_random_moments(tmp_path):
    found = ends_as_undisturbed(tmp_path, 30, seed=1)
    assert found['same_weights'] and found['same_log']

SHARED = '''
import os, sys, time, torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from argus_nb import denoiser, training
from argus_nb.networks import build_unet
torch.set_num_threads(1); torch.manual_seed(0)
if 'ACCELERATE_USE_FSDP' in os.environ:  # weights are split on accelerators alone: let accelerate believe in one
    PartialState(cpu=True); PartialState._shared_state['distributed_type'] = DistributedType.MULTI_GPU
generator = torch.Generator().manual_seed(1)
shapes = dict(target=(4, 4, 8), condition=(4, 4, 8), embeddings=(32,))
cache = {n: torch.randn(6, 3, *s, generator=generator) for n, s in shapes.items()} | dict(noise=torch.full((6,), .05))
unet, fit = build_unet('tiny'), training.fit
def stopped(module, loss_of, *a, **k):
    def loss(step, generator):
        if step == int(sys.argv[2]):
            PartialState().wait_for_everyone(); time.sleep(1); os._exit(0)  # not while the others are still waiting
        return loss_of(step, generator)
    return fit(module, loss, *a, **k, save_every=0 if int(sys.argv[2]) > 0 else 1e9, picture_every=5)
def pictures():
    open(sys.argv[1] + '/drawn', 'w').close(); return {}
class Checkpoint(training.Checkpoint):
    def __init__(self, *a):
        super().__init__(*a)
        assert self.is_split == ('ACCELERATE_USE_FSDP' in os.environ)
denoiser.fit, training.Checkpoint = stopped, Checkpoint
denoiser.train_denoiser(unet, cache, .5, sys.argv[1], steps=11, batch=4, lr=3e-3, context=.5, known=1,
                        pictures=pictures, tensorboard=True, progress=False)
if PartialState().is_main_process: torch.save(unet.state_dict(), sys.argv[1] + '/final.pt')
'''

def run_shared(folder, processes, stop=-1, **environment):
    "What SHARED leaves in `folder`, made by one process or by several that share its batches: losses and weights."
    script = folder.parent/'shared.py'; script.write_text(SHARED)
    start = [sys.executable] if processes == 1 else [sys.executable, '-m', 'torch.distributed.run', '--standalone',
                                                     '--nproc_per_node', str(processes)]
    done = subprocess.run([*start, script, folder, str(stop)],
                          env=os.environ | dict(OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true') | environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (json.loads((folder/'log.json').read_text())['log'],
            torch.load(folder/'final.pt', weights_only=True)) if stop < 0 else None

@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp('alone')/'run'
    return folder, *run_shared(folder, 1)

def agree(one, two):
    assert [e['step'] for e in one] == [e['step'] for e in two] == [0, 10]
    for a, b in zip(one, two):
        assert b['loss'] == pytest.approx(a['loss'], rel=1e-4) and b['norm'] == pytest.approx(a['norm'], rel=1e-3)

def test_two_processes_learn_what_one_learns(alone, tmp_path):
    "The same batches shared by two processes: the same losses, the same gradients, the same files."
    folder, log, weights = alone
    agree(log, run_shared(tmp_path/'run', 2)[0])
    assert (folder/'drawn').exists()
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in (tmp_path/'run').iterdir())

SPLIT = dict(ACCELERATE_USE_FSDP='true', FSDP_VERSION='2', FSDP_AUTO_WRAP_POLICY='TRANSFORMER_BASED_WRAP',
             FSDP_TRANSFORMER_CLS_TO_WRAP='SpatioTemporalResBlock')

@pytest.mark.parametrize('first, then', [pytest.param((2, SPLIT), (2, SPLIT), marks=pytest.mark.slow),
                                         pytest.param((2, SPLIT), (2, {}), marks=pytest.mark.slow),
                                         pytest.param((1, {}), (2, SPLIT), marks=pytest.mark.slow)],
                         ids=['split', 'split, then not', 'one process, then split'])
def test_split_weights_learn_what_whole_ones_learn(alone, tmp_path, first, then):
    """Each process may hold a part of every weight (FSDP); a run is stopped in between, and may go on in another way
    than it began."""
    go = lambda way, stop=-1: run_shared(tmp_path/'run', way[0], stop, **way[1])
    go(first, stop=3)
    log, weights = go(then)
    agree(alone[1], log)
    off = sum((weights[name] - value).square().sum() for name, value in alone[2].items())
    off = off/sum(value.square().sum() for value in alone[2].values())
    assert off**.5 < 1e-4  # some biases have no effect, and wander
    assert (tmp_path/'run'/'drawn').exists() == (not then[1])  # one process cannot draw with a part of the weights

def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    from types import SimpleNamespace
    from argus_nb import precision, recipe, training
    monkeypatch.setattr(training, 'PartialState', lambda: SimpleNamespace(process_index=1, num_processes=2))
    assert training.my_share(torch.arange(4)).tolist() == [1, 3]
    with pytest.raises(InputError, match='a batch of 3 cannot be shared evenly by 2 processes'):
        training.my_share(torch.arange(3))

def test_diary_holds_what_was_logged(tmp_path):
    "TensorBoard's files have the loss of every tenth step and the pictures, also over an interruption."
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    module = torch.nn.Linear(1, 1)
    def loss_of(step, generator):
        if step == stop: raise KeyboardInterrupt
        return module.weight.square().sum(), {}
    options = dict(tensorboard=True, pictures=lambda: dict(sample=torch.rand(3, 4, 8)), picture_every=20, save_every=0,
                   progress=False)
    for stop in (25, None):
        try: log = fit(module, loss_of, 41, tmp_path, **options)
        except KeyboardInterrupt: pass
    book = EventAccumulator(str(tmp_path/'tensorboard')).Reload()
    assert [(e.step, pytest.approx(e.value)) for e in book.Scalars('loss')] == [(e['step'], e['loss']) for e in log]
    assert [e.step for e in book.Images('sample')] == [19, 39]

def test_checkpointing_changes_memory_only():
    "Gradients are the same whether activations are kept or computed again."
    from argus_nb.denoiser import denoiser_loss
    from argus_nb.networks import build_unet
    cache = {n: torch.randn(2, 2, *s) for n, s in dict(target=(4, 4, 8), condition=(4, 4, 8),
                                                       embeddings=(32,)).items()} | dict(noise=torch.full((2,), .05))
    gradients = []
    for again in (False, True):
        torch.manual_seed(0); unet = build_unet('tiny').train()
        if again: unet.enable_gradient_checkpointing()
        denoiser_loss(unet, cache, .5, torch.Generator().manual_seed(3), batch=2)[0].backward()
        gradients.append([p.grad for p in unet.parameters() if p.grad is not None])
    for a, b in zip(*gradients): assert_close(a, b)

@pytest.mark.parametrize('again', [False, True])
def test_gradients_in_bfloat16_are_those_of_float32(again):
    "Up to rounding, layer by layer, also where activations are computed again on the way back."
    from argus_nb.denoiser import denoiser_loss
    from argus_nb.precision import processor_kernels
    unet = load_models('nano').unet.train().requires_grad_(True)
    if again: unet.enable_gradient_checkpointing()
    generator = torch.Generator().manual_seed(0)
    cache = {n: torch.randn(2, 3, *s, generator=generator)
             for n, s in dict(target=(8, 8, 16), condition=(8, 8, 16),
                              embeddings=(64,)).items()} | dict(noise=torch.full((2,), .05))
    def gradients(low):
        unet.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=low), processor_kernels():
            denoiser_loss(unet, cache, .5, torch.Generator().manual_seed(3), batch=2)[0].backward()
        return {n: p.grad.clone() for n, p in unet.named_parameters() if p.grad is not None}
    exact, found = gradients(False), gradients(True)
    whole = torch.stack([g.norm() for g in exact.values()]).norm()
    off = {n: ((found[n] - exact[n]).norm()/whole).item() for n in exact}
    assert max(off.values()) < .05, max(off.items(), key=lambda item: item[1])

def test_kernels_for_processors_change_nothing_in_float32():
    from argus_nb.networks import build_vae
    from argus_nb.precision import processor_kernels
    torch.manual_seed(0); vae, latents = build_vae('tiny'), torch.randn(4, 4, 4, 8)
    with torch.no_grad():
        plain = vae.decode(latents, num_frames=2).sample
        with processor_kernels(): assert_close(vae.decode(latents, num_frames=2).sample, plain)

def test_processes_draw_crops_of_their_own(monkeypatch):
    "Crops are few and of different lengths, so that they are drawn, not shared out."
    from types import SimpleNamespace
    draws = []
    for rank in (0, 1):
        monkeypatch.setattr(training, 'PartialState', lambda: SimpleNamespace(process_index=rank, num_processes=2))
        draws.append(torch.rand(3, generator=training.my_generator(torch.Generator().manual_seed(1))))
    assert not torch.equal(*draws)
    monkeypatch.setattr(training, 'PartialState', lambda: SimpleNamespace(process_index=0, num_processes=1))
    generator = torch.Generator()
    assert training.my_generator(generator) is generator

def test_a_missing_package_is_named_before_any_work(tiny, tmp_path, monkeypatch):
    def missing(): raise InputError('a distance between features needs the package x')
    monkeypatch.setattr(recipe, 'feature_network', missing)
    monkeypatch.setattr(recipe, 'build_cache', lambda *args, **options: pytest.fail('work was begun'))
    with pytest.raises(InputError, match='needs the package'):
        recipe.train_nano(tmp_path, 'tiny', start=tiny, progress=False)

def test_convolutions_along_time_never_reach_the_kernel_that_is_wrong(monkeypatch):
    "In bfloat16 on a processor it writes outside its memory, now and then: it must not be called at all."
    from argus_nb.precision import processor_kernels
    torch.manual_seed(0)
    convolution, pixels = torch.nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)), torch.randn(2, 4, 5, 3, 7)
    whole = torch.nn.Conv3d(4, 6, 3, padding=1)
    wanted = convolution(pixels)
    monkeypatch.setattr(precision, '_conv3d', lambda *args: 'the library')
    with processor_kernels():
        assert_close(convolution(pixels), wanted)
        assert whole(pixels) == 'the library'

def test_stages_may_differ_in_precision(tmp_path):
    for kind in ('fp32', 'bf16', 'fp32'):
        module, seen = torch.nn.Linear(2, 2), []
        def loss_of(step, generator):
            out = module(torch.ones(1, 2)); seen.append(out.dtype)
            return out.float().square().mean(), {}
        fit(module, loss_of, 1, tmp_path/f'{len(list(tmp_path.iterdir()))}', precision=kind, progress=False)
        assert seen == [torch.bfloat16 if kind == 'bf16' else torch.float32]

def test_the_decoder_learns_alone(tmp_path):
    "Latents mean what they meant; pictures come back closer."
    from argus_nb.autoencoder import train_decoder
    from argus_nb.latents import encode_frames
    from argus_nb.networks import build_vae
    torch.manual_seed(0); vae = build_vae('tiny').eval().requires_grad_(False)
    pool = torch.tensor([40, 220, 130], dtype=torch.uint8)[:, None, None, None, None].expand(3, 4, 3, 32, 64)
    frames = pool[:, 0].float()/255
    def error():
        with torch.no_grad():
            return (vae.decode(encode_frames(vae, frames), num_frames=1).sample/2 + .5 - frames).square().mean().item()
    before, off = encode_frames(vae, frames), error()
    train_decoder(tmp_path, vae, pool, 2, steps=31, lr=1e-2, perceptual=0., frames=4, crop=(32, 32), lengths=(1, 2),
                  progress=False)
    assert_close(encode_frames(vae, frames), before, rtol=0, atol=0)
    assert error() < .95*off and not any(p.requires_grad for p in vae.parameters())

def test_a_critic_begins_alike_whatever_was_drawn_before(tmp_path):
    "A run that was stopped before its decoder's turn ends with the same weights as one that was not."
    from argus_nb.autoencoder import train_decoder
    from argus_nb.networks import build_vae
    generator, ended = torch.Generator().manual_seed(0), []
    pool = torch.randint(256, (3, 2, 3, 32, 64), generator=generator, dtype=torch.uint8)
    for drawn in (0, 5):
        torch.manual_seed(0); vae = build_vae('tiny').eval().requires_grad_(False)
        torch.randn(drawn)
        train_decoder(tmp_path/f'{drawn}', vae, pool, 2, steps=2, adversarial=.5, frames=2, crop=(32, 32), lengths=(1,),
                      progress=False)
        ended.append(vae.decoder.state_dict())
    for name in ended[0]: assert_close(ended[0][name], ended[1][name], rtol=0, atol=0)

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


@pytest.mark.parametrize('optimizer', ['adamw', 'muon'])
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_stopped_run_goes_on_to_the_bit_with_either_optimizer(tmp_path, optimizer, precision):
    def run(folder, stop=None):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 12, 3), torch.nn.Flatten(),
                                  torch.nn.Linear(192, 10), torch.nn.Linear(10, 4))
        def loss_of(step, generator):
            if step == stop: raise KeyboardInterrupt
            return net(torch.randn(2, 3, 8, 8, generator=generator)).float().square().mean(), {}
        fit = training.fit(net, loss_of, 12, folder, lr=.01, optimizer=optimizer, precision=precision, save_every=0,
                           progress=False)
        return [p.detach().clone() for p in net.parameters()], [entry['loss'] for entry in fit]
    whole, losses = run(tmp_path/'whole')
    with pytest.raises(KeyboardInterrupt): run(tmp_path/'parted', stop=7)
    parted, again = run(tmp_path/'parted')
    assert losses == again and all(torch.equal(a, b) for a, b in zip(whole, parted))


def test_split_weights_are_moved_by_adamw_whatever_the_recipe_says(tiny, tmp_path, monkeypatch):
    "Muon needs whole matrices, and nobody can choose the optimizer on the command line."
    used = []
    monkeypatch.setattr(recipe, 'build_cache', lambda *args, **options: {})
    monkeypatch.setattr(recipe, 'train_denoiser', lambda *args, optimizer, **options: used.append(optimizer))
    short = {name: recipe.RECIPE[name] for name in ('pictures', 'videos')}
    for split in ('false', 'true'):
        monkeypatch.setenv('ACCELERATE_USE_FSDP', split)
        small = dict(size=(32, 64), overlap=1, shared_noise=0.)
        recipe.train_denoiser_stages(tmp_path, load_models(tiny), small, short)
    assert used == ['muon', 'muon', 'adamw', 'adamw']


@pytest.mark.parametrize('seed, firsts', [(0, [0, 100_000]), (3, [3_000_000, 3_100_000])])
def test_another_seed_trains_on_other_clips(tiny, tmp_path, monkeypatch, seed, firsts):
    asked = []
    class Enough(Exception): pass
    def build_cache(*args, first, **options):
        asked.append(first)
        if len(asked) == 2: raise Enough
        return {}
    monkeypatch.setattr(recipe, 'build_cache', build_cache)
    monkeypatch.setattr(recipe, 'train_denoiser', lambda *args, **options: None)
    with pytest.raises(Enough):
        recipe.train_nano(tmp_path, 'tiny', recipe.RECIPE, seed=seed, start=tiny, progress=False)
    assert asked == firsts

@pytest.mark.parametrize('kept', [0, .5])
def test_a_further_run_ends_between_what_it_began_with_and_what_it_learned(tiny, tmp_path, monkeypatch, kept):
    def train_denoiser(unet, *args, **options):
        with torch.no_grad():
            for weight in unet.parameters(): weight += 1
    monkeypatch.setattr(recipe, 'train_denoiser', train_denoiser)
    for name in ('build_cache', 'read_pool', 'train_decoder', 'stage_record'):
        monkeypatch.setattr(recipe, name, lambda *args, **options: {})
    ended = recipe.train_nano(tmp_path, 'tiny', recipe.FURTHER | dict(kept=kept), start=tiny, progress=False).unet
    for old, new in zip(load_models(tiny).unet.parameters(), ended.parameters()):
        # three stages, the last of which goes half-way back; kept as float16
        assert_close(new, old + 2.5*(1 - kept), rtol=0, atol=2e-3)
    assert json.loads((tmp_path/'nano_training.json').read_text())['kept'] == kept

def test_own_clips_are_taken_as_they_are_and_photographs_varied(tiny, tmp_path, monkeypatch):
    asked = []
    class Enough(Exception): pass
    def build_cache(*args, clip_of, **options): asked.append(clip_of); raise Enough
    monkeypatch.setattr(recipe, 'build_cache', build_cache)
    for clip_of in (None, len):
        with pytest.raises(Enough):
            recipe.train_nano(tmp_path, 'tiny', recipe.RECIPE, start=tiny, clip_of=clip_of, progress=False)
    assert asked[1] is len
    assert not torch.equal(asked[0](3, 1, size=(8, 16)), recipe.example_clip(3, 1, size=(8, 16)))

@pytest.mark.parametrize('kind, message', [('DEEPSPEED', 'DEEPSPEED keeps the weights'),
                                           ('FSDP', 'set fsdp_version to 2')])
def test_what_the_checkpoint_cannot_reach_is_refused(tmp_path, monkeypatch, kind, message):
    from accelerate import Accelerator, DistributedType
    monkeypatch.setattr(Accelerator, 'distributed_type', DistributedType[kind])
    with pytest.raises(InputError, match=message): fit(torch.nn.Linear(1, 1), None, 1, tmp_path, progress=False)

def test_a_run_goes_on_only_with_what_it_began_with(tmp_path):
    "Called again after its first model was replaced, a run would mix the weights of two."
    from argus_nb.models import build_models, save_models
    from argus_nb.recipe import note_start
    torch.manual_seed(0)
    model, again = tmp_path/'model', lambda folder, *starts: [note_start(tmp_path/folder, start) for start in starts]
    save_models(build_models('tiny'), model)
    again('from nothing', None, None)
    again('packaged', 'nano', 'nano')
    again('hub', 'svd', 'svd')
    again('own', model, str(model))
    save_models(build_models('tiny'), model)
    for folder, start in ('from nothing', 'nano'), ('packaged', None), ('packaged',
                                                                        'svd'), ('hub', 'nano'), ('own', model):
        with pytest.raises(InputError, match='holds a run that began with other weights'): again(folder, start)


def test_a_cache_on_disk_is_read_while_training_in_bfloat16(tmp_path):
    from safetensors.torch import save_file
    from argus_nb.latent_cache import read_cache
    rows = torch.randn(3, 2, 4, 4, 8).half()
    save_file(dict(target=rows, noise=torch.rand(3)), tmp_path/'000000.safetensors')
    with torch.autocast('cpu', torch.bfloat16): found = read_cache(tmp_path, in_memory=False)['target'][[2, 0]]
    assert torch.equal(found, rows[[2, 0]])
