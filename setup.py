"Build and install argus_nb. Everything worth changing stands in settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
settings = ConfigParser(delimiters=['='], interpolation=None)
settings.read(root/'settings.ini', encoding='utf-8')
settings = settings['DEFAULT']
maturity = {'1': 'Planning', '2': 'Pre-Alpha', '3': 'Alpha', '4': 'Beta', '5': 'Production/Stable'}
readme = root/'README.md'

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    author=settings['author'],
    author_email=settings['author_email'],
    url=settings['git_url'],
    license=settings['license'],
    keywords=settings['keywords'],
    python_requires='>=' + settings['min_python'],
    classifiers=[
        f"Development Status :: {settings['status']} - {maturity[settings['status']]}",
        f"Intended Audience :: {settings['audience']}",
        f"Natural Language :: {settings['language']}",
        'Programming Language :: Python :: 3',
        'Topic :: Multimedia :: Video',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    packages=find_packages(include=[settings['lib_name'], settings['lib_name'] + '.*']),
    package_data={settings['lib_name']: ['panoramas/*', 'nano/**/*', 'nano/*', 'static/*', 'calibration.safetensors',
                                         'py.typed']},
    install_requires=settings['requirements'].split(),
    extras_require={name: settings[f'{name}_requirements'].split() for name in ('studio', 'curate', 'upscale')} | {
        'dev': [one for name in ('dev', 'studio', 'curate', 'upscale')
                for one in settings[f'{name}_requirements'].split()]},
    entry_points={'console_scripts': settings['console_scripts'].split()},
    zip_safe=False,
)
