"""Define the interface of a recorder: one pass, which records figures of a side that is measured alone.

Recorders of this package are listed in `speedclaims.recorders.registry`. Another package adds its own by an entry
point of the group ``speedclaims.recorders``: a subclass of `Recorder` that gives its name, the units of its figures
and a method that measures one side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from speedclaims.record.figure import figure, sides, spread
from speedclaims.record.json_types import Json

if TYPE_CHECKING:
    from speedclaims.record.types import BeforeAfter, Ceilings, Figure, RecordedPair, SideName, Sides

SIDES: "tuple[SideName, SideName]" = ("before", "after")


@dataclass(frozen=True)
class Side:
    """One side of a pair, alone in a fresh process.

    Attributes:
        name: ``before`` or ``after``.
        device: where it works.
        root: the folder from which lines of code are named.
        units: units of work that one call does.
        first_call_s: seconds of the first call, which has been made.
        act: one call, without waiting for the device.
        setup: puts the side back to its start.
        synchronize: waits for the device.
        stages: parts of the work, by their names.
    """

    name: "SideName"
    device: str
    root: Path
    units: float
    first_call_s: float
    act: Callable[[], object]
    setup: Callable[[], object]
    synchronize: Callable[[], object]
    stages: Mapping[str, Callable[[], object]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Put the side back to its start and wait: what that takes does not belong to the side."""
        self.setup()
        self.synchronize()

    def call(self) -> None:
        """Make one call and wait for the device."""
        self.act()
        self.synchronize()


@dataclass(frozen=True)
class PairContext:
    """Hold what a recorder may need of a pair to make fields of its row.

    Attributes:
        row: the pair's row, with its device and its times.
        ceilings_of: returns what the machine does at most with a framework.
        min_bytes: the bytes that a call must read and write, where the test computes them.
    """

    row: "RecordedPair"
    ceilings_of: "Callable[[str | None], Ceilings]"
    min_bytes: "Figure | None" = None


@dataclass(frozen=True)
class Metric:
    """A figure of a pair that claims are judged by.

    Attributes:
        name: what a ledger calls it.
        words: what a report calls it.
        figure: returns the figure of a pair, None where none was recorded on its device.
        unit: unit of its bounds.
    """

    name: str
    words: str
    figure: "Callable[[RecordedPair], Figure | None]"
    unit: str = "1"


@dataclass(frozen=True)
class FigureRow:
    """One row of a table of figures.

    Attributes:
        pair: the pair's place among the pairs.
        before: the figure of the before side.
        after: the figure of the after side.
        ratio: before / after, where it says anything.
        part: of what part of the pair, where it is not the whole.
        details: a sentence about each side.
    """

    pair: int
    before: "Figure"
    after: "Figure"
    ratio: "Figure | None" = None
    part: str = ""
    details: "tuple[tuple[SideName, str], ...]" = ()


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure in reports: a table over the pairs.

    Attributes:
        title: its heading.
        note: how it was measured.
        rows: its rows, also those without a value, whose reasons the report gives.
        per_unit: show the value by the unit of work too.
    """

    title: str
    note: str
    rows: Sequence[FigureRow]
    per_unit: bool = False


@dataclass(frozen=True)
class Machine:
    """Hold what ``speedclaims doctor`` found: reasons why something cannot be used here, or None.

    Attributes:
        frameworks: why neither PyTorch nor TensorFlow can be used.
        torch_on_cuda: why PyTorch cannot use a CUDA device.
        nvml: returns why NVML gives no figure of a name: ``utilization``, ``power`` or ``energy``.
    """

    frameworks: str | None
    torch_on_cuda: str | None
    nvml: Callable[[str], str | None]


class Recorder:
    """Record figures of each side of a pair, alone in a fresh process.

    A subclass gives `name`, `help` and `units` and overrides `record_side`; its figures then have a place in the record
    and a table in the report. The other methods are for recorders with fields of their own.
    """

    name: ClassVar[str]
    """Its name in ``--speedup-passes``."""
    help: ClassVar[str]
    """Its figures in a few words."""
    units: ClassVar[Mapping[str, str]] = {}
    """The unit of each of its figures, by the figure's name."""
    metrics: ClassVar[Sequence[Metric]] = ()
    """The metrics by which its figures judge claims."""
    order: ClassVar[int] = 3
    """Its place among the passes of a process: what disturbs the process for the others comes last."""
    lateness: ClassVar[int] = 0
    """Its place among passes that were put off: what costs most and judges least comes last."""

    def applies(self, device: str) -> bool:
        """Return whether there is anything to record on a device."""
        return True

    def scatters(self, device: str) -> bool:
        """Return whether its figures differ from process to process: then several processes record them."""
        return False

    def record_side(self, side: Side) -> object:
        """Return the figures of one side by their names, as plain JSON values; runs in a fresh process."""
        raise NotImplementedError

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        """Return the fields of the pair's row.

        Args:
            before: what each process recorded of the before side.
            after: what each process recorded of the after side.
            context: the pair.
        """
        both = {
            name: sides(*(spread([one[name] for one in found]) for found in (before, after))) for name in self.units
        }
        return {"recorders": {self.name: both}}

    def missing(self, reason: str) -> Mapping[str, object]:
        """Return the fields of the pair's row where nothing was recorded, for a reason."""
        return {"recorders": {self.name: {name: no_sides(unit, reason) for name, unit in self.units.items()}}}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        """Yield the tables of its figures."""
        for name in self.units:
            found = {i: pair["recorders"][self.name] for i, pair in enumerate(pairs) if self.name in pair["recorders"]}
            if found:
                both = {i: one[name] for i, one in found.items()}
                yield FigureKind(f"{self.name}: {name}", self.help, rows_with_ratio(both))

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        """Return for each line of ``speedclaims doctor`` the reasons why it is not possible on a machine."""
        return {self.name: ()}


def did_not_run(name: str) -> str:
    """Return the reason for the figures of a pass that nobody asked for."""
    return f"the {name} pass did not run"


def no_sides(unit: str, reason: str) -> "Sides":
    """Return a figure of both sides that nothing recorded."""
    return sides(figure(None, unit, reason), figure(None, unit, reason))


def rows(found: "Mapping[int, BeforeAfter]") -> list[FigureRow]:
    """Return a row for each pair by its place."""
    return [FigureRow(place, both["before"], both["after"]) for place, both in found.items()]


def rows_with_ratio(found: "Mapping[int, Sides]") -> list[FigureRow]:
    """Return a row for each pair by its place, with the ratio of its sides."""
    return [FigureRow(place, both["before"], both["after"], both["ratio"]) for place, both in found.items()]
