"""Metrics beside other implementations, over two processes, and for what they cannot judge."""
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from argus_nb.cameras import CameraTrack
from argus_nb.decoding import pole_spread, seam_discontinuity
from argus_nb.metrics import (LPIPS, PSNR, SSIM, AestheticQuality, Detail, FlowSmoothness, FrechetDistance,
                              FrechetVideoDistance, ImagingQuality,
                              LineConsistency, MotionSmoothness, NaturalQuality, PoleQuality, RotationError,
                              STLPIPS, SeamDiscontinuity,
                              detail, fit_asymmetric, fit_basis, i3d_clip, line_parts, line_segments, lpips_network,
                              natural_features, reestimated_rotation_error, ssim_map, view_average)
from argus_nb.projection import panorama_to_cubemap, rotate_panorama
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import panorama_rays, rotation_from_euler
from argus_nb.worlds import load_panorama


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


@pytest.mark.parametrize('make', [SeamDiscontinuity, PoleQuality, FlowSmoothness, NaturalQuality, LineConsistency,
                                  lambda: ImagingQuality(torch.std),
                                  lambda: MotionSmoothness(lambda a, b: (a + b)/2)])
def test_two_processes_equal_one_without_reference(make):
    one, two = merged(make, [lambda m, a=a: m.update(a) for a in clips(4)])
    torch.testing.assert_close(one.compute(), two.compute())


def test_two_processes_equal_one_in_set_distances():
    features = torch.randn(6, 10, 8, generator=make_generator(1))
    basis = fit_basis(features.flatten(0, 1), clips=12)
    one, two = merged(lambda: FrechetDistance(basis), [lambda m, n=n: m.update(features[n], real=n < 3)
                                                       for n in range(6)])
    torch.testing.assert_close(one.compute(), two.compute())
    torch.testing.assert_close(one.kernel_distance(), two.kernel_distance())


def test_set_distances_by_hand():
    x, y = torch.randn(2, 30, 5, generator=make_generator(2), dtype=torch.float64)
    metric = FrechetDistance((torch.zeros(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)))
    metric.update(x, real=True); metric.update(y, real=False)
    product = torch.linalg.eigvals(x.T.cov()@y.T.cov()).real.sqrt().sum()
    torch.testing.assert_close(metric.compute(), (x.mean(0) - y.mean(0)).square().sum() + x.T.cov().trace()
                               + y.T.cov().trace() - 2*product)
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


def test_lpips_loads_its_trunk_from_a_file(tmp_path):
    lpips = pytest.importorskip('lpips')
    torch.manual_seed(1)
    theirs = lpips.LPIPS(net='vgg', pnet_rand=True, spatial=True, verbose=False).eval()
    # slice1.0.weight -> features.0.weight
    trunk = {f'features.{name.split(".", 1)[1]}': value for name, value in theirs.net.state_dict().items()}
    torch.save(trunk, tmp_path/'vgg.pth')
    a, b = clips(2, frames=1)
    with torch.no_grad():
        torch.testing.assert_close(lpips_network(tmp_path/'vgg.pth')(2*a - 1, 2*b - 1), theirs(2*a - 1, 2*b - 1))


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


@pytest.mark.parametrize('call', [lambda: PSNR().update(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)),
                                  lambda: FlowSmoothness().update(torch.zeros(2, 3, 32, 64)),
                                  lambda: fit_basis(torch.zeros(9, 3), 3),
                                  lambda: RotationError().update(torch.eye(3)[None], torch.eye(3)[None])])
def test_what_cannot_be_judged_is_refused_in_one_line(call):
    with pytest.raises(InputError) as error: call()
    assert '\n' not in str(error.value)


# --- Beside other implementations ----------------------------------------------------------------------------------

def test_psnr_is_that_of_torchmetrics_and_scikit_image():
    torchmetrics, skimage = pytest.importorskip('torchmetrics.functional.image'), pytest.importorskip('skimage.metrics')
    a, b = clips(2)
    metric = PSNR(); metric.update(a, b)
    assert float(metric.compute()) == pytest.approx(float(torchmetrics.peak_signal_noise_ratio(a, b, data_range=1.)),
                                                    abs=1e-4)
    assert float(metric.compute()) == pytest.approx(skimage.peak_signal_noise_ratio(b.numpy(), a.numpy(),
        data_range=1), abs=1e-4)


