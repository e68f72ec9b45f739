"""Figures that are not times: quality over paired seeds, memory over epochs, faults injected and survived."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_SEEDS = 8
NUM_WINDOWS = 3
CONFIDENCE = 0.95
_POINTS = "percentage points"


def paired_difference(
    before: Callable[[int], float], after: Callable[[int], float], num_seeds: int = NUM_SEEDS
) -> dict[str, Any]:
    """Train both sides with the same seeds and return how much worse the after side ends.

    The value is the mean of after - before over the seeds, in standard deviations of the before side over its seeds;
    its interval is Student's for paired differences. Above 0 the after side is worse, where lower is better.

    Args:
        before: trains from a seed and returns the quality reached, for example a validation loss.
        after: the same for the other side.
        num_seeds: trainings of each side, at least two.
    """
    pairs = [(before(seed), after(seed)) for seed in range(num_seeds)]
    scale = stdev(b for b, _ in pairs)
    differences = [(a - b) / scale for b, a in pairs]
    details = [
        f"{num_seeds} paired seeds; before {mean(b for b, _ in pairs):.6g} (standard deviation {scale:.3g}), "
        f"after {mean(a for _, a in pairs):.6g}"
    ]
    return {**mean_of(differences), "unit": "sd", "details": details}


def mean_of(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of independent values with Student's interval of it.

    Args:
        values: at least two.
    """
    from scipy.stats import t  # noqa: PLC0415 - a machine without it still collects the tests

    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    value = mean(values)
    return {"value": value, "low": value - half, "high": value + half}


def mean_change(series: Sequence[float]) -> float:
    """Return the mean absolute change of a series from one value to the next; a trend of many steps adds little to it.

    Args:
        series: at least two values.
    """
    return mean(abs(later - earlier) for earlier, later in itertools.pairwise(series))


def paired_readings(
    before: Callable[[], Mapping[str, Any]], after: Callable[[], Mapping[str, Any]], num_windows: int = NUM_WINDOWS
) -> dict[str, Any]:
    """Read both sides in turn and return by how many percentage points the after side is higher.

    Args:
        before: reads a figure of the record, in percent, in a window of one side.
        after: the same of the other side.
        num_windows: readings of each side, at least two.

    Returns:
        What the fixture `figure` takes: the mean difference with Student's interval, or the reason why there is none.
    """
    pairs = [(before(), after()) for _ in range(num_windows)]
    missing = [reading["reason"] for pair in pairs for reading in pair if reading["value"] is None]
    if missing:
        return {"value": None, "unit": _POINTS, "reason": missing[0]}
    levels = [mean(reading["value"] for reading in readings) for readings in zip(*pairs, strict=True)]
    details = [f"{levels[0]:.1f}% before and {levels[1]:.1f}% after, in the mean of {num_windows} windows each"]
    return {**mean_of([b["value"] - a["value"] for a, b in pairs]), "unit": _POINTS, "details": details}


def variance_ratio(before: "NDArray[Any]", after: "NDArray[Any]") -> dict[str, Any]:
    """Return how many times less the rows of `after` vary than those of `before`, with a bootstrap interval.

    The variance of vectors is the sum over their elements: the mean squared distance from the mean vector. The interval
    is the percentile interval over resampled rows (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13).

    Args:
        before: vectors, a row each.
        after: vectors of the same kind, a row each.
    """
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(0)

    def variances(rows: "NDArray[Any]") -> "NDArray[Any]":
        # Of all rows first, then of resampled ones. Only products of rows with rows are needed, however long rows are.
        products, count = rows @ rows.T, len(rows)
        picks = np.vstack([np.arange(count), random.integers(count, size=(2000, count))])
        chosen = products[picks[:, :, None], picks[:, None, :]]
        return (np.trace(chosen, axis1=1, axis2=2) - chosen.sum(axis=(1, 2)) / count) / (count - 1)

    one, other = variances(before), variances(after)
    low, high = np.percentile(one[1:] / other[1:], [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    value = one[0] / other[0]
    return {
        "value": float(value),
        "low": float(min(low, value)),
        "high": float(max(high, value)),
        "unit": "x less variance",
        "work": "different",
        "details": [f"{len(before)} and {len(after)} batches at the same weights, 2,000 bootstrap samples"],
    }


def relative_growth(levels: Sequence[float]) -> dict[str, Any]:
    """Return the growth per step of a series in percent of its median, with its interval.

    Formula: the slope of Theil and Sen, the median of the slopes between all pairs of points, and its interval (Sen,
    Journal of the American Statistical Association 63, 1968, 1379-1389).
    """
    from scipy.stats import theilslopes  # noqa: PLC0415

    found = theilslopes(levels, range(len(levels)), alpha=CONFIDENCE)
    scale = 100 / median(levels)
    return {
        "value": float(found.slope) * scale,
        "low": float(found.low_slope) * scale,
        "high": float(found.high_slope) * scale,
        "unit": "% per epoch",
        "details": [f"{len(levels)} epochs, median {median(levels) / 2**20:.1f} MiB"],
    }


@contextmanager
def called_at(owner: Any, name: str, num_calls: int, action: Callable[[], object]) -> "Iterator[Callable[[], bool]]":
    """Do something at the given call, counted from 1, of a method; yields whether it came to that.

    If the action raises, the method does not do its work.
    """
    real, calls, done = getattr(owner, name), itertools.count(1), []

    def calling(*arguments: Any, **options: Any) -> Any:
        if next(calls) == num_calls:
            done.append(num_calls)
            action()
        return real(*arguments, **options)

    with patch.object(owner, name, calling):
        yield lambda: bool(done)


def raising_once(owner: Any, name: str, error: Exception) -> "AbstractContextManager[Callable[[], bool]]":
    """Make a method raise at its next call, in place of doing its work; yields whether it was called since."""

    def fail() -> None:
        raise error

    return called_at(owner, name, 1, fail)
