"""Check the interval and the gate: by simulation, where the truth is known, and by real runs of known speedup.

``python -m speedclaims.calibration coverage`` simulates the interval; ``... runs`` measures on this machine.
``... gate`` simulates the gate; ``... gate-runs`` measures real sessions. Each prints a Markdown table, or writes it
with ``-o FILE``.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from speedclaims import __version__
from speedclaims.pairing import Settings, Work, measure, setup_for
from speedclaims.record import RecordError, write_text
from speedclaims.recorders.environment import device_name, versions
from speedclaims.statistics import MIN_VALUES_TO_STOP, StoppingRule, interval

CONFIDENCE = 0.95
PRECISION = 0.01
MAX_VALUES = 300
FIXED_VALUES = 100

Draw = Callable[[np.random.Generator, int], np.ndarray]


def _autoregressive(correlation: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        values = rng.normal(0, 0.02, n)
        values[0] /= math.sqrt(1 - correlation**2)
        for i in range(1, n):
            values[i] += correlation * values[i - 1]
        return values

    return draw


def _levels(rng: np.random.Generator, n: int) -> np.ndarray:
    """Values whose level jumps, on average after twenty: another program comes and goes on one side's cost alone."""
    jumps = rng.random(n) < 1 / 20
    levels = rng.normal(0, 0.02, n)[np.cumsum(jumps) - jumps[0]]
    return np.where(np.cumsum(jumps) > 0, levels, 0) + rng.normal(0, 0.005, n)


