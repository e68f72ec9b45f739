"""Simulate how often an interval holds the true speedup."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.calibration.common import CONFIDENCE, PRECISION, share
from speedclaims import __version__
from speedclaims.measure.statistics import MIN_VALUES_TO_STOP, StoppingRule, interval

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
    """Draw values whose level jumps, on average after twenty, as if another program slowed one side at times."""
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
        f"`python -m bench.calibration coverage --sessions {num_sessions}`: {num_sessions} simulated "
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
