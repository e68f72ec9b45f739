"""Data of the text-to-image GAN: reading COCO captions, their images and word vectors; splitting and batching.

Shape suffixes: N items, M images, B items of a batch, C channels, H rows and W columns of an image, K known words,
V numbers of a word vector, E numbers of an embedded text.
"""

import hashlib
import itertools
import json
import logging
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainers.contract import BadInput
from trainers.loading import EpochSampler, make_loader
from trainers.text_to_image.config import TextToImageConfig

__all__ = [
    "IMAGE_ERRORS",
    "Batch",
    "CaptionData",
    "Item",
    "PairItems",
    "TextEncoder",
    "TrainSampler",
    "decode_image",
    "decode_pixels",
    "join_items",
    "load_data",
    "reason_of",
    "split_images",
    "without_single",
    "words_of",
]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
Rows = NDArray[np.int64]

_MOST_BAD = 0.01
"""Fraction of the images that may be missing or damaged."""

_PROJECTION_SEED = 20_000
_NAMED = 3  # how many of many a message names

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What images are read; Pillow knows others, among them some that start a program."""

IMAGE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for damaged images; which of them depends on the format and on where the damage is."""

_WORD = re.compile(r"[^\W_]+")
_VECTORS_HEADER = re.compile(r"\d+ (\d+)")
_VECTORS_NAME = "word_vectors.txt"


class Batch(NamedTuple):
    """Items of one step. A named tuple, because loaders know how to pass those between processes and pin them.

    Attributes:
        images_BCHW: float32, from -1 to 1.
        texts_BE: embedded captions, float32.
        wrong_B: for every item the place in the batch of one with another image: the first that follows, cyclically.
            Where the batch has a single image, the next place.
        items_B: numbers of the items; -1 where no image could be decoded at all.
        damaged: images found damaged while the batch was made, each as `path: reason`.

    """

    images_BCHW: Tensor
    texts_BE: Tensor
    wrong_B: Tensor
    items_B: Tensor
    damaged: tuple[str, ...]


