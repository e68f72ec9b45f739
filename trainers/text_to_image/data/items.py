"""Data of the text-to-image GAN: captions with their images, split into parts, and put together as batches.

Shape suffixes: N items, B items of a batch, C channels, H rows and W columns of an image, E numbers of an embedded
text.
"""

import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainers.common.reading import some_of
from trainers.contract import BadInput, printable
from trainers.pytorch.loading import EpochSampler, make_loader
from trainers.pytorch.ranks import Ranks
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.coco import (
    check_few_bad,
    check_images,
    find_captions,
    find_images,
    find_vectors,
    read_captions,
)
from trainers.text_to_image.data.images import IMAGE_ERRORS, decode_image, reason_of
from trainers.text_to_image.data.synthetic import offline_data
from trainers.text_to_image.data.text_encoder import TextEncoder, read_vectors, words_of

__all__ = [
    "Batch",
    "CaptionData",
    "Item",
    "PairItems",
    "TrainSampler",
    "find_data",
    "join_items",
    "load_data",
    "split_images",
    "without_single",
]

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]

_SHOWN = 40  # characters of a caption in a message


class Batch(NamedTuple):
    """Items of one step. A named tuple, because loaders know how to pass those between processes and pin them.

    Attributes:
        images_BCHW: float32, from -1 to 1.
        texts_BE: embedded captions, float32.
        wrong_B: for every item the place in the batch of one with another image: the first that follows, cyclically.
            Where the batch has a single image, the next place.
        wrong_is_permutation: whether no place comes twice in `wrong_B`, so that all do. Two images prevent it of which
            one comes twice in a row, the last item being followed by the first.
        items_B: numbers of the items; -1 where no image could be decoded at all.
        damaged: images found damaged while the batch was made, each as `path: reason`.

    """

    images_BCHW: Tensor
    texts_BE: Tensor
    wrong_B: Tensor
    wrong_is_permutation: bool
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

    def loader(  # noqa: PLR0913 - what a loader consists of
        self,
        part: str,
        *,
        batch_size: int,
        image_size: int,
        num_workers: int = 0,
        persistent_workers: bool = False,
        ranks: Ranks | None = None,
    ) -> DataLoader[Batch]:
        """Return a loader of the `train` items, reshuffled every epoch, or of the `val` items in their order.

        BatchNorm has no variance of one value. So where a last training batch would have a single item, that item
        sits out the epoch; another order leaves out another one.

        Args:
            part: `train` or `val`.
            batch_size: items a batch.
            image_size: pixels on each side.
            num_workers: processes that decode images; with none the training process does.
            persistent_workers: whether they outlive the epoch.
            ranks: who shares the batches of `train`, each taking its part.

        """
        dataset = PairItems(self, self.parts[part], image_size)
        return make_loader(
            dataset,
            batch_size,
            sampler=TrainSampler(dataset, batch_size) if part == "train" else None,
            num_workers=num_workers,
            persistent_workers=persistent_workers,
            collate=join_items,
            ranks=ranks,
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
            check_few_bad(sorted(self.bad), self.num_images, self.folder)
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
                damaged[image] = printable(f"{data.path_of(image)}: {reason_of(error)}")
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


def images_of_others(images_B: Sequence[int], places: range) -> list[int]:
    """Return for some places of a batch which place has another image, see `Batch.wrong_B`."""
    return [_place_of_another(images_B, place) for place in places]


def is_permutation(places_B: Sequence[int]) -> bool:
    """Whether no place of a batch comes twice among as many as it has items."""
    return len(set(places_B)) == len(places_B)


def join_items(items: Sequence[Item]) -> Batch:
    """Make a batch of items."""
    images_B = [item.image for item in items]
    wrong_B = images_of_others(images_B, range(len(items)))
    return Batch(
        images_BCHW=torch.stack([item.image_CHW for item in items]),
        texts_BE=torch.stack([item.text_E for item in items]),
        wrong_B=torch.tensor(wrong_B),
        wrong_is_permutation=is_permutation(wrong_B),
        items_B=torch.tensor([item.item for item in items]),
        damaged=tuple(dict.fromkeys(entry for item in items for entry in item.damaged)),
    )


def split_images(num_images: int, config: TextToImageConfig) -> tuple[Rows, Rows]:
    """Shuffle the image numbers by the configuration's split seed and cut off the validation part.

    It is the images that are split: captions of one image in both parts would let a network know the answers.

    Returns:
        Numbers for training and for validation, at least one each.

    """
    num_val = max(1, int(num_images * config.val_split))  # val_split is below 1, so some are left to train on
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(config.split_seed)).numpy()
    return order[num_val:], order[:num_val]


