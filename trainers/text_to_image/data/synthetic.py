"""The family's offline data: pictures of one coloured shape on textured ground, with captions, in COCO's format.

They are JPEGs of a photograph's size and weight, so that decoding and resizing one costs what it costs in life.
"""

import itertools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from trainers.common.cache_dir import get_or_create
from trainers.contract import BadInput
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.text_encoder import words_of

__all__ = ["Scene", "draw_scene", "make_data", "offline_data"]

_GENERATOR_VERSION = 2  # part of the cached folder's name: raise it whenever make_data's output changes

_COLOURS = {
    "red": (220, 40, 40),
    "green": (30, 170, 60),
    "blue": (40, 70, 225),
    "yellow": (240, 215, 40),
    "purple": (150, 50, 190),
    "cyan": (40, 205, 215),
}
_RADII = {"small": 0.15, "medium": 0.21, "large": 0.28}
"""As fractions of the picture's shorter side."""

_PLACES = {
    "at the top left": (0.3, 0.3),
    "at the top": (0.5, 0.3),
    "at the top right": (0.7, 0.3),
    "on the left": (0.3, 0.5),
    "in the middle": (0.5, 0.5),
    "on the right": (0.7, 0.5),
    "at the bottom left": (0.3, 0.7),
    "at the bottom": (0.5, 0.7),
    "at the bottom right": (0.7, 0.7),
}
"""Where the shape's centre is, as fractions of width and height."""

_GROUNDS = {
    "sand": ((190, 170, 130), (3, 3)),
    "wood": ((125, 95, 70), (24, 3)),
    "stone": ((130, 130, 132), (8, 8)),
    "grass": ((98, 120, 80), (2, 8)),
    "water": ((85, 110, 130), (16, 4)),
    "snow": ((205, 208, 214), (10, 10)),
}
"""Colour, and pixels across and down a grain of the texture."""

