"""Read the clock by which sides are timed.

Libraries that freeze or shift time replace the functions of `time` in all modules that hold them. This module keeps its
own where they do not look, so a test may freeze the time of what it measures. A clock that was replaced before, or that
the system itself holds back, is noticed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType

Timer = Callable[[], float]

_TIMERS: tuple[Timer, ...] = (time.perf_counter,)

_UPTIME = Path("/proc/uptime")
"""Seconds since the machine was started, which no library replaces; Linux has it, in hundredths."""

_MOST_READINGS = 1_000_000
_LONG_ENOUGH_S = 0.5
_MOST_OFF = 1.2


def timer() -> Timer:
    """Return the clock that times sides: a function without arguments that returns seconds."""
    return _TIMERS[0]


def now() -> float:
    """Return the seconds of the clock, from an arbitrary beginning."""
    return _TIMERS[0]()


def why_unusable() -> str | None:
    """Return why the clock cannot time anything, None where it can."""
    (read,) = _TIMERS
    if not isinstance(read, BuiltinFunctionType):
        name = f"{getattr(read, '__module__', '?')}.{getattr(read, '__qualname__', type(read).__name__)}"
        return f"time.perf_counter was replaced by {name} before speedclaims was loaded: replace it later, in the tests"
    began = read()
    if all(read() == began for _ in range(_MOST_READINGS)):
        return f"the clock does not move: a million readings of time.perf_counter gave {began:g} s"
    return None


class Progress:
    """Compare the clock with the machine's uptime, from the creation on."""

    def __init__(self) -> None:
        """Read both."""
        self._began, self._up = now(), _uptime_s()

    def why_wrong(self) -> str | None:
        """Return why the clock's seconds since then cannot be trusted, None where they can."""
        took_s, up_s = now() - self._began, _uptime_s()
        if self._up is None or up_s is None:
            return None
        up_s -= self._up
        if max(took_s, up_s) < _LONG_ENOUGH_S or 1 / _MOST_OFF < took_s / max(up_s, 1e-9) < _MOST_OFF:
            return None
        return (
            f"the clock went {took_s:.3g} s while the machine was up for {up_s:.3g} s: its time is faked, or it slept"
        )


def _uptime_s() -> float | None:
    try:
        return float(_UPTIME.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
