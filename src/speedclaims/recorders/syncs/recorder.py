"""Record how often a side waits for the device, in every framework that is imported, and in which lines."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from speedclaims.record.figure import figure, sides
from speedclaims.record.json_types import Json
from speedclaims.recorders.recorder import (
    SIDES,
    FigureKind,
    FigureRow,
    Machine,
    Metric,
    PairContext,
    Recorder,
    Side,
    no_sides,
)
from speedclaims.recorders.syncs.counter import NothingToCountError, Syncs

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, RecordedPair, SideName, SyncLines

_MOST_LINES = 8


class CountedSyncs(TypedDict):
    """The synchronizations of one call: how many, a count by place, and those inside the frameworks."""

    figure: "Figure"
    lines: dict[str, int]
    internal: int | None


class Synchronizations(Recorder):
    """Record the host-device synchronizations of one call."""

    name = "syncs"
    help = "how often the processor waits for the device, and in which lines"
    metrics = (Metric("sync_ratio", "synchronizations", lambda pair: pair["syncs"]["ratio"]),)
    order = 2

    def record_side(self, side: Side) -> CountedSyncs:
        """Return the synchronizations of one call."""
        side.prepare()
        return count_call(side.act, side.root)

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        one, other = before[0], after[0]
        lines: SyncLines = {
            "before": one["lines"],
            "after": other["lines"],
            "internal": {"before": one["internal"], "after": other["internal"]},
        }
        return {"syncs": sides(one["figure"], other["figure"]), "sync_lines": lines}

    def missing(self, reason: str) -> Mapping[str, object]:
        return {"syncs": no_sides("1", reason)}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        found = []
        for place, pair in enumerate(pairs):
            lines = pair.get("sync_lines")
            details = tuple((side, describe_lines(lines, side)) for side in SIDES) if lines else ()
            one = pair["syncs"]
            found.append(FigureRow(place, one["before"], one["after"], one["ratio"], details=details))
        yield FigureKind(
            "Host-device synchronizations",
            "How often a side's own lines make the processor wait for the device in one call. Counted, so without an "
            "interval.",
            found,
            per_unit=True,
        )

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        return {"syncs": (machine.frameworks,)}


def describe_lines(lines: "SyncLines", side: "SideName") -> str:
    """Return in words which lines of a side synchronize how often, the most frequent first."""
    internal = lines["internal"][side]
    if internal is None:
        return "nothing was counted"
    ordered = sorted(lines[side].items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{place} ({count})" for place, count in ordered[:_MOST_LINES]]
    rest = ordered[_MOST_LINES:]
    if rest:
        noun = "line" if len(rest) == 1 else "lines"
        parts.append(f"{len(rest)} more {noun} ({sum(count for _, count in rest)})")
    return f"{', '.join(parts) or 'no line of its own'}; inside the frameworks {internal}"


@contextmanager
def counting_syncs() -> Iterator[Syncs]:
    """Count while the block runs, in PyTorch, TensorFlow or both: whatever is imported when it begins.

    Raises:
        NothingToCountError: neither is imported in this process.
    """
    from speedclaims.recorders.syncs import tensorflow as syncs_tf  # noqa: PLC0415 - they import this module
    from speedclaims.recorders.syncs import torch as syncs_torch  # noqa: PLC0415 - likewise

    modules = [module for module in (syncs_torch, syncs_tf) if module.is_imported()]
    if not modules:
        raise NothingToCountError("neither PyTorch nor TensorFlow is imported: nothing here waits for a device")
    syncs = Syncs()
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(module.counting_syncs(syncs))
        yield syncs


def count_call(call: Callable[[], object], root: Path) -> CountedSyncs:
    """Run a call and return its own synchronizations as a figure of the record, with their lines and the internal ones.

    Args:
        call: one warm call of a side.
        root: the folder from which lines are named.

    Returns:
        ``figure``; ``lines``, a count by place; and ``internal``, None where nothing could be counted.
    """
    try:
        with counting_syncs() as syncs:
            call()
    except NothingToCountError as error:
        return {"figure": figure(None, "1", str(error)), "lines": {}, "internal": None}
    return {
        "figure": figure(float(syncs.own.total()), "1"),
        "lines": _by_place(syncs.own, root),
        "internal": syncs.internal,
    }


def _by_place(own: Counter[str], root: Path) -> dict[str, int]:
    """Return the counts by places that tell nothing of the machine, the most frequent first."""
    places: Counter[str] = Counter()
    for place, count in own.items():
        file, _, line = place.rpartition(":")
        places[f"{_without_root(file, root)}:{line}"] += count
    return dict(sorted(places.items(), key=lambda item: (-item[1], item[0])))


def _without_root(file: str, root: Path) -> str:
    """Return a path from a folder, or else from where Python found the module: nothing of the machine."""
    path = Path(file)
    if not path.is_absolute():
        return path.as_posix()
    found_in = sorted((Path(entry) for entry in sys.path if entry), key=lambda entry: -len(entry.parts))
    for folder in (root, *found_in):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name
