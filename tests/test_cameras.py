"""Every pose format from a file written in its own layout from known rotations; faults; resampling and levelling as
properties."""
import json, math, os, pickle, struct, zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from argus_nb.cameras import CameraTrack, load_cameras, nearest_rotation, upright_rotation
from argus_nb.motion import simulate_motion
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import rotation_angle, rotation_from_euler

T, H, W, FOCAL = 7, 480, 640, 500.
FOV_X, FOV_Y = 2*math.atan(W/(2*FOCAL)), 2*math.atan(H/(2*FOCAL))


@pytest.fixture
def R():
    "Known rotations: a pan with nod and tilt."
    t = torch.linspace(0, 1, T).double()
    return rotation_from_euler(.9*t + .2, .3*t - .1, .2 - .4*t)


@pytest.fixture
def c2w(R):
    "Camera-to-world poses with a translation that must not matter."
    poses = torch.eye(4).double().repeat(T, 1, 1)
    poses[:, :3, :3], poses[:, :3, 3] = R, torch.randn(T, 3, generator=make_generator(0)).double()
    return poses.numpy()


def K(cx=W/2, cy=H/2, n=None):
    matrix = np.array([[FOCAL, 0, cx], [0, FOCAL, cy], [0, 0, 1]])
    return matrix if n is None else np.tile(matrix, (n, 1, 1))


def agrees(track, R, atol=1e-9, centred=True):
    assert_close(track.world_from_camera, R, atol=atol, rtol=0)
    assert_close(track.fov_x, torch.full((len(R),), FOV_X, dtype=torch.float64), atol=1e-9, rtol=0)
    assert_close(track.fov_y_for((H, W)), torch.full((len(R),), FOV_Y, dtype=torch.float64), atol=1e-9, rtol=0)
    assert (track.principal_point is None) == centred


# --- Formats -------------------------------------------------------------------------------------------------------

def test_megasam_takes_the_field_of_view_before_the_crop(tmp_path, R, c2w):
    np.savez(tmp_path/'a.npz', images=np.zeros((T, H - 8, W - 8, 3), np.uint8), depths=np.zeros((T, 4, 4), np.float16),
             intrinsic=K(), cam_c2w=c2w)
    agrees(load_cameras(tmp_path/'a.npz', T), R)


def vipe(folder, c2w, frames, lens_frames=range(T), size=(W/2, H/2)):
    for half, data, inds in (('pose', c2w[list(frames)], frames),
                             ('intrinsics', np.tile([FOCAL, FOCAL, *size], (len(lens_frames), 1)), lens_frames)):
        (folder/half).mkdir(exist_ok=True)
        np.savez(folder/half/'clip.npz', data=data, inds=np.array(list(inds)))
    return folder/'pose'/'clip.npz'


@pytest.mark.parametrize('named', ['pose/clip.npz', 'intrinsics/clip.npz', '.'])
def test_vipe_is_found_from_either_half_and_from_the_folder(tmp_path, R, c2w, named):
    vipe(tmp_path, c2w, range(T))
    agrees(load_cameras(tmp_path/named, T), R)


def test_vipe_missing_frames_are_bridged_and_marked(tmp_path, R, c2w):
    path = vipe(tmp_path, c2w, [5, 0, 2, 6], lens_frames=[0, 6])  # frames 1, 3, 4 missing, and out of order
    track = load_cameras(path, T)
    assert track.confidence.tolist() == [1, 0, 1, 0, 0, 1, 1]
    kept = [0, 2, 5, 6]
    assert_close(track.world_from_camera[kept], R[kept], atol=1e-9, rtol=0)
    whole, part = (rotation_angle(R[2].T @ track.world_from_camera[n]) for n in (5, 3))
    assert_close(part, whole/3)  # on the shortest way, at constant speed


def test_vipe_may_lose_its_first_frames_but_not_half_a_clip(tmp_path, c2w):
    assert load_cameras(vipe(tmp_path, c2w, range(2, T)), T).confidence.tolist() == [0, 0] + [1]*5
    with pytest.raises(InputError, match='holds 7 cameras, but the video has 14'):
        load_cameras(vipe(tmp_path, c2w, range(T)), 14)


def colmap_text(folder, R, names, camera=f'1 PINHOLE {W} {H} {FOCAL} {FOCAL} {W/2} {H/2}',
                points='1.5 2.5 -1 3.5 4.5 8'):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['# Image list with two lines of data per image:',
             '#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME']
    for n in reversed(range(len(names))):
        x, y, z, w = Rotation.from_matrix(R[n].T.numpy()).as_quat()
        lines += [f'{n + 1} {w} {x} {y} {z} 0.1 -2e-3 3 1 {names[n]}', points if n % 2 else '']
    (folder/'images.txt').write_text('\n'.join(lines) + '\n')
    (folder/'cameras.txt').write_text(f'# Camera list\n{camera}\n')
    return folder/'images.txt'


