"""Memory: the peak of one side, in a fresh process of its own, and what is in use now."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedclaims.record.figure import figure

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")
_RESET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one


def peak_bytes(device: str, call: Callable[[], object]) -> dict[str, Any]:
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


def _cuda_peak(call: Callable[[], object]) -> dict[str, Any]:
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


def current_bytes(device: str) -> dict[str, Any]:
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
