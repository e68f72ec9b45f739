"""Run the tests of the working tree on two sides: the hooks' part of ``--speedup-against`` and ``--speedup-python``."""

import site
from typing import TYPE_CHECKING, NoReturn

import pytest

from speedclaims.fixtures.arguments import labels_of
from speedclaims.fixtures.pair_row import add_times, blank_row, extra_info, seconds_of
from speedclaims.fixtures.processes import Processes as FreshProcesses
from speedclaims.fixtures.settings import asked_seconds, settings_of
from speedclaims.markers import difference_by_design, gate_percent, num_ranks
from speedclaims.measure.calls import RefusedError
from speedclaims.measure.interleave import Settings
from speedclaims.record import benchmark_rows
from speedclaims.revisions.git import RevisionError
from speedclaims.revisions.remote import Processes, SideError
from speedclaims.revisions.served import REFUSED, SKIPPED
from speedclaims.revisions.sides import Asked, Comparison, compare_sides
from speedclaims.session import INI_TESTS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from speedclaims.record.types import Equivalence, RecordedAgainst, RecordedPair
    from speedclaims.session import SpeedSession

SAME_CODE = "same code"
"""Follows the name of the test whose two sides are both the before side."""


def measures_a_side(item: pytest.Item) -> bool:
    """Return whether a test has something to measure on both sides."""
    names = set(getattr(item, "fixturenames", ()))
    return not names.isdisjoint({"benchmark", "pair"}) and "figure" not in names