@pytest.mark.parametrize('named', ['images.txt', 'cameras.txt', '.'])
@pytest.mark.parametrize('camera', [f'1 PINHOLE {W} {H} {FOCAL} {FOCAL} {W/2} {H/2}',
                                    f'1 SIMPLE_PINHOLE {W} {H} {FOCAL} {W/2} {H/2}',
                                    f'1 SIMPLE_RADIAL {W} {H} {FOCAL} {W/2} {H/2} 0',
                                    f'1 OPENCV {W} {H} {FOCAL} {FOCAL} {W/2} {H/2} 0.1 0 0 0'])
def test_colmap_text(tmp_path, R, named, camera):
    colmap_text(tmp_path, R, [f'{n:04}.png' for n in range(T)], camera)
    track = load_cameras(tmp_path/named, T)
    agrees(track, R)
    assert ('distortion' in track.source) == ('OPENCV' in camera)


def test_colmap_orders_by_number_and_finds_gaps(tmp_path, R):
    names = [f'frame {5*n}.jpg' for n in (1, 2, 4, 8, 9, 10,
                                          13)]  # 'frame 10' after 'frame 5', blanks in names, every fifth frame
    track = load_cameras(colmap_text(tmp_path, R, names))
    assert track.confidence.tolist() == [1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1]
    assert_close(track.world_from_camera[track.confidence == 1], R, atol=1e-9, rtol=0)


def test_colmap_name_of_digits_is_no_row_of_points(tmp_path, R):
    agrees(load_cameras(colmap_text(tmp_path, R, [f'cam1/{n}.png' for n in range(T)], points='1.5 2.5 -1 '*5), T), R)


def test_colmap_off_centre_principal_point(tmp_path, R):
    track = load_cameras(colmap_text(tmp_path, R, [f'{n}.png' for n in range(T)],
                                     f'1 PINHOLE {W} {H} {FOCAL} {FOCAL} 330 240'), T)
    agrees(track, R, centred=False)
    assert_close(track.principal_point[0], torch.tensor([330/W, .5]).double())


@pytest.fixture
def reconstruction(R):
    "A model as pycolmap keeps it."
    pycolmap = pytest.importorskip('pycolmap')
    model, camera = pycolmap.Reconstruction(), pycolmap.Camera(model='PINHOLE', width=W, height=H,
                                                               params=[FOCAL, FOCAL, W/2, H/2], camera_id=1)
    model.add_camera_with_trivial_rig(camera)
    for n in range(T):
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(R[n].T.numpy()), np.array([.1, .2, .3]))
        model.add_image_with_trivial_frame(pycolmap.Image(name=f'{n:03}.png', camera_id=1, image_id=T - n), pose)
    return model


def test_pycolmap_reconstruction(reconstruction, R): agrees(load_cameras(reconstruction, T), R)


@pytest.mark.parametrize('named', ['images.bin', 'cameras.bin', '.'])
def test_colmap_binary_as_pycolmap_writes_it(tmp_path, reconstruction, R, named):
    reconstruction.write_binary(str(tmp_path))
    agrees(load_cameras(tmp_path/named, T), R)


def test_colmap_text_as_pycolmap_writes_it(tmp_path, reconstruction, R):
    reconstruction.write_text(str(tmp_path))
    agrees(load_cameras(tmp_path, T), R)


@pytest.mark.parametrize('image_size', [(H, W), (W, H), None])
@pytest.mark.parametrize('batch', [False, True])
def test_vggt(tmp_path, R, c2w, image_size, batch):
    extrinsic, intrinsic = np.linalg.inv(c2w)[:, :3], K(n=T)
    if batch: extrinsic, intrinsic = extrinsic[None], intrinsic[None]
    extra = {} if image_size is None else dict(image_size=np.array(image_size))
    np.savez(tmp_path/'a.npz', extrinsic=extrinsic, intrinsic=intrinsic, **extra)
    agrees(load_cameras(tmp_path/'a.npz', T), R)


def test_dust3r_json(tmp_path, R, c2w):
    (tmp_path/'a.json').write_text(json.dumps(dict(poses=c2w.tolist(), intrinsics=K(n=T).tolist(), focal_unit='px')))
    agrees(load_cameras(tmp_path/'a.json', T), R)


@pytest.mark.parametrize('shape', [(T,), (T, 1)])
def test_dust3r_npz_needs_an_image_size(tmp_path, R, c2w, shape):
    np.savez(tmp_path/'a.npz', poses=c2w, focals=np.full(shape, FOCAL, np.float32))
    agrees(load_cameras(tmp_path/'a.npz', T, image_size=(H, W)), R)
    assert_close(load_cameras(tmp_path/'a.npz', fov_x=1.).fov_x, torch.ones(T).double())
    with pytest.raises(InputError, match='size the file does not tell'): load_cameras(tmp_path/'a.npz')
    np.savez(tmp_path/'b.npz', poses=c2w, focals=np.full(shape, FOCAL), image_size=(H, W))
    agrees(load_cameras(tmp_path/'b.npz', T), R)


