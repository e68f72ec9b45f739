"""What an NVIDIA GPU did while one side of a pair ran alone, read from NVML.

NVML is read before and after a window and not during it, so that the reading takes no time from what is measured: two
GPM samples, the energy and throttle counters, and the driver's own buffer of utilization samples. Only where that
buffer is missing, a thread asks every 100 ms. Each metric fails for itself: a figure that cannot be had is null with
the error's name as its reason. ``pynvml`` is imported when it is used, never before.
"""

import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, TypeVar

from speedclaims.record import figure

T = TypeVar("T")

UNITS = {
    "utilization": "percent",
    "graphics_activity": "percent",
    "sm_activity": "percent",
    "occupancy": "percent",
    "tensor_activity": "percent",
    "dram_activity": "percent",
    "energy_j": "J",
    "power_w": "W",
    "temperature_c": "°C",
    "sm_clock_mhz": "MHz",
    "throttle_s": "s",
    "memory_bytes": "bytes",
    "other_processes": "1",
}
"""The figures of a window and their units."""

MIN_WINDOW_S = 2.0
"""A utilization sample covers up to a second, and the energy counter moves every tenth of one: shorter windows lie."""

POLL_S = 0.1

_GPM_METRICS = {
    "graphics_activity": 1,
    "sm_activity": 2,
    "occupancy": 3,
    "tensor_activity": 5,  # any tensor operation, whatever its type
    "dram_activity": 10,
}
# By number, for their names came later than the driver's fields: software power cap, software thermal slowdown,
# hardware thermal slowdown, hardware power brake; each counts the nanoseconds for which it held the clocks down.
_THROTTLE_FIELDS = (74, 269, 270, 271)
_NEEDED = (
    "NVMLError",
    "nvmlInit",
    "nvmlShutdown",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
)
_VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # by nvmlValueType_t
_MOST_PERCENT = 101.0  # the counters' rounding may pass 100 by a little
_WHOLE_BOARD = "mig: NVML counts the whole GPU, not this instance of it"


class GpuError(Exception):
    """The device cannot be had: the text is the reason."""


class NoNvmlError(GpuError):
    """NVML itself cannot be had: the text is the reason."""


@dataclass(frozen=True)
class Missing:
    """A reading that could not be had, and why."""

    reason: str


