"""Measurements in fresh processes: control pairs, cold calls, peak memory."""

from pathlib import Path

import pytest

from speedclaims.measure.child_process import padding

LOGGED = """
import os
from pathlib import Path
import pytest

def note(name):
    with Path("calls.txt").open("a") as file:
        file.write(f"{name} {os.getpid()}\\n")

class Side:
    def __init__(self, label):
        self.label = label

    def __call__(self):
        note(self.label)

def test_pair(pair, level):
    pair(before=Side("old"), after=Side("new"), equivalent=lambda: note("check"))
"""

CONFTEST = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--level", default="low")

@pytest.fixture
def level(request):
    return request.config.getoption("--level")

@pytest.fixture
def pair_labels(level):
    return {"family": "toys", "preset": level, "device": "cpu"}
"""


def calls(project):
    found = {}
    for line in (project.path / "calls.txt").read_text().splitlines():
        name, process = line.split()
        found.setdefault(process, []).append(name)
    return list(found.values())


def test_a_pair_is_measured_in_as_many_fresh_processes_as_asked(project):
    project.write(test_p_py=LOGGED, conftest_py=CONFTEST)
    assert project.run("--speedup-processes=2", "--speedup-report=out", "--level=high").ret == 0
    mine, *fresh = calls(project)
    assert mine == ["check"]
    assert [sorted(set(names)) for names in fresh] == [["check", "new", "old"], ["new", "old"]]
    assert fresh[0][-1] == "check"
    (row,) = project.record()["speedclaims"]["pairs"]
    assert (row["num_processes"], row["status"], row["equivalence"]) == (2, "measured", "passed")
    assert (row["family"], row["preset"], row["before"], row["after"]) == ("toys", "high", "old", "new")


def test_a_cold_call_is_the_first_of_a_process_in_which_the_other_side_never_ran(project):
    project.write(test_p_py=LOGGED, conftest_py=CONFTEST)
    assert project.run("--speedup-passes=time,cold", "--speedup-report=out").ret == 0
    _, *fresh = calls(project)
    assert fresh == [["old"]] * 3 + [["new"]] * 3
    (row,) = project.record()["speedclaims"]["pairs"]
    assert 0 < row["cold_before_s"]["low"] <= row["cold_before_s"]["value"] <= row["cold_before_s"]["high"]
    assert row["cold_after_s"]["status"] == "measured"


CACHES = """
import os
from pathlib import Path

def old():
    with Path("caches.log").open("a") as log:
        log.write(os.environ.get("TORCHINDUCTOR_CACHE_DIR", "") + chr(10))

def test_it(pair):
    pair(before=old, after=lambda: None, passes=["time", "{name}"])
"""


def test_a_cold_call_finds_nothing_that_compilers_made_before(project, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "kept")
    folders = {}
    for name in ("cold", "memory"):
        project.write(test_c_py=CACHES.format(name=name))
        project.run("--speedup-report=out")
        told = project.path / "caches.log"
        folders[name] = [each for each in told.read_text().splitlines() if each != "kept"]
        told.unlink()
    assert len(set(folders["cold"])) == 3
    assert not any(Path(each).exists() for each in folders["cold"])
    assert folders["memory"] == []


MEMORY = """
def test_memory(pair):
    pair(before=lambda: bytearray(300_000_000), after=lambda: bytearray(100_000_000), passes=["time", "memory"])
"""


def test_peak_memory_is_of_a_process_that_ran_that_side_alone(project):
    project.write(test_m_py=MEMORY)
    assert project.run("--speedup-report=out").ret == 0
    memory = project.record()["speedclaims"]["pairs"][0]["memory"]
    difference = memory["before"]["value"] - memory["after"]["value"]
    assert difference == pytest.approx(200e6, rel=0.05)
    assert memory["ratio"]["low"] <= memory["ratio"]["value"] <= memory["ratio"]["high"]
    assert memory["ratio"]["low"] > 1.5


CONTROL = """
import pytest

@pytest.mark.speedup_control
def test_same(pair):
    pair(before=lambda: sum(range(50_000)), after=lambda: sum(range(50_000)))
"""


def test_a_control_pair_gives_the_noise_floor_from_three_fresh_processes(project):
    project.write(test_c_py=CONTROL)
    assert project.run("--speedup-report=out").ret == 0
    section = project.record()["speedclaims"]
    floor = section["noise_floor"]
    assert (floor["status"], floor["num_processes"], floor["pairs"]) == ("measured", 3, ["test_c.py::test_same"])
    (row,) = section["pairs"]
    assert row["control"]
    assert floor["value"] == pytest.approx(max(row["high"], 1 / row["low"]) - 1)


def test_without_a_control_pair_the_noise_floor_is_not_measured(project):
    project.write(test_c_py=CONTROL.replace("@pytest.mark.speedup_control", ""))
    assert project.run("--speedup-report=out").ret == 0
    floor = project.record()["speedclaims"]["noise_floor"]
    assert floor["value"] is None
    assert floor["reason"] == "no control pair was measured in this run"


def test_a_control_pair_of_too_few_rounds_is_no_noise_floor(project):
    project.write(test_c_py=CONTROL)
    assert project.run("--speedup-max-time=0.001", "--speedup-report=out", "--speedup-processes=2").ret == 0
    floor = project.record()["speedclaims"]["noise_floor"]
    assert (floor["value"], floor["reason"]) == (None, "the control pair had too few rounds")


def test_a_fresh_process_that_dies_is_reported_with_its_last_lines(project):
    dying = CONTROL.replace("sum(range(50_000))", "__import__('os')._exit(7)", 1)
    project.write(test_c_py=dying)
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ChildError: the fresh process for time and check ended with 7:*"])


def test_a_fresh_process_writes_nothing_of_its_parents(project):
    project.write(test_c_py=CONTROL)
    before = "--benchmark-json=a.json", "--junitxml=j.xml", "--benchmark-autosave", "--speedup-report=out"
    result = project.run(*before)
    assert result.ret == 0
    assert len(list((project.path / ".benchmarks").rglob("*.json"))) == 1
    assert 'skipped="0"' in (project.path / "j.xml").read_text()
    result.assert_outcomes(passed=1)


def test_last_failed_of_the_parent_survives_the_fresh_processes(project):
    project.write(test_c_py=CONTROL + "\ndef test_fails():\n    assert False\n")
    assert project.run().ret == 1
    result = project.run("--lf", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*test_fails"])
    result.stdout.no_fnmatch_line("*test_same")


SOME = """
import time
time.sleep({importing})

