"""Parts of the work measured alone, and whole runs computed from single calls."""

import pytest

from speedclaims.recorders import stages
from speedclaims.recorders.stages import FEWEST_CALLS, MOST_CALLS, check_stages, measure_stages

TEST = """
import time

def slow():
    time.sleep(0.004)

def fast():
    time.sleep(0.002)

def test_training(pair):
    result = pair(before=slow, after=fast, units=8, {options})
    print("SPEEDUP", result.low, result.speedup, result.high)
"""


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(stages.clock, "timer", lambda: clock.perf_counter)
    return clock


def spending(clock, seconds):
    def call():
        clock.now += next(seconds)

    return call


def test_a_rate_is_units_over_seconds_with_its_range_and_the_first_call_does_not_count(clock):
    slow, fast = (spending(clock, iter(seconds)) for seconds in ([9, 0.2, 0.4, 0.4, 0.4, 0.8], [9, *[0.1] * 5]))
    rates = measure_stages({"loader": (slow, fast)}, 8, lambda: None)
    assert rates["loader"]["before"] == {
        "value": pytest.approx(20), "low": pytest.approx(10), "high": pytest.approx(40),
        "unit": "1/s", "status": "measured", "reason": None,
    }  # fmt: skip
    assert rates["loader"]["after"]["value"] == pytest.approx(80)


@pytest.mark.parametrize(("seconds", "num_calls"), [(1.0, FEWEST_CALLS), (1e-6, MOST_CALLS)])
def test_a_stage_is_called_neither_too_often_nor_too_seldom(clock, seconds, num_calls):
    called = []

    def call():
        called.append(None)
        clock.now += seconds

    measure_stages({"step": (call, lambda: setattr(clock, "now", clock.now + 1))}, 1, lambda: None)
    assert len(called) == 1 + num_calls


def test_the_device_is_waited_for_inside_the_clock(clock):
    def synchronize():
        clock.now += 1.0

    (rate,) = (sides["before"] for sides in measure_stages({"s": (print, print)}, 3, synchronize).values())
    assert rate["value"] == pytest.approx(3)


@pytest.mark.parametrize("both", [(print,), (print, 3), [print, print], print])
def test_a_stage_that_is_no_two_callables_is_refused_by_name(both):
    with pytest.raises(TypeError, match="loader"):
        check_stages({"loader": both})


def test_a_whole_is_computed_from_one_call_against_one(project):
    project.write(test_t_py=TEST.replace("{options}", "calls=(250, 100), work='less'"))
    assert project.run("--speedup-report=out", "--speedup-max-time=2").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    one = row["before_s"] / row["after_s"]
    assert row["speedup"] == pytest.approx(2.5 * one, rel=0.1)
    assert row["low"] < row["speedup"] < row["high"]
    assert (row["calls_before"], row["calls_after"]) == (250, 100)
    page = (project.path / "out" / "index.html").read_text()
    assert "computed for 250 calls before against 100 after" in page


@pytest.mark.parametrize("calls", ["(0, 1)", "(1, -2)", "(1, 2, 3)"])
def test_calls_that_make_no_whole_are_refused(project, calls):
    project.write(test_t_py=TEST.replace("{options}", f"calls={calls}"))
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*calls is *"])


def test_parts_stand_beside_the_whole_in_record_and_report(project):
    parts = "stages={'loader alone': (fast, fast), 'step alone': (fast, slow)}"
    project.write(test_t_py=TEST.replace("{options}", parts))
    assert project.run("--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert list(row["stages"]) == ["loader alone", "step alone"]
    # two milliseconds of sleep may take longer on a busy machine, but never less
    rates = {name: row["stages"][name]["after"]["value"] for name in row["stages"]}
    assert 0 < rates["loader alone"] <= 8 / 0.002
    assert 0 < rates["step alone"] <= 8 / 0.004
    for name in ("index.html", "speedups.md"):
        text = (project.path / "out" / name).read_text()
        assert "Pace" in text
        for part in ("whole", "loader alone", "step alone"):
            assert f"training · {part}" in text


def test_a_pair_without_parts_has_no_table_of_them(project):
    project.write(test_t_py=TEST.replace("{options}", ""))
    assert project.run("--speedup-report=out").ret == 0
    assert "Pace" not in (project.path / "out" / "index.html").read_text()
