"""The speedup of a pair in one process and its interval, from the log-ratios of its blocks.

A double round measures before, after, after, before, the next one after, before, before, after. A block is as many
double rounds as take at least 20 ms, so that a machine that becomes steadily slower or faster cancels out of it. Its
value is the difference of the medians of log(before) and log(after) over the rounds that the system did not interrupt.
On a busy machine, interrupted rounds fall on one side for seconds where the turns of the scheduler keep step with the
double rounds. The speedup is the exponential of the values' median; its interval lies between two order statistics of
the values, which assumes no distribution (David and Nagaraja, Order Statistics, 3rd edition, section 7.1).

Values that lie close in time resemble each other on a busy machine, which makes that interval too narrow. The ranks
are therefore moved outwards by the square root of the variance inflation of the signs around the median, estimated by
the initial positive sequence of Geyer (Statistical Science 7, 1992, 473-483), at most to the lowest and the highest
value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MIN_VALUES_FOR_CORRELATION = 20
"""Fewer values than this cannot tell autocorrelation from chance; they are taken as independent."""

MIN_VALUES_TO_STOP = 30
"""The stopping rule looks first after this many values: with fewer, an interval is narrow by chance too often."""

LOOK_GROWTH = 1.3
"""Between two looks of the stopping rule the number of values grows by this factor."""

NARROW_LOOKS = 2
"""The interval must be narrow enough at this many looks in a row: autocorrelated values look narrow too early."""


@dataclass(frozen=True)
class Interval:
    """A speedup with its confidence interval; ``low`` and ``high`` are None when there are too few values."""

    speedup: float
    low: float | None
    high: float | None
    confidence: float
    num_values: int
    correlation_factor: float

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width as a fraction of the speedup, infinity without an interval."""
        if self.low is None or self.high is None:
            return math.inf
        return math.expm1(math.log(self.high / self.low) / 2)


def log_ratio(before_s: Sequence[float], after_s: Sequence[float]) -> float:
    """Return one block's value: the median of log(before) less that of log(after).

    Args:
        before_s: seconds of the before side in each round.
        after_s: seconds of the after side in each round.

    Raises:
        ValueError: a side has no round, or a duration is not positive.
    """
    before, after = (_median(sorted(map(math.log, seconds))) for seconds in (before_s, after_s))
    return before - after


@lru_cache(maxsize=4096)
def _median_rank(num_values: int, confidence: float) -> int:
    """Return the largest k (from 1) for which [x_(k), x_(n+1-k)] covers the median with the confidence; 0 if none.

    How many values lie below the median is binomial: k is the number of outcomes i = 0, 1, ... whose cumulative
    probability sum(n choose i) / 2^n does not exceed half of what the confidence leaves.
    """
    # Integers, and no import that would cost the first interval of every run a second, as scipy.stats does.
    tail, num_outcomes = (1 - confidence) / 2, 2**num_values
    coefficient = at_most_k = 1
    k = 0
    while at_most_k / num_outcomes <= tail:
        coefficient = coefficient * (num_values - k) // (k + 1)
        k += 1
        at_most_k += coefficient
    return k


def min_values(confidence: float) -> int:
    """Return how many values an interval of this confidence needs at least (6 for 95 %).

    Formula: the whole range of n values misses the median with probability 2 * 2**-n.
    """
    return math.ceil(math.log2(2 / (1 - confidence)))


def correlation_factor(values: Sequence[float]) -> float:
    """Return by how much autocorrelation inflates the variance of the number of values below the median, at least 1.

    Formula: 1 + 2 * sum of the autocorrelations of sign(value - median), cut where the sum of two neighbouring lags
    is no longer positive (Geyer 1992).
    """
    n = len(values)
    if n < MIN_VALUES_FOR_CORRELATION:
        return 1.0
    middle = _median(sorted(values))
    signs = [int(v > middle) - int(v < middle) for v in values]
    energy = sum(s * s for s in signs)
    if energy == 0:
        return 1.0

    def autocorrelation(lag: int) -> float:
        return sum(a * b for a, b in zip(signs, signs[lag:], strict=False)) / energy

    total = 0.0
    for lag in range(1, n // 2, 2):
        couple = autocorrelation(lag) + autocorrelation(lag + 1)
        if couple <= 0:
            break
        total += couple
    return max(1.0, 1 + 2 * total)


def interval(values: Sequence[float], confidence: float) -> Interval:
    """Return the speedup and its confidence interval from the values of the blocks, in the order measured.

    Args:
        values: one log-ratio per block; the order matters for the autocorrelation.
        confidence: nominal coverage, between 0 and 1.

    Raises:
        ValueError: no values, or a value that is not finite.
    """
    if not values:
        raise ValueError("nothing was measured")
    if not all(math.isfinite(v) for v in values):
        raise ValueError("a block has a ratio that is not finite")
    n = len(values)
    ordered = sorted(values)
    factor = correlation_factor(values)
    low = high = None
    rank = _median_rank(n, confidence)
    if rank >= 1:
        centre = (n + 1) / 2
        rank = max(1, math.floor(centre - (centre - rank) * math.sqrt(factor)))
        low, high = math.exp(ordered[rank - 1]), math.exp(ordered[n - rank])
    return Interval(math.exp(_median(ordered)), low, high, confidence, n, factor)


def holm_tails(p: Sequence[float], family_error: float) -> list[float]:
    """Return for each p-value the error at which it is tested, in Holm's order of their p-values.

    The smallest p-value is tested at family_error / m, the next at family_error / (m - 1), and so on, until the first
    that is not below: that one and all after it are tested at its error.
    """
    tails = [0.0] * len(p)
    level, is_below = 0.0, True
    for place, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if is_below:
            level = family_error / (len(p) - place)
            is_below = p[number] < level
        tails[number] = level
    return tails


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@dataclass
class StoppingRule:
    """Says after which block the measurement may end.

    It ends when the interval's relative half-width is at most ``precision`` at two looks in a row. It looks at the
    width alone, never at where the interval lies, and only at numbers of values that grow geometrically: looking at
    the verdict, or after every round, would make the interval miss more often than its confidence says.
    """

    precision: float
    confidence: float
    next_look: int = MIN_VALUES_TO_STOP
    narrow_looks: int = 0

    def satisfied(self, values: Sequence[float]) -> bool:
        """Return whether the values, in the order measured, suffice."""
        if len(values) < self.next_look:
            return False
        self.next_look = math.ceil(len(values) * LOOK_GROWTH)
        narrow = interval(values, self.confidence).relative_half_width <= self.precision
        self.narrow_looks = self.narrow_looks + 1 if narrow else 0
        return self.narrow_looks >= NARROW_LOOKS
