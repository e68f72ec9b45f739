"""Tests of what the clock includes: reading it, the event loop, and waiting for devices."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from speedclaims import clock as clocks
from speedclaims.measure.calls import Loop, RefusedError
from speedclaims.measure.interleave import Work, default_synchronize, setup_for, time_side, warm_up


class SlowClock:
    """A clock of which each reading takes a tenth of a microsecond."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 1e-7
        return self.now

    def spend(self, seconds):
        def call():
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = SlowClock()
    monkeypatch.setattr(clocks, "timer", lambda: clock.perf_counter)
    return clock


def work_of(before, after=print, setup=None, **more):
    return Work(before, after, setup_for(setup), lambda: None, resets=setup is not None, **more)


@pytest.mark.parametrize("seconds", [1e-6, 1e-4])
def test_reading_the_clock_is_not_in_a_call_that_is_timed_alone(clock, seconds):
    work = work_of(clock.spend(seconds), setup=clock.spend(3e-6))
    assert warm_up(work, "before", 1e-3) > 1
    assert time_side(work, "before", 7) == pytest.approx(seconds, rel=1e-6)


def test_the_ratio_of_two_short_calls_is_that_of_their_lengths(clock):
    work = work_of(clock.spend(5e-6), clock.spend(1e-6), setup=lambda: None)
    for name in ("before", "after"):
        warm_up(work, name, 1e-3)
    assert time_side(work, "before", 9) / time_side(work, "after", 9) == pytest.approx(5)


@pytest.mark.parametrize(("costs", "is_refused"), [(4.9, True), (5.1, False)])
def test_a_call_of_less_than_five_times_the_clock_s_cost_is_refused(clock, costs, is_refused):
    work = work_of(clock.spend(costs * 1e-7), setup=lambda: None)
    if is_refused:
        with pytest.raises(RefusedError, match="the before side takes 490 ns and reading the clock 100 ns"):
            warm_up(work, "before", 1e-3)
    else:
        warm_up(work, "before", 1e-3)


def test_a_call_without_a_setup_may_be_as_short_as_it_is(clock):
    assert warm_up(work_of(clock.spend(1e-8)), "before", 1e-3) > 1000


class CountingLoop(Loop):
    runs = 0

    def run(self, coroutine):
        self.runs += 1
        return super().run(coroutine)


def test_the_repeats_of_a_round_share_one_run_of_the_event_loop():
    calls = []

    async def side():
        calls.append(asyncio.get_running_loop())

    loop = CountingLoop()
    work = work_of(side, loop=loop)
    assert time_side(work, "before", 1) >= 0
    assert (loop.runs, len(calls)) == (1, 1)
    time_side(work, "before", 50)
    assert (loop.runs, len(calls)) == (2, 51)
    assert len(set(calls)) == 1
    loop.close()


def test_a_call_returns_what_its_coroutine_returns():
    async def side():
        return 7

    work = work_of(side)
    assert [work.side("before")() for _ in range(2)] == [7, 7]
    work.loop.close()


def fakes(monkeypatch, **modules):
    """Let these modules, and no other framework, be imported."""
    for name in ("torch", "tensorflow", "cupy", "jax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def kind(waited, name, *, available=True):
    return SimpleNamespace(is_available=lambda: available, synchronize=lambda: waited.append(name))


@pytest.mark.parametrize("name", ["accelerator", "cuda", "xpu", "mps"])
def test_pytorch_is_waited_for_on_its_accelerator_whatever_it_is(monkeypatch, name):
    waited = []
    others = {other: kind(waited, other, available=False) for other in ("accelerator", "cuda", "xpu", "mps")}
    fakes(monkeypatch, torch=SimpleNamespace(**others | {name: kind(waited, name)}))
    default_synchronize()()
    assert waited == [name]


def test_cupy_is_waited_for_on_the_stream_that_is_current_when_the_clock_stops(monkeypatch):
    waited, current = [], ["first"]
    stream = SimpleNamespace(synchronize=lambda: waited.append(current[0]))
    cuda = SimpleNamespace(is_available=lambda: True, get_current_stream=lambda: stream)
    fakes(monkeypatch, cupy=SimpleNamespace(cuda=cuda))
    synchronize = default_synchronize()
    current[0] = "second"
    synchronize()
    assert waited == ["second"]


def test_all_frameworks_that_are_imported_are_waited_for(monkeypatch):
    waited = []
    devices = SimpleNamespace(sync_devices=lambda: waited.append("tensorflow"))
    tensorflow = SimpleNamespace(test=SimpleNamespace(experimental=devices))
    jax = SimpleNamespace(live_arrays=lambda: ["array"], block_until_ready=waited.append)
    torch = SimpleNamespace(accelerator=kind(waited, "torch"))
    fakes(monkeypatch, torch=torch, tensorflow=tensorflow, jax=jax)
    default_synchronize()()
    assert waited == ["torch", "tensorflow", ["array"]]


def test_without_a_framework_or_a_device_nothing_is_waited_for(monkeypatch):
    cupy = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    fakes(monkeypatch, cupy=cupy, torch=SimpleNamespace(accelerator=kind([], "torch", available=False)))
    assert default_synchronize()() is None
