"""Peak memory is read from the framework that uses the GPU, and from the process on a CPU."""

import sys
from types import SimpleNamespace

import pytest

from speedclaims.recorders import memory


def torch_that_sees(gpu, done):
    cuda = SimpleNamespace(
        is_available=lambda: gpu,
        reset_peak_memory_stats=lambda: done.append("torch reset"),
        max_memory_allocated=lambda: 7_000 if "called" in done else 3_000,
    )
    return SimpleNamespace(cuda=cuda)


def tensorflow_that_sees(gpu, done):
    experimental = SimpleNamespace(
        reset_memory_stats=lambda name: done.append(f"tensorflow reset {name}"),
        get_memory_info=lambda name: {"peak": 9_000 if "called" in done else 3_000, "current": 3_000},
    )
    config = SimpleNamespace(list_logical_devices=lambda kind: [kind] if gpu else [], experimental=experimental)
    return SimpleNamespace(config=config)


@pytest.mark.parametrize(
    ("torch_gpu", "tensorflow_gpu", "peak", "increase", "order"),
    [
        (True, False, 7_000, 4_000, ["torch reset", "called"]),
        (False, True, 9_000, 6_000, ["tensorflow reset GPU:0", "called"]),
        (False, False, None, None, ["called"]),
    ],
)
def test_memory_is_read_from_the_framework_that_has_the_gpu(
    monkeypatch, torch_gpu, tensorflow_gpu, peak, increase, order
):
    done = []
    monkeypatch.setitem(sys.modules, "torch", torch_that_sees(torch_gpu, done))
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow_that_sees(tensorflow_gpu, done))
    found = memory.call_memory("cuda:0", lambda: done.append("called"))
    assert (found["peak"]["value"], found["increase"]["value"]) == (peak, increase)
    assert done == order
    for figure in found.values():
        assert figure["unit"] == "bytes"
        assert (peak is None) == ("uses neither" in (figure["reason"] or ""))


def test_on_a_cpu_the_peak_is_that_of_the_process_and_holds_what_the_call_needs():
    def call():
        return bytes(range(256)) * (256 * 1024)  # pages that are written to, unlike those of zeros

    found = memory.call_memory("cpu", call)["peak"]
    if found["value"] is None:
        pytest.skip(found["reason"])
    now = memory.current_bytes("cpu")["value"]
    assert found["value"] > now + 32 * 2**20
