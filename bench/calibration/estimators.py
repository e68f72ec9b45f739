"""Compare ways to estimate a process's log speedup from the rounds of both sides."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median, quantiles

from speedclaims.measure.interleave import Round, Rounds, undisturbed

Estimator = Callable[[Rounds], float]


def _of_sides(center: Callable[[Sequence[float]], float]) -> Estimator:
    """Return the estimator that summarizes each side alone and takes the ratio."""
    return lambda found: math.log(center(_seconds(found.before)) / center(_seconds(found.after)))


def _of_undisturbed(found: Rounds) -> float:
    """Return the log-ratio of both sides' medians over the rounds that were not interrupted."""
    before, after = undisturbed(found.before, found.after)
    return math.log(median(before) / median(after))


def _double_rounds(found: Rounds) -> float:
    """Return the median over double rounds of the log-ratio of both sides' sums."""
    before, after = _seconds(found.before), _seconds(found.after)
    return median(
        math.log((before[i] + before[i + 1]) / (after[i] + after[i + 1])) for i in range(0, len(before) - 1, 2)
    )


def _seconds(rounds: Sequence[Round]) -> list[float]:
    return [one.seconds for one in rounds]


def _lowest(parts: int) -> Callable[[Sequence[float]], float]:
    """Return the function that gives what the lowest of some equal parts of the values ends with."""
    return lambda seconds: quantiles(seconds, n=parts, method="inclusive")[0]


ESTIMATORS: dict[str, Estimator] = {
    "blocks of undisturbed rounds, median (ours)": lambda found: median(found.log_ratios),
    "undisturbed rounds, median of each side": _of_undisturbed,
    "all rounds, median of each side": _of_sides(median),
    "double rounds, median of log-ratios": _double_rounds,
    "all rounds, lower quartile of each side": _of_sides(_lowest(4)),
    "all rounds, lowest tenth of each side": _of_sides(_lowest(10)),
    "all rounds, minimum of each side": _of_sides(min),
    "all rounds, mean of each side": _of_sides(fmean),
}
"""Name to estimator of a process's log speedup."""
