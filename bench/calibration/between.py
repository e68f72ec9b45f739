"""Measure how pairs of unlike functions vary between processes, and how well intervals over processes hold it."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median, stdev
from tempfile import TemporaryDirectory
from typing import Any

from bench.calibration.common import CONFIDENCE, PRECISION, measure_in_process, read_results, share, toggling
from bench.calibration.estimators import ESTIMATORS
from speedclaims import __version__
from speedclaims.measure.contention import Watch
from speedclaims.measure.interleave import Settings, Work, alternate, setup_for
from speedclaims.measure.processes import PROCESSES as DEFAULTS
from speedclaims.measure.random_effects import over_processes
from speedclaims.measure.statistics import Interval, interval
from speedclaims.record.io import RecordError, read
from speedclaims.recorders.environment import device_name

PROCESSES = DEFAULTS[0]
SECONDS = 1.6
"""Seconds that each of five processes measures by default: a fifth of ten, less the start of the process."""


def measure_one(name: str, seconds: float) -> dict[str, Any]:
    """Measure one pair in this process; return its blocks and what each estimator says of its rounds.

    Raises:
        RecordError: there is no pair of that name.
    """
    from bench.calibration.unlike import PAIRS  # noqa: PLC0415 - it makes the data of all pairs

    if name not in PAIRS:
        raise RecordError(f"{name!r}: no such pair: the pairs are {'; '.join(PAIRS)}")
    before, after = PAIRS[name]
    work = Work(before, after, setup_for(None), lambda: None, resets=False)
    settings = Settings(max_time=seconds, precision=PRECISION, confidence=CONFIDENCE, num_processes=PROCESSES)
    watch, began = Watch(), time.perf_counter()
    found = alternate(work, settings)
    num_rounds = len(found.before)
    return {
        "pair": name,
        "load": os.getloadavg()[0],
        "contention": asdict(watch.read()),
        "took_s": time.perf_counter() - began,
        "num_rounds": num_rounds,
        "interrupted": sum(one.is_interrupted for one in (*found.before, *found.after)) / (2 * num_rounds),
        "log_ratios": found.log_ratios,
        "estimates": {name: estimate(found) for name, estimate in ESTIMATORS.items()},
    }


TRAINERS = (
    "bench/test_tabular_regressor.py::test_restructured",
    "bench/test_text_to_image.py::test_restructured",
    "bench/test_dialogue_gan.py::test_generator_pretraining",
)
"""Tests of the trainers' pairs at smoke, which take too long to start to be measured in fresh processes by default."""


def run_trainers() -> list[dict[str, Any]]:
    """Measure the trainers' pairs by pytest with its default options, and return a run of each.

    A run with too few rounds for an interval has None for both of its ends.

    Raises:
        RecordError: a pair was not measured.
    """
    with TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pytest",
            *TRAINERS,
            f"--speedup-report={folder}",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=900, check=False)  # noqa: S603
        record = read(Path(folder, "record.json")) if Path(folder, "record.json").exists() else None
    rows = record["speedclaims"]["pairs"] if record else []
    measured = [row for row in rows if row["speedup"]]
    found = [{"pair": row["nodeid"], "run": [row["speedup"], row["low"], row["high"]]} for row in measured]
    if len(found) < len(TRAINERS):
        last = " ".join(done.stdout.split()[-40:])
        raise RecordError(f"the trainers' pairs: pytest ended with {done.returncode}: {last}")
    return found


_ROOT = Path(__file__).parents[2]


def gather(
    path: Path, num_runs: int, num_busy: int, seconds: float = SECONDS, *, with_trainers: bool = True
) -> list[dict[str, Any]]:
    """Measure every pair in fresh processes, append a line for each to a file, and return all of this condition.

    What the file holds already is not measured again.

    Args:
        path: the file.
        num_runs: runs of each pair, of five processes each.
        num_busy: other processes that are busy and idle by turns.
        seconds: what each process may take.
        with_trainers: measure the trainers' pairs too.

    Raises:
        RecordError: the file holds something else, or a process failed.
    """
    from bench.calibration.unlike import PAIRS  # noqa: PLC0415 - it makes the data of all pairs

    rows = [row for row in read_results(path, "between", "at") if row["num_busy"] == num_busy]

    def keep(at: float, found: dict[str, Any]) -> None:
        rows.append({"num_busy": num_busy, "at": at, **found})
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1], allow_nan=False) + "\n")

    with toggling(num_busy):
        for number in range(num_runs * PROCESSES):
            for name in PAIRS:
                if sum(row["pair"] == name for row in rows) > number:
                    continue
                at = time.time()
                found = measure_in_process(name, "between-process", name, "--seconds", f"{seconds}")
                keep(at, {"with_start_s": time.time() - at, **found})
            num_done = sum(row["pair"] == TRAINERS[0] for row in rows)
            if with_trainers and number % PROCESSES == PROCESSES - 1 and num_done <= number // PROCESSES:
                at = time.time()
                for one in run_trainers():
                    keep(at, one)
    return rows


