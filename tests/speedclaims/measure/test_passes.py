"""The processes that passes run in, and the marker that adds passes to a pair."""

import pytest

from speedclaims.measure.child_process import ChildError
from speedclaims.measure.passes import measure_passes
from speedclaims.recorders.recorder import PairContext
from speedclaims.recorders.registry import passes


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
            "memory": {"peak": known(100.0 * len(self.asked)), "increase": known(2.0**20 * len(self.asked))},
            "syncs": {"figure": known(4, "1"), "lines": {"a.py:1": 4}, "internal": 0},
        }
        return {name: left[name] for name in task.split("+")}


@pytest.fixture
def processes():
    return Processes()


def fields(processes, names, device="cpu"):
    return measure_passes(names, processes, PairContext({"device": device}, lambda framework: {}))


def test_one_process_a_side_measures_all_and_two_more_what_scatters(processes):
    found = fields(processes, ["time", "syncs", "memory", "cold"])
    each = ["cold+memory+syncs", "cold+memory", "cold+memory"]
    assert processes.asked == [(side, task) for side in ("before", "after") for task in each]
    assert (found["cold_before_s"]["value"], found["cold_before_s"]["low"], found["cold_before_s"]["high"]) == (3, 2, 4)
    assert found["memory"]["after"]["value"] == 500
    assert found["memory_increase"]["after"]["value"] == 5 * 2**20
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
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines([f"*speedup_passes takes some of {', '.join(passes())}*"])


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


def test_a_process_that_dies_in_one_pass_leaves_the_figures_of_those_before_it(processes):
    def dying(task, side):
        left = processes(task, side)
        left.pop("syncs")
        raise ChildError("the fresh process ended with -11", left)

    found = fields(dying, ["memory", "syncs"], device="cuda")
    assert found["memory"]["ratio"]["value"] == 0.5
    assert found["syncs"]["before"]["reason"] == ("the syncs pass failed: ChildError: the fresh process ended with -11")


BROKEN = """
import pytest

@pytest.fixture(autouse=True)
def broken(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("planted in a pass")
    from speedclaims.recorders.registry import recorders
    for one in recorders().values():
        monkeypatch.setattr(type(one), "record_side", fail)

@pytest.mark.speedup_passes("cold", "memory", "syncs", "profile")
def test_one(pair):
    pair(before=lambda: sum(range(500)), after=lambda: None, stages={"part": (lambda: None, lambda: None)})

def test_two(pair):
    pair(before=lambda: sum(range(500)), after=lambda: None, passes=["time", "memory"])
"""


@pytest.mark.parametrize("last", [(), ("--speedup-passes-last",)])
def test_every_pass_may_fail_and_all_timings_are_kept_with_the_reasons(project, last):
    project.write(test_b_py=BROKEN)
    assert project.run("--speedup-report=out", *last).ret == 0
    one, two = project.record()["speedclaims"]["pairs"]
    assert one["speedup"] is not None
    assert two["speedup"] is not None
    why = "the {} pass failed: RuntimeError: planted in a pass"
    assert one["cold_after_s"]["reason"] == why.format("cold")
    assert one["memory"]["before"]["reason"] == why.format("memory")
    assert one["syncs"]["ratio"]["reason"] == why.format("syncs")
    assert one["profile"]["after"]["wall_s"]["reason"] == why.format("profile")
    assert two["memory"]["after"]["reason"] == why.format("memory")


ORDERED = """
import pytest
from pathlib import Path

def note(text):
    with Path("order.txt").open("a") as file:
        file.write(text + "\\n")

@pytest.fixture(autouse=True)
def noting(request):
    import speedclaims.measure.child_process as processes
    if processes.job_of(request.config) is not None:
        return
    note(f"pair {request.node.name.rpartition('_')[2]}")
    real = getattr(processes.run, "real", processes.run)
    def run(item, task, side="", **options):
        note(f"{item.name.rpartition('_')[2]} {task} {side}")
        return real(item, task, side, **options)
    run.real = real
    processes.run = run

@pytest.mark.speedup_claim("less-memory")
@pytest.mark.speedup_passes("memory", "syncs", "cold")
def test_a(pair):
    parts = {"part": (lambda: None, lambda: None)}
    pair(before=lambda: bytearray(9_000_000), after=lambda: bytearray(3_000_000), stages=parts)

@pytest.mark.speedup_passes("syncs")
def test_b(pair):
    pair(before=lambda: sum(range(500)), after=lambda: None)
"""

LEDGER = """
[[claim]]
id = "less-memory"
source = "paper"
text = "less memory"
kind = "measured"
metric = "memory_ratio"
low = 1.0
"""


def test_what_judges_no_claim_can_wait_for_all_pairs_and_the_costliest_comes_last(project):
    project.write(test_o_py=ORDERED, claims_toml=LEDGER)
    assert project.run("--speedup-report=out", "--speedup-passes-last").ret == 0
    order = (project.path / "order.txt").read_text().splitlines()
    sides = ("before", "after")
    assert order == [
        "pair a",
        *(f"a memory {side}" for side in ("before",) * 3 + ("after",) * 3),
        "pair b",
        *(f"a syncs {side}" for side in sides),
        *(f"b syncs {side}" for side in sides),
        *(f"a cold {side}" for side in ("before",) * 3 + ("after",) * 3),
        *(f"a stages {side}" for side in sides),
    ]
    (claim,) = project.record()["speedclaims"]["claims"]
    assert claim["measured"] is not None
    row, _ = project.record()["speedclaims"]["pairs"]
    assert row["stages"]["part"]["before"]["value"] > 0
    assert row["cold_before_s"]["status"] == "measured"


SHARED = """
import time

def slow():
    time.sleep(0.004)

def fast():
    time.sleep(0.002)

def test_whole(pair):
    pair(before=slow, after=fast, calls=(250, 100), rounds="training")

def test_epoch(pair):
    pair(before=slow, after=fast, rounds="training")
"""


def test_pairs_of_one_name_share_their_rounds(project):
    project.write(test_s_py=SHARED)
    assert project.run("--speedup-report=out").ret == 0
    whole, epoch = project.record()["speedclaims"]["pairs"]
    assert whole["speedup"] == pytest.approx(2.5 * epoch["speedup"])
    assert whole["low"] == pytest.approx(2.5 * epoch["low"])
    assert (whole["before_s"], whole["num_rounds"]) == (epoch["before_s"], epoch["num_rounds"])
    assert len(project.record()["benchmarks"]) == 4
