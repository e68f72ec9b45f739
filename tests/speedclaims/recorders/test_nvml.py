"""The NVML recorder, against a fake library at the C boundary and a stand-in shared library.

The fake takes the place of the loaded ``libnvidia-ml.so.1``: the real ``pynvml`` calls it with the real ctypes structs,
and it writes through their addresses as the driver does.
"""

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import types
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from speedclaims.recorders import environment
from speedclaims.recorders.nvml import devices as recorder
from speedclaims.recorders.nvml import window

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

SOURCES = Path(recorder.__file__).parents[3]
NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
NO_PERMISSION = pynvml.NVML_ERROR_NO_PERMISSION
LOST = pynvml.NVML_ERROR_GPU_IS_LOST
HOPPER = {1: 93.5, 2: 71.25, 3: 41.0, 5: 12.5, 10: 33.0}
ACTIVITIES = ("graphics_activity", "sm_activity", "occupancy", "tensor_activity", "dram_activity")
SAMPLE_S = 1 / 6
H200 = "GPU-11111111-aaaa-0000-0000-000000000000"
A100 = "GPU-22222222-bbbb-0000-0000-000000000000"
INSTANCE = "MIG-33333333-cccc-0000-0000-000000000000"


class Clock:
    """The seconds of the process, which only the side's work moves on."""

    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


@dataclass
class Board:
    """What a fake GPU is and does."""

    name: str = "NVIDIA H200"
    uuid: str = H200
    power_w: float = 600.0
    utilization: int = 91
    gpm: dict | None = field(default_factory=lambda: dict(HOPPER))
    throttle: dict = field(default_factory=lambda: {74: 0.25, 269: 0.0, 270: 0.0, 271: 0.0})  # shares of the time
    mig: int | None = 0
    pids: list = field(default_factory=lambda: [os.getpid()])
    used: int = 7_000_000_000


def at(address, kind):
    """Return what lies at an address that was handed over."""
    return ctypes.cast(address, ctypes.POINTER(kind)).contents


