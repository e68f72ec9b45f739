"""The speedups of each pair over several records: a line for each machine, its newest point last.

A pair is followed through the records by its node id and by its configuration as the gate compares it: what is
configured differently has a line of its own. Machines are never mixed in a line.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.record.pair_key import CONFIGURATION, configuration, shown
from speedclaims.record.types import Environment, Record, RecordedPair
from speedclaims.report.model.changes import change_points
from speedclaims.report.model.formatting import clean, format_number
from speedclaims.report.model.pairs import PairRow
from speedclaims.report.model.view import View

Key = tuple[str, tuple[object, ...]]
"""A pair's node id and its configuration."""

_MIN_RECORDS: Final = 2
_ALWAYS_SHOWN: Final = frozenset({"before", "after", "work", "family", "preset", "device"})
_MINUS: Final = "\u2212"


@dataclass(frozen=True, slots=True)
class Run:
    """One record among several: on what machine, when, and of what commit it was measured.

    ``age`` counts the records from the oldest, which is 0.
    """

    age: int
    machine: str
    date: str
    commit: str
    is_dirty: bool
    view: View


@dataclass(frozen=True, slots=True)
class Point:
    """Hold the result of a pair in one record: its speedup, or why there is none."""

    run: Run
    row: PairRow

    @property
    def has_interval(self) -> bool:
        """Whether it is known how sure the speedup is."""
        return self.row.low is not None and self.row.high is not None

    @property
    def told(self) -> str:
        """Return when, of what commit, and the speedup or why there is none."""
        return f"{self.run.date} · {self.run.commit} · {self.row.result}"


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The first point after a change of a pair's speedups, and by how many percent they changed."""

    point: Point
    percent: float

    @property
    def told(self) -> str:
        """Return when, at which commit and by how much the speedups changed."""
        by = f"{'+' if self.percent > 0 else _MINUS}{format_number(abs(self.percent), 2)}%"
        return f"changed by {by} from {self.point.run.date[:10]}, {self.point.run.commit} on"


@dataclass(frozen=True, slots=True)
class Line:
    """The points of a pair on one machine, oldest first, and those at which its speedups changed."""

    machine: str
    points: tuple[Point, ...]
    changed: tuple[ChangePoint, ...] = ()

    @property
    def newest(self) -> PairRow:
        """Return the newest row."""
        return self.points[-1].row

    @property
    def change(self) -> str:
        """Return the change of the speedup since the previous one, and whether the two intervals overlap."""
        *earlier, newest = self.points
        before = next((point for point in reversed(earlier) if point.row.value is not None), None)
        if before is None:
            return "nothing earlier to compare with" if earlier else "one run"
        if newest.row.value is None:
            return f"before: {before.row.speedup} ({before.run.date[:10]})"
        return f"{_difference(before.row, newest.row)} ({before.run.date[:10]}): {_overlap(before.row, newest.row)}"


