"""Make the figures of a record: a value or the reason why there is none."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


def figure(value: float | None, unit: str, reason: str | None = None) -> dict[str, Any]:
    """Return one figure of a record: a value, or the reason why there is none.

    Raises:
        ValueError: neither or both are given.
    """
    if (value is None) == (reason is None):
        msg = "a figure has a value or a reason, one of them"
        raise ValueError(msg)
    return {"value": value, "unit": unit, "status": "measured" if reason is None else "not_measured", "reason": reason}


def spread(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one figure of several measurements of the same: their median, with the lowest and the highest.

    Where one of them has no value, neither has the result, for the same reason.
    """
    missing = next((one for one in figures if one["value"] is None), None)
    if missing is not None:
        return dict(missing)
    values = [one["value"] for one in figures]
    return {**figure(median(values), figures[0]["unit"]), "low": min(values), "high": max(values)}


def sides(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return one figure for each side of a pair and their ratio before / after, with its range where they have one."""
    if before["value"] is None or after["value"] is None:
        ratio = figure(None, "1", before["reason"] or after["reason"])
    elif min(after["value"], after.get("low", after["value"])) <= 0:
        ratio = figure(None, "1", "the after side is zero")
    else:
        ratio = figure(before["value"] / after["value"], "1")
        if "low" in before and "low" in after:
            ratio.update(low=before["low"] / after["high"], high=before["high"] / after["low"])
    return {"before": dict(before), "after": dict(after), "ratio": ratio}
