"""Synchronizations of PyTorch are counted exactly, with the line that causes each."""

import copy
import math
import string
import sys
import threading
import warnings

import numpy as np
import pytest

from speedclaims.recorders.syncs import counter as both
from speedclaims.recorders.syncs.counter import NothingToCountError, Syncs
from speedclaims.recorders.syncs.recorder import count_call
from speedclaims.recorders.syncs.torch import Watch, counting_syncs, cuda_warnings

torch = pytest.importorskip("torch")

ASKS = {
    "item": lambda t: t.item(),
    "tolist": lambda t: t.tolist(),
    "numpy": lambda t: t.numpy(),
    "cpu": lambda t: t.cpu(),
    "float": float,
    "int": int,
    "bool": bool,
    "complex": complex,
    "if": lambda t: 1 if t else 2,
    "not": lambda t: not t,
    "and": lambda t: t and 1,
    "while": lambda t: next(iter(range(t))),
    "index": lambda t: [0, 1, 2][t],
    "comparison": lambda t: 1 if t > 0 else 2,
    "max": lambda t: max([t, t + 1]),
    "math": math.sqrt,
    "format": lambda t: f"{t:.3f}",
    "f-string": lambda t: f"loss {t}",
    "percent-f": lambda t: "%f" % t,  # noqa: UP031 - one of the hidden ways
    "percent-s": lambda t: "%s" % t,  # noqa: UP031 - the same
    "str": str,
    "repr": repr,
    "print": lambda t: print(t, file=sys.stderr),  # noqa: T201 - one of the hidden ways
    "asarray": np.asarray,
    "array": np.array,
    "float32": np.float32,
    "isnan": np.isnan,
    "array dunder": lambda t: t.__array__(),
    "from_dlpack": np.from_dlpack,
    "dlpack capsule": lambda t: torch.utils.dlpack.to_dlpack(t),  # noqa: PLW0108 - it is replaced meanwhile
    "in": lambda t: 1 in t.reshape(1),
    "nonzero": lambda t: t.reshape(1).nonzero(),
    "torch.nonzero": lambda t: torch.nonzero(input=t.reshape(1)),
    "where": lambda t: torch.where(t.reshape(1)),
    "boolean index": lambda t: t.reshape(1)[torch.tensor([True])],
    "tensor as an index": lambda t: torch.arange(3)[t],
    "tensor as a bound": lambda t: torch.arange(3)[:t],
    "masked_select": lambda t: torch.masked_select(t, torch.tensor(data=True)),
    "unique": torch.unique,
    "equal": lambda t: torch.equal(t, t),
    "allclose": lambda t: torch.allclose(input=t, other=t),
    "is_nonzero": lambda t: t.is_nonzero(),
    "arange": torch.arange,
    "list of tensors": lambda t: torch.tensor([t, t]),
    "formatter": lambda t: string.Formatter().format("loss {:.3f}", t),
}