def test_ssim_is_that_of_torchmetrics_and_scikit_image_away_from_the_borders():
    torchmetrics, skimage = pytest.importorskip('torchmetrics.functional.image'), pytest.importorskip('skimage.metrics')
    a, b = (x[:1].double() for x in clips(2))
    ours = ssim_map(a, b)[..., 10:-10, 10:-10]
    _, theirs = torchmetrics.structural_similarity_index_measure(a, b, data_range=1., gaussian_kernel=True, sigma=1.5,
        return_full_image=True)
    torch.testing.assert_close(ours, theirs.mean(1, keepdim=True)[..., 10:-10, 10:-10], atol=1e-6, rtol=0)
    full = skimage.structural_similarity(a[0].numpy(), b[0].numpy(), channel_axis=0, data_range=1,
                                         gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True)[1]
    np.testing.assert_allclose(ours[0, 0].numpy(), full.mean(0)[10:-10, 10:-10], atol=1e-6)


def test_the_frechet_distance_is_that_of_torch_fidelity():
    fidelity = pytest.importorskip('torch_fidelity.metric_fid')
    x, y = torch.randn(2, 40, 6, generator=make_generator(4)).double()
    y = y*1.3 + .2
    metric = FrechetDistance((torch.zeros(6).double(), torch.eye(6).double()))
    metric.update(x, real=True); metric.update(y, real=False)
    statistics = [fidelity.fid_features_to_statistics(f) for f in (x, y)]
    theirs = fidelity.fid_statistics_to_metric(*statistics, verbose=False)['frechet_inception_distance']
    assert float(metric.compute()) == pytest.approx(float(theirs), rel=1e-6)


def test_the_kernel_distance_is_that_of_torch_fidelity():
    kernel = pytest.importorskip('torch_fidelity.metric_kid')
    x, y = torch.randn(2, 40, 6, generator=make_generator(4)).double()
    y = y*1.3 + .2
    metric = FrechetDistance((torch.zeros(6).double(), torch.eye(6).double()))
    metric.update(x, real=True); metric.update(y, real=False)
    theirs = kernel.kernel_mmd(x.numpy(), y.numpy(), kid_kernel='poly', kid_kernel_poly_degree=3,
                               kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1)
    assert float(metric.kernel_distance()) == pytest.approx(float(theirs), rel=1e-6)


def test_st_lpips_is_that_of_its_package():
    metric = STLPIPS()  # first: it stands in for a package that theirs imports and does not use
    stlpips = pytest.importorskip('stlpips_pytorch.stlpips')
    theirs = stlpips.LPIPS(net='alex', variant='shift_tolerant', spatial=True, verbose=False).eval()
    a, b = clips(2, frames=2, size=(64, 128))
    metric.update(a, b)
    with torch.no_grad(): wanted = theirs(2*a - 1, 2*b - 1)
    torch.testing.assert_close(metric.map(a, b), wanted, rtol=1e-4, atol=1e-6)
    assert float(metric.compute()) == pytest.approx(float(wanted.mean()), rel=1e-4)


def test_the_natural_distance_is_that_of_scipy():
    distance = pytest.importorskip('scipy.spatial.distance').mahalanobis
    good, made = torch.randn(2, 60, 5, generator=make_generator(8)).double()
    made = made*1.4 + .3
    shared = np.linalg.inv((np.cov(made.T) + np.cov(good.T))/2)
    assert (NaturalQuality._distance(made, good.mean(0), good.T.cov())
            == pytest.approx(distance(made.numpy().mean(0), good.numpy().mean(0), shared), rel=1e-6))


def test_rotation_errors_are_those_of_scipy():
    Rotation = pytest.importorskip('scipy.spatial.transform').Rotation
    a, b = (Rotation.random(6, rng=np.random.default_rng(seed)) for seed in (1, 2))
    metric = RotationError(); metric.update(*(torch.from_numpy(r.as_matrix()) for r in (a, b)))
    one, other = a[0].inv()*a[1:], b[0].inv()*b[1:]
    assert float(metric.compute()) == pytest.approx(np.degrees((one.inv()*other).magnitude()).mean(), abs=1e-4)


