"""The one module that touches what pytest-benchmark does not publish, in versions 5.1, 5.2 and 5.3.

A pair becomes two ordinary rows, ``test_x[before]`` and ``test_x[after]``, so that ``--benchmark-json``,
``--benchmark-compare`` and ``pytest-benchmark compare`` work on them. The fixture allows one measurement a test, but
``_make_stats`` allows several. ``tests/speedclaims/record/test_benchmark_rows.py`` fails when an update changes this.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from speedclaims.record.json_types import JsonObject

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture
    from pytest_benchmark.session import BenchmarkSession
    from pytest_benchmark.stats import Metadata

_COMMIT, _MACHINE = pytest.StashKey[JsonObject](), pytest.StashKey[JsonObject]()

_OF_PAIRS = "label_before"
"""A key that the rows of pairs have, and other rows have not."""

SUPPORTED = ">=5.1,<5.4"
"""The versions of pytest-benchmark that this module works with, as ``pyproject.toml`` asks for them."""


def enabled(benchmark: "BenchmarkFixture") -> bool:
    """Return whether benchmarks run: not under ``--benchmark-disable`` and not under xdist."""
    # pytest-benchmark before 5.2 stays enabled in an xdist worker
    return bool(benchmark.enabled) and not _is_xdist_worker()


def why_disabled(config: pytest.Config) -> str:
    """Return in words why pytest-benchmark is disabled in this run."""
    if _is_xdist_worker() or config.getoption("dist", "no") != "no":
        return "benchmarks do not run under pytest-xdist"
    return "benchmarks are disabled (--benchmark-disable)"


def _is_xdist_worker() -> bool:
    """Whether this process is an xdist worker; pytest-benchmark itself knows it from 5.3 on."""
    return "PYTEST_XDIST_WORKER" in os.environ


def session(config: pytest.Config) -> "BenchmarkSession":
    """Return pytest-benchmark's session."""
    found: BenchmarkSession = config._benchmarksession  # type: ignore[attr-defined]  # noqa: SLF001
    return found


def saved_runs(config: pytest.Config, wanted: str | None) -> tuple[list[Path], str]:
    """Return the saved runs that a number or prefix fits (all of them without one), oldest first, and their place.

    Raises:
        TypeError: the storage keeps its runs elsewhere than in files.
    """
    from pytest_benchmark.logger import Logger  # noqa: PLC0415 - absent under -p no:benchmark
    from pytest_benchmark.storage.file import FileStorage  # noqa: PLC0415
    from pytest_benchmark.utils import get_machine_id, load_storage  # noqa: PLC0415

    option = config.getoption
    storage = load_storage(  # type: ignore[no-untyped-call]
        option("benchmark_storage"),
        logger=Logger(Logger.QUIET, config=config),  # type: ignore[no-untyped-call]
        default_machine_id=get_machine_id(),  # type: ignore[no-untyped-call]
        netrc=option("benchmark_netrc"),
    )
    if not isinstance(storage, FileStorage):
        raise TypeError(type(storage).__name__)
    return storage.query(wanted or "[0-9][0-9][0-9][0-9]_"), str(storage)  # type: ignore[no-untyped-call]


def garbage_collector_off(benchmark: "BenchmarkFixture") -> bool:
    """Return what ``--benchmark-disable-gc`` or the marker of that name asks for."""
    return bool(benchmark._disable_gc)  # noqa: SLF001


