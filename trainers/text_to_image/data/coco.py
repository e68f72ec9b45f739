"""A folder in COCO's format: which files belong together, what the captions file says, which images are whole."""

import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from trainers.contract import BadInput
from trainers.text_to_image.data.images import IMAGE_ERRORS, mode_of, reason_of

__all__ = [
    "ImageCheck",
    "check_few_bad",
    "check_images",
    "find_captions",
    "find_images",
    "find_vectors",
    "read_captions",
]

logger = logging.getLogger(__name__)

_MOST_BAD = 0.01
"""Fraction of the images that may be missing or damaged."""

_NAMED = 3  # how many of many a message names
_VECTORS_NAME = "word_vectors.txt"


def find_captions(path: Path) -> tuple[Path, list[Path]]:
    """Find the captions file in a folder, or take it for one; and the folders to look in for what belongs to it.

    Raises:
        BadInput: there is none, or several.

    """
    if path.is_file():
        return path, [path.absolute().parent, path.absolute().parent.parent]
    if not path.is_dir():
        raise BadInput("no such file or folder", str(path), "give a folder in COCO's format, or run make-data")
    found = sorted(each for place in (path, path / "annotations") for each in place.glob("captions_*.json"))
    if not found:
        what = "no captions_*.json in it or its annotations folder"
        raise BadInput(what, str(path), "give a folder in COCO's format")
    if len(found) > 1:
        found = [each for each in found if (path / _name_of(each)).is_dir()] or found
    if len(found) > 1:
        names = ", ".join(str(each.relative_to(path)) for each in found)
        raise BadInput(f"several captions files: {names}", str(path), "give one of them as --data")
    return found[0], [path]


def find_images(captions_path: Path, folders: Sequence[Path]) -> Path:
    """Find the folder of the images of `captions_X.json`: `X` or `images` in one of the folders, or one of them."""
    named = (folder / name for name in (_name_of(captions_path), "images") for folder in folders)
    # In COCO's own layout the folder that the images would lie in is not the captions file's, but the one around it.
    itself = folders[-1] if folders[0].name == "annotations" else folders[0]
    return next((folder for folder in named if folder.is_dir()), itself)


def find_vectors(folders: Sequence[Path], size: int) -> Path:
    """Find the file of word vectors of `size` numbers, in the folders or around the first of them.

    Raises:
        BadInput: there is none, or several that none of is named as the one to be used.

    """
    around = dict.fromkeys([*folders, folders[0].absolute().parent])
    for folder in around:
        if (folder / _VECTORS_NAME).is_file():
            return folder / _VECTORS_NAME
    for folder in around:
        found = sorted(folder.glob(f"*.{size}d.txt")) or sorted(folder.glob("glove*.txt"))
        if len(found) == 1:
            return found[0]
        if found:
            what = f"several files of word vectors: {_some_of([each.name for each in found])}"
            raise BadInput(what, str(folder), f"call the one to be used {_VECTORS_NAME}")
    what = f"no word vectors, neither {_VECTORS_NAME} nor a *.{size}d.txt"
    raise BadInput(what, str(folders[0]), f"put GloVe's vectors of {size} numbers there, as text")


