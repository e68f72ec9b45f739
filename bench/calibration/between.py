"""Measure how pairs of unlike functions vary between processes, and how well intervals over processes hold it."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from bench.calibration.common import CONFIDENCE, PRECISION, measure_in_process, read_results, share
from speedclaims import __version__
from speedclaims.measure.interleave import Settings, Work, measure, setup_for
from speedclaims.measure.random_effects import over_processes
from speedclaims.measure.statistics import Interval, interval
from speedclaims.record.io import RecordError
from speedclaims.recorders.environment import device_name

PROCESSES = 5
SECONDS = 2.0
"""Seconds that one of five processes of a pair gets by default."""

_TOGGLING = """
import random, time
while True:
    until = time.perf_counter() + random.uniform(0.5, 3)
    while time.perf_counter() < until:
        pass
    time.sleep(random.uniform(0.5, 3))
"""


def measure_one(name: str, seconds: float) -> dict[str, Any]:
    """Measure one pair in this process and return its blocks.

    Raises:
        RecordError: there is no pair of that name.
    """
    from bench.calibration.unlike import PAIRS  # noqa: PLC0415 - it makes the data of all pairs

    if name not in PAIRS:
        raise RecordError(f"{name!r}: no such pair: the pairs are {'; '.join(PAIRS)}")
    before, after = PAIRS[name]
    work = Work(before, after, setup_for(None), lambda: None, resets=False)
    found = measure(work, Settings(max_time=seconds, precision=PRECISION, confidence=CONFIDENCE))
    num_rounds = len(found.before_s)
    return {
        "pair": name,
        "load": os.getloadavg()[0],
        "num_rounds": num_rounds,
        "interrupted": found.num_interrupted / (2 * num_rounds),
        "log_ratios": found.log_ratios,
    }


def gather(path: Path, num_runs: int, num_busy: int, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Measure every pair in fresh processes, append a line for each to a file, and return all of this condition.

    What the file holds already is not measured again.

    Args:
        path: the file.
        num_runs: runs of each pair, of five processes each.
        num_busy: other processes that are busy and idle by turns.
        seconds: what each process may take.

    Raises:
        RecordError: the file holds something else, or a process failed.
    """
    from bench.calibration.unlike import PAIRS  # noqa: PLC0415 - it makes the data of all pairs

    rows = [row for row in read_results(path, "between", "at") if row["num_busy"] == num_busy]
    with toggling(num_busy):
        for number in range(num_runs * PROCESSES):
            for name in PAIRS:
                if sum(row["pair"] == name for row in rows) > number:
                    continue
                found = measure_in_process(name, "between-process", name, "--seconds", f"{seconds}")
                rows.append({"num_busy": num_busy, "at": time.time(), **found})
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1], allow_nan=False) + "\n")
    return rows


@contextmanager
def toggling(num_busy: int) -> Iterator[None]:
    """Keep processes busy and idle by turns of a few seconds while the block runs."""
    with ExitStack() as stack:
        for _ in range(num_busy):
            process = subprocess.Popen([sys.executable, "-c", _TOGGLING])  # noqa: S603 - our own text
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


@dataclass(frozen=True)
class Agreement:
    """How runs of one pair agree.

    Attributes:
        between_sd: standard deviation of the processes' log speedups.
        half_widths: of the runs' intervals, as a fraction of the speedup.
        num_disjoint: pairs of runs whose intervals do not overlap.
        num_run_pairs: pairs of runs.
        num_held: runs whose interval holds the consensus, the mean of all processes.
        num_runs: runs.
    """

    between_sd: float
    half_widths: tuple[float, ...]
    num_disjoint: int
    num_run_pairs: int
    num_held: int
    num_runs: int


def agreement(rows: Sequence[dict[str, Any]]) -> Agreement:
    """Return how the runs of one pair agree, from the measurements of its processes in their order."""
    processes = [interval(row["log_ratios"], CONFIDENCE) for row in rows]
    logs = [math.log(one.speedup) for one in processes]
    starts = range(0, len(processes) - PROCESSES + 1, PROCESSES)
    runs = [over_processes(processes[start : start + PROCESSES]) for start in starts]
    ends = [_ends(run) for run in runs]
    couples = list(combinations(ends, 2))
    consensus = fmean(logs)
    return Agreement(
        stdev(logs),
        tuple(run.relative_half_width for run in runs),
        sum(one[0] > other[1] or other[0] > one[1] for one, other in couples),
        len(couples),
        sum(low <= consensus <= high for low, high in ends),
        len(runs),
    )


def _ends(run: Interval) -> tuple[float, float]:
    return math.log(run.low or 0.0), math.log(run.high or math.inf)


def between_table(rows: Sequence[dict[str, Any]], num_busy: int) -> str:
    """Return how the runs of each pair agree, as Markdown."""
    names = list(dict.fromkeys(row["pair"] for row in rows))
    found = {name: agreement([row for row in rows if row["pair"] == name]) for name in names}
    total = list(found.values())
    num_disjoint, num_run_pairs = sum(one.num_disjoint for one in total), sum(one.num_run_pairs for one in total)
    num_held, num_runs = sum(one.num_held for one in total), sum(one.num_runs for one in total)
    lines = [
        f"# Pairs of unlike functions, {num_busy} other processes busy by turns",
        "",
        f"`python -m bench.calibration between --busy {num_busy}`: {len(names)} pairs, runs of {PROCESSES} fresh "
        f"processes of {SECONDS:g} s each. Of {num_run_pairs} pairs of runs, {num_disjoint} have intervals that do not "
        f"overlap ({share(num_disjoint, num_run_pairs)}); {num_held} of {num_runs} runs hold the consensus, the mean "
        f"of all processes ({share(num_held, num_runs)}).",
        "",
        "| pair | runs | sd between processes | half-width, median | disjoint | hold the consensus |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        cells = [
            name,
            str(one.num_runs),
            f"{one.between_sd:.1%}",
            f"{median(one.half_widths):.1%}",
            f"{one.num_disjoint} of {one.num_run_pairs}",
            f"{one.num_held} of {one.num_runs}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"{device_name(['cpu'])}; speedclaims {__version__}; {time.strftime('%Y-%m-%d')}."]
    return "\n".join(lines) + "\n"
