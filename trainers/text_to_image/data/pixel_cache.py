"""Images decoded and resized once, kept as bytes in a memory-mapped file.

A file is a mark (8 bytes), the length of a header (8 bytes, little endian), the header, the pixels and the SHA-256 of
all before it. The header is JSON: which files the pixels are of, how they were made, and which could not be decoded.

Shape suffixes: M images, H and W rows and columns of pixels, C channels.
"""

import hashlib
import json
import struct
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.common.cache_dir import get_or_create
from trainers.text_to_image.data.images import IMAGE_ERRORS, decode_pixels, reason_of
from trainers.text_to_image.data.items import CaptionData, PairItems

__all__ = ["CachedItems", "PixelCache", "open_cache"]

_MARK = b"pixels01"
_TRANSFORM = "RGB, bilinear, upright"  # what decode_pixels does; to be changed together with it
_LENGTH = struct.Struct("<Q")
_DIGEST_SIZE = hashlib.sha256().digest_size
_CHUNK = 2**24


@dataclass(frozen=True, eq=False)
class PixelCache:
    """Pixels of all images of a data set.

    Attributes:
        pixels_MHWC: by the image's number, read-only; zeros for a damaged one.
        damaged: why images could not be decoded, by number.

    """

    pixels_MHWC: NDArray[np.uint8]
    damaged: Mapping[int, str]


class CachedItems(PairItems):
    """Some captions with their images, as bytes (3, H, W) out of a cache; damaged images are replaced as ever.

    Args:
        data: that they are of.
        part: `train` or `val`.
        cache: of that data.

    """

    def __init__(self, data: CaptionData, part: str, cache: PixelCache) -> None:
        super().__init__(data, data.parts[part], cache.pixels_MHWC.shape[1])
        self._cache = cache

    def _read(self, image: int) -> Tensor:
        if image in self._cache.damaged:
            raise OSError(self._cache.damaged[image])
        return torch.from_numpy(self._cache.pixels_MHWC[image].copy()).permute(2, 0, 1)


def open_cache(data: CaptionData, size: int) -> PixelCache:
    """Find the cache of a data set, or make it.

    It lies where `offline.kept` keeps things. It is made again when a file's name, length or time of change, the
    image size, or Pillow is another; when it is damaged; and when an image that could not be decoded now can be. Two
    processes may make it at the same time: each writes a file of its own, and the later one stays.

    Args:
        data: captions with their images.
        size: pixels on each side.

    Raises:
        BadInput: there is no place to keep it.

    """
    identity = _identity(data, size)
    opened: list[PixelCache] = []

    def is_good(path: Path) -> bool:
        opened[:] = [cache for cache in (_read(path, identity, data),) if cache is not None]
        return bool(opened)

    def write(path: Path) -> None:
        _write(path, identity, data)
        if not is_good(path):
            raise OSError("what was written cannot be read back")

    # Without the files' times, so that a cache of what they were is replaced and not left behind.
    place = json.dumps([str(data.folder.resolve()), list(data.file_names), size])
    get_or_create(
        "text_to_image", f"pixels-{hashlib.sha256(place.encode()).hexdigest()[:24]}.bin", write, is_good=is_good
    )
    return opened[0]


def _identity(data: CaptionData, size: int) -> dict[str, Any]:
    """Everything that the pixels depend on."""
    files: list[list[Any]] = []
    for image, name in enumerate(data.file_names):
        files.append([name, None, None])
        with suppress(OSError):  # decoding it will say what is wrong
            status = data.path_of(image).stat()
            files[-1] = [name, status.st_size, status.st_mtime_ns]
    transform = [_TRANSFORM, size, PIL.__version__]
    return {"folder": str(data.folder.resolve()), "files": files, "transform": transform}


def _write(path: Path, identity: Mapping[str, Any], data: CaptionData) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = identity["transform"][1]
    damaged: dict[int, str] = {}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        pixels, temporary = Path(folder) / "pixels", Path(folder) / path.name
        with pixels.open("wb") as file:
            for image in range(len(data.file_names)):
                try:
                    decoded_HWC = decode_pixels(data.path_of(image), size)
                except IMAGE_ERRORS as error:
                    damaged[image] = reason_of(error)
                    decoded_HWC = np.zeros((size, size, 3), np.uint8)
                file.write(decoded_HWC.tobytes())
        header = json.dumps({**identity, "damaged": damaged}).encode()
        digest = hashlib.sha256()
        with temporary.open("wb") as whole, pixels.open("rb") as file:
            for part in (_MARK, _LENGTH.pack(len(header)), header, *iter(partial(file.read, _CHUNK), b"")):
                digest.update(part)
                whole.write(part)
            whole.write(digest.digest())
        temporary.replace(path)


def _read(path: Path, identity: Mapping[str, Any], data: CaptionData) -> PixelCache | None:
    """Open a cache file if it is whole, of these images, and all images it marks damaged still are."""
    try:
        content = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):  # none, not readable, or empty
        return None
    start = len(_MARK) + _LENGTH.size
    try:
        (length,) = _LENGTH.unpack(content[len(_MARK) : start].tobytes())
        header = json.loads(content[start : start + length].tobytes())
        damaged = {int(image): reason for image, reason in header.pop("damaged").items()}
    except (struct.error, ValueError, LookupError, TypeError, AttributeError):
        return None
    if header != identity or content[: len(_MARK)].tobytes() != _MARK:
        return None
    num_images, size = len(data.file_names), identity["transform"][1]
    end = start + length + num_images * size * size * 3
    if len(content) != end + _DIGEST_SIZE or hashlib.sha256(content[:end].data).digest() != content[end:].tobytes():
        return None
    # A disk or network may have failed for a moment, of which the file's length and time know nothing.
    if any(_can_be_decoded(data.path_of(image), size) for image in damaged):
        return None
    return PixelCache(content[start + length : end].reshape(num_images, size, size, 3), damaged)


def _can_be_decoded(path: Path, size: int) -> bool:
    try:
        decode_pixels(path, size)
    except IMAGE_ERRORS:
        return False
    return True
