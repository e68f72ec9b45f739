"""Order the verdicts on a claim, and derive from its bounds which side is better."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from speedclaims.record.types import Better, RecordedClaim, Verdict

HOLDING: Final = frozenset({"confirmed", "exceeded", "consistent"})
"""Verdicts on claims that hold."""
WORST_FIRST: Final = ("inconsistent", "refuted", "ambiguous", "confirmed", "exceeded", "consistent", "not_measured")


def worst(verdicts: "Iterable[Verdict]") -> "Verdict":
    """Return the verdict that speaks most against a claim; ``not_measured`` only where there is no other."""
    return min(verdicts, key=WORST_FIRST.index, default="not_measured")


def counting(claims: "Iterable[RecordedClaim]") -> "Sequence[RecordedClaim]":
    """Return the rows of claims whose verdicts count: of a claim with variants those of the first."""
    first: dict[str, str | None] = {}
    return [row for row in claims if row["variant"] == first.setdefault(row["id"], row["variant"])]


def better_side(low: object, high: object, metric: object) -> "Better":
    """Return the side on which a claim is exceeded, unless it says otherwise.

    One bound decides alone: a claim of at least so much is refuted below its bound, one of at most so much above it.
    Of two bounds the metric decides: more of a ratio, a utilization or an activity is better; a ``quality`` has no
    better side.
    """
    if low is None:
        return "neither" if high is None else "lower"
    return "neither" if high is not None and metric == "quality" else "higher"