class Rows:
    """The rows of a pair, one per side: ``name[side]`` or ``name[params-side]``."""

    def __init__(self, benchmark: "BenchmarkFixture", name: str) -> None:
        """Keep what the rows are called.

        Args:
            benchmark: the ``benchmark`` fixture of the test.
            name: the test's name, with its parameters if it has any.
        """
        self._benchmark = benchmark
        self._name = name
        self._rows: dict[str, Metadata] = {}

    def fill(self, seconds: Mapping[str, Sequence[float]], info: Mapping[str, object]) -> None:
        """Register the rows, or replace what they hold.

        Args:
            seconds: side name to seconds of one call, one value per round.
            info: plain JSON values for ``extra_info``, without NaN and infinity.
        """
        mark_used(self._benchmark)
        for side, values in seconds.items():
            row = self._rows.get(side) or self._new(side)
            row.extra_info = {**self._benchmark.extra_info, **info, "side": side}
            row.stats = type(row.stats)()
            for value in values:
                row.update(value)  # type: ignore[no-untyped-call]

    def _new(self, side: str) -> "Metadata":
        benchmark = self._benchmark
        row: Metadata = benchmark._make_stats(1)  # type: ignore[no-untyped-call]  # noqa: SLF001
        row.name = with_side(self._name, side)
        row.fullname = with_side(benchmark.fullname, side)
        row.group = benchmark.group or benchmark.fullname
        row.param = f"{benchmark.param}-{side}" if benchmark.param else side
        row.params = {**(benchmark.params or {}), "side": side}
        self._rows[side] = row
        return row


@contextmanager
def table_hidden(config: pytest.Config) -> Iterator[None]:
    """Keep pytest-benchmark from printing its table where pairs are all that it holds; it still checks for losses."""
    bench = session(config)
    was = bench.quiet
    bench.quiet = was or all(_OF_PAIRS in row.extra_info for row in bench.benchmarks)
    try:
        yield
    finally:
        bench.quiet = was


def replace(benchmark: "BenchmarkFixture", call: Callable[..., object], pedantic: Callable[..., object]) -> None:
    """Let other functions do what ``benchmark(...)`` and ``benchmark.pedantic(...)`` do."""
    benchmark._raw, benchmark._raw_pedantic = call, pedantic  # type: ignore[method-assign]  # noqa: SLF001


def note_times(
    benchmark: "BenchmarkFixture", seconds: Sequence[float], info: Mapping[str, object] | None = None
) -> None:
    """Let ``benchmark.stats``, the row of its test, hold these seconds of single calls, and replace what it holds."""
    mark_used(benchmark)
    row: Metadata = benchmark.stats or benchmark._make_stats(1)  # type: ignore[no-untyped-call]  # noqa: SLF001
    row.extra_info = {**benchmark.extra_info, **(info or {})}
    row.stats = type(row.stats)()
    for value in seconds:
        row.update(value)  # type: ignore[no-untyped-call]


def mark_used(benchmark: "BenchmarkFixture") -> None:
    """Keep the fixture from warning that a test asked for it and measured nothing with it."""
    benchmark._mode = "pair(...)"  # noqa: SLF001


def with_side(name: str, side: str) -> str:
    """Return what the row of a side is called: ``name[side]``, or ``name[params-side]`` with parameters."""
    return f"{name[:-1]}-{side}]" if name.endswith("]") else f"{name}[{side}]"


def commit_info(config: pytest.Config) -> JsonObject:
    """Return pytest-benchmark's information on the commit, asked for once a run: it starts processes."""
    if _COMMIT not in config.stash:
        config.stash[_COMMIT] = config.hook.pytest_benchmark_generate_commit_info(config=config)
    found: JsonObject = config.stash[_COMMIT]
    return dict(found)


def machine_info(config: pytest.Config) -> JsonObject:
    """Return pytest-benchmark's information on the machine, asked for once a run: it starts processes."""
    if _MACHINE not in config.stash:
        config.stash[_MACHINE] = session(config).get_machine_info()  # type: ignore[no-untyped-call]
    found: JsonObject = config.stash[_MACHINE]
    return dict(found)


def as_json(config: pytest.Config) -> JsonObject:
    """Return pytest-benchmark's JSON of this run as it is, also where it has no rows and would write none."""
    from pytest_benchmark.utils import safe_dumps  # noqa: PLC0415 - absent under -p no:benchmark

    bench, hook = session(config), config.hook
    commit = commit_info(config)
    hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit)
    output: JsonObject = hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=bench.benchmarks,
        include_data=False,
        machine_info=machine_info(config),
        commit_info=commit,
    )
    hook.pytest_benchmark_update_json(config=config, benchmarks=bench.benchmarks, output_json=output)
    plain: JsonObject = json.loads(safe_dumps(output))  # type: ignore[no-untyped-call] # parameters of tests may be any object
    return plain
