"""A pair whose rounds take long may be given more time."""

import pytest

TEST = """
import time, pytest

def side():
    time.sleep(0.1)

@pytest.mark.speedup_long({times})
def test_side(pair):
    pair(before=side, after=side)
"""
ENOUGH = ("--speedup-report=out", "--speedup-max-time=0.8", "--speedup-precision=0.0001")


def rounds(project):
    (row,) = project.record()["speedclaims"]["pairs"]
    return row["num_rounds"], row["status"]


def test_a_long_pair_gets_as_many_times_the_time(project):
    project.write(test_t_py=TEST.replace("{times}", "4"))
    assert project.run(*ENOUGH).ret == 0
    num_rounds, status = rounds(project)
    assert num_rounds >= 12
    assert status == "measured"
    project.write(test_t_py=TEST.replace("{times}", "1"))
    assert project.run(*ENOUGH).ret == 0
    assert rounds(project)[0] < 8
    assert rounds(project)[1] == "too_few_rounds"


@pytest.mark.parametrize("times", ["0", "-1", "'4'", "", "1, 2"])
def test_a_number_that_makes_no_sense_is_refused_by_the_tests_name(project, times):
    project.write(test_t_py=TEST.replace("{times}", times))
    result = project.run()
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_t.py::test_side: speedup_long takes one positive number*"])


def test_the_markers_help_says_what_it_is_for(project):
    project.run("--markers").stdout.fnmatch_lines(["*speedup_long(times): one round of this pair takes long*"])
