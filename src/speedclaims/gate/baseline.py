"""The base that ``--speedup-fail`` compares with: which saved run, and whether it can be used."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from speedclaims.record import benchmark_rows

if TYPE_CHECKING:
    from speedclaims.gate.compare import Gate
    from speedclaims.record.types import Record, Section

GATE_PROCESSES = 3
"""Fresh processes for each pair when gating: one process understates what differs between processes."""


def load(config: pytest.Config) -> "tuple[Path, Record]":
    """Return the base of a gated run: its path and its record.

    It is what ``--benchmark-compare[=RUN]`` names: the latest saved run, one by number or prefix, or a file.

    Raises:
        pytest.UsageError: nothing can be gated in this run, or there is no base, or it cannot be used; one line.
    """
    percent = config.getoption("speedup_fail")
    _refuse_unmeasured(config, percent)
    _refuse_uncomputed(percent)
    wanted = config.getoption("benchmark_compare", None)
    if not wanted:
        raise pytest.UsageError(
            f"--speedup-fail {percent:g} has nothing to compare with: add --benchmark-compare[=RUN]"
        )
    path = _path(config, wanted)
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


def _refuse_uncomputed(percent: float) -> None:
    """Refuse to gate where the comparison would fail for want of a library after everything was measured."""
    try:
        import scipy.special  # noqa: F401, PLC0415 - the comparison imports it
    except ImportError as error:
        raise pytest.UsageError(
            f"--speedup-fail {percent:g} compares by scipy, which cannot be imported ({error}): install scipy"
        ) from None


def _path(config: pytest.Config, wanted: str | bool) -> Path:  # noqa: FBT001 - it is what the option holds
    if isinstance(wanted, str) and (wanted.endswith(".json") or len(Path(wanted).parts) > 2):
        path = Path(wanted)
        if not path.is_file():
            raise pytest.UsageError(
                f"--benchmark-compare={wanted}: there is no such file: name a record, or save a run first"
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


class Gating:
    """A gated run: its base, and the comparison when all tests have ended."""

    def __init__(self, config: pytest.Config) -> None:
        """Load the base, and measure each pair in fresh processes unless the options say how many."""
        self._percent: float = config.getoption("speedup_fail")
        self.path, self.base = load(config)
        self._deselected: list[str] = []
        self.gate: Gate | None = None
        self.problem: str | None = None
        if not config.option.speedup_processes:
            config.option.speedup_processes = GATE_PROCESSES

    def deselect(self, nodeids: list[str]) -> None:
        """Note tests that were collected and deselected: their pairs are missing for that reason."""
        self._deselected += nodeids

    def finish(self, section: "Section", reasons: dict[str, str], status: int) -> int:
        """Compare a run with the base and return the exit status that follows."""
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            self.problem = "the session was cut off: nothing is compared"
            return status
        from speedclaims.gate.compare import compare  # noqa: PLC0415 - loading the plugin must stay cheap
        from speedclaims.record.io import RecordError  # noqa: PLC0415

        why = {**dict.fromkeys(self._deselected, "deselected"), **reasons}
        try:
            self.gate = compare(self.base["speedclaims"], section, self._percent, why)
        except RecordError as error:
            self.problem = f"the base cannot be used: {error}"
            return pytest.ExitCode.USAGE_ERROR
        return pytest.ExitCode.TESTS_FAILED if self.gate.num_alarms else status
