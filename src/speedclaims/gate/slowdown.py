"""How much of a pair's speedup was lost from one record to another, and how sure that is.

What differs between fresh processes (memory layout, hash seeds, other load) is the noise that counts, and three
processes say little about it. So each process comes with the error that its own double rounds show: the processes are
weighted by it (a process that ran into other load is noisy, and counts little), and the spread between them is
compared with the spread that these errors let expect (Hartung and Knapp, Statistics in Medicine 20, 2001, 3875-3889).
The expectation counts as much as `PRIOR_DF` further processes (Smyth, Statistical Applications in Genetics and
Molecular Biology 3, 2004, article 3); a spread that is larger counts in full, and a session whose processes spread more
than expected in most pairs raises the expectation of all. The intervals are corrected for the number of pairs (Holm,
Scandinavian Journal of Statistics 6, 1979, 65-70).

All functions take arrays whose last axis is the processes of a pair, or the pairs of a session; the axes before it, if
there are any, are simulated sessions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FAMILY_ERROR = 0.005
"""Of sessions with unchanged code, the share in which chance alone may put any pair's whole interval above 0."""

BETWEEN_SD = 0.004
"""What two instances of the same code in fresh processes differ by beyond their own errors (measured: 0.38 %)."""

PRIOR_DF = 4.0
"""How many processes more the expected spread counts for than the observed one; chosen by simulation."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Combined:
    """One record's pairs, each from its processes.

    Attributes:
        value: log speedup, the mean of the processes weighted by their errors.
        variance: the variance of that mean which the processes' own errors let expect.
        spread: variance between the processes as a multiple of the expected one; NaN for a single process.
        num_processes: how many there were.
    """

    value: Array
    variance: Array
    spread: Array
    num_processes: Array


@dataclass(frozen=True)
class Losses:
    """The losses of a session's pairs, as differences of log speedups; above 0 the speedup has become smaller.

    Attributes:
        value: base minus new.
        low: low end of its interval.
        high: high end of its interval.
        confidence: two-sided coverage of that interval, corrected for the number of pairs.
    """

    value: Array
    low: Array
    high: Array
    confidence: Array


def combine(values: Array, errors: Array) -> Combined:
    """Return the mean over the processes with its expected variance and the observed spread.

    Args:
        values: log speedup of each process, the processes on the last axis.
        errors: standard error of each, from its own double rounds.
    """
    weights = 1 / (errors**2 + BETWEEN_SD**2)
    total = weights.sum(-1)
    mean = (weights * values).sum(-1) / total
    num = values.shape[-1]
    deviation = (weights * (values - mean[..., None]) ** 2).sum(-1)
    spread = deviation / (num - 1) if num > 1 else np.full_like(mean, np.nan)
    return Combined(mean, 1 / total, spread, np.full_like(mean, num))


def losses(base: Combined, new: Combined) -> Losses:
    """Return the losses of a session's pairs (the last axis), with intervals corrected for their number."""
    scale = _scale(base, new)
    (variance_base, df_base), (variance_new, df_new) = _moderated(base, scale), _moderated(new, scale)
    variance = variance_base + variance_new
    # the degrees of freedom of a sum of two variances (Satterthwaite, Biometrics Bulletin 2, 1946, 110-114)
    df = variance**2 / (variance_base**2 / df_base + variance_new**2 / df_new)
    value = base.value - new.value
    error = np.sqrt(variance)
    tails = holm_tails(stdtr(df, -value / error))
    half = -stdtrit(df, tails) * error
    return Losses(value, value - half, value + half, 1 - 2 * tails)


def _scale(base: Combined, new: Combined) -> Array:
    """Return by how much the processes of a session spread more than expected: the median of all pairs, at least 1."""
    spreads = np.concatenate([base.spread, new.spread], axis=-1)
    none_known = np.isnan(spreads).all(-1, keepdims=True)
    median: Array = np.nanmedian(np.where(none_known, 1.0, spreads), axis=-1, keepdims=True)
    return np.maximum(1.0, median)


def _moderated(record: Combined, scale: Array) -> tuple[Array, Array]:
    """Return the variances of a record's means and their degrees of freedom."""
    df = PRIOR_DF + record.num_processes - 1
    observed = np.nan_to_num(record.spread, nan=0.0)
    factor = (PRIOR_DF * scale + (record.num_processes - 1) * observed) / df
    return np.maximum(factor, observed) * record.variance, df


def holm_tails(p: Array) -> Array:
    """Return for each pair the one-sided error at which it is tested, in Holm's order of their p-values.

    The smallest p-value is tested at FAMILY_ERROR / m, the next at FAMILY_ERROR / (m - 1), and so on, until the first
    that is not below: that one and all after it are tested at its error.
    """
    num = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    levels = FAMILY_ERROR / (num - np.arange(num))
    passed = np.cumprod(np.take_along_axis(p, order, -1) < levels, axis=-1)
    reached = np.minimum(passed.sum(-1, keepdims=True), num - 1)
    sorted_tails = np.minimum(levels, levels[reached])
    tails = np.empty_like(p)
    np.put_along_axis(tails, order, sorted_tails, axis=-1)
    return tails


def is_regression(found: Losses, percent: Array | float) -> NDArray[np.bool_]:
    """Whether each pair regressed: its whole interval lies above 0 and its estimate above half of ``percent``.

    A loss of 5 percent means that the after side takes 5% longer, measured against the before side.
    """
    return (found.low > 0) & (100 * np.expm1(found.value) > np.asarray(percent) / 2)
