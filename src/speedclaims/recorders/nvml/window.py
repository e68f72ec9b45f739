"""Record what an NVIDIA GPU did while one side of a pair ran alone, read from NVML.

NVML is read before and after a window and not during it, so that the reading takes no time from what is measured: two
GPM samples, the energy and throttle counters, and the driver's own buffer of utilization samples. Only where that
buffer is missing, a thread polls every 100 ms. Metrics fail independently: a figure that cannot be read is null, with
the error's name as its reason.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import fmean
from types import ModuleType
from typing import TYPE_CHECKING

from speedclaims.clock import now
from speedclaims.record.figure import figure
from speedclaims.recorders.nvml.devices import (
    Gpu,
    GpuError,
    NoNvmlError,
    Unavailable,
    describe_error,
    find,
    library,
    related,
    try_query,
)

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, Timeline


@dataclass(frozen=True)
class Kind:
    """How reports show a figure: its unit, its words, what to know of it, and whether a ratio of two says anything."""

    unit: str
    words: str
    note: str = ""
    has_ratio: bool = False


FIGURES = {
    "utilization": Kind(
        "percent",
        "utilization",
        "The share of time with at least one kernel running; a tiny kernel in a loop reads 100%.",
    ),
    "graphics_activity": Kind("percent", "graphics activity"),
    "sm_activity": Kind(
        "percent", "SM activity", "The share of the multiprocessors with at least one warp on them, over time."
    ),
    "occupancy": Kind("percent", "occupancy", "Resident warps as a share of those that the multiprocessors can hold."),
    "tensor_activity": Kind("percent", "tensor activity", "The share of time in which the tensor cores worked."),
    "dram_activity": Kind("percent", "DRAM activity", "The share of the memory bandwidth that was used."),
    "energy_j": Kind("J", "energy", "Of one call, of the whole GPU, its idle power included.", has_ratio=True),
    "power_w": Kind("W", "power", has_ratio=True),
    "temperature_c": Kind("°C", "temperature"),
    "sm_clock_mhz": Kind("MHz", "SM clock"),
    "throttle_s": Kind(
        "s", "throttled", "How long the clocks were held down in the window, by the reason that did so longest."
    ),
    "memory_bytes": Kind("bytes", "memory", has_ratio=True),
    "other_processes": Kind("1", "other processes", "Where there are any, the pair's figures are not its own alone."),
}
"""The figures of a window."""

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
_VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # by nvmlValueType_t
_MOST_PERCENT = 101.0  # the counters' rounding may pass 100 by a little
_WHOLE_BOARD = "mig: NVML counts the whole GPU, not this instance of it"


@dataclass(frozen=True)
class Reading:
    """Hold the figures and the utilization timeline that were read for one side.

    Attributes:
        figures: a figure of the record for each name of `FIGURES`.
        timeline: ``seconds`` from the first reading on and the ``percent`` of utilization that were reached in the time
            up to each; both empty where there is none, with the ``reason``.
    """

    figures: "dict[str, Figure]"
    timeline: "Timeline"


def watch(call: Callable[[], object], *, device: str | int = "cuda", min_seconds: float = 2.5) -> Reading:
    """Run one side alone, over and over for a while, and return what the GPU did meanwhile.

    Nothing here is timed for a speedup, and the reading itself raises nothing: what cannot be had is null with a
    reason. Where NVML cannot be used at all, the call is not run. Errors of the call itself go through.

    Args:
        call: one warm call of the side, ending in a synchronization. What it spends on restoring a state is part of the
            window: leave that out where the side can go on without.
        device: ``cuda``, ``cuda:N`` or a number, counted as CUDA does; or a UUID, of a GPU or of a MIG instance.
        min_seconds: calls are repeated until so long has passed; under 2 s all figures are ``window_too_short``.

    Returns:
        Of the figures, ``utilization`` is the share of time with any kernel running,
        the activities and the occupancy are GPM's; ``energy_j`` is that of one call, of the whole GPU, idle power
        included; ``power_w`` its mean; temperature, clock and memory (of all processes) are those at the end, with the
        range of both ends; ``throttle_s`` how long the clocks were held down by the reason that did so longest;
        ``other_processes`` how many other processes had a compute context on the GPU, at either end.
    """
    try:
        with library() as nvml:
            gpu = try_query(lambda: find(nvml, device))
            if isinstance(gpu, Unavailable):
                return _nothing(gpu.reason)
            return _watched(_Window(nvml, gpu), call, min_seconds)
    except NoNvmlError as error:
        return _nothing(f"pynvml: {error}")


def _nothing(reason: str) -> Reading:
    return Reading(
        {name: figure(None, kind.unit, reason) for name, kind in FIGURES.items()}, _timeline(Unavailable(reason))
    )


def _timeline(points: Sequence[tuple[float, float]] | Unavailable) -> "Timeline":
    if isinstance(points, Unavailable) or not points:
        reason = points.reason if isinstance(points, Unavailable) else "no_samples: there are none of the window"
        return {"seconds": [], "percent": [], "reason": reason}
    seconds, percent = zip(*points, strict=True)
    return {"seconds": [round(at, 4) for at in seconds], "percent": list(percent), "reason": None}


def _watched(window: "_Window", call: Callable[[], object], min_seconds: float) -> Reading:
    num_calls = 0
    try:
        window.open()
        start = now()
        while num_calls == 0 or now() - start < min_seconds:
            call()
            num_calls += 1
        elapsed_s = now() - start
        window.close()
    finally:
        window.free()
    if elapsed_s < MIN_WINDOW_S:
        return _nothing(f"window_too_short: {elapsed_s:.2f} s, it takes {MIN_WINDOW_S:g} s")
    return Reading(window.figures(elapsed_s, num_calls), _timeline(window.timeline()))


class _Window:
    """The readings of one GPU at both ends of a window."""

    def __init__(self, nvml: ModuleType, gpu: Gpu) -> None:
        self._nvml = nvml
        self._gpu = gpu
        self._levels: list[dict[str, float | Unavailable]] = []
        self._energy: list[float | Unavailable] = []
        self._throttle: list[list[float | Unavailable] | Unavailable] = []
        self._gpm: list[object] = []
        self._processes: list[set[int] | Unavailable] = []
        self._newest: int | Unavailable = 0
        self._samples: list[tuple[int, float]] | Unavailable = []
        self._poller: _Poller | None = None
        self._activities: dict[str, float | Unavailable] = {}

    def open(self) -> None:
        """Take the readings before: what takes long first, the counters last."""
        self._processes.append(self._pids())
        self._levels.append(self._read_levels())
        if self._gpu.mig:
            self._newest = Unavailable("mig: NVML knows no utilization of an instance")
        else:
            self._newest = try_query(self._newest_sample)
            self._poll_instead()
        self._throttle.append(self._read_throttle())
        self._energy.append(self._read_energy())
        self._gpm.append(try_query(self._gpm_sample))

    def close(self) -> None:
        """Take the readings after: the counters first."""
        self._gpm.append(self._gpm[0] if isinstance(self._gpm[0], Unavailable) else try_query(self._gpm_sample))
        self._energy.append(self._read_energy())
        self._throttle.append(self._read_throttle())
        self._levels.append(self._read_levels())
        if self._poller is not None:
            self._poller.stop()
        newest = self._newest
        self._samples = newest if isinstance(newest, Unavailable) else try_query(lambda: self._samples_since(newest))
        self._processes.append(self._pids())
        self._activities = self._read_activities()

    def free(self) -> None:
        """Give back what NVML allocated, and end the polling where there is any."""
        if self._poller is not None:
            self._poller.stop()
        for sample in self._gpm:
            if not isinstance(sample, Unavailable):
                with suppress(Exception):  # see library
                    self._nvml.nvmlGpmSampleFree(sample)
        self._gpm = []

    def figures(self, elapsed_s: float, num_calls: int) -> "dict[str, Figure]":
        """Return the record's figures."""
        energy_j = self._energy_j()
        found: dict[str, float | Unavailable] = {
            "utilization": self._utilization(elapsed_s),
            **self._activities,
            "energy_j": energy_j if isinstance(energy_j, Unavailable) else energy_j / num_calls,
            "power_w": energy_j if isinstance(energy_j, Unavailable) else energy_j / elapsed_s,
            "throttle_s": self._throttle_s(elapsed_s),
            "other_processes": self._others(),
        }
        figures = {name: _figure(name, value) for name, value in found.items()}
        for name in self._levels[-1]:
            figures[name] = self._level(name)
        return {name: figures[name] for name in FIGURES}

    # -- levels: temperature, clock, memory

    def _read_levels(self) -> dict[str, float | Unavailable]:
        nvml, gpu = self._nvml, self._gpu
        whole = gpu.mig and gpu.instance is None
        return {
            "temperature_c": try_query(
                lambda: float(nvml.nvmlDeviceGetTemperature(gpu.board, nvml.NVML_TEMPERATURE_GPU)),
            ),
            "sm_clock_mhz": try_query(lambda: float(nvml.nvmlDeviceGetClockInfo(gpu.board, nvml.NVML_CLOCK_SM))),
            "memory_bytes": Unavailable(_WHOLE_BOARD)
            if whole
            else try_query(lambda: float(nvml.nvmlDeviceGetMemoryInfo(gpu.handle).used)),
        }

    def _level(self, name: str) -> "Figure":
        """Return a level at the end of the window, with the range of both ends; of all polls where there were any."""
        polled = self._poller.levels(name) if self._poller else []
        after = self._levels[-1][name]
        if isinstance(after, Unavailable):
            return _figure(name, after)
        values = [value for levels in self._levels if not isinstance(value := levels[name], Unavailable)] + polled
        return {**_figure(name, after), "low": min(values), "high": max(values)}

    # -- counters: energy and throttling

    def _read_energy(self) -> float | Unavailable:
        if self._gpu.mig:
            return Unavailable(_WHOLE_BOARD)
        return try_query(lambda: float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu.board)))

    def _energy_j(self) -> float | Unavailable:
        millijoules = _advance(*self._energy)
        if isinstance(millijoules, Unavailable):
            return millijoules
        if millijoules == 0:  # no GPU runs for seconds on nothing
            return Unavailable("counter_did_not_move: the energy counter stood still")
        return millijoules / 1e3

    def _read_throttle(self) -> list[float | Unavailable] | Unavailable:
        if self._gpu.mig:
            return Unavailable(_WHOLE_BOARD)

        def read() -> list[float | Unavailable]:
            fields = self._nvml.nvmlDeviceGetFieldValues(self._gpu.board, list(_THROTTLE_FIELDS))
            return [
                Unavailable(self._code(field.nvmlReturn)) if field.nvmlReturn else _number(field.valueType, field.value)
                for field in fields
            ]

        return try_query(read)

    def _code(self, code: int) -> str:
        """Return the name and text of an NVML error whose code is part of a result instead of being raised."""
        return describe_error(self._nvml.NVMLError(code))

    def _throttle_s(self, elapsed_s: float) -> float | Unavailable:
        # the reasons overlap, so their sum would count time twice: the longest is what is certain
        before, after = self._throttle
        if isinstance(before, Unavailable):
            return before
        if isinstance(after, Unavailable):
            return after
        longest = 0.0
        for number, one, other in zip(_THROTTLE_FIELDS, before, after, strict=True):
            nanoseconds = _advance(one, other)
            if isinstance(nanoseconds, Unavailable):
                return Unavailable(f"{nanoseconds.reason} (field {number})")
            longest = max(longest, nanoseconds / 1e9)
        if longest > elapsed_s + 1:  # the counters are brought up to date a little late
            return Unavailable(f"out_of_range: throttled for {longest:.3g} s of {elapsed_s:.3g} s")
        return longest

    # -- GPM: activities

    def _gpm_sample(self) -> object:
        nvml, gpu = self._nvml, self._gpu
        if gpu.mig and gpu.instance is None:
            raise GpuError(_WHOLE_BOARD)
        if not nvml.nvmlGpmQueryDeviceSupport(gpu.board).isSupportedDevice:
            raise GpuError("gpm_not_supported: it takes a GPU of the Hopper generation or later")
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

    def _read_activities(self) -> dict[str, float | Unavailable]:
        absent = next((sample for sample in self._gpm if isinstance(sample, Unavailable)), None)
        answer = try_query(self._gpm_metrics) if absent is None else absent
        return dict.fromkeys(_GPM_METRICS, answer) if isinstance(answer, Unavailable) else answer

    def _gpm_metrics(self) -> dict[str, float | Unavailable]:
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
            name: Unavailable(self._code(metric.nvmlReturn)) if metric.nvmlReturn else _percent(metric.value)
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
        if isinstance(self._newest, Unavailable) and not isinstance(try_query(question), Unavailable):
            self._poller = _Poller(question, self._read_levels)
            self._poller.start()

    def _nvml_rates(self) -> float:
        return float(self._nvml.nvmlDeviceGetUtilizationRates(self._gpu.board).gpu)

    def timeline(self) -> list[tuple[float, float]] | Unavailable:
        """Return when, in seconds, what utilization was reached in the time up to then."""
        if self._poller is not None:
            return self._poller.points()
        samples = self._samples
        if isinstance(samples, Unavailable):
            return samples
        ends = accumulate((later[0] - earlier[0]) / 1e6 for earlier, later in pairwise(samples))
        return list(zip(ends, (value for _, value in samples[1:]), strict=True))

    def _utilization(self, elapsed_s: float) -> float | Unavailable:
        if self._poller is not None:
            return self._poller.utilization()
        samples = self._samples
        return samples if isinstance(samples, Unavailable) else _time_weighted(samples, elapsed_s)

    # -- contention

    def _pids(self) -> set[int] | Unavailable:
        return try_query(lambda: {one.pid for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._gpu.handle)})

    def _others(self) -> float | Unavailable:
        before, after = self._processes
        if isinstance(before, Unavailable):
            return before
        if isinstance(after, Unavailable):
            return after
        pids = before | after
        others = {pid for pid in pids if not related(pid)}
        if pids == others:  # this one has just used the GPU, so it would be among them
            return Unavailable(f"process_ids_hidden: {len(pids)} compute processes, none of them known to be this one")
        return float(len(others))


