"Worlds: truth of geometry, promises of seeds, faults, and the panoramas that ship."
import base64, hashlib, json, math, multiprocessing, pickle, runpy
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.testing import assert_close

from argus_nb import ray_tracing
from argus_nb.photographs import develop, load_clip, load_panorama, panorama_names
from argus_nb.ray_tracing import FAR
from argus_nb.runtime import InputError
from argus_nb.sphere import panorama_rays, perspective_rays, rotation_from_euler
from argus_nb.video import write_video
from argus_nb.worlds import random_world

KINDS = 'room', 'street', 'landscape'


def look_up(panorama, rays):
    "Read a panorama (C, H, W) bilinearly along rays (..., 3): a plain implementation of its own."
    _, height, width = panorama.shape
    x, y, z = rays.double().unbind(-1)
    u = (torch.atan2(x, z)/(2*math.pi) + .5)*width - .5
    v = ((torch.asin(y.clamp(-1, 1))/math.pi + .5)*height - .5).clamp(0, height - 1)
    i, j = v.floor().long().clamp(max=height - 2), u.floor().long()
    a, b = (v - i).float(), (u - j).float()
    read = lambda i, j: panorama[:, i, j % width]
    return (read(i, j)*(1 - b) + read(i, j + 1)*b)*(1 - a) + (read(i + 1, j)*(1 - b) + read(i + 1, j + 1)*b)*a


# ---- geometry

@pytest.mark.parametrize('kind', KINDS)
def test_view_equals_cut_of_finer_panorama(kind):
    "With textures smoothed for the same pixel, only interpolation is left, and it shrinks with the panorama's pixels."
    world, times, fov, size = random_world(11, kind), np.array([1.3]), math.radians(75), (32, 44)
    rotation = rotation_from_euler(2.5, -.3, -.2)
    view, depth = world.render_perspective(times, rotation, fov, size, fov_y=.9, return_depth=True)
    spread = math.tan(fov/2)/(size[1]/2)
    rays, solid = perspective_rays(*size, fov, .9) @ rotation.T, depth[0] < FAR
    errors = []
    for height in (64, 512):
        fine = world._render(times, torch.eye(3, dtype=torch.float64), panorama_rays(height, 2*height)[None], spread,
                             (height, 2*height), 1, True)
        colour, far = (look_up(part[0], rays) for part in fine)
        errors.append(((colour - view[0]).abs().mean().item(),
                       ((far - depth[0]).abs()/depth[0])[solid].median().item()))
    (coarse, coarse_depth), (colour_error, depth_error) = errors
    assert colour_error < .012 and colour_error < .3*coarse      # measured: .0007 to .006
    assert depth_error < 2e-4 and depth_error < .1*coarse_depth  # measured: 1e-5 to 5e-5


@pytest.mark.parametrize('kind', KINDS)
def test_depth_and_path_predict_where_things_are_seen_next(kind):
    "Parallax is exact: points measured at one time are found at the right distance from another camera position."
    def path_of(world): return np.ptp(world.camera_position([0., 3.]).numpy(), axis=0).max()
    world = next(w for w in (random_world(s, kind) for s in range(20, 60)) if path_of(w) > .25)
    times, rays = [0., 3.], panorama_rays(48, 96)
    here, there = world.camera_position(times)
    depth = world.render_panorama(times[:1], (48, 96), return_depth=True)[1][0, 0]
    later = world.render_panorama(times[1:], (384, 768), return_depth=True)[1][0]
    offset = rays*depth[..., None] + here - there
    expected = offset.norm(dim=-1)
    found = look_up(later, offset/expected[..., None])[0]
    unmoved = look_up(later, rays)[0]
    near = depth < 30
    error = lambda seen, wanted: ((seen - wanted).abs()/wanted)[near].median()
    assert error(found, expected) < 2e-4  # measured: 1e-5 to 4e-5
    assert error(unmoved, depth) > 4e-3   # measured: .006 to .03, so without parallax it would not fit


