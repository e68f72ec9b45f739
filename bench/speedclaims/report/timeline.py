"""The utilization of a GPU over time, drawn for both sides of a pair on one axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .formatting import clean, format_number
from .plots import hand_drawn

SIDES: Final = ("before", "after")
_WIDTH: Final = 320.0
_HEIGHT: Final = 96.0
_LEFT: Final = 40.0
_BOTTOM: Final = 16.0
_TOP: Final = 5.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """One side's utilization: the percent reached in the time up to each of the seconds, or why there is none."""

    side: str
    seconds: tuple[float, ...]
    percent: tuple[float, ...]
    reason: str


def timelines(pair: Mapping[str, Any]) -> tuple[Timeline, ...]:
    """Return the timelines of a pair's row of the record, none where its GPU was not watched or told nothing."""
    recorded = pair.get("gpu_timeline") or {}
    found = tuple(_read(side, recorded[side]) for side in SIDES if side in recorded)
    return found if any(one.seconds for one in found) else ()


def _read(side: str, points: Mapping[str, Any]) -> Timeline:
    return Timeline(side, tuple(points["seconds"]), tuple(points["percent"]), clean(points["reason"] or ""))


def timeline_svg(sides: Sequence[Timeline], *, title: str) -> str:
    """Draw the sides' utilization in percent over seconds, each value over the time that it stands for."""
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
    return f'{line}<text x="{_LEFT - 4:.0f}" y="{y + 3.5:.1f}" text-anchor="end">{percent} %</text>'


def _steps(one: Timeline, end: float) -> str:
    def place(seconds: float) -> float:
        return _LEFT + seconds / end * (_WIDTH - _LEFT)

    points, begin = [], 0.0
    for seconds, percent in zip(one.seconds, one.percent, strict=True):
        y = _height(percent)
        points += [f"{place(begin):.1f},{y:.1f}", f"{place(seconds):.1f},{y:.1f}"]
        begin = seconds
    return f'<polyline class="{one.side}" points="{" ".join(points)}"/>'
