"""Images of the text-to-image GAN: files of many formats and modes, decoded, as RGB and resized.

Shape suffixes: C channels, H rows and W columns of an image.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

__all__ = ["IMAGE_ERRORS", "decode_image", "decode_pixels", "header_of", "reason_of"]

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What images are read; Pillow knows others, among them some that start a program."""

IMAGE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for damaged images; which of them depends on the format and on where the damage is."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image is turned upright, by the orientation that its EXIF data gives."""


def decode_image(path: Path, size: int) -> Tensor:
    """Read an image file as `decode_pixels` does, (3, size, size) from -1 to 1."""
    pixels_HWC = decode_pixels(path, size).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)))


def decode_pixels(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image file, (size, size, 3): whatever its mode as RGB, resized bilinearly and turned upright.

    Transparency is dropped; of 16 bits the upper 8 are kept; floating-point numbers are taken as from 0 to 1.
    """
    with Image.open(path, formats=_FORMATS) as image:
        square = _to_rgb(image).resize((size, size), Image.Resampling.BILINEAR)
        turn = _turn_of(image)
        return np.asarray(square if turn is None else square.transpose(turn))


def header_of(path: Path) -> tuple[str, int]:
    """Read how an image file keeps its pixels, such as `RGB` or `L`, and its number of frames, without decoding it."""
    with Image.open(path, formats=_FORMATS) as image:
        return image.mode, getattr(image, "n_frames", 1)


def reason_of(error: BaseException) -> str:
    """Say in a few words what an image suffers from that one of `IMAGE_ERRORS` was raised for."""
    if isinstance(error, UnidentifiedImageError):
        return "no image in a known format"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn a decoded image upright; None where its EXIF data says nothing or is damaged."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*IMAGE_ERRORS, AttributeError):  # the pixels are whole
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        grey_HW = np.asarray(image)
        if not ((grey_HW >= 0) & (grey_HW <= 1)).all():
            raise ValueError("holds floating-point numbers beyond 0 to 1, of which white is not known")
        return Image.fromarray((grey_HW * 255).round().astype(np.uint8)).convert("RGB")
    if image.mode == "I" and image.format == "TIFF":
        raise ValueError("holds 32-bit or signed numbers, of which white is not known")
    if image.mode.startswith("I"):
        # 16 bits, on which Pillow's own conversion clips everything above 255.
        return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns of several transparent colours
    return image.convert("RGB")