def find_data(config: TextToImageConfig, data: str | Path | None) -> CaptionData:
    """Load the given captions with their images, or the offline data of the configuration.

    Raises:
        BadInput: see `load_data` and `offline_data`.

    """
    return load_data(offline_data(config) if data is None else Path(data), config)


def load_data(path: Path, config: TextToImageConfig) -> CaptionData:
    """Read captions and word vectors, look at every image file's header, and split.

    Warnings say what is left out: images that are missing, no images or without a caption, and captions that belong to
    no image. An image file that several ids name is one image. No image is decoded here, so damage inside a file is
    found in training, see `CaptionData.note_damaged`.

    Args:
        path: a folder with a `captions_*.json`, in itself or in `annotations`, or such a file. For `captions_X.json`
            the images are in the first that exists of the folders `X`, `images` and the one given; the word vectors are
            in `word_vectors.txt` or a GloVe file there. For a file its folder counts, then that one's parent.
        config: says how long a word vector and an embedded text is, and how to split.

    Raises:
        BadInput: something is missing, damaged or malformed, more than 1% of the images are, or too little is left.

    """
    captions_path, folders = find_captions(path)
    folder = find_images(captions_path, folders)
    vectors_path = find_vectors(folders, config.word_vector_size)
    names, pairs = read_captions(captions_path)

    images = check_images(folder, names, {image_id for image_id, _ in pairs})
    pairs = [(images.numbers[image_id], caption) for image_id, caption in pairs if image_id in images.numbers]
    if len(images.file_names) < 2:
        what = f"captions of {len(images.file_names)} image(s) are left"
        raise BadInput(what, str(captions_path), "give captions of at least 2 images, one to compare with the other")
    captions = [caption for _, caption in pairs]
    encoder = read_vectors(vectors_path, {word for text in captions for word in words_of(text)}, config)
    unknown = [repr(caption[:_SHOWN]) for caption in captions if not encoder.knows(caption)]
    if unknown:
        message = "%s: %d of %d captions have no word with a vector; their mean vector is zero: %s"
        logger.warning(message, captions_path, len(unknown), len(captions), some_of(unknown))

    image_of_N = np.array([image for image, _ in pairs], np.int64)
    train, val = (np.flatnonzero(np.isin(image_of_N, part)) for part in split_images(len(images.file_names), config))
    if len(train) < 2:
        what = f"only {len(train)} caption is left to train on"
        raise BadInput(what, str(captions_path), "give more captions or a smaller val_split")
    return CaptionData(
        folder=folder,
        file_names=images.file_names,
        file_sizes=images.sizes,
        captions_N=captions,
        image_of_N=image_of_N,
        parts={"train": train, "val": val},
        encoder=encoder,
        num_images=images.num_images,
        bad=set(images.bad),
    )


def _place_of_another(images_B: Sequence[int], place: int) -> int:
    """First place after `place`, cyclically, with another image; the next one if there is none."""
    num_places = len(images_B)
    following = ((place + step) % num_places for step in range(1, num_places))
    return next((other for other in following if images_B[other] != images_B[place]), (place + 1) % num_places)
