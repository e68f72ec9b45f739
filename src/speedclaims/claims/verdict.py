"""Judge a claim by the interval that a pair or a figure measured."""

from collections.abc import Mapping
from typing import Any, Literal

from speedclaims.claims.ledger import Claim

Verdict = Literal["confirmed", "below", "above", "ambiguous", "not_measured", "consistent", "inconsistent"]
"""The words for what a measurement says of a claim; the last two are those of arithmetic claims."""


def verdict(claim: Claim, low: float, high: float) -> Verdict:
    """Return the verdict on a claim for a measured interval [low, high] of its metric."""
    at_least = claim.low is None or low >= claim.low
    at_most = claim.high is None or high <= claim.high
    if at_least and at_most:
        return "confirmed"
    if claim.low is not None and high < claim.low:
        return "below"
    if claim.high is not None and low > claim.high:
        return "above"
    return "ambiguous"


def judge(claim: Claim, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's row for a claim that a pair (or a figure) measured.

    Args:
        claim: the claim, of kind ``measured``.
        row: the pair's row of the record; see ``record.schema.json``.
    """
    measured, low, high, missing = _figure(claim, row)
    unmet = [_need(key, value) for key, value in claim.requires.items() if row.get(key) != value]
    reason: str | None
    if unmet:
        word, reason = "not_measured", f"needs {' and '.join(unmet)}"
    elif measured is None:
        word, reason = "not_measured", missing
    elif low is None or high is None:
        word, reason = "ambiguous", missing
    else:
        word = verdict(claim, low, high)
        reason = _straddles(claim, low, high) if word == "ambiguous" else None
    return {
        **blank(claim),
        "measured": measured,
        "measured_low": low,
        "measured_high": high,
        "verdict": word,
        "reason": reason,
        "pair": row["nodeid"],
        "device": row["device"],
        "equivalence": row.get("equivalence"),
    }


def not_judged(claim: Claim, reason: str, nodeid: str | None = None) -> dict[str, Any]:
    """Return the record's row for a claim that nothing measured, with the reason."""
    return {**blank(claim), "reason": reason, "pair": nodeid}


def blank(claim: Claim) -> dict[str, Any]:
    """Return the record's row for a claim before anything is known about it."""
    copied = ("id", "source", "text", "kind", "metric", "unit", "work", "low", "high")
    return {
        **{key: getattr(claim, key) for key in copied},
        "requires": dict(claim.requires),
        "measured": None,
        "measured_low": None,
        "measured_high": None,
        "verdict": "not_measured",
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


_SIDES = {"memory_ratio": "memory", "sync_ratio": "syncs"}


_GPU = {
    "utilization": ("utilization", "after"),
    "utilization_before": ("utilization", "before"),
    "sm_activity": ("sm_activity", "after"),
    "tensor_activity": ("tensor_activity", "after"),
    "energy_ratio": ("energy_j", "ratio"),
}
"""For each metric that NVML tells, the figure and whose it is."""


def _figure(claim: Claim, row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None, str | None]:
    """Return value, low, high and, where one of them is missing, why."""
    if "value" in row:
        return row["value"], row["low"], row["high"], row["reason"]
    if claim.metric == "speedup":
        return row["speedup"], row["low"], row["high"], row["reason"]
    if claim.metric == "quality":
        return None, None, None, "a quality claim is judged by a figure, not by a pair"
    if claim.metric in _SIDES:
        figure = row[_SIDES[claim.metric]]["ratio"]
    else:
        name, side = _GPU[claim.metric]
        if name not in row["gpu"]:
            return None, None, None, f"no {claim.metric.replace('_', ' ')} was recorded on {row['device']}"
        figure = row["gpu"][name][side]
    return figure["value"], figure.get("low", figure["value"]), figure.get("high", figure["value"]), figure["reason"]
