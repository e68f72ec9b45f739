"""Whole steps of a training as CUDA graphs, and optimizers whose tensors stay where a graph found them, for PyTorch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = [
    "Captured",
    "LearningRates",
    "begin_moments",
    "capture",
    "captures_graphs",
    "changed_by",
    "keep_tensors",
]

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Captured(Generic[_Result]):
    """All kernels of a function, to be launched at once.

    Attributes:
        graph: the kernels.
        result: tensors that hold what the newest replay has computed.

    """

    graph: torch.cuda.CUDAGraph
    result: _Result

    def replay(self) -> _Result:
        """Compute it again with what its inputs hold now, and return the result's tensors."""
        self.graph.replay()
        return self.result


def captures_graphs(device: torch.device) -> bool:
    """Whether steps on a device can be captured as graphs."""
    return device.type == "cuda"


def capture(
    compute: Callable[[], _Result],
    changed: Sequence[Tensor],
    device: torch.device,
    *,
    warm_up: Callable[[], object] | None = None,
) -> Captured[_Result]:
    """Capture all kernels of a function as a CUDA graph, without any effect on what it changes.

    Random numbers that it draws from the device's generator go on with every replay as without a graph.

    Args:
        compute: launches the kernels; what it reads must stay in the same tensors from now on.
        changed: every tensor that it changes.
        device: a CUDA device.
        warm_up: computes everything that is captured once, and may do so fewer times; `compute` twice without it.
            Libraries choose their kernels and take their memory then.

    """
    # Detached: a clone with a gradient would keep the node that accumulates it on the stream of now, and a capture may
    # not wait for another stream.
    before = [tensor.detach().clone() for tensor in changed]
    random = torch.cuda.get_rng_state(device)
    graph = torch.cuda.CUDAGraph()
    capturing = torch.cuda.graph(graph)
    # The warm-up runs on the stream of the captures, which is one and the same: for every further stream cuBLAS keeps
    # 32 MiB for each thread until the process ends.
    stream = cast("torch.cuda.Stream", capturing.capture_stream)
    current = torch.cuda.current_stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(2):
            (warm_up or compute)()
    current.wait_stream(stream)
    for tensor, value in zip(changed, before, strict=True):
        tensor.data.copy_(value)
    torch.cuda.set_rng_state(random, device)
    with capturing:
        result = compute()
    return Captured(graph, result)


def begin_moments(optimizer: Optimizer) -> None:
    """Give Adam or AdamW the moments that its first step would begin with: zeros, in tensors to capture."""
    if optimizer.state:
        return
    state = optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    slots = {
        number: {"step": torch.zeros(()), "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
        for number, weight in enumerate(weights)
    }
    optimizer.load_state_dict({**state, "state": slots})


class LearningRates:
    """The learning rates of optimizers, on a device for captured steps to read.

    The optimizers keep theirs as numbers, which a schedule changes and a state holds exactly.

    Args:
        optimizers: Adam or AdamW, capturable.
        device: a CUDA device.

    """

    def __init__(self, *optimizers: Optimizer, device: torch.device) -> None:
        """Copy the rates of now."""
        self._optimizers = optimizers
        self._copied = [group["lr"] for group in self._groups()]
        self._rates = [torch.tensor(float(rate), device=device) for rate in self._copied]

    def _groups(self) -> list[dict[str, Any]]:
        """Return the groups of now: loading a state makes new ones."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the optimizers read the device's rates inside the block, in which their steps are captured."""
        groups = self._groups()
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate
        try:
            yield
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number

    def update(self) -> None:
        """Copy rates that have changed, for the next replay."""
        for number, (group, rate) in enumerate(zip(self._groups(), self._rates, strict=True)):
            if group["lr"] != self._copied[number]:
                rate.fill_(group["lr"])
                self._copied[number] = group["lr"]


def changed_by(optimizer: Optimizer) -> list[Tensor]:
    """Return every tensor that a step of an optimizer changes: weights and what it keeps of each."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    kept = [value for slot in optimizer.state.values() for value in slot.values() if isinstance(value, Tensor)]
    return [*weights, *kept]


@contextmanager
def keep_tensors(*optimizers: Optimizer) -> Iterator[None]:
    """Let optimizers load a state inside the block into the tensors that they have, in which captured steps look.

    What the loaded state does not have, as that of an optimizer before its first step, becomes zero.
    """
    held = [(optimizer, dict(optimizer.state)) for optimizer in optimizers]
    yield
    for optimizer, slots in held:
        for weight, slot in slots.items():
            loaded = optimizer.state.get(weight, {})
            for key, tensor in slot.items():
                tensor.copy_(loaded[key]) if key in loaded else tensor.zero_()
            optimizer.state[weight] = slot