@dataclass(frozen=True)
class Agreement:
    """How runs of one pair agree.

    Attributes:
        between_sd: standard deviation of the log speedups of the processes, or of the runs of trainers.
        half_widths: of the runs' intervals, as a fraction of the speedup.
        num_disjoint: pairs of runs whose intervals do not overlap.
        num_run_pairs: pairs of runs.
        num_held: runs whose interval holds the consensus, the median of all processes.
        num_runs: runs with an interval.
        num_without: runs with too few rounds for one.
    """

    between_sd: float
    half_widths: tuple[float, ...]
    num_disjoint: int
    num_run_pairs: int
    num_held: int
    num_runs: int
    num_without: int = 0


def agreement(rows: Sequence[dict[str, Any]]) -> Agreement:
    """Return how the runs of one pair agree, from its processes or its runs in their order."""
    if "run" in rows[0]:
        logs = [math.log(row["run"][0]) for row in rows]
        ends = [(math.log(row["run"][1]), math.log(row["run"][2])) for row in rows if row["run"][1]]
    else:
        processes = [interval(row["log_ratios"], CONFIDENCE) for row in rows]
        logs = [math.log(one.speedup) for one in processes]
        starts = range(0, len(processes) - PROCESSES + 1, PROCESSES)
        ends = [_ends(over_processes(processes[start : start + PROCESSES])) for start in starts]
    couples = list(combinations(ends, 2))
    consensus = median(logs)
    return Agreement(
        stdev(logs),
        tuple(math.expm1((high - low) / 2) for low, high in ends),
        sum(one[0] > other[1] or other[0] > one[1] for one, other in couples),
        len(couples),
        sum(low <= consensus <= high for low, high in ends),
        len(ends),
        sum("run" in row and not row["run"][1] for row in rows),
    )


def _run_seconds(rows: Sequence[dict[str, Any]]) -> float:
    """Return the median seconds of a run of processes."""
    return PROCESSES * median(row["with_start_s"] for row in rows if "with_start_s" in row)


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
        f"`python -m bench.calibration between --busy {num_busy}`: {len(names)} pairs. A run of functions takes "
        f"{PROCESSES} fresh processes that measure {SECONDS:g} s each at most, with random hash seeds, median "
        f"{_run_seconds(rows):.1f} s a run with the processes' starts. A run of trainers is one of `pytest` with its "
        f"default options. Of {num_run_pairs} pairs of runs, {num_disjoint} have intervals that do not "
        f"overlap ({share(num_disjoint, num_run_pairs)}); {num_held} of {num_runs} runs hold the consensus, the "
        f"median of all processes ({share(num_held, num_runs)}). Runs with too few rounds for an interval: "
        f"{sum(one.num_without for one in total)}.",
        "",
        "| pair | runs | sd between processes | half-width, median | disjoint | hold the consensus |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        cells = [
            name,
            str(one.num_runs),
            f"{one.between_sd:.1%}",
            f"{median(one.half_widths):.1%}" if one.half_widths else "none",
            f"{one.num_disjoint} of {one.num_run_pairs}",
            f"{one.num_held} of {one.num_runs}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"{device_name(['cpu'])}; speedclaims {__version__}; {time.strftime('%Y-%m-%d')}."]
    return "\n".join(lines) + "\n"


def estimators_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return how much each estimator's speedups vary between processes, on each load, as Markdown."""
    measured = [row for row in rows if "estimates" in row]
    loads = sorted({row["num_busy"] for row in measured})
    names = list(dict.fromkeys(row["pair"] for row in measured))

    def values(load: int, pair: str, estimator: str) -> list[float]:
        return [row["estimates"][estimator] for row in measured if (row["num_busy"], row["pair"]) == (load, pair)]

    header = [f"sd, {load} busy: median | nine tenths below" for load in loads]
    if len(loads) > 1:
        header.append("moved by the load: median | nine tenths below")
    lines = [
        "# Estimators of a process's speedup",
        "",
        f"`python -m bench.calibration estimators`: {len(names)} pairs of unlike functions, {len(measured)} fresh "
        "processes, on a machine with that number of other processes busy by turns. For each pair the standard "
        "deviation of the log speedup between processes, and by how much the median of the processes moves under the "
        "load. Each cell has the median over the pairs, and what nine tenths of them stay below.",
        "",
        f"| estimator | {' | '.join(header)} |",
        f"| --- |{' ---: |' * (2 * len(header))}",
    ]
    for estimator in ESTIMATORS:
        columns = [sorted(stdev(values(load, pair, estimator)) for pair in names) for load in loads]
        if len(loads) > 1:
            of = [[median(values(load, pair, estimator)) for pair in names] for load in (loads[0], loads[-1])]
            columns.append(sorted(abs(quiet - busy) for quiet, busy in zip(*of, strict=True)))
        cells = [f"{median(column):.1%} | {column[int(0.9 * len(column))]:.1%}" for column in columns]
        lines.append(f"| {estimator} | {' | '.join(cells)} |")
    lines += ["", f"{device_name(['cpu'])}; speedclaims {__version__}; {time.strftime('%Y-%m-%d')}."]
    return "\n".join(lines) + "\n"
