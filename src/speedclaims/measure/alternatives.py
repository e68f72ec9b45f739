"""Measure several alternatives in balanced orders, and compare each with a baseline and with the next faster one.

The orders are those of a Williams design, a Latin square in which each alternative follows each other one equally often
(Williams, Australian Journal of Scientific Research A2, 1949, 149-168); for an odd number there are two squares. All
orders together are a block. A block's value of an alternative is the median of the logarithms of its rounds that the
system did not interrupt. Two alternatives are compared by the differences of their values, and all comparisons share
one error (Holm, Scandinavian Journal of Statistics 6, 1979, 65-70).
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, cycle, pairwise
from statistics import linear_regression, median

from speedclaims import clock
from speedclaims.measure.calls import RefusedError
from speedclaims.measure.contention import Watch
from speedclaims.measure.interleave import Measurement, Round, Settings, Work, quiet_interpreter, time_round, warm_up
from speedclaims.measure.random_effects import (
    MIN_WITHOUT_INTERVALS,
    Pooled,
    pool,
    processes_of,
    standard_error,
    t_quantile,
    t_tail,
)
from speedclaims.measure.statistics import holm_tails, interval
from speedclaims.record.types import SideName

EQUAL_WITHIN = 0.02
"""Alternatives whose whole interval lies within this are called equal."""

_WARM_UP_S = 0.2
_SIDE: SideName = "before"


def williams_orders(number: int) -> list[list[int]]:
    """Return the orders of a Williams design for a number of alternatives.

    Raises:
        ValueError: there are fewer than two.
    """
    if number < 2:
        raise ValueError("give at least two alternatives")
    first = [0]
    low, high = 1, number - 1
    while low <= high:
        first.append(low)
        low += 1
        if low <= high:
            first.append(high)
            high -= 1
    square = [[(place + shift) % number for place in first] for shift in range(number)]
    return square if number % 2 == 0 else square + [order[::-1] for order in square]


@dataclass(frozen=True)
class Timings:
    """Hold what one process measured of the alternatives.

    Attributes:
        seconds: of one call in each round, by alternative.
        block_logs: for each block the value of each alternative.
        num_interrupted: rounds of each alternative during which the system took a processor away.
        repeats: calls of each alternative in a round.
        reached_precision: whether the intervals became as narrow as asked before the time limit.
        took_s: seconds that the measurement took, the warm-up among them.
        waiting_percent: as of a pair's `Measurement`.
        stolen_percent: likewise.
        throttled_percent: likewise.
    """

    seconds: list[list[float]]
    block_logs: list[list[float]]
    num_interrupted: list[int]
    repeats: list[int]
    reached_precision: bool = False
    took_s: float = 0.0
    waiting_percent: float | None = None
    stolen_percent: float | None = None
    throttled_percent: float | None = None

    def reordered(self, places: Sequence[int]) -> "Timings":
        """Return the same with the alternatives in another order: first the one that is at the first place now."""
        return replace(
            self,
            seconds=[self.seconds[place] for place in places],
            block_logs=[[row[place] for place in places] for row in self.block_logs],
            num_interrupted=[self.num_interrupted[place] for place in places],
            repeats=[self.repeats[place] for place in places],
        )

    def pair(self, before: int, after: int) -> Measurement:
        """Return what was measured of two alternatives, by their places."""
        return Measurement(
            self.seconds[before],
            self.seconds[after],
            [row[before] - row[after] for row in self.block_logs],
            self.repeats[before],
            self.repeats[after],
            self.reached_precision,
            self.num_interrupted[before] + self.num_interrupted[after],
            [],
            self.took_s,
            self.waiting_percent,
            self.stolen_percent,
            self.throttled_percent,
        )


def measure_alternatives(works: Sequence[Work], settings: Settings) -> Timings:
    """Time rounds of all alternatives in turn until the time is up, in at least one block or in part of one.

    Args:
        works: one for each alternative; its two sides are the same.
        settings: of the measurement.

    Raises:
        RefusedError: a callable leaves its work undone, an instrument cannot be switched off, or the clock is wrong.
    """
    reason = clock.why_unusable()
    if reason is not None:
        raise RefusedError(reason)
    watch, progress, read = Watch(), clock.Progress(), clock.timer()
    rounds: list[list[Round]] = [[] for _ in works]
    logs: list[list[float]] = []
    orders = williams_orders(len(works))
    with ExitStack() as stack:
        stack.enter_context(quiet_interpreter(*(work.before for work in works), disable_gc=settings.disable_gc))
        started = read()
        warming = min(_WARM_UP_S, settings.max_time / (4 * len(works)))
        repeats = [warm_up(work, _SIDE, warming) for work in works]
        warm = now = read()
        for each in cycle((orders, orders[::-1])):
            block: list[list[Round]] = [[] for _ in works]
            for order in each:
                for number in order:
                    block[number].append(time_round(works[number], _SIDE, repeats[number]))
                if not logs and read() > started + settings.max_time:
                    break  # one block takes longer than all of the time: part of it must do
            logs.append([_value(one) for one in block])
            for place, new in enumerate(block):
                rounds[place] += new
            last, now = now, read()
            is_up = now + (now - last) > started + settings.max_time
            reached_precision = _is_precise(logs, settings) and now - warm > settings.max_time / 4
            if is_up or reached_precision:
                break
    reason = progress.why_wrong()
    if reason is not None:
        raise RefusedError(reason)
    busy = watch.read()
    return Timings(
        [[one.seconds for one in each] for each in rounds],
        logs,
        [sum(one.is_interrupted for one in each) for each in rounds],
        repeats,
        reached_precision,
        busy.took_s,
        busy.waiting,
        busy.stolen,
        busy.throttled,
    )


def _value(rounds: Sequence[Round]) -> float:
    whole = [one.seconds for one in rounds if not one.is_interrupted]
    return median(math.log(seconds) for seconds in whole or [one.seconds for one in rounds])


def _is_precise(logs: Sequence[Sequence[float]], settings: Settings) -> bool:
    """Whether all ratios to the first alternative are as narrow as asked; it is looked at as blocks double."""
    number = len(logs)
    if number < 32 or number & (number - 1):
        return False
    for place in range(1, len(logs[0])):
        found = interval([row[0] - row[place] for row in logs], settings.confidence)
        if found.relative_half_width > settings.precision * math.sqrt(settings.num_processes):
            return False
    return True


@dataclass(frozen=True)
class Ratio:
    """By how much one alternative is faster than another.

    Attributes:
        name: the alternative.
        to: the other one.
        speedup: time of the other / time of this one; above 1 this one is faster.
        low: low end of its interval, NaN with too few rounds.
        high: high end of its interval.
        confidence: of the interval, corrected for the number of comparisons.
    """

    name: str
    to: str
    speedup: float
    low: float
    high: float
    confidence: float

    @property
    def verdict(self) -> str:
        """``faster``, ``slower``, ``equal within 2%``, ``no clear difference``, or ``too few rounds`` to tell."""
        if math.isnan(self.low):
            return "too few rounds"
        if self.low >= 1 / (1 + EQUAL_WITHIN) and self.high <= 1 + EQUAL_WITHIN:
            return f"equal within {EQUAL_WITHIN:.0%}"
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "no clear difference"


def compare_timings(
    names: Sequence[str],
    baseline: str,
    processes: Sequence[Timings],
    confidence: float,
    between_sd: float,
) -> tuple[list[Ratio], list[Ratio]]:
    """Return the ratio of each alternative to the baseline, and to the next faster one.

    All comparisons together miss the truth with at most the error that the confidence leaves.

    Args:
        names: of the alternatives, in the order measured.
        baseline: one of them.
        processes: what each process measured.
        confidence: of all comparisons together.
        between_sd: expected standard deviation of a log ratio between processes.
    """
    middle = median_seconds(names, processes)
    ordered = sorted(names, key=middle.__getitem__)
    wanted = [(name, baseline) for name in names if name != baseline]
    neighbours = [(fast, slow) for fast, slow in pairwise(ordered)]
    every = list(dict.fromkeys([*wanted, *neighbours]))
    pooled = {(name, to): _pooled(names.index(name), names.index(to), processes, between_sd) for name, to in every}
    known = [key for key, one in pooled.items() if one is not None]
    # each is tested on both sides, so that both tails together have its error
    errors = [2 * t_tail(one.df, abs(one.value) / one.error) for key in known if (one := pooled[key]) is not None]
    tails = dict(zip(known, holm_tails(errors, 1 - confidence), strict=True))

    def ratio(name: str, to: str) -> Ratio:
        one = pooled[name, to]
        if one is None:
            return Ratio(name, to, middle[to] / middle[name], math.nan, math.nan, confidence)
        error = tails[name, to]
        half = t_quantile(one.df, 1 - error / 2) * one.error
        value, low, high = (math.exp(one.value + step) for step in (0.0, -half, half))
        return Ratio(name, to, value, low, high, 1 - error)

    return [ratio(*each) for each in wanted], [ratio(*each) for each in neighbours]


def median_seconds(names: Sequence[str], processes: Sequence[Timings]) -> dict[str, float]:
    """Return the median seconds of a call of each alternative over all processes."""
    return {
        name: median(chain.from_iterable(one.seconds[place] for one in processes)) for place, name in enumerate(names)
    }


def _pooled(place: int, other: int, processes: Sequence[Timings], between_sd: float) -> Pooled | None:
    """Return the log ratio of two alternatives over processes, None with too few blocks."""
    found = [interval([row[other] - row[place] for row in one.block_logs], 0.95) for one in processes]
    if len(found) < MIN_WITHOUT_INTERVALS and None in map(standard_error, found):
        return None
    return pool(processes_of(found), between_sd)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the exponent with which time grows with size: the slope of its logarithm, by least squares.

    Raises:
        ValueError: there are fewer than two sizes, or one is not positive.
    """
    if len(set(sizes)) < 2 or min(sizes) <= 0:
        raise ValueError("an exponent needs at least two positive sizes")
    return linear_regression(list(map(math.log, sizes)), list(map(math.log, seconds))).slope
