"""The utilization of a GPU over time, drawn for both sides of a pair on one axis."""

from dataclasses import dataclass
from typing import Final

from speedclaims.record import types
from speedclaims.record.types import RecordedPair
from speedclaims.report.model.formatting import clean

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


def timelines(pair: RecordedPair) -> tuple[Timeline, ...]:
    """Return the utilization timelines of a pair; none where its GPU was not watched or gave no values."""
    recorded = pair.get("gpu_timeline")
    found = () if recorded is None else tuple(_read(side, recorded[side]) for side in SIDES)
    return found if any(one.seconds for one in found) else ()


def _read(side: str, points: types.Timeline) -> Timeline:
    return Timeline(side, tuple(points["seconds"]), tuple(points["percent"]), clean(points["reason"] or ""))