def told(error: BaseException) -> str:
    """Return an error's name and text on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _ask(question: Callable[[], T]) -> T | Missing:
    """Return the answer, or the reason why there is none."""
    # NVMLError, NVMLLibraryMismatchError (no subclass of it), AttributeError where pynvml is older than the question,
    # and whatever ctypes raises: one metric's failure is never another's
    try:
        return question()
    except GpuError as error:
        return Missing(str(error))
    except Exception as error:  # noqa: BLE001
        return Missing(told(error))


@contextmanager
def library() -> Iterator[Any]:
    """Load and start NVML and yield the module ``pynvml``.

    Raises:
        NoNvmlError: it is not installed, another module of that name is in the way, or there is no driver.
    """
    try:
        nvml = import_module("pynvml")
    except ModuleNotFoundError as error:
        missing = "it is not installed: the extra speedclaims[nvml] brings it"
        raise NoNvmlError(missing if error.name == "pynvml" else told(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever a broken module raises
        raise NoNvmlError(told(error)) from None
    absent = [name for name in _NEEDED if not hasattr(nvml, name)]
    if absent:
        msg = f"another module of this name shadows that of nvidia-ml-py (it has no {absent[0]}): uninstall the other"
        raise NoNvmlError(msg)
    try:
        nvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - see _ask
        raise NoNvmlError(told(error)) from None
    try:
        yield nvml
    finally:
        with suppress(Exception):  # a lost GPU may refuse this too, and nothing is left to be done about it
            nvml.nvmlShutdown()


# -- which device --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gpu:
    """A device: the handle that does the work, and its board, another one only for a MIG instance."""

    handle: Any
    board: Any
    mig: bool
    instance: int | None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _boards(nvml: Any) -> dict[str, Any]:
    """Return the handle of each GPU by its UUID, in NVML's order, which is that of the PCI bus.

    Raises:
        GpuError: there is none.
    """
    count = nvml.nvmlDeviceGetCount()
    if count == 0:
        msg = "no_device: NVML finds no GPU"
        raise GpuError(msg)
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    return {_text(nvml.nvmlDeviceGetUUID(handle)): handle for handle in handles}


def _matching(boards: Mapping[str, Any], uuid: str) -> list[str]:
    """Return the UUIDs that begin so: CUDA lets them be shortened."""
    return [known for known in boards if known.lower().startswith(uuid.lower())]


def visible(nvml: Any) -> list[str]:
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
        # CUDA counts the fastest first unless told otherwise, NVML by bus; among equal GPUs that is the same
        names = {_text(nvml.nvmlDeviceGetName(handle)) for handle in boards.values()}
        if len(names) > 1:
            msg = "device_order_unknown: unlike GPUs are numbered by CUDA's guess: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            raise GpuError(msg)
    return found


def _uuid_of(nvml: Any, device: str | int) -> str:
    """Return the UUID that a CUDA device name, ordinal or UUID means.

    Raises:
        GpuError: there is no such device.
    """
    name = f"cuda:{device}" if isinstance(device, int) else device
    if name.startswith(("GPU-", "MIG-")):
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        msg = f"device_not_found: {name!r} is no CUDA device: give cuda, cuda:N, a number or a UUID"
        raise GpuError(msg)
    told_by_torch = _torch_uuid(int(number) if number else None)
    if told_by_torch is not None:
        return told_by_torch
    seen = visible(nvml)
    index = int(number or 0)
    if index >= len(seen):
        msg = f"device_not_found: {name} of {len(seen)} visible (CUDA_VISIBLE_DEVICES counts)"
        raise GpuError(msg)
    return seen[index]


def _torch_uuid(index: int | None) -> str | None:
    """Return the UUID of PyTorch's device, None where PyTorch is not used or does not tell."""
    torch = sys.modules.get("torch")
    with suppress(Exception):  # an ordinal it does not have is told by what follows
        if torch is not None and torch.cuda.is_available():
            current = torch.cuda.current_device() if index is None else index
            uuid = getattr(torch.cuda.get_device_properties(current), "uuid", None)
            return None if uuid is None else f"GPU-{uuid}"
    return None


def _find(nvml: Any, device: str | int) -> _Gpu:
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
        msg = f"device_not_found: {uuid} is the UUID of {len(matches)} GPUs here"
        raise GpuError(msg)
    board = boards[matches[0]]
    return _Gpu(board, board, mig=_mig(nvml, board) is True, instance=None)


def _instance(nvml: Any, uuid: str) -> _Gpu:
    """Return a MIG instance with the board that it is a part of."""
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError as error:
        msg = f"device_not_found: {uuid} ({told(error)})"
        raise GpuError(msg) from None
    board = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    return _Gpu(handle, board, mig=True, instance=nvml.nvmlDeviceGetGpuInstanceId(handle))


def _mig(nvml: Any, board: Any) -> bool | None:
    """Return whether a board is divided, None where it does not tell."""
    mode = _ask(lambda: nvml.nvmlDeviceGetMigMode(board)[0])
    if isinstance(mode, Missing):
        return False if "NotSupported" in mode.reason else None
    return bool(mode)


# -- one side's window ---------------------------------------------------------------------------------------------


def gpu_figures(
    call: Callable[[], object], *, device: str | int = "cuda", min_seconds: float = 2.5
) -> dict[str, dict[str, Any]]:
    """Run one side alone, over and over for a while, and return what the GPU did meanwhile.

    Nothing here is timed for a speedup, and the reading itself raises nothing: what cannot be had is null with a
    reason. Where NVML cannot be used at all, the call is not run. Errors of the call itself go through.

    Args:
        call: one warm call of the side, ending in a synchronization. What it spends on restoring a state is part of the
            window: leave that out where the side can go on without.
        device: ``cuda``, ``cuda:N`` or a number, counted as CUDA does; or a UUID, of a GPU or of a MIG instance.
        min_seconds: calls are repeated until so long has passed; under 2 s all figures are ``window_too_short``.

    Returns:
        A figure of the record for each name of ``UNITS``. ``utilization`` is the share of time with any kernel running,
        the activities and the occupancy are GPM's; ``energy_j`` is that of one call, of the whole GPU, idle power
        included; ``power_w`` its mean; temperature, clock and memory (of all processes) are those at the end, with the
        range of both ends; ``throttle_s`` how long the clocks were held down by the reason that did so longest;
        ``other_processes`` how many other processes had a compute context on the GPU, at either end.
    """
    try:
        with library() as nvml:
            gpu = _ask(lambda: _find(nvml, device))
            if isinstance(gpu, Missing):
                return _nothing(gpu.reason)
            return _watched(_Window(nvml, gpu), call, min_seconds)
    except NoNvmlError as error:
        return _nothing(f"pynvml: {error}")


