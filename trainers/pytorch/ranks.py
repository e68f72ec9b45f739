"""Train data-parallel under torchrun: each process is a rank, and takes its rows of every batch.

All ranks together compute what one process computes: the batches, their order, the random numbers and BatchNorm's
statistics are those of the whole batch, and DistributedDataParallel averages the gradients. So a training may continue
with another number of ranks. What each rank draws for the whole batch, and uses a part of, is the price.

Shape suffix: B rows of the whole batch.
"""

import contextlib
import inspect
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from trainers.contract import BadInput
from trainers.pytorch.devices import find_device

__all__ = ["Ranks", "join_ranks"]

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SYNC_BUFFERS = next(
    name for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)  # fmt: skip
"""How PyTorch, before and from 2.13 on, calls the argument by which buffers are sent in every forward pass."""

_LAST_TENSORS_S = 0.1

_OF_LOST_RANKS = re.compile(r"Connection (closed|reset|refused)|Broken pipe|[Tt]imed? ?out|NCCL|pair\.cc|Socket")
"""Words of the errors that Gloo and NCCL raise when another rank does not answer."""

_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for another that is alive: validation and checkpoints of the first rank are in it."""


class Ranks:
    """Hold this process's place among the ranks of a training, and what the ranks do together.

    Without arguments it is that of a process that trains alone, where nothing is changed, and nothing is sent.

    Args:
        rank: number of this process, from 0.
        number: how many ranks there are.
        is_parallel: whether the networks are DistributedDataParallel's, as they are under torchrun with one rank too.

    Attributes:
        num_rows: rows of the whole batch of the current step; the trainer sets it.

    """

    def __init__(self, rank: int = 0, number: int = 1, *, is_parallel: bool = False) -> None:
        """Know no batch yet."""
        self.rank, self.number, self.is_parallel = rank, number, is_parallel
        self.num_rows = 0

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the files and the lines."""
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """The rows of the current batch that this rank takes, see `rows_of`."""
        return self.rows_of(self.num_rows)

    def rows_of(self, num_rows: int) -> slice:
        """Return which of `num_rows` rows this rank takes: as many as the others, or one more.

        Of fewer rows than ranks each rank takes all: the mean over them is then the same.
        """
        if num_rows < self.number:
            return slice(0, num_rows)
        return slice(self.rank * num_rows // self.number, (self.rank + 1) * num_rows // self.number)

    @property
    def weight(self) -> float:
        """The factor of a mean over this rank's rows where the ranks' means are averaged; 1 where all have as many.

        DistributedDataParallel averages gradients over ranks, so that the loss of each is multiplied by it.
        """
        if self.num_rows < self.number:
            return 1.0
        rows = self.rows
        return float(self.number * (rows.stop - rows.start) / self.num_rows)

    def weighted(self, loss: Tensor) -> Tensor:
        """Return the loss of this rank's rows, multiplied by `weight`."""
        return loss * self.weight if self.is_parallel and self.weight != 1 else loss

    def mean(self, of_rows: Tensor) -> Tensor:
        """Return the mean over the whole batch of what is the mean over this rank's rows; no gradient flows back."""
        if not self.is_parallel:
            return of_rows
        total = self.weighted(of_rows.detach()).clone()
        self.sum_over_ranks(total)
        return total / self.number

    def mean_with_gradient(self, of_rows: Tensor) -> Tensor:
        """Return the mean over the whole batch of what is the mean over this rank's rows, for a loss that needs it."""
        if not self.is_parallel:
            return of_rows
        total = cast("Tensor", _Sum.apply(self.weighted(of_rows)))  # type: ignore[no-untyped-call]
        return total / self.number

    def sum_over_ranks(self, values: Tensor) -> None:
        """Replace numbers by their sums over all ranks."""
        if self.is_parallel:
            dist.all_reduce(values)

    def whole_batch(self, of_rows: Tensor) -> Tensor:
        """Return the rows (B, ...) of all ranks, in the batch's order, on every rank."""
        if self.num_rows < self.number:
            return of_rows
        whole = of_rows.new_zeros(self.num_rows, *of_rows.shape[1:])
        whole[self.rows] = of_rows
        self.sum_over_ranks(whole)
        return whole

    def agreed(self, value: float) -> float:
        """Return the first rank's value, on which all decide alike; their own may differ in the last bit on a GPU."""
        if not self.is_parallel:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=_place_of_messages())
        dist.broadcast(shared, 0)
        return shared.item()

    def largest(self, number: int) -> int:
        """Return the largest of the whole numbers that the ranks call this with."""
        if not self.is_parallel:
            return number
        found = torch.tensor(number, device=_place_of_messages())
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return a network whose backward pass averages the gradients of all ranks; the network itself if alone.

        Dropout and BatchNorm in it become those of the whole batch. Its weights, and their names, stay its own.
        """
        if not self.is_parallel:
            return network
        _of_whole_batch(network, self)
        if next(network.parameters()).device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        # Buffers are equal, and writing to them between two forward passes of one step would spoil its backward pass.
        settings: dict[str, Any] = {_SYNC_BUFFERS: False}
        return DistributedDataParallel(network, **settings)

    def leave(self) -> None:
        """Leave the ranks after the training's end, which PyTorch wants said; alone, do nothing."""
        if self.is_parallel:
            dist.barrier()
            # A thread of Gloo's may still hold the last tensors it sent. It needs Python's lock to let them go, which
            # PyTorch holds while it waits for that thread's end: now and then all would wait forever.
            time.sleep(_LAST_TENSORS_S)
            dist.destroy_process_group()

    @contextlib.contextmanager
    def naming_lost_ones(self) -> Iterator[None]:
        """Turn the errors that the block raises when another rank has ended into one line.

        Raises:
            BadInput: another rank has.

        """
        try:
            yield
        except RuntimeError as error:
            if self.number == 1 or not _OF_LOST_RANKS.search(str(error)):
                raise
            mend = "look at what that one says, and start all again, with --resume if there is a checkpoint"
            raise BadInput("another rank has ended or cannot be reached", "torchrun", mend) from error

    def check_batch_size(self, batch_size: int) -> None:
        """Refuse batches of fewer rows than ranks.

        Raises:
            BadInput: they are.

        """
        if batch_size < self.number:
            what = f"batch_size is {batch_size}, which {self.number} ranks cannot share"
            raise BadInput(what, "configuration", f"make it at least {self.number}, or start fewer ranks")

    def refuse_switches(self, switches: Mapping[str, bool], *names: str) -> None:
        """Refuse switches that several ranks cannot have.

        Raises:
            BadInput: one of them is on.

        """
        for name in names if self.is_parallel else ():
            if switches[name]:
                mend = f"leave it off with --switch {name}=off, or train without torchrun"
                raise BadInput(f"{name} is on, which works in one process only", "switches", mend)


