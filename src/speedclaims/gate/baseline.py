"""The base that ``--speedup-fail`` compares with: which saved run, and whether it can be used."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from speedclaims.record import benchmark_rows
from speedclaims.record.paths import RECORD

if TYPE_CHECKING:
    from speedclaims.record.types import Record


def load(config: pytest.Config) -> "tuple[Path, Record]":
    """Return the base of a gated run: its path and its record.

    It is what ``--benchmark-compare[=RUN]`` names: the latest saved run, one by number or prefix, or a file.

    Raises:
        pytest.UsageError: nothing can be gated in this run, or there is no base, or it cannot be used; one line.
    """
    percent = config.getoption("speedup_fail")
    _refuse_unmeasured(config, percent)
    wanted = config.getoption("benchmark_compare", None)
    if not wanted:
        raise pytest.UsageError(
            f"--speedup-fail {percent:g} has nothing to compare with: add --benchmark-compare[=RUN]"
        )
    try:
        path = _path(config, wanted)
    except OSError as error:
        raise pytest.UsageError(
            f"--benchmark-compare={wanted}: it cannot be looked for ({error.strerror or error}): name a record"
        ) from None
    from speedclaims.record.io import RecordError, read  # noqa: PLC0415 - loading the plugin must stay cheap

    try:
        record = read(path)
    except RecordError as error:
        raise pytest.UsageError(f"the base cannot be used: {error}") from None
    if not any(row["speedup"] is not None and not row["control"] for row in record["speedclaims"]["pairs"]):
        raise pytest.UsageError(f"the base {path} holds no measured pair: save another with --benchmark-autosave")
    return path, record


def _refuse_unmeasured(config: pytest.Config, percent: float) -> None:
    """Refuse to gate a run that measures nothing: it would have to pass or to fail without a figure."""
    option = config.getoption
    because = None
    if not config.pluginmanager.has_plugin("benchmark"):
        because, mend = "pytest-benchmark is turned off", "remove -p no:benchmark"
    elif option("dist", "no") != "no" or os.environ.get("PYTEST_XDIST_WORKER"):
        because, mend = "benchmarks do not run under pytest-xdist", "remove -n and --dist"
    elif option("benchmark_disable") and not option("benchmark_enable"):
        because, mend = "benchmarks are disabled", "remove --benchmark-disable"
    elif option("benchmark_skip") and not option("benchmark_only"):
        because, mend = "benchmarks are skipped", "remove --benchmark-skip"
    if because is not None:
        raise pytest.UsageError(f"--speedup-fail {percent:g} needs measurements, and {because}: {mend}")


def _path(config: pytest.Config, wanted: str | bool) -> Path:  # noqa: FBT001 - it is what the option holds
    if isinstance(wanted, str) and (wanted.endswith(".json") or len(Path(wanted).parts) > 2 or Path(wanted).exists()):
        path = Path(wanted, RECORD) if Path(wanted, RECORD).is_file() else Path(wanted)
        if not path.is_file():
            raise pytest.UsageError(
                f"--benchmark-compare={wanted}: there is no such record: name one, such as report/{RECORD}"
            )
        return path
    try:
        found, where = benchmark_rows.saved_runs(config, None if wanted is True else str(wanted))
    except TypeError:
        raise pytest.UsageError(
            "--speedup-fail reads bases from files: name one, --benchmark-compare=FILE.json"
        ) from None
    if not found:
        which = "no saved run" if wanted is True else f"no saved run that {wanted!r} fits"
        raise pytest.UsageError(
            f"--benchmark-compare: {which} in {where}: save one with --benchmark-autosave, or name a file"
        )
    return found[-1]
