"""Record the first call of a side in a fresh process."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from speedclaims.record.figure import figure, spread
from speedclaims.record.json_types import Json
from speedclaims.recorders.recorder import SIDES, FigureKind, PairContext, Recorder, Side, rows

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, RecordedPair


class FirstCall(Recorder):
    """Record how long the first call takes."""

    name = "cold"
    help = "the first call in a fresh process"
    order, lateness = 0, 1

    def scatters(self, device: str) -> bool:
        return True

    def record_side(self, side: Side) -> "Figure":
        """Return the seconds of the first call."""
        return figure(side.first_call_s, "s")

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        return {"cold_before_s": spread(before), "cold_after_s": spread(after)}

    def missing(self, reason: str) -> Mapping[str, object]:
        return {f"cold_{side}_s": figure(None, "s", reason) for side in SIDES}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        yield FigureKind(
            "Cold first call",
            "The first call in a fresh process: tracing, compiling and whatever else is made then, the median of a few "
            "processes. What a pair's setup does before it, such as building a side, is outside the clock.",
            rows({i: {"before": p["cold_before_s"], "after": p["cold_after_s"]} for i, p in enumerate(pairs)}),
        )