@pytest.mark.parametrize('fov_numbers', [1, T])
@pytest.mark.parametrize('named', ['motion/clip.txt', 'fov/clip.txt', '.'])
def test_released_trajectory(tmp_path, named, fov_numbers):
    angles = torch.randn(3, T, generator=make_generator(1)).double()*.4
    wide = torch.tensor([[FOV_X], [FOV_Y]], dtype=torch.float64).rad2deg().expand(2, fov_numbers)
    for folder, lines in (('motion', angles), ('fov', wide)):
        (tmp_path/folder).mkdir()
        (tmp_path/folder/'clip.txt').write_text('\n'.join(' '.join(f'{v:.12f}' for v in line)
                                                          for line in lines.tolist()))
    pitch, yaw, roll = angles
    track = load_cameras(tmp_path/named, T)
    agrees(track, rotation_from_euler(yaw, pitch, roll))
    assert_close(torch.stack(track.euler()), torch.stack([yaw, pitch, roll]), atol=1e-9, rtol=0)


def test_released_trajectory_without_field_of_view(tmp_path):
    (tmp_path/'clip.txt').write_text('0 0 0\n0 .1 .2\n0 0 0\n')
    assert len(load_cameras(tmp_path/'clip.txt', fov_x=1.)) == 3
    with pytest.raises(InputError, match='no field of view; it is looked for in'): load_cameras(tmp_path/'clip.txt')


# --- Names lie, contents do not ------------------------------------------------------------------------------------

def test_formats_are_told_by_contents(tmp_path, R, c2w):
    np.savez(tmp_path/'a.npz', cam_c2w=c2w, intrinsic=K())
    os.rename(tmp_path/'a.npz', tmp_path/'poses.txt')
    agrees(load_cameras(tmp_path/'poses.txt', T), R)
    (tmp_path/'poses.npz').write_text(json.dumps(dict(poses=c2w.tolist(), intrinsics=K(n=T).tolist())))
    agrees(load_cameras(tmp_path/'poses.npz', T), R)
    os.rename(colmap_text(tmp_path, R, [f'{n}.png' for n in range(T)]), tmp_path/'cameras.json')
    agrees(load_cameras(tmp_path/'cameras.json', T), R)


def test_nothing_pickled_is_ever_opened(tmp_path):
    class Trap:
        def __reduce__(self): return os.mkdir, (str(tmp_path/'sprung'),)
    np.savez(tmp_path/'a.npz', poses=np.array([Trap()], dtype=object), focals=np.ones(1))
    np.savez(tmp_path/'b.npz', data=np.array([Trap()], dtype=object), inds=np.zeros(1))
    (tmp_path/'c.pth').write_bytes(pickle.dumps(Trap()))
    (tmp_path/'d.npz').write_bytes(pickle.dumps(Trap(), protocol=2))
    torch.save(Trap(), tmp_path/'e.pth')
    for name in ('a.npz', 'b.npz', 'c.pth', 'd.npz', 'e.pth'):
        with pytest.raises(InputError, match=r'is a pickle.*convert it.*np\.savez'): load_cameras(tmp_path/name)
    assert not (tmp_path/'sprung').exists()