@pytest.mark.parametrize('kind', KINDS)
def test_supersampling_is_the_average_of_a_finer_picture(kind):
    world = random_world(5, kind)
    fine, fine_depth = world.render_panorama([.7], (32, 64), return_depth=True)
    smooth, depth = world.render_panorama([.7], (16, 32), supersample=2, return_depth=True)
    assert_close(torch.nn.functional.avg_pool2d(fine, 2), smooth, atol=1e-5, rtol=0)
    assert_close(torch.nn.functional.avg_pool2d(fine_depth, 2), depth, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_panorama_closes(kind):
    "The first and the last column are as alike as any two neighbours."
    panorama = torch.cat([random_world(s, kind).render_panorama([0.], (32, 64), supersample=2) for s in range(6)])
    step = (panorama - panorama.roll(1, -1)).abs().mean((0, 1, 2))
    assert step[0] < 2.5*step.median()


def test_distances_are_those_of_the_room():
    world = random_world(3, 'room')
    depth = world.render_panorama([0.], (32, 64), return_depth=True)[1]
    diagonal = 2*math.hypot(world.room[0], world.room[1]/2, world.room[2])
    assert .2 < depth.min() and depth.max() < diagonal
    # a rug may lie there
    assert_close(depth[0, 0, -1].mean().item(), -world.camera_position([0.])[0, 1].item(), atol=.05, rtol=0)
    outdoors = random_world(3, 'landscape').render_panorama([0.], (32, 64), return_depth=True)[1]
    assert outdoors.max() == FAR and outdoors[0, 0, 0].min() == FAR


def test_rays_along_the_axes_stay_inside():
    "An odd picture that looks straight ahead has rays with exact zeros."
    from dataclasses import replace
    world = replace(random_world(3, 'room'), heading=0.)
    depth = world.render_perspective([0.], torch.eye(3), 1., (9, 9), return_depth=True)[1]
    assert depth.min() > .2 and depth.max() < 2*math.hypot(*world.room)


@pytest.mark.parametrize('shape,inside', [
    (ray_tracing.BOX, lambda p: np.abs(p).max(-1) <= 1),
    (ray_tracing.ELLIPSOID, lambda p: (p**2).sum(-1) <= 1),
    (ray_tracing.CYLINDER, lambda p: (np.abs(p[..., 1]) <= 1) & (p[..., 0]**2 + p[..., 2]**2 <= 1)),
    (ray_tracing.CONE, lambda p: (np.abs(p[..., 1]) <= 1) & (p[..., 0]**2 + p[..., 2]**2 <= (.5*(p[..., 1] + 1))**2)),
], ids=['box', 'ellipsoid', 'cylinder', 'cone'])
def test_shapes_are_met_where_marching_finds_them(shape, inside):
    "Against small steps along the ray, with the shape's definition alone."
    rng = np.random.default_rng(shape)
    half, centre, yaw = np.array([1.3, 1.1, .9]), np.array([.3, -.4, 6.]), .6
    body = np.array([[*centre, math.cos(yaw), math.sin(yaw), *half, 2.2, shape, 0., 0.]])
    rays = rng.normal(0, .25, (150, 3)) + [0, -.13, 1]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    steps = np.arange(3., 9., .002)
    points = rays[:, None]*steps[:, None] - centre
    c, s = math.cos(yaw), math.sin(yaw)
    local = np.stack([c*points[..., 0] - s*points[..., 2], points[..., 1],
                      s*points[..., 0] + c*points[..., 2]], -1)/half
    hit = inside(local)
    marched = np.where(hit.any(1), steps[hit.argmax(1)], FAR)
    met = np.array([ray_tracing._distance(0, body, (0., 0., 0.), tuple(map(float, r))) for r in rays])
    grazing = (marched == FAR) & (met < FAR)  # marching may step over a sliver
    assert grazing.sum() <= 3 and 20 < (met < FAR).sum() < 150
    assert_close(met[~grazing], marched[~grazing], atol=.003, rtol=0)


# ---- movement

@pytest.mark.parametrize('kind', KINDS)
def test_things_move_rigidly_and_smoothly(kind):
    for seed in range(4):
        world = random_world(seed, kind)
        times = np.arange(0, 2, .05)
        bodies = world.bodies_at(times)
        assert_close(bodies[:, world.movement_of == 0], bodies[:1, world.movement_of == 0].repeat(len(times), 0))
        for move in set(world.movement_of) - {0}:
            group = bodies[:, world.movement_of == move]
            (x, y, z) = (group[..., :3] - group[:, :1, :3]).transpose(2, 0, 1)
            c, s = group[:, :1, 3:5].transpose(2, 0, 1)
            as_first_sees = np.stack([c*x - s*z, y, s*x + c*z, c*group[..., 3] + s*group[..., 4],
                                      c*group[..., 4] - s*group[..., 3]], -1)
            assert_close(as_first_sees, as_first_sees[:1].repeat(len(times), 0), atol=1e-6, rtol=0)
            steps = np.linalg.norm(np.diff(group[..., :3], axis=0), axis=-1)
            assert steps.max() < 12*.05  # nothing jumps: at most 12 m/s


def test_most_worlds_have_something_that_moves():
    moving = [np.ptp(random_world(s).bodies_at([0., 2.])[..., :3], axis=0).max() > .1 for s in range(30)]
    assert sum(moving) >= 24


def test_camera_walks_like_a_person():
    times = np.arange(0, 20, .1)
    for seed in range(60):
        place = random_world(seed).camera_position(times)
        height, speed = -place[:, 1], place.diff(dim=0).norm(dim=-1)/.1
        assert 1. < height.min() and height.max() < 2. and speed.max() < 2.5


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_runs_into_the_camera(kind):
    for seed in range(12):
        depth = random_world(seed, kind).render_panorama(np.arange(0, 12, 1.5), (12, 24), return_depth=True)[1]
        assert depth.min() > .15, f'{kind} {seed}'


# ---- seeds

def test_same_seed_same_pixels_other_seed_others():
    worlds_twice = [[random_world(s).render_panorama([.5], (16, 32)) for s in range(12)] for _ in range(2)]
    for first, again in zip(*worlds_twice): assert torch.equal(first, again)
    for n, first in enumerate(worlds_twice[0]):
        assert all((first - other).abs().mean() > .02 for other in worlds_twice[0][:n])


def test_times_in_any_order_and_any_number():
    world, rotation = random_world(4, 'street'), rotation_from_euler(*torch.linspace(-1, 1, 12).double().view(3, 4))
    times, fov = [0., 5., -3., .25], torch.tensor([.5, 1., 1.5, 2.])
    frames = world.render_perspective(times, rotation, fov, (12, 20), fov_y=fov/2)
    for n, t in enumerate(times):
        alone = world.render_perspective(torch.tensor([t]), rotation[n], float(fov[n]), (12, 20), fov_y=float(fov[n]/2))
        assert_close(alone[0], frames[n], atol=1e-6, rtol=0)


def test_the_number_of_threads_does_not_matter(monkeypatch):
    world = random_world(8)
    expected = world.render_panorama([0., 1.], (15, 30))
    for threads in (1, 3, 7):
        monkeypatch.setattr(ray_tracing, '_threads', threads)
        assert torch.equal(world.render_panorama([0., 1.], (15, 30)), expected)


def _render_in_child(queue):
    queue.put(random_world(8).render_panorama([0.], (8, 16)).numpy())


def test_a_forked_worker_can_render():
    "Data loaders fork after the parent has rendered."
    expected = random_world(8).render_panorama([0.], (8, 16)).numpy()
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=_render_in_child, args=(queue,))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    child.join(10)


