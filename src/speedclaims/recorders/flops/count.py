"""Floating point operations: how many a call takes, and what share of what this machine can do that is.

Counted are matrix products, convolutions and attention, a multiplication and an addition apart: what PyTorch's
``FlopCounterMode`` counts, and for TensorFlow the same by `flops_tf`. The count comes from the reference, the before
side, and holds for both sides where they do the same work. Seconds come from the timing pass alone.
"""

import importlib
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from numbers import Real
from typing import TYPE_CHECKING, Protocol

from speedclaims.record.figure import figure
from speedclaims.recorders.flops import tensorflow as flops_tf

if TYPE_CHECKING:
    from speedclaims.record.types import Amount, Ceilings, Figure, RecordedPair

UNIT = "FLOP"
_PERCENT = 100.0


def flops_per_call(call: Callable[[], object]) -> "Figure":
    """Run a call and return its floating point operations as a figure of the record.

    Replayed graphs and what compiled code calls outside PyTorch are not seen, so let it be the reference.

    Args:
        call: one warm call of the side.
    """
    torch, has_tensorflow = sys.modules.get("torch"), flops_tf.is_imported()
    if torch is None and not has_tensorflow:
        return figure(None, UNIT, "neither PyTorch nor TensorFlow is imported: there is nothing to count")
    counts: list[Callable[[], int]] = []
    try:
        with ExitStack() as stack:
            if torch is not None:
                # cuDNN and oneDNN run an LSTM as one operation, which the counter does not know. Without them it is
                # matrix products.
                for library in (torch.backends.cudnn, torch.backends.mkldnn):
                    stack.enter_context(_off(library))
                counter = stack.enter_context(_counter())
                if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
                    # A compiled function would be compiled again with the counter in it.
                    stack.enter_context(torch.compiler.set_stance("force_eager"))
                counts.append(counter.get_total_flops)
            if has_tensorflow:
                counts.append(stack.enter_context(flops_tf.counting()).total)
            call()
        total = sum(count() for count in counts)
    except flops_tf.NotCountedError as error:
        return figure(None, UNIT, str(error))
    if not total:
        return figure(None, UNIT, "the call ran no matrix product and no convolution that could be counted")
    return figure(float(total), UNIT)


@contextmanager
def _off(library: "_Library") -> Iterator[None]:
    """Keep PyTorch from using a library while the block runs."""
    before, library.enabled = library.enabled, False
    try:
        yield
    finally:
        library.enabled = before


def _counter() -> "AbstractContextManager[_Counter]":
    found: AbstractContextManager[_Counter] = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(
        display=False
    )
    return found


class _Counter(Protocol):
    """PyTorch's counter of operations."""

    def get_total_flops(self) -> int:
        """Return what was counted."""


class _Library(Protocol):
    """A library that PyTorch can be kept from using."""

    enabled: bool


def not_counted(reason: str) -> "Amount":
    """Return what a pair's row says where nothing was counted."""
    nothing, no_share = figure(None, UNIT, reason), figure(None, "percent", reason)
    return {"before": nothing, "after": nothing.copy(), "share": {"before": no_share, "after": no_share.copy()}}


def min_bytes_figure(num_bytes: float) -> "Figure":
    """Return the bytes that a call must read and write, as a figure of the record.

    Raises:
        ValueError: that is no positive number.
    """
    if not isinstance(num_bytes, Real) or not 0 < num_bytes < math.inf:
        raise ValueError(
            f"min_bytes returned {num_bytes!r}: it is the positive number of bytes that a call reads and writes"
        )
    return figure(float(num_bytes), "bytes")


def of_pair(row: "RecordedPair", counted: "Figure", ceiling: "Figure") -> "Amount":
    """Return what a pair's row says of its operations or bytes: of a call of each side, and shares of the ceiling.

    Args:
        row: the pair's row, with its times.
        counted: the figure of the before side.
        ceiling: the figure of the most that the machine does of it in a second.
    """
    before = counted.copy()
    if row["work"] != "same":
        after = figure(
            None, counted["unit"], f"counted on the before side only, and the after side does {row['work']} work"
        )
    elif before["value"] is None:
        after = before.copy()
    else:
        # The same whole takes these numbers of calls of the sides.
        after = figure(before["value"] * row["calls_before"] / row["calls_after"], before["unit"])
    return {
        "before": before,
        "after": after,
        "share": {
            "before": _share(before, row["before_s"], ceiling),
            "after": _share(after, row["after_s"], ceiling),
        },
    }


def _share(counted: "Figure", seconds: float | None, ceiling: "Figure") -> "Figure":
    if counted["value"] is None or ceiling["value"] is None:
        return figure(None, "percent", counted["reason"] or ceiling["reason"])
    if seconds is None:
        return figure(None, "percent", "the call was not timed")
    return figure(_PERCENT * counted["value"] / seconds / ceiling["value"], "percent")


def highest(ceilings: "Ceilings") -> "Figure":
    """Return the ceiling that shares are taken of: the most operations a second, of whichever kind of number."""
    return max(ceilings["matmul"].values(), key=lambda one: one["value"] or 0.0).copy()
