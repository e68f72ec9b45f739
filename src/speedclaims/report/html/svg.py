"""Drawings of a report as SVG text to be put inside a page.

Colours are the page's CSS variables, so one drawing serves light and dark; words stay text, so they can be read aloud,
selected and searched. The same rows always give the same bytes.
"""

import math
import statistics
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, TypeGuard

from speedclaims.report.model.formatting import clean, format_number

LINE: Final = 15.0
"""How far the lines of a label are apart."""
_MAX_POINTS: Final = 160
_NICE: Final = (
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 2.0, 5.0),
    (1.0,),
)
_FINE_STEPS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_FINE_SPAN: Final = 2.2
_MAX_TICKS: Final = 9
_MIN_HALF_SPAN: Final = 0.01


def is_drawable(value: float | None) -> TypeGuard[float]:
    """Return whether a ratio has a place on a logarithmic axis."""
    return value is not None and math.isfinite(value) and value > 0


def axis_limits(values: Iterable[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis that shows all values and 1, with a margin."""
    logs = [0.0, *(math.log(value) for value in values)]
    low, high = min(*logs, -_MIN_HALF_SPAN), max(*logs, _MIN_HALF_SPAN)
    margin = 0.06 * (high - low)
    return math.exp(low - margin), math.exp(high + margin)


def axis_ticks(low: float, high: float) -> list[float]:
    """Return round ratios between two ends, 1 among them when it lies there, and few enough to be read."""
    if high / low <= _FINE_SPAN:
        step = next(step for step in (*_FINE_STEPS, math.inf) if (high - low) / step <= _MAX_TICKS)
        first, last = math.ceil((low - 1) / step), math.floor((high - 1) / step)
        return [round(1 + i * step, 6) for i in range(first, last + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in _NICE:
        ticks = [round(digit * 10.0**decade, 9) for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= _MAX_TICKS:
            break
    return ticks


class LogAxis:
    """A logarithmic axis that shows some values and 1, between two places of a drawing."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        self.low, self.high = axis_limits(values)
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        """Return where a value is; one beyond the axis is at its end."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self._start + min(1.0, max(0.0, share)) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Return round ratios on the axis."""
        return axis_ticks(self.low, self.high)


def drift_svg(log_ratios: Sequence[float], *, title: str, low: float | None, high: float | None) -> str:
    """Draw a pair's blocks of double rounds in the order in which they were measured, as departures from their median.

    The band is the speedup's interval. A trend or a step that a reader sees here is one that the interval ignores.
    """
    width, height, pad = 200.0, 46.0, 4.0
    values = thin(log_ratios)
    center = statistics.median(log_ratios)
    ends = [math.log(end) - center for end in (low, high) if is_drawable(end)]
    reach = max([abs(value - center) for value in values] + [abs(end) for end in ends] + [1e-6])

    def place(value: float) -> float:
        return height / 2 - value / reach * (height / 2 - pad)

    step = (width - 2 * pad) / max(1, len(values) - 1)
    points = [(pad + i * step, place(value - center)) for i, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y in points)
    band = ""
    if len(ends) == 2:
        top, bottom = place(ends[1]), place(ends[0])
        band = f'<rect class="band" x="0" y="{top:.1f}" width="{width:.0f}" height="{max(1.0, bottom - top):.1f}"/>'
    middle = f'<line class="middle" x1="0" x2="{width:.0f}" y1="{height / 2:.1f}" y2="{height / 2:.1f}"/>'
    body = f'{band}{middle}<polyline points="{line}"/><g class="dots">{dots}</g>'
    return hand_drawn("drift", width, height, title, body)


def thin(values: Sequence[float]) -> list[float]:
    """Return at most some 160 values: medians of neighbours where there are more, which keeps drift visible."""
    size = math.ceil(len(values) / _MAX_POINTS) or 1
    return [statistics.median(values[i : i + size]) for i in range(0, len(values), size)]


def spread_text(log_ratios: Sequence[float]) -> str:
    """Return how far the blocks lie from their median, such as ``-1.2% to +2.3%``."""
    center = statistics.median(log_ratios)
    least, most = (100 * (math.exp(value - center) - 1) for value in (min(log_ratios), max(log_ratios)))
    return f"\u2212{format_number(abs(least), 2)}% to +{format_number(most, 2)}%"


@dataclass(frozen=True, slots=True)
class Strip:
    """One claim's range and what was measured, as ratios."""

    low: float | None
    high: float | None
    measured: float | None
    measured_low: float | None
    measured_high: float | None
    tone: str


def strip_svg(strip: Strip, limits: tuple[float, float], *, title: str) -> str:
    """Draw what is claimed (bar) against what was measured (mark and whisker) on an axis shared by all claims."""
    width, height = 150.0, 22.0
    left, right = (math.log(limit) for limit in limits)

    def place(value: float) -> float:
        return min(1.0, max(0.0, (math.log(value) - left) / (right - left))) * width

    one = place(1.0)
    body = ""
    if strip.low is not None or strip.high is not None:
        start = place(strip.low) if is_drawable(strip.low) else 0.0
        end = place(strip.high) if is_drawable(strip.high) else width
        body += f'<rect class="claimed" x="{start:.1f}" y="4" width="{max(2.0, end - start):.1f}" height="14"/>'
    body += f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="0" y2="{height:.0f}"/>'
    if strip.measured_low and strip.measured_high:
        begin, stop = place(strip.measured_low), place(strip.measured_high)
        body += f'<line class="whisker" x1="{begin:.1f}" x2="{max(begin + 1, stop):.1f}" y1="11" y2="11"/>'
    if is_drawable(strip.measured):
        body += f'<circle cx="{place(strip.measured):.1f}" cy="11" r="4"/>'
    return hand_drawn(f"strip {strip.tone}", width, height, title, body)


def strip_limits(strips: Iterable[Strip]) -> tuple[float, float]:
    """Return the axis that all strips share."""
    values = (v for s in strips for v in (s.low, s.high, s.measured, s.measured_low, s.measured_high))
    return axis_limits(value for value in values if is_drawable(value))


def hand_drawn(style: str, width: float, height: float, title: str, body: str) -> str:
    """Return a small drawing as an element of a page; its colours are those of the class in the page's style sheet."""
    name = escape(clean(title))
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg class="{style}" {size} role="img" aria-label="{name}"><title>{name}</title>{body}</svg>'


def text_svg(x: float, y: float, text: str, *, style: str = "", anchor: str = "start") -> str:
    """Return words at a place of a drawing."""
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(clean(text))}</text>'


def wrapped(text: str, width: int) -> list[str]:
    """Return text as lines of at most a number of letters, of which wide ones count twice; nothing is cut."""
    lines, left = [""], width
    for word in clean(text).split(" "):
        needed = _num_letters(word)
        if lines[-1] and needed + 1 <= left:
            lines[-1] += f" {word}"
            left -= needed + 1
            continue
        if lines[-1]:
            lines.append("")
            left = width
        for letter in word:
            if _num_letters(letter) > left:
                lines.append("")
                left = width
            lines[-1] += letter
            left -= _num_letters(letter)
    return lines


def _num_letters(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def lines_svg(x: float, middle: float, lines: Sequence[tuple[str, str]], *, anchor: str = "start") -> str:
    """Return lines of words, each with its class, around the middle of a row of a drawing."""
    top = middle + 4 - LINE * (len(lines) - 1) / 2
    return "".join(
        text_svg(x, top + LINE * number, text, style=style, anchor=anchor) for number, (text, style) in enumerate(lines)
    )


def mark_svg(shape: str, x: float, y: float, size: float, *, is_hollow: bool = False) -> str:
    """Return a mark of a shape at a place of a drawing; its size is half its width."""
    style = ' class="hollow"' if is_hollow else ' class="full"'
    if shape == "circle":
        return f'<circle{style} cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    if shape == "square":
        side = size - 0.4
        return f'<rect{style} x="{x - side:.1f}" y="{y - side:.1f}" width="{2 * side:.1f}" height="{2 * side:.1f}"/>'
    reach = size + 0.8
    if shape == "diamond":
        return f'<path{style} d="M{x:.1f},{y - reach:.1f}l{reach},{reach}l-{reach},{reach}l-{reach},-{reach}z"/>'
    up = -1 if shape == "triangle down" else 1
    return f'<path{style} d="M{x:.1f},{y - up * reach:.1f}l{reach},{up * (2 * reach - 1.2):.1f}h-{2 * reach}z"/>'
