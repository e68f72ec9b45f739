"""Check the comparison of several alternatives: how often equal ones are said to differ, simulated and measured."""

import json
import math
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.calibration.common import CONFIDENCE, PRECISION, measure_in_process, share
from speedclaims import __version__
from speedclaims.measure.alternatives import Timings, compare_timings, measure_alternatives
from speedclaims.measure.interleave import Settings, work_of
from speedclaims.measure.processes import PROCESSES, seeds_of
from speedclaims.measure.random_effects import BETWEEN_SD
from speedclaims.recorders.environment import device_name, versions

NAMES = ("a", "b", "c", "d", "e")
NUM_PROCESSES = PROCESSES[0]
NUM_BLOCKS, WITHIN_SD, MACHINE_SD = 20, 0.02, 0.05
"""Blocks that a simulated process measures, how an alternative's value scatters in them, and the machine's speed."""
BETWEEN_SDS = (0.0, 0.005, 0.015, 0.03)
"""Simulated standard deviations of a log ratio between processes."""
_SETTINGS = Settings(max_time=1.6, precision=PRECISION, confidence=CONFIDENCE, num_processes=NUM_PROCESSES)


def simulate(between_sd: float, num_sessions: int, seed: int) -> int:
    """Return in how many simulated sessions of five equal alternatives any two are said to differ.

    Args:
        between_sd: standard deviation of a log ratio between processes.
        num_sessions: how many.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    number, wrong = len(NAMES), 0
    for _ in range(num_sessions):
        processes = []
        for _ in range(NUM_PROCESSES):
            own = rng.normal(0, between_sd / math.sqrt(2), number)
            machine = rng.normal(0, MACHINE_SD, (NUM_BLOCKS, 1))
            logs = own + machine + rng.normal(0, WITHIN_SD, (NUM_BLOCKS, number))
            processes.append(Timings(np.exp(logs.T).tolist(), logs.tolist(), [0] * number, [1] * number))
        wrong += says_that_any_differ(processes)
    return wrong


def says_that_any_differ(processes: list[Timings]) -> bool:
    """Return whether any ratio, to the baseline or between neighbours, is called faster or slower."""
    ratios, neighbours = compare_timings(NAMES, NAMES[0], processes, CONFIDENCE, BETWEEN_SD)
    return any(one.verdict in {"faster", "slower"} for one in (*ratios, *neighbours))


_ROWS = [{"id": i, "name": f"name {i}", "values": [i / 7, i / 11]} for i in range(300)]
_TEXT = "def call():\n    return json.dumps(rows)\n"


def measure_process() -> dict[str, Any]:
    """Measure five functions in this process that are compiled one by one from one text."""
    works = []
    for name in NAMES:
        space: dict[str, Any] = {"json": json, "rows": _ROWS}
        exec(compile(_TEXT, name, "exec"), space)  # noqa: S102 - our own text
        works.append(work_of(space["call"], space["call"], None, lambda: None, None))
    return asdict(measure_alternatives(works, _SETTINGS))


def alternatives_table(num_simulated: int, num_sessions: int, seed: int = 2026) -> str:
    """Return how often equal alternatives are said to differ, as Markdown."""
    lines = [
        "# Equal alternatives",
        "",
        f"`python -m bench.calibration alternatives --simulated {num_simulated} --sessions {num_sessions}`: sessions "
        f"in which {len(NAMES)} equal alternatives are compared with the first and each with the next slower one, in "
        f"{NUM_PROCESSES} processes, all comparisons together at {CONFIDENCE:.0%} (Holm). Counted are sessions that "
        "call any of them faster or slower. In brackets the 95 % interval of a share (Wilson).",
        "",
        "| sessions | number | any difference named |",
        "| --- | ---: | --- |",
    ]
    for number, between_sd in enumerate(BETWEEN_SDS):
        wrong = simulate(between_sd, num_simulated, seed + number)
        name = f"simulated, a log ratio differs by {between_sd:.1%} between processes"
        lines.append(f"| {name} | {num_simulated} | {wrong} ({share(wrong, num_simulated)}) |")
    wrong, took = 0, []
    for session in range(num_sessions):
        started = time.perf_counter()
        seeds = seeds_of(NUM_PROCESSES)
        found = [measure_in_process("alternatives", "alternatives-process", seed=one) for one in seeds]
        took.append(time.perf_counter() - started)
        wrong += says_that_any_differ([Timings(**one) for one in found])
        print(f"\rsession {session + 1} of {num_sessions}", end="", file=sys.stderr)  # noqa: T201 - progress
    print(file=sys.stderr)  # noqa: T201
    lines += [
        f"| measured: `json.dumps`, compiled {len(NAMES)} times | {num_sessions} | "
        f"{wrong} ({share(wrong, num_sessions)}) |",
        "",
        f"A simulated process has {NUM_BLOCKS} blocks, an alternative's value scatters by {WITHIN_SD:.0%} in them and "
        f"the machine's speed by {MACHINE_SD:.0%}. A measured session took {np.median(took):.1f} s (median).",
        "",
        f"{device_name(['cpu'])}; Python {sys.version.split()[0]}, speedclaims {__version__}, numpy "
        f"{versions(['numpy'])['numpy']}; {time.strftime('%Y-%m-%d')}.",
    ]
    return "\n".join(lines) + "\n"
