"""Repeat a test in a fresh process, for what one process cannot tell.

The child runs the same command line with one hidden option more, which names the test, the pass and the side; it
collects as usual, runs that test alone and leaves its figures in a file. Everything that a project's own options set
(a preset, a device) is thereby the same in the child.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.json_types import Json, JsonObject

if TYPE_CHECKING:
    import pytest

OPTION = "--speedup-child"

_OUTPUT_OPTIONS: JsonObject = {
    "benchmark_json": None,
    "benchmark_save": None,
    "benchmark_autosave": False,
    "benchmark_compare": [],
    "benchmark_compare_fail": [],
    "benchmark_histogram": None,
    "benchmark_cprofile": None,
    "benchmark_cprofile_dump": None,
    "speedup_report": None,
    "speedup_record": None,
    "speedup_total_time": None,
    "speedup_fail": None,
    "speedup_until_decided": None,
    "xmlpath": None,
    "usepdb": False,
}
"""Options of the parent's command line that would make a child write or compare; their neutral values."""

_CACHE_PLUGINS = ("lfplugin", "nfplugin", "stepwiseplugin")

_COMPILER_CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables that name the folders in which compilers keep what they made, for later processes."""

_SPARE_S = 900


class ChildError(SpeedclaimsError, RuntimeError):
    """A fresh process did not deliver all of its figures.

    Args:
        message: what went wrong; it ends with the last lines of the process.
        left: what the process delivered before that.
    """

    def __init__(self, message: str, left: Json = None) -> None:
        """Keep what there is."""
        super().__init__(message)
        self.left = left


@dataclass(frozen=True)
class Job:
    """Describe the task of a fresh process.

    Attributes:
        nodeid: the test.
        task: ``time`` (both sides, in alternation), or for one side what ``passes.run_tasks`` takes.
        side: ``before`` or ``after``; for ``time`` neither.
        out: file for the figures.
        max_time: seconds that it may measure.
        num_processes: how many processes share the pair.
    """

    nodeid: str
    task: str
    side: str
    out: str
    max_time: float
    num_processes: int


def job_of(config: "pytest.Config") -> Job | None:
    """Return what this process is to do, None in an ordinary process."""
    text = config.getoption("speedup_child", None)
    return None if text is None else Job(**json.loads(text))


def silence(config: "pytest.Config") -> None:
    """Keep a child from writing, comparing or caching what belongs to its parent."""
    for name, value in _OUTPUT_OPTIONS.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)


def forget_cache(config: "pytest.Config") -> None:
    """Keep a child from touching the parent's ``--lf`` and ``--stepwise`` memory."""
    for name in _CACHE_PLUGINS:
        if config.pluginmanager.has_plugin(name):
            config.pluginmanager.unregister(name=name)


def _empty_caches(task: str, folder: Path) -> dict[str, str]:
    """Return variables by which compilers find nothing that an earlier process made, where a first call is timed."""
    return {name: str(folder / name.lower()) for name in _COMPILER_CACHES} if "cold" in task else {}


def _seed(hash_seed: int | None) -> dict[str, str]:
    return {} if hash_seed is None else {"PYTHONHASHSEED": str(hash_seed)}


def run(  # noqa: PLR0913 - what a job is made of
    config: "pytest.Config",
    nodeid: str,
    task: str,
    side: str = "",
    *,
    max_time: float,
    limit: float = math.inf,
    hash_seed: int | None = None,
    num_processes: int = 1,
) -> Json:
    """Run one job, which measures for `max_time` seconds at most, in a fresh process and return what it left.

    Args:
        config: of this process, whose command line the fresh one repeats.
        nodeid: the test.
        task: see `Job`.
        side: see `Job`.
        max_time: seconds that the job may measure.
        limit: seconds after which the process is ended.
        hash_seed: seed of the process's hashes; by default as in this process.
        num_processes: how many processes share the pair.

    Raises:
        ChildError: the process failed, or was ended, before it had left everything.
    """
    with tempfile.TemporaryDirectory(prefix="speedclaims-") as folder:
        out = Path(folder, "figures.json")
        job = Job(nodeid, task, side, str(out), max_time, num_processes)
        arguments = [str(argument) for argument in config.invocation_params.args]
        command = [sys.executable, "-m", "pytest", *arguments, f"{OPTION}={json.dumps(asdict(job))}"]
        limit = min(limit, _SPARE_S + 2 * max_time)
        try:
            done = subprocess.run(  # noqa: S603 - our own command line again
                command,
                cwd=config.invocation_params.dir,
                env={**os.environ, **_seed(hash_seed), **_empty_caches(task, Path(folder))},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            msg = f"the fresh process for {task} {side}".rstrip() + f" did not end within {limit:.0f} s"
            left = _left_in(out)
            raise ChildError(msg, left and left["figures"]) from None
        left = _left_in(out)
        if left is None or not left["is_all"]:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise ChildError(
                f"the fresh process for {task} {side}".rstrip() + f" ended with {done.returncode}:\n{tail}",
                left and left["figures"],
            )
        return left["figures"]


def leave(job: Job, figures: Json, *, is_all: bool = True) -> None:
    """Write a job's figures, all of them or those there are so far, where the process that started this one reads."""
    unfinished = Path(f"{job.out}.part")
    unfinished.write_text(json.dumps({"is_all": is_all, "figures": figures}, allow_nan=False), encoding="utf-8")
    unfinished.replace(job.out)


def _left_in(out: Path) -> JsonObject | None:
    return json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
