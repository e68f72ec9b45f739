"""A pair's speedups over several records as a small drawing: one colour and shape for each machine."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Final

from speedclaims.report.html.svg import LogAxis, hand_drawn, is_drawable, mark_svg
from speedclaims.report.model.formatting import clean, format_bound
from speedclaims.report.model.trend import Line, Point, Trend

_WIDTH: Final = 320.0
_HEIGHT: Final = 134.0
_LEFT: Final = 38.0
_RIGHT: Final = 10.0
_TOP: Final = 8.0
_BOTTOM: Final = 30.0
_MAX_TICKS: Final = 5
_NUM_COLORS: Final = 5
SHAPES: Final = ("circle", "square", "diamond", "triangle")
# five colours and four shapes have no common divisor: twenty machines differ in one of them
_SIZE: Final = 3.8


def machine_svg(number: int) -> str:
    """Draw the mark of a machine by its number, for a legend."""
    shape = _shape(number)
    return hand_drawn(f"trendmark m{number % _NUM_COLORS}", 12, 12, shape, mark_svg(shape, 6, 6, _SIZE))


def _shape(number: int) -> str:
    return SHAPES[number % len(SHAPES)]


def trend_svg(trend: Trend, numbers: Mapping[str, int], *, title: str) -> str:
    """Draw a pair's speedups in the order of the records, newest on the right, on one logarithmic axis.

    Whiskers are the intervals. A mark without one is hollow, one of a changed tree has a ring around it, and a cross
    below says that a record has the pair without a speedup. A vertical line marks where the speedups changed.

    Args:
        trend: the pair.
        numbers: the number of each machine, which gives its colour and shape.
        title: the drawing's name.
    """
    points = trend.points
    axis = _Axis(points)
    body = axis.drawn()
    for line in trend.lines:
        body += _line(line, axis, numbers[line.machine])
    return hand_drawn("trend", _WIDTH, _HEIGHT, title, body)


class _Axis(LogAxis):
    """The places of speedups and records in the drawing."""

    def __init__(self, points: Sequence[Point]) -> None:
        ends = (end for point in points for end in (point.row.value, point.row.low, point.row.high))
        self.floor = _HEIGHT - _BOTTOM
        super().__init__((end for end in ends if is_drawable(end)), self.floor, _TOP)
        self.points = points
        # a point for each record: the same moment and machine may come twice
        self.places = {id(point): number for number, point in enumerate(points)}

        self.step = (_WIDTH - _LEFT - _RIGHT - 12) / len(points)

    def x(self, point: Point) -> float:
        return _LEFT + 6 + self.step * (self.places[id(point)] + 0.5)

    def drawn(self) -> str:
        """Return the grid with its ratios, the line at 1x, and the first and the last date."""
        right, body = _WIDTH - _RIGHT, ""
        for tick in few(self.ticks()):
            y = self.place(tick)
            style = "one" if tick == 1 else "grid"
            body += f'<line class="{style}" x1="{_LEFT:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            body += f'<text x="{_LEFT - 4:.0f}" y="{y + 3.3:.1f}" text-anchor="end">{format_bound(tick)}x</text>'
        first, last = (escape(point.run.date[:10]) for point in (self.points[0], self.points[-1]))
        body += f'<text x="{_LEFT:.0f}" y="{_HEIGHT - 3:.0f}">{first}</text>'
        if last != first:
            body += f'<text x="{right:.0f}" y="{_HEIGHT - 3:.0f}" text-anchor="end">{last}</text>'
        return body


def few(ticks: Sequence[float]) -> list[float]:
    """Return every n-th tick, as many as there is room for, with 1 among them."""
    step = math.ceil(len(ticks) / _MAX_TICKS) or 1
    start = ticks.index(1.0) % step if 1.0 in ticks else 0
    return list(ticks[start::step])


def _line(line: Line, axis: _Axis, number: int) -> str:
    """Return one machine's points, joined where nothing is missing between them."""
    body = ""
    for drawable, neighbours in groupby(line.points, key=lambda point: is_drawable(point.row.value)):
        group = list(neighbours)
        if drawable and len(group) > 1:
            places = " ".join(f"{axis.x(point):.1f},{axis.place(point.row.value or 1):.1f}" for point in group)
            body += f'<polyline points="{places}"/>'
    for one in line.changed:
        x = axis.x(one.point) - axis.step / 2
        body += f'<line class="change" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP:.1f}" y2="{axis.floor:.1f}"/>'
    body += "".join(_point(point, axis, number) for point in line.points)
    return f'<g class="m{number % _NUM_COLORS}">{body}</g>'


def _point(point: Point, axis: _Axis, number: int) -> str:
    x, row = axis.x(point), point.row
    body = f"<title>{escape(clean(f'{point.run.machine} · {point.told}'))}</title>"
    if not is_drawable(row.value):
        y = axis.floor + 8
        body += f'<path class="gap" d="M{x - 3:.1f},{y - 3:.1f}l6,6m0,-6l-6,6"/>'
    else:
        if is_drawable(row.low) and is_drawable(row.high):
            top, bottom = axis.place(row.high), axis.place(row.low)
            body += f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{max(bottom, top + 1):.1f}"/>'
        body += mark_svg(_shape(number), x, axis.place(row.value), _SIZE, is_hollow=not point.has_interval)
        if point.run.is_dirty:
            body += f'<circle class="ring" cx="{x:.1f}" cy="{axis.place(row.value):.1f}" r="{_SIZE + 3.2}"/>'
    return f"<g>{body}</g>"