class Item(NamedTuple):
    """One caption with its image.

    Attributes:
        image_CHW: float32, from -1 to 1.
        text_E: embedded caption, float32.
        item: its number.
        image: number of its image.
        damaged: images found damaged on the way to it, each as `path: reason`.

    """

    image_CHW: Tensor
    text_E: Tensor
    item: int
    image: int
    damaged: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Turns a caption into numbers: the mean of its known words' vectors, through one fixed random linear map.

    Attributes:
        words: those that have a vector.
        vectors_KV: one of each, float32.
        text_size: how many numbers an embedded text has.

    """

    words: tuple[str, ...]
    vectors_KV: FloatArray
    text_size: int

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where in the table each word is."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def projection(self) -> FloatArray:
        """The map (V, E): N(0, 1) over the root of V, from a seed of its own, so that every training has the same."""
        shape_VE = (self.vectors_KV.shape[1], self.text_size)
        random = np.random.default_rng(_PROJECTION_SEED)
        return random.standard_normal(shape_VE, np.float32) / np.float32(np.sqrt(shape_VE[0]))

    def knows(self, text: str) -> bool:
        """Whether any word of a text has a vector."""
        return any(word in self.rows for word in words_of(text))

    def encode(self, text: str) -> Tensor:
        """Embed a text, (E,); zeros where no word is known."""
        known = [self.rows[word] for word in words_of(text) if word in self.rows]
        if not known:
            return torch.zeros(self.text_size)
        mean_V = self.vectors_KV[known].mean(axis=0)
        # Not by a matrix product: its bits may depend on the number of threads, of which workers have fewer.
        return torch.from_numpy(np.einsum("v,ve->e", mean_V, self.projection, optimize=False))

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data, as a checkpoint holds it."""
        return {"words": list(self.words), "vectors": self.vectors_KV.copy(), "text_size": self.text_size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TextEncoder":
        """Rebuild from `to_dict`'s result."""
        return cls(tuple(values["words"]), np.array(values["vectors"], np.float32), int(values["text_size"]))


@dataclass(frozen=True, eq=False)
class CaptionData:
    """Captions with their images, ready to train on.

    Attributes:
        folder: that holds the images.
        file_names: of the images whose files look whole.
        file_sizes: their bytes.
        captions_N: one an item.
        image_of_N: number of each item's image.
        parts: numbers of the items of `train` and `val`.
        encoder: embeds captions.
        num_images: images there should be: those that look whole and those that do not.
        bad: what is known to be missing or damaged, each as `path: reason`; grows while training finds more.

    """

    folder: Path
    file_names: Sequence[str]
    file_sizes: Sequence[int]
    captions_N: Sequence[str]
    image_of_N: Rows
    parts: Mapping[str, Rows]
    encoder: TextEncoder
    num_images: int
    bad: set[str] = field(default_factory=set)

    def num_items(self, part: str) -> int:
        """Items of `train` or `val`."""
        return len(self.parts[part])

    def path_of(self, image: int) -> Path:
        """Where the file of an image lies."""
        return self.folder / self.file_names[image]

    def captions(self, items: str | Iterable[int]) -> list[str]:
        """Captions of a part or of some items."""
        numbers = self.parts[items].tolist() if isinstance(items, str) else items
        return [self.captions_N[number] for number in numbers]

    def loader(
        self, part: str, *, batch_size: int, image_size: int, num_workers: int = 0, persistent_workers: bool = False
    ) -> DataLoader[Batch]:
        """Loader of the `train` items, shuffled anew every epoch, or of the `val` items in their order.

        BatchNorm has no variance of one value. So where a last training batch would have a single item, that item
        sits out the epoch; another order leaves out another one.

        Args:
            part: `train` or `val`.
            batch_size: items a batch.
            image_size: pixels on each side.
            num_workers: processes that decode images; with none the training process does.
            persistent_workers: whether they outlive the epoch.

        """
        dataset = PairItems(self, self.parts[part], image_size)
        return make_loader(
            dataset,
            batch_size,
            sampler=TrainSampler(dataset, batch_size) if part == "train" else None,
            num_workers=num_workers,
            persistent_workers=persistent_workers,
            collate=join_items,
        )

    def note_damaged(self, batch: Batch) -> None:
        """Warn, once a file, of images found damaged while a batch was made. To be called before the batch is used.

        Raises:
            BadInput: more than 1% of all images are bad by now, or no image of the part can be decoded.

        """
        for entry in batch.damaged:
            if entry not in self.bad:
                self.bad.add(entry)
                logger.warning("%s; the next whole image takes its place", entry)
        if batch.damaged:
            _check_few_bad(sorted(self.bad), self.num_images, self.folder)
        if (batch.items_B < 0).any():
            what = f"none of the images can be decoded, for example {batch.damaged[0]}"
            raise BadInput(what, str(self.folder), "copy or download them again")

    def fingerprint(self) -> str:
        """SHA-256 of the captions used, their images' names and sizes and the word vectors; not of where they lie."""
        used = [self.file_names, self.file_sizes, self.captions_N, self.image_of_N.tolist(), self.encoder.words]
        digest = hashlib.sha256(json.dumps(used).encode())
        digest.update(self.encoder.vectors_KV.tobytes())
        return digest.hexdigest()


class PairItems(Dataset[Item]):
    """Some captions with their images, which are read, decoded in full and resized every time.

    An item whose image turns out to be damaged is replaced by the next one, cyclically, whose image is whole.

    Args:
        data: that they are of.
        items: their numbers.
        image_size: pixels on each side.

    """

    def __init__(self, data: CaptionData, items: Rows, image_size: int) -> None:
        self._data, self._items, self._image_size = data, items, image_size

    def __len__(self) -> int:
        """How many they are."""
        return len(self._items)

    def __getitem__(self, place: int) -> Item:
        """Read the item at a place, or the one that replaces it."""
        data, damaged = self._data, dict[int, str]()
        for step in range(len(self)):
            item = int(self._items[(place + step) % len(self)])
            image = int(data.image_of_N[item])
            if image in damaged:
                continue
            try:
                image_CHW = self._read(image)
            except IMAGE_ERRORS as error:
                damaged[image] = f"{data.path_of(image)}: {reason_of(error)}"
                continue
            return Item(image_CHW, data.encoder.encode(data.captions_N[item]), item, image, tuple(damaged.values()))
        # An error of ours would reach the training process as another one, so `note_damaged` raises it there.
        nothing_CHW = torch.zeros(3, self._image_size, self._image_size)
        return Item(nothing_CHW, torch.zeros(data.encoder.text_size), -1, -1, tuple(damaged.values()))

    def _read(self, image: int) -> Tensor:
        return decode_image(self._data.path_of(image), self._image_size)


class TrainSampler(EpochSampler):
    """An `EpochSampler` without a last batch of one.

    Args:
        data_source: what is drawn from.
        batch_size: items a batch.

    """

    def __init__(self, data_source: PairItems, batch_size: int) -> None:
        """Stand at the first item of epoch 0 of seed 0."""
        self._num_items, self._batch_size = len(data_source), batch_size
        super().__init__(data_source)

    def seek(self, seed: int, epoch: int, num_done: int) -> None:
        """Let the next iteration run through `epoch` of a training with `seed`, without its first `num_done` items."""
        super().seek(seed, epoch, num_done)
        # What is left is looked at, and not the epoch: it may have been begun with batches of another size.
        self._num_used = self._without_single(max(0, self._num_items - num_done))

    def __iter__(self) -> Iterator[int]:
        """Places of the epoch's items, from where `seek` put it."""
        return itertools.islice(super().__iter__(), self._num_used)

    def __len__(self) -> int:
        """Items of a whole epoch."""
        return self._without_single(self._num_items)

    def _without_single(self, num_items: int) -> int:
        return without_single(num_items, self._batch_size)


def without_single(num_items: int, batch_size: int) -> int:
    """Count the items without a last batch of one, which BatchNorm, having no variance of one value, cannot take."""
    return num_items - (num_items % batch_size == 1)


def join_items(items: Sequence[Item]) -> Batch:
    """Make a batch of items."""
    images_B = [item.image for item in items]
    return Batch(
        images_BCHW=torch.stack([item.image_CHW for item in items]),
        texts_BE=torch.stack([item.text_E for item in items]),
        wrong_B=torch.tensor([_place_of_another(images_B, place) for place in range(len(items))]),
        items_B=torch.tensor([item.item for item in items]),
        damaged=tuple(dict.fromkeys(entry for item in items for entry in item.damaged)),
    )


def words_of(text: str) -> list[str]:
    """Lower-case words of a text: runs of letters and digits."""
    return _WORD.findall(text.lower())


def decode_image(path: Path, size: int) -> Tensor:
    """Read an image file as `decode_pixels` does, (3, size, size) from -1 to 1."""
    pixels_HWC = decode_pixels(path, size).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)))


