"""Switch off what instruments Python while sides are timed: tracers, profilers, debuggers and `tracemalloc`.

What cannot be switched off is refused: a time that an instrument is part of is no time of the side.
"""

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import CodeType, ModuleType
from typing import TypeVar

from speedclaims.measure.calls import RefusedError

T = TypeVar("T")

_INSTEAD = "measure without it, or in fresh processes (--speedup-processes 3)"
_NUM_TOOLS = 6
_SELF_SILENCING = ("coverage",)
"""Tools whose events inside functions switch themselves off when they have come once, as in the warm-up."""


class InstrumentError(RefusedError):
    """An instrument is on that cannot be switched off in this process; a fresh one has none."""


@contextmanager
def switched_off(*sides: Callable[[], object]) -> Iterator[None]:
    """Switch instruments off, and on again at the end.

    Tracers and profilers of this thread and of those that a side starts, on Python 3.12 also of all other threads and
    the tools of `sys.monitoring`, `tracemalloc` (which forgets what it traced), and the debug flags of `gc`.

    Args:
        sides: functions that are looked through for events that a tool has set inside them.

    Raises:
        InstrumentError: an instrument is on that cannot be switched off.
        RefusedError: a side switches one on.
    """
    with ExitStack() as stack:
        stack.enter_context(_hooks_of_threads())
        stack.enter_context(_tools(sides))
        stack.enter_context(_held(sys.gettrace, sys.settrace, None))
        stack.enter_context(_profiler())
        stack.enter_context(_tracemalloc())
        stack.enter_context(_held(gc.get_debug, gc.set_debug, 0))
        yield
        _refuse_switched_on()


def _refuse_switched_on() -> None:
    """Refuse what a side has switched on meanwhile: it was part of the time.

    Raises:
        RefusedError: a tracer, a profiler, a tool of `sys.monitoring` or `tracemalloc` is on.
    """
    monitoring: ModuleType | None = getattr(sys, "monitoring", None)
    on = {
        "a tracer": sys.gettrace() is not None or threading.gettrace() is not None,
        "a profiler": sys.getprofile() is not None or threading.getprofile() is not None,
        "tracemalloc": tracemalloc.is_tracing(),
        "a tool of sys.monitoring": monitoring is not None
        and any(monitoring.get_tool(number) and monitoring.get_events(number) for number in range(_NUM_TOOLS)),
    }
    for name, is_on in on.items():
        if is_on:
            raise RefusedError(f"a side switches on {name}, which then is in the time: switch it on outside the sides")


@contextmanager
def _held(get: Callable[[], T], put: Callable[[T], object], off: T) -> Iterator[None]:
    """Put a value in the place of another one, and that back at the end."""
    was = get()
    put(off)
    try:
        yield
    finally:
        put(was)


@contextmanager
def _profiler() -> Iterator[None]:
    """Switch off the profiler of this thread; that of cProfile, before Python 3.12, by its own method."""
    profile = sys.getprofile()
    if profile is None or callable(profile):
        with _held(sys.getprofile, sys.setprofile, None):
            yield
        return
    if not (hasattr(profile, "disable") and hasattr(profile, "enable")):
        raise InstrumentError(f"a profiler ({type(profile).__name__}) is on that cannot be switched off: {_INSTEAD}")
    profile.disable()
    try:
        yield
    finally:
        profile.enable()


@contextmanager
def _hooks_of_threads() -> Iterator[None]:
    """Keep threads that a side starts from being traced, and those that run already."""
    trace, profile = threading.gettrace(), threading.getprofile()
    if trace is None and profile is None:
        yield
        return
    can_reach_all = hasattr(threading, "settrace_all_threads")
    threads = [one for one in threading.enumerate() if one is not threading.current_thread()]
    others = [one.name for one in threads if not one.daemon or _is_traced(one)]
    if others and not can_reach_all:
        raise InstrumentError(
            f"the thread {others[0]} may be traced, which cannot be switched off before Python 3.12: start it in the "
            f"side, or {_INSTEAD}"
        )
    _set_hooks(None, None, everywhere=can_reach_all)
    try:
        yield
    finally:
        _set_hooks(trace, profile, everywhere=can_reach_all)


def _is_traced(thread: threading.Thread) -> bool:
    """Whether a tracer follows what a thread runs now."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, for tools like this
    while frame is not None and frame.f_trace is None:
        frame = frame.f_back
    return frame is not None


def _set_hooks(trace: object, profile: object, *, everywhere: bool) -> None:
    hooks: ModuleType = threading
    if everywhere:
        own = sys.gettrace(), sys.getprofile()
        hooks.settrace_all_threads(trace)
        hooks.setprofile_all_threads(profile)
        sys.settrace(own[0])
        if own[1] is None or callable(own[1]):
            sys.setprofile(own[1])
    else:
        hooks.settrace(trace)
        hooks.setprofile(profile)


@contextmanager
def _tools(sides: tuple[Callable[[], object], ...]) -> Iterator[None]:
    """Switch off the tools of `sys.monitoring`, which Python has from 3.12 on."""
    monitoring: ModuleType | None = getattr(sys, "monitoring", None)
    if monitoring is None:
        yield
        return
    names = {number: monitoring.get_tool(number) for number in range(_NUM_TOOLS)}
    events = {number: monitoring.get_events(number) for number, name in names.items() if name is not None}
    for number in events:
        if not str(names[number]).startswith(_SELF_SILENCING):
            for code in filter(None, map(_code_of, sides)):
                if monitoring.get_local_events(number, code):
                    raise InstrumentError(f"{names[number]} watches the lines of {code.co_qualname}: {_INSTEAD}")
        monitoring.set_events(number, 0)
    try:
        yield
    finally:
        for number, was in events.items():
            monitoring.set_events(number, was)


def _code_of(side: object) -> CodeType | None:
    while isinstance(side, partial):
        side = side.func
    code = getattr(getattr(side, "__func__", side), "__code__", None)
    return code if isinstance(code, CodeType) else None


@contextmanager
def _tracemalloc() -> Iterator[None]:
    if not tracemalloc.is_tracing():
        yield
        return
    num_frames = tracemalloc.get_traceback_limit()
    tracemalloc.stop()
    try:
        yield
    finally:
        tracemalloc.start(num_frames)