@pytest.mark.parametrize('kind', KINDS)
def test_pixels_of_many_worlds_are_sound(kind):
    means = []
    for seed in range(40):
        world = random_world(seed, kind)
        assert world.kind == kind
        image = world.render_panorama([0.], (16, 32))[0]
        assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1 and image.std() > .05
        means.append(image.mean((1, 2)))
    means = torch.stack(means)
    assert .2 < means.mean() < .7 and means.std(0).min() > .04  # exposed like photographs, and varied


def test_all_kinds_come_up():
    assert {random_world(s).kind for s in range(20)} == set(KINDS)


def test_sizes():
    world = random_world(0)
    for size in ((1, 1), (1, 2), (5, 3), (7, 40)):
        assert world.render_panorama([0.], size).shape == (1, 3, *size)
        image, depth = world.render_perspective([0., 1.], torch.eye(3), 1.2, size, supersample=3, return_depth=True)
        assert image.shape == (2, 3, *size) and depth.shape == (2, 1, *size)
        assert image.dtype == depth.dtype == torch.float32


LOOKED_AT = {f'world {s}': lambda s=s: random_world(s).render_panorama([2.], (64, 128))[0]
             for s in (0, 1, 2, 3, 7, 31)} | {
    f'{k} 5': lambda k=k: random_world(5, k).render_panorama([2.], (64, 128))[0] for k in KINDS} | {
    n: lambda n=n: load_panorama(n) for n in ('pmndrs_hall', 'blender_city')}

