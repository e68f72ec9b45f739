"""PyTorch's patches for phases: every phase of a training, nested ones once, and everything restored."""

import sys
from types import SimpleNamespace

import pytest

from speedclaims.recorders.phases import stopwatch as profile
from speedclaims.recorders.phases import torch as profile_torch
from speedclaims.recorders.phases.stopwatch import (
    BACKWARD,
    COMPILED,
    DATA_WAIT,
    FORWARD,
    HOST_SYNC,
    OPTIMIZER,
    OTHER,
    TRANSFER,
    Phases,
)

torch = pytest.importorskip("torch")

from torch.nn.utils import clip_grad_norm_  # noqa: E402 - by name, as trainers do
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from speedclaims.recorders.phases import recorder as phases_record  # noqa: E402 - likewise

ROWS_BF = torch.arange(64.0).reshape(16, 4) / 64


class Ticks:
    """A clock that goes on by one at every look, so that every phase entered takes some time."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 1
        return self.now


def seen(call):
    """Return how many boundaries each phase had."""
    phases = Phases(Ticks())
    with profile_torch.watching(phases):
        phases.run(call)
    return {name: ns for name, ns in phases.ns.items() if ns}


class Training:
    """A training of one epoch, with a schedule that puts its own step on the optimizer."""

    def __init__(self, num_workers=0, *, scaled=False):
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Sequential(torch.nn.Linear(8, 1)))
        self.optimizer = torch.optim.Adam(self.net.parameters())
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 3)
        self.loader = DataLoader(TensorDataset(ROWS_BF), batch_size=4, num_workers=num_workers)
        self.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        self.losses = []

    def __call__(self):
        for (rows_BF,) in self.loader:
            self.optimizer.zero_grad()
            loss = self.net(rows_BF).square().mean()
            self.scaler.scale(loss).backward()
            clip_grad_norm_(self.net.parameters(), 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.losses.append(loss.item())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_every_phase_of_a_training_is_seen_and_they_sum_to_the_call(num_workers):
    training = Training(num_workers)
    training()
    found = phases_record.profile_side(lambda: None, training, "cpu")
    spent = {one["name"]: one["seconds"] for one in found["phases"]}
    assert set(spent) == {DATA_WAIT, FORWARD, BACKWARD, OPTIMIZER, HOST_SYNC, OTHER}
    assert all(seconds > 0 for seconds in spent.values())
    assert sum(spent.values()) == pytest.approx(found["wall_s"]["value"], rel=1e-12)
    assert found["busy"]["reason"] == "the busy fraction is of a GPU: this ran on the CPU"
    assert len(training.losses) == 8


def test_a_profiled_training_computes_the_same():
    torch.manual_seed(0)
    plain = Training()
    torch.manual_seed(0)
    watched = Training()
    plain()
    seen(watched)
    assert watched.losses == plain.losses


def test_nested_modules_are_one_forward():
    net = Training().net
    # In and out of one phase: a tick at its end, and one for what came before it.
    assert seen(lambda: net(ROWS_BF)) == {FORWARD: 1, OTHER: 2}


def test_a_step_of_a_schedule_or_a_scaler_is_one_optimizer_step():
    training = Training(scaled=True)
    training.scaler.scale(training.net(ROWS_BF).mean()).backward()
    assert seen(lambda: training.optimizer.step(None)) == {OPTIMIZER: 1, OTHER: 2}
    found = seen(lambda: training.scaler.step(training.optimizer))
    assert set(found) == {OPTIMIZER, HOST_SYNC, OTHER}
    assert (found[HOST_SYNC], found[OTHER]) == (1, 2)  # it asks once whether the gradients are finite


@pytest.mark.parametrize(
    "ask",
    [
        lambda t: t.item(),
        float,
        bool,
        lambda t: f"{t:.2f}",
        lambda t: t.tolist(),
        lambda t: t.numpy(),
        lambda t: t.cpu(),
    ],
    ids=["item", "float", "bool", "format", "tolist", "numpy", "cpu"],
)
def test_asking_for_a_value_is_a_host_synchronization(ask):
    value = torch.tensor(2.0)
    assert seen(lambda: ask(value))[HOST_SYNC] == 1
    assert HOST_SYNC not in seen(lambda: value + 1)


def test_a_counter_that_an_optimizer_keeps_in_host_memory_waits_for_nothing():
    training = Training()
    training()
    counter = next(iter(training.optimizer.state.values()))["step"]
    assert seen(counter.item) == {OTHER: 1}


def test_a_move_is_a_transfer_only_where_something_moves():
    assert TRANSFER not in seen(lambda: ROWS_BF.to("cpu"))
    assert TRANSFER not in seen(lambda: ROWS_BF.to(torch.float64))
    assert seen(lambda: ROWS_BF.to("meta"))[TRANSFER] == 1
    assert seen(lambda: torch.empty(16, 4, device="meta").copy_(ROWS_BF))[TRANSFER] == 1
    assert TRANSFER not in seen(lambda: torch.empty(16, 4).copy_(ROWS_BF))


@pytest.mark.parametrize("how", ["function", "module", "in place"])
def test_a_compiled_step_is_one_bar_with_nothing_told_apart(how):
    net = Training().net
    step = {
        "function": lambda: torch.compile(lambda rows_BF: net(rows_BF).sum(), backend="eager"),
        "module": lambda: torch.compile(net, backend="eager"),
        "in place": lambda: net.compile(backend="eager") or net,
    }[how]()
    step(ROWS_BF)
    num_compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    found = seen(lambda: step(ROWS_BF))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == num_compiled
    assert found[COMPILED] == 1
    assert set(found) <= {COMPILED, FORWARD, OTHER}
    assert COMPILED not in seen(lambda: Training().net(ROWS_BF))
    assert not [
        one for one in profile_torch._instances(torch._dynamo.eval_frame.OptimizeContext) if one.enter_exit_hooks[1:]
    ]


def test_a_compiled_step_that_fails_ends_its_phase():
    def fails(rows_BF):
        rows_BF = rows_BF + 1
        raise ValueError("on purpose")

    compiled, net = torch.compile(fails, backend="eager"), Training().net

    def call():
        with pytest.raises(ValueError, match="on purpose"):
            compiled(ROWS_BF)
        net(ROWS_BF)

    call()
    assert set(seen(call)) == {COMPILED, FORWARD, OTHER}


def state():
    """Return everything that is wrapped, as it is now."""
    kinds = {
        torch.Tensor,
        torch.nn.Module,
        torch.optim.Optimizer,
        torch.amp.GradScaler,
        torch.cuda.CUDAGraph,
        DataLoader,
    }
    kinds |= set(profile.defining_classes(torch.optim.Optimizer, "step"))
    kinds |= set(torch.utils.data.dataloader._BaseDataLoaderIter.__subclasses__())
    kinds.add(torch.utils.data.dataloader._BaseDataLoaderIter)
    spaces = [(kind, dict(vars(kind))) for kind in sorted(kinds, key=str)]
    names = ("backward", "grad", "synchronize", "clip_grad_norm_", "clip_grad_value_")
    modules = (torch.autograd, torch.cuda, torch.nn.utils, torch.nn.utils.clip_grad, sys.modules[__name__])
    return spaces, [getattr(module, name, None) for module in modules for name in names]


def test_everything_is_put_back_also_after_an_exception():
    training = Training()
    before, own_step = state(), training.optimizer.step
    with profile_torch.watching(Phases()):
        assert state() != before
        assert clip_grad_norm_ is not before[1][-2]
    assert state() == before
    with pytest.raises(ZeroDivisionError):
        seen(lambda: 1 / 0)
    assert state() == before
    assert training.optimizer.step is own_step


def test_the_kernels_are_those_of_the_device_without_copies_and_named_ranges():
    def event(name, device, start, end, *, is_user_annotation=False):
        kind = getattr(torch.autograd.DeviceType, device)
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, device_type=kind, time_range=span, is_user_annotation=is_user_annotation)

    events = [
        event("aten::mm", "CPU", 0, 900),
        event("sgemm_128x128", "CUDA", 100, 300),
        event("elementwise", "CUDA", 200, 400),
        event("Memcpy HtoD (Pinned -> Device)", "CUDA", 0, 1000),
        event("Memset (Device)", "CUDA", 0, 1000),
        event("Optimizer.step#Adam.step", "CUDA", 0, 1000, is_user_annotation=True),
    ]
    kernels = profile_torch.kernel_intervals(events)
    assert kernels == [(100e-6, 300e-6), (200e-6, 400e-6)]
    assert profile.union_length(kernels) == pytest.approx(300e-6)


def test_real_events_have_what_is_read_of_them():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        torch.ones(8, 8) @ torch.ones(8, 8)
    events = profiler.events()
    assert {event.device_type.name for event in events} == {"CPU"}
    assert all(event.time_range.end >= event.time_range.start for event in events)
    assert all(event.is_user_annotation is False for event in events)
    assert profile_torch.kernel_intervals(events) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_the_busy_fraction_has_a_reason():
    found = phases_record._busy_percent([profile_torch], lambda: None, lambda: None, "cuda")
    assert found["value"] is None
    assert found["reason"] == "PyTorch has no CUDA device here: there are no kernels to profile"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_a_call_of_kernels_is_busier_than_one_of_sleep():
    import time

    matrix = torch.randn(2048, 2048, device="cuda")

    def busy():
        for _ in range(50):
            torch.mm(matrix, matrix)
        torch.cuda.synchronize()

    def idle():
        torch.mm(matrix, matrix)
        torch.cuda.synchronize()
        time.sleep(0.2)

    values = [
        phases_record._busy_percent([profile_torch], lambda: None, call, "cuda")["value"] for call in (busy, idle)
    ]
    assert values[0] > 50
    assert 0 < values[1] < 10
    found = seen(lambda: ROWS_BF.to("cuda"))
    assert found[TRANSFER] == 1


def test_on_cuda_a_boundary_waits_by_the_function_that_was_there_before_the_patches(monkeypatch):
    waited = []

    def synchronize():
        waited.append(len(waited))

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    phases = Phases(Ticks(), settle=profile_torch.settle)
    with profile_torch.watching(phases):
        phases.run(torch.cuda.synchronize)
    assert phases.ns[HOST_SYNC] > 0
    assert len(waited) >= 4  # at the start, at both ends of the wait, and the wait itself