# --- What does not fit ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize('arrays, message', [
    (dict(cam_c2w=np.eye(3)[None], intrinsic=np.eye(3)),
     r'MegaSaM \(cam_c2w: camera to world\): cam_c2w must have shape \(T, 4, 4\), got \(1, 3, 3\)'),
    (dict(cam_c2w=np.eye(4)[None]*2, intrinsic=K()), r'MegaSaM.*must be rotations'),
    (dict(cam_c2w=np.diag([1., 1, -1, 1])[None], intrinsic=K()), r'MegaSaM.*an axis is mirrored'),
    (dict(cam_c2w=np.eye(4)[None]*np.nan, intrinsic=K()), r'MegaSaM.*must be finite'),
    (dict(cam_c2w=np.eye(4)[None], intrinsic=np.zeros((3, 3))), 'MegaSaM.*focal lengths must be positive'),
    (dict(extrinsic=np.eye(4), intrinsic=K(n=1)),
     r'VGGT \(extrinsic: world to camera\): extrinsic must have shape \(T, 4, 4\), got \(4, 4\)'),
    (dict(extrinsic=np.eye(4)[None, :3], intrinsic=np.eye(2)), r'VGGT.*intrinsic must have shape \(3, 3\)'),
    (dict(extrinsic=np.eye(4)[None, :3], intrinsic=np.eye(3)), r'VGGT.*the principal point must lie inside.*--fov'),
    (dict(poses=np.eye(4)[None], intrinsics=K(n=2)), 'DUSt3R.*fov_x must be one number or 1'),
    (dict(poses=np.array(['a'])), 'known are MegaSaM'),
    (dict(data=np.eye(4)[None], inds=np.zeros(1)), 'ViPE.*the other half is missing'),
    (dict(format='argus cameras 9'), "format 'argus cameras 9' is not known"),
    (dict(format='argus cameras 1', fov_x=1.), 'world_from_camera or fov_x is missing'),
    (dict(), 'holds nothing'),
])
def test_messages_name_the_file_and_the_reading_tried(tmp_path, arrays, message):
    np.savez(tmp_path/'given.npz', **arrays)
    with pytest.raises(InputError, match=rf'given\.npz.*{message}') as error: load_cameras(tmp_path/'given.npz')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content, message', [
    (b'', 'an empty file'), (b'{"poses": [', 'not valid JSON'), (b'[1, 2]', 'a JSON list'),
    (b'{"poses": 1, "intrinsics": 2}', 'DUSt3R'),
    (b'PK\x03\x04broken', 'not a readable npz'), (b'\xff\xfe\x00\x01', 'no camera format fits'),
    (b'hello\n', 'neither JSON'), (b'1 2\n3 4\n5\n', 'equally long'),
    (b'\x93NUMPY\x01\x00', 'a single array'), (b'1 2 3\n4 5 6\n', 'look like the fields of view'),
    (struct.pack('<Q', 2**60) + b'\x80\x81', 'no camera format fits'),
    (b'{"poses": [[1, "x"]], "intrinsics": []}', 'DUSt3R'), (b'1 1 0 0 0 0 0 0 1 a.png\n\n', 'cameras.txt is missing'),
])
def test_broken_files_get_one_line(tmp_path, content, message):
    (tmp_path/'given').write_bytes(content)
    with pytest.raises(InputError, match=rf'given.*{message}') as error: load_cameras(tmp_path/'given')
    assert '\n' not in str(error.value)


def test_missing_and_ambiguous_folders(tmp_path):
    with pytest.raises(InputError, match='no such file or folder'): load_cameras(tmp_path/'none')
    with pytest.raises(InputError, match='a folder without'): load_cameras(tmp_path)
    for name in 'ab': simulate_and_save(tmp_path, name)
    with pytest.raises(InputError, match='holds 2 tracks, name one'): load_cameras(tmp_path)


def simulate_and_save(folder, name):
    (folder/'motion').mkdir(exist_ok=True)
    simulate_motion(4, 5, make_generator(0)).save(folder/'motion'/f'{name}.txt')


def test_colmap_faults(tmp_path, R):
    names = [f'{n}.png' for n in range(T)]
    with pytest.raises(InputError, match='OPENCV_FISHEYE is not a pinhole; undistort'):
        load_cameras(colmap_text(tmp_path, R, names, f'1 OPENCV_FISHEYE {W} {H} 1 1 1 1 0 0 0 0'))
    with pytest.raises(InputError, match='refers to camera 1, which is not there'):
        load_cameras(colmap_text(tmp_path, R, names, f'2 PINHOLE {W} {H} 1 1 1 1'))
    with pytest.raises(InputError, match='does not follow that layout'):
        load_cameras(colmap_text(tmp_path, R, names, '1 PINHOLE wide high 1 1 1 1'))


# --- Cameras of another size, and files that are not whole ----------------------------------------------------------

@pytest.mark.parametrize('names', [('extrinsic', 'intrinsic'), ('extrinsics', 'intrinsics')])
@pytest.mark.parametrize('one', [False, True])
@pytest.mark.parametrize('dtype', [np.float64, np.float32, np.float16])
def test_intrinsics_of_resized_images(tmp_path, R, c2w, names, one, dtype):
    small = np.array([[388.5, 0, 259], [0, 388.5, 147], [0, 0, 1]])
    np.savez(tmp_path/'a.npz', **{names[0]: np.linalg.inv(c2w)[:, :3].astype(dtype),
                                  names[1]: (small if one else np.tile(small, (T, 1, 1))).astype(dtype)})
    track = load_cameras(tmp_path/'a.npz', T)
    assert abs(math.degrees(track.fov_x[0]) - 67.4) < .05 and track.principal_point is None
    assert rotation_angle(track.world_from_camera.mT @ R).max() < 2e-3
    with pytest.raises(InputError, match='belong to another size; give the field of view'):
        load_cameras(tmp_path/'a.npz', image_size=(90, 160))
    given = load_cameras(tmp_path/'a.npz', image_size=(90, 160), fov_x=1.)
    assert given.fov_x[0] == 1 and given.fov_y is None and given.principal_point is None