def test_some(pair):
    pair(before=lambda: sum(range(4000)), after=lambda: sum(range(1000)))

def test_more(pair):
    pair(before=lambda: sum(range(4000)), after=lambda: sum(range(1000)))
"""


def numbers_of_processes(project):
    return [pair["num_processes"] for pair in project.record()["speedclaims"]["pairs"]]


def test_a_pair_is_measured_in_five_fresh_processes_where_they_start_quickly(project):
    project.write(test_s_py=SOME.format(importing=0))
    assert project.run_anew("--speedup-max-time=60", "--speedup-precision=0.5", "--speedup-report=out").ret == 0
    assert numbers_of_processes(project) == [5, 5]
    pair, _ = project.record()["speedclaims"]["pairs"]
    assert len(pair["process_num_values"]) == 5
    assert pair["low"] < pair["speedup"] < pair["high"]
    assert "in 5 processes" in (project.path / "out" / "speedups.md").read_text()


def test_a_pair_is_measured_in_one_process_where_others_would_take_most_of_its_time(project):
    project.write(test_s_py=SOME.format(importing=1))
    assert project.run_anew("--speedup-max-time=2", "--speedup-report=out").ret == 0
    assert numbers_of_processes(project) == [0, 0]
    assert "in one process" in (project.path / "out" / "speedups.md").read_text()


SLOW_TO_START = (
    """
import os, sys, time
if "--speedup-child" in " ".join(sys.argv):
    time.sleep(4)
"""
    + SOME
)


def test_processes_that_start_more_slowly_than_this_one_are_fewer_and_none_for_the_next_pair(project):
    """As where an earlier test has imported a framework already."""
    project.write(test_s_py=SLOW_TO_START.format(importing=0))
    assert project.run_anew("--speedup-max-time=7", "--speedup-report=out").ret == 0
    first, second = numbers_of_processes(project)
    assert 1 <= first < 5
    assert second == 0


def test_a_pair_whose_fresh_processes_fail_is_measured_in_this_one_with_a_warning(project):
    failing = "import sys\nassert '--speedup-child' not in ' '.join(sys.argv), 'only one at a time'\n"
    project.write(test_s_py=failing + SOME.format(importing=0))
    run = project.run_anew("--speedup-max-time=60", "--speedup-precision=0.5", "--speedup-report=out")
    assert run.ret == 0
    assert numbers_of_processes(project) == [0, 0]
    run.stdout.fnmatch_lines(["*not measured in fresh processes but in this one:*"])


LAZY = """
import time

class Side:
    def __init__(self):
        self.is_built = False

    def __call__(self):
        if not self.is_built:
            time.sleep(1.5)
            self.is_built = True
        time.sleep(0.05)

def test_lazy(pair):
    before, after = Side(), Side()
    pair(before=before, after=after, {check})
"""


@pytest.mark.parametrize("check", ["equivalent=lambda: (before(), after()) and None", ""])
def test_sides_that_are_built_in_their_first_calls_leave_no_pair_with_too_few_rounds(project, check):
    """With the check, the time is known beforehand; without it, the few rounds of fresh processes are not taken."""
    project.write(test_l_py=LAZY.format(check=check))
    assert project.run_anew("--speedup-max-time=8", "--speedup-report=out").ret == 0
    (pair,) = project.record()["speedclaims"]["pairs"]
    assert pair["status"] == "measured"


def test_arguments_and_variables_of_processes_of_one_layout_are_equally_long():
    def size(command, environment, layout):
        variables = {**environment, "SPEEDCLAIMS_PADDING": padding(command, environment, layout)}
        return sum(len(one.encode()) + 1 for one in command) + sum(
            len(name.encode()) + len(value.encode()) + 2 for name, value in variables.items()
        )

    short = (["python", "-c", "pass"], {"PATH": "/bin"})
    long = (["python", "-c", "pass", "häuser" * 20], {"PATH": "/bin:/usr/bin", "PYTHONPATH": "/a" * 99})
    for layout in range(1, 9):
        assert size(*short, layout) == size(*long, layout)
    assert len({size(*short, layout) for layout in range(1, 9)}) > 4, "layouts differ"