class FakeLibrary:
    """Stands where ``pynvml`` keeps the loaded library.

    Attributes:
        errors: error codes by function, or by (function, id) for one field or metric of an answer.
        lost_at: the time from which every question is answered by "GPU is lost".
        absent: functions that this driver has not got.
        ignores_since: whether it hands out its whole buffer of samples, whatever was asked for.
    """

    def __init__(self, clock, *boards):
        self.clock, self.boards = clock, list(boards)
        self.errors, self.absent, self.lost_at = {}, set(), float("inf")
        self.ignores_since = False
        self.asked, self.samples, self.started = [], {}, 0
        self.busy_from = clock.now + 0.07  # within a utilization sample

    def __getattr__(self, name):
        function = getattr(type(self), f"c_{name}", None)
        if function is None or name in self.absent:
            raise AttributeError(name)

        def called(*arguments):
            self.asked.append(name)
            if self.clock.now >= self.lost_at and name.startswith(("nvmlDevice", "nvmlGpmSampleGet")):
                return LOST
            return self.errors.get(name) or function(self, *arguments) or 0

        return called

    def board(self, handle):
        number = ctypes.cast(handle, ctypes.c_void_p).value
        return self.boards[(number & 0xFF) - 1]

    def c_nvmlInitWithFlags(self, _flags):
        self.started += 1

    def c_nvmlShutdown(self):
        self.started -= 1

    def c_nvmlSystemGetDriverVersion(self, text, _length):
        text.value = b"580.65"

    def c_nvmlSystemGetCudaDriverVersion(self, number):
        at(number, ctypes.c_int).value = 13010

    def c_nvmlDeviceGetCount_v2(self, count):
        at(count, ctypes.c_uint).value = len(self.boards)

    def c_nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        if index.value >= len(self.boards):
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        at(handle, ctypes.c_void_p).value = 0x1001 + index.value
        return 0

    def c_nvmlDeviceGetHandleByUUID(self, uuid, handle):
        if uuid.value.decode() != INSTANCE:
            return pynvml.NVML_ERROR_NOT_FOUND
        at(handle, ctypes.c_void_p).value = 0x2001
        return 0

    def c_nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle, board):
        at(board, ctypes.c_void_p).value = ctypes.cast(handle, ctypes.c_void_p).value - 0x1000

    def c_nvmlDeviceGetGpuInstanceId(self, _handle, number):
        at(number, ctypes.c_uint).value = 7

    def c_nvmlDeviceGetName(self, handle, text, _length):
        text.value = self.board(handle).name.encode()

    def c_nvmlDeviceGetUUID(self, handle, text, _length):
        text.value = self.board(handle).uuid.encode()

    def c_nvmlDeviceGetMigMode(self, handle, current, _pending):
        if self.board(handle).mig is None:
            return NOT_SUPPORTED
        at(current, ctypes.c_uint).value = self.board(handle).mig
        return 0

    def c_nvmlDeviceGetMemoryInfo(self, handle, memory):
        found = at(memory, pynvml.c_nvmlMemory_t)
        found.total, found.used = 150_000_000_000, self.board(handle).used

    def c_nvmlDeviceGetTemperature(self, _handle, _sensor, degrees):
        at(degrees, ctypes.c_uint).value = 40 if self.clock.now < self.busy_from else 63

    def c_nvmlDeviceGetClockInfo(self, _handle, kind, mhz):
        assert kind.value == pynvml.NVML_CLOCK_SM
        at(mhz, ctypes.c_uint).value = 345 if self.clock.now < self.busy_from else 1980

    def c_nvmlDeviceGetEnforcedPowerLimit(self, _handle, milliwatts):
        at(milliwatts, ctypes.c_uint).value = 700_000

    def c_nvmlDeviceGetPowerUsage(self, handle, milliwatts):
        at(milliwatts, ctypes.c_uint).value = int(1e3 * self.board(handle).power_w)

    def c_nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules):
        at(millijoules, ctypes.c_uint64).value = round(1e9 + 1e3 * self.board(handle).power_w * self.clock.now)

    def c_nvmlDeviceGetUtilizationRates(self, handle, rates):
        if self.board(handle).mig:
            return NOT_SUPPORTED
        late = self.clock.now < self.busy_from + 0.5  # it still tells of the sample period before
        at(rates, pynvml.c_nvmlUtilization_t).gpu = 3 if late else self.board(handle).utilization
        return 0

    def c_nvmlDeviceGetSamples(self, handle, kind, since, value_type, count, samples):
        if self.board(handle).mig:
            return NOT_SUPPORTED
        assert kind.value == pynvml.NVML_GPU_UTILIZATION_SAMPLES
        newest = int(self.clock.now / SAMPLE_S)
        ends = [number * SAMPLE_S for number in range(newest - 119, newest + 1)]
        own_clock = [(end, round(1e6 * (end + 1.7e9))) for end in ends]  # another clock than this process's
        found = [(end, time_us) for end, time_us in own_clock if self.ignores_since or time_us > since.value]
        if not found:
            return pynvml.NVML_ERROR_NOT_FOUND
        at(value_type, ctypes.c_uint).value = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
        at(count, ctypes.c_uint).value = len(found)
        for place, (end, time_us) in enumerate(found if samples is not None else ()):
            samples[place].timeStamp = time_us
            begin = end - SAMPLE_S
            idle, busy = 3, self.board(handle).utilization
            value = idle if end <= self.busy_from else busy if begin >= self.busy_from else 50
            samples[place].sampleValue.uiVal = value
        return 0

    def c_nvmlDeviceGetFieldValues(self, handle, count, values):
        fields = ctypes.cast(values, ctypes.POINTER(pynvml.c_nvmlFieldValue_t))
        for one in (fields[place] for place in range(count.value)):
            number = one.fieldId
            one.nvmlReturn = self.errors.get(("nvmlDeviceGetFieldValues", number), 0)
            one.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            one.value.ullVal = round(1e9 * self.board(handle).throttle[number] * self.clock.now)

    def c_nvmlDeviceGetComputeRunningProcesses_v3(self, handle, count, processes):
        pids, room = self.board(handle).pids, at(count, ctypes.c_uint).value
        at(count, ctypes.c_uint).value = len(pids)
        if room < len(pids):
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for place, pid in enumerate(pids):
            processes[place].pid = pid
        return 0

    def c_nvmlGpmQueryDeviceSupport(self, handle, support):
        at(support, pynvml.c_nvmlGpmSupport_t).isSupportedDevice = self.board(handle).gpm is not None

    def c_nvmlGpmSampleAlloc(self, sample):
        number = 0x5000 + len(self.asked)
        self.samples[number] = None
        at(sample, ctypes.c_void_p).value = number

    def c_nvmlGpmSampleFree(self, sample):
        del self.samples[ctypes.cast(sample, ctypes.c_void_p).value]

    def c_nvmlGpmSampleGet(self, handle, sample):
        self.samples[ctypes.cast(sample, ctypes.c_void_p).value] = (self.clock.now, self.board(handle))

    def c_nvmlGpmMigSampleGet(self, handle, instance, sample):
        assert instance == 7
        self.c_nvmlGpmSampleGet(handle, sample)

    def c_nvmlGpmMetricsGet(self, request):
        asked = at(request, pynvml.c_nvmlGpmMetricsGet_t)
        first, second = (
            self.samples[ctypes.cast(one, ctypes.c_void_p).value] for one in (asked.sample1, asked.sample2)
        )
        if asked.version != pynvml.NVML_GPM_METRICS_GET_VERSION or second[0] - first[0] < 0.1:
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        for place in range(asked.numMetrics):
            metric = asked.metrics[place]
            metric.nvmlReturn = self.errors.get(("nvmlGpmMetricsGet", metric.metricId), 0)
            metric.value = second[1].gpm[metric.metricId]
        return 0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(window, "now", clock)
    return clock


