"""Where a run took place: processor, memory, libraries, threads and numerical settings."""

import os
import platform
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from speedclaims import __version__
from speedclaims.recorders.nvml import devices as nvml

if TYPE_CHECKING:
    from speedclaims.record.types import Commit, Environment, Scalars

LIBRARIES = (
    "torch",
    "tensorflow",
    "numpy",
    "scipy",
    "h5py",
    "pillow",
    "nvidia-ml-py",
    "pytest",
    "pytest-benchmark",
    "speedclaims",
)
"""Distributions whose versions a record holds, imported or not."""

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "CUDA_VISIBLE_DEVICES",
)
"""Environment variables that change speed."""


def versions(names: Sequence[str] = LIBRARIES) -> dict[str, str | None]:
    """Return the installed version of each distribution, None where it is not installed.

    The plugin itself may run from a copy of its files; its version is theirs then.
    """
    return {name: _version_of(name) or (__version__ if name == "speedclaims" else None) for name in names}


def imported_versions() -> dict[str, str | None]:
    """Return the version of each distribution of which this process has imported a top-level module, sorted by name.

    ``importlib.metadata.packages_distributions`` would do the same in several times the time: it parses each file list.
    """
    imported = {name.partition(".")[0] for name in list(sys.modules)} - sys.stdlib_module_names
    found: dict[str, str | None] = {}
    known: set[str] = set()
    for distribution, modules in _top_level_modules():
        if modules & imported:
            name, version = _name_and_version(distribution)
            found.setdefault(name, version)
            known |= modules
    for module in imported - known:  # the file list of an editable installation may not name its modules
        version = _version_of(module)
        if version is not None:
            found[_normal(module)] = version
    return dict(sorted(found.items()))


@cache
def _top_level_modules() -> tuple[tuple[metadata.Distribution, frozenset[str]], ...]:
    """Return the distributions that can be imported, each with its top-level modules."""
    found = []
    for distribution in metadata.distributions():
        listed = distribution.read_text("top_level.txt")
        if listed is None:
            files = (line.partition(",")[0] for line in (distribution.read_text("RECORD") or "").splitlines())
            modules = frozenset(file.partition("/")[0].partition(".")[0] for file in files)
        else:
            modules = frozenset(listed.split())
        found.append((distribution, modules))
    return tuple(found)


@cache
def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str | None]:
    found = distribution.metadata
    return _normal(found["Name"]), found["Version"]


@cache
def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _normal(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def cpu() -> "Scalars":
    """Return the processor's model, the cores this process may use, the frequency governor and the load."""
    governor = _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"model": _cpu_model(), "num_cores": num_cores(), "governor": governor, "load_1min": load}


def num_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def memory_bytes() -> int | None:
    """Return the physical memory in bytes, None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def threads() -> "Scalars":
    """Return the thread counts in force, of the frameworks that this process has imported, and their variables."""
    found: Scalars = {name: os.environ.get(name) for name in VARIABLES}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.get_num_threads()
        found["torch_interop"] = torch.get_num_interop_threads()
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        found["tensorflow_intra_op"] = tensorflow.config.threading.get_intra_op_parallelism_threads()
        found["tensorflow_inter_op"] = tensorflow.config.threading.get_inter_op_parallelism_threads()
    return found


def settings() -> "Scalars":
    """Return the numerical settings in force that change speed: matrix precision, TF32, oneDNN, cuDNN autotuning."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {
        "torch_float32_matmul_precision": torch.get_float32_matmul_precision(),
        "torch_onednn": bool(torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()),
        "torch_cudnn_tf32": bool(torch.backends.cudnn.allow_tf32),
        "torch_cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "torch_deterministic": bool(torch.are_deterministic_algorithms_enabled()),
    }


def gpus() -> "list[Scalars]":
    """Return the GPUs: those that PyTorch sees, else those that NVML says CUDA may use; empty where there are none.

    What NVML knows of a GPU (UUID, driver, power limit, MIG, other processes) is added to it, matched by UUID.
    """
    known = nvml.gpu_environment()
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return known
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        uuid = getattr(properties, "uuid", None)
        same = [gpu for gpu in known if uuid is not None and gpu["uuid"] == f"GPU-{uuid}"]
        found.append(
            (same[0] if same else {})
            | {
                "index": index,
                "name": properties.name,
                "memory_bytes": properties.total_memory,
                "compute_capability": f"{properties.major}.{properties.minor}",
                "cuda": torch.version.cuda,
            }
        )
    return found


def device_name(devices: Sequence[str], found: "Sequence[Scalars]" = ()) -> str:
    """Return the machine in words: the GPU where one did the work, and the processor with its cores.

    Args:
        devices: devices of the pairs.
        found: the GPUs.
    """
    cores = num_cores()
    processor = f"{_cpu_model()}, {cores} core{'s' if cores != 1 else ''}"
    names = sorted({str(gpu["name"]) for gpu in found})
    if names and any(device.startswith("cuda") for device in devices):
        return f"{', '.join(names)} ({processor})"
    return processor


def environment(*, devices: Sequence[str], commit: "Commit", command: str, options: "Scalars") -> "Environment":
    """Return the record's environment section.

    Args:
        devices: devices of the pairs.
        commit: the commit.
        command: the command line.
        options: the measuring options in force.
    """
    found = gpus()
    return {
        "device": ", ".join(sorted(set(devices))) or "cpu",
        "device_name": device_name(devices, found),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": cpu(),
        "memory_bytes": memory_bytes(),
        "libraries": {**versions(), **imported_versions()},
        "threads": threads(),
        "settings": settings(),
        "gpus": found,
        "commit": commit,
        "command": command,
        "options": options,
    }