def _nothing(reason: str) -> dict[str, dict[str, Any]]:
    return {name: figure(None, unit, reason) for name, unit in UNITS.items()}


def _watched(window: "_Window", call: Callable[[], object], min_seconds: float) -> dict[str, dict[str, Any]]:
    num_calls = 0
    try:
        window.open()
        start = perf_counter()
        while num_calls == 0 or perf_counter() - start < min_seconds:
            call()
            num_calls += 1
        elapsed_s = perf_counter() - start
        window.close()
    finally:
        window.free()
    if elapsed_s < MIN_WINDOW_S:
        return _nothing(f"window_too_short: {elapsed_s:.2f} s, it takes {MIN_WINDOW_S:g} s")
    return window.figures(elapsed_s, num_calls)


class _Window:
    """The readings of one GPU at both ends of a window."""

    def __init__(self, nvml: Any, gpu: _Gpu) -> None:
        self._nvml = nvml
        self._gpu = gpu
        self._levels: list[dict[str, float | Missing]] = []
        self._energy: list[float | Missing] = []
        self._throttle: list[list[float | Missing] | Missing] = []
        self._gpm: list[Any] = []
        self._processes: list[set[int] | Missing] = []
        self._newest: int | Missing = 0
        self._samples: list[tuple[int, float]] | Missing = []
        self._poller: _Poller | None = None
        self._activities: dict[str, float | Missing] = {}

    def open(self) -> None:
        """Take the readings before: what takes long first, the counters last."""
        self._processes.append(self._pids())
        self._levels.append(self._read_levels())
        if self._gpu.mig:
            self._newest = Missing("mig: NVML knows no utilization of an instance")
        else:
            self._newest = _ask(self._newest_sample)
            self._poll_instead()
        self._throttle.append(self._read_throttle())
        self._energy.append(self._read_energy())
        self._gpm.append(_ask(self._gpm_sample))

    def close(self) -> None:
        """Take the readings after: the counters first."""
        self._gpm.append(self._gpm[0] if isinstance(self._gpm[0], Missing) else _ask(self._gpm_sample))
        self._energy.append(self._read_energy())
        self._throttle.append(self._read_throttle())
        self._levels.append(self._read_levels())
        if self._poller is not None:
            self._poller.stop()
        newest = self._newest
        self._samples = newest if isinstance(newest, Missing) else _ask(lambda: self._samples_since(newest))
        self._processes.append(self._pids())
        self._activities = self._read_activities()

    def free(self) -> None:
        """Give back what NVML allocated, and end the polling where there is any."""
        if self._poller is not None:
            self._poller.stop()
        for sample in self._gpm:
            if not isinstance(sample, Missing):
                with suppress(Exception):  # see library
                    self._nvml.nvmlGpmSampleFree(sample)
        self._gpm = []

    def figures(self, elapsed_s: float, num_calls: int) -> dict[str, dict[str, Any]]:
        """Return the record's figures."""
        energy_j = self._energy_j()
        found: dict[str, float | Missing] = {
            "utilization": self._utilization(elapsed_s),
            **self._activities,
            "energy_j": energy_j if isinstance(energy_j, Missing) else energy_j / num_calls,
            "power_w": energy_j if isinstance(energy_j, Missing) else energy_j / elapsed_s,
            "throttle_s": self._throttle_s(elapsed_s),
            "other_processes": self._others(),
        }
        figures = {name: _figure(name, value) for name, value in found.items()}
        for name in self._levels[-1]:
            figures[name] = self._level(name)
        return {name: figures[name] for name in UNITS}

    # -- levels: temperature, clock, memory

    def _read_levels(self) -> dict[str, float | Missing]:
        nvml, gpu = self._nvml, self._gpu
        whole = gpu.mig and gpu.instance is None
        return {
            "temperature_c": _ask(
                lambda: float(nvml.nvmlDeviceGetTemperature(gpu.board, nvml.NVML_TEMPERATURE_GPU)),
            ),
            "sm_clock_mhz": _ask(lambda: float(nvml.nvmlDeviceGetClockInfo(gpu.board, nvml.NVML_CLOCK_SM))),
            "memory_bytes": Missing(_WHOLE_BOARD)
            if whole
            else _ask(lambda: float(nvml.nvmlDeviceGetMemoryInfo(gpu.handle).used)),
        }

    def _level(self, name: str) -> dict[str, Any]:
        """Return a level at the end of the window, with the range of both ends; of all polls where there were any."""
        polled = self._poller.levels(name) if self._poller else []
        after = self._levels[-1][name]
        if isinstance(after, Missing):
            return _figure(name, after)
        values = [value for levels in self._levels if not isinstance(value := levels[name], Missing)] + polled
        return {**_figure(name, after), "low": min(values), "high": max(values)}

    # -- counters: energy and throttling

    def _read_energy(self) -> float | Missing:
        if self._gpu.mig:
            return Missing(_WHOLE_BOARD)
        return _ask(lambda: float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu.board)))

    def _energy_j(self) -> float | Missing:
        millijoules = _advance(*self._energy)
        if isinstance(millijoules, Missing):
            return millijoules
        if millijoules == 0:  # no GPU runs for seconds on nothing
            return Missing("counter_did_not_move: the energy counter stood still")
        return millijoules / 1e3

    def _read_throttle(self) -> list[float | Missing] | Missing:
        if self._gpu.mig:
            return Missing(_WHOLE_BOARD)

        def read() -> list[float | Missing]:
            fields = self._nvml.nvmlDeviceGetFieldValues(self._gpu.board, list(_THROTTLE_FIELDS))
            return [
                Missing(self._code(field.nvmlReturn)) if field.nvmlReturn else _number(field.valueType, field.value)
                for field in fields
            ]

        return _ask(read)

    def _code(self, code: int) -> str:
        """Return the name and text of an error that stands in a result instead of being raised."""
        return told(self._nvml.NVMLError(code))

    def _throttle_s(self, elapsed_s: float) -> float | Missing:
        # the reasons overlap, so their sum would count time twice: the longest is what is certain
        before, after = self._throttle
        if isinstance(before, Missing):
            return before
        if isinstance(after, Missing):
            return after
        longest = 0.0
        for number, one, other in zip(_THROTTLE_FIELDS, before, after, strict=True):
            nanoseconds = _advance(one, other)
            if isinstance(nanoseconds, Missing):
                return Missing(f"{nanoseconds.reason} (field {number})")
            longest = max(longest, nanoseconds / 1e9)
        if longest > elapsed_s + 1:  # the counters are brought up to date a little late
            return Missing(f"out_of_range: throttled for {longest:.3g} s of {elapsed_s:.3g} s")
        return longest

    # -- GPM: activities

    def _gpm_sample(self) -> Any:
        nvml, gpu = self._nvml, self._gpu
        if gpu.mig and gpu.instance is None:
            raise GpuError(_WHOLE_BOARD)
        if not nvml.nvmlGpmQueryDeviceSupport(gpu.board).isSupportedDevice:
            msg = "gpm_not_supported: it takes a GPU of the Hopper generation or later"
            raise GpuError(msg)
        sample = nvml.nvmlGpmSampleAlloc()
        try:
            if gpu.instance is None:
                nvml.nvmlGpmSampleGet(gpu.board, sample)
            else:
                nvml.nvmlGpmMigSampleGet(gpu.board, gpu.instance, sample)
        except Exception:
            nvml.nvmlGpmSampleFree(sample)
            raise
        return sample

    def _read_activities(self) -> dict[str, float | Missing]:
        absent = next((sample for sample in self._gpm if isinstance(sample, Missing)), None)
        answer = _ask(self._gpm_metrics) if absent is None else absent
        return dict.fromkeys(_GPM_METRICS, answer) if isinstance(answer, Missing) else answer

    def _gpm_metrics(self) -> dict[str, float | Missing]:
        nvml = self._nvml
        request = nvml.c_nvmlGpmMetricsGet_t()
        request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(_GPM_METRICS)
        request.sample1, request.sample2 = self._gpm
        for place, number in enumerate(_GPM_METRICS.values()):
            request.metrics[place].metricId = number
        nvml.nvmlGpmMetricsGet(request)
        metrics = [request.metrics[place] for place in range(len(_GPM_METRICS))]
        return {
            name: Missing(self._code(metric.nvmlReturn)) if metric.nvmlReturn else _percent(metric.value)
            for name, metric in zip(_GPM_METRICS, metrics, strict=True)
        }

    # -- utilization: the driver's samples, or polling

    def _samples_since(self, since: int) -> list[tuple[int, float]]:
        nvml = self._nvml
        try:
            kind, samples = nvml.nvmlDeviceGetSamples(self._gpu.board, nvml.NVML_GPU_UTILIZATION_SAMPLES, since)
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_NOT_FOUND:  # there is a buffer, with nothing newer in it
                return []
            raise
        found = ((int(sample.timeStamp), _number(kind, sample.sampleValue)) for sample in samples)
        return sorted(one for one in found if one[0] > since)

    def _newest_sample(self) -> int:
        # the samples' own clock, which need not be this process's
        return max((time_us for time_us, _ in self._samples_since(0)), default=0)

    def _poll_instead(self) -> None:
        """Start polling where there is no buffer, but the present utilization can be asked."""
        question = self._nvml_rates
        if isinstance(self._newest, Missing) and not isinstance(_ask(question), Missing):
            self._poller = _Poller(question, self._read_levels)
            self._poller.start()

    def _nvml_rates(self) -> float:
        return float(self._nvml.nvmlDeviceGetUtilizationRates(self._gpu.board).gpu)

    def _utilization(self, elapsed_s: float) -> float | Missing:
        if self._poller is not None:
            return self._poller.utilization()
        samples = self._samples
        return samples if isinstance(samples, Missing) else _time_weighted(samples, elapsed_s)

    # -- contention

    def _pids(self) -> set[int] | Missing:
        return _ask(lambda: {one.pid for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._gpu.handle)})

    def _others(self) -> float | Missing:
        before, after = self._processes
        if isinstance(before, Missing):
            return before
        if isinstance(after, Missing):
            return after
        pids = before | after
        others = {pid for pid in pids if not _related(pid)}
        if pids == others:  # this one has just used the GPU, so it would be among them
            return Missing(f"process_ids_hidden: {len(pids)} compute processes, none of them known to be this one")
        return float(len(others))


