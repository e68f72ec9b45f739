"""A value that a test measured itself, and the claims it judges."""

import pytest

LEDGER = """
[[claim]]
id = "net.quality"
source = "notes.txt"
text = "no loss of quality"
kind = "measured"
metric = "quality"
low = -1.0
high = 1.0
"""

TEST = """
import pytest

@pytest.mark.speedup_claim("net.quality")
def test_quality(figure):
    '''The difference of the validation losses, in standard deviations.'''
    result = figure(0.1, low=-0.2, high=0.4, details=["five paired seeds"])
    print("VERDICT", result.verdict)
"""


def test_a_figure_judges_the_claim_of_its_test(project):
    project.write(test_q_py=TEST, claims_toml=LEDGER)
    result = project.run("--speedup-report=out", "-s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*VERDICT confirmed"])
    section = project.record()["speedclaims"]
    (row,) = section["figures"]
    assert (row["value"], row["low"], row["high"], row["status"]) == (0.1, -0.2, 0.4, "measured")
    assert row["title"] == "The difference of the validation losses, in standard deviations."
    (claim,) = section["claims"]
    assert (claim["verdict"], claim["measured"], claim["pair"]) == ("confirmed", 0.1, "test_q.py::test_quality")


def test_a_figure_outside_the_bounds_refutes_the_claim(project):
    project.write(test_q_py=TEST.replace("0.1, low=-0.2", "-3, low=-4"), claims_toml=LEDGER)
    assert project.run("--speedup-report=out").ret == 0
    assert project.record()["speedclaims"]["claims"][0]["verdict"] == "ambiguous"
    project.write(test_q_py=TEST.replace("0.1, low=-0.2, high=0.4", "-3, low=-4, high=-2"), claims_toml=LEDGER)
    assert project.run("--speedup-report=out").ret == 0
    assert project.record()["speedclaims"]["claims"][0]["verdict"] == "refuted"


def test_a_figure_that_could_not_be_measured_is_null_with_its_reason(project):
    missing = TEST.replace("0.1, low=-0.2, high=0.4", "None, reason='no GPU is within reach'")
    project.write(test_q_py=missing, claims_toml=LEDGER)
    result = project.run("--speedup-report=out")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED  # nothing was measured
    section = project.record()["speedclaims"]
    assert (section["figures"][0]["value"], section["figures"][0]["status"]) == (None, "not_measured")
    claim = section["claims"][0]
    assert (claim["verdict"], claim["reason"], claim["measured"]) == ("not_measured", "no GPU is within reach", None)


def test_a_count_is_exact(project):
    project.write(test_q_py=TEST.replace("0.1, low=-0.2, high=0.4", "1, exact=True"), claims_toml=LEDGER)
    assert project.run("--speedup-report=out").ret == 0
    claim = project.record()["speedclaims"]["claims"][0]
    assert (claim["verdict"], claim["measured_low"], claim["measured_high"]) == ("confirmed", 1, 1)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("0.1", "*ValueError: a figure needs its interval, low and high, or exact=True*"),
        ("0.1, low=0.2, high=0.3", "*ValueError: low (0.2) <= value (0.1) <= high (0.3) does not hold*"),
        ("float('nan'), exact=True", "*does not hold for finite numbers*"),
        ("None", "*ValueError: a figure without a value needs the reason*"),
        ("1, exact=True, work='more'", "*ValueError: work is 'more'*"),
        ("1, exact=True); figure(2, exact=True", "*ValueError: figure records one value a test*"),
    ],
)
def test_a_wrong_figure_is_named(project, arguments, line):
    project.write(test_q_py=f"def test_q(figure):\n    figure({arguments})\n")
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines([line])


def test_benchmark_only_keeps_figures_and_no_fixture_complains(project):
    project.write(test_q_py=TEST, claims_toml=LEDGER)
    result = project.run("--benchmark-only")
    result.assert_outcomes(passed=1)
    assert "was not used" not in result.stdout.str()


def test_with_benchmarks_disabled_a_figure_is_not_measured_either(project):
    project.write(test_q_py=TEST, claims_toml=LEDGER)
    result = project.run("--benchmark-disable", "--speedup-report=out")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    section = project.record()["speedclaims"]
    assert section["figures"][0]["reason"] == "benchmarks are disabled (--benchmark-disable)"
    assert section["claims"][0]["reason"] == "benchmarks are disabled (--benchmark-disable)"


def test_under_xdist_a_figure_is_not_measured_either(project):
    project.write(test_q_py=TEST, claims_toml=LEDGER)
    result = project.run_with_xdist("-n1", "--speedup-report=out")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert project.record()["speedclaims"]["figures"][0]["status"] == "not_measured"
