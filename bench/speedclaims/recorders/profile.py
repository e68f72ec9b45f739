"""Where the time of one call goes: its phases, and for how much of it a GPU is busy.

Each framework has a module that wraps the doors between the phases and that reads its profiler; this one keeps the
books, for whatever frameworks the process has imported. Two warm calls of a side are looked at, one under the profiler
and one with the doors wrapped, for each disturbs the other. Neither is ever timed for a speedup.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, Protocol, cast

DATA_WAIT = "data wait"
TRANSFER = "transfer"
FORWARD = "forward"
BACKWARD = "backward"
OPTIMIZER = "optimizer"
HOST_SYNC = "host synchronization"
COMPILED = "compiled step"
OTHER = "other"
PHASES = (DATA_WAIT, TRANSFER, FORWARD, BACKWARD, OPTIMIZER, HOST_SYNC, COMPILED, OTHER)
"""The phases, in the order in which they are shown."""

_CLOSED = frozenset({DATA_WAIT, TRANSFER, HOST_SYNC, COMPILED})
"""Phases inside which nothing is told apart: a compiled step is one bar, and a loader's own business is its own."""

_NS_PER_S = 1e9
_PERCENT = 100.0

Interval = tuple[float, float]


def union_length(intervals: Iterable[Interval]) -> float:
    """Return how much of a line is covered by intervals (start, end), however they overlap; in their unit.

    An interval that ends before it starts covers nothing.
    """
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        begin = max(start, reached)
        if end > begin:
            covered += end - begin
            reached = end
    return covered


class Phases:
    """A stack of phases: what passes on the clock belongs to the innermost, so that all of them sum to the whole.

    Only the thread that measures is looked at; what others do meanwhile belongs to what it waits in.

    Args:
        clock: a clock in whole nanoseconds, so that the sum is exact.
        settle: waits for the device at every boundary. Kernels run on after the call that asked for them has returned;
            without the wait their time would fall to whatever waits next. It makes the call longer than it is.
    """

    def __init__(
        self, clock: Callable[[], int] = time.perf_counter_ns, settle: Callable[[], object] = lambda: None
    ) -> None:
        """Stand still until `run`."""
        self._clock, self._settle = clock, settle
        self._ns = dict.fromkeys(PHASES, 0)
        self._stack: list[str] = []
        self._thread: int | None = None
        self._last = 0

    @property
    def ns(self) -> dict[str, int]:
        """Nanoseconds of every phase; their sum is the call's wall time."""
        return dict(self._ns)

    def run(self, call: Callable[[], object]) -> None:
        """Run a call; what no phase takes belongs to `other`."""
        self._settle()
        self._stack, self._thread, self._last = [OTHER], threading.get_ident(), self._clock()
        try:
            call()
        finally:
            self._charge(self._stack[-1])
            self._stack, self._thread = [], None

    def begins(self, phase: str) -> bool:
        """Begin a phase unless it is the current one already, the current one is closed, or nothing runs here.

        Returns:
            Whether it has begun; then `ends` must follow.
        """
        if threading.get_ident() != self._thread or self._stack[-1] == phase or self._stack[-1] in _CLOSED:
            return False
        self._charge(self._stack[-1])
        self._stack.append(phase)
        return True

    def ends(self, *, is_outer: bool = False) -> None:
        """End the current phase; `is_outer` says that its time belongs to the phase around it after all."""
        phase = self._stack.pop()
        self._charge(self._stack[-1] if is_outer else phase)

    def _charge(self, phase: str) -> None:
        self._settle()
        now = self._clock()
        self._ns[phase] += now - self._last
        self._last = now

    def timed(
        self, real: Callable[..., Any], phase: str, *, when: Callable[..., bool] | None = None
    ) -> Callable[..., Any]:
        """Return a function that does the same as `real` in a phase of its own; where `when` denies, in none."""

        @wraps(real)
        def door(*args: Any, **options: Any) -> Any:
            if (when is not None and not when(*args, **options)) or not self.begins(phase):
                return real(*args, **options)
            try:
                return real(*args, **options)
            finally:
                self.ends()

        return door

    def timed_if(self, real: Callable[..., Any], phase: str, *, happened: Callable[..., bool]) -> Callable[..., Any]:
        """Return a function that does the same as `real`, in a phase if ``happened(result, *args)`` says so after."""

        @wraps(real)
        def door(*args: Any, **options: Any) -> Any:
            if not self.begins(phase):
                return real(*args, **options)
            is_outer = True
            try:
                result = real(*args, **options)
                is_outer = not happened(result, *args)
            finally:
                self.ends(is_outer=is_outer)
            return result

        return door