class _Poller:
    """Asks for the present utilization every 100 ms, in a thread, where the driver keeps no samples."""

    def __init__(self, question: Callable[[], float], levels: Callable[[], Mapping[str, float | Missing]]) -> None:
        self._question = question
        self._read_levels = levels
        self._found: list[tuple[float, float | Missing]] = []
        self._levels: list[Mapping[str, float | Missing]] = []
        self._ended = threading.Event()
        self._began = 0.0
        self._thread = threading.Thread(target=self._run, name="speedclaims-nvml", daemon=True)

    def start(self) -> None:
        self._began = perf_counter()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            self._found.append((perf_counter(), _ask(self._question)))
            self._levels.append(self._read_levels())

    def levels(self, name: str) -> list[float]:
        return [value for levels in self._levels if not isinstance(value := levels[name], Missing)]

    def utilization(self) -> float | Missing:
        """Return the mean of the polls, without the first second's: they still tell of what was before."""
        lost = next((value for _, value in self._found if isinstance(value, Missing)), None)
        if lost is not None:
            return lost
        values = [value for at, value in self._found if at - self._began >= 1 and not isinstance(value, Missing)]
        return _percent(fmean(values)) if values else Missing("no_samples: nothing was polled in the window")


def _figure(name: str, value: float | Missing) -> dict[str, Any]:
    if isinstance(value, Missing):
        return figure(None, UNITS[name], value.reason)
    return figure(value, UNITS[name])