# ---- the look, pinned

def fingerprint(panorama):
    "Averages of a panorama (3, H, W) over 8 x 16 fields, in 255 steps; (3, 8, 16)."
    return torch.nn.functional.adaptive_avg_pool2d(panorama, (8, 16))*255


# Base64 of rounded fingerprints at two seconds, of 64 x 128 panoramas; `python tests/test_worlds.py` writes them
LOOKS_FILE = Path(__file__).with_name('world_looks.json')
LOOKS = json.loads(LOOKS_FILE.read_text())


@pytest.mark.parametrize('name', LOOKS)
def test_nobody_changes_the_look_unnoticed(name):
    "Weights were trained on these worlds: a change of a few bodies, of light or of the random stream must be meant."
    wanted = np.frombuffer(base64.b64decode(LOOKS[name]), np.uint8).reshape(3, 8, 16)
    assert_close(fingerprint(LOOKED_AT[name]()).numpy(), wanted.astype(np.float32), atol=1., rtol=0)


# ---- faults

@pytest.mark.parametrize('call,message', [
    (lambda w: random_world(-1), 'seed must be a whole number'),
    (lambda w: random_world(.5), 'seed must be a whole number'),
    (lambda w: random_world(0, 'sea'), "got 'sea'"),
    (lambda w: w.render_panorama([], (8, 16)), 'times must be'),
    (lambda w: w.render_panorama([math.nan], (8, 16)), 'times must be'),
    (lambda w: w.render_panorama(torch.zeros(1, 2), (8, 16)), 'times must be'),
    (lambda w: w.render_panorama([0.], (0, 16)), 'size must be'),
    (lambda w: w.render_panorama([0.], (8, 16), supersample=0), 'supersample must be'),
    (lambda w: w.render_panorama([0.], (8, 16), supersample=1.5), 'supersample must be'),
    (lambda w: w.render_perspective([0.], torch.eye(4), 1., (8, 16)), 'world_from_camera must have shape'),
    (lambda w: w.render_perspective([0.], torch.eye(3).expand(2, 3, 3), 1., (8, 16)), 'world_from_camera must be one'),
    (lambda w: w.render_perspective([0.], torch.eye(3), torch.ones(3), (8, 16)), 'fov_x must be one'),
    (lambda w: w.render_perspective([0.], torch.eye(3), 1., (8, 16), fov_y=torch.ones(3)), 'fov_y must be one'),
    (lambda w: w.render_perspective([0.], torch.eye(3), math.pi, (8, 16)), 'fov must lie'),
    (lambda w: w.render_perspective([0.], torch.eye(3), 1., (8, 16), fov_y=0.), 'fov must lie'),
    (lambda w: panorama_names('validation'), "got 'validation'"),
    (lambda w: load_panorama('../../setup'), 'there is no panorama'),
])
def test_faults_are_one_clear_line(call, message):
    with pytest.raises(InputError, match=message) as error: call(random_world(0))
    assert '\n' not in str(error.value)