def decode_pixels(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image file, (size, size, 3): whatever its mode as RGB, resized bilinearly.

    Transparency is dropped; of 16 bits the upper 8 are kept.
    """
    with Image.open(path, formats=_FORMATS) as image:
        return np.asarray(_to_rgb(image).resize((size, size), Image.Resampling.BILINEAR))


def split_images(num_images: int, config: TextToImageConfig) -> tuple[Rows, Rows]:
    """Shuffle the image numbers by the configuration's split seed and cut off the validation part.

    It is the images that are split: captions of one image in both parts would let a network know the answers.

    Returns:
        Numbers for training and for validation, at least one each.

    """
    num_val = max(1, int(num_images * config.val_split))  # val_split is below 1, so some are left to train on
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(config.split_seed)).numpy()
    return order[num_val:], order[:num_val]


def load_data(path: Path, config: TextToImageConfig) -> CaptionData:
    """Read captions and word vectors, look at every image file's header, and split.

    Warnings say what is left out: images that are missing or no images, and captions that belong to no image. No image
    is decoded here, so damage inside a file is found in training, see `CaptionData.note_damaged`.

    Args:
        path: a folder with a `captions_*.json`, in itself or in `annotations`, or such a file. For `captions_X.json`
            the images are in the first that exists of the folders `X`, `images` and the one given; the word vectors are
            in `word_vectors.txt` or a GloVe file there. For a file its folder counts, then that one's parent.
        config: says how long a word vector and an embedded text is, and how to split.

    Raises:
        BadInput: something is missing, damaged or malformed, more than 1% of the images are, or too little is left.

    """
    captions_path, folders = _find_captions(path)
    folder = _find_images(captions_path, folders)
    vectors_path = _find_vectors(folders, config.word_vector_size)
    names, pairs = _read_captions(captions_path)

    numbers, sizes, num_images, bad = _look_at_images(folder, names, {image_id for image_id, _ in pairs})
    pairs = [(numbers[image_id], caption) for image_id, caption in pairs if image_id in numbers]
    if len(numbers) < 2:
        what = f"captions of {len(numbers)} image(s) are left"
        raise BadInput(what, str(captions_path), "give captions of at least 2 images, one to compare with the other")
    captions = [caption for _, caption in pairs]
    encoder = _read_vectors(vectors_path, {word for text in captions for word in words_of(text)}, config)
    num_unknown = sum(not encoder.knows(caption) for caption in captions)
    if num_unknown:
        message = "%s: %d of %d captions have no word with a vector; zeros stand for them"
        logger.warning(message, captions_path, num_unknown, len(captions))

    image_of_N = np.array([image for image, _ in pairs], np.int64)
    train, val = (np.flatnonzero(np.isin(image_of_N, part)) for part in split_images(len(numbers), config))
    if len(train) < 2:
        what = f"only {len(train)} caption is left to train on"
        raise BadInput(what, str(captions_path), "give more captions or a smaller val_split")
    return CaptionData(
        folder=folder,
        file_names=[names[image_id] for image_id in numbers],
        file_sizes=sizes,
        captions_N=captions,
        image_of_N=image_of_N,
        parts={"train": train, "val": val},
        encoder=encoder,
        num_images=num_images,
        bad=set(bad),
    )


def _place_of_another(images_B: Sequence[int], place: int) -> int:
    """First place after `place`, cyclically, with another image; the next one if there is none."""
    num_places = len(images_B)
    following = ((place + step) % num_places for step in range(1, num_places))
    return next((other for other in following if images_B[other] != images_B[place]), (place + 1) % num_places)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits, on which Pillow's own conversion clips everything above 255.
        return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns of several transparent colours
    return image.convert("RGB")


def reason_of(error: BaseException) -> str:
    """Say in a few words what an image suffers from that one of `IMAGE_ERRORS` was raised for."""
    if isinstance(error, UnidentifiedImageError):
        return "no image in a known format"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _some_of(entries: Sequence[str]) -> str:
    """Name the first of many, and say how many more they are."""
    rest = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return ", ".join(entries[:_NAMED]) + rest


def _check_few_bad(bad: Sequence[str], num_images: int, folder: Path) -> None:
    if len(bad) > _MOST_BAD * num_images:
        what = f"{len(bad)} of {num_images} images are missing or damaged, the first: {bad[0]}"
        raise BadInput(what, str(folder), "copy or download them again, or take them out of the captions file")


def _find_captions(path: Path) -> tuple[Path, list[Path]]:
    """Find the captions file, and the folders in which to look for what belongs to it."""
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


def _name_of(captions_path: Path) -> str:
    """X of `captions_X.json`."""
    return captions_path.stem.removeprefix("captions_")


def _find_images(captions_path: Path, folders: Sequence[Path]) -> Path:
    named = (folder / name for name in (_name_of(captions_path), "images") for folder in folders)
    # In COCO's own layout the folder that the images would lie in is not the captions file's, but the one around it.
    itself = folders[-1] if folders[0].name == "annotations" else folders[0]
    return next((folder for folder in named if folder.is_dir()), itself)


def _find_vectors(folders: Sequence[Path], size: int) -> Path:
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


def _read_captions(path: Path) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """Read names of image files by image id, and pairs of image id and caption."""
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


def _look_at_images(
    folder: Path, names: Mapping[int, str], wanted: set[int]
) -> tuple[dict[int, int], list[int], int, list[str]]:
    """Look at the header of every image that has a caption.

    Returns:
        Numbers of the images that look whole, by id; the sizes of their files; how many images were looked at; which
        of them are bad.

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
                with Image.open(path, formats=_FORMATS) as image:
                    modes[image.mode] += 1
            except IMAGE_ERRORS as error:
                empty = path.is_file() and not path.stat().st_size
                bad.append(f"{path}: {'empty' if empty else reason_of(error)}")
                continue
            numbers[image_id] = len(numbers)
            sizes.append(size)
    num_images = len(numbers) + len(bad)
    _check_few_bad(bad, num_images, folder)
    if bad:
        logger.warning("%s: %d of %d images are left out: %s", folder, len(bad), num_images, _some_of(bad))
    del modes["RGB"]
    if modes:
        kinds = ", ".join(f"{mode} {count}" for mode, count in modes.most_common())
        logger.info("%s: %d images are not RGB and are converted: %s", folder, modes.total(), kinds)
    return numbers, sizes, num_images, bad


def _read_vectors(path: Path, wanted: set[str], config: TextToImageConfig) -> TextEncoder:
    """Read the vectors of some words. Other words' lines are only looked at for their length: GloVe has 400,000."""
    vectors: dict[str, FloatArray] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            lines = _vector_lines(file, path, config.word_vector_size)
            for where, word, numbers in lines:
                if word in wanted and word not in vectors:
                    vectors[word] = _vector(numbers, where)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadInput(what, str(path), "check its permissions") from error
    except UnicodeDecodeError as error:
        raise BadInput("is no text", str(path), "give word vectors as text: a word and its numbers a line") from error
    if not vectors:
        what = "has no vector of any word of the captions"
        raise BadInput(what, str(path), "give vectors of the captions' language, in lower case")
    words = tuple(vectors)
    return TextEncoder(words, np.stack([vectors[word] for word in words]), config.text_size)


def _vector_lines(lines: Iterable[str], path: Path, size: int) -> Iterator[tuple[str, str, list[str]]]:
    """Take the lines of a vectors file apart: where one is, its word and its numbers."""
    mend = f"give a file of word vectors of {size} numbers, as word_vector_size says"
    empty = True
    for number, line in enumerate(lines, start=1):
        text = line.rstrip()
        header = _VECTORS_HEADER.fullmatch(text) if number == 1 and size > 1 else None
        if header and int(header[1]) != size:
            raise BadInput(f"its vectors have {header[1]} numbers, not {size}", f"{path}:1", mend)
        if header or not text:
            continue
        word, *numbers = text.rsplit(" ", size)
        # Some of GloVe's "words" have spaces in them; a number in front of the numbers is one too many.
        if len(numbers) != size or (" " in word and _is_number(word.rpartition(" ")[2])):
            raise BadInput(f"has {text.count(' ')} numbers, not {size}", f"{path}:{number}", mend)
        empty = False
        yield f"{path}:{number}", word, numbers
    if empty:
        raise BadInput("is empty", str(path), mend)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _vector(numbers: Sequence[str], where: str) -> FloatArray:
    bad = next((text for text in numbers if not _is_number(text)), None)
    if bad is not None:
        raise BadInput(f"{bad[:40]!r} is no number", where, "check that the file was copied completely")
    with np.errstate(over="ignore"):
        vector_V = np.array([float(text) for text in numbers]).astype(np.float32)
    if not np.isfinite(vector_V).all():
        raise BadInput("a number is NaN, infinite or beyond float32", where, "remove the line")
    return vector_V
