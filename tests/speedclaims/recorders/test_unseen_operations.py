"""Operations that the counter does not see are a reason in the figure, and never a low count."""

import importlib.util
import re
from pathlib import Path

import pytest

from speedclaims.record import io as record
from speedclaims.recorders.flops.count import flops_per_call
from speedclaims.report.html.page import render_markdown

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
REPORTS = Path(__file__).parents[3] / "reports" / "recorded"


def test_a_replayed_cuda_graph_beside_seen_products_has_a_reason(monkeypatch):
    import torch

    class Graph:
        def replay(self):
            return "replayed"

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    real, done = Graph.replay, []

    def call():
        done.append(Graph().replay())
        return torch.ones(4, 4) @ torch.ones(4, 4)

    found = flops_per_call(call)
    assert (found["value"], done) == (None, ["replayed"])
    assert found["reason"] == "a replayed CUDA graph hides its operations: the count would be too low"
    assert Graph.replay is real


def test_an_operation_of_another_library_has_a_reason():
    import torch

    @torch.library.custom_op("speedclaims_test::product", mutates_args=())
    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left @ right

    square = torch.ones(4, 4)
    found = flops_per_call(lambda: product(square, square) @ square)
    assert found["value"] is None
    assert found["reason"].startswith("speedclaims_test::product hides its operations")


def test_a_product_with_a_vector_is_counted():
    import torch

    matrix, vector = torch.ones(5, 7), torch.ones(7)
    assert flops_per_call(lambda: matrix @ vector)["value"] == 2 * 5 * 7
    assert flops_per_call(lambda: torch.addmv(torch.ones(5), matrix, vector))["value"] == 2 * 5 * 7
    assert flops_per_call(lambda: vector @ vector)["value"] == 2 * 7


PAIR = """
import torch

SQUARE = torch.ones(16, 16)

def fails_when_counted():
    from torch.utils._python_dispatch import _len_torch_dispatch_stack
    if _len_torch_dispatch_stack():
        raise RuntimeError("not with a counter")
    return SQUARE @ SQUARE

def test_counted(pair):
    pair(before=lambda: SQUARE @ SQUARE, after=fails_when_counted, passes=["time", "profile"])
"""


def test_a_side_that_fails_while_counted_keeps_its_phases(project):
    project.write(test_p_py=PAIR)
    assert project.run("--speedup-report=out").ret == 0
    (row,) = project.record()["speedclaims"]["pairs"]
    assert row["flops"]["before"]["value"] == 2 * 16**3
    after = row["flops"]["after"]
    assert (after["value"], "RuntimeError: not with a counter" in after["reason"]) == (None, True)
    assert row["profile"]["after"]["wall_s"]["value"] > 0


@pytest.mark.parametrize("name", ["2026-11-21-4bc1232-changed", "2026-11-22-25f3883"])
def test_a_share_above_the_whole_in_an_older_record_is_shown_as_a_reason(name):
    path = REPORTS / "cpu-amd-epyc-2-cores" / f"{name}.json"
    assert re.search(r"[12]\d\d ?% of the ceiling", path.with_suffix(".md").read_text())
    shown = render_markdown([record.read(path)])
    assert "% of the ceiling" in shown
    assert not re.search(r"[12]\d\d ?% of the ceiling", shown)
    assert "counted on the reference: the side does less" in shown
