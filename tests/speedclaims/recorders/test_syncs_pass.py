"""The pass `syncs`: in fresh processes, into the record, into the report, and to the verdict."""

import importlib.util
import json

import fastjsonschema  # noqa: F401 - before pytester notes what is imported, or its errors would be of two classes
import pytest

from speedclaims.record import figure as record_figure
from speedclaims.record import io as record
from speedclaims.report.html.page import render_markdown
from tests.speedclaims.conftest import record_of

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")

PAIR = """
import os
from pathlib import Path
import pytest
import torch

LOSS = torch.tensor(2.0)

def note(name):
    with Path("calls.txt").open("a") as file:
        file.write(f"{name} {os.getpid()}\\n")

def before():
    note("before")
    for _ in range(8):
        LOSS.item()
        float(LOSS)

def after():
    note("after")
    for _ in range(8):
        LOSS * 2
    f"{LOSS:.1f}"

@pytest.mark.speedup_claim("syncs.fewer")
def test_syncs(pair):
    pair(before=before, after=after, units=8, setup=lambda: LOSS.tolist(), passes=["time", "syncs"])
"""

LEDGER = """
[[claim]]
id = "syncs.fewer"
source = "our wiki"
text = "20x fewer"
kind = "measured"
metric = "sync_ratio"
low = 19.5
high = 20.5
"""


def line_of(text):
    return next(number for number, line in enumerate(PAIR.splitlines(), start=1) if line.strip() == text)


@needs_torch
def test_each_side_is_counted_in_a_process_of_its_own(project):
    project.write(test_s_py=PAIR, claims_toml=LEDGER)
    assert project.run("--speedup-report=out").ret == 0
    section = project.record()["speedclaims"]
    (row,) = section["pairs"]
    assert (row["syncs"]["before"]["value"], row["syncs"]["after"]["value"]) == (16, 1)
    assert row["syncs"]["ratio"]["value"] == 16
    assert row["sync_lines"] == {
        "before": {f"test_s.py:{line_of(text)}": 8 for text in ("LOSS.item()", "float(LOSS)")},
        "after": {f"test_s.py:{line_of(chr(102) + chr(34) + '{LOSS:.1f}' + chr(34))}": 1},
        "internal": {"before": 0, "after": 0},
    }
    (claim,) = section["claims"]
    assert (claim["measured"], claim["measured_low"], claim["measured_high"]) == (16, 16, 16)
    assert claim["verdict"] == "refuted"

    processes = [line.split() for line in (project.path / "calls.txt").read_text().splitlines()]
    mine = processes[0][1]
    fresh = [(name, process) for name, process in processes if process != mine]
    assert [name for name, _ in fresh] == ["before", "before", "after", "after"]
    assert len({process for _, process in fresh}) == 2

    markdown = (project.path / "out" / "speedups.md").read_text()
    page = (project.path / "out" / "index.html").read_text()
    assert "| 16 (2 a unit) | 1 (0.125 a unit) | 16.0x |" in markdown
    for text in (markdown, page):
        assert f"test_s.py:{line_of('LOSS.item()')} (8)" in text.replace("\\_", "_")
        assert "inside the frameworks 0" in text


@needs_torch
def test_none_on_the_after_side_is_no_infinite_ratio(project):
    project.write(test_s_py=PAIR.replace('    f"{LOSS:.1f}"\n', ""), claims_toml=LEDGER)
    assert project.run("--speedup-report=out").ret == 0
    section = project.record()["speedclaims"]
    syncs = section["pairs"][0]["syncs"]
    assert (syncs["after"]["value"], syncs["after"]["status"]) == (0, "measured")
    assert (syncs["ratio"]["value"], syncs["ratio"]["reason"]) == (None, "the after side is zero")
    assert (section["claims"][0]["verdict"], section["claims"][0]["reason"]) == (
        "not_measured",
        "the after side is zero",
    )


PLAIN = """
def test_plain(pair):
    pair(before=lambda: sum(range(90_000)), after=lambda: sum(range(900)))
"""


def test_by_the_option_and_without_a_framework_there_is_a_reason(project):
    project.write(test_p_py=PLAIN)
    assert project.run("--speedup-passes=time,syncs", "--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert row["status"] == "measured"
    for figure in row["syncs"].values():
        assert figure["value"] is None
        assert figure["reason"] == "neither PyTorch nor TensorFlow is imported: nothing here waits for a device"
    assert row["sync_lines"]["internal"] == {"before": None, "after": None}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The record of a run without the pass, made once."""
    return record_of(tmp_path_factory.mktemp("project"), PLAIN).read_text()


@pytest.fixture
def plain(saved):
    """A copy of it."""
    return json.loads(saved)


def test_without_the_pass_a_record_has_no_lines_and_is_valid(plain):
    (row,) = plain["speedclaims"]["pairs"]
    assert "sync_lines" not in row
    assert row["syncs"]["before"]["reason"] == "the syncs pass did not run"
    record.validate(plain)


def test_of_many_lines_the_report_names_the_first(plain):
    (row,) = plain["speedclaims"]["pairs"]
    row["syncs"] = record_figure.sides(record_figure.figure(78.0, "1"), record_figure.figure(1.0, "1"))
    row["sync_lines"] = {
        "before": {f"a|b_{number}.py:{number}": number for number in range(1, 13)},
        "after": {"c.py:1": 1},
        "internal": {"before": 3, "after": 0},
    }
    record.validate(plain)
    text = render_markdown([plain])
    told = next(line for line in text.splitlines() if "before: a" in line)
    assert "12.py:12 (12)" in told
    assert "5.py:5 (5), 4 more lines (10); inside the frameworks 3" in told
    assert "|" not in told


@pytest.mark.parametrize(
    "lines",
    [
        {"before": {"a.py:1": 0}, "after": {}, "internal": {"before": 0, "after": 0}},
        {"before": {"a.py:1": 1}, "after": {}},
        {"before": {}, "after": {}, "internal": {"before": -1, "after": 0}},
    ],
)
def test_lines_of_another_form_are_refused(plain, lines):
    plain["speedclaims"]["pairs"][0]["sync_lines"] = lines
    with pytest.raises(record.RecordError):
        record.validate(plain)


def test_the_help_names_the_pass(project):
    text = " ".join(project.run("--help").stdout.str().split())
    assert "syncs (how often the processor waits for the device, and in which lines)" in text
