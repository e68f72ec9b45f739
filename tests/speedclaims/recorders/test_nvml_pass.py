"""The pass `gpu`, which asks NVML: on a machine without a GPU its recorder is replaced."""

from pathlib import Path

import pytest
import torch  # here, and not in a test of a project's: those forget what they imported, and it cannot come twice

from speedclaims.measure.passes import measure_passes, run_tasks
from speedclaims.recorders.nvml import window as nvml_window
from speedclaims.recorders.nvml.window import Reading
from speedclaims.recorders.recorder import PairContext, Side

TEST = """
import pytest

@pytest.fixture
def pair_labels():
    return {"family": None, "preset": None, "device": "cpu"}

def test_side(pair):
    pair(before=lambda: sum(range(1000)), after=lambda: sum(range(1000)), passes=["time", "gpu"])
"""


def test_the_side_runs_alone_set_up_once_and_waited_for(monkeypatch):
    seen = []
    reading = Reading({"utilization": {}}, {})
    monkeypatch.setattr(nvml_window, "watch", lambda call, device: [call(), call(), seen.append(device), reading][-1])
    side = Side(
        "after", "cuda:0", Path(), 1, 0.5,
        act=lambda: seen.append("after"), setup=lambda: seen.append("setup"), synchronize=lambda: seen.append("wait"),
    )  # fmt: skip
    left = []
    run_tasks("gpu", side, lambda *found: left.append(found))
    assert left == [({"gpu": {"figures": {"utilization": {}}, "timeline": {}}}, True)]
    assert seen.pop() == "cuda:0"
    assert seen == ["setup", "wait", "after", "wait", "after", "wait"]


def ask(task, side):
    """Stand for the fresh process of one side."""
    assert task == "gpu"
    value = {"before": 40.0, "after": 80.0}[side]
    known = {"value": value, "unit": "percent", "status": "measured", "reason": None}
    lost = {"value": None, "unit": "J", "status": "not_measured", "reason": "NVMLError_NotSupported"}
    timeline = {"seconds": [0.2, 0.4], "percent": [value, value], "reason": None}
    return {"gpu": {"figures": {"utilization": known, "energy_j": lost}, "timeline": timeline}}


def test_the_row_holds_each_figure_of_both_sides_or_its_reason():
    found = measure_passes(["time", "gpu"], ask, PairContext({"device": "cuda"}, lambda framework: {}))
    gpu = found["gpu"]
    assert [found["gpu_timeline"][side]["percent"] for side in ("before", "after")] == [[40.0, 40.0], [80.0, 80.0]]
    assert [gpu["utilization"][side]["value"] for side in ("before", "after", "ratio")] == [40.0, 80.0, 0.5]
    assert {gpu["energy_j"][side]["reason"] for side in ("before", "after", "ratio")} == {"NVMLError_NotSupported"}


def test_a_pair_that_no_gpu_works_for_has_no_figures_of_one(project):
    project.write(test_t_py=TEST)
    assert project.run("--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert row["gpu"] == {}
    assert "no GPU took part" in (project.path / "out" / "speedups.md").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_pass_fills_the_row(project):
    work = "lambda: torch.ones(2048, 2048, device='cuda') @ torch.ones(2048, 2048, device='cuda')"
    test = TEST.replace('"cpu"', '"cuda"').replace("lambda: sum(range(1000))", work)
    project.write(test_t_py=f"import torch\n{test}")
    assert project.run("--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert set(row["gpu"]) == set(nvml_window.FIGURES)
    assert row["gpu"]["energy_j"]["before"]["value"] > 0
    assert len(row["gpu_timeline"]["after"]["seconds"]) > 5