@dataclass(frozen=True, slots=True)
class Trend:
    """One pair in one configuration over the records; ``row`` is its newest, ``variant`` tells it from its namesakes.

    ``index`` is the pair's in the newest record, None where that lacks it.
    """

    key: Key
    row: PairRow
    variant: str
    index: int | None
    lines: tuple[Line, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """All points, the oldest first, whatever their machine."""
        points = [point for line in self.lines for point in line.points]
        return tuple(sorted(points, key=lambda point: (point.run.age, point.row.index)))

    @property
    def has_past(self) -> bool:
        """Whether at least two records have the pair."""
        return len({point.run.age for point in self.points}) >= _MIN_RECORDS

    @property
    def is_measured(self) -> bool:
        """Whether any record has a speedup of it."""
        return any(point.row.value is not None for point in self.points)

    @property
    def setting(self) -> str:
        """Return the pair's family and preset; its device is the machine's affair."""
        found = dict(zip((field for field, _ in CONFIGURATION), self.key[1], strict=True))
        return ", ".join(clean(value) for value in (found["family"], found["preset"]) if value)


def machine(environment: Environment) -> str:
    """Return the name of a record's machine, with its GPUs where they did work and the name does not tell them."""
    name = clean(environment["device_name"])
    if "cuda" not in environment["device"]:
        return name
    gpus = sorted({clean(gpu.get("name") or "") for gpu in environment["gpus"]} - {""})
    return ", ".join([name, *(gpu for gpu in gpus if gpu not in name)])


def runs(records: Sequence[Record], views: Sequence[View]) -> tuple[Run, ...]:
    """Return records that are given newest first, with their views, as runs, newest first too."""
    found = []
    for number, (record, view) in enumerate(zip(records, views, strict=True), start=1):
        environment = record["speedclaims"]["environment"]
        is_dirty = bool(environment["commit"]["dirty"])
        name = machine(environment)
        found.append(Run(len(records) - number, name, view.date, view.commit, is_dirty, view))
    return tuple(found)


def trends(records: Sequence[Record], told: Sequence[Run]) -> tuple[Trend, ...]:
    """Return what became of each pair, the pairs in the newest record's order and control pairs last.

    Args:
        records: the records, newest first.
        told: the same as runs.
    """
    found: dict[Key, list[Point]] = {}
    for key, point in _points(records, told):
        found.setdefault(key, []).append(point)
    variants = _variants(list(found))
    made = [_trend(key, points, variants[key], told[0]) for key, points in found.items()]
    # the configurations of one test are next to each other, at the place of the newest
    place = {nodeid: number for number, (nodeid, _) in reversed(list(enumerate(found)))}
    return tuple(sorted(made, key=lambda trend: (trend.row.is_control, place[trend.key[0]])))


def _points(records: Sequence[Record], told: Sequence[Run]) -> Iterator[tuple[Key, Point]]:
    """Yield every pair of every record, newest first, with the key of its line."""
    known = _known_configurations(records, told)
    for record, run in zip(records, told, strict=True):
        rows = {row.index: row for row in (*run.view.pairs, *run.view.controls)}
        for index, pair in enumerate(record["speedclaims"]["pairs"]):
            nodeid = pair["nodeid"]
            found = configuration(pair)
            if not _is_configured(pair):
                found = known.get((nodeid, run.machine)) or known.get((nodeid, "")) or found
            yield (nodeid, found), Point(run, rows[index])


def _is_configured(pair: RecordedPair) -> bool:
    """Return whether a pair's test got as far as to say what it compares: the row of a skipped one is blank."""
    return bool(pair["status"] != "not_measured")


def _known_configurations(
    records: Sequence[Record], told: Sequence[Run]
) -> Mapping[tuple[str, str], tuple[object, ...]]:
    """Return the newest configuration of each node id on each machine, and on any under the empty name."""
    known: dict[tuple[str, str], tuple[object, ...]] = {}
    for record, run in zip(records, told, strict=True):
        for pair in filter(_is_configured, record["speedclaims"]["pairs"]):
            for name in (run.machine, ""):
                known.setdefault((pair["nodeid"], name), configuration(pair))
    return known


def _trend(key: Key, points: Sequence[Point], variant: str, newest: Run) -> Trend:
    """Return the trend of points that are given newest first."""
    # what a skipped pair says of its sides is a blank
    told = next((point for point in points if point.row.status != "not measured"), points[0])
    index = next((point.row.index for point in points if point.run is newest), None)
    names = sorted({point.run.machine for point in points})
    lines = [_of_machine(name, [point for point in reversed(points) if point.run.machine == name]) for name in names]
    return Trend(key, told.row, variant, index, tuple(lines))


def _of_machine(name: str, points: Sequence[Point]) -> Line:
    measured = [(point, point.row.value) for point in points if point.row.value is not None]
    found = change_points([value for _, value in measured])
    return Line(name, tuple(points), tuple(ChangePoint(measured[one.index][0], one.percent) for one in found))


def _variants(keys: Sequence[Key]) -> Mapping[Key, str]:
    """Return how each line differs from the others of its node id, apart from the fields that are always shown."""
    values: dict[str, list[tuple[object, ...]]] = {}
    for nodeid, found in keys:
        values.setdefault(nodeid, []).append(found)
    return {key: _told_apart(key[1], values[key[0]]) for key in keys}


def _told_apart(own: tuple[object, ...], among: Sequence[tuple[object, ...]]) -> str:
    return ", ".join(
        f"{words} {clean(shown(own[number]))}"
        for number, (field, words) in enumerate(CONFIGURATION)
        if field not in _ALWAYS_SHOWN and len({one[number] for one in among}) > 1
    )


def differing(there: Key, here: Key) -> str:
    """Return the configuration of one line where it differs from another's."""
    pairs = zip(CONFIGURATION, there[1], here[1], strict=True)
    return ", ".join(f"{words} {clean(shown(value))}" for (_, words), value, other in pairs if value != other)


def _difference(before: PairRow, newest: PairRow) -> str:
    change = (newest.value or 0) / (before.value or 1) - 1
    if change == 0:
        return f"no change from {before.speedup}"
    return f"{'+' if change > 0 else _MINUS}{format_number(100 * abs(change), 2)}% from {before.speedup}"


def _overlap(before: PairRow, newest: PairRow) -> str:
    if before.low is None or before.high is None or newest.low is None or newest.high is None:
        return "no two intervals to compare"
    overlap = before.low <= newest.high and newest.low <= before.high
    return "the intervals overlap" if overlap else "the intervals do not overlap"
