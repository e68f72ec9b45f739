"""A test that measures nothing is not taken for one that has: its row says why, and it fails where a claim needs it."""

import pytest

LEDGER = """
[[claim]]
id = "two"
source = "wiki"
text = "at least twice as fast"
kind = "measured"
low = 2
"""

SIDES = "lambda: sum(range(50_000)), lambda: sum(range(500))"


def row_of(project, name):
    section = project.record()["speedclaims"]
    return next(row for row in section["pairs"] + section["figures"] if row["name"] == name)


def test_a_test_that_names_a_claim_and_calls_nothing_fails(project):
    project.write(
        test_n_py="""
import pytest

@pytest.mark.speedup_claim("two")
def test_two(pair):
    pass
""",
        claims_toml=LEDGER,
    )
    result = project.run("--speedup-report=out")
    assert result.ret == 1
    result.stdout.fnmatch_lines([
        "nothing measured: the test judges two and ended without a measurement: call pair or figure, or skip the test*",
        "*1 failed*",
    ])  # fmt: skip
    (claim,) = project.record()["speedclaims"]["claims"]
    assert (claim["verdict"], claim["pair"]) == ("not_measured", "test_n.py::test_two")
    assert claim["reason"] == "the test ended without a measurement"
    assert "cut off" not in result.stdout.str()


def test_one_that_takes_no_fixture_at_all_fails_too(project):
    project.write(
        test_n_py="""
import pytest

@pytest.mark.speedup_claim("two")
def test_two():
    pass
""",
        claims_toml=LEDGER,
    )
    assert project.run().ret == 1


def test_one_without_a_claim_passes_and_its_row_says_why(project):
    project.write(test_n_py="def test_idle(pair):\n    pass\n\ndef test_idle_figure(figure):\n    pass\n")
    assert project.run("--speedup-report=out").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    for name in ("test_idle", "test_idle_figure"):
        assert row_of(project, name)["status"] == "not_measured"
        assert row_of(project, name)["reason"] == "the test ended without a measurement"
    assert project.record()["speedclaims"]["not_run"] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("pair(lambda: missing, lambda: None)", "the test failed: NameError: name 'missing' is not defined"),
        ("pair(3, print)", "the test failed: TypeError: before is int, not callable: pass a function of no a"),
        ("assert 0", "the test failed: AssertionError: assert 0"),
        ("pytest.skip('no time')", "no time"),
    ],
)
def test_a_test_that_fails_has_a_row_and_its_claim_the_reason(project, body, reason):
    project.write(
        test_n_py=f"""
import pytest

@pytest.mark.speedup_claim("two")
def test_two(pair):
    {body}

def test_other(pair):
    pair({SIDES})
""",
        claims_toml=LEDGER,
    )
    result = project.run("--speedup-report=out", "--speedup-processes=1")
    assert result.ret == (0 if "skip" in body else 1)
    (claim,) = project.record()["speedclaims"]["claims"]
    assert claim["verdict"] == "not_measured"
    assert claim["reason"].startswith(reason)
    assert row_of(project, "test_other")["status"] == "measured"


def test_a_setup_that_fails_has_a_row_too(project):
    project.write(
        test_n_py="""
import pytest

@pytest.fixture
def data():
    raise OSError("no disk")

def test_two(pair, data):
    pair(print, print)
"""
    )
    assert project.run("--speedup-report=out").ret == 1
    assert row_of(project, "test_two")["reason"] == "the test failed: OSError: no disk"