@pytest.mark.parametrize('focals', [380., [380.], [[380.]]*T])
def test_one_focal_length_may_stand_for_all_frames(tmp_path, c2w, focals):
    np.savez(tmp_path/'a.npz', poses=c2w, focals=focals, image_size=(288, 512))
    assert abs(math.degrees(load_cameras(tmp_path/'a.npz', T).fov_x[-1]) - 67.9) < .1


def test_nerfstudio_has_y_up_and_z_backwards(tmp_path, R, c2w):
    poses = c2w @ np.diag([1., -1, -1, 1])
    lens = dict(camera_model='OPENCV', fl_x=FOCAL, fl_y=FOCAL, cx=W/2, cy=H/2, w=W, h=H, k1=0.)
    frames = [dict(file_path=f'images/frame_{n + 1:05}.png', transform_matrix=poses[n].tolist()) for n in range(T)]
    write = lambda **record: (tmp_path/'transforms.json').write_text(json.dumps(record))
    write(**lens, frames=frames[::-1])
    for named in ('transforms.json', '.'): agrees(load_cameras(tmp_path/named, T), R)
    write(camera_angle_x=FOV_X, w=W, h=H, frames=frames[:2] + frames[3:])
    assert load_cameras(tmp_path, T).confidence.tolist() == [1, 1, 0, 1, 1, 1, 1]
    for change, message in ((dict(camera_model='OPENCV_FISHEYE'), 'is not a pinhole'),
                            (dict(frames=[1]), 'must be a list'), (dict(frames=[]), 'no registered image'),
                            (dict(fl_x='wide'), 'cannot be read as cameras')):
        write(**(lens | dict(frames=frames) | change))
        with pytest.raises(InputError, match=message): load_cameras(tmp_path)


def test_names_that_are_moments(tmp_path, R):
    stamps = [1403636579763591424 + int(n*5e7) + 997*n**2 for n in range(T)]
    agrees(load_cameras(colmap_text(tmp_path, R, [f'{n}.png' for n in stamps]), T), R)
    agrees(load_cameras(colmap_text(tmp_path, R, [f'{n}' for n in stamps]), T), R)  # all numbers, and still a name
    stamps[-1] += int(1e8)
    assert load_cameras(colmap_text(tmp_path, R, [f'{n}.png' for n in stamps])).confidence.tolist() == [1]*6 + [0, 0, 1]
    stamps[-1] += int(1e18)
    with pytest.raises(InputError, match='its frame numbers say'):
        load_cameras(colmap_text(tmp_path, R, [f'{n}.png' for n in stamps]))


def test_colmap_ends_are_held_where_the_numbers_tell_them(tmp_path, R):
    track = load_cameras(colmap_text(tmp_path, R, [f'frame_{n:04}.png' for n in range(3, 3 + T)]), 10)
    assert track.confidence.tolist() == [0, 0, 0] + [1]*T and '3 of 10 frames at the ends held' in track.source
    assert_close(track.world_from_camera, R[[0, 0, 0, *range(T)]], atol=1e-9, rtol=0)
    track = load_cameras(colmap_text(tmp_path, R, [f'frame_{n:04}.png' for n in range(1, 1 + T)]), 9)
    assert track.confidence.tolist() == [1]*T + [0, 0]
    for first, frames in ((90, 12), (0, 30)):
        names = [f'frame_{n:04}.png' for n in range(first, first + T)]
        with pytest.raises(InputError, match=f"holds {T} cameras, but the video has {frames} frames.*'{names[0]}' to "):
            load_cameras(colmap_text(tmp_path, R, names), frames)


def test_colmap_of_every_fifth_frame(tmp_path, R):
    track = load_cameras(colmap_text(tmp_path, R, [f'{5*n:04}.png' for n in range(T)]), 5*T)
    assert_close(track.world_from_camera[:5*T - 4:5], R, atol=1e-9, rtol=0)
    assert track.confidence.tolist() == ([1] + [0]*4)*T


@pytest.mark.parametrize('line', ['3 nan nan nan nan 0 0 0 1 b.png', '3 1 0 0 0 0 0 0 one b.png', '3 1 0 0',
                                  'what is this?'])
def test_a_line_that_cannot_be_read_is_named(tmp_path, R, line):
    path = colmap_text(tmp_path, R, [f'{n}.png' for n in range(T)])
    path.write_text(path.read_text() + line)
    for named in (path, tmp_path):
        with pytest.raises(InputError, match=rf'images.txt.*line {2*T + 3} is neither.*{line[:9]}'): load_cameras(named)


