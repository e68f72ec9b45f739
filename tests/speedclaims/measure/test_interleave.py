"""Rounds in alternation: the order of the calls, and what runs inside and outside the clock."""

import math
import sys

import pytest

from speedclaims import clock as clocks
from speedclaims.measure import interleave
from speedclaims.measure.interleave import (
    Round,
    Settings,
    Work,
    carry_over,
    default_synchronize,
    measure,
    setup_for,
    time_side,
    undisturbed,
    warm_up,
)


class Clock:
    """A clock that only the callables under test move."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def spend(self, seconds):
        def call():
            self.now += seconds

        return call


@pytest.fixture
def never_interrupted(monkeypatch):
    """Count no real context switches: on a busy machine they would leave rounds out of a clock that knows none."""
    monkeypatch.setattr(interleave, "num_switches", lambda: 0)


@pytest.fixture
def clock(monkeypatch, never_interrupted):
    clock = Clock()
    monkeypatch.setattr(clocks, "timer", lambda: clock.perf_counter)
    return clock


def sides(before, after, setup=None, synchronize=lambda: None):
    return Work(before, after, setup_for(setup), synchronize, resets=setup is not None)


def test_rounds_alternate_and_so_do_double_rounds(clock):
    seen = []

    def side(name, seconds):
        def call():
            seen.append(name)
            clock.now += seconds

        return call

    measure(sides(side("before", 0.3), side("after", 0.3)), Settings(max_time=3.1))
    warm_up, first, second = ["before", "after"], ["before", "after", "after", "before"], ["after", "before"]
    assert seen == warm_up + first + second + second[::-1]


def test_a_place_in_the_double_round_that_is_faster_favours_neither_side(clock):
    """The fourth call of every four takes a twentieth less: one callable against itself must still come out as 1."""
    calls = []

    def call():
        calls.append(None)
        clock.now += 0.010 * (0.95 if len(calls) > 40 and len(calls) % 4 == 0 else 1.0)

    found = measure(sides(call, call), Settings(max_time=5))
    interval = found.interval(0.95)
    assert interval.low <= 1 <= interval.high
    assert sum(found.log_ratios[: len(found.log_ratios) // 2 * 2]) == pytest.approx(0.0)


@pytest.mark.parametrize("seconds", [0.001, 0.003, 0.006, 0.011, 0.1])
@pytest.mark.parametrize("max_time", [2.6, 2.7, 2.8, 2.9, 3.0])
def test_a_side_that_is_faster_after_itself_is_not_favoured(monkeypatch, never_interrupted, seconds, max_time):
    """Of a median, an odd number of blocks of one double round each would favour the side that has one more."""
    sides = Alternating(monkeypatch, extra=0.05, of=("before", "after"))
    work = Work(
        sides.side("before", seconds), sides.side("after", seconds), setup_for(None), lambda: None, resets=False
    )
    found = measure(work, Settings(max_time=max_time, precision=1e-9))
    assert len(found.log_ratios) >= interleave.NUM_SURELY_EVEN
    assert found.interval(0.95).speedup == pytest.approx(1.0, abs=1e-3)


def test_no_double_round_of_few_is_given_away(clock):
    found = measure(sides(clock.spend(0.5), clock.spend(0.5)), Settings(max_time=8))
    assert len(found.log_ratios) == 3


def test_the_speedup_of_known_durations_is_their_ratio(clock):
    found = measure(sides(clock.spend(0.030), clock.spend(0.020)), Settings(max_time=5))
    assert found.interval(0.95).speedup == pytest.approx(1.5)
    assert found.before_s[0] == pytest.approx(0.030)
    assert found.after_s[0] == pytest.approx(0.020)


def test_the_setup_is_outside_the_clock_and_runs_before_each_side(clock):
    told = []

    def setup(side):
        told.append(side)
        clock.now += 0.5

    found = measure(sides(clock.spend(0.25), clock.spend(0.25), setup), Settings(max_time=4))
    assert set(found.before_s + found.after_s) == {0.25}
    assert told == ["before", "after", "before", "after", "after", "before"]


def test_the_device_is_waited_for_before_the_clock_starts_and_before_it_stops(clock):
    pending = []

    def launch():
        pending.append(0.4)

    def wait():
        clock.now += sum(pending)
        pending.clear()

    pending.append(7.0)  # work left over from elsewhere must not be charged to the side
    assert time_side(sides(launch, launch, synchronize=wait), "before", 1) == pytest.approx(0.4)


def test_a_call_under_a_quarter_of_a_millisecond_is_repeated_inside_the_round(clock):
    found = measure(sides(clock.spend(0.0001), clock.spend(0.004)), Settings(max_time=0.1))
    assert found.repeats_before == 3
    assert found.repeats_after == 1
    assert found.before_s[0] == pytest.approx(0.0001)


def test_a_setup_runs_before_every_repeat_of_a_short_call(clock):
    state = []

    def setup():
        state[:] = ["fresh"]

    def call():
        assert state == ["fresh"]
        state.append("used")
        clock.now += 0.0001

    found = measure(sides(call, call, setup), Settings(max_time=0.05))
    assert found.repeats_before == 3


def test_a_double_round_that_would_end_too_late_is_not_begun(clock):
    found = measure(sides(clock.spend(0.5), clock.spend(0.5)), Settings(max_time=6))
    assert len(found.log_ratios) == 2  # a second of warm-up, two seconds each
    assert clock.now <= 6


def test_at_least_one_double_round_is_measured_however_short_the_time(clock):
    found = measure(sides(clock.spend(9.0), clock.spend(9.0)), Settings(max_time=0.001))
    assert len(found.log_ratios) == 1
    assert not found.reached_precision


def test_the_measurement_ends_when_the_interval_is_narrow_enough_but_not_within_a_second(clock):
    found = measure(sides(clock.spend(0.01), clock.spend(0.01)), Settings(max_time=60))
    assert found.reached_precision
    assert 1.0 <= sum(found.before_s + found.after_s) < 2.0


def test_a_short_time_has_a_short_warm_up(clock):
    calls = []

    def call():
        calls.append(clock.now)
        clock.now += 0.01

    found = measure(sides(call, call), Settings(max_time=0.36))
    assert len(calls) - len(found.before_s) - len(found.after_s) == 2 * 5


def test_a_slow_setup_does_not_prolong_the_warm_up(clock):
    def setup():
        clock.now += 2.0

    assert warm_up(sides(clock.spend(0.01), clock.spend(0.01), setup), "before") == 1
    assert clock.now < 5


def test_a_tracer_is_off_while_the_clock_runs_and_back_afterwards():
    def tracer(*_):
        return None

    seen = []
    previous = sys.gettrace()
    sys.settrace(tracer)
    try:
        measure(sides(lambda: seen.append(sys.gettrace()), lambda: None), Settings(max_time=0.01))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(previous)
    assert set(seen) == {None}


@pytest.mark.parametrize("disabled", [True, False])
def test_the_garbage_collector_is_off_only_on_request(disabled):
    import gc

    seen = []
    measure(sides(lambda: seen.append(gc.isenabled()), lambda: None), Settings(max_time=0.01, disable_gc=disabled))
    assert set(seen) == {not disabled}
    assert gc.isenabled()


def test_an_exception_of_a_side_reaches_the_test_and_puts_the_interpreter_back():
    import gc

    def fails():
        msg = "out of data"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="out of data"):
        measure(sides(fails, lambda: None), Settings(disable_gc=True))
    assert gc.isenabled()


def test_a_setup_of_two_arguments_is_refused():
    with pytest.raises(TypeError, match="setup needs other arguments than one"):
        setup_for(lambda one, two: None)


def test_the_default_synchronization_is_of_the_frameworks_imported_already(monkeypatch):
    calls = []

    class Cuda:
        @staticmethod
        def is_available():
            return True

        @staticmethod
        def synchronize():
            calls.append("torch")

    class Framework:
        cuda = Cuda

    monkeypatch.setitem(sys.modules, "torch", Framework)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    default_synchronize()()
    assert calls == ["torch"]
    monkeypatch.delitem(sys.modules, "torch")
    default_synchronize()()
    assert calls == ["torch"]


def test_double_rounds_are_taken_together_until_they_are_as_long_as_a_block(clock):
    found = measure(sides(clock.spend(0.002), clock.spend(0.002)), Settings(max_time=2))
    assert len(found.before_s) == pytest.approx(8 * len(found.log_ratios), abs=8)  # four of 8 ms: an even number
    slow = measure(sides(clock.spend(0.2), clock.spend(0.2)), Settings(max_time=9))
    assert len(slow.before_s) == 2 * len(slow.log_ratios)


INTERRUPTED = Round(9.0, is_interrupted=True)


def clean(seconds):
    return Round(seconds, is_interrupted=False)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([clean(2.0), INTERRUPTED], [clean(1.0), INTERRUPTED], ([2.0], [1.0])),
        ([clean(2.0), clean(9.0)], [clean(1.0)], ([2.0, 9.0], [1.0])),
        ([clean(2.0), INTERRUPTED], [INTERRUPTED], ([2.0, 9.0], [9.0])),
    ],
)
def test_interrupted_rounds_do_not_count_unless_a_side_has_no_other(before, after, kept):
    assert undisturbed(before, after) == kept


def test_interruptions_that_always_hit_one_side_do_not_move_the_speedup(clock, monkeypatch):
    """The scheduler's turns keep step with the double rounds: two of three calls of one side are five times longer.

    With all rounds, these equal sides would read 5.
    """
    calls, switches = [], [0]

    def call(name):
        calls.append(name)
        is_hit = name == "before" and calls.count("before") % 3 > 0 and len(calls) > 100
        switches[0] += is_hit
        clock.now += 0.005 if is_hit else 0.001

    monkeypatch.setattr(interleave, "num_switches", lambda: switches[0])
    found = measure(sides(lambda: call("before"), lambda: call("after")), Settings(max_time=3))
    assert found.interval(0.95).speedup == pytest.approx(1.0)
    assert found.num_interrupted == pytest.approx(len(found.before_s) * 2 / 3, rel=0.1)


def test_the_system_says_when_it_takes_the_processor_away():
    """Two processes more than there are processors, each busy: somebody has to wait."""
    import multiprocessing
    import os

    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=spin, daemon=True) for _ in range(len(os.sched_getaffinity(0)) + 1)]
    for other in others:
        other.start()
    try:
        found = measure(sides(lambda: sum(range(9000)), lambda: sum(range(9000))), Settings(max_time=3))
    finally:
        for other in others:
            other.kill()
    assert found.num_interrupted > 0


def spin():
    while True:
        pass


# -- carry-over ----------------------------------------------------------------------------------------------------


class Alternating:
    """Two sides on a clock of our own: one is slower right after the other."""

    def __init__(self, monkeypatch, *, extra, of=("after",)):
        self.now, self.last, self.extra, self.of = 0.0, "", extra, of
        monkeypatch.setattr(clocks, "timer", lambda: lambda: self.now)

    def side(self, name, seconds):
        def call():
            self.now += seconds * (1 + self.extra * (name in self.of and self.last not in ("", name)))
            self.last = name

        return call

    def work(self):
        return Work(self.side("before", 0.01), self.side("after", 0.005), setup_for(None), lambda: None, resets=False)


@pytest.mark.usefixtures("never_interrupted")
@pytest.mark.parametrize("extra", [0.0, 0.1, 0.5])
def test_what_alternating_does_to_a_speedup_is_told(monkeypatch, extra):
    found = measure(Alternating(monkeypatch, extra=extra).work(), Settings(max_time=10, precision=1e-9))
    assert len(found.carry_over) >= 19
    assert found.carry_over == pytest.approx([-math.log(1 + extra)] * len(found.carry_over))


def test_interrupted_rounds_do_not_count_as_carry_over():
    quick, slow = Round(0.01, is_interrupted=False), Round(5.0, is_interrupted=True)
    assert carry_over([quick, quick, slow, quick] * 2, [quick, quick, quick, slow] * 2) == [0.0, 0.0]
    assert carry_over([quick, quick, quick, slow], [quick] * 4) == []  # the one that followed its own side


def test_few_rounds_give_no_carry_over():
    assert carry_over([Round(0.01, is_interrupted=False)] * 3, [Round(0.01, is_interrupted=False)] * 3) == []
