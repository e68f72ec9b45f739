"""NVML: the library, its errors, and which GPUs there are.

``pynvml`` is imported when it is used, never before. Each query fails on its own: a reading that cannot
be had is ``Unavailable``, with the error's name as its reason.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.json_types import JsonObject

if TYPE_CHECKING:
    from speedclaims.record.types import Scalars

T = TypeVar("T")

_NEEDED = (
    "NVMLError",
    "nvmlInit",
    "nvmlShutdown",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
)


class GpuError(SpeedclaimsError):
    """The device cannot be had: the text is the reason."""


class NoNvmlError(GpuError):
    """NVML itself cannot be had: the text is the reason."""


@dataclass(frozen=True)
class Unavailable:
    """A reading that could not be had, and why."""

    reason: str


def describe_error(error: BaseException) -> str:
    """Return an error's name and text on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def try_query(question: Callable[[], T]) -> T | Unavailable:
    """Return the answer, or the reason why there is none."""
    # NVMLError, NVMLLibraryMismatchError (no subclass of it), AttributeError where pynvml is older than the question,
    # and whatever ctypes raises: one metric's failure is never another's
    try:
        return question()
    except GpuError as error:
        return Unavailable(str(error))
    except Exception as error:  # noqa: BLE001
        return Unavailable(describe_error(error))


