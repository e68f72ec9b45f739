"""Order benchmarks by their worth and fit them into the minutes of a GPU: a pytest plugin of `python -m bench.gpu`.

Every test has a cost, known from a table and corrected by what the tests before it took. What no longer fits is skipped
with the seconds that it needs. After each test the record is complete; one line a pair goes to the terminal.
"""

import faulthandler
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from bench.gpu.pack import commit_info
from bench.gpu.runner import GPU_LOST, ROOT, end_with_parent, gpu_is_lost
from speedclaims.markers import measures
from speedclaims.measure import child_process
from speedclaims.record import files as record_files
from speedclaims.record import io as record
from speedclaims.session import KEY, SpeedSession

_WIDTH = 80

LEAST_SHARE, _ALL = 0.6, 0.95
"""A pair is begun when at least this share of its measuring time is left: fewer rounds give no interval. Where decoding
sets the pace, the time is just enough for the six double rounds that an interval takes."""

_NO_TIME = "the run's time went to tests that were wanted more (--minutes)"
_HUNG_AFTER = 3
_HUNG_SPARE_S = 30
_LEAST_FACTOR = 0.5


@dataclass(frozen=True)
class Cost:
    """Hold the seconds that a test takes at preset `default` on an H100 or H200.

    Attributes:
        other_s: seconds other than measuring: building, checking, warming up, passes that judge its claims.
        measure_s: seconds of measuring that an interval of useful width takes.
        rounds_of: a test whose rounds it takes instead of measuring, where that one was measured.
        least_share: of the measuring time, without which it is not begun.
    """

    other_s: float
    measure_s: float = 0.0
    rounds_of: str = ""
    least_share: float = LEAST_SHARE


_IMAGE, _TABULAR, _TWIN = (
    f"bench/test_{name}.py::" for name in ("text_to_image", "tabular_regressor", "dialogue_twin")
)

