"""Make the figures of a record: a value or the reason why there is none."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, Sides


def figure(value: float | None, unit: str, reason: str | None = None) -> "Figure":
    """Return one figure of a record: a value, or the reason why there is none.

    Raises:
        ValueError: neither or both are given.
    """
    if (value is None) == (reason is None):
        raise ValueError("a figure has a value or a reason, one of them")
    return {"value": value, "unit": unit, "status": "measured" if reason is None else "not_measured", "reason": reason}


def spread(figures: "Sequence[Figure]") -> "Figure":
    """Return one figure of several measurements of the same: their median, with the lowest and the highest.

    Where one of them has no value, neither has the result, for the same reason.
    """
    values: list[float] = []
    for one in figures:
        if one["value"] is None:
            return one.copy()
        values.append(one["value"])
    return {**figure(median(values), figures[0]["unit"]), "low": min(values), "high": max(values)}


def sides(before: "Figure", after: "Figure") -> "Sides":
    """Return one figure for each side of a pair and their ratio before / after, with its range where they have one."""
    return {"before": before.copy(), "after": after.copy(), "ratio": _ratio(before, after)}


def _ratio(before: "Figure", after: "Figure") -> "Figure":
    if before["value"] is None or after["value"] is None:
        return figure(None, "1", before["reason"] or after["reason"])
    range_before, range_after = _range(before), _range(after)
    if after["value"] <= 0 or (range_after and range_after[0] <= 0):
        return figure(None, "1", "the after side is zero")
    ratio = figure(before["value"] / after["value"], "1")
    if range_before and range_after:
        ratio.update({"low": range_before[0] / range_after[1], "high": range_before[1] / range_after[0]})
    return ratio


def _range(one: "Figure") -> tuple[float, float] | None:
    low, high = one.get("low"), one.get("high")
    return None if low is None or high is None else (low, high)
