"""The pytest plugin: options, markers, fixtures and hooks.

Loading it imports nothing heavy; what measures, judges and draws is imported when a test needs it.
"""

import sys
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import pluggy
import pytest

from speedclaims.markers import measures
from speedclaims.measure import child_process
from speedclaims.options import (
    _CLAIM_HELP,
    _CONTROL_HELP,
    _EVIDENCE_HELP,
    _FAIL_HELP,
    _LONG_HELP,
    _PASSES_HELP,
    DEPRECATED_HELPS,
    pytest_addoption,  # noqa: F401 - pytest finds the hook here
)
from speedclaims.record import files as record_files
from speedclaims.record.json_types import JsonObject
from speedclaims.session import ATTRIBUTE, KEY, ROW, SpeedSession

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from speedclaims.fixtures.child_pair import ChildPair
    from speedclaims.fixtures.figure import Figure
    from speedclaims.fixtures.pair import Pair
    from speedclaims.gating import Gating
    from speedclaims.record.types import Labels, Row


_LOADED = perf_counter() - process_time()
"""About when this process was started."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, check the report's folder and start collecting what the run measures."""
    config.addinivalue_line("markers", _CLAIM_HELP)
    config.addinivalue_line("markers", _EVIDENCE_HELP)
    config.addinivalue_line("markers", _CONTROL_HELP)
    config.addinivalue_line("markers", _LONG_HELP)
    config.addinivalue_line("markers", _PASSES_HELP)
    config.addinivalue_line("markers", _FAIL_HELP)
    for text in DEPRECATED_HELPS:
        config.addinivalue_line("markers", text)
    if child_process.job_of(config) is not None:
        child_process.silence(config)
    for option in ("report", "record"):
        _refuse_folder(f"--speedup-{option}", config.getoption(f"speedup_{option}"))
    _refuse_without_gate(config)
    session = config.stash[KEY] = SpeedSession(config)
    gating = None
    if session.is_gated:
        from speedclaims.gating import Gating  # noqa: PLC0415 - loading the plugin must stay cheap

        gating = Gating(config, session)
    config.pluginmanager.register(_Run(config, gating), "speedclaims-run")


def _refuse_without_gate(config: pytest.Config) -> None:
    """Refuse an option of the gate where nothing is gated: it would do nothing."""
    if config.getoption("speedup_fail") is not None or child_process.job_of(config) is not None:
        return
    for name in ("--speedup-until-decided", "--speedup-fail-ambiguous", "--speedup-compare-subset"):
        if config.getoption(name.removeprefix("--").replace("-", "_")):
            raise pytest.UsageError(f"{name} is about the gate, which is off: add --speedup-fail PCT")


def _refuse_folder(option: str, folder: Path | None) -> None:
    """Refuse a folder that cannot be written before anything is measured, not after."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(
            f"{option} {folder}: not a folder that can be written ({error.strerror}): name another"
        ) from None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which pairs are to run; in a child, keep the one test that it was started for."""
    job = child_process.job_of(config)
    if job is None:
        config.stash[KEY].wanted = {item.nodeid for item in items if measures(item)}
        return
    child_process.forget_cache(config)
    items[:] = [item for item in items if item.nodeid == job.nodeid]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that has not begun when the run's time is up."""
    session = item.config.stash[KEY]
    session.test_began = perf_counter()
    if measures(item) and session.seconds_left <= 0:
        pytest.skip(f"not_measured: {session.time_is_up}")


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Add a pair's speedup to PASSED, with ``-v``."""
    row: Row | None = getattr(report, ATTRIBUTE, None)
    if report.when != "call" or not report.passed or row is None or "speedup" not in row or row["speedup"] is None:
        return None
    from speedclaims.report.model.formatting import format_estimate  # noqa: PLC0415

    return "passed", ".", (f"PASSED {format_estimate(row['speedup'], row['low'], row['high'])}", {"green": True})


@pytest.fixture
def pair_labels() -> "Labels":
    """Return labels for the rows of all pairs; override it in a conftest: ``family``, ``preset`` and ``device``."""
    return {}