# ---- panoramas

def test_panoramas_are_what_the_manifest_says():
    folder = files('argus_nb')/'panoramas'
    manifest = json.loads((folder/'manifest.json').read_text())
    listed = {p['file']: p for p in manifest['panoramas']}
    assert {p.name for p in folder.iterdir()} == set(listed) | {'manifest.json', 'LICENCE', 'NOTICE'}
    assert 'CC0' in manifest['licence'] and 'CC0' in (folder/'LICENCE').read_text()
    assert sum(len(p.read_bytes()) for p in folder.iterdir()) < 24*2**20
    credits = (folder/'NOTICE').read_text()
    for name, entry in listed.items():
        assert hashlib.sha256((folder/name).read_bytes()).hexdigest() == entry['sha256']
        assert entry['source'] and entry['place']
        if name.startswith('place_'):
            assert entry['licence'] and f"{entry['name']}: {entry['licence']}" in credits
            assert entry['author'] in credits
            assert entry['author'] or 'CC BY' not in entry['licence'] or 'stated' in entry['licence']
        else: assert entry['packaging']


def test_no_place_is_on_both_sides():
    manifest = json.loads((files('argus_nb')/'panoramas'/'manifest.json').read_text())['panoramas']
    sides = {}
    for p in manifest: sides.setdefault(p['place'], set()).add(p['split'])
    assert all(len(s) == 1 for s in sides.values())
    assert len(panorama_names('test')) == 8 + 26 and len(panorama_names()) == 26 + 177
    assert sorted(panorama_names()) == sorted(panorama_names('train') + panorama_names('test'))


def test_near_duplicates_are_on_one_side():
    "No test panorama resembles a training one, at any turn: the known twins differ by .0016, these by at least .06."
    def shrunk(image): return torch.nn.functional.interpolate(image[None], (32, 64), mode='area')[0]
    small = {n: shrunk(load_panorama(n)) for n in panorama_names()}
    def turns(name): return torch.stack([small[name].roll(k, -1) for k in range(0, 64, 2)]).flatten(1)
    def gaps(name, others):
        there = torch.stack([small[n] for n in others]).flatten(1)
        return torch.cdist(turns(name), there, p=1).amin(0)/small[name].numel()
    assert gaps('blender_sunrise', ['pmndrs_sunrise']).item() < .005
    assert min(gaps(name, panorama_names('train')).min().item() for name in panorama_names('test')) > .03


@pytest.mark.parametrize('name', panorama_names())
def test_every_panorama_loads_and_closes(name):
    panorama = load_panorama(name)
    assert panorama.shape in ((3, 256, 512), (3, 512, 1024)) and panorama.dtype == torch.float32
    assert panorama.min() >= 0 and panorama.max() <= 1 and .02 < panorama.mean() < .8
    step = (panorama - panorama.roll(1, -1)).abs().mean((0, 1))
    assert step[0] < 4*step.median()


# ---- one function, two renderers

angles = st.floats(-3.1, 3.1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 5), yaw=angles, pitch=st.floats(-1.5, 1.5), roll=angles, fov=st.floats(.3, 2.4),
       moment=st.floats(-5, 60))
def test_what_is_seen_depends_on_direction_and_time_alone(seed, yaw, pitch, roll, fov, moment):
    "A turned lens sees what an unturned one sees along the turned rays; a ray on an outline may fall either way."
    world, R = random_world(seed), rotation_from_euler(yaw, pitch, roll)
    view, far = world.render_perspective([moment], R, fov, (4, 6), return_depth=True)
    spread = math.tan(fov/2)/3
    rays = (perspective_rays(4, 6, fov) @ R.T)[None]
    same, same_far = world._render(np.array([moment]), torch.eye(3).double(), rays, spread, (4, 6), 1, True)
    assert ((far - same_far).abs() > 1e-3*far).sum() <= 1 and ((view - same).abs().amax(1) > 2e-3).sum() <= 2


