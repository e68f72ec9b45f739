"""The pytest plugin: options, markers, fixtures and hooks.

Loading it imports nothing heavy; what measures, judges and draws is imported when a test needs it.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import pluggy
import pytest

from speedclaims import boundary
from speedclaims.clock import now
from speedclaims.errors import SpeedclaimsError, shorten
from speedclaims.markers import measures, named_claims, num_ranks, times_longer
from speedclaims.measure import child_process, command_line
from speedclaims.options import (
    _CLAIM_HELP,
    _CONTROL_HELP,
    _DIFFERS_HELP,
    _EVIDENCE_HELP,
    _FAIL_HELP,
    _LONG_HELP,
    _PASSES_HELP,
    _RANKS_HELP,
    DEPRECATED_HELPS,
    pytest_addoption,  # noqa: F401 - pytest finds the hook here
)
from speedclaims.record import benchmark_rows
from speedclaims.record import files as record_files
from speedclaims.record.json_types import JsonObject
from speedclaims.session import ATTRIBUTE, KEY, ROWS, SpeedSession

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from speedclaims.fixtures.child_pair import ChildPair
    from speedclaims.fixtures.compare import ChildCompare, Compare
    from speedclaims.fixtures.figure import Figure
    from speedclaims.fixtures.pair import Pair
    from speedclaims.gating import Gating
    from speedclaims.record.types import Labels, Row
    from speedclaims.revisions.run import Against


_LOADED = now() - process_time()
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
    config.addinivalue_line("markers", _DIFFERS_HELP)
    config.addinivalue_line("markers", _RANKS_HELP)
    for text in DEPRECATED_HELPS:
        config.addinivalue_line("markers", text)
    job = child_process.job_of(config)
    if job is None:
        command_line.remember(config)
    elif job.channel:
        from speedclaims.revisions.served import Serving  # noqa: PLC0415 - loading the plugin must stay cheap

        config.pluginmanager.register(Serving(config, job), "speedclaims-serving")
    _refuse_without_gate(config)
    _refuse_without_shards(config)
    session = config.stash[KEY] = SpeedSession(config)
    is_against = _compares_sides(config)
    gating = None
    if session.is_gated and not is_against:
        from speedclaims.gating import BaseGating  # noqa: PLC0415 - likewise

        gating = BaseGating(config, session)
    bases = _bases(config, gating)  # now, for a test may change the working folder
    _check_folders(config, bases)
    _check_json(config, bases)
    _check_verdict(config, bases)
    run = _AgainstRun(config, bases) if is_against else _Run(config, gating, bases)
    config.pluginmanager.register(run, "speedclaims-run")


def _compares_sides(config: pytest.Config) -> bool:
    """Return whether this run compares revisions or interpreters; refuse options that do not go with that."""
    option = config.getoption
    names = {"--speedup-against": "speedup_against", "--speedup-python": "speedup_python"}
    given = [name for name, key in names.items() if option(key) is not None]
    if option("speedup_build") is not None and "--speedup-against" not in given:
        raise pytest.UsageError("--speedup-build builds two revisions: add --speedup-against REF")
    if not given:
        return False
    others = {
        "--benchmark-compare": (option("benchmark_compare", None), "measures both sides now"),
        "--speedup-compare-subset": (option("speedup_compare_subset"), "measures both sides now"),
        "--speedup-passes": (option("speedup_passes") != ("time",), "measures times alone"),
        "-n and --dist": (option("dist", "no") != "no", "measures, and benchmarks do not run under pytest-xdist"),
        "--benchmark-disable": (option("benchmark_disable", None), "measures"),
        "--benchmark-skip": (option("benchmark_skip", None), "measures"),
    }
    for name, (is_given, why) in others.items():
        if is_given:
            raise pytest.UsageError(f"{given[0]} {why}: leave out {name}")
    return True


def _refuse_without_gate(config: pytest.Config) -> None:
    """Refuse an option of the gate where nothing is gated: it would do nothing."""
    if config.getoption("speedup_fail") is not None:
        return
    for name in ("--speedup-until-decided", "--speedup-fail-ambiguous", "--speedup-compare-subset"):
        if config.getoption(name.removeprefix("--").replace("-", "_")):
            raise pytest.UsageError(f"{name} is about the gate, which is off: add --speedup-fail PCT")


def _refuse_without_shards(config: pytest.Config) -> None:
    """Refuse options about shards that do not go together."""
    option = config.getoption
    if option("speedup_shard") is None:
        if option("speedup_shard_by") is not None:
            raise pytest.UsageError("--speedup-shard-by is about shards: add --speedup-shard I/N")
    elif option("speedup_against") is not None or option("speedup_python") is not None:
        raise pytest.UsageError("--speedup-shard is for runs of one revision: leave it out, or name a test")
    elif option("speedup_fail") is not None and not option("speedup_compare_subset"):
        raise pytest.UsageError(
            "--speedup-fail misses the pairs of other shards: gate the merged record by speedclaims compare, or add "
            "--speedup-compare-subset"
        )


def _keep_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of this run's shard."""
    shard = config.getoption("speedup_shard")
    if shard is None:
        return
    from speedclaims import shards  # noqa: PLC0415 - loading the plugin must stay cheap

    path: Path | None = config.getoption("speedup_shard_by")
    try:
        seconds = {} if path is None else shards.durations(path)
    except SpeedclaimsError as error:
        raise pytest.UsageError(f"--speedup-shard-by: {error}") from None
    others, config.stash[KEY].shard = shards.take(items, shard, seconds)
    config.hook.pytest_deselected(items=others)


