"""Compare ways to estimate a process's log speedup from the rounds of both sides."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median, quantiles

from speedclaims.measure.interleave import Round, Rounds

Estimator = Callable[[Rounds], float]


def _of_sides(center: Callable[[Sequence[float]], float], *, undisturbed: bool = False) -> Estimator:
    """Return the estimator that summarizes each side alone and takes the ratio."""

    def estimate(found: Rounds) -> float:
        before, after = ([one.seconds for one in side if _counts(side, one, undisturbed)] for side in found_of(found))
        return math.log(center(before) / center(after))

    return estimate


def _counts(side: Sequence[Round], one: Round, undisturbed: bool) -> bool:  # noqa: FBT001 - a private helper
    return not (undisturbed and one.is_interrupted) or all(other.is_interrupted for other in side)


def found_of(found: Rounds) -> tuple[Sequence[Round], Sequence[Round]]:
    """Return the rounds of both sides."""
    return found.before, found.after


def _double_rounds(found: Rounds) -> float:
    """Return the median over double rounds of the log-ratio of both sides' sums."""
    before, after = ([one.seconds for one in side] for side in found_of(found))
    return median(
        math.log((before[i] + before[i + 1]) / (after[i] + after[i + 1])) for i in range(0, len(before) - 1, 2)
    )


def _low_tenth(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=10, method="inclusive")[0]


def _low_quarter(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=4, method="inclusive")[0]


ESTIMATORS: dict[str, Estimator] = {
    "blocks of undisturbed rounds, median (ours)": lambda found: median(found.log_ratios),
    "undisturbed rounds, median of each side": _of_sides(median, undisturbed=True),
    "all rounds, median of each side": _of_sides(median),
    "double rounds, median of log-ratios": _double_rounds,
    "all rounds, lower quartile of each side": _of_sides(_low_quarter),
    "all rounds, lowest tenth of each side": _of_sides(_low_tenth),
    "all rounds, minimum of each side": _of_sides(min),
    "all rounds, mean of each side": _of_sides(fmean),
}
"""Name to estimator of a process's log speedup."""
