"""Measure how busy the machine is with other work."""

import os
from dataclasses import dataclass
from pathlib import Path

from speedclaims import clock

_PRESSURE = Path("/proc/pressure/cpu")
_STAT = Path("/proc/stat")
_GROUPS = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat"))
"""The counters of this process's control group, in a container's view: of version 2, and of version 1."""


@dataclass(frozen=True)
class Contention:
    """Shares of a time in percent, None where the system does not say.

    Attributes:
        took_s: the time, in seconds.
        waiting: some task of this machine waited for a processor (pressure stall information of Linux).
        stolen: of the time of all processors, what a hypervisor gave to other machines.
        throttled: the control group had used up its quota of processor time. Processors are counted one by one, so
            this may exceed 100.
    """

    took_s: float
    waiting: float | None
    stolen: float | None
    throttled: float | None


class Watch:
    """Count from its creation on."""

    def __init__(self) -> None:
        """Read the counters."""
        self._began = clock.now()
        self._counters = _waiting_s(), _stolen_s(), _throttled_s()

    def read(self) -> Contention:
        """Return the shares of the time since the creation."""
        took_s = max(clock.now() - self._began, 1e-9)
        now = _waiting_s(), _stolen_s(), _throttled_s()
        capacities = took_s, took_s * (os.cpu_count() or 1), took_s
        shares = [
            None if was is None or is_now is None else 100 * max(0.0, is_now - was) / capacity
            for was, is_now, capacity in zip(self._counters, now, capacities, strict=True)
        ]
        return Contention(took_s, *shares)


def waiting_percent_1min() -> float | None:
    """Return in what percent of the last minute some task of this machine waited for a processor."""
    for line in _lines(_PRESSURE):
        if line.startswith("some") and "avg60=" in line:
            return float(line.partition("avg60=")[2].split()[0])
    return None


def _waiting_s() -> float | None:
    for line in _lines(_PRESSURE):
        if line.startswith("some") and "total=" in line:
            return int(line.rpartition("total=")[2]) / 1e6
    return None


def _stolen_s() -> float | None:
    for line in _lines(_STAT):
        fields = line.split()
        if fields[:1] == ["cpu"] and len(fields) > 8:
            return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    return None


def _throttled_s() -> float | None:
    for path in _GROUPS:
        for line in _lines(path):
            name, _, number = line.partition(" ")
            if name == "throttled_usec":
                return int(number) / 1e6
            if name == "throttled_time":
                return int(number) / 1e9
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