@pytest.mark.parametrize('model', ['EQUIRECTANGULAR', 'EUCM', 'FOV', 'SIMPLE_DIVISION'])
def test_lenses_that_are_no_pinhole_are_refused_by_name(tmp_path, R, model):
    names = [f'{n}.png' for n in range(T)]
    colmap_text(tmp_path, R, names, f'1 {model} {W} {H} {W/2} {H/2}')
    for named in ('images.txt', 'cameras.txt', '.'):
        with pytest.raises(InputError, match=f'camera model {model} is not a pinhole'): load_cameras(tmp_path/named)
    pycolmap = pytest.importorskip('pycolmap')
    if model not in pycolmap.CameraModelId.__members__: return
    count = len(pycolmap.Camera.create_from_model_name(1, model, 1., W, H).params)
    number = int(pycolmap.CameraModelId.__members__[model])
    from argus_nb import cameras
    assert cameras._COLMAP_MODELS[number] == model and cameras._COLMAP_PARAMETERS[model] == count


def test_two_models_in_a_folder_are_a_question(tmp_path, R):
    for number in '01': colmap_text(tmp_path/'sparse'/number, R, [f'{n}.png' for n in range(T)])
    with pytest.raises(InputError, match='COLMAP made 2 models of it, name the folder'): load_cameras(tmp_path)
    agrees(load_cameras(tmp_path/'sparse'/'1', T), R)


def test_damaged_archives_and_records_get_one_line(tmp_path, c2w):
    np.savez_compressed(tmp_path/'whole.npz', cam_c2w=c2w, intrinsic=K())
    data, rng = (tmp_path/'whole.npz').read_bytes(), np.random.default_rng(0)
    for trial in range(80):
        broken = bytearray(data[:rng.integers(1, len(data))] if trial % 4 == 0 else data)
        for at in rng.integers(0, len(broken), 3): broken[at] = rng.integers(256)
        (tmp_path/'broken.npz').write_bytes(broken)
        try: load_cameras(tmp_path/'broken.npz')
        except InputError as error: assert '\n' not in str(error) and 'broken.npz' in str(error)
    deep = '['*100_000 + ']'*100_000
    pose = np.eye(4).tolist()
    for text in (f'{{"poses": {deep}, "intrinsics": []}}', deep, '{"cam_c2w": [[1, 2], [3]], "intrinsic": [[1], []]}',
                 json.dumps(dict(cam_c2w=[pose, pose[:3]], intrinsic=K().tolist())),
                 json.dumps(dict(format='argus cameras 1', world_from_camera=[[1, 2]], fov_x='wide')),
                 json.dumps(dict(format='argus cameras 1', world_from_camera=[], fov_x=[])),
                 json.dumps(dict(format='argus cameras 1', world_from_camera=None, fov_x={})),
                 json.dumps(dict(data=[pose], inds=[{}])), json.dumps(dict(frames={'a': 1})),
                 json.dumps(dict(poses=[pose], focals=[None]))):
        (tmp_path/'given.json').write_text(text)
        with pytest.raises(InputError, match='given.json') as error: load_cameras(tmp_path/'given.json')
        assert '\n' not in str(error.value)


def test_an_archive_cannot_claim_more_than_it_holds(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 4, 4)}".ljust(117) + b'\n'
    with zipfile.ZipFile(tmp_path/'bomb.npz', 'w') as archive:
        archive.writestr('cam_c2w.npy', b'\x93NUMPY\x01\0' + struct.pack('<H', len(header)) + header)
        archive.writestr('intrinsic.npy', b'')
    with pytest.raises(InputError, match='bomb.npz.*'): load_cameras(tmp_path/'bomb.npz')


# --- Saving --------------------------------------------------------------------------------------------------------

angles = st.floats(-3, 3)


@settings(max_examples=20, deadline=None)
@given(angles=st.lists(st.tuples(angles, st.floats(-1.5, 1.5), angles), min_size=1, max_size=4), fov=st.floats(.05, 3),
       fov_y=st.none() | st.floats(.05, 3),
       point=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)), fps=st.none() | st.floats(.1, 240),
       suffix=st.sampled_from(['.json', '.npz']))
def test_saved_tracks_come_back_to_the_last_bit(tmp_path_factory, angles, fov, fov_y, point, fps, suffix):
    path = tmp_path_factory.mktemp('saved')/f'track{suffix}'
    track = CameraTrack.from_euler(*torch.tensor(angles, dtype=torch.float64).T, fov, fov_y=fov_y,
                                   principal_point=point, fps=fps, source='a "test" ü')
    track = replace(track, confidence=torch.linspace(0, 1, len(track)))
    track.save(path)
    back = load_cameras(path, len(track))
    for name in ('world_from_camera', 'fov_x', 'fov_y', 'principal_point', 'confidence'):
        a, b = getattr(track, name), getattr(back, name)
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b)), name
    assert (back.fps, back.source) == (track.fps, track.source)


def test_released_layout_round_trip(tmp_path):
    (tmp_path/'motion').mkdir()
    for name, fov in (('constant', torch.ones(5)), ('zoom', torch.linspace(.5, 1, 5))):
        track = replace(simulate_motion(5, 5, make_generator(3), fov_x=1.), fov_x=fov)
        track.save(tmp_path/'motion'/f'{name}.txt', size=(H, W))
        back = load_cameras(tmp_path/'motion'/f'{name}.txt', 5)
        assert_close(back.world_from_camera, track.world_from_camera)
        assert_close(back.fov_x, track.fov_x)
        assert_close(back.fov_y, track.fov_y_for((H, W)))


