"""Every way of running a session: its exit code, its rows and its texts."""

import json

import pytest

FAILED, USAGE, NOTHING = 1, 4, 5


@pytest.fixture
def pairs(project):
    return project.write(test_loop_py=PAIRS)


PAIRS = '''
import pytest

def slow():
    sum(range(50_000))

def fast():
    sum(range(500))

def test_loop(pair):
    """A hundredth of the numbers against all of them."""
    result = pair(before=slow, after=fast)
    assert result.low > 1.0
'''


def rows_of(path):
    return [row["name"] for row in json.loads(path.read_text())["benchmarks"]]


def test_a_pair_is_two_ordinary_rows_and_one_speedup(pairs):
    result = pairs.run("--benchmark-json=a.json", "--speedup-report=out")
    assert result.ret == 0
    assert rows_of(pairs.path / "a.json") == ["test_loop[before]", "test_loop[after]"]
    (row,) = pairs.record()["speedclaims"]["pairs"]
    assert row["status"] == "measured"
    assert 1 < row["low"] <= row["speedup"] <= row["high"]
    assert (row["before"], row["after"]) == ("slow", "fast")
    assert row["title"] == "A hundredth of the numbers against all of them."
    assert row["before_s"] > row["after_s"] > 0


def test_a_parametrized_pair_keeps_its_parameters_in_the_rows(project):
    project.write(
        test_n_py="""
        import pytest
        @pytest.mark.parametrize("n", [100, 200])
        def test_sum(pair, n):
            pair(before=lambda: sum(range(n)), after=lambda: sum(range(n)))
        """.replace("\n        ", "\n")
    )
    assert project.run("--benchmark-json=a.json").ret == 0
    names = ["test_sum[100-before]", "test_sum[100-after]", "test_sum[200-before]", "test_sum[200-after]"]
    assert rows_of(project.path / "a.json") == names


def test_benchmark_only_runs_pairs_and_skips_other_tests(pairs):
    pairs.write(test_other_py="def test_other():\n    assert True\n")
    result = pairs.run("--benchmark-only")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0


def test_benchmark_skip_measures_nothing_and_says_so_by_its_exit_code(pairs):
    result = pairs.run("--benchmark-skip")
    result.assert_outcomes(skipped=1)
    assert result.ret == NOTHING


def test_benchmark_skip_beside_other_tests_is_fine(pairs):
    pairs.write(test_other_py="def test_other():\n    assert True\n")
    result = pairs.run("--benchmark-skip")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0


COUNTED = """
from pathlib import Path

def note(word):
    with Path("calls.txt").open("a") as file:
        file.write(word + "\\n")

def test_counted(pair):
    pair(before=lambda: note("before"), after=lambda: note("after"), equivalent=lambda: note("equivalent"))
"""


def test_with_benchmarks_disabled_each_side_runs_once_and_equivalence_is_checked(project):
    project.write(test_counted_py=COUNTED)
    result = project.run("--benchmark-disable", "-rs", "--speedup-report=out")
    assert (project.path / "calls.txt").read_text().split() == ["equivalent", "before", "after"]
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*not_measured: benchmarks are disabled (--benchmark-disable)*"])
    assert result.ret == NOTHING
    (row,) = project.record()["speedclaims"]["pairs"]
    assert (row["status"], row["speedup"], row["equivalence"]) == ("not_measured", None, "passed")


def test_with_benchmarks_disabled_a_failed_equivalence_still_fails(project):
    project.write(test_counted_py=COUNTED.replace('note("equivalent")', "False"))
    assert project.run("--benchmark-disable").ret == FAILED
    assert not (project.path / "calls.txt").exists()


def test_under_xdist_nothing_is_timed_and_the_session_says_so(project):
    project.write(test_counted_py=COUNTED)
    result = project.run_with_xdist("-n2", "-rs", "--speedup-report=out")
    assert (project.path / "calls.txt").read_text().split() == ["equivalent", "before", "after"]
    result.stdout.fnmatch_lines(["*not_measured: benchmarks do not run under pytest-xdist*"])
    assert result.ret == NOTHING
    assert project.record()["speedclaims"]["pairs"][0]["status"] == "not_measured"


def test_under_xdist_other_tests_that_pass_make_the_session_fine(project):
    project.write(test_counted_py=COUNTED, test_other_py="def test_other():\n    assert True\n")
    assert project.run_with_xdist("-n2").ret == 0


def test_without_pytest_benchmark_there_is_one_clear_line(pairs):
    result = pairs.run("-pno:benchmark")
    assert result.ret == USAGE
    lines = [line for line in (result.outlines + result.errlines) if "ERROR" in line]
    assert lines == [
        "ERROR: speedclaims measures through pytest-benchmark, which is turned off: remove -p no:benchmark"
    ]


def test_without_pytest_benchmark_a_project_without_pairs_runs_as_ever(project):
    project.write(test_other_py="def test_other():\n    assert True\n")
    assert project.run("-pno:benchmark").ret == 0


def test_a_project_without_pairs_sees_nothing_of_the_plugin(project):
    project.write(test_other_py="def test_other():\n    assert True\n")
    result = project.run("--speedup-report=out")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*speedclaims ==*")
    assert not (project.path / "out" / "record.json").exists()


def test_a_failed_equivalence_withholds_the_speedup_and_fails_the_test(project):
    project.write(
        test_w_py="""
def test_wrong(pair):
    def check():
        assert 1 + 1 == 3, "losses differ at step 2"
    pair(before=lambda: None, after=lambda: None, equivalent=check)
"""
    )
    result = project.run("--benchmark-json=a.json", "--speedup-report=out")
    assert result.ret == FAILED
    (row,) = project.record()["speedclaims"]["pairs"]
    assert (row["status"], row["equivalence"], row["speedup"]) == ("withheld", "failed", None)
    assert "losses differ at step 2" in row["reason"]
    assert not (project.path / "a.json").exists()


