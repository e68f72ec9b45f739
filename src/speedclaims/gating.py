"""Compare a run with its base when all tests have ended, and add processes to pairs that are ambiguous."""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from speedclaims.gate.baseline import load
from speedclaims.measure.child_process import ChildError
from speedclaims.measure.passes import describe
from speedclaims.measure.processes import FEWEST, repeated, seeds_of

if TYPE_CHECKING:
    from speedclaims.gate.compare import Gate
    from speedclaims.revisions.run import Against
    from speedclaims.session import SpeedSession

NUM_LOOKS = 4
"""How often the gate looks at a pair at most with ``--speedup-until-decided``; its processes double between looks."""


class Gating(ABC):
    """The gate of a run, which looks at its pairs when all tests have ended.

    Attributes:
        bases: files that the run must leave as they are.
        problem: why there is no comparison.
        gate: the comparison.
    """

    def __init__(self, config: pytest.Config, session: "SpeedSession") -> None:
        """Read the options of the gate."""
        from speedclaims.gate.compare import Rules  # noqa: PLC0415 - loading the plugin must stay cheap

        option = config.getoption
        self.bases: list[Path] = []
        self.problem: str | None = None
        self.gate: Gate | None = None
        self._session = session
        self._failed: list[str] = []
        self._most_s: float | None = option("speedup_until_decided")
        self._rules = Rules(
            percent=option("speedup_fail"),
            fails_ambiguous=option("speedup_fail_ambiguous"),
            compares_subset=option("speedup_compare_subset"),
            num_looks=1 if self._most_s is None else NUM_LOOKS,
        )

    @abstractmethod
    def _compare(self) -> None:
        """Set `gate`, or `problem`."""

    @abstractmethod
    def _seeds(self, nodeid: str) -> list[int]:
        """Return the hash seeds of a pair's processes, which further ones repeat."""

    def deselect(self, nodeids: list[str]) -> None:  # noqa: B027 - only a base makes them matter
        """Note tests that were collected and deselected."""

    def decide(self) -> None:
        """Compare the run with the base; add processes to pairs that are ambiguous, as long as the options allow."""
        self._compare()
        for _ in range(NUM_LOOKS - 1 if self._most_s is not None else 0):
            added = [] if self.gate is None else [self._add_processes(nodeid) for nodeid in self._open_pairs(self.gate)]
            if not added:
                return
            self._compare()
            if not any(added):
                return

    def _open_pairs(self, gate: "Gate") -> list[str]:
        return [one.nodeid for one in gate.changes if one.verdict == "ambiguous" and one.loss is not None]

    def _add_processes(self, nodeid: str) -> bool:
        """Double the processes of a pair within its time; whether there was time for any."""
        measured = self._session.extensible.get(nodeid)
        if measured is None or measured.more is None or self._most_s is None:
            return False
        had = len(measured.measurements)
        each_s = max(measured.spent_s / had, 1e-3)
        left_s = min(self._most_s - measured.spent_s, self._session.seconds_left)
        number = min(max(had, FEWEST), int(left_s / each_s))
        if number < 1:
            return False
        seeds = repeated(self._seeds(nodeid), had + number)[0 if measured.is_here else had :]
        try:
            measured.add(measured.more(seeds, measured.each_s))
        except ChildError as error:
            self._failed.append(f"{nodeid}: no further process: {describe(error)}")
            return False
        self._session.changed()
        return True

    def _keep(self, gate: "Gate") -> None:
        """Keep the comparison, with the processes that failed, for the record."""
        self.gate = replace(gate, warnings=(*gate.warnings, *self._failed))
        self._session.note_gate(self.gate.recorded())

    def finish(self, status: int) -> int:
        """Return the exit status that follows from the comparison, and compare where the tests ended early."""
        if self.gate is None and self.problem is None:
            if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
                self.problem = "the session was cut off: nothing is compared"
                return status
            self._compare()
        if self.gate is None:
            return pytest.ExitCode.USAGE_ERROR
        return pytest.ExitCode.TESTS_FAILED if self.gate.num_alarms else status


class BaseGating(Gating):
    """The gate of a run that is compared with an earlier one, its base."""

    def __init__(self, config: pytest.Config, session: "SpeedSession") -> None:
        """Load the base, and find out whether it can be compared; the pairs are measured in fresh processes.

        Raises:
            pytest.UsageError: it cannot be used.
        """
        from speedclaims.gate.compare import compare  # noqa: PLC0415 - loading the plugin must stay cheap
        from speedclaims.record.io import RecordError  # noqa: PLC0415

        super().__init__(config, session)
        self.path, self.base = load(config)
        self.bases = [self.path.absolute()]
        self._deselected: list[str] = []
        try:
            compare(self.base["speedclaims"], self.base["speedclaims"], self._rules)
        except RecordError as error:
            raise pytest.UsageError(f"the base cannot be used: {error}") from None

    def deselect(self, nodeids: list[str]) -> None:
        """Note tests that were collected and deselected: their pairs are missing for that reason."""
        self._deselected += nodeids

    def _seeds(self, nodeid: str) -> list[int]:
        rows = self.base["speedclaims"]["pairs"]
        seeds = [seed for row in rows if row["nodeid"] == nodeid for seed in row["hash_seeds"] if seed is not None]
        return list(dict.fromkeys(seeds)) or seeds_of(FEWEST)

    def _compare(self) -> None:
        from speedclaims.gate.compare import DESELECTED, compare  # noqa: PLC0415
        from speedclaims.record.io import RecordError  # noqa: PLC0415
        from speedclaims.report.model.gate import base_words  # noqa: PLC0415

        why = {**dict.fromkeys(self._deselected, DESELECTED), **self._session.reasons}
        words = base_words(self.path, self.base)
        try:
            self.gate = compare(
                self.base["speedclaims"], self._session.record()["speedclaims"], self._rules, why, words
            )
        except RecordError as error:
            self.problem = f"the base cannot be used: {error}"
            return
        self._keep(self.gate)


class SidesGating(Gating):
    """The gate of a run that measures two revisions: it needs no base."""

    def __init__(self, config: pytest.Config, session: "SpeedSession", against: "Against") -> None:
        """Keep the comparison of the two sides."""
        super().__init__(config, session)
        self._against = against

    def _seeds(self, nodeid: str) -> list[int]:
        known = [seed for seed in self._session.extensible[nodeid].seeds if seed is not None]
        return list(dict.fromkeys(known)) or seeds_of(FEWEST)

    def _compare(self) -> None:
        from speedclaims.gate.compare import compare_sides  # noqa: PLC0415 - loading the plugin must stay cheap

        section = self._session.record()["speedclaims"]
        words = self._against.comparison.before.words
        self._keep(compare_sides(section, self._rules, self._against.only_after, words))