def _check_folders(config: pytest.Config, bases: Sequence[Path]) -> None:
    """Refuse a folder that cannot be written, or that holds what must stay, before anything is measured."""
    for name in ("report", "record"):
        folder: Path | None = config.getoption(f"speedup_{name}")
        if folder is None:
            continue
        option = f"--speedup-{name} {_shown(folder, config)}"
        try:
            record_files.check_folder(folder)
            if name == "report":
                from speedclaims.record import paths as record_paths  # noqa: PLC0415 - likewise

                record_paths.check_report(folder, _report_names(folder, bases).values())
        except SpeedclaimsError as error:
            raise pytest.UsageError(f"{option}: {error}") from None
        except OSError as error:
            raise pytest.UsageError(
                f"{option}: not a folder that can be written ({error.strerror or error}): name another"
            ) from None


def _check_json(config: pytest.Config, bases: Sequence[Path]) -> None:
    """Refuse a file of ``--benchmark-json`` that cannot be written, is in use, or is somebody else's."""
    path: Path | None = config.getoption("benchmark_json", None)
    if path is None or child_process.job_of(config) is not None:
        return
    report: Path | None = config.getoption("speedup_report")
    in_use = list(bases)
    if report is not None:
        in_use += [report / name for name in _report_names(report, bases).values()]
    _check_output("--benchmark-json", path, in_use, b'"machine_info"', "a file of pytest-benchmark")


def _check_verdict(config: pytest.Config, bases: Sequence[Path]) -> None:
    """Refuse a file of ``--speedup-json`` that cannot be written, is in use, or is somebody else's."""
    given: str | None = config.getoption("speedup_json")
    if given is not None and given != "-" and child_process.job_of(config) is None:
        mark = b'"schema_version":1,"exit_code":'
        _check_output("--speedup-json", Path(given), bases, mark, "verdicts of a run")


def _check_output(option: str, path: Path, in_use: Sequence[Path], mark: bytes, what: str) -> None:
    """Refuse a file that cannot be written, is in use, or does not hold the mark of what would be written to it."""
    try:
        record_files.refuse_inputs([path], in_use)
        record_files.refuse_foreign(path, record_files.holds(mark), what)
        record_files.check_output(path)
    except SpeedclaimsError as error:
        raise pytest.UsageError(f"{option} {error}") from None
    except OSError as error:
        raise pytest.UsageError(f"{option} {boundary.describe_place(error)}") from None


