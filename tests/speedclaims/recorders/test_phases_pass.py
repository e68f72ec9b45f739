"""The pass `profile`: in fresh processes, into the record, and into the report."""

import importlib.util
import json

import fastjsonschema  # noqa: F401 - before pytester notes what is imported, or its errors would be of two classes
import pytest

from speedclaims.record import io as record
from tests.speedclaims.conftest import record_of

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")

PAIR = """
import os
from pathlib import Path
import torch
from torch.utils.data import DataLoader, TensorDataset
from speedclaims.recorders import ceilings

ceilings.CPU_SIZE, ceilings._CPU_COPY_BYTES = 128, 2**20

NET = torch.nn.Linear(16, 16, bias=False)
OPTIMIZER = torch.optim.SGD(NET.parameters(), lr=0.0)
LOADER = DataLoader(TensorDataset(torch.ones(32, 16)), batch_size=8)

def note(name):
    with Path("calls.txt").open("a") as file:
        file.write(f"{name} {os.getpid()}\\n")

def before():
    note("before")
    for (rows,) in LOADER:
        OPTIMIZER.zero_grad()
        NET(rows).sum().backward()
        OPTIMIZER.step()

def after():
    note("after")
    with torch.no_grad():
        NET(torch.ones(32, 16)).sum().item()

def test_profiled(pair):
    pair(before=before, after=after, setup=lambda: NET.weight.tolist(), min_bytes=lambda: 4 * 2 * 16 * 16 * 4)

def test_profiled_too(pair):
    pair(before=after, after=after, work="less")
"""
OPTIONS = ("--speedup-passes=time,profile", "--speedup-report=out")


@needs_torch
def test_each_side_is_profiled_in_a_process_of_its_own(project):
    project.write(test_p_py=PAIR)
    result = project.run(*OPTIONS)
    assert result.ret == 0
    section = project.record()["speedclaims"]
    row, other = section["pairs"]
    names = {side: {one["name"] for one in row["profile"][side]["phases"]} for side in ("before", "after")}
    # Four batches by an empty iterator's end, and no synchronization anywhere.
    assert names["before"] == {"data wait", "forward", "backward", "optimizer", "other"}
    assert names["after"] == {"forward", "host synchronization", "other"}
    for side in row["profile"].values():
        assert sum(one["seconds"] for one in side["phases"]) == pytest.approx(side["wall_s"]["value"])
        assert side["busy"]["reason"] == "the busy fraction is of a GPU: this ran on the CPU"

    num_flops = 4 * (2 * 8 * 16 * 16) * 2  # forward and the gradient of the weights; rows have none
    (ceiling,) = section["ceilings"]
    assert (ceiling["framework"], ceiling["device"]) == ("torch", "cpu")
    most = max(rate["value"] for rate in ceiling["matmul"].values())
    num_saved = num_flops - 2 * 32 * 16 * 16  # the after side computes no gradient
    for side, num_counted in (("before", num_flops), ("after", num_flops - num_saved)):
        assert row["flops"][side]["value"] == num_counted
        share = row["flops"]["share"][side]["value"]
        assert share == pytest.approx(100 * num_counted / row[f"{side}_s"] / most)
    for side in ("before", "after"):
        # four updates read and write 16 x 16 weights of four bytes
        assert (row["bytes"][side]["value"], row["bytes"][side]["unit"]) == (8192, "bytes")
        share = row["bytes"]["share"][side]["value"]
        assert share == pytest.approx(100 * 8192 / row[f"{side}_s"] / ceiling["copy"]["value"])
    assert "bytes" not in other
    assert other["flops"]["before"]["value"] == 2 * 32 * 16 * 16
    assert other["flops"]["after"]["value"] == 2 * 32 * 16 * 16

    processes = [line.split() for line in (project.path / "calls.txt").read_text().splitlines()]
    fresh = {}
    for name, process in processes:
        if process != processes[0][1]:
            fresh.setdefault(process, []).append(name)
    # Cold call, phases and FLOPs of each side; the ceilings once; and then the other pair.
    assert list(fresh.values()) == [["before"] * 3, ["after"] * 3, ["before"], ["after"] * 3, ["after"] * 3]

    result.stdout.fnmatch_lines(["*Where the time of 2 pairs goes: see the report*"])
    page = (project.path / "out" / "index.html").read_text()
    markdown = (project.path / "out" / "speedups.md").read_text()
    assert "Where the time goes" in page
    assert 'class="data-wait"' in page
    assert "## Where the time goes" in markdown
    assert "16.4 kFLOP" in markdown
    assert "### Share of the measured copy, at the least" in markdown
    assert "of the ceiling, at least" in markdown
    assert "50% of the work saved" in markdown


