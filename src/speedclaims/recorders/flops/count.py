"""Floating point operations: how many a call takes, and what share of what this machine can do that is.

Counted are matrix products, convolutions and attention, a multiplication and an addition apart: what PyTorch's
``FlopCounterMode`` counts, and for TensorFlow the same by `flops.tensorflow`. Each side is counted by itself. Seconds
come from the timing pass alone.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from speedclaims.errors import shown
from speedclaims.numbers import plain
from speedclaims.record.figure import figure
from speedclaims.recorders.flops import NotCountedError
from speedclaims.recorders.flops import tensorflow as flops_tf
from speedclaims.recorders.flops import torch as flops_torch

if TYPE_CHECKING:
    from speedclaims.record.types import Amount, BeforeAfter, Ceilings, Figure, RecordedPair

UNIT = "FLOP"
TOO_MANY_FLOPS = "the side does less than was counted, or the ceiling was measured too low"
TOO_MANY_BYTES = "the bytes fit into a cache, which is faster than the copy of large memory"
_PERCENT = 100.0


def flops_per_call(call: Callable[[], object]) -> "Figure":
    """Run a call and return its floating point operations as a figure of the record.

    Compiled functions run without their compiler. Work that the counters do not see, such as a replayed CUDA graph, is
    the reason why the figure has no value.

    Args:
        call: one warm call of the side.
    """
    frameworks = [module for module in (flops_torch, flops_tf) if module.is_imported()]
    if not frameworks:
        return figure(None, UNIT, "neither PyTorch nor TensorFlow is imported: there is nothing to count")
    try:
        with ExitStack() as stack:
            totals = [stack.enter_context(module.counting()) for module in frameworks]
            call()
        flops = sum(total() for total in totals)
    except NotCountedError as error:
        return figure(None, UNIT, str(error))
    if not flops:
        return figure(None, UNIT, "the call ran no matrix product and no convolution that could be counted")
    return figure(float(flops), UNIT)


def not_counted(reason: str) -> "Amount":
    """Return what a pair's row says where nothing was counted."""
    nothing, no_share = figure(None, UNIT, reason), figure(None, "percent", reason)
    return {"before": nothing, "after": nothing.copy(), "share": {"before": no_share, "after": no_share.copy()}}


def min_bytes_figure(num_bytes: float) -> "Figure":
    """Return the bytes that a call must read and write, as a figure of the record.

    Raises:
        ValueError: that is no positive number.
    """
    found = plain(num_bytes)
    if found is None or not 0 < found < math.inf:
        raise ValueError(
            f"min_bytes returned {shown(num_bytes)}: it is the positive number of bytes that a call reads and writes"
        )
    return figure(float(found), "bytes")


def of_either_side(row: "RecordedPair", counted: "Figure") -> "tuple[Figure, Figure]":
    """Return an amount of a call of each side, known of the before side, where both do the same work."""
    if row["work"] != "same":
        reason = f"counted on the before side only, and the after side does {row['work']} work"
        return counted, figure(None, counted["unit"], reason)
    if counted["value"] is None:
        return counted, counted.copy()
    # The same whole takes these numbers of calls of the sides.
    return counted, figure(counted["value"] * row["calls_before"] / row["calls_after"], counted["unit"])


def of_pair(row: "RecordedPair", amounts: "tuple[Figure, Figure]", ceiling: "Figure", too_much: str) -> "Amount":
    """Return what a pair's row says of its operations or bytes: of a call of each side, and shares of the ceiling.

    Args:
        row: the pair's row, with its times.
        amounts: the figures of the before and of the after side.
        ceiling: the figure of the most that the machine does of it in a second.
        too_much: the reason why there is no share where it would be above 100%.
    """
    before, after = amounts
    return {
        "before": before.copy(),
        "after": after.copy(),
        "share": {
            "before": _share(before, row["before_s"], ceiling, too_much),
            "after": _share(after, row["after_s"], ceiling, too_much),
        },
    }


def _share(counted: "Figure", seconds: float | None, ceiling: "Figure", too_much: str) -> "Figure":
    if counted["value"] is None or ceiling["value"] is None:
        return figure(None, "percent", counted["reason"] or ceiling["reason"])
    if seconds is None:
        return figure(None, "percent", "the call was not timed")
    percent = _PERCENT * counted["value"] / seconds / ceiling["value"]
    if percent > _PERCENT:
        return figure(None, "percent", f"{percent:.0f}% of the ceiling is impossible: {too_much}")
    return figure(percent, "percent")


def possible_shares(amount: "Amount") -> "BeforeAfter":
    """Return the shares of the ceiling, none above 100%: older records counted the before side for both."""
    before, after = amount["share"]["before"], amount["share"]["after"]
    return {"before": _possible(before), "after": _possible(after)}


def _possible(share: "Figure") -> "Figure":
    if share["value"] is None or share["value"] <= _PERCENT:
        return share
    return figure(None, share["unit"], "counted on the reference: the side does less")


def work_saved(row: "RecordedPair") -> float | None:
    """Return the share of the before side's operations that the after side does without; None where they are equal.

    Compared are the wholes of `calls`. Below 0 the after side does more.
    """
    counted = row.get("flops")
    if counted is None or counted["before"]["value"] is None or counted["after"]["value"] is None:
        return None
    before, after = counted["before"]["value"] * row["calls_before"], counted["after"]["value"] * row["calls_after"]
    return None if math.isclose(before, after) else 1 - after / before


def highest(ceilings: "Ceilings") -> "Figure":
    """Return the ceiling that shares are taken of: the most operations a second, of whichever kind of number."""
    return max(ceilings["matmul"].values(), key=lambda one: one["value"] or 0.0).copy()
