"""Judge a claim by the interval that a pair or a figure measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from speedclaims.claims.ledger import Claim
from speedclaims.claims.metrics import metrics
from speedclaims.record.types import Verdict
from speedclaims.record.verdicts import WORST_FIRST, worst

if TYPE_CHECKING:
    from speedclaims.record.types import Better, Figure, Over, RecordedClaim, RecordedFigure, Row

__all__ = ["Verdict", "blank", "judge", "not_judged", "overall", "verdict"]


def verdict(claim: Claim, low: float, high: float) -> Verdict:
    """Return the verdict on a claim for a measured interval [low, high] of its metric.

    ``confirmed`` when the whole interval lies within the bounds; ``exceeded`` when it lies wholly outside on the
    better side, ``refuted`` on any other side; ``ambiguous`` when it straddles a bound.
    """
    at_least = claim.low is None or low >= claim.low
    at_most = claim.high is None or high <= claim.high
    if at_least and at_most:
        return "confirmed"
    if claim.low is not None and high < claim.low:
        return "exceeded" if claim.better == "lower" else "refuted"
    if claim.high is not None and low > claim.high:
        return "exceeded" if claim.better == "higher" else "refuted"
    return "ambiguous"


def overall(over: "Over", better: "Better", rows: "Sequence[RecordedClaim]") -> Verdict:
    """Return the verdict on a claim over the rows of all its tests; those not measured do not judge.

    For an even number of tests the median is the worse of the middle two.
    """
    judging = [row for row in rows if row["verdict"] != "not_measured"]
    judging.sort(key=lambda row: row["measured"] or 0.0, reverse=better == "lower")
    words = [row["verdict"] for row in judging]
    if over == "any":
        return max(words, key=WORST_FIRST.index, default="not_measured")
    if over == "median":
        words = words[(len(words) - 1) // 2 : len(words) // 2 + 1]
    return worst(words[-1:] if over == "best" else words)


def judge(claim: Claim, row: "Row") -> "RecordedClaim":
    """Return the record's row for a claim that a pair (or a figure) measured.

    Args:
        claim: the claim, of kind ``measured``.
        row: the row of the pair or the figure in the record.
    """
    found = _figure(claim, row)
    measured = found["value"]
    low, high = found.get("low", measured), found.get("high", measured)
    unmet = [_need(key, value) for key, value in claim.requires.items() if row.get(key) != value]
    word: Verdict = "not_measured"
    reason = found["reason"]
    if unmet:
        reason = f"needs {' and '.join(unmet)}"
    elif measured is not None and (low is None or high is None):
        word = "ambiguous"
    elif measured is not None and low is not None and high is not None:
        word = verdict(claim, low, high)
        reason = _straddles(claim, low, high) if word == "ambiguous" else None
    return {
        **blank(claim),
        "measured": measured,
        "measured_low": low,
        "measured_high": high,
        "verdict": word,
        "overall": word,
        "reason": reason,
        "pair": row["nodeid"],
        "device": row["device"],
        "equivalence": row["equivalence"] if "speedup" in row else None,
    }


def not_judged(claim: Claim, reason: str, nodeid: str | None = None) -> "RecordedClaim":
    """Return the record's row for a claim that nothing measured, with the reason."""
    return {**blank(claim), "reason": reason, "pair": nodeid}


def blank(claim: Claim) -> "RecordedClaim":
    """Return the record's row for a claim before anything is known about it."""
    return {
        "id": claim.id,
        "variant": None,
        "source": claim.source,
        "text": claim.text,
        "kind": claim.kind,
        "metric": claim.metric,
        "unit": claim.unit,
        "work": claim.work,
        "low": claim.low,
        "high": claim.high,
        "better": claim.better,
        "over": claim.over,
        "requires": dict(claim.requires),
        "measured": None,
        "measured_low": None,
        "measured_high": None,
        "verdict": "not_measured",
        "overall": "not_measured",
        "reason": None,
        "pair": None,
        "device": None,
        "equivalence": None,
    }


def _need(key: str, value: str) -> str:
    return value if key == "device" else f"the {key} {value}"


def _straddles(claim: Claim, low: float, high: float) -> str:
    bounds = [bound for bound in (claim.low, claim.high) if bound is not None and low <= bound <= high]
    return f"the interval straddles {' and '.join(f'{bound:g}' for bound in bounds)}"


def _figure(claim: Claim, row: "Row") -> "Figure":
    """Return the figure that judges a claim, or the reason why there is none."""
    if "value" in row:
        return _of_test(row)
    found = metrics()[claim.metric].figure(row)
    if found is None:
        reason = f"no {claim.metric.replace('_', ' ')} was recorded on {row['device']}"
        return {"value": None, "unit": claim.unit, "status": "not_measured", "reason": reason}
    return found


def _of_test(figure: "RecordedFigure") -> "Figure":
    return {
        "value": figure["value"],
        "unit": figure["unit"],
        "status": figure["status"],
        "reason": figure["reason"],
        "low": figure["low"],
        "high": figure["high"],
    }
