"""The applications beyond their lessons: grids, odd input, other ways to the same number, and a server that
misbehaves."""
import http.server, json, math, sys, threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from argus_nb import lighting, looking, questions, steady
from argus_nb.cameras import CameraTrack
from argus_nb.projection import rotate_panorama
from argus_nb.runtime import InputError, make_generator
from argus_nb.sphere import panorama_rays, rotation_angle, rotation_from_euler
from PIL import Image
from scipy.spatial.transform import Rotation
from torch.testing import assert_close


def random_rotations(count: int, spread: float, seed: int = 0) -> torch.Tensor:
    "Rotations by normally distributed rotation vectors."
    return torch.from_numpy(Rotation.from_rotvec(np.random.default_rng(seed).normal(0, spread, (count, 3))).as_matrix())


# --- Stabilise -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('frames', [1, 2, 3, 7, 40])
@pytest.mark.parametrize('sigma', [0, .3, 2., 1000.])
def test_smoothed_rotations_are_rotations_of_any_number(frames, sigma):
    smooth = steady.smooth_rotations(random_rotations(frames, .1), sigma)
    assert smooth.shape == (frames, 3, 3)
    assert_close(smooth @ smooth.mT, torch.eye(3).double().expand(frames, 3, 3), atol=1e-9, rtol=0)


def test_the_average_is_where_the_directions_to_all_others_cancel():
    rotations = random_rotations(31, .3)
    smooth, (neighbour, weights) = steady.smooth_rotations(rotations, 3.), steady.smoothing_weights(31, 3.)
    for t in (0, 4, 15, 30):
        towards = Rotation.from_matrix((smooth[t].T @ rotations[neighbour[t]]).numpy()).as_rotvec()
        assert abs((weights[t].numpy()[:, None]*towards).sum(0)).max() < 1e-5


@pytest.mark.parametrize('seconds', [0, .4, None])
def test_a_steady_track_keeps_what_was_asked_for(seconds):
    cameras = CameraTrack(random_rotations(12, .1), torch.linspace(1., 1.3, 12), fov_y=torch.linspace(.8, .9, 12),
                          fps=10.)
    calm = steady.steady_track(cameras, seconds, level=False)
    assert len(calm) == 12 and abs(calm.fov_x - 1.3).max() < 1e-6 and abs(calm.fov_y - .9).max() < 1e-6  # the widest
    if seconds == 0: assert_close(calm.world_from_camera, cameras.world_from_camera)
    if seconds is None: assert rotation_angle(calm.world_from_camera[0].T @ calm.world_from_camera).max() < 1e-7


def test_views_keep_their_type_and_come_in_chunks():
    panoramas = torch.randint(0, 256, (5, 3, 32, 64), dtype=torch.uint8, generator=make_generator(0))
    parts = [*steady.steady_views(panoramas, CameraTrack.static(5, 1.2, fps=5.), (12, 16), chunk=2)]
    assert [len(part) for part in parts] == [2, 2, 1] and parts[0].dtype == torch.uint8


# --- Look ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('distance, fov', [(0., 20), (0., 175), (.3, 200), (.7, 260), (1., 90), (1., 355)])
def test_lens_and_its_inverse(distance, fov):
    rays = looking.lens_rays(7, 9, math.radians(fov), distance)
    assert_close(rays.norm(dim=-1), torch.ones(7, 9).double())
    rho = rays[..., 0]/(rays[..., 2] + distance)  # back onto the plane: columns stand in even steps
    steps = rho.diff(dim=1)
    assert_close(steps, steps[:1, :1].expand_as(steps), rtol=1e-9, atol=0)


def test_the_planet_has_the_ground_in_its_middle_and_the_sky_around():
    panorama = (panorama_rays(64, 128)[..., 1] > 0).float().expand(3, -1, -1)  # bright below the horizon
    view = looking.lens_view(panorama, steady.look_at(torch.tensor([0., 1., 0.])), math.radians(290), (61, 61), 1.)[0]
    assert view[30, 30] == 1 and view[0, 0] == 0 and view[30, 0] == 0
    # the horizon is a circle of radius tan(45 deg) against tan(72.5 deg) at the edge
    radius = math.sqrt(view.sum()/math.pi)
    assert abs(radius - 30.5/math.tan(math.radians(72.5))) < .3