NOISE: dict[str, Draw] = {
    "normal, sd 2 %": lambda rng, n: rng.normal(0, 0.02, n),
    "Laplace, sd 2 %": lambda rng, n: rng.laplace(0, 0.02 / math.sqrt(2), n),
    "Student t, 2 degrees of freedom": lambda rng, n: 0.01 * rng.standard_t(2, n),
    "Cauchy": lambda rng, n: 0.005 * rng.standard_cauchy(n),
    "0.5 % with every tenth value 50 %": lambda rng, n: rng.normal(0, np.where(rng.random(n) < 0.1, 0.5, 0.005)),
    "autoregressive, 0.3": _autoregressive(0.3),
    "autoregressive, 0.6": _autoregressive(0.6),
    "levels that jump (worst case)": _levels,
}


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the true value, of simulated measurements with one kind of noise."""

    noise: str
    num_sessions: int
    held_fixed: int
    held_stopped: int
    held_on_verdict: int
    median_values: float


def simulate(name: str, num_sessions: int, seed: int) -> Coverage:
    """Simulate measurements whose true speedup is 1 and count the intervals that hold it.

    Three ways to end: after a fixed number of values, by the stopping rule, and (for contrast) by looking at the
    verdict after every value: ending once the interval leaves 1.
    """
    rng = np.random.default_rng(seed)
    fixed = stopped = verdict = 0
    numbers = []
    for _ in range(num_sessions):
        values = NOISE[name](rng, MAX_VALUES).tolist()
        fixed += _holds(values[:FIXED_VALUES])
        rule = StoppingRule(PRECISION, CONFIDENCE)
        ends = (n for n in range(MIN_VALUES_TO_STOP, MAX_VALUES + 1) if rule.satisfied(values[:n]))
        numbers.append(next(ends, MAX_VALUES))
        stopped += _holds(values[: numbers[-1]])
        verdict += all(_holds(values[:n]) for n in range(MIN_VALUES_TO_STOP, FIXED_VALUES + 1, 5))
    return Coverage(name, num_sessions, fixed, stopped, verdict, float(np.median(numbers)))


def _holds(values: Sequence[float]) -> bool:
    found = interval(values, CONFIDENCE)
    return found.low is not None and found.high is not None and found.low <= 1 <= found.high


def coverage_table(num_sessions: int, seed: int = 2026) -> str:
    """Return the simulated coverage as Markdown."""
    lines = [
        "# Coverage of the interval, simulated",
        "",
        f"`python -m speedclaims.calibration coverage --sessions {num_sessions}`: {num_sessions} simulated "
        f"measurements a row, true speedup 1, nominal confidence {CONFIDENCE:.0%}. A cell says how many of them "
        "had an interval that holds the true speedup, with the 95 % interval of that share (Wilson).",
        "",
        f"| noise of the double rounds | {FIXED_VALUES} double rounds | stopping rule ({PRECISION:.0%}) "
        "| double rounds until it stops (median) | for contrast: looking at the verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, name in enumerate(NOISE):
        found = simulate(name, num_sessions, seed + number)
        cells = [share(held, num_sessions) for held in (found.held_fixed, found.held_stopped, found.held_on_verdict)]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {found.median_values:.0f} | {cells[2]} |")
    lines += [
        "",
        f"The stopping rule ends when the half-width is {PRECISION:.0%} or after {MAX_VALUES} double rounds. The last "
        "column ends a measurement as soon as its interval leaves 1, looking after every fifth double round up to "
        f"{FIXED_VALUES}: what a rule that looks at the verdict would do to the verdicts.",
        "",
        f"speedclaims {__version__}, numpy {np.__version__}, seed {seed}.",
    ]
    return "\n".join(lines) + "\n"


def share(count: int, total: int, digits: int = 1) -> str:
    """Return a share in per cent with its 95 % interval (Wilson)."""
    ends = binomtest(count, total).proportion_ci(method="wilson")
    return f"{count / total:.{digits}%} [{ends.low:.{digits}%}, {ends.high:.{digits}%}]"


def loop(number: int) -> Callable[[], object]:
    """Return a callable that adds so many numbers."""

    def call() -> int:
        total = 0
        for i in range(number):
            total += i
        return total

    return call


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
        f"`python -m speedclaims.calibration runs --runs {num_runs}`: each run measures a Python loop of {size:,} "
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the checks and print or write its table; 2 for bad input, told in one line."""
    options = _parser().parse_args(arguments)
    try:
        text: str = options.table(options)
    except RecordError as error:
        print(f"speedclaims: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_text(options.out, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m speedclaims.calibration", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    coverage = commands.add_parser("coverage", help="simulate the interval's coverage and the stopping rule")
    coverage.add_argument("--sessions", type=_count, default=4000, help="simulated measurements a row")
    coverage.set_defaults(table=lambda options: coverage_table(options.sessions))
    runs = commands.add_parser("runs", help="measure pairs of known speedup on this machine")
    runs.add_argument("--runs", type=_count, default=200, help="measurements of each pair")
    runs.add_argument("--size", type=_count, default=60_000, help="additions of the callable")
    runs.add_argument("--extra", type=float, default=0.05, help="additional work of the slower callable")
    runs.set_defaults(table=lambda options: runs_table(options.runs, options.size, options.extra))
    gate = commands.add_parser(
        "gate", help="simulate the gate's false alarms, and how often it finds a loss of 5 per cent"
    )
    gate.add_argument("--sessions", type=_count, default=10_000, help="simulated pairs of sessions a row")
    gate.set_defaults(table=_gate)
    real = commands.add_parser("gate-runs", help="the same with real sessions on this machine")
    real.add_argument("--sessions", type=_count, default=202, help="sessions that the file is to hold in the end")
    real.add_argument("--jobs", type=_count, default=2, help="sessions at a time; each is the others' load")
    real.add_argument(
        "--results",
        type=Path,
        default=Path("reports/statistics/gate-runs.jsonl"),
        metavar="FILE",
        help="raw results, a line a session; what it holds already is not measured again (default: %(default)s)",
    )
    real.set_defaults(table=_gate_runs)
    process = commands.add_parser("gate-process", help="what gate-runs starts: measure the pairs once, print JSON")
    process.set_defaults(table=_gate_process)
    for command in (coverage, runs, gate, real, process):
        command.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the table there")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _gate(options: argparse.Namespace) -> str:
    from speedclaims.gate_calibration import gate_table  # noqa: PLC0415 - it uses this module

    return gate_table(options.sessions)


def _gate_runs(options: argparse.Namespace) -> str:
    from speedclaims.gate_calibration import gate_runs_table, run_sessions  # noqa: PLC0415 - it uses this module

    if options.sessions <= options.jobs:
        msg = f"--sessions {options.sessions}: give more than the {options.jobs} that run at a time"
        raise RecordError(msg)
    return gate_runs_table(run_sessions(options.results, options.sessions, options.jobs), options.jobs)


def _gate_process(_: argparse.Namespace) -> str:
    from speedclaims.gate_calibration import measure_pairs  # noqa: PLC0415 - it uses this module

    return json.dumps(measure_pairs(), allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
