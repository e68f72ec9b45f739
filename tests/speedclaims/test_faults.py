"""An error of the plugin itself costs no figure, and a session never ends with the exit code of a regression for it."""

import pytest

from speedclaims.record import io as record

FAULT, USAGE = 70, 4

CONFTEST = """
import os
from speedclaims import session
from speedclaims.record import paths
from speedclaims.report.html import page
from speedclaims.report.terminal import summary

def fail(*_, **__):
    raise ZeroDivisionError("by nothing")

def full(*_, **__):
    raise OSError(28, "No space left on device", "/somewhere")

KIND
"""

TEST = """
def side():
    return sum(range(3000))

def test_p(pair):
    pair(side, side)

def test_f(figure):
    figure(3.0, exact=True)
"""

WHERE = {
    "the report": "page.write_report = fail",
    "the tables": "page.render_markdown = fail",
    "the terminal": "summary.claims_summary = fail",
    "the exit code": "session.SpeedSession.refuted = property(fail)",
    "the passes that were put off": "session.SpeedSession.catch_up = fail",
    "everything that is written": "page.write_report = paths.file = fail",
}


@pytest.mark.parametrize("where", WHERE)
def test_an_error_that_nobody_expected_ends_with_70_and_what_was_measured_is_there(project, where):
    project.write(test_t_py=TEST, conftest_py=CONFTEST.replace("KIND", WHERE[where]))
    result = project.run("--speedup-report=out", "--speedup-record=kept", "--speedup-strict", "--speedup-max-time=0.2")
    assert result.ret == FAULT
    result.assert_outcomes(passed=2)
    (line,) = [line for line in result.outlines if "its traceback is in" in line][:1]
    assert line.startswith("speedclaims: unexpected ZeroDivisionError: by nothing; its traceback is in ")
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    found = [*(project.path / "kept").glob("*/*.json"), *(project.path / "out").glob("record*.json")]
    assert found
    for path in found:
        section = record.read(path)["speedclaims"]
        assert [row["value"] for row in section["figures"]] == [3.0]
        assert section["pairs"][0]["speedup"] is not None


def test_a_report_that_cannot_be_written_costs_the_kept_record_nothing(project):
    project.write(test_t_py=TEST, conftest_py=CONFTEST.replace("KIND", "page.write_report = full"))
    result = project.run("--speedup-report=out", "--speedup-record=kept")
    assert result.ret == USAGE
    result.stdout.fnmatch_lines(["speedclaims: /somewhere: No space left on device: name a place that can be used"])
    (kept,) = (project.path / "kept").glob("*/*.json")
    assert len(record.read(kept)["speedclaims"]["pairs"]) == 1
    assert len(record.read(project.path / "out" / "record.partial.json")["speedclaims"]["pairs"]) == 1


def test_a_record_that_can_be_written_nowhere_is_kept_among_temporary_files(project, monkeypatch):
    (project.path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(project.path / "temporary"))
    project.write(test_t_py=TEST, conftest_py=CONFTEST.replace("KIND", "paths.file = full"))
    result = project.run("--speedup-record=kept")
    assert result.ret == USAGE
    (kept,) = (project.path / "temporary").glob("speedclaims-*/record.json")
    result.stdout.fnmatch_lines([f"speedclaims: the record is in {kept}"])
    assert len(record.read(kept)["speedclaims"]["pairs"]) == 1