@pytest.mark.parametrize('name', [*looking.PATHS])
@pytest.mark.parametrize('frames', [1, 2, 25])
def test_named_paths_fit_any_length(name, frames):
    path = looking.camera_path(name, frames, 12.)
    assert path.rotation.shape == (frames, 3, 3) and all(torch.isfinite(part).all() for part in path)
    for fov, distance in zip(path.fov_x.tolist(), path.distance.tolist()): looking.lens_rays(2, 2, fov, distance)


@pytest.mark.parametrize('name', [*looking.PATHS])
def test_named_paths_never_jump(name):
    path = looking.camera_path(name, 200, 20.)
    assert rotation_angle(path.rotation[:-1].mT @ path.rotation[1:]).max() < math.radians(5)


@pytest.mark.parametrize('text, said', [
    ('nonsense', 'is not JSON'), ('{"time": 0}', 'must be a list'), ('[]', 'must be a list'), ('[5]', 'keyframe 0'),
    ('[{"time": 0, "fov": true}]', 'fov'),
    ('[{"time": 0, "fov": NaN}]', 'fov'), ('[{"time": 0, "distance": 2}]', 'distance'),
    ('[{"time": 0}, {"time": 0}]', 'increase'), ('[{"time": 0, "jaw": 3}]', "'jaw'")])
def test_files_of_keyframes_that_cannot_be_used_are_named(tmp_path, text, said):
    (file := tmp_path/'path.json').write_text(text)
    with pytest.raises(InputError) as refused: looking.camera_path(file, 3, 3.)
    assert str(refused.value).startswith(f'{file}: ') and said in str(refused.value) and '\n' not in str(refused.value)


def test_a_repeated_keyframe_stands_still_and_does_not_overshoot():
    keys = [dict(time=0), dict(time=1, yaw=80), dict(time=2), dict(time=3, yaw=10)]
    path = looking.keyframe_path(keys, torch.linspace(0, 4, 81).double())
    held = rotation_angle(path.rotation[20].T @ path.rotation[20:41])
    assert held.max() < 1e-6  # what a keyframe does not say stays as it was
    # and it comes to rest there without a jerk
    assert rotation_angle(path.rotation[19].T @ path.rotation[20]) < math.radians(1)
    assert_close(path.rotation[60:], path.rotation[60:61].expand(21, 3, 3))  # after the last one too


# --- Light ---------------------------------------------------------------------------------------------------------

def test_turning_the_light_turns_the_irradiance():
    light = torch.rand(3, 48, 96, generator=make_generator(3)).pow(4)
    light = torch.nn.functional.avg_pool2d(light, 7, 1, 3)
    turn, normals = rotation_from_euler(.7, -.4, .3), torch.eye(3).double()
    turned = lighting.harmonics(normals @ turn.T) @ lighting.irradiance_coefficients(rotate_panorama(light, turn))
    assert_close(turned, lighting.harmonics(normals) @ lighting.irradiance_coefficients(light), rtol=.01, atol=0)


def test_gloss_becomes_a_mirror_when_the_lobe_is_narrow_and_matt_light_when_it_is_wide():
    panorama = torch.rand(3, 32, 64, generator=make_generator(1))
    narrow, wide = lighting.surroundings(panorama, exponent=20000.), lighting.surroundings(panorama, exponent=1.)
    assert_close(narrow.blurred[:, 6:26], narrow.light[:, 6:26], atol=1e-3,
                 rtol=0)  # near the poles pixels are narrower than any lobe
    E = (lighting.harmonics(panorama_rays(32, 64)) @ wide.coefficients).movedim(-1, 0).float()
    assert_close(wide.blurred, E/math.pi, rtol=.05, atol=0)


def test_a_ball_covers_its_disc_and_leaves_the_rest():
    frame = torch.full((3, 60, 80), 100, dtype=torch.uint8)
    camera = CameraTrack(rotation_from_euler(1., .3, .2)[None], 1.2, fov_y=.95,
                         principal_point=torch.tensor([.55, .45]), fps=5.)
    balls = [lighting.Ball('matt', camera.world_from_camera[0] @ torch.tensor([0., 0., 4.]).double(), .5)]
    out = lighting.add_balls(frame, camera, balls, lighting.surroundings(torch.ones(3, 16, 32)))
    assert out.dtype == torch.uint8
    changed = (out != frame).any(0)
    rows, columns = changed.nonzero().T
    assert abs(rows.float().mean() + .5 - 27) < .6 and abs(columns.float().mean()
                                                           + .5 - 44) < .6  # around the principal point
    radius = math.tan(math.asin(.5/4))
    assert abs(columns.unique().numel() - 2*radius*40/math.tan(.6)) < 2
    assert abs(rows.unique().numel() - 2*radius*30/math.tan(.475)) < 2


