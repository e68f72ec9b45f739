"""Which device PyTorch trains on."""

import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainers.contract import BadInput

__all__ = ["best_device", "compiles_for", "cpp_compiler", "cpu_capabilities", "find_device"]


def best_device() -> str:
    """Name of the GPU if PyTorch can use one, else of the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def find_device(name: str | torch.device | None) -> torch.device:
    """Look up a device by name; without one, the best there is. Under torchrun `cuda` is the rank's own GPU.

    Raises:
        BadInput: there is no such device, or the trainers do not support it.

    """
    try:
        device = torch.device(best_device() if name is None else name)
    except RuntimeError as error:
        raise BadInput(f"unknown device {name!r}", "device", "choose cpu or cuda") from error
    if device.type not in {"cpu", "cuda"}:
        raise BadInput(f"device {name!r} is not supported", "device", "choose cpu or cuda")
    if device.type == "cuda" and device.index is None and os.environ.get("LOCAL_RANK", "").isdecimal():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))  # of this rank of torchrun's
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"there is no device {name!r} here", "device", "choose cpu, or install a PyTorch for your GPU")
    return device


def cpu_capabilities() -> Mapping[str, Any]:
    """Return what PyTorch knows of the processor: its name and instructions; empty where a release lacks that."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def compiles_for(device: torch.device) -> bool:
    """Whether `torch.compile` finds what it makes kernels with: for a CPU a C++ compiler and Python's headers."""
    if device.type == "cuda":
        return True
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return headers.is_file() and cpp_compiler() is not None


def cpp_compiler() -> str | None:
    """Return the path of the C++ compiler, `$CXX` or g++; None where there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))
