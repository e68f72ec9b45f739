"""Which passes run in which process, and what a pair's marker adds."""

import pytest

from speedclaims.passes import PASSES, measure_passes


def known(value, unit="bytes"):
    return {"value": value, "unit": unit, "status": "measured", "reason": None}


class Processes:
    """Fresh processes that leave figures for what they are asked, and are remembered."""

    def __init__(self):
        self.asked = []

    def __call__(self, task, side):
        self.asked.append((side, task))
        left = {
            "cold": known(1.0 + len(self.asked), "s"),
            "memory": known(100.0 * len(self.asked)),
            "syncs": {"figure": known(4, "1"), "lines": {"a.py:1": 4}, "internal": 0},
        }
        return {name: left[name] for name in task.split("+")}


@pytest.fixture
def processes():
    return Processes()


def fields(processes, names, device="cpu"):
    return measure_passes(names, {"device": device}, processes, lambda framework: {})


def test_one_process_a_side_measures_all_and_two_more_what_scatters(processes):
    found = fields(processes, ["time", "syncs", "memory", "cold"])
    each = ["cold+memory+syncs", "cold+memory", "cold+memory"]
    assert processes.asked == [(side, task) for side in ("before", "after") for task in each]
    assert (found["cold_before_s"]["value"], found["cold_before_s"]["low"], found["cold_before_s"]["high"]) == (3, 2, 4)
    assert found["memory"]["after"]["value"] == 500
    assert found["syncs"]["ratio"]["value"] == 1


def test_what_a_gpus_allocator_counts_needs_one_process(processes):
    found = fields(processes, ["memory", "syncs"], device="cuda")
    assert processes.asked == [("before", "memory+syncs"), ("after", "memory+syncs")]
    assert found["memory"]["ratio"]["value"] == 0.5


@pytest.mark.parametrize("names", [["time"], ["time", "gpu"]])
def test_where_nothing_is_asked_that_can_be_had_no_process_is_started(processes, names):
    assert fields(processes, names) == {}
    assert processes.asked == []


MARKED = """
import pytest

@pytest.mark.speedup_passes({names})
def test_marked(pair):
    pair(before=lambda: bytearray(3_000_000), after=lambda: bytearray(1_000_000))

def test_plain(pair):
    pair(before=lambda: None, after=lambda: None)
"""


def test_a_marker_adds_passes_to_its_own_pair(project):
    project.write(test_m_py=MARKED.format(names='"memory", "syncs"'))
    assert project.run("--speedup-report=out").ret == 0
    marked, plain = project.record()["speedclaims"]["pairs"]
    assert marked["speedup"] is not None
    assert marked["memory"]["before"]["status"] == "measured"
    assert "did not run" not in str(marked["syncs"]["before"]["reason"])
    assert plain["memory"]["before"]["reason"] == "the memory pass did not run"


@pytest.mark.parametrize("names", ['"speed"', "", '"memory", times=3'])
def test_a_marker_that_names_no_pass_is_refused_with_those_that_there_are(project, names):
    project.write(test_m_py=MARKED.format(names=names))
    run = project.run("-k", "marked")
    assert run.ret != 0
    run.stdout.fnmatch_lines([f"*speedup_passes takes some of {', '.join(PASSES)}*"])


LATE = """
import pytest
from speedclaims.session import KEY

def test_late(pair, request):
    def equivalent():
        request.config.stash[KEY]._began -= 10_000
    pair(before=lambda: None, after=lambda: None, equivalent=equivalent, passes=["time", "memory"])
"""


def test_passes_that_come_too_late_are_left_out_with_the_reason(project):
    project.write(test_l_py=LATE)
    assert project.run("--speedup-report=out", "--speedup-total-time=900").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert row["speedup"] is not None
    assert row["memory"]["before"]["reason"] == "the run's time was up (--speedup-total-time 900)"