def test_balls_behind_the_camera_are_not_seen():
    frame, camera = torch.rand(3, 20, 30, generator=make_generator(0)), CameraTrack.static(1, 1., fps=5.)
    out = lighting.add_balls(frame, camera, [lighting.Ball('mirror', torch.tensor([0., 0., -3.]).double(), 1.)],
                             lighting.surroundings(torch.ones(3, 16, 32)))
    assert_close(out, frame, atol=1e-5, rtol=0)


def test_no_part_of_an_environment_map_is_left_behind(tmp_path, monkeypatch):
    OpenEXR = pytest.importorskip('OpenEXR')
    def full(*_): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(OpenEXR, 'File', full)
    with pytest.raises(OSError): lighting.write_light(tmp_path/'a.exr', torch.ones(3, 4, 8))
    assert not [*tmp_path.iterdir()]


# --- Ask -----------------------------------------------------------------------------------------------------------

class Server(http.server.BaseHTTPRequestHandler):
    "Stands in for a model: answers how bright a picture is, or with whatever it was told to."
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.seen.append((self.path, dict(self.headers), json.loads(body)))
        status, headers, text = self.server.answer
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name, value)
        self.send_header('Content-Length', str(len(text))); self.end_headers(); self.wfile.write(text)
    def log_message(self, *_): pass


def said(text: str) -> bytes: return json.dumps(dict(choices=[dict(message=dict(content=text))])).encode()