def _bases(config: pytest.Config, gating: "Gating | None") -> list[Path]:
    """Return the file with which this run is compared, where there is one."""
    if gating is not None:
        return gating.bases
    wanted = config.getoption("benchmark_compare", None)
    return [Path(wanted).absolute()] if isinstance(wanted, str) and Path(wanted).is_file() else []


def _report_names(folder: Path, in_use: Sequence[Path]) -> dict[str, str]:
    """Return the names of a report's files by their usual ones: a base keeps its name."""
    from speedclaims.record import paths as record_paths  # noqa: PLC0415 - loading the plugin must stay cheap

    usual = (record_paths.PAGE, record_paths.TABLES, record_paths.RECORD, record_paths.SO_FAR)
    return {name: record_paths.unused(name, folder, in_use) for name in usual}


def _shown(path: Path, config: pytest.Config) -> Path:
    """Return a path as a user would write it: from the folder on in which pytest was started."""
    start = config.invocation_params.dir
    return path.relative_to(start) if path.is_relative_to(start) else path


@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In a child, pass over all files but that of its test."""
    job = child_process.job_of(config)
    if job is None or collection_path == Path(job.path) or collection_path in Path(job.path).parents:
        return None
    return True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which pairs are to run; in a child, keep the one test that it was started for."""
    job = child_process.job_of(config)
    if job is None:
        for item in items:
            num_ranks(item)  # a wrong marker is reported before anything is measured
        run = config.pluginmanager.get_plugin("speedclaims-run")
        if isinstance(run, _AgainstRun):
            run.take(items)
        else:
            _keep_shard(config, items)
            config.stash[KEY].wanted = {item.nodeid for item in items if measures(item)}
        return
    # one file is collected; its name differs where the root is not above it
    items[:] = [item for item in items if _in_file(item.nodeid) == _in_file(job.nodeid)]


def _in_file(nodeid: str) -> str:
    """Return the name of a test in its file."""
    return nodeid.partition("::")[2]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that has not begun when the run's time is up."""
    session = item.config.stash[KEY]
    session.test_began = now()
    if measures(item) and session.seconds_left <= 0:
        pytest.skip(f"not_measured: {session.time_is_up}")
    if num_ranks(item):
        _join_ranks(item)