class Against:
    """A run that compares two sides.

    Attributes:
        comparison: both sides.
        only_after: tests that do not run on the before side.
    """

    def __init__(self, config: pytest.Config, session: "SpeedSession") -> None:
        """Find the sides, check their code out and build it.

        Raises:
            pytest.UsageError: they cannot be compared; one line.
        """
        self._config = config
        self._session = session
        self.only_after: set[str] = set()
        option = config.getoption
        asked = Asked(
            against=option("speedup_against"),
            python=option("speedup_python"),
            build=option("speedup_build"),
            test_folders=config.getini(INI_TESTS),
            patterns=config.getini("python_files"),
        )
        given = "--speedup-against" if asked.against is not None else "--speedup-python"
        try:
            self.comparison = compare_sides(asked, config.rootpath)
        except RevisionError as error:
            text = str(error)
            raise pytest.UsageError(text if text.startswith("--") else f"{given}: {text}") from None
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            raise pytest.UsageError(
                f"{given}: the code cannot be checked out ({error.strerror or error}{where}): make room for it"
            ) from None
        for folder in self.comparison.after.installed:
            site.addsitedir(folder)  # the tests are collected here, and import the project

    def recorded(self) -> "RecordedAgainst":
        """Return both sides as a record holds them."""
        return self.comparison.recorded()

    def take(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Let the tests measure both sides, and return those that have nothing to measure.

        The first one is measured with the before side on both sides too: what two processes of the same code differ by.
        """
        measured = [item for item in items if measures_a_side(item)]
        others = [item for item in items if not measures_a_side(item)]
        for item in measured:
            item.setup = _nothing  # type: ignore[method-assign] # fresh processes set up what the test needs
            item.runtest = _Measuring(self, item)  # type: ignore[method-assign]
        items[:] = measured
        if measured:
            items.insert(0, _SameCode.of(self, measured[0]))
        return others

    def measure(self, item: pytest.Item) -> None:
        """Measure a test on both sides, and keep its row."""
        self._measure(item, item.nodeid, self.comparison, _fixture(item, "benchmark"))

    def measure_same_code(self, item: pytest.Item, nodeid: str) -> None:
        """Measure a test with the before side on both sides, and keep its row as that of a control pair."""
        self._measure(item, nodeid, self.comparison.of_before_alone(), None)

    def _measure(
        self, item: pytest.Item, nodeid: str, comparison: Comparison, benchmark: "BenchmarkFixture | None"
    ) -> None:
        row = self._row(item, comparison, is_control=benchmark is None)
        if num_ranks(item):
            self._skip(item, row, "pairs of several ranks are not measured with --speedup-against")
        if benchmark is not None:
            benchmark_rows.mark_used(benchmark)
            if not benchmark_rows.enabled(benchmark):
                self._skip(item, row, benchmark_rows.why_disabled(self._config))
        if self._session.seconds_left <= 0:
            self._skip(item, row, self._session.time_is_up)
        settings = self._settings(item, benchmark)
        processes = Processes(item, nodeid, comparison, settings)
        fresh = FreshProcesses(item, self._session, settings, processes.measure)
        try:
            found = fresh.measure_apart(self._config.getoption("speedup_processes"))
        except SideError as error:
            self._end(item, row, comparison, error)
        except RefusedError as error:
            self._fail(item, row, str(error))
        found.more = fresh.more
        if benchmark is not None:
            self._note(item, row, *found.check)

        def add_figures() -> None:
            add_times(row, found, settings.confidence, 1.0, "--speedup-max-time")
            if benchmark is not None:
                benchmark_rows.note_times(benchmark, seconds_of(found.measurements)["after"], extra_info(row))

        add_figures()
        found.updates.append(add_figures)
        self._session.add_row(item, row)
        self._session.extensible[item.nodeid] = found

    def _settings(self, item: pytest.Item, benchmark: "BenchmarkFixture | None") -> Settings:
        share_s = self._session.share_s(item.nodeid)
        max_time = share_s if item.nodeid in self._session.budgets else min(asked_seconds(item), share_s)
        return settings_of(self._config, benchmark, max_time)

    def _row(self, item: pytest.Item, comparison: Comparison, *, is_control: bool) -> "RecordedPair":
        labels = {} if is_control else labels_of(_fixture(item, "pair_labels"))
        return {
            **blank_row(item),
            "before": comparison.before.label,
            "after": comparison.after.label,
            "control": is_control,
            "family": labels.get("family"),
            "preset": labels.get("preset"),
            "device": labels.get("device") or "cpu",
            "confidence": self._config.getoption("speedup_confidence"),
            "fail_percent": gate_percent(item),
        }

    def _note(self, item: pytest.Item, row: "RecordedPair", equivalence: "Equivalence", details: list[str]) -> None:
        """Keep whether both sides return the same; withhold the speedup where they do not."""
        why = difference_by_design(item)
        if equivalence == "failed" and why is not None:
            equivalence, details = "different_by_design", [why]
        row.update({"equivalence": equivalence, "equivalence_details": details})
        if equivalence == "failed":
            told = "; ".join(details) or "the check returned False"
            failed = f"the sides return different results: {told}"
            row.update({"status": "withheld", "reason": failed})
            self._session.add_row(item, row)
            pytest.fail(
                f'speedup withheld, {failed}; mark the test @pytest.mark.speedup_differs("why") if that is meant',
                pytrace=False,
            )

    def _end(self, item: pytest.Item, row: "RecordedPair", comparison: Comparison, error: SideError) -> NoReturn:
        """Say why a test could not be measured: it fails on the after side, and is only new on the before side."""
        side = comparison.side(error.side)
        reason = f"on {side.label}: {error.reason}"
        if error.outcome == SKIPPED:
            self._skip(item, row, f"skipped {reason}")
        if row["control"]:  # the test itself says what is wrong
            self._skip(item, row, reason)
        if error.side == "after" or error.outcome == REFUSED:
            self._fail(item, row, reason)
        self.only_after.add(item.nodeid)
        self._skip(item, row, f"the test fails {reason}")

    def _skip(self, item: pytest.Item, row: "RecordedPair", reason: str) -> NoReturn:
        row["reason"] = reason
        self._session.add_row(item, row)
        pytest.skip(f"not_measured: {reason}")

    def _fail(self, item: pytest.Item, row: "RecordedPair", reason: str) -> NoReturn:
        row["reason"] = reason
        self._session.add_row(item, row)
        pytest.fail(f"nothing measured, {reason}", pytrace=False)

    def close(self) -> None:
        """Remove what was checked out."""
        self.comparison.close()


def _nothing() -> None:
    """Set nothing up."""


def _fixture(item: pytest.Item, name: str) -> "BenchmarkFixture":
    request: pytest.FixtureRequest = item._request  # type: ignore[attr-defined] # noqa: SLF001 - no item publishes it
    found: BenchmarkFixture = request.getfixturevalue(name)
    return found


class _Measuring:
    """Measures a test in the place of running it."""

    def __init__(self, against: Against, item: pytest.Item) -> None:
        self._against, self._item = against, item

    def __call__(self) -> None:
        self._against.measure(self._item)


class _SameCode(pytest.Item):
    """Measures the first test with the before side on both sides."""

    @classmethod
    def of(cls, against: Against, first: pytest.Item) -> "_SameCode":
        """Return the item that goes with a test."""
        assert first.parent is not None  # noqa: S101 - a test is in a file
        made: _SameCode = cls.from_parent(first.parent, name=f"{first.name}[{SAME_CODE}]")
        made._against, made._nodeid_of_test = against, first.nodeid
        return made

    _against: Against
    _nodeid_of_test: str

    def runtest(self) -> None:
        """Measure."""
        self._against.measure_same_code(self, self._nodeid_of_test)

    def reportinfo(self) -> tuple[object, int | None, str]:  # type: ignore[override]
        """Return what pytest calls it."""
        return self.path, None, self.name
