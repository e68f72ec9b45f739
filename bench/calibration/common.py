"""Share what the calibrations use."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from speedclaims.record.io import RecordError

CONFIDENCE = 0.95


PRECISION = 0.01


def share(count: int, total: int, digits: int = 1) -> str:
    """Return a share in per cent with its 95 % interval (Wilson)."""
    from scipy.stats import binomtest  # noqa: PLC0415 - it takes a second, and a process that measures needs none of it

    ends = binomtest(count, total).proportion_ci(method="wilson")
    return f"{count / total:.{digits}%} [{ends.low:.{digits}%}, {ends.high:.{digits}%}]"


def loop(number: int) -> Callable[[], object]:
    """Return a callable that adds up `number` integers."""

    def call() -> int:
        total = 0
        for i in range(number):
            total += i
        return total

    return call


def measure_in_process(what: str, *arguments: str, seed: int | None = None) -> Any:
    """Return what a command of this package prints as JSON in a fresh process.

    Args:
        what: is measured, for the message of an error.
        arguments: of the command.
        seed: of the process's hashes; by default as here.

    Raises:
        RecordError: the process failed; the line ends with its last words.
    """
    command = [sys.executable, "-m", "bench.calibration.__main__", *arguments]
    env = os.environ if seed is None else {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    if done.returncode:
        last = " ".join(done.stderr.split()[-30:])
        raise RecordError(f"{what}: its process ended with {done.returncode}: {last}")
    return json.loads(done.stdout)


def read_results(path: Path, command: str, key: str) -> list[dict[str, Any]]:
    """Return the lines of a file of results; none where there is no file, and none that was written in part.

    Args:
        path: the file, a JSON object a line.
        command: the command that writes it.
        key: a key that each of its objects has.

    Raises:
        RecordError: the file holds something else.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return sorted(found, key=lambda one: one[key])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not the results of {command} ({error}): name another file") from None


_TOGGLING = """
import random, time
while True:
    until = time.perf_counter() + random.uniform(0.5, 3)
    while time.perf_counter() < until:
        pass
    time.sleep(random.uniform(0.5, 3))
"""


@contextmanager
def toggling(num_busy: int) -> Iterator[None]:
    """Keep processes busy and idle by turns of a few seconds while the block runs."""
    with ExitStack() as stack:
        for _ in range(num_busy):
            process = subprocess.Popen([sys.executable, "-c", _TOGGLING])  # noqa: S603 - our own text
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield
