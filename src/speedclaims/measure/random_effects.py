"""Pool what several processes say of a pair by a random-effects model.

Each fresh process has its own memory layout, order of hashes and load, so the log speedup of a pair is a normal
variable over processes. A process's value is weighted by its own error and by the variance that is expected between
processes. The spread between the processes is compared with what these let expect (Hartung and Knapp, Statistics in
Medicine 20, 2001, 3875-3889), and moderated: the expectation counts as much as some further processes (Smyth,
Statistical Applications in Genetics and Molecular Biology 3, 2004, article 3). A spread that is larger than expected
counts alone.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from speedclaims.measure.statistics import Interval

BETWEEN_SD = 0.015
"""Expected standard deviation of a pair's log speedup between processes: with it, the intervals of
reports/statistics/between.md hold the consensus as often as they say, those of one process too."""

SAME_SEED_SD = 0.0075
"""The same between processes whose hashes have one order."""

SPEED_SD = 0.07
"""Expected size of what a log speedup changes by where the before side takes longer by one in its logarithm: other load
slows the sides of a pair by different factors. Under load it was -0.05 to -0.07 within sessions, and as much between
them."""

SESSION_CORRELATION = 0.1
"""Expected correlation between the log speedups of two processes of one session: both meet what the machine does in
those minutes. It was 0 to 0.2 under load, from pair to pair."""

PRIOR_DF = 3
"""How many further processes the expectation counts for; chosen with `BETWEEN_SD`."""

MIN_WITHOUT_INTERVALS = 3
"""With this many processes, their spread alone says how sure their mean is."""


class Process(NamedTuple):
    """One process's speedup of a pair.

    Attributes:
        value: log speedup.
        error: its standard error, from the process's own double rounds; see `known_errors`.
        seed: the seed of its hashes (``PYTHONHASHSEED``), None where it is not known.
        before_s: mean seconds of a call of its before side, by which the machine's speed is known; None where it is
            not known.
    """

    value: float
    error: float
    seed: int | None = None
    before_s: float | None = None


@dataclass(frozen=True)
class Pooled:
    """A log speedup over processes, or what it changed by.

    Attributes:
        value: the weighted mean.
        error: its standard error.
        df: degrees of freedom of that error.
    """

    value: float
    error: float
    df: int

    def half_width(self, confidence: float) -> float:
        """Return half the width of the interval of a two-sided confidence."""
        return t_quantile(self.df, (1 + confidence) / 2) * self.error


def pool(processes: Sequence[Process], between_sd: float = BETWEEN_SD, prior_df: int = PRIOR_DF) -> Pooled:
    """Return the mean over processes, with its standard error.

    Args:
        processes: at least one.
        between_sd: expected standard deviation between processes.
        prior_df: how many further processes the expectation counts for.
    """
    total, mean, squares = _weighted(processes, between_sd)
    return _moderated(mean, total, squares, len(processes) - 1, prior_df)


def pool_change(
    base: Sequence[Process], new: Sequence[Process], between_sd: float | None = None, prior_df: int = PRIOR_DF
) -> Pooled:
    """Return the base's mean less the new one's, with its standard error.

    Where all processes have known seeds, those of one seed are compared with each other, for a pair's speedup depends
    on the order of hashes: each seed has an effect, the same in both records (a block of a randomized block
    design; Montgomery, Design and Analysis of Experiments, chapter 4). Where all know the seconds of their before side,
    what the machine's speed does to the speedup is taken out: its logarithm is a covariate (chapter 15), whose slope is
    expected to be about as large as `SPEED_SD`.

    Where the processes differ by more than is expected, the variance between them is what makes the weighted squares as
    large as their degrees of freedom (Paule and Mandel, Journal of Research of the National Bureau of Standards 87,
    1982, 377-385). So no process counts for all others because its own error is small. The expectation still counts for
    the degrees of freedom: reports/statistics/gate.md shows how often that is wrong.

    The processes of a session are correlated by `SESSION_CORRELATION`: however many there are, the change stays as
    uncertain as two sessions are different (the design effect of a cluster; Kish, Survey Sampling, 1965).

    Args:
        base: the processes of one record.
        new: those of the other.
        between_sd: expected standard deviation between processes; by default `SAME_SEED_SD` where seeds are compared
            with each other, else `BETWEEN_SD`.
        prior_df: how many further processes the expectation counts for.
    """
    paired = share_seeds(base, new)
    sd = between_sd if between_sd is not None else SAME_SEED_SD if paired else BETWEEN_SD
    fit = _fit(base, new, sd**2, paired=paired)
    if not 0 < fit.df < fit.squares:
        found = _moderated(fit.value, 1 / fit.variance, fit.squares, fit.df, prior_df)
    else:
        variance = sd**2
        for _ in range(_MOST_FITS):
            if fit.squares <= _CONVERGED * fit.df:
                break
            variance += (fit.squares - fit.df) / fit.slope
            fit = _fit(base, new, variance, paired=paired)
        found = Pooled(fit.value, math.sqrt(fit.variance * max(1.0, fit.squares / fit.df)), prior_df + fit.df)
    of_sessions = 2 * SESSION_CORRELATION * fit.of_process * found.error**2 / fit.variance
    return Pooled(found.value, math.sqrt(found.error**2 + of_sessions), found.df)


_MOST_FITS, _CONVERGED = 50, 1.001


class _Fit(NamedTuple):
    """Hold what changed from one record to another, by weighted least squares.

    Attributes:
        value: the base's mean less the new one's.
        variance: of that value.
        squares: weighted sum of the squares that the fit leaves.
        slope: how fast these fall with the variance between processes.
        df: degrees of freedom that the fit leaves.
        of_process: variance of a process's value, for processes of the mean weight.
    """

    value: float
    variance: float
    squares: float
    slope: float
    df: int
    of_process: float


def _fit(base: Sequence[Process], new: Sequence[Process], between: float, *, paired: bool) -> _Fit:
    """Fit the change, with a variance between processes."""
    processes = [*base, *new]
    weights = [1 / (one.error**2 + between) for one in processes]
    blocks = _Blocks(
        [one.seed if paired else None for one in processes],
        [number >= len(base) for number in range(len(processes))],
        weights,
    )
    value, left = blocks.change([one.value for one in processes])
    variance, df = 1 / blocks.total, blocks.df
    speeds = [math.log(one.before_s) for one in processes if one.before_s]
    if len(speeds) == len(processes) and df > 0:
        slowdown, speeds_left = blocks.change(speeds)
        known = blocks.product(speeds_left, speeds_left)
        precision = known + 1 / SPEED_SD**2
        slope = blocks.product(speeds_left, left) / precision
        value -= slope * slowdown
        left = [one - slope * speed for one, speed in zip(left, speeds_left, strict=True)]
        variance += slowdown**2 / precision
        df -= round(known / precision)  # where the processes say nothing of the slope, the expectation alone counts
    weighted = [weight * one for weight, one in zip(weights, left, strict=True)]
    squares = math.fsum(one * other for one, other in zip(weighted, left, strict=True))
    return _Fit(value, variance, squares, math.fsum(one**2 for one in weighted), df, len(weights) / math.fsum(weights))


class _Blocks:
    """Fit what changed from one record to another to processes in blocks, by weighted least squares.

    Attributes:
        total: the sum of the weights of the blocks that have processes of both records.
        df: degrees of freedom that the fit leaves.
    """

    def __init__(self, blocks: Sequence[int | None], is_new: Sequence[bool], weights: Sequence[float]) -> None:
        """Sort the processes by block and record; each sequence has a value for each process."""
        self._weights = weights
        self._blocks: dict[int | None, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for place, (block, is_later) in enumerate(zip(blocks, is_new, strict=True)):
            self._blocks[block][is_later].append(place)
        self.total = sum(self._weight(*sides) for sides in self._blocks.values())
        self.df = len(weights) - len(self._blocks) - 1

    def change(self, values: Sequence[float]) -> tuple[float, list[float]]:
        """Return the base's value less the new one's, and what the fit leaves of each process's."""
        change = 0.0
        for base, new in self._blocks.values():
            if base and new:
                change += self._weight(base, new) / self.total * (self._mean(values, base) - self._mean(values, new))
        left = list(values)
        for base, new in self._blocks.values():
            for place in new:
                left[place] += change
            level = self._mean(left, [*base, *new])
            for place in (*base, *new):
                left[place] -= level
        return change, left

    def product(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Return the weighted sum of the products of two sequences."""
        return math.fsum(w * a * b for w, a, b in zip(self._weights, one, other, strict=True))

    def _weight(self, base: Sequence[int], new: Sequence[int]) -> float:
        sums = [sum(self._weights[place] for place in places) for places in (base, new)]
        return 1 / (1 / sums[0] + 1 / sums[1]) if all(sums) else 0.0

    def _mean(self, values: Sequence[float], places: Sequence[int]) -> float:
        total = sum(self._weights[place] for place in places)
        return sum(self._weights[place] * values[place] for place in places) / total


def share_seeds(base: Iterable[Process], new: Iterable[Process]) -> bool:
    """Whether processes of both records have the same known seeds, at least three of them."""
    seeds = [{one.seed for one in processes} for processes in (base, new)]
    return None not in seeds[0] | seeds[1] and len(seeds[0] & seeds[1]) >= MIN_WITHOUT_INTERVALS


def _weighted(processes: Sequence[Process], between_sd: float) -> tuple[float, float, float]:
    """Return the sum of the weights, the weighted mean, and the weighted sum of squares around it."""
    weights = [1 / (one.error**2 + between_sd**2) for one in processes]
    total = sum(weights)
    mean = sum(weight * one.value for weight, one in zip(weights, processes, strict=True)) / total
    squares = sum(weight * (one.value - mean) ** 2 for weight, one in zip(weights, processes, strict=True))
    return total, mean, squares


def _moderated(value: float, total: float, squares: float, df: int, prior_df: int) -> Pooled:
    """Return an estimate with the error that its processes' spread and the expectation give it."""
    if df > 0 and squares > df:  # more than expected: the expectation says nothing of this pair
        return Pooled(value, math.sqrt(squares / df / total), df)
    all_df = prior_df + df
    return Pooled(value, math.sqrt((prior_df + squares) / all_df / total), all_df)


def over_processes(intervals: Sequence[Interval], between_sd: float = BETWEEN_SD, prior_df: int = PRIOR_DF) -> Interval:
    """Return the speedup over the population of processes, from the interval of each process that measured it.

    One process tells nothing of the others: its interval is widened by what processes are expected to differ by. Fewer
    than three processes need enough double rounds for intervals of their own.

    Args:
        intervals: the speedup in each process.
        between_sd: expected standard deviation of the log speedup between processes.
        prior_df: how many further processes that expectation counts for.

    Raises:
        ValueError: no interval was given.
    """
    if not intervals:
        raise ValueError("no process measured this pair")
    confidence = intervals[0].confidence
    errors = [standard_error(one) for one in intervals]
    pooled = pool(processes_of(intervals), between_sd, prior_df)
    low = high = None
    if len(intervals) >= MIN_WITHOUT_INTERVALS or None not in errors:
        half = pooled.half_width(confidence)
        low, high = math.exp(pooled.value - half), math.exp(pooled.value + half)
    return Interval(
        speedup=math.exp(pooled.value),
        low=low,
        high=high,
        confidence=confidence,
        num_values=sum(one.num_values for one in intervals),
        correlation_factor=max(one.correlation_factor for one in intervals),
    )


def processes_of(intervals: Sequence[Interval]) -> list[Process]:
    """Return the processes that measured a pair, from the interval of each."""
    errors = known_errors([standard_error(one) for one in intervals])
    return [Process(math.log(one.speedup), error) for one, error in zip(intervals, errors, strict=True)]


def known_errors(errors: Sequence[float | None]) -> list[float]:
    """Return the processes' standard errors; one with too few values for its own has the largest of the others.

    Where none is known, all are 0: what the processes differ by is all the noise that there is to see.
    """
    largest = max((error for error in errors if error is not None), default=0.0)
    return [largest if error is None else error for error in errors]


def standard_error(found: Interval) -> float | None:
    """Return the standard error of a log speedup, computed from its interval; None without an interval."""
    if found.low is None or found.high is None:
        return None
    return math.log(found.high / found.low) / (2 * NormalDist().inv_cdf((1 + found.confidence) / 2))


def t_tail(df: int, t: float) -> float:
    """Return the probability that Student's t is above a value."""
    tail = max(0.0, 1 - _two_sided(df, math.atan(abs(t) / math.sqrt(df)))) / 2
    return tail if t >= 0 else 1 - tail


@lru_cache(maxsize=4096)
def t_quantile(df: int, probability: float) -> float:
    """Return the quantile of Student's t distribution for a whole number of degrees of freedom.

    Formula: the distribution's finite sums (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and
    26.7.4), inverted by bisection; above a thousand degrees of freedom its expansion (26.7.5).

    Args:
        df: degrees of freedom, at least 1.
        probability: at least 0.5.
    """
    if df > _MANY_DF:
        return _expanded(df, NormalDist().inv_cdf(probability))
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _two_sided(df, middle) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan(low)


_MANY_DF = 1000


def _expanded(df: int, x: float) -> float:
    """Return Student's t of many degrees of freedom where the normal distribution has x."""
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
    )
    return x + sum(term / float(df) ** power for power, term in enumerate(terms, start=1))


def _two_sided(df: int, angle: float) -> float:
    """Return the probability that t lies within sqrt(df) * tan(angle) of 0."""
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if df % 2 else 1.0
    total = 0.0
    for step in range(2 + df % 2, df + 1, 2):
        total += term
        term *= cosine**2 * (step - 1) / step
    return 2 / math.pi * (angle + sine * total) if df % 2 else sine * total