def read_captions(path: Path) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """Read names of image files by image id, and pairs of image id and caption; pairs without an image are left out.

    Raises:
        BadInput: it cannot be read, is no captions file, or no annotation in it belongs to an image.

    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadInput(what, str(path), "check its name and permissions") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON ({error})", str(path), "check that it was copied completely") from error
    if not isinstance(content, dict):
        raise BadInput("holds no JSON object", str(path), "give a captions file in COCO's format")

    names: dict[int, str] = {}
    for where, image in _entries(content, "images", path):
        image_id, name = _value(image, "id", int, where), _value(image, "file_name", str, where)
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BadInput(f"file_name {name!r} is no place in the image folder", where, "name a file in it")
        if names.setdefault(image_id, name) != name:
            raise BadInput(f"image id {image_id} stands for {names[image_id]!r} already", where, "give each its own id")
    pairs = [
        (_value(annotation, "image_id", int, where), _value(annotation, "caption", str, where))
        for where, annotation in _entries(content, "annotations", path)
    ]
    usable = [(image_id, caption) for image_id, caption in pairs if image_id in names]
    if not usable:
        what = f"none of its {len(pairs)} annotations belongs to one of its {len(names)} images"
        raise BadInput(what, str(path), "give a captions file in COCO's format")
    if len(usable) < len(pairs):
        message = "%s: %d of %d annotations are left out, they belong to no image"
        logger.warning(message, path, len(pairs) - len(usable), len(pairs))
    return names, usable


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The images that have a caption, by whether they can be used.

    Attributes:
        numbers: the number of each image whose header is good, by its id.
        sizes: the sizes of their files in bytes, by number.
        num_images: how many images were checked.
        bad: the path of each bad image and what is wrong with it.

    """

    numbers: dict[int, int]
    sizes: list[int]
    num_images: int
    bad: list[str]


def check_images(folder: Path, names: Mapping[int, str], wanted: set[int]) -> ImageCheck:
    """Check the header of every image that has a caption.

    Raises:
        BadInput: more than 1% of the images are bad.

    """
    numbers: dict[int, int] = {}
    sizes: list[int] = []
    bad: list[str] = []
    modes: Counter[str] = Counter()
    with warnings.catch_warnings():
        # What Pillow merely suspects of being a decompression bomb is not used either.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for image_id, name in names.items():
            if image_id not in wanted:
                continue
            path = folder / name
            try:
                size = path.stat().st_size
                modes[mode_of(path)] += 1
            except IMAGE_ERRORS as error:
                empty = path.is_file() and not path.stat().st_size
                bad.append(f"{path}: {'empty' if empty else reason_of(error)}")
                continue
            numbers[image_id] = len(numbers)
            sizes.append(size)
    num_images = len(numbers) + len(bad)
    check_few_bad(bad, num_images, folder)
    if bad:
        logger.warning("%s: %d of %d images are left out: %s", folder, len(bad), num_images, _some_of(bad))
    del modes["RGB"]
    if modes:
        kinds = ", ".join(f"{mode} {count}" for mode, count in modes.most_common())
        logger.info("%s: %d images are not RGB and are converted: %s", folder, modes.total(), kinds)
    return ImageCheck(numbers, sizes, num_images, bad)


def check_few_bad(bad: Sequence[str], num_images: int, folder: Path) -> None:
    """Refuse images of which too many are bad.

    Args:
        bad: those that are, each as `path: reason`.
        num_images: how many there should be.
        folder: they are in.

    Raises:
        BadInput: more than 1% are bad.

    """
    if len(bad) > _MOST_BAD * num_images:
        what = f"{len(bad)} of {num_images} images are missing or damaged, the first: {bad[0]}"
        raise BadInput(what, str(folder), "copy or download them again, or take them out of the captions file")


def _name_of(captions_path: Path) -> str:
    """X of `captions_X.json`."""
    return captions_path.stem.removeprefix("captions_")


def _entries(content: Mapping[str, Any], key: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Entries of a list in a captions file, each with its place, for messages."""
    entries = content.get(key)
    if not isinstance(entries, list):
        what = f"has no list {key!r}" if key not in content else f"{key!r} is no list"
        raise BadInput(what, str(path), "give a captions file in COCO's format")
    return ((f"{path} [{key}[{number}]]", entry) for number, entry in enumerate(entries))


def _value(entry: object, key: str, kind: type, where: str) -> Any:
    """Value of an entry, which must be of a kind."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {int: "a whole number", str: "a text"}
        raise BadInput(f"{key} is {json.dumps(value)[:40]}", where, f"make it {names[kind]}")
    return value


def _some_of(entries: Sequence[str]) -> str:
    """Name the first of many, and say how many more they are."""
    rest = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return ", ".join(entries[:_NAMED]) + rest