@pytest.fixture
def load(monkeypatch, clock):
    """Put a fake library in the place of the real one."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)

    def loaded(*boards):
        library = FakeLibrary(clock, *boards)
        monkeypatch.setattr(pynvml, "nvmlLib", library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return library

    return loaded


class Side:
    """A side whose call takes half a second of the fake clock."""

    def __init__(self, clock, seconds=0.5):
        self.clock, self.seconds, self.num_calls = clock, seconds, 0

    def __call__(self):
        self.num_calls += 1
        self.clock.now += self.seconds


@pytest.fixture
def side(clock):
    return Side(clock)


def value(figures, name):
    assert figures[name]["reason"] is None, (name, figures[name])
    return figures[name]["value"]


def assert_missing(figures, reason, *names):
    """All these figures have no value, and this reason."""
    for name in names:
        assert figures[name]["value"] is None, name
        assert figures[name]["status"] == "not_measured", name
        assert reason in figures[name]["reason"], (name, figures[name]["reason"])


def assert_honest(figures, *library):
    """Every figure is there, with a value or a reason; none is NaN, and nothing is left open in NVML."""
    assert list(figures) == list(window.FIGURES)
    json.dumps(figures, allow_nan=False)
    for name, one in figures.items():
        assert one["unit"] == window.FIGURES[name].unit
        assert (one["value"] is None) == bool(one["reason"]), (name, one)
        if name not in {"throttle_s", "other_processes"}:  # these may be nought
            assert one["value"] != 0, name
    for one in library:
        assert (one.samples, one.started) == ({}, 0)


# -- seven machines ------------------------------------------------------------------------------------------------


def test_an_h200_gives_every_figure(load, side):
    library = load(Board())
    found = window.watch(side).figures
    assert_honest(found, library)
    assert value(found, "utilization") == pytest.approx(91)  # neither the idle time before nor the sample across counts
    assert [value(found, name) for name in ACTIVITIES] == list(HOPPER.values())
    assert side.num_calls == 5
    assert value(found, "energy_j") == pytest.approx(600 * 2.5 / 5)
    assert value(found, "power_w") == pytest.approx(600)
    assert value(found, "throttle_s") == pytest.approx(0.25 * 2.5)
    assert (value(found, "temperature_c"), found["temperature_c"]["low"], found["temperature_c"]["high"]) == (
        63,
        40,
        63,
    )
    assert (value(found, "sm_clock_mhz"), found["sm_clock_mhz"]["low"]) == (1980, 345)
    assert value(found, "memory_bytes") == 7_000_000_000
    assert value(found, "other_processes") == 0


def test_the_timeline_has_each_sample_that_began_in_the_window(load, side):
    load(Board())
    timeline = window.watch(side).timeline
    assert timeline["reason"] is None
    steps = [later - earlier for earlier, later in pairwise([0.0, *timeline["seconds"]])]
    assert steps == pytest.approx([SAMPLE_S] * len(steps), abs=1e-4)
    assert set(timeline["percent"]) == {91}
    assert len(steps) == pytest.approx(2.5 / SAMPLE_S, abs=1)


def test_a_timeline_that_cannot_be_had_says_why(load, side):
    load(Board(mig=1))
    timeline = window.watch(side, device=INSTANCE).timeline
    assert timeline == {"seconds": [], "percent": [], "reason": "mig: NVML knows no utilization of an instance"}


def test_a_driver_that_hands_out_old_samples_too_changes_nothing(load, side):
    load(Board()).ignores_since = True
    assert value(window.watch(side).figures, "utilization") == pytest.approx(91)


def test_nothing_is_asked_while_the_side_runs(load, clock):
    library = load(Board())
    asked = []

    def call():
        asked.append(len(library.asked))
        clock.now += 0.5

    window.watch(call)
    assert len(asked) == 5
    assert len(set(asked)) == 1
    assert asked[0] < len(library.asked)


def test_an_a100_has_all_but_gpm(load, side):
    library = load(Board(name="NVIDIA A100-SXM4-80GB", uuid=A100, gpm=None, power_w=350))
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "gpm_not_supported", *ACTIVITIES)
    assert value(found, "utilization") == pytest.approx(91)
    assert value(found, "power_w") == pytest.approx(350)


def test_a_driver_that_is_older_than_gpm_names_the_error(load, side):
    library = load(Board(uuid=A100))
    library.absent = {"nvmlGpmQueryDeviceSupport"}
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "NVMLError_FunctionNotFound", *ACTIVITIES)
    assert value(found, "utilization") == pytest.approx(91)


def test_a_mig_instance_has_its_own_activity_and_none_of_the_whole_gpu(load, side):
    library = load(Board(mig=1))
    found = window.watch(side, device=INSTANCE).figures
    assert_honest(found, library)
    assert_missing(found, "mig: NVML knows no utilization", "utilization")
    assert_missing(found, "mig: NVML counts the whole GPU", "energy_j", "power_w", "throttle_s")
    assert value(found, "sm_activity") == HOPPER[2]
    assert "nvmlGpmMigSampleGet" in library.asked
    assert value(found, "memory_bytes") == 7_000_000_000


def test_a_divided_gpu_without_a_named_instance_has_no_figures_of_the_whole(load, side):
    library = load(Board(mig=1))
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "mig: ", "utilization", *ACTIVITIES, "energy_j", "power_w", "throttle_s", "memory_bytes")
    assert value(found, "temperature_c") == 63


def test_wsl_is_polled_where_the_driver_keeps_no_samples(load, clock, monkeypatch):
    monkeypatch.setattr(window, "POLL_S", 0.005)
    library = load(Board(name="NVIDIA GeForce RTX 4090", gpm=None, mig=None, utilization=77))
    for name in ("Samples", "TotalEnergyConsumption", "FieldValues", "ComputeRunningProcesses_v3"):
        library.errors[f"nvmlDeviceGet{name}"] = NOT_SUPPORTED

    def call():
        clock.now += 0.5
        time.sleep(0.05)

    reading = window.watch(call)
    found = reading.figures
    assert_honest(found, library)
    assert value(found, "utilization") == 77
    assert set(reading.timeline["percent"]) == {77}
    assert min(reading.timeline["seconds"]) >= 1
    assert value(found, "sm_clock_mhz") == 1980
    assert_missing(found, "NVMLError_NotSupported", "energy_j", "power_w", "throttle_s", "other_processes")
    assert_missing(found, "gpm_not_supported", *ACTIVITIES)
    monkeypatch.setattr(platform, "release", lambda: "5.15.153.1-microsoft-standard-WSL2")
    assert recorder.gpu_environment()[0]["wsl"] is True


def test_without_permission_each_refused_metric_says_so(load, side):
    library = load(Board())
    for name in ("nvmlGpmSampleGet", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetSamples"):
        library.errors[name] = NO_PERMISSION
    library.errors["nvmlDeviceGetUtilizationRates"] = NO_PERMISSION
    library.errors["nvmlDeviceGetFieldValues", 270] = NO_PERMISSION
    found = window.watch(side).figures
    assert_honest(found, library)
    refused = ("utilization", *ACTIVITIES, "energy_j", "power_w", "throttle_s")
    assert_missing(found, "NVMLError_NoPermission: Insufficient Permissions", *refused)
    assert value(found, "memory_bytes") == 7_000_000_000


def test_where_the_driver_may_not_be_spoken_to_the_side_is_not_even_run(load, side):
    library = load(Board())
    library.errors["nvmlInitWithFlags"] = NO_PERMISSION
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "pynvml: NVMLError_NoPermission", *window.FIGURES)
    assert side.num_calls == 0


@pytest.mark.parametrize("polled", [False, True])
def test_a_gpu_that_is_lost_in_mid_run_gives_the_reason_for_every_figure(polled, load, clock, monkeypatch):
    monkeypatch.setattr(window, "POLL_S", 0.005)
    library = load(Board())
    library.lost_at = clock.now + 1.2
    if polled:
        library.errors["nvmlDeviceGetSamples"] = NOT_SUPPORTED

    def call():
        clock.now += 0.5
        time.sleep(0.03 if polled else 0)

    found = window.watch(call).figures
    assert_honest(found, library)
    assert_missing(found, "NVMLError_GpuIsLost: GPU is lost", *window.FIGURES)


def test_a_gpu_that_is_lost_before_gives_the_reason(load, side):
    library = load(Board())
    library.lost_at = 0
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "NVMLError_GpuIsLost", *window.FIGURES)
    described = recorder.describe()
    assert "NVMLError_GpuIsLost" in described.get("reason", "")


def test_without_a_driver_every_figure_says_that_the_library_is_not_there(monkeypatch, side):
    def no_library(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml, "CDLL", no_library)
    found = window.watch(side).figures
    assert_honest(found)
    assert_missing(found, "pynvml: NVMLError_LibraryNotFound", *window.FIGURES)
    assert recorder.gpu_environment() == []
    assert "NVMLError_LibraryNotFound" in recorder.describe()["reason"]


# -- figures that lie ----------------------------------------------------------------------------------------------


def test_a_window_under_two_seconds_is_too_short(load, side):
    library = load(Board())
    found = window.watch(side, min_seconds=1.0).figures
    assert_honest(found, library)
    assert_missing(found, "window_too_short", *window.FIGURES)


def test_a_counter_that_goes_backwards_is_no_figure(load, clock):
    library = load(Board())

    def call():
        clock.now += 0.5
        library.boards[0].power_w = 10  # the energy since the driver was loaded falls
        library.boards[0].throttle[270] = 0.1

    library.boards[0].throttle[270] = 0.5
    found = window.watch(call).figures
    assert_honest(found, library)
    assert_missing(found, "counter_went_backwards", "energy_j", "power_w", "throttle_s")
    assert value(found, "utilization") == pytest.approx(91)


def test_an_energy_counter_that_stands_still_is_not_nought(load, side):
    library = load(Board(power_w=0))
    assert_missing(window.watch(side).figures, "counter_did_not_move", "energy_j", "power_w")
    assert library.samples == {}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, 250.0])
def test_an_activity_that_is_no_percentage_is_no_figure(wrong, load, side):
    library = load(Board(gpm={**HOPPER, 5: wrong}))
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "out_of_range", "tensor_activity")
    assert value(found, "sm_activity") == HOPPER[2]


def test_one_metric_that_fails_takes_no_other_with_it(load, side):
    library = load(Board())
    library.errors["nvmlGpmMetricsGet", 10] = NOT_SUPPORTED
    library.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_UNKNOWN
    found = window.watch(side).figures
    assert_honest(found, library)
    assert [name for name in found if found[name]["value"] is None] == ["dram_activity", "temperature_c"]
    assert_missing(found, "NVMLError_NotSupported", "dram_activity")


def test_throttling_for_longer_than_the_window_is_no_figure(load, side):
    load(Board(throttle={74: 1e3, 269: 0.0, 270: 0.0, 271: 0.0}))  # a driver that counts in other units
    assert_missing(window.watch(side).figures, "out_of_range", "throttle_s")


def test_a_buffer_that_is_too_small_for_the_window_is_no_figure(load, clock):
    load(Board())
    assert_missing(window.watch(Side(clock, seconds=90)).figures, "samples_missing", "utilization")


def test_an_error_of_the_side_goes_through_and_leaves_nothing_open(load):
    library = load(Board())

    def call():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        window.watch(call)
    assert (library.samples, library.started) == ({}, 0)


def test_other_processes_on_the_gpu_are_counted_and_its_own_family_is_not(load, side):
    parent = os.getppid()
    load(Board(pids=[os.getpid(), parent, 4_111_111, 4_222_222]))
    assert value(window.watch(side).figures, "other_processes") == 2


@pytest.mark.parametrize("pids", [[], [4_111_111]])
def test_a_container_that_hides_process_ids_gives_no_count(pids, load, side):
    load(Board(pids=pids))
    assert_missing(window.watch(side).figures, "process_ids_hidden", "other_processes")


# -- which device --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "device", "power_w"),
    [
        (None, "cuda", 600),
        (None, "cuda:1", 350),
        ("1", "cuda", 350),
        ("1,0", 1, 600),
        ("1,0", "cuda:0", 350),
        (A100, "cuda", 350),
        ("GPU-2222", "cuda:0", 350),
        ("1", H200, 600),
    ],
)
def test_devices_are_counted_as_cuda_does(setting, device, power_w, load, side, monkeypatch):
    load(Board(power_w=600), Board(uuid=A100, power_w=350))
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert value(window.watch(side, device=device).figures, "power_w") == pytest.approx(power_w)


@pytest.mark.parametrize(
    ("setting", "device", "words"),
    [
        (None, "cuda:2", "cuda:2 of 2 visible"),
        (None, 7, "cuda:7 of 2 visible"),
        ("0", "cuda:1", "cuda:1 of 1 visible"),
        ("", "cuda", "of 0 visible"),
        ("-1", "cuda", "of 0 visible"),
        ("7,0", "cuda", "of 0 visible"),
        ("GPU-9999", "cuda", "of 0 visible"),
        (None, "GPU-9999", "the UUID of 0 GPUs"),
        (None, "GPU-", "the UUID of 2 GPUs"),
        (None, "MIG-9999", "MIG-9999 (NVMLError_NotFound"),
        (None, "cpu", "'cpu' is no CUDA device"),
        (None, "cuda:x", "'cuda:x' is no CUDA device"),
        (None, -1, "'cuda:-1' is no CUDA device"),
    ],
)
def test_a_device_that_does_not_exist_is_said_plainly(setting, device, words, load, side, monkeypatch):
    library = load(Board(), Board(uuid=A100))
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    found = window.watch(side, device=device).figures
    assert_honest(found, library)
    assert_missing(found, "device_not_found", *window.FIGURES)
    assert_missing(found, words, *window.FIGURES)
    assert side.num_calls == 0


def test_unlike_gpus_are_not_guessed_at(load, side, monkeypatch):
    load(Board(), Board(name="NVIDIA T4", uuid=A100, power_w=70))
    assert_missing(window.watch(side, device="cuda:1").figures, "device_order_unknown", *window.FIGURES)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert value(window.watch(side, device="cuda:1").figures, "power_w") == pytest.approx(70)


def fake_torch(*uuids):
    properties = [
        types.SimpleNamespace(uuid=uuid.removeprefix("GPU-"), name="A GPU", total_memory=5, major=9, minor=0)
        for uuid in uuids
    ]
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: len(properties),
        current_device=lambda: 0,
        get_device_properties=lambda index: properties[index],
    )
    return types.SimpleNamespace(cuda=cuda, version=types.SimpleNamespace(cuda="13.0"))


def test_what_pytorch_says_of_its_device_comes_first(load, side, monkeypatch):
    load(Board(), Board(name="NVIDIA T4", uuid=A100, power_w=70))
    monkeypatch.setitem(sys.modules, "torch", fake_torch(A100, H200))
    assert value(window.watch(side).figures, "power_w") == pytest.approx(70)
    assert value(window.watch(side, device="cuda:1").figures, "power_w") == pytest.approx(600)


def test_nvml_without_a_device_is_a_reason(load, side):
    library = load()
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "no_device: NVML finds no GPU", *window.FIGURES)
    assert recorder.gpu_environment() == []
    assert recorder.describe()["devices"] == []


# -- pynvml itself -------------------------------------------------------------------------------------------------


def test_another_module_called_pynvml_is_told(monkeypatch, side):
    monkeypatch.setitem(sys.modules, "pynvml", types.ModuleType("pynvml"))
    found = window.watch(side).figures
    assert_honest(found)
    assert_missing(found, "pynvml: another module of this name shadows that of nvidia-ml-py", *window.FIGURES)
    assert recorder.gpu_environment() == []


def test_an_older_pynvml_in_the_way_costs_only_what_it_lacks(load, monkeypatch, side):
    library = load(Board())
    older = types.ModuleType("pynvml")
    older.__dict__.update({name: thing for name, thing in vars(pynvml).items() if "Gpm" not in name})
    monkeypatch.setitem(sys.modules, "pynvml", older)
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "AttributeError: module 'pynvml' has no attribute 'nvmlGpm", *ACTIVITIES)
    assert value(found, "utilization") == pytest.approx(91)


def test_an_error_that_is_no_nvml_error_is_a_reason_too(load, monkeypatch, side):
    """``NVMLLibraryMismatchError`` is not a subclass of ``NVMLError``."""
    library = load(Board())
    library.absent = {"nvmlDeviceGetComputeRunningProcesses_v3"}
    found = window.watch(side).figures
    assert_honest(found, library)
    assert_missing(found, "NVMLLibraryMismatchError", "other_processes")


def test_without_pynvml_the_extra_is_named(monkeypatch, side):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert_missing(window.watch(side).figures, "pynvml: ", *window.FIGURES)


def test_loading_the_plugin_and_the_recorder_loads_no_pynvml():
    code = "import sys, speedclaims.plugin, speedclaims.recorders.nvml.devices; print('pynvml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=with_sources(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- the record's environment --------------------------------------------------------------------------------------


def test_the_environment_says_what_nvml_knows_of_the_gpus_that_cuda_may_use(load, monkeypatch):
    load(Board(pids=[os.getpid(), 4_111_111]), Board(uuid=A100, mig=None))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (gpu,) = recorder.gpu_environment()
    assert gpu | {"container": None} == {
        "index": 0,
        "name": "NVIDIA H200",
        "uuid": H200,
        "memory_bytes": 150_000_000_000,
        "mig": False,
        "power_limit_w": 700.0,
        "other_processes": 1,
        "driver": "580.65",
        "cuda_driver": "13.1",
        "container": None,
        "wsl": "microsoft" in platform.release().lower(),
    }
    assert isinstance(gpu["container"], bool)


def test_what_cannot_be_asked_is_none_there(load):
    library = load(Board())
    for name in ("EnforcedPowerLimit", "ComputeRunningProcesses_v3", "MemoryInfo", "MigMode"):
        library.errors[f"nvmlDeviceGet{name}"] = NO_PERMISSION
    (gpu,) = recorder.gpu_environment()
    assert [gpu[key] for key in ("power_limit_w", "other_processes", "memory_bytes", "mig")] == [None] * 4


def test_pytorchs_gpus_are_joined_with_nvmls_by_uuid(load, monkeypatch):
    load(Board(), Board(uuid=A100))
    monkeypatch.setitem(sys.modules, "torch", fake_torch(A100, "GPU-unknown"))
    first, second = environment.gpus()
    assert (first["index"], first["uuid"], first["driver"], first["compute_capability"]) == (0, A100, "580.65", "9.0")
    assert (second["index"], "driver" in second) == (1, False)


def test_without_nvml_the_environment_stays_as_it_was(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", types.ModuleType("pynvml"))
    monkeypatch.setitem(sys.modules, "torch", fake_torch(A100))
    assert environment.gpus() == [
        {"index": 0, "name": "A GPU", "memory_bytes": 5, "compute_capability": "9.0", "cuda": "13.0"}
    ]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert environment.gpus() == []


# -- a stand-in library, through the loader ------------------------------------------------------------------------

STAND_IN = r"""
#include <string.h>
#include <time.h>
typedef void *device;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *found) { *found = (device)0x51; return index ? 2 : 0; }
int nvmlDeviceGetName(device one, char *text, unsigned length) { strncpy(text, "Stand-in GPU", length); return 0; }
int nvmlDeviceGetUUID(device one, char *text, unsigned length) { strncpy(text, "GPU-51", length); return 0; }
int nvmlDeviceGetTemperature(device one, unsigned sensor, unsigned *degrees) { *degrees = 51; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(device one, unsigned long long *millijoules) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = 300ULL * (now.tv_sec * 1000ULL + now.tv_nsec / 1000000ULL);
    return one == (device)0x51 ? 0 : 2;
}
"""
ASKS = """
import json, time
from speedclaims.recorders.nvml.devices import gpu_environment
from speedclaims.recorders.nvml.window import watch
print(json.dumps([watch(lambda: time.sleep(0.25), min_seconds=2.1).figures, gpu_environment()]))
"""


def with_sources(**more):
    paths = [str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def test_a_stand_in_library_on_the_loaders_path_is_used(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler (cc, gcc) on Linux to build the stand-in library with")
    source = tmp_path / "nvml.c"
    source.write_text(STAND_IN)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    ours = with_sources(LD_LIBRARY_PATH=str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        ours.pop(name, None)
    done = subprocess.run([sys.executable, "-c", ASKS], env=ours, capture_output=True, text=True, check=True)
    found, gpus = json.loads(done.stdout)
    assert_honest(found)
    assert value(found, "power_w") == pytest.approx(300, rel=0.05)
    assert value(found, "temperature_c") == 51
    assert_missing(found, "NVMLError_FunctionNotFound", "utilization", *ACTIVITIES, "sm_clock_mhz", "throttle_s")
    assert (gpus[0]["name"], gpus[0]["uuid"], gpus[0]["power_limit_w"]) == ("Stand-in GPU", "GPU-51", None)


# -- a real GPU ----------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_real_gpu_that_multiplies_matrices_is_busy_and_uses_energy():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    matrix_NN = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)

    def call():
        for _ in range(50):
            matrix_NN @ matrix_NN
        torch.cuda.synchronize()

    call()
    found = window.watch(call).figures
    assert_honest(found)
    for name in ("utilization", *ACTIVITIES[:2], "tensor_activity", "energy_j"):
        one = found[name]
        # whether the figure can be had depends on the GPU and on permissions; what is had cannot be next to nothing
        assert one["value"] is None or one["value"] > (1 if one["unit"] == "percent" else 0), (name, one)