_POLYGONS = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "triangle": ((0, -1), (1, 1), (-1, 1)),
    "cross": (
        (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
        (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
    ),
}  # fmt: skip
"""Corners, in radii from the centre."""

_SHAPES = ("circle", "ring", *_POLYGONS)

_TEMPLATES = (
    "a {size} {colour} {shape} {place} on {ground}",
    "A {colour} {shape} lies {place} ; it is {size} .",
    "{ground} with a {size} {colour} {shape} {place}",
    "There is a {size} {shape} {place} , and it is {colour} .",
    "one {colour} {shape} on {ground}",
    "A picture of {ground} , with something {size} and {colour} {place} .",
    "the {shape} {place} is {colour}",
    "A {size} {shape} , {colour} , seen from above on {ground} .",
)

_JPEG_QUALITY = 85
_JITTER = 0.02
"""By how much a shape is off its place at most, as a fraction of the picture's sides."""


@dataclass(frozen=True)
class Scene:
    """Describe a picture in the words of its captions."""

    colour: str
    shape: str
    size: str
    place: str
    ground: str

    @classmethod
    def drawn_from(cls, random: np.random.Generator) -> "Scene":
        """Choose one of all scenes, each as likely as any other."""
        choices = (_COLOURS, _SHAPES, _RADII, _PLACES, _GROUNDS)
        return cls(*(tuple(values)[random.integers(len(values))] for values in choices))

    def captions(self, random: np.random.Generator, num_captions: int) -> list[str]:
        """Say it in some ways, of which none comes twice before all have come once."""
        order = random.permutation(len(_TEMPLATES))
        chosen = itertools.islice(itertools.cycle(order), num_captions)
        return [_TEMPLATES[number].format(**vars(self)) for number in chosen]


def make_data(folder: Path, config: TextToImageConfig) -> None:
    """Write pictures, captions and word vectors into a new folder, which appears whole or not at all.

    Everything is a function of the configuration's sizes and `data_seed`, and a picture of its number too: more
    pictures begin with the same ones.

    Args:
        folder: gets `train/000000000001.jpg` and so on, `annotations/captions_train.json` and `word_vectors.txt`.
        config: its `num_images`, `captions_per_image`, `source_width`, `source_height`, `word_vector_size` and
            `data_seed` count.

    Raises:
        BadInput: the folder exists or cannot be written.

    """
    if folder.exists():
        raise BadInput("exists already", str(folder), "choose another place or remove it first")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
            temporary = Path(place) / folder.name
            temporary.mkdir()
            _write_pictures(temporary, config)
            _write_vectors(temporary / "word_vectors.txt", config)
            temporary.rename(folder)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise BadInput(what, str(folder), "choose a folder you may write to, with room") from error


def offline_data(config: TextToImageConfig) -> Path:
    """Find the made-up data of these sizes and this `data_seed`; the first call draws it, and it is kept.

    Raises:
        BadInput: there is no place to keep it, see `offline.kept`.

    """
    sizes = f"{config.num_images}x{config.captions_per_image}-{config.source_width}x{config.source_height}"
    name = f"v{_GENERATOR_VERSION}-{sizes}-words{config.word_vector_size}-seed{config.data_seed}"

    def write(folder: Path) -> None:
        try:
            make_data(folder, config)
        except BadInput:
            # Two processes may both find nothing; each draws the same pictures, and the first rename wins.
            if not folder.is_dir():
                raise

    return get_or_create("text_to_image", name, write)


def draw_scene(scene: Scene, random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw one picture of width x height pixels."""
    colour, grain = _GROUNDS[scene.ground]
    texture = _texture(random, width, height, grain)
    picture = _tinted(texture, colour, contrast=1.0)
    picture.paste(_tinted(texture, _COLOURS[scene.colour], contrast=0.4), mask=_outline(scene, random, width, height))
    return picture


def _write_pictures(folder: Path, config: TextToImageConfig) -> None:
    """Draw every picture, and write down what each shows."""
    (folder / "train").mkdir()
    (folder / "annotations").mkdir()
    width, height = config.source_width, config.source_height
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, config.num_images + 1):
        random = np.random.default_rng([config.data_seed, number])
        scene = Scene.drawn_from(random)
        name = f"{number:012d}.jpg"
        draw_scene(scene, random, width, height).save(folder / "train" / name, quality=_JPEG_QUALITY)
        images.append({"id": number, "file_name": name, "width": width, "height": height, "license": 1})
        for caption in scene.captions(random, config.captions_per_image):
            annotations.append({"id": len(annotations) + 1, "image_id": number, "caption": caption})
    content = {
        "info": {"description": "Pictures of one shape each, drawn by a program", "version": str(_GENERATOR_VERSION)},
        "licenses": [{"id": 1, "name": "that of the program", "url": ""}],
        "images": images,
        "annotations": annotations,
    }
    (folder / "annotations" / "captions_train.json").write_text(json.dumps(content), encoding="utf-8")


def _write_vectors(path: Path, config: TextToImageConfig) -> None:
    """Write a Gaussian vector of every word that a caption may hold."""
    blank = dict.fromkeys(Scene.__dataclass_fields__, "")
    texts = (*_COLOURS, *_SHAPES, *_RADII, *_PLACES, *_GROUNDS, *(text.format(**blank) for text in _TEMPLATES))
    words = sorted({word for text in texts for word in words_of(text)})
    # Pictures count from 1, so that 0 is left for the words.
    random = np.random.default_rng([config.data_seed, 0])
    with path.open("w", encoding="utf-8") as file:
        for word in words:
            vector_V = random.standard_normal(config.word_vector_size)
            print(word, *(f"{value:.5f}" for value in vector_V), file=file)


def _texture(random: np.random.Generator, width: int, height: int, grain: tuple[int, int]) -> Image.Image:
    """Grey noise of four scales: clouds, clusters of grains, grains and single pixels."""
    across, down = grain
    texture = _noise(random, width, height, (80, 80))
    # Weights of the noise that comes on top. Single pixels have little of it, and yet are most of a JPEG's weight.
    for cell, weight in (((4 * across, 4 * down), 0.5), (grain, 0.45), ((1, 1), 0.2)):
        texture = Image.blend(texture, _noise(random, width, height, cell), weight)
    return texture


def _noise(random: np.random.Generator, width: int, height: int, cell: tuple[int, int]) -> Image.Image:
    """Grey noise, smooth over cells of some pixels across and down."""
    values = random.integers(0, 256, (-(-height // cell[1]), -(-width // cell[0])), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def _tinted(texture: Image.Image, colour: tuple[int, int, int], contrast: float) -> Image.Image:
    """Give a grey texture a colour."""
    greys = contrast * (np.arange(256) - 127.5)
    tables = [np.clip(value + greys, 0, 255).astype(np.uint8).tolist() for value in colour]
    return Image.merge("RGB", [texture.point(table) for table in tables])


def _outline(scene: Scene, random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Where the shape is, as a mask with soft edges."""
    # Drawn twice as large and reduced, which softens the edges.
    mask = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(mask)
    x, y = np.array(_PLACES[scene.place]) + random.uniform(-_JITTER, _JITTER, 2)
    centre_x, centre_y, radius = 2 * width * x, 2 * height * y, 2 * min(width, height) * _RADII[scene.size]
    if scene.shape in _POLYGONS:
        draw.polygon([(centre_x + radius * a, centre_y + radius * b) for a, b in _POLYGONS[scene.shape]], fill=255)
    else:
        draw.circle((centre_x, centre_y), radius, fill=255)
        if scene.shape == "ring":
            draw.circle((centre_x, centre_y), 0.5 * radius, fill=0)
    return mask.reduce(2)