def join_ranks(device: torch.device | None = None) -> Ranks:
    """Join the ranks that torchrun started, or those that this process has joined; alone if there are none.

    Args:
        device: where this rank trains; by default on its GPU, if PyTorch can use one. It chooses NCCL or Gloo.

    Raises:
        BadInput: torchrun's variables are set in part, or the ranks do not find each other.

    """
    if not dist.is_initialized():
        given = [name for name in _VARIABLES if os.environ.get(name)]
        if "RANK" not in given or "WORLD_SIZE" not in given:
            return Ranks()
        if len(given) < len(_VARIABLES):
            missing = next(name for name in _VARIABLES if name not in given)
            raise BadInput(f"{missing} is not set, but RANK is", "environment", "start the ranks with torchrun")
        rank, number = os.environ["RANK"], os.environ["WORLD_SIZE"]
        if not (rank.isdecimal() and number.isdecimal() and int(rank) < int(number)):
            raise BadInput(f"RANK is {rank} of {number}", "environment", "start the ranks with torchrun")
        on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device or find_device("cuda"))
        try:
            dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            what = f"the ranks do not find each other ({' '.join(str(error).split())[:200]})"
            raise BadInput(what, "torchrun", "check its --nnodes, --nproc-per-node and --rdzv-endpoint") from error
    return Ranks(dist.get_rank(), dist.get_world_size(), is_parallel=True)


def _place_of_messages() -> torch.device:
    """Return where the numbers lie that ranks send each other: NCCL takes those on a GPU alone."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


class _Sum(torch.autograd.Function):
    """The sum over ranks of a tensor; its gradient is the sum of the gradients that all ranks have for it."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _of_whole_batch(module: nn.Module, ranks: Ranks) -> None:
    """Replace the layers of a network that depend on more than their own row, or on random numbers."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, _Dropout(child.p, ranks))
        elif isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and child.weight.device.type != "cuda":
            setattr(module, name, _SyncBatchNorm(child, ranks))
        else:
            _of_whole_batch(child, ranks)


class _Dropout(nn.Dropout):
    """Dropout with this rank's rows of the mask that one process draws for the whole batch."""

    def __init__(self, p: float, ranks: Ranks) -> None:
        super().__init__(p)
        self._ranks = ranks

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        if not self.training:
            return input
        ones_B = input.new_ones(self._ranks.num_rows, *input.shape[1:])
        return input * functional.dropout(ones_B, self.p)[self._ranks.rows]


class _SyncBatchNorm(_BatchNorm):
    """BatchNorm over the rows of all ranks on a CPU, for which PyTorch's SyncBatchNorm has no code.

    The mean, then the mean squared distance from it, are averaged over ranks, and gradients flow back through both.
    """

    def __init__(self, of: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(of.num_features, of.eps, of.momentum, of.affine, of.track_running_stats)
        self.load_state_dict(of.state_dict())
        self._ranks = ranks

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's name
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        if not self.training:
            return super().forward(input)
        values = input.float()
        others = [0, *range(2, values.dim())]
        mean = self._ranks.mean_with_gradient(values.mean(others, keepdim=True))
        centred = values - mean
        variance = self._ranks.mean_with_gradient(centred.square().mean(others, keepdim=True))
        self._note(mean.detach().flatten(), variance.detach().flatten(), math.prod(values.shape[2:]))
        shape = mean.shape
        scale = cast("Tensor", self.weight).view(shape) * torch.rsqrt(variance + self.eps)
        return (centred * scale + cast("Tensor", self.bias).view(shape)).to(input.dtype)

    def _note(self, mean: Tensor, variance: Tensor, num_places: int) -> None:
        """Update the running statistics, the variance without bias."""
        count = self._ranks.num_rows * num_places
        momentum = cast("float", self.momentum)
        cast("Tensor", self.num_batches_tracked).add_(1)
        cast("Tensor", self.running_mean).lerp_(mean, momentum)
        cast("Tensor", self.running_var).lerp_(variance * (count / max(1, count - 1)), momentum)
