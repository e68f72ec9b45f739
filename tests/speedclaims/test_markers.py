"""The deprecated names of markers still work, and warn once."""

from tests.speedclaims.claims.test_ledger import GOOD, usage_line

TEST = """
import pytest

def side():
    return sum(range(20_000))

@pytest.mark.claim("loop.thrice")
@pytest.mark.long_pair(1)
def test_loop(pair):
    pair(before=side, after=side)

@pytest.mark.claim("loop.thrice")
@pytest.mark.control_pair
def test_same(pair):
    pair(before=side, after=side)
"""


def test_deprecated_names_work_and_warn_once_a_session(project):
    project.write(test_t_py=TEST, claims_toml=GOOD)
    result = project.run("--strict-markers", "--speedup-report=out", "--speedup-processes=1")
    assert result.ret == 0
    section = project.record()["speedclaims"]
    assert [row["control"] for row in section["pairs"]] == [False, True]
    assert [row["pair"] for row in section["claims"]] == ["test_t.py::test_loop", "test_t.py::test_same"]
    warned = [line.partition("DeprecationWarning: ")[2] for line in result.outlines if "DeprecationWarning" in line]
    assert warned == [
        "the marker claim is deprecated: use speedup_claim",
        "the marker long_pair is deprecated: use speedup_long",
        "the marker control_pair is deprecated: use speedup_control",
    ]


def test_an_error_names_the_marker_as_the_test_wrote_it(project):
    project.write(test_t_py=TEST.replace('claim("loop.thrice")', "claim"), claims_toml=GOOD)
    assert "the claim marker takes claim ids: @pytest.mark.claim(" in usage_line(project.run())
    project.write(test_t_py=TEST.replace("long_pair(1)", "long_pair(0)"))
    assert "test_loop: long_pair takes one positive number" in usage_line(project.run())


def test_where_warnings_are_errors_a_deprecated_name_is_a_usage_error(project):
    project.write(test_t_py=TEST, claims_toml=GOOD)
    line = usage_line(project.run("-Werror::DeprecationWarning"))
    assert line == "ERROR: test_t.py::test_loop: the marker claim is deprecated: use speedup_claim"


def test_the_help_names_the_new_name_of_a_deprecated_marker(project):
    project.run("--markers").stdout.fnmatch_lines(["*pytest.mark.long_pair: the deprecated name of speedup_long.*"])
