"""The clock of measurements: no library replaces it, and one that is wrong is noticed."""

import sys
import time

import pytest

from speedclaims import clock


def replace_everywhere(monkeypatch, name, fake):
    """Replace a function of `time` in all modules that hold it, as freezegun does."""
    real = getattr(time, name)
    for module in list(sys.modules.values()):
        for attribute, value in list(vars(module).items()) if hasattr(module, "__dict__") else ():
            if value is real:
                monkeypatch.setattr(module, attribute, fake)


def test_time_that_a_library_freezes_in_all_modules_goes_on_here(monkeypatch):
    for name in ("perf_counter", "monotonic", "time"):
        replace_everywhere(monkeypatch, name, lambda: 1.5)
    assert time.perf_counter() == 1.5
    assert clock.now() != 1.5
    assert clock.timer()() != 1.5
    assert clock.why_unusable() is None


def test_a_clock_that_was_replaced_before_is_named(monkeypatch):
    def fake_perf_counter():
        return 0.0

    monkeypatch.setattr(clock, "_TIMERS", (fake_perf_counter,))
    assert "replaced by tests.speedclaims.test_clock." in clock.why_unusable()
    assert "fake_perf_counter before speedclaims was loaded" in clock.why_unusable()


def test_a_clock_that_does_not_move_is_noticed(monkeypatch):
    monkeypatch.setattr(clock, "_TIMERS", (sys.getrecursionlimit,))
    assert clock.why_unusable().startswith("the clock does not move: a million readings of time.perf_counter gave")


@pytest.mark.parametrize(
    ("clock_s", "up_s", "is_wrong"),
    [
        (10.0, 10.0, False),
        (10.0, 10.02, False),
        (9.0, 10.0, False),
        (10.0, 40.0, True),
        (40.0, 10.0, True),
        (0.0, 3.0, True),
        (0.01, 0.02, False),
        (0.3, 0.0, False),
        (5.0, 0.0, True),
    ],
)
def test_the_clock_is_compared_with_the_uptime(monkeypatch, tmp_path, clock_s, up_s, is_wrong):
    now = [100.0]
    monkeypatch.setattr(clock, "_TIMERS", (lambda: now[0],))
    monkeypatch.setattr(clock, "_UPTIME", tmp_path / "uptime")
    (tmp_path / "uptime").write_text("5000.00 9000.00\n")
    progress = clock.Progress()
    now[0] += clock_s
    (tmp_path / "uptime").write_text(f"{5000 + up_s:.2f} 9000.00\n")
    found = progress.why_wrong()
    assert (found is not None) == is_wrong
    if is_wrong:
        assert found.startswith(f"the clock went {clock_s:.3g} s while the machine was up for {up_s:.3g} s")


@pytest.mark.parametrize("text", [None, "", "nothing"])
def test_a_system_that_does_not_know_its_uptime_says_nothing(monkeypatch, tmp_path, text):
    monkeypatch.setattr(clock, "_UPTIME", tmp_path / "uptime")
    if text is not None:
        (tmp_path / "uptime").write_text(text)
    assert clock.Progress().why_wrong() is None


FROZEN = """
import time
import pytest

@pytest.fixture(autouse=True)
def frozen(monkeypatch):
    for name in ("time", "perf_counter", "monotonic"):
        monkeypatch.setattr(time, name, lambda: 7.0)

def test_p(pair):
    result = pair(lambda: sum(range(20_000)), lambda: sum(range(10_000)))
    assert 1.2 < result.speedup < 4
    assert result.before_s > 1e-5
"""


@pytest.mark.parametrize("options", [["--speedup-total-time=60"], ["--speedup-processes=2"]])
def test_a_pair_whose_test_froze_the_time_is_measured(project, options):
    project.write(test_p_py=FROZEN)
    project.run("--speedup-max-time=0.3", *options).assert_outcomes(passed=1)
