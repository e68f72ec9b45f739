"""Nothing instrumented is timed: what instruments Python is off meanwhile, and on again afterwards."""

import cProfile
import gc
import sys
import threading
import tracemalloc

import pytest

from speedclaims.measure.calls import RefusedError
from speedclaims.measure.instruments import switched_off
from speedclaims.measure.interleave import Settings, Work, measure, setup_for

has_monitoring = pytest.mark.skipif(not hasattr(sys, "monitoring"), reason="Python has sys.monitoring from 3.12 on")


@pytest.fixture(autouse=True)
def no_threads_of_other_tests(monkeypatch):
    """Hide threads that run already: a library's pool, once used in this process, would be refused as one of ours."""
    every, others = threading.enumerate, {*threading.enumerate()} - {threading.current_thread()}
    monkeypatch.setattr(threading, "enumerate", lambda: [one for one in every() if one not in others])


def leaf():
    pass


def side():
    for _ in range(50):
        leaf()


def in_thread():
    thread = threading.Thread(target=side)
    thread.start()
    thread.join()


def measured(before=side, after=side):
    return measure(Work(before, after, setup_for(None), lambda: None, resets=False), Settings(max_time=0.1))


class Seen:
    """Count the events that a function of a tracer or a profiler gets in `leaf`."""

    def __init__(self):
        self.number = 0

    def __call__(self, frame, event, argument):
        self.note(frame.f_code)
        return self

    def note(self, code):
        self.number += code is leaf.__code__


@pytest.mark.parametrize("call", [side, in_thread])
@pytest.mark.parametrize(
    ("set_here", "set_in_threads", "get_here", "get_in_threads"),
    [
        (sys.settrace, threading.settrace, sys.gettrace, threading.gettrace),
        (sys.setprofile, threading.setprofile, sys.getprofile, threading.getprofile),
    ],
)
def test_a_tracer_or_profiler_sees_nothing_of_timed_calls(call, set_here, set_in_threads, get_here, get_in_threads):
    seen, before = Seen(), (get_here(), get_in_threads())
    set_here(seen)
    set_in_threads(seen)
    try:
        call()
        assert seen.number > 0, "the tracer works"
        seen.number = 0
        measured(before=call)
        assert seen.number == 0
        assert get_here() is seen
        assert get_in_threads() is seen
        call()
        assert seen.number > 0, "and works again"
    finally:
        set_here(before[0])
        set_in_threads(before[1])


def test_cprofile_sees_nothing_of_timed_calls_and_goes_on():
    profile = cProfile.Profile()
    profile.enable()
    try:
        measured()
        side()
    finally:
        profile.disable()
    profile.create_stats()
    calls = {key[2]: value[1] for key, value in profile.stats.items()}
    assert calls["leaf"] == 50, "of the call after measuring alone"


@pytest.mark.skipif(hasattr(threading, "settrace_all_threads"), reason="from Python 3.12 on all threads are reached")
def test_a_thread_that_is_traced_already_is_refused():
    end = threading.Event()
    seen, before = Seen(), threading.gettrace()
    threading.settrace(seen)
    thread = threading.Thread(target=end.wait, name="our pool")
    thread.start()
    try:
        with pytest.raises(RefusedError, match=r"the thread our pool may be traced.*--speedup-processes 3"):
            measured()
    finally:
        threading.settrace(before)
        end.set()
        thread.join()


def test_a_thread_of_the_background_is_refused_if_a_tracer_follows_it():
    end, seen, before = threading.Event(), Seen(), threading.gettrace()

    def wait():
        end.wait()

    for is_traced in (False, True):
        end.clear()
        threading.settrace(seen if is_traced else None)
        thread = threading.Thread(target=wait, name="our pool", daemon=True)
        thread.start()
        threading.settrace(seen)
        try:
            if is_traced and not hasattr(threading, "settrace_all_threads"):
                with pytest.raises(RefusedError, match=r"the thread our pool may be traced"):
                    measured()
            else:
                measured()
        finally:
            threading.settrace(before)
            end.set()
            thread.join()


def test_a_profiler_without_a_switch_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "getprofile", object)
    with pytest.raises(RefusedError, match=r"a profiler \(object\) is on that cannot be switched off"):
        measured()


@has_monitoring
def test_a_tool_of_sys_monitoring_sees_nothing_of_timed_calls():
    monitoring, seen = sys.monitoring, Seen()
    monitoring.use_tool_id(4, "ours")
    try:
        monitoring.register_callback(
            4,
            monitoring.events.PY_START,
            lambda code, _: seen.__setattr__("number", seen.number + (code is leaf.__code__)),
        )
        monitoring.set_events(4, monitoring.events.PY_START)
        side()
        assert seen.number == 50
        measured()
        assert seen.number == 50
        side()
        assert seen.number == 100
        monitoring.set_local_events(4, side.__code__, monitoring.events.LINE)
        with pytest.raises(RefusedError, match="ours watches the lines of side"):
            measured()
        assert monitoring.get_events(4) == monitoring.events.PY_START
    finally:
        monitoring.set_local_events(4, side.__code__, 0)
        monitoring.set_events(4, 0)
        monitoring.free_tool_id(4)


