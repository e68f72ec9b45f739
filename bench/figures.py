"""Figures that are not times: quality over paired seeds, memory over epochs, faults injected and survived."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import mean, median, stdev
from typing import Any
from unittest.mock import patch

NUM_SEEDS = 8
CONFIDENCE = 0.95


def paired_difference(before: Callable[[int], float], after: Callable[[int], float]) -> dict[str, Any]:
    """Train both sides with the same seeds and return how much worse the after side ends.

    The value is the mean of after - before over the seeds, in standard deviations of the before side over its seeds;
    its interval is Student's for paired differences. Above 0 the after side is worse, where lower is better.

    Args:
        before: trains from a seed and returns the quality reached, for example a validation loss.
        after: the same for the other side.
    """
    from scipy.stats import t  # noqa: PLC0415 - a machine without it still collects the tests

    pairs = [(before(seed), after(seed)) for seed in range(NUM_SEEDS)]
    scale = stdev(b for b, _ in pairs)
    differences = [(a - b) / scale for b, a in pairs]
    half = t.ppf(0.5 + CONFIDENCE / 2, NUM_SEEDS - 1) * stdev(differences) / math.sqrt(NUM_SEEDS)
    value = mean(differences)
    details = [
        f"{NUM_SEEDS} paired seeds; before {mean(b for b, _ in pairs):.6g} (standard deviation {scale:.3g}), "
        f"after {mean(a for _, a in pairs):.6g}"
    ]
    return {"value": value, "low": value - half, "high": value + half, "unit": "sd", "details": details}


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
def raising_once(owner: Any, name: str, error: Exception) -> Iterator[Callable[[], bool]]:
    """Make a method raise at its next call, in place of doing its work; yields whether it was called since."""
    real, called = getattr(owner, name), []

    def raising(*arguments: Any, **options: Any) -> Any:
        if not called:
            called.append(name)
            raise error
        return real(*arguments, **options)

    with patch.object(owner, name, raising):
        yield lambda: bool(called)