@pytest.mark.parametrize('kind', KINDS)
def test_cut_is_within_the_interpolation_error_measured_in_the_panorama(kind):
    "From a panorama four times as fine, in colour and in distance; the experiment `worlds` counts more."
    from argus_nb.experiments.worlds import compared
    of_view, midway = np.array([compared(random_world(s, kind), 4) for s in (1, 2)]).mean(0)
    assert (of_view <= midway).all() and (of_view > 0).all()


def test_no_two_of_two_dozen_seeds_look_alike():
    "Not even when one of them is turned."
    small = torch.cat([torch.nn.functional.adaptive_avg_pool2d(random_world(s).render_panorama([0.], (16, 32)), (8, 16))
                       for s in range(24)])
    for n, one in enumerate(small):
        gaps = torch.stack([(small.roll(k, -1) - one).abs().mean((1, 2, 3)) for k in range(16)]).amin(0)
        assert gaps[n] == 0 and gaps[torch.arange(24) != n].min() > .03


# ---- machine code

def test_machine_code_on_disk_names_no_class_of_ours():
    "Else a kept file from before a renaming could not even be opened to see that it is old."
    random_world(0).render_panorama([0.], (2, 4))
    assert ray_tracing._render_rows.signatures
    for signature in ray_tracing._render_rows.signatures:
        assert b'argus' not in pickle.dumps(signature) and 'Sky' not in str(signature)


def test_where_nothing_can_be_written_code_is_compiled_for_the_moment(monkeypatch):
    def njit(cache=False, **options):
        if cache: raise RuntimeError('cannot cache function: no locator available')
        return lambda function: (function, options)
    monkeypatch.setattr(ray_tracing, 'njit', njit)
    function, options = ray_tracing._kept(len)
    assert function is len and options == dict(nogil=True, error_model='numpy')


# ---- panoramas from files

def smooth(height, width):
    "A smooth function of direction, so that resampling costs next to nothing; (H, W, 3)."
    rays = panorama_rays(height, width).numpy()
    return (.5 + .4*np.sin(2*rays @ np.array([[2., 1, 0], [0, 1, 2], [-1, 2, 1]]).T)).astype(np.float32)


def write_exr(path, **channels):
    OpenEXR = pytest.importorskip('OpenEXR')
    header = dict(compression=OpenEXR.ZIP_COMPRESSION, type=OpenEXR.scanlineimage)
    with OpenEXR.File(header, channels) as file: file.write(str(path))


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.webp', 'a.tiff', 'a.bmp', 'no_suffix'])
def test_ordinary_images(tmp_path, name):
    pixels = (smooth(32, 64)*255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path/name, format=None if '.' in name else 'PNG',
                                 **dict(quality=97) if 'jpg' in name else {})
    clip = load_clip(tmp_path/name, 3)
    assert clip.shape == (3, 3, 32, 64) and clip.dtype == torch.float32 and torch.equal(clip[0], clip[2])
    assert (clip[0].movedim(0, -1) - torch.from_numpy(smooth(32, 64))).abs().mean() < .02
    assert load_clip(tmp_path/name).shape == (1, 3, 32, 64)


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'I;16', 'rgb16'])
def test_other_pixel_formats(tmp_path, mode):
    grey = (smooth(16, 32)[..., 0]*255).round().astype(np.uint8)
    if mode == 'I;16': Image.fromarray(grey.astype(np.uint16)*257).save(tmp_path/'a.png')
    elif mode == 'rgb16': cv2.imwrite(str(tmp_path/'a.png'), np.repeat(grey[..., None].astype(np.uint16)*257, 3, -1))
    else: Image.fromarray(grey).convert(mode).save(tmp_path/'a.png')
    expected = torch.from_numpy(grey/255.).float().expand(3, -1, -1)
    assert_close(load_clip(tmp_path/'a.png')[0], expected, atol=.004, rtol=0)