def test_saving_faults_leave_nothing_behind(tmp_path):
    track = CameraTrack.static(2, 1.)
    for name, message in (('a.csv', 'saved as .json, .npz'), ('a.txt', 'folder name motion')):
        with pytest.raises(InputError, match=message): track.save(tmp_path/name)
    (tmp_path/'motion').mkdir()
    with pytest.raises(InputError, match='give size'): track.save(tmp_path/'motion'/'a.txt')
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['motion']


# --- The track -----------------------------------------------------------------------------------------------------

@settings(max_examples=50, deadline=None)
@given(yaw=angles, pitch=st.sampled_from([-math.pi/2, math.pi/2]), roll=angles)
def test_gimbal_lock_keeps_the_rotation(yaw, pitch, roll):
    track = CameraTrack.from_euler(yaw, pitch, roll, 1.)
    again = CameraTrack.from_euler(*track.euler(), 1.)
    assert rotation_angle(track.world_from_camera.mT @ again.world_from_camera).max() < 1e-6


def test_signs():
    right, up, tilt = (CameraTrack.from_euler(*a, 1.).world_from_camera[0]
                       for a in ((.1, 0, 0), (0, .1, 0), (0, 0, .1)))
    assert right[0, 2] > 0 and up[1, 2] < 0 and tilt[1, 0] > 0  # looks to +x, to -y; the right side goes down, to +y


@settings(max_examples=30, deadline=None)
@given(yaw=angles, pitch=st.floats(-1.5, 1.5), roll=angles)
def test_order_of_the_angles(yaw, pitch, roll):
    "Ry(yaw) Rx(pitch) Rz(roll), as another library composes it."
    track = CameraTrack.from_euler(yaw, pitch, roll, 1.)
    assert_close(track.world_from_camera[0], torch.from_numpy(Rotation.from_euler('YXZ', [yaw, pitch,
                                                                                          roll]).as_matrix()),
                                                                                          atol=1e-12, rtol=0)
    back = rotation_from_euler(*track.euler())
    assert_close(back, track.world_from_camera, atol=1e-9, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), fps=st.sampled_from([1., 5, 7.5, 24, 29.97, 60]))
def test_resampling_stays_on_the_great_arcs(seed, fps):
    track = simulate_motion(9, 5, make_generator(seed))
    fine = track.resampled(fps)
    assert fine.fps == fps and abs((len(fine) - 1)/fps - 8/5) <= 1/fps
    position = torch.arange(len(fine)).double()/fps*5
    low = position.floor().long().clamp(max=7)
    step = track.world_from_camera[low].mT @ track.world_from_camera[low + 1]
    turned = rotation_angle(track.world_from_camera[low].mT @ fine.world_from_camera)
    assert_close(turned, rotation_angle(step)*(position - low), atol=1e-9, rtol=0)


def test_resampling_edges():
    track = replace(simulate_motion(4, 5, make_generator(0)), confidence=torch.tensor([1., 0, 1, 1]))
    assert_close(track.at_times([.79]).world_from_camera,
                 track[-1].world_from_camera)  # the last frame lasts until its end
    assert_close(track.at_times([.1]).confidence, torch.tensor([.5]).double())
    assert len(track[:1].at_times([0., .1])) == 2
    for times in ([-.1], [.81]):
        with pytest.raises(InputError, match='times must lie within the track, 0 to 0.800 s'): track.at_times(times)
    with pytest.raises(InputError, match='no frame rate'): CameraTrack.static(3, 1.).resampled(5)


def test_slices_keep_everything_together():
    track = CameraTrack(torch.eye(3).repeat(4, 1, 1), torch.linspace(.5, 1, 4), torch.linspace(.4, .8, 4),
                        torch.rand(4, 2), 30., 'a', torch.rand(4))
    part = track[1:3]
    assert_close(part.fov_y, track.fov_y[1:3])
    assert_close(part.principal_point, track.principal_point[1:3])
    assert_close(part.confidence, track.confidence[1:3])
    assert (part.fps, part.source) == (30., 'a') and track[::-1].fps == 30.
    assert track[torch.tensor([3, 0])].fov_x.tolist() == track.fov_x[[3, 0]].tolist()
    assert_close(track[::-1].fov_x, track.fov_x.flip(0))
    assert_close(track[track.fov_x > .7].fov_x, track.fov_x[track.fov_x > .7])