@pytest.mark.parametrize("name", ASKS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_way_to_a_value_counts_once(name):
    tensor = torch.tensor(1)
    with counting_syncs() as syncs:
        ASKS[name](tensor)
    assert (syncs.own.total(), syncs.internal) == (1, 0)


def test_what_asks_for_no_value_counts_nothing():
    a, b = torch.ones(3, requires_grad=True), torch.arange(3.0)
    mask = b > 1
    with counting_syncs() as syncs:
        loss = ((a * b + 1) ** 2).mean()
        loss.backward()
        _ = loss.shape, loss.dtype, loss.device, len(b), loss.detach().clone(), a.grad.data_ptr()
        first, *_ = b
        b.to("cpu"), b.to(torch.float64), b.float(), torch.stack([first, first])
        b[0], b[1:], b[[0, 1]], b[torch.tensor([0, 1])]
        b[mask] = 0.0
        torch.where(mask, a, b), torch.tensor([1.0, 2.0]), torch.zeros(3), copy.deepcopy(b)
        torch.repeat_interleave(b, 2), torch.tensor_split(b, 3)
    assert (syncs.own.total(), syncs.internal) == (0, 0)


def test_the_line_that_asks_is_named():
    tensor = torch.tensor(1.0)
    with counting_syncs() as syncs:
        for _ in range(3):
            tensor.item()
        line = sys._getframe().f_lineno - 1
        np.asarray(tensor)
    assert syncs.own == {f"{__file__}:{line}": 3, f"{__file__}:{line + 2}": 1}


def test_what_numpy_and_the_standard_library_hand_on_is_the_callers():
    tensor = torch.tensor([1.0, 2.0])
    with counting_syncs() as syncs:
        np.ones(2) @ np.asarray(tensor)
        string.Formatter().format("loss {}", tensor)
        line = sys._getframe().f_lineno
    assert syncs.own == {f"{__file__}:{line - 2}": 1, f"{__file__}:{line - 1}": 1}
    assert syncs.internal == 0


def test_what_the_framework_asks_itself_is_counted_apart():
    weights = torch.nn.Parameter(torch.ones(2))
    (weights.sum() * 2).backward()
    with counting_syncs() as syncs:
        torch.nn.utils.clip_grad_norm_([weights], 1.0, error_if_nonfinite=True)
        torch.testing.assert_close(weights, weights)
    assert syncs.own.total() == 0
    assert syncs.internal > 1


class Network(torch.nn.Module):
    """A forward pass that waits."""

    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


def test_a_forward_pass_of_ones_own_is_ones_own_though_the_framework_calls_it():
    with counting_syncs() as syncs:
        Network()(torch.ones(2))
    assert (syncs.own.total(), syncs.internal) == (1, 0)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, foreach=False),
    "adam foreach": lambda p: torch.optim.Adam(p, foreach=True),
    "adam fused": lambda p: torch.optim.Adam(p, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, amsgrad=True),
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adagrad": torch.optim.Adagrad,
    "asgd": torch.optim.ASGD,
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("is_early", [True, False], ids=["made before", "made inside"])
def test_counters_of_an_optimizer_are_left_out_whoever_reads_them(name, is_early):
    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    optimizer = OPTIMIZERS[name](weights) if is_early else None
    with counting_syncs() as syncs:
        optimizer = optimizer or OPTIMIZERS[name](weights)
        for _ in range(3):
            optimizer.zero_grad()
            sum((one**2).sum() for one in weights).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            for state in optimizer.state.values():
                if "step" in state:
                    float(state["step"])
    assert (syncs.own.total(), syncs.internal) == (0, 0)


def test_without_the_identity_of_the_counters_they_would_count(monkeypatch):
    """The control of the test above."""
    from speedclaims.recorders.syncs import torch as syncs_torch

    monkeypatch.setattr(syncs_torch.Watch, "_is_counter", lambda *_: False)
    weight = torch.nn.Parameter(torch.ones(3))
    weight.sum().backward()
    with counting_syncs() as syncs:
        torch.optim.Adam([weight], foreach=False).step()
    assert syncs.internal > 0