def _number(kind: int, value: Any) -> float:
    """Return the number of a union, by the type that NVML says it has."""
    return float(getattr(value, _VALUE_MEMBERS[kind]))


def _percent(value: float) -> float | Missing:
    if not 0 <= value <= _MOST_PERCENT:  # NaN is not either
        return Missing(f"out_of_range: {value:g} percent")
    return value


def _advance(before: float | Missing, after: float | Missing) -> float | Missing:
    """Return by how much a counter advanced."""
    if isinstance(before, Missing):
        return before
    if isinstance(after, Missing):
        return after
    if after < before:  # the driver was reloaded, or the GPU reset
        return Missing(f"counter_went_backwards: from {before:.0f} to {after:.0f}")
    return after - before


def _time_weighted(samples: Sequence[tuple[int, float]], elapsed_s: float) -> float | Missing:
    """Return the mean of a buffer's samples, each over the time since the one before it.

    The first of them began before the window and only marks where the second begins.
    """
    gaps_us = [later[0] - earlier[0] for earlier, later in pairwise(samples)]
    if not gaps_us:
        return Missing(f"no_samples: the driver's buffer holds {len(samples)} of the window")
    # at either end less than one sample is lost; a buffer that is too small for the window loses more
    covered_s = sum(gaps_us) / 1e6
    if covered_s < elapsed_s / 2 and elapsed_s - covered_s > 2 * max(gaps_us) / 1e6:
        return Missing(f"samples_missing: the driver's buffer holds {covered_s:.1f} s of {elapsed_s:.1f} s")
    return _percent(sum(gap * value for gap, (_, value) in zip(gaps_us, samples[1:], strict=True)) / sum(gaps_us))