MIN_BYTES = """
import pytest

@pytest.mark.parametrize("number", [0, -1.0, float("nan"), float("inf"), "many", None])
def test_min_bytes(pair, number):
    pair(before=lambda: None, after=lambda: None, passes=["time", "profile"], min_bytes=lambda: number)
"""


def test_bytes_that_are_no_number_of_bytes_are_refused(project):
    project.write(test_l_py=MIN_BYTES)
    result = project.run()
    result.assert_outcomes(failed=6)
    result.stdout.fnmatch_lines(["*ValueError: min_bytes returned nan: it is the positive number of bytes*"])


OLD_NAME = r"""
import pytest

def test_old(pair):
    with pytest.warns(DeprecationWarning, match=r"pair\(least_bytes=...\) is deprecated: use min_bytes") as found:
        with pytest.raises(ValueError, match="min_bytes returned 0: "):
            pair(before=lambda: None, after=lambda: None, passes=["time", "profile"], least_bytes=lambda: 0)
    assert found[0].filename == __file__

def test_both(pair):
    with pytest.raises(ValueError, match="two names of one argument: give min_bytes alone"):
        pair(before=lambda: None, after=lambda: None, min_bytes=lambda: 1, least_bytes=lambda: 1)
"""


def test_the_old_name_of_min_bytes_still_works_with_a_warning(project):
    project.write(test_l_py=OLD_NAME)
    project.run().assert_outcomes(passed=2)


PLAIN = """
def test_plain(pair):
    pair(before=lambda: sum(range(90_000)), after=lambda: sum(range(900)))
"""


def test_without_a_framework_every_figure_has_a_reason(project):
    project.write(test_p_py=PLAIN)
    assert project.run(*OPTIONS).ret == 0
    section = project.record()["speedclaims"]
    (row,) = section["pairs"]
    assert row["status"] == "measured"
    for side in ("before", "after"):
        assert row["profile"][side]["phases"] == []
        for figure in (row["profile"][side]["busy"], row["profile"][side]["wall_s"], row["flops"][side]):
            assert figure["value"] is None
            assert "neither PyTorch nor TensorFlow is imported" in figure["reason"]
    assert section["ceilings"][0]["copy"]["value"] is None
    assert "Where the time goes" not in (project.path / "out" / "index.html").read_text()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The record of a run without the pass, made once."""
    return record_of(tmp_path_factory.mktemp("project"), PLAIN).read_text()


def test_without_the_pass_the_row_says_so_and_there_are_no_ceilings(saved):
    section = json.loads(saved)["speedclaims"]
    (row,) = section["pairs"]
    assert section["ceilings"] == []
    for figure in (row["profile"]["before"]["wall_s"], row["flops"]["after"], row["flops"]["share"]["before"]):
        assert (figure["value"], figure["reason"]) == (None, "the profile pass did not run")


def test_a_record_that_is_older_than_the_pass_is_read(saved, tmp_path):
    from speedclaims.report.html.page import render_html, render_markdown

    older = json.loads(saved)
    del older["speedclaims"]["pairs"][0]["profile"], older["speedclaims"]["pairs"][0]["flops"]
    path = tmp_path / "older.json"
    path.write_text(json.dumps(older))
    assert "Where the time goes" not in render_html([record.read(path)])
    assert "GPU busy" not in render_markdown([record.read(path)])


@pytest.mark.parametrize(
    "phase", [{"name": "sleeping", "seconds": 1.0}, {"name": "other", "seconds": 0}, {"name": "other"}]
)
def test_phases_that_are_none_are_refused(saved, phase):
    broken = json.loads(saved)
    broken["speedclaims"]["pairs"][0]["profile"]["before"]["phases"] = [phase]
    with pytest.raises(record.RecordError, match="phases"):
        record.validate(broken)