@pytest.fixture
def pair(request: pytest.FixtureRequest, benchmark: "BenchmarkFixture", pair_labels: "Labels") -> "Pair | ChildPair":
    """Measure two callables in alternation: ``result = pair(before=old, after=new)``.

    The result has ``speedup``, ``low``, ``high``, ``num_rounds``, ``before_s``, ``after_s`` and ``verdict``. Further
    arguments are ``names`` (of the sides), ``equivalent`` (a check that runs before and after timing), ``work`` (same,
    less or different), ``units`` (per call), ``setup`` (runs before each side and is not timed), ``synchronize``,
    ``loop_factory`` (of async sides) and ``passes``.

    An async side is awaited. One that returns a generator, a future or a lazy frame is refused.
    """  # noqa: D402 - it shows the call
    job = child_process.job_of(request.config)
    if job is not None:
        from speedclaims.fixtures.child_pair import ChildPair  # noqa: PLC0415

        return ChildPair(request.config, job, benchmark, pair_labels)
    from speedclaims.fixtures.pair import Pair  # noqa: PLC0415

    return Pair(request, benchmark, request.config.stash[KEY], pair_labels)


@pytest.fixture
def figure(request: pytest.FixtureRequest, benchmark: "BenchmarkFixture", pair_labels: "Labels") -> "Figure":
    """Record one value that is not a time, with its interval: ``figure(value, low=low, high=high, unit="bytes")``.

    The value judges the claims that the test's marker names. Give a count ``exact=True`` instead of an interval. Give
    None with a ``reason`` for a value that could not be measured.
    """
    from speedclaims.fixtures.figure import Figure  # noqa: PLC0415

    return Figure(request, benchmark, request.config.stash[KEY], pair_labels)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Hang a pair's row on the test's report: the way from an xdist worker to its controller."""
    outcome = yield
    if call.when != "teardown" and ROW in item.stash:
        setattr(outcome.get_result(), ATTRIBUTE, item.stash[ROW])


class _Run:
    """The hooks that need the run's configuration and are not given it, or must come in another order."""

    def __init__(self, config: pytest.Config, gating: "Gating | None") -> None:
        self.config = config
        self.gating = gating
        self.session: SpeedSession = config.stash[KEY]
        self.written: list[Path] = []
        self.problem: str | None = None
        self.no_page: str | None = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that a file could not be collected: its tests may judge claims."""
        self.session.is_all_collected &= report.passed

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the ledgers before ``-k`` and ``-m`` deselect tests: only then are all claims named."""
        if any(measures(item) for item in items) and not self._has_benchmark:
            raise pytest.UsageError(
                "speedclaims measures through pytest-benchmark, which is turned off: remove -p no:benchmark"
            )
        self.session.collect(items)

    @property
    def _has_benchmark(self) -> bool:
        return self.config.pluginmanager.has_plugin("benchmark")

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note why pairs of the base will be missing."""
        if self.gating is not None:
            self.gating.deselect([item.nodeid for item in items])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test measured, and keep what there is so far: a run may be cut off."""
        self.session.take(report)
        if report.when == "teardown" and report.nodeid in self.session.rows:
            self._save_so_far()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Measure after all tests what was put off until then."""
        self.session.changed = self._save_so_far
        self.session.loading_s = perf_counter() - _LOADED
        result = yield
        self.session.catch_up()
        if self.gating is not None:
            self.gating.decide()
        return result

    def _save_so_far(self) -> None:
        from speedclaims.record import io as record  # noqa: PLC0415 - likewise
        from speedclaims.record import paths as record_paths  # noqa: PLC0415

        folder: Path | None = self.config.getoption("speedup_report")
        if folder is None or not self._speaks:
            return
        try:
            record_files.write_text(folder / record_paths.SO_FAR, record.dumps(self.session.record()))
        except (OSError, record.RecordError) as error:
            self.problem = f"{folder / record_paths.SO_FAR}: {error}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: JsonObject) -> None:
        """Add the library versions, which pytest-benchmark leaves out."""
        from speedclaims.recorders import environment  # noqa: PLC0415

        machine_info["libraries"] = environment.versions()

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: JsonObject) -> None:
        """Add the key ``speedclaims`` to whatever pytest-benchmark saves."""
        if self.session.rows or self.session.wanted:
            output_json["speedclaims"] = self.session.section()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report and set the exit code where nothing was measured or a claim is refuted."""
        if not self._speaks:
            return
        if self.gating is not None:
            session.exitstatus = self.gating.finish(int(session.exitstatus))
        if self.session.rows:
            self._write(self.config.getoption("speedup_report"), self.config.getoption("speedup_record"))
            if self.problem is not None:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if session.exitstatus != pytest.ExitCode.OK:
            return
        if self.session.measured_nothing:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        elif self.config.getoption("speedup_strict") and self.session.refuted:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def _speaks(self) -> bool:
        """Whether this process reports: not an xdist worker, not a child, not a mere collection."""
        quiet = hasattr(self.config, "workerinput") or self.config.getoption("collectonly")
        return self._has_benchmark and not quiet and child_process.job_of(self.config) is None

    def _write(self, report: Path | None, records: Path | None) -> None:
        from speedclaims.record import paths as record_paths  # noqa: PLC0415
        from speedclaims.record.io import RecordError  # noqa: PLC0415
        from speedclaims.report.html.page import ReportError, render_markdown, why_no_page, write_report  # noqa: PLC0415

        self.problem = None
        try:
            if report is not None:
                self.written = write_report([self.session.record()], report)
                self.no_page = why_no_page()
                (report / record_paths.SO_FAR).unlink(missing_ok=True)
            if records is not None:
                found = self.session.record()
                self.written.append(record_paths.file(found, render_markdown([found]), records))
        except (RecordError, ReportError) as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = f"--speedup-record {records}: {error.strerror}: name a folder that can be written"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdicts, and where the report is."""
        if not self._speaks:
            return
        if self.session.rows:
            self._show_claims(terminalreporter)
        if self.gating is not None:
            terminalreporter.section("speedclaims gate", sep="=")
            self._show(terminalreporter, partial(_gate_summary, self.gating))

    def _show_claims(self, terminalreporter: pytest.TerminalReporter) -> None:
        from speedclaims.report.terminal.summary import claims_summary  # noqa: PLC0415

        terminalreporter.section("speedclaims", sep="=")
        self._show(terminalreporter, partial(claims_summary, self.session.record()))
        if self.problem is not None:
            terminalreporter.write_line(f"no report: {self.problem}", red=True)
        for path in self.written:
            if path.suffix == ".html" or (path.name == "speedups.md" and self.no_page):
                terminalreporter.write_line(f"report: {path}")
            elif path.name != "record.json" and path.suffix == ".json":
                terminalreporter.write_line(f"record: {path}")
        if self.no_page is not None:
            terminalreporter.write_line(f"no index.html: {self.no_page}")

    @staticmethod
    def _show(terminalreporter: pytest.TerminalReporter, render: Callable[..., str]) -> None:
        """Write what a function makes for the terminal's width, colour and characters."""
        writer = terminalreporter._tw  # noqa: SLF001 - the only way to know whether colour is on
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        unicode = encoding.lower().replace("-", "").startswith("utf")
        try:
            text = render(writer.fullwidth, color=writer.hasmarkup, unicode=unicode)
        except ImportError as error:
            text = f"no table here: a library cannot be imported ({error})"
        terminalreporter.write(text if text.endswith("\n") else text + "\n")


def _gate_summary(gating: "Gating", width: int, *, color: bool, unicode: bool) -> str:
    """Return the comparison with the base as a terminal shows it."""
    if gating.gate is None:
        return f"no gate: {gating.problem}"
    from speedclaims.report.terminal.gate_table import gate_summary  # noqa: PLC0415

    return gate_summary(gating.gate, width, color=color, unicode=unicode)
