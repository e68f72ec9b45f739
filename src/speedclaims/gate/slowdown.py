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

from speedclaims.measure.random_effects import Pooled, Process, pool, pool_change, t_quantile, t_tail
from speedclaims.measure.statistics import holm_tails

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
    return _corrected([pool_change(base, new) for base, new in pairs], num_looks)


def losses_between(pairs: Sequence[Processes], num_looks: int = 1) -> list[Loss]:
    """Return by how much the after side of each pair takes longer than its before side, corrected for their number.

    Args:
        pairs: the processes of each pair.
        num_looks: how many times at most the gate looks at these pairs, with ever more processes.
    """
    pooled = [pool(processes) for processes in pairs]
    return _corrected([Pooled(-one.value, one.error, one.df) for one in pooled], num_looks)


def _corrected(found: Sequence[Pooled], num_looks: int) -> list[Loss]:
    tails = holm_tails([t_tail(one.df, one.value / one.error) for one in found], FAMILY_ERROR / num_looks)
    return [_loss(one, tail) for one, tail in zip(found, tails, strict=True)]


def _loss(change: Pooled, tail: float) -> Loss:
    half = t_quantile(change.df, 1 - tail) * change.error
    low, value, high = (math.expm1(change.value + step) for step in (-half, 0.0, half))
    return Loss(value, low, high, 1 - 2 * tail)


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