class _Poller:
    """Asks for the present utilization every 100 ms, in a thread, where the driver keeps no samples."""

    def __init__(self, question: Callable[[], float], levels: Callable[[], Mapping[str, float | Unavailable]]) -> None:
        self._question = question
        self._read_levels = levels
        self._found: list[tuple[float, float | Unavailable]] = []
        self._levels: list[Mapping[str, float | Unavailable]] = []
        self._ended = threading.Event()
        self._began = 0.0
        self._thread = threading.Thread(target=self._run, name="speedclaims-nvml", daemon=True)

    def start(self) -> None:
        self._began = now()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            self._found.append((now(), try_query(self._question)))
            self._levels.append(self._read_levels())

    def levels(self, name: str) -> list[float]:
        return [value for levels in self._levels if not isinstance(value := levels[name], Unavailable)]

    def points(self) -> list[tuple[float, float]] | Unavailable:
        """Return the polls, without the first second's: they still tell of what was before."""
        lost = next((value for _, value in self._found if isinstance(value, Unavailable)), None)
        if lost is not None:
            return lost
        found = ((at - self._began, value) for at, value in self._found if not isinstance(value, Unavailable))
        return [(at, value) for at, value in found if at >= 1]

    def utilization(self) -> float | Unavailable:
        """Return the mean of the polls."""
        points = self.points()
        if isinstance(points, Unavailable):
            return points
        values = [value for _, value in points]
        return _percent(fmean(values)) if values else Unavailable("no_samples: nothing was polled in the window")


