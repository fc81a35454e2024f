"""Metrics beside other implementations, over two processes, and for what they cannot judge."""
import math

import pytest
import torch
from argus_nb.decoding import pole_spread, seam_discontinuity
from argus_nb.metrics import LPIPS, PSNR, SSIM, FlowSmoothness, FrechetDistance, PoleQuality, RotationError, SeamDiscontinuity, fit_basis
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import rotation_from_euler


def clips(count: int, frames: int = 3, size: tuple = (32, 64)) -> list[torch.Tensor]:
    "Noise with a seed."
    return list(torch.rand(count, frames, 3, *size, generator=make_generator(3)))


def merged(make, updates) -> tuple:
    "The metric after all updates, and two metrics with every other update each, summed as two processes would."
    one, parts = make(), [make(), make()]
    for n, update in enumerate(updates):
        update(one); update(parts[n % 2])
    for name, reduce in parts[0]._reductions.items():
        setattr(parts[0], name, reduce(torch.stack([getattr(p, name) for p in parts])))
    parts[0]._update_count = 2
    return one, parts[0]


@pytest.mark.parametrize('make', [PSNR, SSIM, lambda: PSNR(released=True), lambda: PSNR(spherical=True)])
def test_two_processes_equal_one_in_fidelity(make):
    made = clips(8)
    one, two = merged(make, [lambda m, a=a, b=b: m.update(a, b) for a, b in zip(made[::2], made[1::2])])
    torch.testing.assert_close(one.compute(), two.compute())


@pytest.mark.parametrize('make', [SeamDiscontinuity, PoleQuality, FlowSmoothness])
def test_two_processes_equal_one_without_reference(make):
    one, two = merged(make, [lambda m, a=a: m.update(a) for a in clips(4)])
    torch.testing.assert_close(one.compute(), two.compute())


def test_two_processes_equal_one_in_set_distances():
    features = torch.randn(6, 10, 8, generator=make_generator(1))
    basis = fit_basis(features.flatten(0, 1), clips=12)
    one, two = merged(lambda: FrechetDistance(basis), [lambda m, n=n: m.update(features[n], real=n < 3) for n in range(6)])
    torch.testing.assert_close(one.compute(), two.compute())
    torch.testing.assert_close(one.kernel_distance(), two.kernel_distance())


def test_set_distances_by_hand():
    x, y = torch.randn(2, 30, 5, generator=make_generator(2), dtype=torch.float64)
    metric = FrechetDistance((torch.zeros(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)))
    metric.update(x, real=True); metric.update(y, real=False)
    product = torch.linalg.eigvals(x.T.cov()@y.T.cov()).real.sqrt().sum()
    torch.testing.assert_close(metric.compute(), (x.mean(0) - y.mean(0)).square().sum() + x.T.cov().trace() + y.T.cov().trace() - 2*product)
    k = lambda a, b: (a@b.T/5 + 1)**3
    off = lambda m: (m.sum() - m.trace())/(30*29)
    torch.testing.assert_close(metric.kernel_distance(), off(k(x, x)) + off(k(y, y)) - 2*k(x, y).mean())


def test_lpips_is_that_of_its_package():
    lpips = pytest.importorskip('lpips')
    torch.manual_seed(0)
    network = lpips.LPIPS(net='vgg', pnet_rand=True, spatial=True, verbose=False).eval()
    a, b = clips(2, frames=1)
    metric = LPIPS(network); metric.update(a, b)
    with torch.no_grad(): wanted = network(2*a - 1, 2*b - 1).mean()
    torch.testing.assert_close(metric.compute().float(), wanted, rtol=1e-4, atol=1e-6)
    released = LPIPS(network, released=True); released.update(a, a)
    assert released.compute() == 0


def test_seam_and_poles_are_defined_once():
    clip = clips(1)[0]
    for metric, function in ((SeamDiscontinuity(), seam_discontinuity), (PoleQuality(), pole_spread)):
        metric.update(clip)
        assert float(metric.compute()) == pytest.approx(function(clip))


def test_the_released_mask_is_the_union():
    a, b = clips(2)
    mask = torch.zeros(3, 1, 32, 64); mask[0, ..., :16] = 1; mask[1, ..., 16:32] = 1
    metric = PSNR(released=True); metric.update(a, b, mask)
    assert float(metric.compute()) == pytest.approx(-10*math.log10((a - b)[..., :32].square().mean()), abs=1e-4)


def test_an_empty_region_is_left_out():
    a, b = clips(2)
    metric = PSNR(); metric.update(a, b); before = metric.compute(); metric.update(a, b, torch.zeros(3, 1, 32, 64))
    assert metric.compute() == before


def test_rotation_error_is_the_angle():
    turn = rotation_from_euler(torch.tensor([0., .1]).double(), torch.zeros(2).double(), torch.zeros(2).double())
    metric = RotationError(); metric.update(turn, torch.eye(3).expand(2, 3, 3).double())
    assert float(metric.compute()) == pytest.approx(math.degrees(.1))


@pytest.mark.parametrize('call', [lambda: PSNR().update(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)), lambda: FlowSmoothness().update(torch.zeros(2, 3, 32, 64)),
                                  lambda: fit_basis(torch.zeros(9, 3), 3), lambda: RotationError().update(torch.eye(3)[None], torch.eye(3)[None])])
def test_what_cannot_be_judged_is_refused_in_one_line(call):
    with pytest.raises(InputError) as error: call()
    assert '\n' not in str(error.value)
