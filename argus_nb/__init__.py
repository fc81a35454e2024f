__version__ = "0.2.0"

_HOMES = {'ArgusPipeline': 'pipeline', 'generate_video': 'generate', 'CameraTrack': 'cameras', 'load_cameras': 'cameras',
          'estimate_cameras': 'tracking', 'look': 'viewer', 'look_video': 'looking', 'read_video': 'video',
          'write_video': 'video'}
__all__ = [*_HOMES]


def __getattr__(name):
    "What most people want, imported when it is asked for: `from argus_nb import ArgusPipeline`."
    if name not in _HOMES: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__(): return sorted([*globals(), *_HOMES])
