"""How much of each pair's speedup was lost from one record to another, and how sure that is.

What differs between fresh processes (memory layout, order of hashes, other load) is the noise that counts. So the
processes of both records are pooled by the model of `speedclaims.measure.random_effects`, those of one hash seed
against each other. The intervals are corrected for the number of pairs (Holm, Scandinavian Journal of Statistics 6,
1979, 65-70), and for how often the gate may look at the same pairs (Bonferroni).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.measure.random_effects import Pooled, Process, pool_change, t_quantile, t_tail

FAMILY_ERROR: Final = 0.005
"""Of sessions with unchanged code, the share in which chance alone may put any pair's whole interval above 0."""

Processes = Sequence[Process]


@dataclass(frozen=True)
class Loss:
    """How much longer the after side takes, measured against the before side: 0.05 is 5 %.

    Attributes:
        value: the estimate; below 0 the speedup has grown.
        low: low end of its interval.
        high: high end of its interval.
        confidence: two-sided coverage of that interval, corrected for the number of pairs.
    """

    value: float
    low: float
    high: float
    confidence: float


def losses(pairs: Sequence[tuple[Processes, Processes]], num_looks: int = 1) -> list[Loss]:
    """Return the loss of each pair of a session, with intervals corrected for their number.

    Args:
        pairs: the processes of the base, and of the new record.
        num_looks: how many times at most the gate looks at these pairs, with ever more processes.
    """
    found = [pool_change(base, new) for base, new in pairs]
    tails = holm_tails([t_tail(one.df, one.value / one.error) for one in found], FAMILY_ERROR / num_looks)
    return [_loss(one, tail) for one, tail in zip(found, tails, strict=True)]


def _loss(change: Pooled, tail: float) -> Loss:
    half = t_quantile(change.df, 1 - tail) * change.error
    low, value, high = (math.expm1(change.value + step) for step in (-half, 0.0, half))
    return Loss(value, low, high, 1 - 2 * tail)


def holm_tails(p: Sequence[float], family_error: float = FAMILY_ERROR) -> list[float]:
    """Return for each pair the one-sided error at which it is tested, in Holm's order of their p-values.

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


def verdict(loss: Loss, percent: float) -> str:
    """Return the verdict on a loss for a threshold in per cent.

    ``regressed`` when its whole interval lies above 0 and its estimate above half of the threshold; ``improved`` when
    the whole interval lies below 0; ``held`` when it lies wholly below the threshold; else ``ambiguous``.
    """
    if loss.low > 0 and 100 * loss.value > percent / 2:
        return "regressed"
    if loss.high < 0:
        return "improved"
    return "held" if 100 * loss.high < percent else "ambiguous"