def owners(base: type, name: str) -> list[type]:
    """Return the classes that define a method: a base's own or inherited one, and every subclass that overrides it."""
    inherited = next((kind for kind in base.__mro__ if name in vars(kind)), None)
    found = [] if inherited is None else [inherited]
    waiting = [base]
    while waiting:
        kind = waiting.pop()
        waiting += type.__subclasses__(kind)
        if name in vars(kind) and kind not in found:
            found.append(kind)
    return found


@contextmanager
def replaced(doors: Iterable[tuple[object, str, Callable[..., Any]]]) -> Iterator[None]:
    """Put functions in the place of methods or functions (owner, name, function) while the block runs."""
    from unittest.mock import patch  # noqa: PLC0415 - it imports asyncio, and runs without this pass come here too

    with ExitStack() as stack:
        for owner, name, door in doors:
            stack.enter_context(patch.object(owner, name, door))
        yield


class _Framework(Protocol):
    """What `profile_torch` and `profile_tf` offer."""

    def is_imported(self) -> bool:
        """Whether this process has imported the framework."""

    def settle(self) -> None:
        """Wait for the device, if there is one and it can be waited for now."""

    def watching(self, phases: Phases) -> AbstractContextManager[None]:
        """Wrap the framework's doors while the block runs."""

    def recording_kernels(self) -> AbstractContextManager[list[Interval]]:
        """Profile the device while the block runs; at its end the list holds its kernels' intervals in seconds."""


def imported_frameworks() -> list[_Framework]:
    """Return the modules of the frameworks that this process has imported."""
    from speedclaims.recorders import profile_tf, profile_torch  # noqa: PLC0415 - they import this module

    modules = cast("tuple[_Framework, ...]", (profile_torch, profile_tf))
    return [module for module in modules if module.is_imported()]


def profile_side(prepare: Callable[[], object], call: Callable[[], object], device: str) -> dict[str, Any]:
    """Return where the time of one side's warm call goes, as the record has it.

    Args:
        prepare: runs before each call, outside the clock.
        call: one warm call of the side, ending in a synchronization.
        device: where the work happens, ``cpu`` or ``cuda``.
    """
    frameworks = imported_frameworks()
    if not frameworks:
        return not_profiled("neither PyTorch nor TensorFlow is imported: there are no phases to tell apart")
    busy = _busy_percent(frameworks, prepare, call, device)
    prepare()
    return {"busy": busy, **_phases(frameworks, call)}


def not_profiled(reason: str) -> dict[str, Any]:
    """Return what the record says of a side that was not profiled."""
    from speedclaims.record import figure  # noqa: PLC0415 - it is loaded where it is needed

    return {"busy": figure(None, "percent", reason), "wall_s": figure(None, "s", reason), "phases": []}


def _phases(frameworks: list[_Framework], call: Callable[[], object]) -> dict[str, Any]:
    from speedclaims.record import figure  # noqa: PLC0415

    def settle() -> None:
        for framework in frameworks:
            framework.settle()

    phases = Phases(settle=settle)
    with ExitStack() as stack:
        for framework in frameworks:
            stack.enter_context(framework.watching(phases))
        phases.run(call)
    spent = phases.ns
    return {
        "wall_s": figure(sum(spent.values()) / _NS_PER_S, "s"),
        "phases": [{"name": name, "seconds": ns / _NS_PER_S} for name, ns in spent.items() if ns],
    }


def _busy_percent(
    frameworks: list[_Framework], prepare: Callable[[], object], call: Callable[[], object], device: str
) -> dict[str, Any]:
    """Return for how much of a call at least one kernel runs, as a figure.

    The profiler itself slows the host down, so a call that the host holds up is busier without it.
    """
    from speedclaims.record import figure  # noqa: PLC0415

    if not device.startswith("cuda"):
        return figure(None, "percent", "the busy fraction is of a GPU: this ran on the CPU")
    for framework in frameworks:
        prepare()
        try:
            with framework.recording_kernels() as kernels:
                started = time.perf_counter()
                call()
                wall_s = time.perf_counter() - started
        except ProfilerError as error:
            return figure(None, "percent", str(error))
        if kernels:
            return figure(_PERCENT * min(1.0, union_length(kernels) / wall_s), "percent")
    return figure(None, "percent", "the profiler saw no kernel on a GPU")


class ProfilerError(RuntimeError):
    """The framework's profiler cannot be used here; the message says why."""