def test_tracemalloc_is_off_while_timed_and_keeps_its_depth():
    during = []
    tracemalloc.start(7)
    try:
        measured(before=lambda: during.append(tracemalloc.is_tracing()))
        assert tracemalloc.get_traceback_limit() == 7
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert set(during) == {False}


def test_debugging_of_the_garbage_collector_is_off_while_timed():
    during, before = [], gc.get_debug()
    gc.set_debug(gc.DEBUG_STATS)
    try:
        measured(before=lambda: during.append(gc.get_debug()))
        assert gc.get_debug() == gc.DEBUG_STATS
    finally:
        gc.set_debug(before)
    assert set(during) == {0}


def test_all_is_on_again_after_a_side_that_raises():
    class OurError(Exception):
        pass

    def fail():
        raise OurError

    seen, before = Seen(), sys.gettrace()
    tracemalloc.start()
    sys.settrace(seen)
    try:
        with pytest.raises(OurError):
            measured(before=fail)
        assert sys.gettrace() is seen
        assert tracemalloc.is_tracing()
    finally:
        sys.settrace(before)
        tracemalloc.stop()
    with switched_off():
        pass
    assert sys.gettrace() is before


@pytest.mark.parametrize(
    ("name", "switch", "back"),
    [
        ("a tracer", lambda: sys.settrace(Seen()), lambda: sys.settrace(None)),
        ("a tracer", lambda: threading.settrace(Seen()), lambda: threading.settrace(None)),
        ("a profiler", lambda: sys.setprofile(Seen()), lambda: sys.setprofile(None)),
        ("tracemalloc", tracemalloc.start, tracemalloc.stop),
    ],
)
def test_what_a_side_switches_on_is_refused(name, switch, back):
    try:
        with pytest.raises(RefusedError, match=f"a side switches on {name}, which then is in the time"):
            measured(before=switch)
    finally:
        back()


@has_monitoring
def test_a_tool_of_sys_monitoring_that_a_side_switches_on_is_refused():
    profile = cProfile.Profile()
    try:
        with pytest.raises(RefusedError, match="a side switches on a "):
            measured(before=lambda: sys.getprofile() or sys.monitoring.get_tool(2) or profile.enable())
    finally:
        profile.disable()
    sys.monitoring.use_tool_id(4, "ours")
    try:
        with pytest.raises(RefusedError, match=r"a side switches on a tool of sys\.monitoring"):
            measured(before=lambda: sys.monitoring.set_events(4, sys.monitoring.events.PY_START))
    finally:
        sys.monitoring.set_events(4, 0)
        sys.monitoring.free_tool_id(4)


def test_a_session_under_cprofile_measures_its_pairs(project):
    project.write(
        test_p_py="""
def leaf():
    pass

def calls():
    for _ in range(3000):
        leaf()

def loop():
    total = 0
    for i in range(6000):
        total += i

def test_p(pair):
    print("RATIO", pair(calls, loop).speedup)
"""
    )
    ratios = []
    for started in (["-m", "pytest"], ["-m", "cProfile", "-o", "profile.out", "-m", "pytest"]):
        arguments = ["-pno:xdist", "-pno:hypothesispytest", "-pno:cacheprovider", "-s", "--speedup-max-time=0.3"]
        run = project.pytester.run(sys.executable, *started, *arguments)
        assert run.ret == 0
        ratios += [float(line.partition("RATIO")[2]) for line in run.outlines if "RATIO" in line]
    assert 0.5 < ratios[0] / ratios[1] < 2, "a profiled call takes several times as long"


TRACED = """
import os
import sys
import threading

import pytest

def follow(frame, event, argument):
    return follow

@pytest.fixture
def traced(request):
    if request.config.getoption("speedup_child"):  # as of coverage, which fresh processes are not traced by
        yield
        return
    end = threading.Event()
    threading.settrace(follow)
    thread = threading.Thread(target=lambda: end.wait(), name="a server", daemon=True)
    thread.start()
    yield
    threading.settrace(None)
    end.set()
    thread.join()

def work():
    return sum(range(1000))

def test_times(pair, traced):
    assert pair(work, work).speedup > 0

def test_stages(pair, traced):
    pair(work, work, stages={"half": (work, work)})
"""


@pytest.mark.skipif(hasattr(threading, "settrace_all_threads"), reason="from Python 3.12 on all threads are reached")
def test_what_fresh_processes_measured_counts_where_a_thread_here_is_traced(project):
    """The stages are measured in the test's own process: they alone are refused, in one line."""
    project.write(test_traced_py=TRACED)
    result = project.run("--speedup-processes=1", "--speedup-report=out")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the stages are not measured: the thread a server may be traced*"])
    assert [row["status"] for row in project.record()["speedclaims"]["pairs"]] == ["measured", "measured"]


@pytest.mark.skipif(hasattr(threading, "settrace_all_threads"), reason="from Python 3.12 on all threads are reached")
def test_where_this_process_cannot_measure_fresh_ones_do_whatever_it_takes_to_start_them(project):
    project.write(test_traced_py=TRACED, conftest_py="import time\ntime.sleep(0.3)  # too long for its time\n")
    result = project.run("-ktest_times", "--speedup-report=out")
    result.assert_outcomes(passed=1)
    (row,) = project.record()["speedclaims"]["pairs"]
    assert row["num_processes"] == 3