@pytest.mark.parametrize('shape', [.5, .8, 1., 2., 4.])
def test_the_fitted_shape_is_that_of_scipy(shape):
    gennorm = pytest.importorskip('scipy.stats').gennorm
    samples = gennorm.rvs(shape, scale=3., size=40_000, random_state=0)
    found, left, right = (float(v) for v in fit_asymmetric(torch.from_numpy(samples)))
    assert (found == pytest.approx(shape, rel=.06) and left == pytest.approx(3, rel=.1)
            and right == pytest.approx(3, rel=.1))


# --- Two real processes --------------------------------------------------------------------------------------------

def states() -> list:
    "Metrics and what each is fed, clip by clip."
    a, features = clips(6, size=(16, 32)), torch.randn(6, 5, 4, generator=make_generator(5))
    pairs = [lambda m, n=n: m.update(a[n], a[n + 1]) for n in (0, 2, 4)]
    alone = [lambda m, n=n: m.update(a[n]) for n in range(4)]
    sets = [lambda m, n=n: m.update(features[n], real=n < 3) for n in range(6)]
    basis = (torch.zeros(4).double(), torch.eye(4).double())
    return [(PSNR(), pairs), (SSIM(), pairs), (PoleQuality(), alone), (ImagingQuality(torch.std), alone),
            (view_average(ImagingQuality(torch.std)), alone), (FrechetDistance(basis), sets)]


def one_process(rank: int, meeting: str, results: str):
    "Feed every other clip, and keep what the processes find together."
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=2)
    values = []
    for metric, updates in states():
        for update in updates[rank::2]: update(metric)
        values.append(float(metric.compute()))
    torch.save(torch.tensor(values), f'{results}{rank}.pt')
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason='this build of PyTorch has no distributed package')
@pytest.mark.slow
def test_two_real_processes_equal_one(tmp_path):
    torch.multiprocessing.spawn(one_process, (str(tmp_path/'meeting'), str(tmp_path/'found')), nprocs=2)
    wanted = []
    for metric, updates in states():
        for update in updates: update(metric)
        wanted.append(float(metric.compute()))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path/f'found{rank}.pt', weights_only=True), torch.tensor(wanted))


@pytest.mark.parametrize('make', [PSNR, FrechetDistance, LineConsistency, NaturalQuality])
def test_what_is_kept_does_not_grow(make):
    metric = make((torch.zeros(4).double(), torch.eye(4).double())) if make is FrechetDistance else make()
    assert metric._defaults and all(isinstance(value, torch.Tensor) for value in metric._defaults.values())  # no lists


# --- Line consistency ----------------------------------------------------------------------------------------------

CIRCLES = F.normalize(torch.tensor([[.2, 1., .1], [1., .3, .2], [.1, .4, 1.], [-.7, .6, .3], [.3, .8, -.5],
                                    [.5, .5, .6]]).double(), dim=-1)


def striped(height: int) -> torch.Tensor:
    "Six great circles, brighter on one side than on the other; (3, H, 2 H)."
    sides = (panorama_rays(4*height, 8*height)@CIRCLES.T > 0).float().mean(-1)
    return F.avg_pool2d(sides[None], 4).expand(3, -1, -1)


def test_segments_lie_on_the_great_circles_that_were_drawn():
    ends = line_segments(striped(256))
    off = torch.einsum('nx,sex->nse', CIRCLES, ends).abs().amax(-1).amin(0).asin().rad2deg()
    assert len(ends) > 20 and float(off.median()) < .15 and float(off.quantile(.9)) < .3


def test_unbroken_great_circles_are_consistent_and_the_parts_see_their_damage():
    clean = striped(256).expand(2, -1, -1, -1)
    parts = line_parts(clean)
    assert min(parts.values()) > .85, parts
    half = clean.clone(); half[..., 256:] = half[..., 256:].roll(6, -2)
    assert line_parts(half)['seam'] < parts['seam'] - .2
    jumping = clean.clone(); jumping[1] = jumping[1].roll(2, -1)
    assert line_parts(jumping)['steady'] < parts['steady'] - .3 and abs(line_parts(jumping)['straight']
        - parts['straight']) < .1


def test_given_rotations_bring_lines_to_one_frame_of_reference():
    turn = rotation_from_euler(torch.tensor([0., .2]).double(), torch.tensor([0., .1]).double(),
                               torch.zeros(2).double())
    own = rotate_panorama(striped(256).expand(2, -1, -1, -1), turn.mT)
    assert line_parts(own, turn)['steady'] > .8 > .5 > line_parts(own)['steady']


