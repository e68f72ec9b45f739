"""Where the time of one call goes: its phases, and for how much of it a GPU is busy.

Each framework has a module that patches the functions of each phase and that reads its profiler; this one accumulates
the times, for whatever frameworks the process has imported. Two warm calls of a side are looked at, one under the
profiler and one with the functions patched, for each disturbs the other. Neither is ever timed for a speedup.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from speedclaims.errors import SpeedclaimsError

if TYPE_CHECKING:
    from speedclaims.record.types import PhaseName

P = ParamSpec("P")
R = TypeVar("R")

DATA_WAIT: Final = "data wait"
TRANSFER: Final = "transfer"
FORWARD: Final = "forward"
BACKWARD: Final = "backward"
OPTIMIZER: Final = "optimizer"
HOST_SYNC: Final = "host synchronization"
COMPILED: Final = "compiled step"
OTHER: Final = "other"
PHASES: "tuple[PhaseName, ...]" = (
    DATA_WAIT, TRANSFER, FORWARD, BACKWARD, OPTIMIZER, HOST_SYNC, COMPILED, OTHER
)  # fmt: skip
"""The phases, in the order in which they are shown."""

_CLOSED = frozenset({DATA_WAIT, TRANSFER, HOST_SYNC, COMPILED})
"""Phases whose inside is not split further: a compiled step is one bar, and so is a loader."""


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
        self._stack: list[PhaseName] = []
        self._thread: int | None = None
        self._last = 0

    @property
    def ns(self) -> "dict[PhaseName, int]":
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

    def begins(self, phase: "PhaseName") -> bool:
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

    def _charge(self, phase: "PhaseName") -> None:
        self._settle()
        now = self._clock()
        self._ns[phase] += now - self._last
        self._last = now

    def timed(
        self, real: Callable[P, R], phase: "PhaseName", *, when: Callable[..., bool] | None = None
    ) -> Callable[P, R]:
        """Return a function that does the same as `real` in a phase of its own; where `when` denies, in none."""

        @wraps(real)
        def wrapper(*args: P.args, **options: P.kwargs) -> R:
            if (when is not None and not when(*args, **options)) or not self.begins(phase):
                return real(*args, **options)
            try:
                return real(*args, **options)
            finally:
                self.ends()

        return wrapper

    def timed_if(self, real: Callable[P, R], phase: "PhaseName", *, happened: Callable[..., bool]) -> Callable[P, R]:
        """Return a function that does the same as `real`, in a phase if ``happened(result, *args)`` says so after."""

        @wraps(real)
        def wrapper(*args: P.args, **options: P.kwargs) -> R:
            if not self.begins(phase):
                return real(*args, **options)
            is_outer = True
            try:
                result = real(*args, **options)
                is_outer = not happened(result, *args)
            finally:
                self.ends(is_outer=is_outer)
            return result

        return wrapper


def defining_classes(base: type, name: str) -> list[type]:
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
def patched(patches: Iterable[tuple[object, str, Callable[..., object]]]) -> Iterator[None]:
    """Put functions in the place of methods or functions (owner, name, function) while the block runs."""
    from unittest.mock import patch  # noqa: PLC0415 - it imports asyncio, and runs without this pass come here too

    with ExitStack() as stack:
        for owner, name, function in patches:
            stack.enter_context(patch.object(owner, name, function))
        yield


class ProfilerError(SpeedclaimsError, RuntimeError):
    """The framework's profiler cannot be used here; the message says why."""