def test_a_loss_scaler_asks_once_for_each_step_of_an_optimizer():
    weight, scaler = torch.nn.Parameter(torch.ones(3)), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with counting_syncs() as syncs:
        for _ in range(5):
            optimizer.zero_grad()
            scaler.scale(weight.sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert (syncs.own.total(), syncs.internal) == (0, 5)


def test_what_is_copied_to_another_device_counts_where_it_waits():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        host, device = torch.ones(3), torch.ones(3, device="cuda")

    def calls(name, result, *args, **options):
        def func(*_, **__):
            return result

        func.__name__, watch = name, Watch(torch, Syncs())
        watch.called(func, args, options, sys._getframe())
        return watch.syncs.own.total()

    assert calls("to", device, host, "cuda") == 1
    assert calls("to", host, device, torch.device("cpu"), torch.float64) == 1
    assert calls("to", host, device, other=host) == 1
    assert calls("cuda", device, host) == 1
    assert calls("type", host, device, torch.FloatTensor) == 1
    assert calls("copy_", host, host, device) == 1
    assert calls("tensor", device, [1.0], device="cuda") == 1
    assert calls("to", device, device, torch.float64) == 0
    assert calls("copy_", device, device, device) == 0
    assert calls("to", device, host, "cuda", non_blocking=True) == 0
    assert calls("to", device, host, "cuda", torch.float64, True) == 0  # noqa: FBT003 - by position
    assert calls("copy_", host, host, device, True) == 0  # noqa: FBT003 - by position
    assert calls("to", torch.ones(3, device="meta"), host, "meta") == 0
    assert calls("item", 1.0, device) == 1


def test_on_cuda_what_lives_in_host_memory_waits_for_nothing(monkeypatch):
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        device = torch.ones((), device="cuda")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with counting_syncs() as syncs:
        torch.tensor(1.0).item()
        torch.ones(3).nonzero()
    assert syncs.own.total() == 0
    assert Watch(torch, Syncs()).asks("item", [device], {})


def test_a_compiled_function_runs_while_it_is_counted():
    compiled = torch.compile(lambda x: (x * 2).sum(), backend="eager", fullgraph=True)
    tensor = torch.ones(3)
    compiled(tensor)
    with counting_syncs() as syncs:
        compiled(tensor).item()
    assert syncs.own.total() == 1


def test_after_the_count_everything_is_as_before():
    before = torch.utils.dlpack.to_dlpack
    with pytest.raises(ZeroDivisionError), counting_syncs() as syncs:
        _ = 1 / 0
    torch.tensor(1.0).item()
    assert syncs.own.total() == 0
    assert torch.utils.dlpack.to_dlpack is before


def test_an_error_comes_through_and_counts_nothing():
    with counting_syncs() as syncs, pytest.raises(RuntimeError):
        torch.ones(2).item()
    assert syncs.own.total() == 0


def test_without_pytorch_the_count_says_so(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(NothingToCountError, match="not imported"), counting_syncs():
        pass


def test_without_any_framework_there_is_a_figure_with_the_reason(monkeypatch, tmp_path):
    for name in ("torch", "tensorflow.python.framework.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = count_call(lambda: None, tmp_path)
    assert found["figure"]["value"] is None
    assert "neither PyTorch nor TensorFlow is imported" in found["figure"]["reason"]
    assert (found["lines"], found["internal"]) == ({}, None)


def test_places_tell_nothing_of_the_machine(tmp_path):
    def places(root):
        return list(count_call(lambda: torch.tensor(1.0).item(), root)["lines"])

    (here,) = places(both.Path(__file__).parent)
    assert here.startswith("test_syncs_torch.py:")
    (elsewhere,) = places(tmp_path)
    assert not elsewhere.startswith("/")


def function_of(file, body):
    """Return a function whose code stands in a file, as its frames and warnings tell."""
    names = {"warnings": warnings}
    exec(compile(f"def called(then=None):\n    {body}", file, "exec"), names)  # noqa: S102 - no other way to be in a file
    return names["called"]


@pytest.fixture
def cuda_mode(monkeypatch):
    """CUDA's check where there is no CUDA: what it was set to, in order."""
    modes = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    return modes


WAIT = "warnings.warn('called a synchronizing CUDA operation', stacklevel=1)"


def test_cudas_warnings_are_counted_by_the_line_that_called_into_pytorch(cuda_mode):
    inner, middle = function_of(torch._tensor.__file__, WAIT), function_of(torch.functional.__file__, "then()")
    plain = warnings.showwarning
    with cuda_warnings() as warned:
        for _ in range(2):
            inner()
        line = sys._getframe().f_lineno
        middle(inner)
    here = f"{__file__}:"
    assert warned == {f"{here}{line - 1}": 2, f"{here}{line + 1}": 1}
    assert cuda_mode == ["warn", 0]
    assert warnings.showwarning is plain


def test_a_line_that_waits_by_itself_and_a_library_that_hands_on_are_told_apart(cuda_mode):
    alone, numpys = function_of("<string>", WAIT), function_of(np.__file__, "then()")
    with cuda_warnings() as warned:
        numpys(function_of(torch._tensor.__file__, WAIT))
        line = sys._getframe().f_lineno
        alone()
    assert warned == {f"{__file__}:{line - 1}": 1, "<string>:2": 1}


def test_a_wait_that_nobody_outside_pytorch_asked_for_keeps_its_own_place(cuda_mode):
    with cuda_warnings() as warned:
        thread = threading.Thread(target=function_of(torch._tensor.__file__, WAIT))
        thread.start()
        thread.join()
    assert warned == {f"{torch._tensor.__file__}:2": 1}


def test_other_warnings_come_through(cuda_mode):
    with pytest.warns(UserWarning, match="something else"), cuda_warnings() as warned:
        warnings.warn("something else", stacklevel=1)
    assert not warned


def test_after_an_error_cudas_check_is_as_before(cuda_mode):
    plain = warnings.showwarning
    with pytest.raises(ZeroDivisionError), cuda_warnings():
        _ = 1 / 0
    assert cuda_mode == ["warn", 0]
    assert warnings.showwarning is plain


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_on_what_waits():
    host, device = torch.ones(3), torch.ones(3, device="cuda")

    def work():
        float(device.sum())
        device.tolist()
        device.nonzero()
        device[device > 0]
        f"{device[0]}"
        host.to("cuda")
        device.cpu()
        _ = 1 if device[0] > 0 else 2

    work()
    with counting_syncs() as counted:
        work()
    with cuda_warnings() as warned:
        work()
    assert set(counted.own) == set(warned)
    with counting_syncs() as counted:
        float(host[0])
    assert counted.own.total() == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_its_check_says_so():
    with pytest.raises(NothingToCountError, match="no CUDA device"), cuda_warnings():
        pass
