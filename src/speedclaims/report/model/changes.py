"""Find change points: the places in a series of speedups from which on it differs from before.

The method is that of Fleming et al., "Hunter: Using Change Point Detection to Hunt for Performance Regressions" (2023),
as apache-otava implements it. Without that package there are no change points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final

_WINDOW: Final = 50
_MOST_LOG: Final = 100.0
_MAX_P: Final = 0.001
"""apache-otava's own defaults."""


@dataclass(frozen=True, slots=True)
class Change:
    """A place from which on a series differs.

    Attributes:
        index: the first value after the change.
        percent: how much larger the values are from there on than before it, in percent; below 0 they are smaller.
    """

    index: int
    percent: float


def change_points(values: Sequence[float]) -> tuple[Change, ...]:
    """Return the change points of positive values in their order; none where apache-otava cannot be imported."""
    if len(values) < 2 or not can_find_changes():
        return ()
    analysis = import_module("otava.analysis")
    found, _ = analysis.compute_change_points(
        list(map(math.log, values)), window_len=_WINDOW, max_pvalue=_MAX_P, min_magnitude=0.0
    )
    return tuple(
        Change(int(one.index), 100 * math.expm1(min(one.stats.mean_2 - one.stats.mean_1, _MOST_LOG))) for one in found
    )


def can_find_changes() -> bool:
    """Whether apache-otava can be imported."""
    try:
        import_module("otava.analysis")
    except ImportError:
        return False
    return True