@pytest.mark.parametrize(
    ("answer", "status", "details"),
    [
        ("True", "passed", []),
        ("None", "passed", []),
        ("'the batch size'", "different_by_design", ["the batch size"]),
        ("['temperature', 'clipping']", "different_by_design", ["temperature", "clipping"]),
        ("[]", "passed", []),
    ],
)
def test_what_the_check_returns_is_the_equivalence(project, answer, status, details):
    project.write(
        test_e_py=f"def test_e(pair):\n    pair(before=lambda: None, after=lambda: None, equivalent=lambda: {answer})\n"
    )
    assert project.run("--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert (row["equivalence"], row["equivalence_details"]) == (status, details)


def test_a_pair_without_a_check_says_not_checked(pairs):
    pairs.run("--speedup-report=out")
    assert pairs.record()["speedclaims"]["pairs"][0]["equivalence"] == "not_checked"


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (["--speedup-max-time=0.05"], "raise --speedup-max-time"),
        # from the run's start on: enough for a slow machine to begin, too little for six rounds of 0.6 s
        (["--speedup-max-time=100", "--speedup-total-time=2", "--speedup-processes=1"], "raise --speedup-total-time"),
    ],
)
def test_too_few_rounds_make_an_ambiguous_result_without_an_interval(project, options, more):
    project.write(
        test_f_py="""
import math, time
def test_few(pair):
    result = pair(before=lambda: time.sleep(0.4), after=lambda: time.sleep(0.2))
    assert math.isnan(result.low) and not result.low > 1.0
    assert result.speedup > 1
"""
    )
    assert project.run(*options, "--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert (row["status"], row["low"], row["high"]) == ("too_few_rounds", None, None)
    assert "95% needs 6" in row["reason"]
    assert row["reason"].endswith(more)


def test_pair_measures_one_pair_a_test(project):
    project.write(
        test_t_py="""
def test_two(pair):
    pair(before=lambda: None, after=lambda: None)
    pair(before=lambda: None, after=lambda: None)
"""
    )
    result = project.run()
    assert result.ret == FAILED
    result.stdout.fnmatch_lines(["*ValueError: pair measures one pair a test*"])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("pair(before=3, after=print)", "*TypeError: before is int, not callable*"),
        ("pair(before=print, after=print, work='more')", "*ValueError: work is 'more'*"),
        ("pair(before=print, after=print, units=0)", "*ValueError: units is 0*"),
        ("pair(before=print, after=print, passes=['speed'])", "*ValueError: unknown pass 'speed'*"),
        ("pair(before=print, after=print, setup=lambda a, b: 0)", "*TypeError: setup needs other arguments than one*"),
    ],
)
def test_a_wrong_argument_is_named(project, call, line):
    project.write(test_a_py=f"def test_a(pair):\n    {call}\n")
    result = project.run()
    assert result.ret == FAILED
    result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--speedup-max-time=0", "*argument --speedup-max-time: '0' is not a positive number of seconds*"),
        ("--speedup-max-time=nan", "*argument --speedup-max-time: 'nan' is not a positive number of seconds*"),
        ("--speedup-precision=1", "*argument --speedup-precision: '1' is not a number between 0 and 1*"),
        ("--speedup-confidence=95", "*argument --speedup-confidence: '95' is not a number between 0 and 1*"),
        ("--speedup-processes=0", "*argument --speedup-processes: '0' is not a positive whole number*"),
        ("--speedup-passes=time,speed", "*argument --speedup-passes: 'time,speed': give some of time,cold,memory*"),
    ],
)
def test_a_wrong_option_is_a_usage_error_of_one_line(pairs, option, line):
    result = pairs.run(option)
    assert result.ret == USAGE
    result.stderr.fnmatch_lines([line])
    assert "Traceback" not in result.stderr.str()


def test_a_report_folder_that_is_a_file_is_refused_before_anything_is_measured(project):
    project.write(test_counted_py=COUNTED)
    (project.path / "out").write_text("mine")
    result = project.run("--speedup-report=out")
    assert result.ret == USAGE
    result.stderr.fnmatch_lines(["ERROR: --speedup-report out: not a folder that can be written*"])
    assert (project.path / "out").read_text() == "mine"
    assert not (project.path / "calls.txt").exists()


def test_a_session_that_is_cut_off_leaves_the_record_of_what_was_measured(project):
    project.write(test_loop_py=PAIRS, test_z_py="def test_z():\n    raise KeyboardInterrupt\n")
    result = project.run("--speedup-report=out")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.record()["speedclaims"]["pairs"][0]["status"] == "measured"


def test_loading_the_plugin_imports_nothing_heavy(project):
    project.write(
        test_m_py="""
import sys
def test_light():
    heavy = {"numpy", "scipy", "matplotlib", "attrs", "rich", "jinja2", "fastjsonschema", "torch", "tensorflow"}
    heavy |= {"asyncio", "speedclaims.gating", "speedclaims.measure.interleave"}
    assert "speedclaims.plugin" in sys.modules
    assert not heavy & set(sys.modules)
"""
    )
    assert project.run_anew().ret == 0


def test_markers_and_fixtures_explain_themselves(pairs):
    pairs.run("--markers").stdout.fnmatch_lines(
        [
            "*@pytest.mark.speedup_claim(*ids, variant=None, alternative=None, case=None): *",
            "*@pytest.mark.speedup_control: *",
            "*@pytest.mark.speedup_fail(percent): *",
        ]
    )
    pairs.run("--fixtures").stdout.fnmatch_lines(["pair *", "*result = pair(before=old, after=new)*"])