# --- Natural quality -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['blender_city', 'blender_forest', 'pmndrs_lobby', 'pmndrs_night'])
def test_natural_quality_falls_with_noise_and_blur(name):
    photograph, generator = load_panorama(name)[None], make_generator(6)
    def judged(x): metric = NaturalQuality(); metric.update(x); return float(metric.compute())
    noise = torch.randn(photograph.shape, generator=generator)
    for levels in ([(photograph + s*noise).clamp(0, 1) for s in (0, .05, .1, .2)],
                   [F.avg_pool2d(photograph, 2*n + 1, 1, n, count_include_pad=False) for n in range(4)]):
        found = [judged(x) for x in levels]
        assert found == sorted(found) and len(set(found)) == 4


def test_local_contrast_is_divided_out_of_natural_features():
    photograph = load_panorama('blender_forest')
    (full, contrast), (half, _) = natural_features(photograph), natural_features(photograph/2)
    rich = contrast > 8
    assert rich.sum() > 10 and float((half/full)[rich, 1].median()) > .8  # .5 if it were not


# --- Networks that users bring -------------------------------------------------------------------------------------

class Video(torch.nn.Module):
    "What I3D's file is called like: 400 numbers that depend on every part of a clip."
    def forward(self, x: torch.Tensor, rescale: bool = True, resize: bool = True,
                return_features: bool = False) -> torch.Tensor:
        assert not rescale and not resize and return_features
        return F.adaptive_avg_pool3d(x, [4, 10, 10]).mean(1).flatten(1)


class Middle(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        assert a.shape[-1] % 16 == 0 and a.shape[-2] % 16 == 0
        return (a + b)/2


class Brightness(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor: return 100*x.mean([1, 2, 3])


def scripted(module: torch.nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_i3d_clips_are_cut_as_published():
    clip = clips(1, frames=2, size=(100, 250))[0]
    fed = i3d_clip(clip)
    whole = F.interpolate(clip, (224, 560), mode='bilinear', align_corners=False)
    torch.testing.assert_close(fed, (whole[..., 168:392] - .5).mul(2).movedim(1, 0)[None])


@pytest.mark.parametrize('views,count', [('middle', 2), ('rolled', 2), ('cube', 12)])
def test_video_distance_from_a_file(tmp_path, views, count):
    path = scripted(Video(), tmp_path/'i3d.pt')
    metric = FrechetVideoDistance(path, views=views)
    made = clips(4, frames=10)
    for clip in made[:2]: metric.update(clip, real=True); metric.update(clip, real=False)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-6) and int(metric.real_n) == count
    assert sum(getattr(metric, name).numel() for name in metric._defaults) < 400_000
    metric.reset()
    for n, clip in enumerate(made): metric.update(clip*(1 if n < 2 else .5), real=n < 2)
    assert metric.compute() > .1


def test_the_rolled_half_is_the_other_half(tmp_path):
    path, clip = scripted(Video(), tmp_path/'i3d.pt'), clips(1, frames=10)[0]
    middle, rolled = FrechetVideoDistance(path), FrechetVideoDistance(path, views='rolled')
    torch.testing.assert_close(middle.features(clip.roll(32, -1)), rolled.features(clip))
    assert not torch.allclose(middle.features(clip), rolled.features(clip))


def test_motion_smoothness_from_a_file(tmp_path):
    metric = MotionSmoothness(scripted(Middle(), tmp_path/'amt.pt'))
    clip = torch.stack([torch.full((3, 30, 50), v) for v in (0., .5, .2, .4)])  # the last frame has no neighbour
    metric.update(clip)
    assert float(metric.compute()) == pytest.approx(1 - (128 - 26)/255)


def test_imaging_quality_from_a_file(tmp_path):
    metric = ImagingQuality(scripted(Brightness(), tmp_path/'musiq.pt'))
    metric.update(torch.full((2, 3, 300, 1100), .25))
    assert float(metric.compute()) == pytest.approx(.25)
    sizes = []
    ImagingQuality(lambda x: sizes.append(tuple(x.shape[-2:])) or x.mean()).update(torch.zeros(1, 3, 300, 1024))
    assert sizes == [(150, 512)]


def clip_folder(path: Path) -> Path:
    "A tiny CLIP in the layout of transformers."
    from transformers import CLIPConfig, CLIPModel
    size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(vision_config=size | dict(image_size=32, patch_size=8),
                         text_config=size | dict(vocab_size=20), projection_dim=12)).save_pretrained(path)
    return path


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_aesthetic_quality_from_files(tmp_path, suffix):
    from safetensors.torch import save_file
    from transformers import CLIPModel
    folder, path, linear = clip_folder(tmp_path/'clip'), tmp_path/f'head{suffix}', torch.nn.Linear(12, 1)
    weights = {key: value.detach() for key, value in linear.state_dict().items()}
    save_file(weights, path) if suffix == '.safetensors' else torch.save(weights, path)
    metric, picture = AestheticQuality(folder, path), clips(1, frames=2, size=(32, 32))[0]
    metric.update(picture)
    mean, deviation = torch.tensor([.48145466, .4578275, .40821073]), torch.tensor([.26862954, .26130258, .27577711])
    model = CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        seen = model.visual_projection(
            model.vision_model((picture - mean[:, None, None])/deviation[:, None, None]).pooler_output)
        wanted = linear(seen/seen.norm(dim=-1, keepdim=True)).mean()/10
    assert float(metric.compute()) == pytest.approx(float(wanted), abs=1e-5)


def test_a_head_that_does_not_fit_is_refused(tmp_path):
    folder, path = clip_folder(tmp_path/'clip'), tmp_path/'head.pth'
    torch.save(dict(weight=torch.zeros(1, 768), bias=torch.zeros(1)), path)
    with pytest.raises(InputError, match='head.pth') as error: AestheticQuality(folder, path)
    assert '\n' not in str(error.value)


def test_a_clip_that_lacks_weights_is_refused_and_not_filled_with_random_ones(tmp_path):
    from safetensors.torch import load_file, save_file
    folder, path = clip_folder(tmp_path/'clip'), tmp_path/'head.pth'
    torch.save(torch.nn.Linear(12, 1).state_dict(), path)
    weights = load_file(folder/'model.safetensors')
    save_file({key: value for key, value in weights.items() if 'visual_projection' not in key},
              folder/'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(InputError, match='visual_projection') as error: AestheticQuality(folder, path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('make,named', [(FrechetVideoDistance, 'i3d_torchscript.pt'), (MotionSmoothness, 'amt-s.pth'),
                                        (ImagingQuality, 'musiq_spaq_ckpt-358bb6af.pth'),
                                        (AestheticQuality, 'clip-vit-large-patch14')])