@pytest.fixture
def server(monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'): monkeypatch.delenv(name, raising=False)
    here = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    here.seen, here.answer = [], (200, {}, said('A wall.\ncertainty: 70'))
    thread = threading.Thread(target=here.serve_forever, args=(.01,)); thread.start()
    here.url = f'http://127.0.0.1:{here.server_address[1]}/v1'
    yield here
    here.shutdown(); here.server_close(); thread.join()


PICTURES = [Image.new('RGB', (16, 16), colour) for colour in ('red', 'blue')]


def test_an_endpoint_gets_pictures_and_question_after_it_was_said(server):
    told = []
    def announce(text): told.append((text, len(server.seen)))
    replies = questions.Endpoint(server.url, 'eye', key='hidden', announce=announce)(PICTURES, 'What is it?')
    assert replies == [questions.Reply('A wall.', .7)]*2
    (text, sent_before), = told
    assert sent_before == 0 and '2 pictures' in text and server.url.split('/')[2] in text and 'hidden' not in text
    for path, headers, body in server.seen:
        assert path == '/v1/chat/completions' and headers['Authorization'] == 'Bearer hidden' and body['model'] == 'eye'
        words, picture = body['messages'][0]['content']
        assert 'What is it?' in words['text'] and picture['image_url']['url'].startswith('data:image/jpeg;base64,')
    answer = questions.Endpoint(server.url, 'eye', announce=announce)(PICTURES[:1], 'And now?')
    assert 'Authorization' not in answer and 'Authorization' not in server.seen[-1][1]


@pytest.mark.parametrize('answer, said_then', [
    ((500, {}, b'oops'), 'answered 500'), ((401, {}, b''), 'answered 401'),
    ((200, {}, b'<html>'), 'no chat completion'), ((200, {}, b'{"choices": []}'), 'no chat completion'),
    ((302, {'Location': 'http://elsewhere.invalid/'}, b''), 'answered 302'),
    ((307, {'Location': 'http://elsewhere.invalid/'}, b''), 'answered 307')])
def test_what_goes_wrong_at_an_endpoint_is_one_line(server, answer, said_then):
    server.answer = answer
    with pytest.raises(InputError) as refused:
        questions.Endpoint(server.url, 'eye', announce=lambda text: None)(PICTURES, 'What?')
    assert said_then in str(refused.value) and '\n' not in str(refused.value) and len(server.seen) == 1


def test_nobody_at_home(server):
    server.shutdown(); server.server_close()
    with pytest.raises(InputError, match='cannot be reached'):
        questions.Endpoint(server.url, 'eye', announce=lambda text: None, timeout=5)(PICTURES, 'What?')


def test_a_local_model_is_loaded_once_without_the_network_and_asked_in_its_own_way(tmp_path, monkeypatch):
    loaded, asked = [], []
    class Auto:
        @staticmethod
        def from_pretrained(name, **options): loaded.append((name, options)); return 'part'
    def pipeline(task, **parts):
        assert task == 'image-text-to-text' and parts == dict(model='part', processor='part')
        def run(text, max_new_tokens, return_full_text):
            asked.append(text[0]['content']); return [dict(generated_text='Two chairs.\ncertainty: 90')]
        return run
    stand_in = SimpleNamespace(AutoModelForImageTextToText=Auto, AutoProcessor=Auto, pipeline=pipeline)
    monkeypatch.setitem(sys.modules, 'transformers', stand_in)
    model = questions.LocalModel(tmp_path)
    assert not loaded
    assert model(PICTURES, 'How many chairs?') + model(PICTURES[:1], 'Again?') == [questions.Reply('Two chairs.', .9)]*3
    assert loaded == [(str(tmp_path), dict(local_files_only=True))]*2
    assert asked[1][0] == dict(type='image', image=PICTURES[1]) and 'How many chairs?' in asked[1][1]['text']


@pytest.fixture(scope='module')
def vision_language_model(tmp_path_factory):
    """A real model folder of transformers, a LLaVA with random weights and a tokenizer of single bytes: it says nothing
    sensible, but says it in the way that all of them do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                              LlavaForConditionalGeneration,
                              LlavaProcessor, PreTrainedTokenizerFast)
    folder = tmp_path_factory.mktemp('llava')
    words = {word: n for n, word in enumerate(['<pad>', '<s>', '</s>', '<image>']
                                              + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token='<pad>', bos_token='<s>', eos_token='</s>',
                                        additional_special_tokens=['<image>'])
    template = ("{% for m in messages %}{% for part in m['content'] %}"
                "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %}")
    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                              image_size=28, patch_size=14)
    text = LlamaConfig(vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                       num_attention_heads=2, num_key_value_heads=2)
    LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text,
                                              image_token_id=words['<image>'])).save_pretrained(folder)
    LlavaProcessor(CLIPImageProcessor(size=dict(shortest_edge=28), crop_size=dict(height=28, width=28)), tokenizer,
                   patch_size=14,
                   vision_feature_select_strategy='default', num_additional_image_tokens=1, image_token='<image>',
                   chat_template=template).save_pretrained(folder)
    return folder


def test_a_real_model_folder_answers_about_every_view(vision_language_model):
    model = questions.LocalModel(vision_language_model, device='cpu', max_new_tokens=4)
    found = questions.ask(torch.rand(3, 32, 64), 'Where is the door?', model, size=28, around=4, pitches=(0.,))
    assert len(found.replies) == 6 and all(isinstance(reply.text, str) and 0 <= reply.score <= 1
                                           for _, reply in found.replies)


def test_a_folder_that_is_no_such_model_is_refused_in_one_line(tmp_path):
    (tmp_path/'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match='cannot be loaded as an image-text-to-text model') as refused:
        questions.LocalModel(tmp_path)(PICTURES, 'What?')
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize('yaw, pitch', [(0, 0), (180, 0), (-90, 45), (45, -45), (0, 90), (0, -90)])
def test_the_answer_points_at_what_was_asked_for(yaw, pitch):
    towards = rotation_from_euler(math.radians(yaw), math.radians(pitch), 0.)[:, 2]
    panorama = (panorama_rays(64, 128) @ towards > math.cos(.1)).float().expand(3, -1, -1)
    brightest = lambda pictures, question: [questions.Reply('here', float(np.asarray(p)[12:20, 12:20].mean())/255)
                                            for p in pictures]
    found = questions.ask(panorama, 'Where is the lamp?', brightest, size=32)
    assert (found.view.yaw, found.view.pitch) == (yaw, pitch) and len(found.replies) == 26 and 'here' in str(found)
