"""Record the peak memory of one side, in a fresh process, and the memory in use now."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speedclaims.record.figure import figure, sides, spread
from speedclaims.record.json_types import Json
from speedclaims.recorders.recorder import (
    FigureKind,
    Machine,
    Metric,
    PairContext,
    Recorder,
    Side,
    no_sides,
    rows_with_ratio,
)

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, RecordedPair

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")
_RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one


class Memory(Recorder):
    """Record the peak memory of one call."""

    name = "memory"
    help = "peak memory of a call"
    metrics = (Metric("memory_ratio", "peak memory", lambda pair: pair["memory"]["ratio"]),)
    order = 1

    def scatters(self, device: str) -> bool:
        return not device.startswith("cuda")  # what a GPU's allocator counts is the same in every process

    def record_side(self, side: Side) -> "Figure":
        """Return the peak of one call in bytes."""
        side.prepare()  # what that holds for a moment does not belong to the side
        return peak_bytes(side.device, side.call)

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        return {"memory": sides(spread(before), spread(after))}

    def missing(self, reason: str) -> Mapping[str, object]:
        return {"memory": no_sides("bytes", reason)}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        found = rows_with_ratio({i: pair["memory"] for i, pair in enumerate(pairs)})
        yield FigureKind("Peak memory", "The highest memory in use during one call.", found)

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        return {"memory": (peak_bytes("cpu", lambda: None)["reason"],), "memory_cuda": (machine.torch_on_cuda,)}


def peak_bytes(device: str, call: Callable[[], object]) -> "Figure":
    """Run a call and return its peak memory in bytes as a figure of the record.

    On CUDA it is PyTorch's ``max_memory_allocated`` or the peak of TensorFlow's ``get_memory_info``, neither with what
    the allocator keeps in reserve; on a CPU the peak resident set size of this process, which holds the interpreter and
    the libraries too: the same for both sides.

    Args:
        device: where the work happens, ``cpu`` or ``cuda``.
        call: one warm call of the side, ending in a synchronization.
    """
    if device.startswith("cuda"):
        return _cuda_peak(call)
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError as error:
        call()
        return figure(None, "bytes", f"the peak of resident memory cannot be reset here ({error.strerror})")
    call()
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return figure(float(line.split()[1]) * 1024, "bytes")
    return figure(None, "bytes", "the system does not tell the peak of resident memory")


def _cuda_peak(call: Callable[[], object]) -> "Figure":
    torch, tf = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        call()
        return figure(float(torch.cuda.max_memory_allocated()), "bytes")
    if tf is not None and tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
        call()
        return figure(float(tf.config.experimental.get_memory_info("GPU:0")["peak"]), "bytes")
    call()
    return figure(None, "bytes", "device memory is read through PyTorch or TensorFlow, of which this side uses neither")


def current_bytes(device: str) -> "Figure":
    """Return the memory in use now, in bytes, as a figure of the record.

    On CUDA it is PyTorch's ``memory_allocated``; on a CPU the resident set size of this process.
    """
    if device.startswith("cuda"):
        torch = sys.modules.get("torch")
        if torch is None:
            return figure(None, "bytes", "device memory is read through PyTorch, which was not imported")
        return figure(float(torch.cuda.memory_allocated()), "bytes")
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError as error:
        return figure(None, "bytes", f"resident memory cannot be read here ({error.strerror})")
    return figure(float(pages * os.sysconf("SC_PAGE_SIZE")), "bytes")
