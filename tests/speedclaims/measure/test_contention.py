"""How busy the machine was: read from the system's counters."""

import subprocess
import sys

import pytest

from speedclaims.measure import contention
from speedclaims.measure.contention import Watch

BURN = "import time\nend = time.time() + 1.5\nwhile time.time() < end: pass"


@pytest.fixture
def counters(tmp_path, monkeypatch):
    """Files in the place of the system's, and a clock that goes on by ten seconds at each look."""
    for name in ("_PRESSURE", "_STAT"):
        monkeypatch.setattr(contention, name, tmp_path / name)
    monkeypatch.setattr(contention, "_GROUPS", (tmp_path / "absent", tmp_path / "group"))
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(contention.clock, "now", lambda: float(next(now)))
    monkeypatch.setattr(contention.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(contention.os, "sysconf", lambda _: 100)

    def write(waiting_us, steal_ticks, throttled):
        text = f"some avg10=1.00 avg60=2.50 avg300=0.17 total={waiting_us}\nfull avg10=0.00 avg60=9.00 total=7\n"
        (tmp_path / "_PRESSURE").write_text(text)
        (tmp_path / "_STAT").write_text(f"cpu  1 2 3 4 5 6 7 {steal_ticks} 0 0\ncpu0 1 2 3 4 5 6 7 99 0 0\n")
        (tmp_path / "group").write_text(f"nr_periods 5\n{throttled}\n")

    return write


@pytest.mark.parametrize(
    ("was", "now"),
    [("throttled_usec 1000000", "throttled_usec 6000000"), ("throttled_time 1000000000", "throttled_time 6000000000")],
)
def test_shares_are_of_the_time_and_of_all_processors(counters, was, now):
    counters(2_000_000, 300, was)
    watch = Watch()
    counters(6_000_000, 700, now)
    found = watch.read()
    assert found.took_s == 10
    assert found.waiting == pytest.approx(40)  # 4 of 10 s
    assert found.stolen == pytest.approx(10)  # 4 s of 10 s on 4 processors
    assert found.throttled == pytest.approx(50)
    assert contention.waiting_percent_1min() == 2.5


def test_a_system_without_counters_says_nothing(counters):
    watch = Watch()
    found = watch.read()
    assert (found.waiting, found.stolen, found.throttled) == (None, None, None)
    assert contention.waiting_percent_1min() is None


@pytest.mark.skipif(not contention._PRESSURE.exists(), reason="this system does not count it")
def test_more_busy_processes_than_processors_wait():
    import os

    watch = Watch()
    busy = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(2 * (os.cpu_count() or 1))]
    for one in busy:
        one.wait()
    assert watch.read().waiting > 10
