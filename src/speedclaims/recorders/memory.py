"""Record the memory of one call of a side, in a fresh process, and read the memory in use now."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.figure import figure, sides, spread
from speedclaims.record.json_types import Json
from speedclaims.recorders.recorder import (
    SIDES,
    FigureKind,
    FigureRow,
    Machine,
    Metric,
    PairContext,
    Recorder,
    Side,
    no_sides,
    rows_with_ratio,
)

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, RecordedPair, Sides

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")
_RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one

MIN_INCREASE_BYTES = 2**20
"""Smaller increases are not compared: allocator and interpreter take as much by themselves."""


class CallMemory(TypedDict):
    """Hold the memory of one call, in bytes.

    Attributes:
        peak: the highest memory in use during the call.
        increase: the peak above the level right before the call.
    """

    peak: "Figure"
    increase: "Figure"


class Memory(Recorder):
    """Record the peak memory of one call, and its increase over the level right before the call.

    The metric ``memory_ratio`` is a ratio of increases on a CPU and of peaks on CUDA. On a CPU the peak is that of the
    whole process, and the interpreter with its libraries would hide a difference between the sides. On CUDA the peak is
    that of the framework's allocator: weights and optimizer state, allocated before the call, are part of the memory
    usage that documents claim to halve.
    """

    name = "memory"
    help = "peak memory of a call, and its increase over the level before the call"
    metrics = (Metric("memory_ratio", "peak memory", lambda pair: _judging(pair)["ratio"]),)
    order = 1

    def scatters(self, device: str) -> bool:
        return not device.startswith("cuda")  # what a GPU's allocator counts is the same in every process

    def record_side(self, side: Side) -> CallMemory:
        """Return the peak and the increase of one call in bytes."""
        side.prepare()  # what that holds for a moment does not belong to the side
        return call_memory(side.device, side.call)

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        peaks, increases = (
            sides(*(spread([one[name] for one in found]) for found in (before, after))) for name in ("peak", "increase")
        )
        return {"memory": peaks, "memory_increase": _comparable(increases)}

    def missing(self, reason: str) -> Mapping[str, object]:
        return {"memory": no_sides("bytes", reason), "memory_increase": no_sides("bytes", reason)}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        """Yield the tables of peaks and increases; of increases none for records older than them."""
        yield FigureKind(
            "Peak memory",
            "The highest memory in use during one call. On CUDA it is that of the framework's allocator, and its ratio "
            "judges claims about memory. On a CPU it contains the interpreter and its libraries.",
            [
                FigureRow(i, both["before"], both["after"], both["ratio"] if _judging(pair) is both else None)
                for i, pair in enumerate(pairs)
                for both in (pair["memory"],)
            ],
        )
        increases = {i: pair["memory_increase"] for i, pair in enumerate(pairs) if "memory_increase" in pair}
        if increases:
            yield FigureKind(
                "Memory above the level before the call",
                "The peak less the memory in use right before the call, after its setup and garbage collection. On a "
                "CPU its ratio judges claims about memory.",
                rows_with_ratio(increases),
            )

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        reason = call_memory("cpu", lambda: None)["peak"]["reason"]
        return {"memory": (reason,), "memory_cuda": (machine.torch_on_cuda,)}


def _judging(pair: "RecordedPair") -> "Sides":
    """Return the memory whose ratio judges claims; for records without increases the peaks."""
    if pair["device"].startswith("cuda"):
        return pair["memory"]
    return pair.get("memory_increase", pair["memory"])


def _comparable(increases: "Sides") -> "Sides":
    """Return increases without their ratio where one of them is too small to be distinguished from noise."""
    for name in SIDES:
        least = increases[name].get("low", increases[name]["value"])
        if least is not None and least < MIN_INCREASE_BYTES:
            reason = (
                f"the {name} side takes {least / 2**10:.0f} KiB above the level before the call: below 1 MiB no ratio"
            )
            return {**increases, "ratio": figure(None, "1", reason)}
    return increases


def call_memory(device: str, call: Callable[[], object]) -> CallMemory:
    """Run a call and return its peak memory and the increase over the level before it, as figures of the record.

    On CUDA the peak is PyTorch's ``max_memory_allocated`` or that of TensorFlow's ``get_memory_info``, both without
    what the allocator keeps in reserve. On a CPU it is the peak resident set size of this process, which contains the
    interpreter and the libraries.

    Args:
        device: where the work happens, ``cpu`` or ``cuda``.
        call: one warm call of the side, ending in a synchronization.
    """
    _give_back_memory()
    try:
        reset_peak, peak_bytes = _counter(device)
        reset_peak()
        level = peak_bytes()
    except _NoCounterError as error:
        call()
        missing = figure(None, "bytes", str(error))
        return {"peak": missing, "increase": missing.copy()}
    call()
    peak = peak_bytes()
    return {"peak": figure(peak, "bytes"), "increase": figure(max(0.0, peak - level), "bytes")}


class _NoCounterError(SpeedclaimsError):
    """Signal that the peak memory cannot be read here; the message says why."""


def _give_back_memory() -> None:
    """Collect garbage, and let the C library return free memory to the system: a call would use it without a trace."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _counter(device: str) -> tuple[Callable[[], object], Callable[[], float]]:
    """Return the functions that reset the peak memory to the present level and that read it in bytes.

    Raises:
        _NoCounterError: nothing counts memory on the device.
    """
    if not device.startswith("cuda"):
        return _reset_resident_peak, _resident_peak
    torch, tf = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.reset_peak_memory_stats, lambda: float(torch.cuda.max_memory_allocated())
    if tf is not None and tf.config.list_logical_devices("GPU"):
        of_gpu = tf.config.experimental
        return lambda: of_gpu.reset_memory_stats("GPU:0"), lambda: float(of_gpu.get_memory_info("GPU:0")["peak"])
    raise _NoCounterError("device memory is read through PyTorch or TensorFlow, of which this side uses neither")


def _reset_resident_peak() -> None:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError as error:
        raise _NoCounterError(f"the peak of resident memory cannot be reset here ({error.strerror})") from None


def _resident_peak() -> float:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise _NoCounterError("the system does not report the peak of resident memory")


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