def _join_ranks(item: pytest.Item) -> None:
    """Let a test of several ranks find its process in their group."""
    from speedclaims.measure import ranks  # noqa: PLC0415 - loading the plugin must stay cheap
    from speedclaims.measure.torchrun import RanksError  # noqa: PLC0415 - likewise

    number, processors = num_ranks(item), os.cpu_count() or 1
    if number > processors and not _is_rank(item.config):
        item.warn(pytest.PytestWarning(f"{number} ranks share {processors} processors, and wait for each other"))
    try:
        ranks.join(is_rank=_is_rank(item.config))
    except RanksError as error:
        raise pytest.fail.Exception(f"nothing measured, {error}", pytrace=False) from None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a rank whose test never called ``pair`` fail: the others would wait for it."""
    if _is_rank(session.config):
        from speedclaims.fixtures.child_pair import CALLED  # noqa: PLC0415 - loading the plugin must stay cheap

        if session.exitstatus in {0, pytest.ExitCode.NO_TESTS_COLLECTED} and not session.config.stash.get(
            CALLED, False
        ):
            boundary.say("\nE   the test ended on this rank without calling pair")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_rank(config: pytest.Config) -> bool:
    """Return whether this process is one of several ranks."""
    job = child_process.job_of(config)
    return job is not None and job.ranks > 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Leave the group of the only rank that a test of several ranks was given."""
    if num_ranks(item) and "torch" in sys.modules and not _is_rank(item.config):
        from speedclaims.measure import ranks  # noqa: PLC0415 - loading the plugin must stay cheap

        ranks.leave_alone()


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Add a pair's speedup to PASSED, with ``-v``."""
    rows: Sequence[Row] = getattr(report, ATTRIBUTE, None) or ()
    if report.when != "call" or not report.passed:
        return None
    measured = [row for row in rows if "speedup" in row and row["speedup"] is not None]
    if len(measured) != 1:
        return None
    (row,) = measured
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
def compare(
    request: pytest.FixtureRequest, benchmark: "BenchmarkFixture", pair_labels: "Labels"
) -> "Compare | ChildCompare":
    """Measure several callables in balanced orders: ``compare({"json": f, "orjson": g}, over={"n": [10, 1000]})``.

    Each is compared with a ``baseline``, by default the first, and with the next slower one; all intervals of a case
    hold together. Further arguments are ``equivalent``, ``work``, ``setup``, ``synchronize``, ``loop_factory``,
    ``units`` and ``unit``. The result has ``cases``, each with a ``ratio(name)``.
    """
    job = child_process.job_of(request.config)
    if job is not None:
        from speedclaims.fixtures.compare import ChildCompare  # noqa: PLC0415

        return ChildCompare(request.config, job, benchmark)
    from speedclaims.fixtures.compare import Compare  # noqa: PLC0415

    return Compare(request, benchmark, request.config.stash[KEY], pair_labels)


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
    """Hang a pair's row on the test's report: the way from an xdist worker to its controller.

    A test that measured nothing gets a row that says why. It fails where a claim rests on it.
    """
    outcome = yield
    report = outcome.get_result()
    has_ended = report.failed or (report.passed and call.when == "call")
    if call.when != "teardown" and has_ended and ROWS not in item.stash and child_process.job_of(item.config) is None:
        _note_nothing_measured(item, report, call)
    if call.when != "teardown" and ROWS in item.stash:
        setattr(report, ATTRIBUTE, item.stash[ROWS])
        if call.when == "call":  # the report of its teardown has them, which --junitxml reads
            item.user_properties += [one for row in item.stash[ROWS] for one in _properties(row)]


def _properties(row: "Row") -> list[tuple[str, object]]:
    """Return what ``--junitxml`` says of a test: its speedup, or its figure."""
    names = ("speedup", "low", "high") if "speedup" in row else ("value", "low", "high", "unit")
    fields: Mapping[str, object] = row
    prefix = "speedclaims."
    if "alternative" in row:
        prefix += f"{row['name'].rpartition('[')[2].rstrip(']')}."
    found = [(f"{prefix}{name}", fields[name]) for name in names if fields[name] is not None]
    return [(f"{prefix}status", row["status"]), *found]


