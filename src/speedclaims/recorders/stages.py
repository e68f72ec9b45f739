"""Record the rates of parts of a side's work, each measured alone, so that a reader sees which sets the pace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from speedclaims import clock
from speedclaims.errors import shown
from speedclaims.record.figure import figure, spread
from speedclaims.record.json_types import Json
from speedclaims.recorders.recorder import SIDES, FigureKind, FigureRow, Machine, PairContext, Recorder, Side

if TYPE_CHECKING:
    from speedclaims.record.types import BeforeAfter, Figure, RecordedPair, SideName

FEWEST_CALLS = 5
MOST_CALLS = 50
SECONDS = 0.5
"""A stage is called for this long, within a least and a most number of calls."""

StageCalls = Mapping[str, tuple[Callable[[], object], Callable[[], object]]]
"""For each stage its two callables, of the before and of the after side."""


class Stages(Recorder):
    """Record the rates of the stages that a pair names."""

    name = "stages"
    help = "rates of parts of the work"
    order, lateness = 4, 2

    def record_side(self, side: Side) -> "dict[str, Figure]":
        """Return the rate of each stage in units per second."""
        return {name: _rate(call, side.units, side.synchronize) for name, call in side.stages.items()}

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        return {"stages": {name: {"before": rate, "after": after[0][name]} for name, rate in before[0].items()}}

    def missing(self, reason: str) -> Mapping[str, object]:
        return {"stages": {}}

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        return {}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        found: list[FigureRow] = []
        for place, pair in enumerate(pairs):
            if not pair["stages"] or pair["before_s"] is None or pair["after_s"] is None:
                continue
            rates = [figure(pair["units"] / seconds, "1/s") for seconds in (pair["before_s"], pair["after_s"])]
            found.append(FigureRow(place, rates[0], rates[1], part="whole"))
            for part, both in pair["stages"].items():
                found.append(FigureRow(place, both["before"], both["after"], part=part))
        if found:
            yield FigureKind(
                "Pace",
                "Units (images, rows) a second: of the whole, and of each part alone. The slowest part sets the pace.",
                found,
            )


def check_stages(stages: StageCalls) -> None:
    """Check that stages are a mapping of names to two callables.

    Raises:
        TypeError: they are no mapping, or a stage is not a pair of callables.
    """
    if not isinstance(stages, Mapping):
        raise TypeError(f"stages is {shown(stages)}: give a mapping of names to two callables each")
    for name, both in stages.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"stages: {shown(name)} is no name: give a text")
        if not (isinstance(both, tuple) and len(both) == 2 and all(map(callable, both))):
            raise TypeError(
                f"stage {shown(name)} is {shown(both)}: give two callables, of the before and of the after side"
            )


def stages_of(stages: StageCalls, side: "SideName") -> dict[str, Callable[[], object]]:
    """Return the callables of one side by the stages' names."""
    return {name: both[side == "after"] for name, both in stages.items()}


def measure_stages(stages: StageCalls, units: float, synchronize: Callable[[], object]) -> "dict[str, BeforeAfter]":
    """Return the rates of each stage's two sides, in units per second, measured in this process."""
    before, after = (
        {name: _rate(call, units, synchronize) for name, call in stages_of(stages, side).items()} for side in SIDES
    )
    return {name: {"before": before[name], "after": after[name]} for name in stages}


def _rate(call: Callable[[], object], units: float, synchronize: Callable[[], object]) -> "Figure":
    call()  # the first call builds what later ones find
    rates: list[Figure] = []
    read = clock.timer()
    begun = read()
    while len(rates) < FEWEST_CALLS or (len(rates) < MOST_CALLS and read() - begun < SECONDS):
        synchronize()
        started = read()
        call()
        synchronize()
        rates.append(figure(units / (read() - started), "1/s"))
    return spread(rates)