@pytest.mark.parametrize('kind', ['hdr', 'exr', 'exr grey'])
def test_light_is_developed(tmp_path, kind):
    light = smooth(32, 64)**2.2*3
    if kind == 'exr grey': light = np.repeat(light[..., 1:2], 3, -1)
    path = tmp_path/('a.' + kind[:3])
    if kind == 'hdr': cv2.imwrite(str(path), light[..., ::-1])
    elif kind == 'exr': write_exr(path, RGB=light.astype(np.float16))
    else: write_exr(path, Y=light[..., 0].astype(np.float16))
    clip = load_clip(path)
    tolerance = .05 if kind == 'hdr' else .01  # Radiance shares one exponent among three colours
    assert_close(clip[0].movedim(0, -1).numpy(), develop(light), atol=tolerance, rtol=0)
    assert .3 < clip.mean() < .7 and load_clip(path, exposure=.3).mean() < .8*clip.mean()


@pytest.mark.parametrize('precision', [np.float32, np.float64])
def test_light_in_a_tiff(tmp_path, precision):
    light = smooth(16, 32)**2.2*3
    assert cv2.imwrite(str(tmp_path/'a.tiff'), light[..., ::-1].astype(precision))
    assert_close(load_clip(tmp_path/'a.tiff')[0].movedim(0, -1).numpy(), develop(light), atol=1e-5, rtol=0)


def test_what_packing_broke_is_repaired(tmp_path):
    "A sun in half floats: infinite, with a ring of negative and of one-coloured pixels; and a hole that is no number."
    light = np.full((32, 64, 3), .3, np.float32)
    light[8, 20], light[8, 21], light[8, 19] = np.inf, (900, 800, -40), (0, 0, 300)
    light[25, 40, 1] = np.nan
    write_exr(tmp_path/'a.exr', RGB=light.astype(np.float16))
    shown = load_clip(tmp_path/'a.exr')[0]
    assert shown.isfinite().all() and shown.min() >= 0 and shown.max() <= 1
    assert shown[:, 8, 19:22].min() > .98                           # all of the sun is white
    assert (shown[:, 25, 40] - shown[:, 28, 10]).abs().max() < .02  # the hole is like its surroundings


@settings(max_examples=30, deadline=None)
@given(light=arrays(np.float32, (4, 8, 3), elements=st.floats(width=32)), exposure=st.floats(.01, 100))
def test_developing_never_leaves_the_screen(light, exposure):
    shown = develop(light, exposure)
    assert shown.dtype == np.float32 and np.isfinite(shown).all() and shown.min() >= 0 and shown.max() <= 1
    order = np.nan_to_num(light, nan=0.).clip(0, 65504).flatten().argsort()
    assert (np.diff(shown.flatten()[order]) >= -1e-6).all()  # brighter light is never darker on the screen


@pytest.mark.parametrize('size', [(16, 32), (32, 64), (48, 96), (128, 256), (20, 50)])
def test_size_is_changed_around_the_seam(tmp_path, size):
    Image.fromarray((smooth(64, 128)*255).round().astype(np.uint8)).save(tmp_path/'a.png')
    wanted = smooth(8*size[0], 8*size[1]).reshape(size[0], 8, size[1], 8, 3).mean((1, 3))
    found = load_clip(tmp_path/'a.png', size=size)[0].movedim(0, -1).numpy()
    assert np.abs(found - wanted).mean() < .004 and np.abs(found - wanted)[:, [0, -1]].max() < .03


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    "Forty frames at 10 a second whose brightness tells the time, written as video."
    path = tmp_path_factory.mktemp('film')/'clip.mp4'
    frames = torch.stack([torch.full((3, 64, 128), round(40 + 4*n)) for n in range(40)]).byte()
    write_video(path, frames, 10)
    return path


