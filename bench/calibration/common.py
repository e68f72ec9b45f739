"""Share what the calibrations use."""

from collections.abc import Callable

from scipy.stats import binomtest

CONFIDENCE = 0.95


PRECISION = 0.01


def share(count: int, total: int, digits: int = 1) -> str:
    """Return a share in per cent with its 95 % interval (Wilson)."""
    ends = binomtest(count, total).proportion_ci(method="wilson")
    return f"{count / total:.{digits}%} [{ends.low:.{digits}%}, {ends.high:.{digits}%}]"


def loop(number: int) -> Callable[[], object]:
    """Return a callable that adds up `number` integers."""

    def call() -> int:
        total = 0
        for i in range(number):
            total += i
        return total

    return call
