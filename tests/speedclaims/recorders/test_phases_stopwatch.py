"""The stopwatch of phases: intervals are united, and phases sum to the call to the nanosecond."""

import threading
from collections import Counter

import pytest
from hypothesis import given

from speedclaims.recorders.phases import recorder as phases_record
from speedclaims.recorders.phases.recorder import profile_side
from speedclaims.recorders.phases.stopwatch import (
    COMPILED,
    DATA_WAIT,
    FORWARD,
    HOST_SYNC,
    OPTIMIZER,
    OTHER,
    PHASES,
    TRANSFER,
    Phases,
    defining_classes,
    patched,
    union_length,
)
from tests import strategies

CLOSED = {DATA_WAIT, TRANSFER, HOST_SYNC, COMPILED}


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.now = 10**15

    def __call__(self):
        return self.now

    def work(self, ns):
        self.now += ns


@given(strategies.intervals())
def test_a_union_is_as_long_as_the_points_that_any_interval_covers(intervals):
    covered = {point for start, end in intervals for point in range(start, end)}
    assert union_length(intervals) == len(covered)


def test_adding_up_lengths_instead_would_be_seen():
    overlapping = [(0, 4), (1, 2), (3, 6)]
    assert union_length(overlapping) == 6
    assert sum(end - start for start, end in overlapping) == 8
    assert union_length([]) == 0
    assert union_length([(5, 3), (1, 2)]) == 1


def expected(script, inside=OTHER):
    """Return what each phase takes, by the rule and without a stack: the innermost, and nothing in a closed one."""
    found = Counter()
    for step in script:
        if isinstance(step, int):
            found[inside] += step
        else:
            name, inner = step
            found += expected(inner, inside if inside in CLOSED else name)
    return found


def play(script, clock, phases):
    for step in script:
        if isinstance(step, int):
            clock.work(step)
        else:
            name, inner = step
            phases.timed(play, name)(inner, clock, phases)


@given(strategies.phase_scripts(PHASES))
def test_time_belongs_to_the_innermost_phase_and_all_of_it_to_one(script):
    clock = Clock()
    started, phases = clock.now, Phases(clock)
    phases.run(lambda: play(script, clock, phases))
    assert Counter({name: ns for name, ns in phases.ns.items() if ns}) == expected(script)
    assert sum(phases.ns.values()) == clock.now - started


def test_what_the_device_still_does_belongs_to_the_phase_that_asked_for_it():
    clock, waiting = Clock(), []

    def settle():
        clock.work(sum(waiting))
        waiting.clear()

    phases = Phases(clock, settle)

    def launch(ns):
        clock.work(1)
        waiting.append(ns)

    def call():
        phases.timed(launch, FORWARD)(500)
        phases.timed(clock.work, HOST_SYNC)(2)
        launch(40)

    waiting.append(10_000)  # from before the call: no phase's
    phases.run(call)
    assert {name: ns for name, ns in phases.ns.items() if ns} == {FORWARD: 501, HOST_SYNC: 2, OTHER: 41}


def test_an_exception_ends_its_phase_and_passes_through():
    clock = Clock()
    phases = Phases(clock)

    def fail():
        clock.work(3)
        raise KeyError

    def call():
        with pytest.raises(KeyError):
            phases.timed(fail, OPTIMIZER)()
        clock.work(5)
        fail()

    with pytest.raises(KeyError):
        phases.run(call)
    assert (phases.ns[OPTIMIZER], phases.ns[OTHER]) == (3, 8)


def test_a_phase_that_turns_out_not_to_be_one_belongs_to_what_is_around_it():
    clock = Clock()
    phases = Phases(clock)

    def move(has_moved):
        clock.work(7)
        return has_moved

    timed = phases.timed_if(move, TRANSFER, happened=lambda result, *_: result)

    def call():
        phases.timed(lambda: (timed(True), timed(False)), FORWARD)()  # noqa: FBT003 - what comes back
        with pytest.raises(TypeError):
            timed()

    phases.run(call)
    assert (phases.ns[TRANSFER], phases.ns[FORWARD]) == (7, 7)


def test_other_threads_and_calls_outside_the_run_take_no_phase():
    clock = Clock()
    phases = Phases(clock)
    timed = phases.timed(clock.work, FORWARD)
    timed(100)

    def call():
        thread = threading.Thread(target=timed, args=(30,))
        thread.start()
        thread.join()

    phases.run(call)
    timed(1000)
    assert {name: ns for name, ns in phases.ns.items() if ns} == {OTHER: 30}


def test_what_asks_nothing_is_no_phase():
    clock = Clock()
    phases = Phases(clock)
    timed = phases.timed(clock.work, HOST_SYNC, when=lambda ns: ns > 10)
    phases.run(lambda: (timed(5), timed(20)))
    assert (phases.ns[HOST_SYNC], phases.ns[OTHER]) == (20, 5)


class _Base:
    def act(self):
        return "base"


class _Plain(_Base):
    pass


class _Own(_Plain):
    def act(self):
        return "own"


def test_every_class_that_defines_a_method_is_found_once():
    assert defining_classes(_Base, "act") == [_Base, _Own]
    assert defining_classes(_Plain, "act") == [_Base, _Own]
    assert defining_classes(_Plain, "missing") == []


def test_what_was_replaced_is_put_back_also_after_an_exception():
    before = [dict(vars(kind)) for kind in (_Base, _Plain, _Own)]
    with pytest.raises(KeyError), patched((kind, "act", lambda _: "patch") for kind in (_Base, _Plain, _Own)):  # noqa: PT012
        assert [_Base().act(), _Plain().act(), _Own().act()] == ["patch"] * 3
        raise KeyError
    assert [dict(vars(kind)) for kind in (_Base, _Plain, _Own)] == before


def test_without_a_framework_there_are_no_phases_but_a_reason(monkeypatch):
    monkeypatch.setattr("speedclaims.recorders.phases.recorder.imported_frameworks", list)
    found = profile_side(lambda: None, lambda: pytest.fail("nothing is to be called"), "cpu")
    reason = "neither PyTorch nor TensorFlow is imported: there are no phases to tell apart"
    assert found["phases"] == []
    assert [found[name]["value"] for name in ("busy", "wall_s")] == [None, None]
    assert [found[name]["reason"] for name in ("busy", "wall_s")] == [reason, reason]


class _Gpu:
    """A framework with kernels of given intervals in a call of given length."""

    def __init__(self, kernels):
        self.kernels = kernels

    def recording_kernels(self):
        from contextlib import nullcontext

        return nullcontext(self.kernels)


def test_the_busy_fraction_is_the_union_of_kernels_over_the_wall_time(monkeypatch):
    times = iter([100.0, 102.0])
    monkeypatch.setattr(phases_record.clock, "timer", lambda: lambda: next(times))
    overlapping = [(5.0, 5.5), (5.25, 5.75), (6.0, 6.25)]
    found = phases_record._busy_percent([_Gpu(overlapping)], lambda: None, lambda: None, "cuda:0")
    assert (found["value"], found["unit"]) == (50, "percent")


def test_no_kernel_is_no_zero():

    found = phases_record._busy_percent([_Gpu([])], lambda: None, lambda: None, "cuda")
    assert (found["value"], found["reason"]) == (None, "the profiler saw no kernel on a GPU")
    found = phases_record._busy_percent([_Gpu([(0, 1)])], lambda: None, lambda: None, "cpu")
    assert (found["value"], found["reason"]) == (None, "the busy fraction is of a GPU: this ran on the CPU")
