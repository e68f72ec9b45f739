"""Loaders that a caller holds, as document 004's functions take and give them, and how a trainer uses them.

Shape suffixes: N rows, F features, K targets.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler, Subset, TensorDataset

from trainers.contract import BadInput
from trainers.pytorch.loading import EpochSampler, prepare_worker
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import Batch, data_fingerprint, split_rows

__all__ = ["GivenLoaders", "SplitLoader", "plain_number", "split_loaders"]


class SplitLoader(DataLoader[Batch]):
    """A loader that `setup_training` made; it knows which of its settings the caller chose.

    Attributes:
        chosen: names of those settings.
        val_split: fraction of the rows that the validation part has.
        test_split: fraction of the rows that the test part has.

    """

    chosen: frozenset[str] = frozenset()
    val_split: float = 0.0
    test_split: float = 0.0


def split_loaders(
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    config: RegressorConfig,
    chosen: frozenset[str],
) -> tuple[SplitLoader, SplitLoader, SplitLoader]:
    """Split the rows and make a loader of each part, of which the first one shuffles.

    Args:
        X: scaled features (N, F).
        Y: scaled targets (N, K).
        config: says how to split, how many rows a batch has and how many workers a loader.
        chosen: which of those settings the caller chose.

    Returns:
        Loaders of (features_BF, targets_BK) for training, validation and test.

    Raises:
        BadInput: tables of other shapes, or a part that would be empty.

    """
    features_NF, targets_NK = _table(X, "X"), _table(Y, "Y")
    if len(features_NF) != len(targets_NK):
        what = f"X has {len(features_NF)} rows and Y {len(targets_NK)}"
        raise BadInput(what, "setup_training", "give both one row a sample")
    splits = split_rows(len(features_NF), config)
    everything = TensorDataset(features_NF, targets_NK)
    loaders = []
    for rows in (splits.train, splits.val, splits.test):
        loader = SplitLoader(
            cast("Dataset[Batch]", Subset(everything, rows.tolist())),
            batch_size=config.batch_size,
            shuffle=rows is splits.train,
            num_workers=config.num_workers,
            # PyTorch refuses persistence where there is nothing that could persist.
            persistent_workers=config.persistent_workers and config.num_workers > 0,
        )
        loader.chosen, loader.val_split, loader.test_split = chosen, config.val_split, config.test_split
        loaders.append(loader)
    train, val, test = loaders
    return train, val, test


def plain_number(value: Any) -> Any:
    """Turn a number of NumPy's, or of a class derived from Python's, into a plain one; others stay as they are."""
    if isinstance(value, np.generic):
        return value.item()
    kind = next((kind for kind in (bool, int, float) if isinstance(value, kind)), None)
    return value if kind is None else kind(value)


def _table(array: ArrayLike | Tensor, name: str) -> Tensor:
    table = torch.as_tensor(array if isinstance(array, Tensor) else np.asarray(array))
    if table.ndim != 2:
        raise BadInput(f"has {table.ndim} dimension(s)", name, "give a table of two: (rows, columns)")
    return table.to("cpu", torch.float32)


@dataclass(frozen=True)
class GivenLoaders:
    """Three loaders as a trainer's data.

    A loader that takes its rows in order, or in PyTorch's own random order, is rebuilt over the same rows with the
    trainer's order, which depends on the seed and the epoch alone: so an interrupted training can go on in the middle
    of an epoch, to the bit. A loader with a sampler or generator of its own is used as it is.

    Attributes:
        loaders: by part: `train`, `val` and `test`.
        num_features: columns of X.
        num_targets: columns of Y.
        overrides: settings of the trainer's that the loaders follow: `batch_size`, `num_workers`, `persistent_workers`.

    """

    loaders: Mapping[str, DataLoader[Any]]
    num_features: int
    num_targets: int
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look whether the tables have the columns that the network is for.

        Raises:
            BadInput: they have not, or a loader has no batch.

        """
        for part, loader in self.loaders.items():
            if not _num_batches(loader):
                raise BadInput("has no batch", f"{part}_loader", "give it rows")
            if not hasattr(loader.dataset, "__getitem__"):
                continue
            features_F, targets_K = loader.dataset[0]
            given = (int(features_F.shape[-1]), int(targets_K.shape[-1]))
            if given != (self.num_features, self.num_targets):
                what = f"has {given[0]} features and {given[1]} targets, not {self.num_features} and {self.num_targets}"
                raise BadInput(what, f"{part}_loader", "give input_dim and output_dim of this data")

    def loader(self, part: str, **_: object) -> DataLoader[Batch]:
        """Loader of one part, as it was given; the trainer's own sizes and workers mean nothing to it."""
        given = self.loaders[part]
        if not _can_be_made_anew(given):
            return given
        shuffled = isinstance(given.sampler, RandomSampler)
        settings = {name: getattr(given, name) for name in _KEPT} | dict(self.overrides)
        num_workers = settings["num_workers"]
        settings["persistent_workers"] = settings["persistent_workers"] and num_workers > 0
        if num_workers == 0:
            settings |= {"prefetch_factor": None, "timeout": 0, "multiprocessing_context": None}
        dataset = cast("Dataset[Batch]", given.dataset)
        settings["worker_init_fn"] = given.worker_init_fn or prepare_worker
        sampler = EpochSampler(dataset) if shuffled else None
        return DataLoader(dataset, sampler=sampler, generator=torch.Generator(), **settings)

    def fingerprint(self) -> str | None:
        """SHA-256 of the tables and of each part's rows; None where the loaders hold something else than tables."""
        digest = hashlib.sha256()
        for loader in self.loaders.values():
            rows = loader.dataset
            while isinstance(rows, Subset):
                digest.update(np.asarray(rows.indices, np.int64).tobytes())
                rows = rows.dataset
            if not isinstance(rows, TensorDataset) or len(rows.tensors) != 2:
                return None
            digest.update(data_fingerprint(*rows.tensors).encode())
        return digest.hexdigest()


_KEPT = (
    "batch_size", "collate_fn", "drop_last", "multiprocessing_context", "num_workers", "persistent_workers",
    "pin_memory", "prefetch_factor", "timeout",
)  # fmt: skip


def _num_batches(loader: DataLoader[Any]) -> int:
    try:
        return len(loader)
    except TypeError as error:
        what = "does not know how many batches it has"
        raise BadInput(what, "training", "give loaders over data sets of a known length") from error


def _can_be_made_anew(loader: DataLoader[Any]) -> bool:
    """Whether nothing about a loader's order is the caller's own."""
    sampler = loader.sampler
    plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    )
    return plain and type(loader.batch_sampler) is BatchSampler and loader.generator is None
