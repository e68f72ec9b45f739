"""A folder in COCO's format: which files belong together, what the captions file says, which images are whole."""

import errno
import json
import logging
import os
import reprlib
import stat
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from trainers.common.reading import LeftOut, is_too_much, read_json, some_of
from trainers.contract import BadInput, printable
from trainers.text_to_image.data.images import IMAGE_ERRORS, header_of, reason_of

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
            what = f"several files of word vectors: {some_of([each.name for each in found])}"
            raise BadInput(what, str(folder), f"call the one to be used {_VECTORS_NAME}")
    what = f"no word vectors, neither {_VECTORS_NAME} nor a *.{size}d.txt"
    raise BadInput(what, str(folders[0]), f"put GloVe's vectors of {size} numbers there, as text")


def read_captions(path: Path) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """Read names of image files by image id, and pairs of image id and caption.

    Pairs without an image are left out, and so are images without a caption; a warning says which.

    Raises:
        BadInput: it cannot be read, is no captions file, or more than 1% of its annotations belong to no image.

    """
    try:
        content = read_json(path)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadInput(what, str(path), "check its name and permissions") from error
    except ValueError as error:
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
    return names, _usable_pairs(names, pairs, path)


def _usable_pairs(names: Mapping[int, str], pairs: Sequence[tuple[int, str]], path: Path) -> list[tuple[int, str]]:
    """Choose the pairs of which the image is listed, and warn of the pairs and images that are left out."""
    usable = [(image_id, caption) for image_id, caption in pairs if image_id in names]
    if not usable:
        what = f"none of its {len(pairs)} annotations belongs to one of its {len(names)} images"
        raise BadInput(what, str(path), "give a captions file in COCO's format")
    left_out = LeftOut("annotations")
    for number, (image_id, _) in enumerate(pairs):
        if image_id not in names:
            left_out.add(f"annotations[{number}] of image {image_id}", "belong to no image")
    if is_too_much(len(left_out), len(pairs)):
        what = f"{left_out.out_of(len(pairs))}, which is more than 1%"
        raise BadInput(what, str(path), "list their images too, or take these annotations out")
    if left_out:
        logger.warning("%s: %s", path, left_out.out_of(len(pairs)))
    wanted = {image_id for image_id, _ in usable}
    without = [printable(name) for image_id, name in names.items() if image_id not in wanted]
    if without:
        message = "%s: %d of %d images are left out, they have no caption: %s"
        logger.warning(message, path, len(without), len(names), some_of(without))
    return usable


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The images that have a caption, by whether they can be used.

    Attributes:
        numbers: the number of each image whose header is good, by its id. Ids that name one file have one number.
        file_names: the names of their files, by number.
        sizes: the sizes of their files in bytes, by number.
        bad: the path of each bad image and what is wrong with it.

    """

    numbers: dict[int, int]
    file_names: list[str]
    sizes: list[int]
    bad: list[str]

    @property
    def num_images(self) -> int:
        """Count the images that were checked."""
        return len(self.file_names) + len(self.bad)


def check_images(folder: Path, names: Mapping[int, str], wanted: set[int]) -> ImageCheck:
    """Check the header of every image that has a caption.

    Raises:
        BadInput: more than 1% of the images are bad.

    """
    check = ImageCheck({}, [], [], [])
    bad: dict[str, str] = {}
    modes: Counter[str] = Counter()
    known: dict[tuple[int, int] | str, int] = {}
    num_with_frames = 0
    with warnings.catch_warnings():
        # What Pillow merely suspects of being a decompression bomb is not used either.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for image_id, name in names.items():
            if image_id not in wanted or name in bad:
                continue
            try:
                found, status = _find_image(folder, name)
                # One file has one number, whatever its names: its captions all go to one side of the split.
                number = known.get(file := (status.st_dev, status.st_ino) if status.st_ino else found)
                if number is None:
                    mode, num_frames = header_of(folder / found)
                    number = known[file] = len(known)
                    modes[mode] += 1
                    num_with_frames += num_frames > 1
                    check.file_names.append(found)
                    check.sizes.append(status.st_size)
                check.numbers[image_id] = number
            except IMAGE_ERRORS as error:
                bad[name] = printable(f"{folder / name}: {reason_of(error)}")
    check.bad.extend(bad.values())
    check_few_bad(check.bad, check.num_images, folder)
    if bad:
        logger.warning("%s: %d of %d images are left out: %s", folder, len(bad), check.num_images, some_of(check.bad))
    del modes["RGB"]
    if modes:
        kinds = ", ".join(f"{mode} {count}" for mode, count in modes.most_common())
        logger.info("%s: %d images are not RGB and are converted: %s", folder, modes.total(), kinds)
    if num_with_frames:
        logger.info("%s: %d images have several frames, of which the first is used", folder, num_with_frames)
    if num_again := len(check.numbers) - len(check.file_names):
        logger.info("%s: %d image ids name the file of another id and count as that image", folder, num_again)
    return check


def _find_image(folder: Path, name: str) -> tuple[str, os.stat_result]:
    """Find an image file by its name in either of Unicode's composed and decomposed forms; an error says what is wrong.

    Returns:
        The name that the file has, and its status.

    """
    spellings = [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    for spelling in dict.fromkeys(spellings):
        try:
            status = (folder / spelling).stat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):  # of a pipe, opening waits for somebody to write into it
            raise OSError("a folder or another thing that is no file")
        if not status.st_size:
            raise OSError("empty")
        return spelling, status
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def check_few_bad(bad: Sequence[str], num_images: int, folder: Path) -> None:
    """Refuse images of which too many are bad.

    Args:
        bad: those that are, each as `path: reason`.
        num_images: how many there should be.
        folder: they are in.

    Raises:
        BadInput: more than 1% are bad.

    """
    if is_too_much(len(bad), num_images):
        what = f"{len(bad)} of {num_images} images are missing or damaged, the first: {bad[0]}"
        raise BadInput(what, str(folder), "copy or download them again, or take them and their captions out")


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
        raise BadInput(f"{key} is {_shown(value)}", where, f"make it {names[kind]}")
    return value


def _shown(value: object) -> str:
    """Show a value as JSON does, cut short and whatever its depth."""
    if isinstance(value, dict | list):
        return reprlib.repr(value)[:40]
    return json.dumps(value)[:40]