@pytest.mark.parametrize('fields, message', [
    (dict(fov_x=0.), 'fov_x must lie'), (dict(fov_x=math.pi), 'fov_x must lie'),
    (dict(fov_x=math.nan), 'fov_x must lie'), (dict(fov_x=1., fov_y=4.), 'fov_y must lie'),
    (dict(fov_x=1., fps=0.), 'fps must be positive'),
    (dict(fov_x=1., principal_point=[.5]), 'principal_point must have shape'),
    (dict(fov_x=1., confidence=[2., 2]), 'confidence must lie'),
])
def test_fields_are_checked(fields, message):
    with pytest.raises(InputError, match=message): CameraTrack(torch.eye(3).repeat(2, 1, 1), **fields)


def test_a_track_cannot_be_empty_or_changed():
    with pytest.raises(InputError, match='at least one frame'): CameraTrack(torch.zeros(0, 3, 3), 1.)
    with pytest.raises(AttributeError): CameraTrack.static(2, 1.).fov_x = 2.


@settings(max_examples=30, deadline=None)
@given(yaw=angles, pitch=st.floats(-1.5, 1.5), roll=angles, size=st.floats(-9e-6, 9e-6))
def test_nearest_rotation_is_nearest(yaw, pitch, roll, size):
    R = rotation_from_euler(yaw, pitch, roll)
    noise = torch.randn(3, 3, generator=make_generator(1)).double()*size
    near = nearest_rotation(R + noise)
    assert_close(near @ near.T, torch.eye(3).double(), atol=1e-12, rtol=0)
    others = near @ rotation_from_euler(*(1e-6*torch.randn(3, 20, generator=make_generator(2)).double()))
    assert ((R + noise - near).norm() <= (R + noise - others).flatten(1).norm(dim=1) + 1e-15).all()


# --- Levelling -----------------------------------------------------------------------------------------------------

@settings(max_examples=50, deadline=None)
@given(yaw=angles, pitch=st.floats(-1.5, 1.5), roll=st.floats(-3, 3))
def test_upright_rotation_moves_up_and_keeps_the_heading(yaw, pitch, roll):
    up = rotation_from_euler(yaw, pitch, roll)[:, 1]
    L = upright_rotation(up)
    assert_close(L @ up, torch.tensor([0., -1, 0]).double(), atol=1e-9, rtol=0)
    assert abs(float((L @ torch.tensor([0., 0, 1]).double())[0])) < 1e-9 and torch.linalg.det(L) > .999


def test_upright_rotation_of_a_camera_that_looks_straight_down():
    for up in ([0., 0, 1], [0., 0, -1]):
        L = upright_rotation(torch.tensor(up))
        assert_close(L @ torch.tensor(up).double(), torch.tensor([0., -1, 0]).double())
        assert torch.linalg.det(L) > .999


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_given_up_direction_undoes_the_first_camera(seed):
    """Relative to the first camera and levelled with the true up-direction: the pitch and roll of the upright world are
    back."""
    track = simulate_motion(6, 5, make_generator(seed))
    relative = track.relative_to_first()
    assert_close(relative.world_from_camera[0], torch.eye(3).double(), atol=1e-12, rtol=0)
    upright = relative.levelled(-(track.world_from_camera[0].T @ torch.tensor([0., 1, 0]).double()))
    for a, b in zip(upright.euler()[1:], track.euler()[1:]): assert_close(a, b, atol=1e-9, rtol=0)


def tilt_left(track, level):
    "Angle between the true up and the estimated one, and between the true up and the first camera's, in degrees."
    down = torch.tensor([0., 1, 0]).double()
    true = track.world_from_camera[0].T @ down
    angle = lambda a: math.degrees(math.atan2(torch.linalg.cross(true, a).norm(), true @ a))
    return angle(-level.up_direction()), angle(down)


@pytest.mark.parametrize('side', [-1, 1])
def test_rolling_to_and_fro_is_not_taken_for_a_view_straight_up(side):
    "A camera that spins about its axis could as well look at the zenith; people seldom do."
    steps = lambda degrees: torch.nn.functional.interpolate(torch.tensor(degrees)[None, None], 90, mode='linear',
                                                            align_corners=True)[0, 0].double().deg2rad()
    track = CameraTrack.from_euler(steps([0., -20, -10, 0, 10, 10, 10]), -.2,
                                   side*steps([0., 60, 80, 0, -50, 0, 0, 0, 0]), 1.)
    assert tilt_left(track, track.relative_to_first())[0] < 20


def test_levelling_helps_when_the_camera_turns_and_never_hurts_much():
    tracks = simulate_motion(60, 10, make_generator(0), clips=150)
    spread = torch.stack([t.euler()[0].max() - t.euler()[0].min() for t in tracks]).rad2deg()
    after, before = torch.tensor([tilt_left(t, t.relative_to_first()) for t in tracks]).T
    assert after[spread > 40].mean() < .5*before[spread > 40].mean()
    assert after[spread < 5].mean() < 1.1*before[spread < 5].mean()
    assert after.mean() < .8*before.mean()
