"""Draw a GPU's utilization over time."""

from collections.abc import Sequence

from speedclaims.report.html.svg import hand_drawn
from speedclaims.report.model.formatting import format_number
from speedclaims.report.model.timeline import _BOTTOM, _HEIGHT, _LEFT, _TOP, _WIDTH, Timeline


def timeline_svg(sides: Sequence[Timeline], *, title: str) -> str:
    """Draw the sides' utilization in percent over seconds, as steps: each value spans its sampling interval."""
    end = max((one.seconds[-1] for one in sides if one.seconds), default=1.0) or 1.0
    body = "".join(_level(percent) for percent in (0, 50, 100))
    body += "".join(_steps(one, end) for one in sides if one.seconds)
    body += f'<text x="{_LEFT:.0f}" y="{_HEIGHT - 3:.0f}">0</text>'
    body += f'<text x="{_WIDTH:.0f}" y="{_HEIGHT - 3:.0f}" text-anchor="end">{format_number(end, 2)} s</text>'
    return hand_drawn("timeline", _WIDTH, _HEIGHT, title, body)


def _height(percent: float) -> float:
    return _HEIGHT - _BOTTOM - min(100.0, percent) / 100 * (_HEIGHT - _BOTTOM - _TOP)


def _level(percent: int) -> str:
    y = _height(percent)
    line = f'<line x1="{_LEFT:.0f}" x2="{_WIDTH:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{_LEFT - 4:.0f}" y="{y + 3.5:.1f}" text-anchor="end">{percent}%</text>'


def _steps(one: Timeline, end: float) -> str:
    def place(seconds: float) -> float:
        return _LEFT + seconds / end * (_WIDTH - _LEFT)

    points, begin = [], 0.0
    for seconds, percent in zip(one.seconds, one.percent, strict=True):
        y = _height(percent)
        points += [f"{place(begin):.1f},{y:.1f}", f"{place(seconds):.1f},{y:.1f}"]
        begin = seconds
    return f'<polyline class="{one.side}" points="{" ".join(points)}"/>'