@contextmanager
def library() -> Iterator[ModuleType]:
    """Load and start NVML and yield the module ``pynvml``.

    Raises:
        NoNvmlError: it is not installed, another module of that name is in the way, or there is no driver.
    """
    try:
        nvml = import_module("pynvml")
    except ModuleNotFoundError as error:
        missing = "it is not installed: the extra speedclaims[nvml] brings it"
        raise NoNvmlError(missing if error.name == "pynvml" else describe_error(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever a broken module raises
        raise NoNvmlError(describe_error(error)) from None
    absent = [name for name in _NEEDED if not hasattr(nvml, name)]
    if absent:
        raise NoNvmlError(
            f"another module of this name shadows that of nvidia-ml-py (it has no {absent[0]}): uninstall the other"
        )
    try:
        nvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - see try_query
        raise NoNvmlError(describe_error(error)) from None
    try:
        yield nvml
    finally:
        with suppress(Exception):  # a lost GPU may refuse this too, and nothing is left to be done about it
            nvml.nvmlShutdown()


# -- which device --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """A device: the handle that does the work, and its board, another one only for a MIG instance."""

    handle: object
    board: object
    mig: bool
    instance: int | None


def text_of(value: str | bytes) -> str:
    """Return what NVML says, which some versions give as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _boards(nvml: ModuleType) -> dict[str, object]:
    """Return the handle of each GPU by its UUID, in NVML's order, which is that of the PCI bus.

    Raises:
        GpuError: there is none.
    """
    count = nvml.nvmlDeviceGetCount()
    if count == 0:
        raise GpuError("no_device: NVML finds no GPU")
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    return {text_of(nvml.nvmlDeviceGetUUID(handle)): handle for handle in handles}


def _matching(boards: Mapping[str, object], uuid: str) -> list[str]:
    """Return the UUIDs that begin so: CUDA lets them be shortened."""
    return [known for known in boards if known.lower().startswith(uuid.lower())]


def visible(nvml: ModuleType) -> list[str]:
    """Return the UUIDs of the devices that CUDA sees, in its order: NVML ignores CUDA_VISIBLE_DEVICES.

    Raises:
        GpuError: NVML finds no GPU, or CUDA's order cannot be known from here.
    """
    boards = _boards(nvml)
    known = list(boards)
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    entries = [str(index) for index in range(len(known))] if setting is None else setting.split(",")
    found: list[str] = []
    by_number = False
    for entry in (entry.strip() for entry in entries):
        if entry.startswith("MIG-"):
            found.append(entry)
            continue
        if entry.isdecimal():
            by_number = True
            matches = known[int(entry) : int(entry) + 1]
        else:
            matches = _matching(boards, entry) if entry.startswith("GPU-") else []
        if len(matches) != 1:  # as CUDA does: the first invalid entry hides all that follow
            break
        found += matches
    if by_number and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        # CUDA counts the fastest first unless set otherwise, NVML by bus; among equal GPUs that is the same
        names = {text_of(nvml.nvmlDeviceGetName(handle)) for handle in boards.values()}
        if len(names) > 1:
            raise GpuError(
                "device_order_unknown: unlike GPUs are numbered by CUDA's guess: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )
    return found


def _uuid_of(nvml: ModuleType, device: str | int) -> str:
    """Return the UUID that a CUDA device name, ordinal or UUID means.

    Raises:
        GpuError: there is no such device.
    """
    name = f"cuda:{device}" if isinstance(device, int) else device
    if name.startswith(("GPU-", "MIG-")):
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise GpuError(f"device_not_found: {name!r} is no CUDA device: give cuda, cuda:N, a number or a UUID")
    uuid_of_torch = _torch_uuid(int(number) if number else None)
    if uuid_of_torch is not None:
        return uuid_of_torch
    seen = visible(nvml)
    index = int(number or 0)
    if index >= len(seen):
        raise GpuError(f"device_not_found: {name} of {len(seen)} visible (CUDA_VISIBLE_DEVICES counts)")
    return seen[index]


def _torch_uuid(index: int | None) -> str | None:
    """Return the UUID of PyTorch's device, None where PyTorch is not used or does not tell."""
    torch = sys.modules.get("torch")
    with suppress(Exception):  # an ordinal it does not have is reported by what follows
        if torch is not None and torch.cuda.is_available():
            current = torch.cuda.current_device() if index is None else index
            uuid = getattr(torch.cuda.get_device_properties(current), "uuid", None)
            return None if uuid is None else f"GPU-{uuid}"
    return None


def find(nvml: ModuleType, device: str | int) -> Gpu:
    """Return the device.

    Raises:
        GpuError: there is no such device.
    """
    boards = _boards(nvml)
    uuid = _uuid_of(nvml, device)
    if uuid.startswith("MIG-"):
        return _instance(nvml, uuid)
    matches = _matching(boards, uuid)
    if len(matches) != 1:
        raise GpuError(f"device_not_found: {uuid} is the UUID of {len(matches)} GPUs here")
    board = boards[matches[0]]
    return Gpu(board, board, mig=_mig(nvml, board) is True, instance=None)


def _instance(nvml: ModuleType, uuid: str) -> Gpu:
    """Return a MIG instance with the board that it is a part of."""
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError as error:
        raise GpuError(f"device_not_found: {uuid} ({describe_error(error)})") from None
    board = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    return Gpu(handle, board, mig=True, instance=nvml.nvmlDeviceGetGpuInstanceId(handle))


def _mig(nvml: ModuleType, board: object) -> bool | None:
    """Return whether a board is divided, None where it does not tell."""
    mode = try_query(lambda: nvml.nvmlDeviceGetMigMode(board)[0])
    if isinstance(mode, Unavailable):
        return False if "NotSupported" in mode.reason else None
    return bool(mode)


# -- whose processes --------------------------------------------------------------------------------------------------


def related(pid: int) -> bool:
    """Return whether a process is this one, one that it comes from (the test's session), or one that it started."""
    return pid in _line_of(os.getpid()) or os.getpid() in _line_of(pid)


def _line_of(pid: int) -> list[int]:
    """Return a process and those that it comes from, as far as the system tells."""
    line = [pid]
    while line[-1] > 1:
        try:
            parent = int(Path(f"/proc/{line[-1]}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if parent == 0:  # outside of this container
            break
        line.append(parent)
    return line


# -- which GPUs there are ------------------------------------------------------------------------------------------


def describe() -> JsonObject:
    """Return the driver, its CUDA version and the GPUs, as plain JSON values; or ``{"reason": ...}``.

    A device's ``utilization``, ``power`` and ``energy`` say whether it can be asked for them, and why not.
    """
    try:
        with library() as nvml:
            count = try_query(nvml.nvmlDeviceGetCount)
            if isinstance(count, Unavailable):
                return {"reason": count.reason}
            seen = try_query(lambda: visible(nvml))
            return {
                "driver": _or_none(try_query(lambda: text_of(nvml.nvmlSystemGetDriverVersion()))),
                "cuda": _or_none(try_query(lambda: _cuda_version(nvml))),
                "devices": [_described(nvml, index, seen) for index in range(count)],
            }
    except NoNvmlError as error:
        return {"reason": str(error)}


def _cuda_version(nvml: ModuleType) -> str:
    number = nvml.nvmlSystemGetCudaDriverVersion()
    return f"{number // 1000}.{number % 1000 // 10}"


def _or_none(value: T | Unavailable) -> T | None:
    return None if isinstance(value, Unavailable) else value


def _described(nvml: ModuleType, index: int, seen: Sequence[str] | Unavailable) -> JsonObject:
    """Return what is known about a GPU; what is not known is None, or has a reason."""

    def asked(question: Callable[[object], T]) -> T | Unavailable:
        found = try_query(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        return found if isinstance(found, Unavailable) else try_query(lambda: question(found))

    def state(name: str) -> JsonObject:
        answer = asked(lambda device: (getattr(nvml, name)(device),))  # looked up late: pynvml may be older than it
        reason = answer.reason if isinstance(answer, Unavailable) else None
        return {"possible": reason is None, "reason": reason}

    uuid = _or_none(asked(lambda device: text_of(nvml.nvmlDeviceGetUUID(device))))
    limit_w = _or_none(asked(lambda device: nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1e3))
    pids = _or_none(asked(lambda device: {one.pid for one in nvml.nvmlDeviceGetComputeRunningProcesses(device)}))
    instances = isinstance(seen, Unavailable) or any(one.startswith("MIG-") for one in seen)
    return {
        "index": index,
        "name": _or_none(asked(lambda device: text_of(nvml.nvmlDeviceGetName(device)))) or f"GPU {index}",
        "uuid": uuid,
        "visible": None if instances or uuid is None else uuid in seen,  # type: ignore[operator]
        "memory_bytes": _or_none(asked(lambda device: int(nvml.nvmlDeviceGetMemoryInfo(device).total))),
        "mig": _or_none(asked(lambda device: _mig(nvml, device))),
        "power_limit_w": limit_w,
        "other_processes": None if pids is None else sum(not related(pid) for pid in pids),
        "utilization": state("nvmlDeviceGetUtilizationRates"),
        "power": state("nvmlDeviceGetPowerUsage"),
        "energy": state("nvmlDeviceGetTotalEnergyConsumption"),
    }


def gpu_environment() -> "list[Scalars]":
    """Return the GPUs that NVML knows and CUDA may use, one flat row each; empty where NVML cannot be used.

    ``speedclaims doctor`` says why it cannot.
    """
    found = describe()
    shared = {
        "driver": found.get("driver"),
        "cuda_driver": found.get("cuda"),
        "container": in_container(),
        "wsl": "microsoft" in platform.release().lower(),
    }
    devices = [device for device in found.get("devices", []) if device["visible"] is not False]
    return [
        {key: value for key, value in device.items() if not isinstance(value, dict) and key != "visible"} | shared
        for device in devices
    ]


def in_container() -> bool:
    """Return whether this process runs in a container, which hides the process ids of others, as far as it shows."""
    if os.environ.get("container") or any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):  # noqa: SIM112 - podman and systemd write it so
        return True
    with suppress(OSError):
        groups = Path("/proc/1/cgroup").read_text(encoding="utf-8")
        return any(word in groups for word in ("docker", "kubepods", "containerd", "lxc"))
    return False
