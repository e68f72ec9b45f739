"""Data of the tabular regressor: reading, preprocessing, splitting, batching, and making it up.

Shape suffixes: N rows, F features, K targets, B rows of one batch, R latent series.
"""

import hashlib
import itertools
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from trainers.common.cache_dir import get_or_create
from trainers.contract import BadInput
from trainers.pytorch.loading import EpochSampler, make_loader
from trainers.tabular_regressor.config import RegressorConfig

__all__ = [
    "Feed",
    "RegressionData",
    "Scaling",
    "Splits",
    "batches_of_epoch",
    "data_fingerprint",
    "find_data",
    "load_data",
    "make_data",
    "offline_data_path",
    "read_arrays",
    "split_rows",
    "write_arrays",
]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
Rows = NDArray[np.int64]
Batch = tuple[Tensor, Tensor]

_LEAST_ROWS = 10
_GENERATOR_VERSION = 1  # part of the cached file's name: raise it whenever make_data's output changes


@dataclass(frozen=True)
class Scaling:
    """Hold the offset and the scale of every column, to give predictions on the original scale.

    Attributes:
        mean_F: mean of every column of X.
        deviation_F: population standard deviation of every column of X, 1 where it was zero.
        median_K: median of every column of Y.
        iqr_K: distance between the quartiles of every column of Y, 1 where it was zero.

    """

    mean_F: NDArray[np.float64]
    deviation_F: NDArray[np.float64]
    median_K: NDArray[np.float64]
    iqr_K: NDArray[np.float64]

    @classmethod
    def of(cls, features_NF: FloatArray, targets_NK: FloatArray) -> "Scaling":
        """Measure the scaling of raw data, in double precision.

        All rows count, those of the validation and test split too: so did the original program.
        """
        quartiles_3K = np.percentile(targets_NK.astype(np.float64), [25, 50, 75], axis=0)
        deviation_F = features_NF.std(axis=0, dtype=np.float64)
        # A constant column's deviation is rounding noise, not exactly zero; dividing by it would make up a signal.
        constant_F = features_NF.min(axis=0) == features_NF.max(axis=0)
        iqr_K = quartiles_3K[2] - quartiles_3K[0]
        return cls(
            mean_F=features_NF.mean(axis=0, dtype=np.float64),
            deviation_F=np.where(constant_F | (deviation_F == 0), 1.0, deviation_F),
            median_K=quartiles_3K[1],
            iqr_K=np.where(iqr_K == 0, 1.0, iqr_K),
        )

    def scale_features(self, features_NF: FloatArray) -> FloatArray:
        """(X - mean) / deviation, rounded to float32 at the end."""
        return _to_float32((features_NF.astype(np.float64) - self.mean_F) / self.deviation_F)

    def scale_targets(self, targets_NK: FloatArray) -> FloatArray:
        """(Y - median) / IQR, rounded to float32 at the end."""
        return _to_float32((targets_NK.astype(np.float64) - self.median_K) / self.iqr_K)

    def unscale_targets(self, scaled_NK: FloatArray) -> FloatArray:
        """Inverse of `scale_targets`."""
        return _to_float32(scaled_NK.astype(np.float64) * self.iqr_K + self.median_K)

    def to_dict(self) -> dict[str, NDArray[np.float64]]:
        """Give the four arrays by name, as a checkpoint holds them."""
        return {name: np.array(array) for name, array in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scaling":
        """Rebuild from `to_dict`'s result."""
        return cls(**{name: np.asarray(values[name], np.float64) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Splits:
    """Row numbers of the three parts; together they are every row once."""

    train: Rows
    val: Rows
    test: Rows


class Feed(Protocol):
    """Define the source that a trainer takes its batches from."""

    @property
    def num_features(self) -> int:
        """Columns of X."""

    @property
    def num_targets(self) -> int:
        """Columns of Y."""

    def loader(self, part: str, **settings: Any) -> DataLoader[Batch]:
        """Make a loader of `train`, `val` or `test`; the settings are those of `make_loader`."""

    def fingerprint(self) -> str | None:
        """Return a hash of the data, the same for feeds that hold the same; None where it cannot be computed."""


@dataclass(frozen=True)
class RegressionData:
    """One data file, ready to train on.

    Attributes:
        features_NF: standardized X, float32, on the CPU.
        targets_NK: Y over its quartiles' distance, float32, on the CPU.
        splits: which rows are for training, validation and test.
        scaling: how to get back to the original scale.

    """

    features_NF: Tensor
    targets_NK: Tensor
    splits: Splits
    scaling: Scaling

    @property
    def num_features(self) -> int:
        """Columns of X."""
        return self.features_NF.shape[1]

    @property
    def num_targets(self) -> int:
        """Columns of Y."""
        return self.targets_NK.shape[1]

    def part(self, rows: Rows) -> Dataset[Batch]:
        """Make a data set of some rows, an item a row: (features_F, targets_K)."""
        everything = TensorDataset(self.features_NF, self.targets_NK)
        return cast("Dataset[Batch]", Subset(everything, rows.tolist()))

    def loader(self, part: str, **settings: Any) -> DataLoader[Batch]:
        """Return a loader of the `train` rows, reshuffled every epoch, or of the `val` or `test` rows in their order.

        Settings are those of `make_loader`.
        """
        dataset = self.part(getattr(self.splits, part))
        return make_loader(dataset, sampler=EpochSampler(dataset) if part == "train" else None, **settings)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the tables and of each part's rows.

        A training that went on with another split would be tested on rows that it was trained on.
        """
        digest = hashlib.sha256(data_fingerprint(self.features_NF, self.targets_NK).encode())
        for rows in (self.splits.train, self.splits.val, self.splits.test):
            # Splits of one seed are cuts through the same order: without the lengths they would all look alike.
            digest.update(f"{len(rows)} rows".encode())
            digest.update(rows.tobytes())
        return digest.hexdigest()


def _to_float32(array: NDArray[Any]) -> FloatArray:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which every caller reports by its place
        return array.astype(np.float32)


def _read_table(file: h5py.File, name: str, path: Path) -> FloatArray:
    """One data set of the file as a float32 table of finite numbers, or BadInput."""
    where = f"{path} [{name}]"
    table = file.get(name)
    if not isinstance(table, h5py.Dataset):
        found = ", ".join(sorted(file)) or "nothing"
        raise BadInput(f"no data set {name} (found: {found})", str(path), "store X (rows, features), Y (rows, targets)")
    if table.dtype.kind not in "fiu":
        raise BadInput(f"holds {table.dtype}, not numbers", where, "encode text and categories as numbers first")
    if table.ndim != 2:
        raise BadInput(f"has {table.ndim} dimension(s)", where, "store a table of two: (rows, columns)")
    if 0 in table.shape:
        raise BadInput(f"is empty, shape {table.shape}", where, "store at least one row and one column")
    array = _to_float32(table[()])
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        what = f"NaN, infinite or beyond float32 at [{row}, {column}] ({(~np.isfinite(array)).sum()} in all)"
        raise BadInput(what, where, "remove or fill in such values")
    return array


def read_arrays(path: Path) -> tuple[FloatArray, FloatArray]:
    """Read X and Y of an HDF5 file; when their first dimensions differ both are transposed, and a warning says so.

    Returns:
        X (N, F) and Y (N, K), float32, finite.

    Raises:
        BadInput: the file is missing, damaged or no HDF5, lacks X or Y, holds text, NaN, infinity, fewer than ten
            rows or tables whose shapes fit neither way round.

    """
    if not path.is_file():
        raise BadInput("no such file", str(path), "give an HDF5 file with X and Y, or run make-data")
    try:
        with h5py.File(path, "r") as file:
            features, targets = _read_table(file, "X", path), _read_table(file, "Y", path)
    except (OSError, RuntimeError, KeyError, MemoryError) as error:
        # Which of them h5py raises depends on where in the file the damage is.
        what = f"not a readable HDF5 file ({error})"
        raise BadInput(what, str(path), "check that it was copied completely") from error
    if features.shape[0] != targets.shape[0]:
        if features.shape[1] != targets.shape[1]:
            what = f"X {features.shape} and Y {targets.shape} agree in neither dimension"
            raise BadInput(what, str(path), "give both one row a sample")
        logger.warning("%s: X %s and Y %s are stored transposed; turned round", path, features.shape, targets.shape)
        features, targets = np.ascontiguousarray(features.T), np.ascontiguousarray(targets.T)
    if len(features) < _LEAST_ROWS:
        raise BadInput(f"only {len(features)} row(s)", str(path), f"give at least {_LEAST_ROWS}, to be split")
    return features, targets


def split_rows(num_rows: int, config: RegressorConfig) -> Splits:
    """Shuffle the row numbers by the configuration's split seed and cut them: training, validation, test.

    Raises:
        BadInput: a part would be empty.

    """
    num_test, num_val = int(num_rows * config.test_split), int(num_rows * config.val_split)
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(config.split_seed)).numpy()
    num_train = num_rows - num_val - num_test
    splits = Splits(
        train=order[:num_train], val=order[num_train : num_train + num_val], test=order[num_train + num_val :]
    )
    for name, rows in vars(splits).items():
        if not len(rows):
            what = f"no row is left for the {name} part of {num_rows}"
            raise BadInput(what, "split", "give more rows or larger fractions")
    return splits


def load_data(path: Path, config: RegressorConfig, scaling: Scaling | None = None) -> RegressionData:
    """Read, preprocess and split one file.

    Args:
        path: an HDF5 file, see `read_arrays`.
        config: says how to split.
        scaling: that of a trained network, to be used instead of the file's own.

    Raises:
        BadInput: as `read_arrays` and `split_rows`; also when the scaling is for other columns, or a column spreads
            too far for float32 once scaled.

    """
    features_NF, targets_NK = read_arrays(path)
    scaling = scaling or Scaling.of(features_NF, targets_NK)
    columns, expected = (features_NF.shape[1], targets_NK.shape[1]), (len(scaling.mean_F), len(scaling.median_K))
    if columns != expected:
        what = f"has {columns[0]} features and {columns[1]} targets, the checkpoint {expected[0]} and {expected[1]}"
        raise BadInput(what, str(path), "give data with the columns it was trained on")
    scaled = {"X": scaling.scale_features(features_NF), "Y": scaling.scale_targets(targets_NK)}
    for name, array in scaled.items():
        if not np.isfinite(array).all():
            column = int(np.argwhere(~np.isfinite(array))[0][1])
            raise BadInput(f"column {column} overflows when scaled", f"{path} [{name}]", "remove its extreme values")
    splits = split_rows(len(features_NF), config)
    return RegressionData(torch.from_numpy(scaled["X"]), torch.from_numpy(scaled["Y"]), splits, scaling)


def data_fingerprint(features_NF: Tensor, targets_NK: Tensor) -> str:
    """SHA-256 of two scaled tables: tells whether two files hold the same data, whichever way round."""
    digest = hashlib.sha256()
    for table in (features_NF, targets_NK):
        digest.update(str(tuple(table.shape)).encode())
        digest.update(table.cpu().numpy().tobytes())
    return digest.hexdigest()


def batches_of_epoch(loader: DataLoader[Batch], seed: int, epoch: int, num_done: int) -> Iterator[Batch]:
    """Batches of one epoch without the first `num_done`, in the order of an `EpochSampler` where the loader has one."""
    if isinstance(loader.sampler, EpochSampler):
        loader.sampler.seek(seed, epoch, num_done * (loader.batch_size or 1))
        return iter(loader)
    return itertools.islice(loader, num_done, None)


def _latent_series(random: np.random.Generator, num_rows: int, num_series: int) -> NDArray[np.float64]:
    """Autoregressive series of order 1 with coefficient 0.9 and unit variance, (N, R)."""
    coefficient = 0.9
    series_NR = random.standard_normal((num_rows, num_series))
    series_NR[1:] *= np.sqrt(1 - coefficient**2)
    for row in range(1, num_rows):
        series_NR[row] += coefficient * series_NR[row - 1]
    return series_NR


def _sparse_mixture(random: np.random.Generator, factors_NR: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mix three of the factors by a nonlinear function, (N,)."""
    chosen = random.choice(factors_NR.shape[1], size=3, replace=False)
    first_N, second_N, third_N = factors_NR[:, chosen].T
    mixture_N: NDArray[np.float64] = np.sin(2 * first_N) + np.tanh(second_N) * third_N + 0.5 * first_N
    return mixture_N


def make_arrays(config: RegressorConfig) -> tuple[FloatArray, FloatArray]:
    """Made-up X (N, F) and Y (N, K), a function of the configuration's sizes and `data_seed` alone.

    X is a low-rank mixture of autoregressive series plus noise, every column on a scale of its own and one column
    constant. Y is a sparse nonlinear mixture of the same series plus noise. The last target lies at plus or minus two
    by the sign of a mixture, so that a head with two modes is worth having. One row in a hundred is an outlier.
    """
    random = np.random.default_rng(config.data_seed)
    shape_NF = (config.num_rows, config.num_features)
    factors_NR = _latent_series(random, config.num_rows, max(3, config.num_features // 8))
    loadings_RF = random.standard_normal((factors_NR.shape[1], config.num_features)) / np.sqrt(factors_NR.shape[1])
    features_NF = factors_NR @ loadings_RF + 0.3 * random.standard_normal(shape_NF)
    features_NF = features_NF * np.exp(random.normal(0, 1, config.num_features))
    features_NF += random.normal(0, 3, config.num_features)
    features_NF[:, config.num_features // 2] = 1.5
    targets_NK = np.stack([_sparse_mixture(random, factors_NR) for _ in range(config.num_targets)], axis=1)
    targets_NK[:, -1] = np.where(targets_NK[:, -1] >= 0, 2.0, -2.0) + 0.3 * targets_NK[:, -1]
    targets_NK += 0.1 * random.standard_normal(targets_NK.shape)
    outliers = random.choice(config.num_rows, size=max(1, config.num_rows // 100), replace=False)
    targets_NK[outliers] += 10 * targets_NK.std(axis=0) * random.standard_normal((len(outliers), config.num_targets))
    return _to_float32(features_NF), _to_float32(targets_NK)


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]], *, overwrite: bool = False) -> None:
    """Write an HDF5 file under a temporary name and then give it its own: it is never seen half written.

    Raises:
        BadInput: the file exists and `overwrite` is off, or it cannot be written.

    """
    if path.exists() and not overwrite:
        raise BadInput("exists already", str(path), "choose another place or remove it first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder) / path.name
            with h5py.File(temporary, "w") as file:
                for name, array in arrays.items():
                    file.create_dataset(name, data=array)
            temporary.replace(path)
    except (OSError, RuntimeError) as error:
        what = f"cannot be written ({error})"
        raise BadInput(what, str(path), "choose a folder you may write to, with room") from error


def make_data(path: Path, config: RegressorConfig, *, transposed: bool = False) -> None:
    """Write made-up data to `path`, as (rows, columns) or as its transposed variant.

    Raises:
        BadInput: the file exists or cannot be written.

    """
    features_NF, targets_NK = make_arrays(config)
    turn = np.transpose if transposed else np.asarray
    write_arrays(path, {"X": turn(features_NF), "Y": turn(targets_NK)})


def find_data(config: RegressorConfig, data: str | Path | None) -> RegressionData:
    """Load the given file, or the offline data of the configuration.

    Raises:
        BadInput: see `load_data` and `offline_data_path`.

    """
    return load_data(offline_data_path(config) if data is None else Path(data), config)


def offline_data_path(config: RegressorConfig) -> Path:
    """Find the made-up data of these sizes and this `data_seed`; the first call generates it, and it is kept.

    Raises:
        BadInput: there is no place to keep it, see `offline.kept`.

    """
    sizes = f"{config.num_rows}x{config.num_features}x{config.num_targets}"
    name = f"v{_GENERATOR_VERSION}-{sizes}-seed{config.data_seed}.h5"

    def write(path: Path) -> None:
        features_NF, targets_NK = make_arrays(config)
        # Two processes may both find nothing; each writes the same bytes, and the later rename wins.
        write_arrays(path, {"X": features_NF, "Y": targets_NK}, overwrite=True)

    return get_or_create("tabular_regressor", name, write)