def _related(pid: int) -> bool:
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


def describe() -> dict[str, Any]:
    """Return the driver, its CUDA version and the GPUs, as plain JSON values; or ``{"reason": ...}``.

    A device's ``utilization``, ``power`` and ``energy`` say whether it can be asked for them, and why not.
    """
    try:
        with library() as nvml:
            count = _ask(nvml.nvmlDeviceGetCount)
            if isinstance(count, Missing):
                return {"reason": count.reason}
            seen = _ask(lambda: visible(nvml))
            return {
                "driver": _or_none(_ask(lambda: _text(nvml.nvmlSystemGetDriverVersion()))),
                "cuda": _or_none(_ask(lambda: _cuda_version(nvml))),
                "devices": [_described(nvml, index, seen) for index in range(count)],
            }
    except NoNvmlError as error:
        return {"reason": str(error)}


def _cuda_version(nvml: Any) -> str:
    number = nvml.nvmlSystemGetCudaDriverVersion()
    return f"{number // 1000}.{number % 1000 // 10}"


def _or_none(value: T | Missing) -> T | None:
    return None if isinstance(value, Missing) else value


def _described(nvml: Any, index: int, seen: Sequence[str] | Missing) -> dict[str, Any]:
    """Return what is known about a GPU; what is not known is None, or has a reason."""

    def ask(question: Callable[[Any], T]) -> T | Missing:
        found = _ask(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        return found if isinstance(found, Missing) else _ask(lambda: question(found))

    def state(name: str) -> dict[str, Any]:
        answer = ask(lambda device: (getattr(nvml, name)(device),))  # looked up late: pynvml may be older than it
        reason = answer.reason if isinstance(answer, Missing) else None
        return {"possible": reason is None, "reason": reason}

    uuid = _or_none(ask(lambda device: _text(nvml.nvmlDeviceGetUUID(device))))
    limit_w = _or_none(ask(lambda device: nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1e3))
    pids = _or_none(ask(lambda device: {one.pid for one in nvml.nvmlDeviceGetComputeRunningProcesses(device)}))
    instances = isinstance(seen, Missing) or any(one.startswith("MIG-") for one in seen)
    return {
        "index": index,
        "name": _or_none(ask(lambda device: _text(nvml.nvmlDeviceGetName(device)))) or f"GPU {index}",
        "uuid": uuid,
        "visible": None if instances or uuid is None else uuid in seen,  # type: ignore[operator]
        "memory_bytes": _or_none(ask(lambda device: int(nvml.nvmlDeviceGetMemoryInfo(device).total))),
        "mig": _or_none(ask(lambda device: _mig(nvml, device))),
        "power_limit_w": limit_w,
        "other_processes": None if pids is None else sum(not _related(pid) for pid in pids),
        "utilization": state("nvmlDeviceGetUtilizationRates"),
        "power": state("nvmlDeviceGetPowerUsage"),
        "energy": state("nvmlDeviceGetTotalEnergyConsumption"),
    }


def gpu_environment() -> list[dict[str, Any]]:
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