def _figure(name: str, value: float | Unavailable) -> "Figure":
    if isinstance(value, Unavailable):
        return figure(None, FIGURES[name].unit, value.reason)
    return figure(value, FIGURES[name].unit)


def _number(kind: int, value: object) -> float:
    """Return the number of a union, by the type that NVML says it has."""
    return float(getattr(value, _VALUE_MEMBERS[kind]))


def _percent(value: float) -> float | Unavailable:
    if not 0 <= value <= _MOST_PERCENT:  # NaN is not either
        return Unavailable(f"out_of_range: {value:g} percent")
    return value


def _advance(before: float | Unavailable, after: float | Unavailable) -> float | Unavailable:
    """Return by how much a counter advanced."""
    if isinstance(before, Unavailable):
        return before
    if isinstance(after, Unavailable):
        return after
    if after < before:  # the driver was reloaded, or the GPU reset
        return Unavailable(f"counter_went_backwards: from {before:.0f} to {after:.0f}")
    return after - before


def _time_weighted(samples: Sequence[tuple[int, float]], elapsed_s: float) -> float | Unavailable:
    """Return the mean of a buffer's samples, each over the time since the one before it.

    The first of them began before the window and only marks where the second begins.
    """
    gaps_us = [later[0] - earlier[0] for earlier, later in pairwise(samples)]
    if not gaps_us:
        return Unavailable(f"no_samples: the driver's buffer holds {len(samples)} of the window")
    # at either end less than one sample is lost; a buffer that is too small for the window loses more
    covered_s = sum(gaps_us) / 1e6
    if covered_s < elapsed_s / 2 and elapsed_s - covered_s > 2 * max(gaps_us) / 1e6:
        return Unavailable(f"samples_missing: the driver's buffer holds {covered_s:.1f} s of {elapsed_s:.1f} s")
    return _percent(sum(gap * value for gap, (_, value) in zip(gaps_us, samples[1:], strict=True)) / sum(gaps_us))
