"""Where the time goes: the phases of both sides of a pair as rows, and drawn as stacked bars.

Lengths compare the two sides of one pair. They are those of the profiled calls, which waiting at every boundary makes
longer than the timed ones; what the bars tell is how a side's time is divided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.record.types import PhaseName, ProfiledSide, RecordedPair
from speedclaims.recorders.recorder import SIDES
from speedclaims.report.model.formatting import clean, format_seconds

PHASES: Final[Mapping[PhaseName, str]] = {
    "data wait": "waiting for the loader's next batch",
    "transfer": "copying to the device",
    "forward": "modules and layers",
    "backward": "gradients",
    "optimizer": "updates, clipping and loss scaling",
    "host synchronization": "waiting for a value of the device",
    "compiled step": "a compiled, captured or traced step, which is one",
    "other": "everything else",
}
"""The phases in the order in which they are stacked, each in words."""

_WIDTH: Final = 1000.0
_BAR_HEIGHT: Final = 22.0
_LETTER_WIDTH: Final = 7.0
_TOLD: Final = 3
_SHOWN_FROM: Final = 0.01


@dataclass(frozen=True, slots=True)
class Segment:
    """Hold one phase of one side: its time, and its share of the side's time."""

    phase: str
    seconds: float
    share: float

    @property
    def style(self) -> str:
        """Return the class that colours it."""
        return self.phase.replace(" ", "-")

    @property
    def told(self) -> str:
        """Return what it is and how much."""
        return f"{self.phase} {format_share(self.share)}, {format_seconds(self.seconds)}"


@dataclass(frozen=True, slots=True)
class SideBar:
    """One side: what the profiled call took, and its phases; ``problem`` says why there are none."""

    side: str
    label: str
    seconds: float
    time: str
    segments: tuple[Segment, ...]
    problem: str

    @property
    def told(self) -> str:
        """Return its phases in one line, or why there are none."""
        return self.problem or "; ".join(segment.told for segment in self.segments)

    def largest(self) -> str:
        """Return the largest phases in a few words."""
        ordered = sorted(self.segments, key=lambda segment: -segment.share)[:_TOLD]
        return ", ".join(f"{segment.phase} {format_share(segment.share)}" for segment in ordered)


@dataclass(frozen=True, slots=True)
class ProfiledPair:
    """A pair at least one side of which was profiled."""

    index: int
    name: str
    title: str
    sides: tuple[SideBar, SideBar]


def format_share(share: float) -> str:
    """Return a share in whole per cent; what is there but less than one is not called 0."""
    return f"{100 * share:.0f}%" if share >= _SHOWN_FROM else "under 1%"


def profiled_pairs(pairs: Sequence[RecordedPair]) -> tuple[ProfiledPair, ...]:
    """Return the pairs of a record that were profiled, in its order."""
    found = []
    for index, pair in enumerate(pairs):
        profile = pair.get("profile")
        if profile is None or all(profile[side]["wall_s"]["value"] is None for side in SIDES):
            continue
        before = _side_bar("before", pair["before"], profile["before"])
        after = _side_bar("after", pair["after"], profile["after"])
        found.append(ProfiledPair(index, clean(pair["name"]), clean(pair["title"]), (before, after)))
    return tuple(found)


def _side_bar(side: str, label: str, profile: ProfiledSide) -> SideBar:
    wall = profile["wall_s"]
    if not wall["value"]:
        return SideBar(side, clean(label), 0.0, "", (), clean(wall["reason"] or "the call took no time"))
    spent = {one["name"]: one["seconds"] for one in profile["phases"]}
    segments = tuple(Segment(phase, spent[phase], spent[phase] / wall["value"]) for phase in PHASES if spent.get(phase))
    return SideBar(side, clean(label), wall["value"], format_seconds(wall["value"]), segments, "")