def _note_nothing_measured(item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Keep a row for a test that failed before it measured, or ended without measuring."""
    claims = [claim for claim, _ in named_claims(item)]
    if not (claims or measures(item)):
        return
    from speedclaims.fixtures.pair_row import row_of_nothing  # noqa: PLC0415 - loading the plugin must stay cheap

    session = item.config.stash[KEY]
    if report.failed and call.excinfo is not None:
        error = call.excinfo.value
        why = error.cause if isinstance(error, child_process.ChildError) else call.excinfo.exconly()
        session.add_row(item, row_of_nothing(item, f"the test failed: {shorten(why)}"))
    else:
        session.add_row(item, row_of_nothing(item, "the test ended without a measurement"))
        if claims:
            report.outcome = "failed"
            report.longrepr = (
                f"nothing measured: the test judges {', '.join(claims)} and ended without a measurement: call pair or "
                "figure, or skip the test with the reason"
            )


_OF_BENCHMARK_TABLE = {
    f"--benchmark-{name}"
    for name in ("columns", "sort", "group-by", "name", "histogram", "cprofile", "verbose", "compare-fail", "time-unit")
}
"""Options of pytest-benchmark that are about its table."""


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(config: pytest.Config) -> Generator[None, object, object]:
    """Leave out pytest-benchmark's table of pairs, which is in the summary of speedups, unless it is asked for."""
    wanted = _OF_BENCHMARK_TABLE | (set() if config.getoption("speedup_fail") else {"--benchmark-compare"})
    is_asked_for = config.getoption("verbose") > 0 or command_line.is_given(config, wanted)
    if is_asked_for or not config.pluginmanager.has_plugin("benchmark"):
        return (yield)
    with benchmark_rows.table_hidden(config):
        return (yield)


class _Run:
    """The hooks that need the run's configuration and are not given it, or must come in another order."""

    def __init__(self, config: pytest.Config, gating: "Gating | None", bases: Sequence[Path]) -> None:
        self.config = config
        self.gating = gating
        self._bases = bases
        self.session: SpeedSession = config.stash[KEY]
        self.written: list[Path] = []
        self.problems: list[str] = []
        self.is_broken = False
        self.no_page: str | None = None
        self._last_line: str | None = None
        self._so_far = ""
        self._so_far_problems: list[str] = []  # the record is written once more at the end
        self._pytest_session: pytest.Session | None = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that a file could not be collected: its tests may judge claims."""
        self.session.is_all_collected &= report.passed

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the ledgers before ``-k`` and ``-m`` deselect tests: only then are all claims named."""
        if any(measures(item) for item in items):
            self._refuse_without_benchmark()
        try:
            self.session.collect(items)
        except OSError as error:
            raise pytest.UsageError(boundary.describe_place(error)) from None

    def _refuse_without_benchmark(self) -> None:
        if not self._has_benchmark:
            raise pytest.UsageError(
                "speedclaims measures through pytest-benchmark, which is turned off: remove -p no:benchmark"
            )

    @property
    def _has_benchmark(self) -> bool:
        return any(map(self.config.pluginmanager.has_plugin, ("benchmark", "pytest_benchmark.plugin")))

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note why pairs of the base will be missing."""
        if self.gating is not None:
            self.gating.deselect([item.nodeid for item in items])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test measured, and keep what there is so far: a run may be cut off."""
        with self._noting():
            self.session.take(report)
        if report.when == "teardown" and report.nodeid in self.session.tests_with_rows:
            self._save_so_far()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Measure after all tests what was put off until then."""
        self.session.changed = self._save_so_far
        self.session.loading_s = now() - _LOADED
        result = yield
        with self._noting():
            self.session.catch_up()
        with self._noting():
            if self.gating is not None:
                self.gating.decide()
            if self.session.rows and self._speaks:
                self.session.record()  # from here on each row can be saved, by pytest-benchmark too
        return result

    @contextmanager
    def _noting(self, problems: list[str] | None = None) -> Iterator[None]:
        """Note an error instead of raising it: pytest would lose the report, and end with the code of a regression."""
        problems = self.problems if problems is None else problems
        try:
            yield
        except SpeedclaimsError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(boundary.describe_place(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the report is written
            self.is_broken = True
            self.problems.append(boundary.keep_traceback(error))

    @property
    def _report(self) -> Path | None:
        """The folder for the report."""
        folder: Path | None = self.config.getoption("speedup_report")
        return folder

    def _save_so_far(self) -> None:
        from speedclaims.record import io as record  # noqa: PLC0415 - likewise
        from speedclaims.record import paths as record_paths  # noqa: PLC0415

        if self._report is None or not self._speaks or self.is_broken:
            return
        with self._noting(self._so_far_problems):
            self._so_far = record.dumps(self.session.record())
            record_files.write_text(self._report / self._names[record_paths.SO_FAR], self._so_far)

    @property
    def _names(self) -> dict[str, str]:
        return {} if self._report is None else _report_names(self._report, self._bases)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: JsonObject) -> None:
        """Add the library versions, which pytest-benchmark leaves out."""
        from speedclaims.recorders import environment  # noqa: PLC0415

        machine_info["libraries"] = environment.versions()

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: JsonObject) -> None:
        """Add the key ``speedclaims`` to whatever pytest-benchmark saves."""
        if self.session.rows or self.session.wanted:
            with self._noting():
                output_json["speedclaims"] = self.session.section()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report and set the exit code where nothing was measured or a claim is refuted."""
        if not self._speaks:
            return
        self._pytest_session = session
        if self.gating is not None:
            with self._noting():
                session.exitstatus = self.gating.finish(int(session.exitstatus))
        if self.session.rows:
            self._write()
        if session.exitstatus == pytest.ExitCode.OK:
            with self._noting():
                session.exitstatus = self._status
        self._set_status()

    @property
    def _status(self) -> pytest.ExitCode:
        """The exit code of a run in which no test failed."""
        if self.session.measured_nothing:
            return pytest.ExitCode.NO_TESTS_COLLECTED
        is_refuted = self.config.getoption("speedup_strict") and self.session.refuted
        return pytest.ExitCode.TESTS_FAILED if is_refuted else pytest.ExitCode.OK

    @property
    def _speaks(self) -> bool:
        """Whether this process reports: not an xdist worker, not a child, not a mere collection."""
        quiet = hasattr(self.config, "workerinput") or self.config.getoption("collectonly")
        return self._has_benchmark and not quiet and child_process.job_of(self.config) is None

    def _set_status(self) -> None:
        """Set the exit code where something could not be written, or failed in a way that nobody expected."""
        if self._pytest_session is not None and self.problems:
            self._pytest_session.exitstatus = boundary.FAULT if self.is_broken else pytest.ExitCode.USAGE_ERROR

    def _write(self) -> None:
        """Write what the options ask for, each part for itself: one that fails costs the others nothing."""
        records: Path | None = self.config.getoption("speedup_record")
        self._save_so_far()  # it is complete and stays, should the report fail
        if self._report is not None:
            with self._noting():
                self._write_report(self._report)
        if records is not None:
            with self._noting():
                self._file_record(records)
        self.problems += [f"{nodeid}: {why}" for nodeid, why in self.session.unrecordable.items()]
        if not self.written and (self._report is not None or records is not None):
            with self._noting():
                self._rescue()

    def _write_report(self, folder: Path) -> None:
        from speedclaims.record import paths as record_paths  # noqa: PLC0415
        from speedclaims.report.html.page import why_no_page, write_report  # noqa: PLC0415

        names = self._names
        self.written += write_report([self.session.record()], folder, record_name=names[record_paths.RECORD])
        self.no_page = why_no_page()
        with record_files.locked(folder):
            so_far = folder / names[record_paths.SO_FAR]
            # another session may be writing to this folder too
            if so_far.exists() and so_far.read_bytes() == self._so_far.encode():
                so_far.unlink()

    def _file_record(self, folder: Path) -> None:
        from speedclaims.record import paths as record_paths  # noqa: PLC0415
        from speedclaims.report.html.page import render_markdown  # noqa: PLC0415

        found = self.session.record()
        self.written.append(record_paths.file(found, render_markdown([found]), folder))

    def _rescue(self) -> None:
        """Keep the record among temporary files where it could be written nowhere else."""
        from speedclaims.record import io as record  # noqa: PLC0415

        folder = Path(tempfile.mkdtemp(prefix="speedclaims-"))
        record_files.write_text(folder / "record.json", record.dumps(self.session.record()))
        self.problems.append(f"the record is in {folder / 'record.json'}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdicts, and where the report is."""
        if not self._speaks:
            return
        if self.session.rows:
            with self._noting():
                self._show_claims(terminalreporter)
        if self.gating is not None:
            terminalreporter.section("speedclaims gate", sep="=")
            with self._noting():
                self._show(terminalreporter, partial(_gate_summary, self.gating))
        for problem in dict.fromkeys(self.problems):
            terminalreporter.write_line(f"speedclaims: {problem}", red=True)
        self._set_status()
        given: str | None = self.config.getoption("speedup_json")
        if given is not None:
            with self._noting():
                self._write_verdict(given)

    def _write_verdict(self, given: str) -> None:
        """Write the verdicts as JSON, last of all."""
        from speedclaims.report.json_verdict import json_verdict  # noqa: PLC0415 - loading the plugin must stay cheap

        status = 0 if self._pytest_session is None else int(self._pytest_session.exitstatus)
        text = json_verdict(self.session.record(), status)
        if given == "-":
            self._last_line = text
        else:
            record_files.write_text(Path(given), f"{text}\n")

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Print the verdicts as JSON, after everything else."""
        if self._last_line is not None:
            boundary.say(self._last_line)

    def _show_claims(self, terminalreporter: pytest.TerminalReporter) -> None:
        from speedclaims.report.terminal.summary import claims_summary  # noqa: PLC0415

        terminalreporter.section("speedclaims", sep="=")
        self._show(terminalreporter, partial(claims_summary, self.session.record()))
        for path in self.written:
            shown = _shown(path, self.config)
            if path.suffix == ".html" or (path.name == "speedups.md" and self.no_page):
                terminalreporter.write_line(f"report: {shown}")
            elif path.name != "record.json" and path.suffix == ".json":
                terminalreporter.write_line(f"record: {shown}")
        self._show_missed_options(terminalreporter)
        if self.config.getoption("benchmark_compare", None) and self.gating is None:
            terminalreporter.write_line("times were compared above; add --speedup-fail PCT to compare speedups")
        kept = [usual for usual, name in self._names.items() if usual != name]
        for name in kept if self.written else ():
            terminalreporter.write_line(f"{name} in that folder is the base of this run, and stays as it is")
        if self.no_page is not None:
            terminalreporter.write_line(f"no index.html: {self.no_page}")

    def _show_missed_options(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the options of other plugins that fresh processes did not get: a side may need them."""
        rows = self.session.rows.values()
        if not any(row.get("num_processes") for row in rows) and len(self.session.passes) < 2:
            return
        _, missed = command_line.options(self.config)
        if missed:
            names = ", ".join(dict.fromkeys(option.name for option in missed))
            terminalreporter.write_line(
                f"fresh processes ran without {names}: what a side needs of it, name in the ini option "
                f"{command_line.INI_OPTIONS}"
            )

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


class _AgainstRun(_Run):
    """The hooks of a run that compares two revisions or two interpreters."""

    def __init__(self, config: pytest.Config, bases: Sequence[Path]) -> None:
        super().__init__(config, None, bases)
        self._against: Against | None = None

    def pytest_sessionstart(self) -> None:
        """Check the sides out and build them, before anything is collected."""
        if not self._speaks:
            return
        from speedclaims.gating import SidesGating  # noqa: PLC0415 - loading the plugin must stay cheap
        from speedclaims.revisions.run import Against  # noqa: PLC0415 - likewise

        self._against = Against(self.config, self.session)
        self.session.against = self._against.recorded()
        if self.session.is_gated:
            self.gating = SidesGating(self.config, self.session, self._against)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:  # noqa: ARG002 - of the hook
        """Read no ledger: its claims are about the sides that tests give, and not about two revisions."""
        self._refuse_without_benchmark()

    def take(self, items: list[pytest.Item]) -> None:
        """Let the tests that are left measure both sides."""
        if self._against is None:
            return
        others = self._against.take(items)
        if others:
            self.config.hook.pytest_deselected(items=others)
        self.session.wanted = {item.nodeid for item in items}
        self.session.times_longer = {item.nodeid: times_longer(item) for item in items}

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Remove what was checked out."""
        super().pytest_unconfigure()
        if self._against is not None:
            self._against.close()


def _gate_summary(gating: "Gating", width: int, *, color: bool, unicode: bool) -> str:
    """Return the comparison with the base as a terminal shows it."""
    if gating.gate is None:
        return f"no gate: {gating.problem}"
    from speedclaims.report.terminal.gate_table import gate_summary  # noqa: PLC0415

    return gate_summary(gating.gate, width, color=color, unicode=unicode)
