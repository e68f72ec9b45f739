"""Images of the text-to-image GAN: files of many formats and modes, decoded, as RGB and resized.

Shape suffixes: C channels, H rows and W columns of an image.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

__all__ = ["IMAGE_ERRORS", "decode_image", "decode_pixels", "mode_of", "reason_of"]

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What images are read; Pillow knows others, among them some that start a program."""

IMAGE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for damaged images; which of them depends on the format and on where the damage is."""


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


def mode_of(path: Path) -> str:
    """Say how an image file keeps its pixels, such as `RGB` or `L`: what its header says, without decoding it."""
    with Image.open(path, formats=_FORMATS) as image:
        return image.mode


def reason_of(error: BaseException) -> str:
    """Say in a few words what an image suffers from that one of `IMAGE_ERRORS` was raised for."""
    if isinstance(error, UnidentifiedImageError):
        return "no image in a known format"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits, on which Pillow's own conversion clips everything above 255.
        return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns of several transparent colours
    return image.convert("RGB")
