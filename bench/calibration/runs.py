"""Measure real pairs of known speedup."""

import sys
import time
from collections.abc import Callable

import numpy as np

from bench.calibration.common import CONFIDENCE, PRECISION, loop, share
from speedclaims import __version__
from speedclaims.measure.interleave import Settings, Work, measure, setup_for
from speedclaims.recorders.environment import device_name, versions


def runs_table(num_runs: int, size: int, extra: float) -> str:
    """Measure one callable against itself and against one with more work, and return the counts as Markdown."""
    settings = Settings(precision=PRECISION, confidence=CONFIDENCE)
    base, more = loop(size), loop(round(size * (1 + extra)))
    rows = [
        _runs("one callable against itself", base, base, num_runs, settings),
        _runs(f"the after side does {extra:.0%} more", base, more, num_runs, settings),
    ]
    lines = [
        "# Real runs of known speedup",
        "",
        f"`python -m bench.calibration runs --runs {num_runs}`: each run measures a Python loop of {size:,} "
        f"additions with the default options ({settings.max_time:.0f} s at most, precision {PRECISION:.0%}, "
        f"confidence {CONFIDENCE:.0%}).",
        "",
        "| pair | runs | interval leaves 1.0 | found slower | speedup, median | smallest | largest "
        "| seconds a run, median | longest |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"{device_name(['cpu'])}; Python {sys.version.split()[0]}, speedclaims {__version__}, "
        f"numpy {versions(['numpy'])['numpy']}; {time.strftime('%Y-%m-%d')}.",
    ]
    return "\n".join(lines) + "\n"


def _runs(
    name: str, before: Callable[[], object], after: Callable[[], object], num_runs: int, settings: Settings
) -> str:
    work = Work(before, after, setup_for(None), lambda: None, resets=False)
    found, took = [], []
    for number in range(num_runs):
        started = time.perf_counter()
        found.append(measure(work, settings).interval(CONFIDENCE))
        took.append(time.perf_counter() - started)
        print(f"\r{name}: {number + 1} of {num_runs}", end="", file=sys.stderr)  # noqa: T201 - progress of a command
    print(file=sys.stderr)  # noqa: T201
    left = sum(i.low is None or i.high is None or not i.low <= 1 <= i.high for i in found)
    slower = sum(i.high is not None and i.high < 1 for i in found)
    speedups = sorted(i.speedup for i in found)
    cells = [
        name,
        str(num_runs),
        f"{left} ({share(left, num_runs)})",
        f"{slower} ({share(slower, num_runs)})",
        f"{np.median(speedups):.4f}",
        f"{speedups[0]:.4f}",
        f"{speedups[-1]:.4f}",
        f"{np.median(took):.1f}",
        f"{max(took):.1f}",
    ]
    return f"| {' | '.join(cells)} |"
