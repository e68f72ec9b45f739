"""Measure how pairs of unlike functions vary between processes, and how well intervals over processes hold it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.calibration.common import CONFIDENCE, PRECISION
from speedclaims.measure.interleave import Settings, Work, measure, setup_for

SECONDS = 2.0
"""What one of five processes of a pair gets by default."""


def measure_one(name: str, seconds: float) -> dict[str, Any]:
    """Measure one pair in this process and return its rounds."""
    from bench.calibration.unlike import PAIRS  # noqa: PLC0415 - it makes the data of all pairs

    before, after = PAIRS[name]
    work = Work(before, after, setup_for(None), lambda: None, resets=False)
    found = asdict(measure(work, Settings(max_time=seconds, precision=PRECISION, confidence=CONFIDENCE)))
    return {"pair": name, "load": os.getloadavg()[0], "at": time.time(), **found}


def gather(path: Path, num_processes: int, condition: str, seconds: float = SECONDS) -> None:
    """Append measurements of every pair in fresh processes to a file, a line each, the pairs one after the other.

    What the file holds already is not measured again.
    """
    from bench.calibration.unlike import PAIRS  # noqa: PLC0415 - it makes the data of all pairs

    held = [(row["pair"], row["condition"]) for row in read(path)]
    for _ in range(num_processes):
        for name in PAIRS:
            if held.count((name, condition)) >= num_processes:
                continue
            command = [sys.executable, "-m", "bench.calibration", "between-process", name, "--seconds", str(seconds)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            row = {"condition": condition, **json.loads(done.stdout)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
            held.append((name, condition))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of measurements; none where there is no such file yet."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