@pytest.mark.parametrize('num_frames, fps, start', [(None, 10, 0.), (None, 5, 0.), (4, 5, 1.), (1, 5, 2.), (2, 2.5, .4),
                                                    (3, 10, 3.5)])
def test_frames_of_a_video_are_those_of_the_moments_asked_for(film, num_frames, fps, start):
    clip = load_clip(film, num_frames, fps, start)
    moments = start + np.arange(len(clip))/fps
    assert len(clip) == (num_frames or round(4*fps)) and clip.shape[1:] == (3, 64, 128)
    assert_close(clip.mean((1, 2, 3))*255, torch.from_numpy(40 + 4*(10*moments)).float(), atol=2., rtol=0)


def test_a_clip_can_be_filmed(film):
    from argus_nb.data import filmed
    pair = filmed(load_clip(film, 3, size=(64, 128)), 0)
    assert pair.target.shape == (3, 3, 32, 64) and pair.mask.any()


def damaged(path, kind):
    "A file that cannot be used."
    if kind == 'cut.jpg':
        Image.fromarray((np.random.default_rng(0).random((64, 128, 3))*255).astype(np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == 'cut.exr':
        write_exr(path, RGB=np.random.default_rng(0).random((32, 64, 3)).astype(np.float16))
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == 'z.exr': write_exr(path, Z=np.ones((8, 16), np.float32))
    elif kind == 'cut.hdr': cv2.imwrite(str(path), smooth(32, 64)); path.write_bytes(path.read_bytes()[:900])
    elif kind == 'wide.png': Image.new('RGB', (160, 90)).save(path)
    elif kind == 'wide.mp4': write_video(path, torch.zeros(3, 3, 36, 64, dtype=torch.uint8), 10, spherical=False)
    elif kind == 'text.png': path.write_text('no picture at all')
    elif kind == 'empty.exr': path.touch()
    return path


@pytest.mark.parametrize('kind, message', [
    ('cut.jpg', 'is a damaged image'), ('cut.hdr', 'is a damaged image'),
    ('cut.exr', 'is damaged or no OpenEXR file'), ('empty.exr', 'is damaged or no OpenEXR file'),
    ('z.exr', 'its channels are Z; they must be R, G and B, or Y'),
    ('wide.png', 'is 160x90, a panorama is twice as wide as high'),
    ('wide.mp4', 'is 64x36, a panorama is twice as wide as high'),
    ('text.png', 'none of its frames can be decoded'), ('missing.png', 'no such file'), ('missing.exr', 'no such file'),
])
def test_unusable_files_are_named_in_one_line(tmp_path, kind, message):
    path = damaged(tmp_path/kind, kind)
    with pytest.raises(InputError, match=message) as error: load_clip(path)
    assert kind in str(error.value) and '\n' not in str(error.value)


def test_squeezed_panoramas_are_taken_when_asked_for(tmp_path):
    assert load_clip(damaged(tmp_path/'wide.png', 'wide.png'), stretch=True).shape == (1, 3, 80, 160)
    stretched = load_clip(damaged(tmp_path/'wide.mp4', 'wide.mp4'), 2, fps=10, stretch=True, size=(8, 16))
    assert stretched.shape == (2, 3, 8, 16)


def test_too_many_or_too_few_frames(film):
    with pytest.raises(InputError, match='holds 40 frames at 10 fps from 0 s on, not 41'): load_clip(film, 41, 10)
    with pytest.raises(InputError, match='num_frames must be at least 1'): load_clip(film, 0)
    with pytest.raises(InputError, match='beyond its end'): load_clip(film, 3, start=99.)
    with pytest.raises(InputError, match='size must be'): load_clip(film, 3, size=(0, 8))


if __name__ == '__main__':  # when a change of look is meant
    seen = {name: fingerprint(make()).round().byte().numpy().tobytes() for name, make in LOOKED_AT.items()}
    looks = {name: base64.b64encode(pixels).decode() for name, pixels in seen.items()}
    LOOKS_FILE.write_text(json.dumps(looks, indent=1) + '\n')
