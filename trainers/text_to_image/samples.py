"""Pictures of what a generator draws: one PNG, a caption a row. Shape suffixes: C channels, H and W pixels."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["Row", "draw_grid"]

_LEAST_TILE, _GAP, _MARGIN, _TEXT_WIDTH, _TOP = 96, 4, 12, 184, 32
_FONT_SIZE, _LINE_HEIGHT = 13, 16
_MOST_COLUMNS = 8
_PAPER, _INK, _FAINT = "white", "#202020", "#707070"


@dataclass(frozen=True)
class Row:
    """One caption and its pictures, each of shape (3, H, W) in [-1, 1].

    Attributes:
        caption: text at the left.
        drawn: the generator's, from left to right; those beyond the eighth go on below.
        real: picture between the two, if there is one.

    """

    caption: str
    drawn: Sequence[Tensor]
    real: Tensor | None = None


def draw_grid(rows: Sequence[Row], heading: str) -> bytes:
    """Draw all rows on one sheet, pixels enlarged by a whole number and not smoothed.

    Args:
        rows: at least one; with a real image each, or none with one.
        heading: text above the drawn pictures.

    Returns:
        The content of a PNG file, which depends on the arguments alone.

    """
    tile = _tile_size(rows[0].drawn[0].shape[-1])
    has_real = rows[0].real is not None
    left = 2 * _MARGIN + _TEXT_WIDTH
    left_drawn = left + has_real * (tile + _MARGIN)
    num_columns = min(_MOST_COLUMNS, max(len(row.drawn) for row in rows))
    num_lines = [-(-len(row.drawn) // _MOST_COLUMNS) for row in rows]
    width = left_drawn + max(num_columns * (tile + _GAP) - _GAP, _TEXT_WIDTH) + _MARGIN
    height = _TOP + sum(num_lines) * (tile + _GAP) + len(rows) * (_MARGIN - _GAP)
    sheet = Image.new("RGB", (width, height), _PAPER)
    headings = [(_MARGIN, "caption"), *([(left, "real image")] if has_real else []), (left_drawn, heading)]
    for x, text in headings:
        sheet.paste(_text(text, _FAINT, (width - x, _LINE_HEIGHT)), (x, (_TOP - _LINE_HEIGHT) // 2))
    upper = _TOP
    for row, count in zip(rows, num_lines, strict=True):
        sheet.paste(_text(row.caption, _INK, (_TEXT_WIDTH, tile)), (_MARGIN, upper))
        if row.real is not None:
            sheet.paste(_picture(row.real, tile), (left, upper))
        for number, image_CHW in enumerate(row.drawn):
            line, column = divmod(number, _MOST_COLUMNS)
            place = (left_drawn + column * (tile + _GAP), upper + line * (tile + _GAP))
            sheet.paste(_picture(image_CHW, tile), place)
        upper += count * (tile + _GAP) + _MARGIN - _GAP
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _tile_size(image_size: int) -> int:
    """Pixels of a picture on the sheet: the smallest whole multiple of its own that is large enough to be seen."""
    return image_size * -(-_LEAST_TILE // image_size)


def _text(text: str, colour: str, size: tuple[int, int]) -> Image.Image:
    """Text on a piece of paper of its own, which cuts off what is too wide for it; half way down."""
    paper = Image.new("RGB", size, _PAPER)
    num_letters, num_lines = size[0] // 7, size[1] // _LINE_HEIGHT
    lines = textwrap.wrap(text, num_letters, max_lines=num_lines, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(_FONT_SIZE)
    upper = (size[1] - len(lines) * _LINE_HEIGHT) // 2
    for number, line in enumerate(lines):
        pen.text((0, upper + number * _LINE_HEIGHT), line, fill=colour, font=font)
    return paper


def _picture(image_CHW: Tensor, tile: int) -> Image.Image:
    pixels_HWC = ((image_CHW.float() + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(cast("np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", pixels_HWC.astype(np.uint8)))
    return picture.resize((tile, tile), Image.Resampling.NEAREST)
