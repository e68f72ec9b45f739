"""Hold what the processes of a pair measured, and say how many there are and with which hash seeds."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

from speedclaims.measure.interleave import Measurement

if TYPE_CHECKING:
    from speedclaims.record.types import Equivalence

PROCESSES = (5, 3)
"""Fresh processes of a pair, where starting them takes at most half of its time; else it is measured in this one."""
FEWEST = 3
"""Fresh processes of a control pair, and of any pair that is gated, whatever it takes to start them."""


@dataclass
class Measured:
    """Hold what the processes of a pair measured.

    Attributes:
        measurements: of each process.
        seeds: the seed of each process's hashes, None where it is not known.
        check: the equivalence after timing.
        each_s: seconds that each process may measure.
        spent_s: seconds that all of it took.
        is_here: whether the test's own process measured, and no fresh one.
        updates: called when processes were added.
        more: measures in one further process for each seed of a list, each for some seconds.
    """

    measurements: list[Measurement]
    seeds: list[int | None]
    check: "tuple[Equivalence, list[str]]"
    each_s: float
    spent_s: float = 0.0
    is_here: bool = False
    updates: list[Callable[[], object]] = field(default_factory=list)
    more: "Callable[[Sequence[int], float], Measured] | None" = None

    @property
    def num_processes(self) -> int:
        """Fresh processes that measured; 0 for the test's own."""
        return 0 if self.is_here else len(self.measurements)

    def add(self, other: "Measured") -> None:
        """Take the processes of another measurement too; they replace a measurement of the test's own process."""
        if self.is_here:
            self.measurements, self.seeds, self.is_here = [], [], False
        self.measurements += other.measurements
        self.seeds += other.seeds
        self.spent_s += other.spent_s
        for update in self.updates:
            update()


def seeds_of(number: int) -> list[int]:
    """Return the hash seeds of a pair's processes: the same in every run, so that runs can be compared one by one."""
    return list(range(1, number + 1))


def repeated(seeds: Sequence[int], number: int) -> list[int]:
    """Return the hash seeds of as many further processes: those given, from the first on, again and again."""
    return list(islice(cycle(seeds), number))


def own_seed() -> int | None:
    """Return the seed of this process's hashes, None where it is a random one."""
    text = os.environ.get("PYTHONHASHSEED", "")
    return int(text) if text.isdecimal() else None


def affordable_processes(time_s: float, start_s: float) -> int:
    """Return in how many fresh processes a pair is measured, 0 for none.

    Args:
        time_s: seconds that the pair may take.
        start_s: seconds that a fresh process takes until it can measure.
    """
    return next((number for number in PROCESSES if number * start_s <= time_s / 2), 0)
