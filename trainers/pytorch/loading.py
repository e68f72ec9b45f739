"""Loaders whose order depends on the seed and the epoch alone, for PyTorch."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Subset

from trainers.pytorch.randomness import derived_seed
from trainers.pytorch.ranks import Ranks

__all__ = [
    "EpochSampler",
    "RankBatchSampler",
    "batch_size_of",
    "make_loader",
    "order_of",
    "prepare_worker",
    "stop_workers",
]


class EpochSampler(RandomSampler):
    """A random order of the rows that depends on the seed and the epoch alone.

    A generator that runs on from epoch to epoch would give another order to a loader whose workers persist, for that
    one draws from it at other times. Reseeding at the start of every epoch makes the order the same for all of them,
    and lets a training that was interrupted continue in the middle of an epoch.

    Args:
        data_source: what is drawn from.

    """

    def __init__(self, data_source: Dataset[Any]) -> None:
        """Stand at the first row of epoch 0 of seed 0."""
        super().__init__(cast("Subset[Any]", data_source), generator=torch.Generator())
        self.dataset = data_source
        self.seek(seed=0, epoch=0, num_done=0)

    def seek(self, seed: int, epoch: int, num_done: int) -> None:
        """Let the next iteration run through `epoch` of a training with `seed`, without its first `num_done` rows."""
        self._order_seed, self._num_done = derived_seed(seed, epoch), num_done

    def __iter__(self) -> Iterator[int]:
        """Row numbers of the epoch, from where `seek` put it."""
        cast("torch.Generator", self.generator).manual_seed(self._order_seed)
        return itertools.islice(super().__iter__(), self._num_done, None)


class RankBatchSampler(BatchSampler):
    """Cut each batch of an order of rows into the parts of several ranks, and give those of one.

    Args:
        sampler: the order of the rows.
        batch_size: rows of a whole batch.
        ranks: says which part is this rank's.

    """

    def __init__(self, sampler: EpochSampler, batch_size: int, ranks: Ranks) -> None:
        """Give batches from where the sampler is."""
        super().__init__(sampler, batch_size, drop_last=False)
        self._ranks = ranks

    def __iter__(self) -> Iterator[list[int]]:
        """Row numbers of this rank's part of each batch."""
        for batch in super().__iter__():
            yield batch[self._ranks.rows_of(len(batch))]


def order_of(loader: DataLoader[Any]) -> EpochSampler | None:
    """Return the sampler that gives the order of a loader's rows, if it can seek as an `EpochSampler` does."""
    sampler: EpochSampler | None = getattr(_cut_of(loader), "sampler", None)
    return sampler if hasattr(sampler, "seek") else None


def batch_size_of(loader: DataLoader[Any]) -> int:
    """Return the rows of a loader's batch, all ranks together."""
    return getattr(_cut_of(loader), "batch_size", None) or 1


def _cut_of(loader: DataLoader[Any]) -> Any:
    """Return what cuts a loader's rows into batches: its batch sampler, or itself where it has none."""
    return getattr(loader, "batch_sampler", None) or loader


def make_loader(  # noqa: PLR0913 - what a loader consists of
    dataset: Dataset[Any],
    batch_size: int,
    *,
    sampler: EpochSampler | None = None,
    num_workers: int = 0,
    persistent_workers: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
    ranks: Ranks | None = None,
) -> DataLoader[Any]:
    """Loader of batches in the sampler's order or, without one, in the data's, put together by `collate` or by PyTorch.

    Batches in a sampler's order are cut into parts for parallel ranks, and the loader gives this rank's.
    Persistent workers are asked for only where there are workers: PyTorch raises otherwise.
    """
    cut: dict[str, Any] = {"batch_size": batch_size, "sampler": sampler}
    if sampler is not None and ranks is not None and ranks.is_parallel:
        cut = {"batch_sampler": RankBatchSampler(sampler, batch_size, ranks)}
    return DataLoader(
        dataset,
        **cut,
        num_workers=num_workers,
        persistent_workers=persistent_workers and num_workers > 0,
        # The loader draws a seed for its workers at every epoch. From the global generator, which it takes
        # otherwise, that draw would shift the dropout masks; no worker here draws anything.
        generator=torch.Generator(),
        worker_init_fn=prepare_worker,
        collate_fn=collate,
    )


def prepare_worker(_: int) -> None:
    """Let a worker process out of the group that a Ctrl-C goes to: the training process says when to stop.

    One that stops while it takes a batch hangs up on its workers in the middle of a word, and the thread in them that
    hands batches over would tell the terminal about it.
    """
    os.setpgid(0, 0)
    sys.excepthook = _unless_hung_up


def _unless_hung_up(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, traceback)


def stop_workers(loader: DataLoader[Any]) -> None:
    """Stop the workers that a loader keeps between epochs, if it has any."""
    # Only the iterator can stop them, and the loader has no public way to reach it. Waiting for the garbage
    # collector instead leaves processes behind for as long as anything refers to the loader.
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()  # noqa: SLF001 - see above
        loader._iterator = None  # noqa: SLF001 - see above
