"""Pool the speedups of several processes by a random-effects model.

Each fresh process has its own memory layout, order of hashes and load, so the log speedup of a pair is a normal
variable over processes. A process's value is weighted by its own error and by the variance that is expected between
processes. The spread between the processes is compared with what these let expect (Hartung and Knapp, Statistics in
Medicine 20, 2001, 3875-3889), and moderated: the expectation counts as much as some further processes (Smyth,
Statistical Applications in Genetics and Molecular Biology 3, 2004, article 3). A spread that is larger than expected
counts alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from speedclaims.measure.statistics import Interval

BETWEEN_SD = 0.015
"""Expected standard deviation of a pair's log speedup between processes."""

PRIOR_DF = 3
"""How many further processes the expectation counts for."""

MIN_WITHOUT_INTERVALS = 3
"""With this many processes, their spread alone says how sure their mean is."""


@dataclass(frozen=True)
class Pooled:
    """The log speedup of a pair over processes.

    Attributes:
        value: the weighted mean.
        error: its standard error.
        df: degrees of freedom of that error.
    """

    value: float
    error: float
    df: int


def pool(values: Sequence[float], errors: Sequence[float], between_sd: float, prior_df: int) -> Pooled:
    """Return the mean over processes, with its standard error.

    Args:
        values: log speedup of each process.
        errors: standard error of each, from its own double rounds; 0 where it is unknown.
        between_sd: expected standard deviation between processes.
        prior_df: how many further processes the expectation counts for.
    """
    weights = [1 / (error**2 + between_sd**2) for error in errors]
    total = sum(weights)
    mean = sum(weight * value for weight, value in zip(weights, values, strict=True)) / total
    num = len(values)
    squares = sum(weight * (value - mean) ** 2 for weight, value in zip(weights, values, strict=True))
    if num > 1 and squares > num - 1:  # more than expected: the expectation says nothing of this pair
        return Pooled(mean, math.sqrt(squares / (num - 1) / total), num - 1)
    df = prior_df + num - 1
    return Pooled(mean, math.sqrt((prior_df + squares) / df / total), df)


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
    pooled = pool([math.log(one.speedup) for one in intervals], [one or 0.0 for one in errors], between_sd, prior_df)
    low = high = None
    if len(intervals) >= MIN_WITHOUT_INTERVALS or None not in errors:
        half = t_quantile(pooled.df, (1 + confidence) / 2) * pooled.error
        low, high = math.exp(pooled.value - half), math.exp(pooled.value + half)
    return Interval(
        speedup=math.exp(pooled.value),
        low=low,
        high=high,
        confidence=confidence,
        num_values=sum(one.num_values for one in intervals),
        correlation_factor=max(one.correlation_factor for one in intervals),
    )


def standard_error(found: Interval) -> float | None:
    """Return the standard error of a log speedup, computed from its interval; None without an interval."""
    if found.low is None or found.high is None:
        return None
    return math.log(found.high / found.low) / (2 * NormalDist().inv_cdf((1 + found.confidence) / 2))


def t_quantile(df: int, probability: float) -> float:
    """Return the quantile of Student's t distribution for a whole number of degrees of freedom.

    Formula: the distribution's finite sums (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and
    26.7.4), inverted by bisection.

    Args:
        df: degrees of freedom, at least 1.
        probability: at least 0.5.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _two_sided(df, middle) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan(low)


def _two_sided(df: int, angle: float) -> float:
    """Return the probability that t lies within sqrt(df) * tan(angle) of 0."""
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if df % 2 else 1.0
    total = 0.0
    for step in range(2 + df % 2, df + 1, 2):
        total += term
        term *= cosine**2 * (step - 1) / step
    return 2 / math.pi * (angle + sine * total) if df % 2 else sine * total
