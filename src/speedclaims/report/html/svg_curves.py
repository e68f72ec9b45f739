"""Ratios of several alternatives over a parameter as a small drawing, one colour and shape for each alternative."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from speedclaims.report.html.svg import LogAxis, hand_drawn, is_drawable, mark_svg
from speedclaims.report.html.svg_trend import SHAPES, few
from speedclaims.report.model.alternatives import Curve
from speedclaims.report.model.formatting import clean, format_bound, format_ratio

_WIDTH: Final = 480.0
_HEIGHT: Final = 210.0
_LEFT: Final = 44.0
_RIGHT: Final = 14.0
_TOP: Final = 10.0
_BOTTOM: Final = 36.0
_MAX_SIZES: Final = 8
_NUM_COLORS: Final = 5
_SIZE: Final = 4.0


def curve_mark_svg(number: int) -> str:
    """Draw the mark of an alternative by its number, for a legend."""
    shape = SHAPES[number % len(SHAPES)]
    return hand_drawn(f"trendmark m{number % _NUM_COLORS}", 12, 12, shape, mark_svg(shape, 6, 6, _SIZE))


def curves_svg(curves: Sequence[Curve], parameter: str, *, title: str) -> str:
    """Draw ratios to the baseline over a parameter, both on logarithmic axes.

    Whiskers are the intervals; a mark without one is hollow. The alternatives of one size lie next to each other, so
    that their whiskers can be told apart.

    Args:
        curves: one for each alternative.
        parameter: its name.
        title: the drawing's name.
    """
    ends = [end for curve in curves for ratio in curve.ratios for end in ratio if is_drawable(end)]
    axis = LogAxis(ends, _HEIGHT - _BOTTOM, _TOP)
    sizes = sorted({size for curve in curves for size in curve.sizes})
    low, high = math.log(sizes[0]), math.log(sizes[-1])
    start, stop = _LEFT + 18, _WIDTH - _RIGHT - 18

    def x(size: float) -> float:
        return start + (math.log(size) - low) / (high - low) * (stop - start)

    body = ""
    for tick in few(axis.ticks()):
        y, style = axis.place(tick), "one" if tick == 1 else "grid"
        body += f'<line class="{style}" x1="{_LEFT:.0f}" x2="{_WIDTH - _RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        body += f'<text x="{_LEFT - 4:.0f}" y="{y + 3.3:.1f}" text-anchor="end">{format_bound(tick)}x</text>'
    for size in sizes[:: math.ceil(len(sizes) / _MAX_SIZES)]:
        label = escape(f"{size:g}")
        body += f'<text x="{x(size):.1f}" y="{_HEIGHT - 20:.0f}" text-anchor="middle">{label}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    body += f'<text x="{middle:.0f}" y="{_HEIGHT - 4:.0f}" text-anchor="middle">{escape(clean(parameter))}</text>'
    for number, curve in enumerate(curves):
        shift = 5.0 * (number - (len(curves) - 1) / 2)
        body += _curve(curve, [x(size) + shift for size in curve.sizes], axis, number)
    return hand_drawn("trend curves", _WIDTH, _HEIGHT, title, body)


def _curve(curve: Curve, places: Sequence[float], axis: LogAxis, number: int) -> str:
    known = [
        (place, speedup) for place, (speedup, _, _) in zip(places, curve.ratios, strict=True) if is_drawable(speedup)
    ]
    points = " ".join(f"{place:.1f},{axis.place(speedup):.1f}" for place, speedup in known)
    body = f'<polyline points="{points}"/>' if len(known) > 1 else ""
    for size, place, (speedup, low, high) in zip(curve.sizes, places, curve.ratios, strict=True):
        if not is_drawable(speedup):
            continue
        named = f"{curve.name}, {size:g}: {format_ratio(speedup, low, high)}"
        mark = f"<title>{escape(clean(named))}</title>"
        has_interval = is_drawable(low) and is_drawable(high)
        if is_drawable(low) and is_drawable(high):
            ends = f'y1="{axis.place(high):.1f}" y2="{max(axis.place(low), axis.place(high) + 1):.1f}"'
            mark += f'<line class="whisker" x1="{place:.1f}" x2="{place:.1f}" {ends}/>'
        mark += mark_svg(SHAPES[number % len(SHAPES)], place, axis.place(speedup), _SIZE, is_hollow=not has_interval)
        body += f"<g>{mark}</g>"
    return f'<g class="m{number % _NUM_COLORS}">{body}</g>'
