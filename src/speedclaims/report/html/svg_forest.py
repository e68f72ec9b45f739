"""Draw speedups with their intervals as a forest plot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, pairwise
from typing import Final

from speedclaims.report.html.svg import LINE, LogAxis, hand_drawn, is_drawable, lines_svg, mark_svg, text_svg, wrapped
from speedclaims.report.model.formatting import clean, format_bound

_WIDTH: Final = 1080.0
_LEFT: Final = 390.0
_RIGHT: Final = 890.0
_PAD: Final = 8.0
_TOP: Final = 8.0
_FOOT: Final = 46.0
_BAR: Final = 27.4
_MARK: Final = 4.4
_LABEL: Final = 54
_SUBLABEL: Final = 62
_TEXT: Final = 28
_REASON: Final = 46
_SHAPES: Final = {"same": "circle", "less": "triangle down", "different": "diamond"}


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row of the forest plot; ``value`` is None where there is no speedup and ``text`` then gives the reason."""

    label: str
    sublabel: str
    text: str
    value: float | None
    low: float | None
    high: float | None
    work: str = "same"
    is_control: bool = False
    claimed: tuple[tuple[float | None, float | None], ...] = ()


def forest_svg(rows: Sequence[ForestRow], *, title: str, noise: float | None = None) -> str:
    """Draw speedups with their intervals on a logarithmic axis, a row each.

    A line marks 1, a band around it the noise floor, and a shaded bar in a row the range that is claimed for it.
    """
    axis = LogAxis((value for row in rows for value in _extent(row)), _LEFT, _RIGHT)
    tops = list(accumulate(map(_height, rows), initial=_TOP))
    middles, bottom = [(top + below) / 2 for top, below in pairwise(tops)], tops[-1]
    told = "; ".join(f"{clean(row.label)}: {clean(row.text)}" for row in rows)
    body = f"<desc>{escape(told)}</desc>"
    if noise:
        body += _bar("noise", axis.place(1 / (1 + noise)), axis.place(1 + noise), _TOP, bottom)
    body += "".join(_ranges(row, middle, axis) for row, middle in zip(rows, middles, strict=True))
    body += "".join(_line("grid", _LEFT, _RIGHT, y, y) for y in tops[1:])
    body += _line("one", axis.place(1), axis.place(1), _TOP, bottom) + "".join(_ticks(axis, bottom))
    body += "".join(_row(row, middle, axis) for row, middle in zip(rows, middles, strict=True))
    return hand_drawn("forest", _WIDTH, bottom + _FOOT, title, body)


def _ticks(axis: LogAxis, bottom: float) -> Iterator[str]:
    for tick in axis.ticks():
        x = axis.place(tick)
        yield _line("grid", x, x, bottom, bottom + 4)
        yield text_svg(x, bottom + 19, f"{format_bound(tick)}x", style="tick", anchor="middle")
    yield text_svg(axis.place(1) - 10, bottom + 40, "\u2190 slower", style="tick", anchor="end")
    yield text_svg(axis.place(1) + 10, bottom + 40, "faster \u2192", style="tick")


def _ranges(row: ForestRow, middle: float, axis: LogAxis) -> str:
    """Return the claimed ranges of a row; what is open at one side reaches the end of the axis."""
    top = middle - _BAR / 2
    return "".join(
        _bar("claimed", axis.place(low or axis.low), axis.place(high or axis.high), top, top + _BAR)
        for low, high in row.claimed
    )


def _labels(row: ForestRow) -> list[tuple[str, str]]:
    under = wrapped(row.sublabel, _SUBLABEL) if row.sublabel else []
    return [*((line, "") for line in wrapped(row.label, _LABEL)), *((line, "tick") for line in under)]


def _results(row: ForestRow) -> list[tuple[str, str]]:
    is_known = row.value is not None
    return [(line, "" if is_known else "tick") for line in wrapped(row.text, _TEXT if is_known else _REASON)]


def _height(row: ForestRow) -> float:
    return max(_BAR, LINE * max(len(_labels(row)), len(_results(row)))) + _PAD


def _row(row: ForestRow, middle: float, axis: LogAxis) -> str:
    body = lines_svg(0, middle, _labels(row))
    is_hollow = True  # without an interval: there is a point, but nobody knows how sure it is
    if is_drawable(row.low) and is_drawable(row.high):
        is_hollow = False
        left, right = axis.place(row.low), axis.place(row.high)
        body += _line("whisker", left, right, middle, middle)
        body += "".join(_line("end", x, x, middle - 5, middle + 5) for x in (left, right))
    if is_drawable(row.value):
        body += mark_svg(_SHAPES[row.work], axis.place(row.value), middle, _MARK, is_hollow=is_hollow)
    body += lines_svg(_WIDTH, middle, _results(row), anchor="end")
    return f'<g class="{"control" if row.is_control else row.work}">{body}</g>'


def _extent(row: ForestRow) -> list[float]:
    bounds = [bound for range_ in row.claimed for bound in range_]
    return [value for value in (row.value, row.low, row.high, *bounds) if is_drawable(value)]


def _line(style: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _bar(style: str, left: float, right: float, top: float, bottom: float) -> str:
    size = f'width="{right - left:.1f}" height="{bottom - top:.1f}"'
    return f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" {size}/>'