def test_a_missing_network_is_named_with_its_address(make, named):
    for given in ((), ('nowhere/at/all.pt',)):
        with pytest.raises(InputError) as error: make(*given)
        assert named in str(error.value) and 'https://' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('make', [FrechetVideoDistance, MotionSmoothness, ImagingQuality])
def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path, make):
    path = tmp_path/'network.pt'; path.write_text('no network')
    with pytest.raises(InputError, match='network.pt') as error: make(path)
    assert '\n' not in str(error.value)


# --- Views and cameras ---------------------------------------------------------------------------------------------

def test_view_average_is_the_mean_over_the_faces_in_which_the_region_is():
    a, b = clips(2, frames=2, size=(32, 64))
    mask = torch.zeros(2, 1, 32, 64); mask[..., 8:24, 20:44] = 1
    metric = view_average(PSNR(), 16); metric.update(a, b, mask)
    faces = [panorama_to_cubemap(x, 16) for x in (a, b)] + [panorama_to_cubemap(mask, 16, mode='nearest',
        antialias=False)]
    wanted = []
    for n in range(6):
        one = PSNR(); one.update(*[x[:, n] for x in faces])
        if one.clips: wanted.append(float(one.compute()))
    assert 1 <= len(wanted) < 6 and float(metric.compute()) == pytest.approx(sum(wanted)/len(wanted))
    metric.reset()
    assert metric.metric.clips == 0 and metric.higher_is_better


def test_cameras_are_found_again_and_a_drift_is_seen():
    path = CameraTrack.from_euler(torch.linspace(0, .3, 6), torch.linspace(0, .1, 6), torch.zeros(6), math.pi/2, fps=8.)
    still = load_panorama('blender_interior').expand(6, -1, -1, -1)
    drift = rotate_panorama(still, rotation_from_euler(torch.linspace(0, .05, 6).double(), torch.zeros(6).double(),
                                                       torch.zeros(6).double()))
    assert reestimated_rotation_error(still, path) < .2
    assert reestimated_rotation_error(drift, path) == pytest.approx(math.degrees(.05)*.6, abs=.3)