COSTS: Mapping[str, Cost] = {
    # Document 003: what it claims as a whole, and of mixed precision.
    f"{_IMAGE}test_document_003_on_the_same_work": Cost(14, 46, least_share=_ALL),
    f"{_IMAGE}test_mixed_precision": Cost(34, 46, least_share=_ALL),
    f"{_IMAGE}test_mixed_precision_in_memory[on]": Cost(28, 8),
    f"{_IMAGE}test_fastest_on_the_same_work": Cost(25, 20),
    f"{_IMAGE}test_document_003_by_the_epoch": Cost(14, 85, least_share=_ALL),
    f"{_IMAGE}test_document_003_as_a_whole_training": Cost(6, 85, f"{_IMAGE}test_document_003_by_the_epoch", _ALL),
    f"{_IMAGE}test_document_003_by_the_epoch_as_published": Cost(2),
    f"{_IMAGE}test_document_003_as_a_whole_training_as_published": Cost(2),
    f"{_IMAGE}test_smaller_images_as_published": Cost(2),
    f"{_IMAGE}test_larger_batches": Cost(10, 85, least_share=_ALL),
    f"{_IMAGE}test_mixed_precision_keeps_the_validation_loss": Cost(40),
    # Document 004.
    f"{_TABULAR}test_document_004_as_a_whole": Cost(8, 24),
    f"{_TABULAR}test_document_004_as_published": Cost(8, 24),
    f"{_TABULAR}test_mixed_precision": Cost(22, 10),
    f"{_TABULAR}test_mixed_precision_as_published": Cost(22, 10),
    f"{_TABULAR}test_mixed_precision_keeps_the_validation_loss": Cost(25),
    f"{_TABULAR}test_running_out_of_memory": Cost(5),
    f"{_TABULAR}test_running_out_of_memory_as_published": Cost(5),
    f"{_TABULAR}test_an_old_program_computes_the_same": Cost(10),
    f"{_TABULAR}test_an_old_program_computes_the_same_as_published": Cost(10),
    f"{_TABULAR}test_memory_over_epochs[optimized]": Cost(20),
    f"{_TABULAR}test_loader_workers": Cost(8, 24),
    f"{_TABULAR}test_persistent_workers": Cost(8, 24),
    f"{_TABULAR}test_interrupted_trainings_are_resumed": Cost(10),
    f"{_TABULAR}test_interrupted_trainings_are_resumed_as_published": Cost(10),
    f"{_TABULAR}test_fastest": Cost(15, 10),
    # Documents 000 to 002 on the PyTorch twin: evidence next to claims about a TensorFlow program.
    f"{_TWIN}test_fastest_adversarial_batches_of_the_pytorch_twin": Cost(12, 10),
    f"{_TWIN}test_adversarial_batch[eager]": Cost(12, 8),
    f"{_TWIN}test_adversarial_batch[compiled]": Cost(25, 8),
    f"{_TWIN}test_deferred_metrics": Cost(12, 6),
    f"{_TWIN}test_compiled_steps": Cost(12, 6),
    f"{_TWIN}test_adversarial_epoch": Cost(30, 30),
    # What else document 003 claims.
    f"{_IMAGE}test_smaller_images_in_memory": Cost(5, 6),
    f"{_IMAGE}test_interruptions_and_errors_are_saved": Cost(12),
    f"{_IMAGE}test_mixed_precision_in_memory[off]": Cost(28, 8),
    f"{_IMAGE}test_larger_batches_estimate_gradients_better": Cost(55),
    f"{_IMAGE}test_larger_batches_use_the_gpu_more": Cost(40),
    f"{_IMAGE}test_operations_over_image_sizes": Cost(10),
    f"{_IMAGE}test_fewer_epochs": Cost(6, 46, least_share=_ALL),
    f"{_IMAGE}test_smaller_images": Cost(8, 46, least_share=_ALL),
    f"{_IMAGE}test_sparse_logging": Cost(15, 10),
    f"{_IMAGE}test_100_epochs_are_enough": Cost(1),
    # On a GPU the published program's steps are those of the optimized tier.
    f"{_IMAGE}test_document_003_on_the_same_work_as_published": Cost(14, 46, least_share=_ALL),
    f"{_IMAGE}test_mixed_precision_as_published": Cost(34, 46, least_share=_ALL),
    # In addition to the claims: the networks alone, and the noise.
    f"{_IMAGE}test_document_003_on_the_same_work_in_memory": Cost(5, 6),
    f"{_IMAGE}test_larger_batches_in_memory": Cost(5, 6),
    f"{_IMAGE}test_document_003_by_the_epoch_in_memory": Cost(5, 6),
    f"{_TABULAR}test_control": Cost(30, 10),
}
"""Costs of the tests, the most wanted first; estimates, until a run on a GPU replaces them."""

UNKNOWN = Cost(30, 15)
"""Cost of a test that is not in the table; it comes after all that are."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `bench.gpu.runner` gives."""
    group = parser.getgroup("bench.gpu")
    group.addoption("--gpu-notes", metavar="FILE", type=Path, help="where the test that runs is noted")
    group.addoption("--gpu-continue", metavar="FILE", type=Path, help="what processes before this one measured")
    group.addoption("--gpu-families", metavar="NAMES", default="", help="families to measure, separated by commas")