@pytest.mark.parametrize('call', [lambda: FrechetVideoDistance(Video(), views='top'),
                                  lambda: FrechetVideoDistance(Video()).update(torch.zeros(9, 3, 32, 64), real=True),
                                  lambda: MotionSmoothness(Middle()).update(torch.zeros(2, 3, 32, 64)),
                                  lambda: LineConsistency().update(torch.zeros(3, 32, 64)),
                                  lambda: NaturalQuality().update(torch.zeros(1, 1, 32, 64)),
                                  lambda: view_average(PSNR()).update(torch.zeros(3, 32, 64)),
                                  lambda: FrechetVideoDistance(Video()).kernel_distance(),
                                  lambda: reestimated_rotation_error(torch.zeros(2, 3, 32, 64),
                                      CameraTrack(torch.eye(3).repeat(3, 1, 1), 1.))])
def test_what_the_other_measures_cannot_judge_is_refused_in_one_line(call):
    with pytest.raises(InputError) as error: call()
    assert '\n' not in str(error.value)


# --- Detail --------------------------------------------------------------------------------------------------------

def test_detail_of_the_truth_of_a_blur_and_of_another_texture():
    truth, other = (torch.rand(2, 3, 128, 256, generator=make_generator(n)) for n in (0, 1))
    blur = F.avg_pool2d(F.pad(F.pad(truth, (8, 8, 0, 0), mode='circular'), (0, 0, 8, 8), mode='replicate'), 17, 1)
    for made, wanted, within in ((truth, 1, 1e-12), (other, 1, .01), (blur, 0, .005), (.5*truth, .25, 1e-6)):
        metric = Detail(); metric.update(made, truth)
        assert abs(float(metric.compute()) - wanted) < within


def test_detail_is_what_a_mean_takes_away_by_hand():
    "One bright pixel: its own value falls by 24/25, those of its 24 neighbours rise by 1/25."
    image = torch.zeros(1, 3, 32, 64); image[..., 16, 0] = 1
    angle = ((torch.arange(32) + .5)/32*math.pi).sin().double()
    around = torch.zeros(32, dtype=torch.float64); around[14:19] = 5*(1/25)**2; around[16] += (24/25)**2 - (1/25)**2
    assert detail(image) == pytest.approx(float((around*angle).sum()/(64*angle.sum())), rel=1e-6)
    assert detail(image.roll(31, -1)) == pytest.approx(detail(image))  # the seam is like any other place


def test_detail_weighs_by_solid_angle_and_keeps_to_its_region():
    noise, where = torch.rand(1, 3, 128, 256, generator=make_generator(0)), torch.zeros(1, 1, 128, 256)
    where[..., :64, :] = 1
    half = noise.clone(); half[..., 80:, :] = .5
    assert detail(half, where) == pytest.approx(detail(noise, where)) and detail(half) < .7*detail(noise)
    polar = torch.full_like(noise, .5); polar[..., :16, :] = noise[..., :16, :]
    # an eighth of the rows, four hundredths of the sphere
    assert detail(polar) == pytest.approx((1 - math.cos(math.pi/8))/2*detail(noise), rel=.1)


def test_detail_is_the_median_on_a_grid_that_larger_panoramas_are_averaged_to():
    truth = torch.rand(1, 3, 128, 256, generator=make_generator(0))
    large = truth.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert detail(large) == pytest.approx(detail(truth), rel=1e-6)
    metric = Detail()
    for scale in (0., 1., 3.): metric.update(scale*truth, truth)
    metric.update(truth, torch.full_like(truth, .5))  # a truth without structure has no share
    assert float(metric.compute()) == pytest.approx(1)
    assert math.isnan(float(Detail().compute()))


def test_two_processes_find_the_median_of_all_clips():
    whole, parts = Detail(), [Detail(), Detail()]
    for n, (made, truth) in enumerate(zip(clips(6), clips(12)[6:])):
        whole.update(made, truth); parts[n % 2].update(made, truth)
    # as torchmetrics does with what two processes gathered
    parts[0].shares = parts[0]._reductions['shares'](parts[0].shares + parts[1].shares)
    torch.testing.assert_close(parts[0].compute(), whole.compute())