def pytest_configure(config: pytest.Config) -> None:
    """Order and fit the tests of this process, unless it measures a single side for another one."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
    if child_process.job_of(config) is None:
        config.pluginmanager.register(Plan(config), "bench-gpu-plan")


class Budget:
    """Corrects the costs by what tests took.

    Args:
        costs: by test.
    """

    def __init__(self, costs: Mapping[str, Cost]) -> None:
        """Trust the table until a test has run."""
        self._costs = costs
        self._expected = self._took = 0.0

    @property
    def factor(self) -> float:
        """Return the ratio of the seconds taken so far to those in the table, without measuring."""
        return max(_LEAST_FACTOR, self._took / self._expected) if self._expected else 1.0

    def cost(self, nodeid: str, measured: Container[str] = ()) -> Cost:
        """Return what a test is expected to take here after those that were measured."""
        cost = self._costs.get(nodeid, UNKNOWN)
        measure_s = 0.0 if cost.rounds_of in measured else cost.measure_s
        return replace(cost, other_s=cost.other_s * self.factor, measure_s=measure_s)

    @staticmethod
    def seconds_for(cost: Cost, left_s: float) -> float | None:
        """Return the seconds that a test may measure when `left_s` are left; None where it does not fit."""
        spare_s = left_s - cost.other_s
        return None if spare_s < cost.least_share * cost.measure_s or spare_s <= 0 else min(cost.measure_s, spare_s)

    def note(self, nodeid: str, took_s: float, measured_s: float) -> None:
        """Learn from a test that has run."""
        self._expected += self._costs.get(nodeid, UNKNOWN).other_s
        self._took += max(0.0, took_s - measured_s)


class Plan:
    """The hooks of one process that measures."""

    def __init__(self, config: pytest.Config) -> None:
        """Read what processes before this one measured."""
        self._config = config
        self._budget = Budget(COSTS)
        self._pytest_session: pytest.Session | None = None
        self._has_caught_up = False
        self._notes: Path | None = config.getoption("--gpu-notes")
        self._began: dict[str, float] = {}
        self._needed: dict[str, float] = {}
        self._earlier: dict[str, Any] = {"record": None, "reasons": {}}
        path: Path | None = config.getoption("--gpu-continue")
        if path is not None:
            self._earlier = json.loads(path.read_text(encoding="utf-8"))

    @property
    def _session(self) -> SpeedSession:
        return self._config.stash[KEY]

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Put the most wanted first, and leave out what has run in a process before this one."""
        ranks = {nodeid: rank for rank, nodeid in enumerate(COSTS)}
        families = set(filter(None, config.getoption("--gpu-families").split(",")))
        done = self._take_over()
        kept = [
            item for item in items
            if item.nodeid not in done and (not families or families.intersection(getattr(item, "fixturenames", ())))
        ]  # fmt: skip
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = sorted(kept, key=lambda item: ranks.get(item.nodeid, len(ranks)))

    def _take_over(self) -> set[str]:
        """Add the rows of processes before this one to the session's; return the tests that have ended."""
        reasons: dict[str, str] = self._earlier["reasons"]
        self._session.reasons.update(reasons)
        before = self._earlier["record"]
        if before is None:
            return set(reasons)
        section = before["speedclaims"]
        self._session.take_over([*section["pairs"], *section["figures"]])
        return self._session.tests_with_rows | reasons.keys()

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Add the rows of processes before this one to pytest-benchmark's."""
        before = self._earlier["record"]
        if before is not None:
            output_json["benchmarks"] = before["benchmarks"] + output_json["benchmarks"]

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_benchmark_generate_commit_info(self) -> dict[str, Any] | None:
        """Say which commit a copy of the tree without ``.git`` is, as it was noted when it was packed."""
        return commit_info(ROOT)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Leave a record before the first test ends: the run may be cut off in it."""
        del session
        folder: Path | None = self._config.getoption("speedup_report")
        if folder is not None:
            from speedclaims.record import paths as record_paths  # noqa: PLC0415 - the plugin is loaded by now

            with suppress(OSError):  # the plugin says it at the next one
                record_files.write_text(folder / record_paths.SO_FAR, record.dumps(self._session.record()))
        self._print("  left  result                 test")
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test that does not fit; give one that does its seconds."""
        self._began[item.nodeid] = time.perf_counter()
        if self._notes is not None:
            record_files.write_text(self._notes, json.dumps({"running": item.nodeid, "reasons": self._session.reasons}))
        if not measures(item):
            return
        if item.nodeid not in COSTS and not self._has_caught_up:
            self._has_caught_up = True
            self._session.catch_up()  # what the wanted pairs still lack is worth more than a pair that nobody wants
        # Rounds are kept in the process that measured them.
        measured = self._session.pairs if self._session.measured else ()
        left, cost = self._session.seconds_left, self._budget.cost(item.nodeid, measured)
        seconds = self._budget.seconds_for(cost, left)
        if seconds is None:
            self._needed[item.nodeid] = cost.other_s + cost.measure_s
            pytest.skip(f"not_measured: {_NO_TIME}")
        self._session.budgets[item.nodeid] = seconds
        signal.signal(signal.SIGALRM, _end_test)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, left))
        hung_after = min(left + _HUNG_SPARE_S, _HUNG_AFTER * (cost.other_s + cost.measure_s) + _HUNG_SPARE_S)
        log = item.config.stash.get(fault_handler_stderr_fd_key, sys.__stderr__)
        faulthandler.dump_traceback_later(hung_after, exit=True, file=log)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print no letter: `pytest_runtest_logreport` prints a line."""
        if report.when != "call" and report.passed:
            return "", "", ""
        return ("error" if report.failed and report.when != "call" else report.outcome, "", "")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say in one line what came of a test, and learn what it took."""
        if report.when == "call":
            signal.setitimer(signal.ITIMER_REAL, 0)
        if report.when == "teardown":
            faulthandler.cancel_dump_traceback_later()
        if report.when != "call" and not (report.skipped or report.failed):
            return
        row = self._session.rows.get(report.nodeid)
        took = time.perf_counter() - self._began.get(report.nodeid, time.perf_counter())
        if report.when == "call" and not report.skipped:
            self._budget.note(report.nodeid, took, self._session.spent_s.get(report.nodeid, 0.0))
        name = report.nodeid.rpartition("::")[2].removeprefix("test_")
        if report.nodeid not in self._needed:
            self._print(f"{max(0, self._session.seconds_left):4.0f} s  {_outcome(report, row):<22} {name}"[:_WIDTH])
        if report.nodeid not in self._needed and (report.failed or (report.skipped and row is None)):
            self._print(f"        {_why(report)}"[:_WIDTH])
        if report.failed:
            print(f"\n{report.nodeid}\n{report.longreprtext}", file=sys.__stderr__, flush=True)
        if report.failed and gpu_is_lost():
            sys.stdout.flush()
            os._exit(GPU_LOST)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Note that the run came to its end; hooks after this one may still change its exit code."""
        self._pytest_session = session
        if self._notes is not None:
            record_files.write_text(self._notes, json.dumps({"running": None, "reasons": {}, "ended": True}))

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End at once: all is written, and what frameworks still do at the end of a process can take long."""
        sys.stdout.flush()
        sys.stderr.flush()
        code = pytest.ExitCode.INTERNAL_ERROR if self._pytest_session is None else self._pytest_session.exitstatus
        os._exit(int(code))

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name what did not fit, with the seconds that it needs."""
        if self._needed:
            each = [f"{nodeid.rpartition('::')[2]} ({needed:.0f} s)" for nodeid, needed in self._needed.items()]
            terminalreporter.section("no time left for")
            terminalreporter.write_line(textwrap.fill(", ".join(each), 80, break_on_hyphens=False))

    def _print(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line)


def _outcome(report: pytest.TestReport, row: Mapping[str, Any] | None) -> str:
    """Return the speedup of a pair, the value of a figure, or why there is none, in a few words."""
    from speedclaims.report.model.formatting import format_estimate  # noqa: PLC0415

    if report.failed:
        return "FAILED"
    if report.skipped or row is None:
        return "skipped"
    if "value" in row:
        return "not measured" if row["value"] is None else f"{row['value']:.3g} {row['unit']}"[:22]
    return "too few rounds" if row["low"] is None else str(format_estimate(row["speedup"], row["low"], row["high"]))


def _why(report: pytest.TestReport) -> str:
    """Return the error of a failed test, or the reason of a skipped one, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    if isinstance(report.longrepr, tuple):
        text = str(report.longrepr[2]).removeprefix("Skipped: ").removeprefix("not_measured: ")
    return " ".join(text.split())


def _end_test(*_: object) -> None:
    """End the test that runs, as its run's time is up: the record must still be written."""
    pytest.skip("not_measured: the run's time was up while it was measured (--minutes)")
