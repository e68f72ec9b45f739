"""Data of the tabular regressor: reading, preprocessing, splitting, batching, and making it up.

Shape suffixes: N rows, F features, K targets, B rows of one batch, R latent series.
"""

import errno
import hashlib
import itertools
import logging
import os
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
from trainers.common.reading import some_of
from trainers.contract import BadInput
from trainers.pytorch.loading import EpochSampler, batch_size_of, make_loader, order_of
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
Table = NDArray[np.float32] | NDArray[np.float64]
Rows = NDArray[np.int64]
Batch = tuple[Tensor, Tensor]

_LEAST_ROWS = 10
_NO_SPREAD = 2.0**-49  # of a column's size: eight units in the last place of float64, and far below one of float32
_MOST_EXACT = 2**53  # float64 holds every whole number up to it
_MOST_LOST = 1e-3  # of the spread of a column, what rounding to float32 may change a value by
_SOURCES_PREFIX = os.environ.get("HDF5_VDS_PREFIX")  # HDF5 too looks once, when it is loaded
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)
"""Errors that h5py raises for damaged files; which of them depends on where in the file the damage is."""
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
    def of(cls, features_NF: Table, targets_NK: Table) -> "Scaling":
        """Measure the scaling of raw data, in double precision.

        All rows count, those of the validation and test split too: so did the original program.
        """
        quartiles_3K = np.percentile(targets_NK.astype(np.float64), [25, 50, 75], axis=0)
        deviation_F = features_NF.std(axis=0, dtype=np.float64)
        # A constant column's deviation is rounding noise, not exactly zero; dividing by it would make up a signal.
        least_F, most_F = (end(axis=0).astype(np.float64) for end in (features_NF.min, features_NF.max))
        constant_F = most_F - least_F <= _NO_SPREAD * np.maximum(np.abs(least_F), np.abs(most_F))
        iqr_K = quartiles_3K[2] - quartiles_3K[0]
        iqr_K[iqr_K <= _NO_SPREAD * np.abs(quartiles_3K[1])] = 0
        return cls(
            mean_F=features_NF.mean(axis=0, dtype=np.float64),
            deviation_F=np.where(constant_F | (deviation_F == 0), 1.0, deviation_F),
            median_K=quartiles_3K[1],
            iqr_K=np.where(iqr_K == 0, 1.0, iqr_K),
        )

    def scale_features(self, features_NF: Table) -> FloatArray:
        """(X - mean) / deviation, rounded to float32 at the end."""
        return _to_float32((features_NF.astype(np.float64) - self.mean_F) / self.deviation_F)

    def scale_targets(self, targets_NK: Table) -> FloatArray:
        """(Y - median) / IQR, rounded to float32 at the end."""
        return _to_float32((targets_NK.astype(np.float64) - self.median_K) / self.iqr_K)

    def unscale_targets(self, scaled_NK: FloatArray) -> NDArray[np.float64]:
        """Undo `scale_targets`, in double precision: float32 would lose what is small next to the median."""
        return scaled_NK.astype(np.float64) * self.iqr_K + self.median_K

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
        precision: of the file's Y, float32 or float64, which predictions on the original scale have too.

    """

    features_NF: Tensor
    targets_NK: Tensor
    splits: Splits
    scaling: Scaling
    precision: type[np.floating[Any]] = np.float32

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


def _in_own_precision(array: NDArray[Any]) -> Table:
    """Convert numbers to float32, or to float64 where their type has values that float32 lacks."""
    with np.errstate(over="ignore"):  # numbers beyond float64 become infinite, which is refused
        if np.promote_types(array.dtype, np.float32) == np.float32:
            return array.astype(np.float32)
        return array.astype(np.float64)


def _read_table(file: h5py.File, name: str, path: Path) -> tuple[Table, bool]:
    """Read one data set of the file as a table of finite numbers, and whether it is in MATLAB's order, or BadInput."""
    where = f"{path} [{name}]"
    table = _find_table(file, name, path)
    try:
        kind = table.dtype
    except TypeError as error:
        raise BadInput(f"holds a type that NumPy lacks ({error})", where, "store numbers") from error
    matlab_class = _text_of(table.attrs.get("MATLAB_class"))
    if kind.kind not in "fiu" or matlab_class == "char":
        what = f"holds {'text' if matlab_class == 'char' else kind}, not numbers"
        raise BadInput(what, where, "encode text and categories as numbers first")
    if table.attrs.get("MATLAB_empty"):
        raise BadInput("is empty", where, "store at least one row and one column")
    if table.ndim != 2:
        raise BadInput(f"has {table.ndim} dimension(s)", where, "store a table of two: (rows, columns)")
    if 0 in table.shape:
        raise BadInput(f"is empty, shape {table.shape}", where, "store at least one row and one column")
    _refuse_unwritten(table, where, ())
    raw = _read_values(table, where)
    is_long = raw.dtype.kind in "iu" and raw.dtype.itemsize == 8
    if is_long and (num_rounded := int(((raw > _MOST_EXACT) | (raw < -_MOST_EXACT)).sum())):
        logger.warning("%s: %d whole numbers are beyond 2**53 and lose digits in float64", where, num_rounded)
    array = _in_own_precision(raw)
    bad_NF = ~np.isfinite(_to_float32(array))
    if bad_NF.any():
        row, column = np.argwhere(bad_NF)[0]
        what = f"NaN, infinite or beyond float32 at [{row}, {column}] ({bad_NF.sum()} in all)"
        raise BadInput(what, where, "remove or fill in such values")
    return array, matlab_class is not None


def _text_of(attribute: object) -> str | None:
    """Return an attribute as a text, as which MATLAB stores bytes."""
    if attribute is None:
        return None
    return attribute.decode("ascii", "replace") if isinstance(attribute, bytes) else str(attribute)


def _find_table(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Find a data set in the file; BadInput says what is in its place."""
    found, link = file.get(name), file.get(name, getlink=True)
    if isinstance(found, h5py.Dataset):
        return found
    what, mend = f"no data set {name}", "store X (rows, features), Y (rows, targets)"
    if isinstance(found, h5py.Group):
        what += f", but a group {name} (in it: {some_of(sorted(found)) or 'nothing'})"
        mend = f"store its numbers as a data set {name}; of a frame of pandas, those of to_numpy()"
    elif found is not None:
        what += f", but a named type {name}"
    elif isinstance(link, h5py.ExternalLink):
        what += f", but a link to {link.path} in {link.filename}, which cannot be opened"
        mend = "copy that file too, to the place that the link names"
    elif isinstance(link, h5py.SoftLink):
        what += f", but a link to {link.path}, which the file lacks"
    else:
        what += f" (found: {some_of(sorted(file)) or 'nothing'})"
    raise BadInput(what, str(path), mend)


def _refuse_unwritten(table: h5py.Dataset, where: str, parents: tuple[tuple[Path, str], ...]) -> None:
    """Refuse a data set of which a part was never written: HDF5 reads zeros there and says nothing.

    Args:
        table: the data set.
        where: it is, for messages.
        parents: virtual data sets that it is a source of, each by its file and name.

    Raises:
        BadInput: a part was never written, or sources of a virtual data set are missing.

    """
    path = Path(table.file.filename)
    itself = (path.resolve(), table.name)
    if itself in parents:
        raise BadInput("is a virtual data set made of itself", where, "store the numbers themselves")
    if not table.is_virtual:
        if table.external is None and table.chunks is None and table.nbytes > path.stat().st_size:
            raise OSError(f"it has {path.stat().st_size} bytes and should have {table.nbytes} for {table.name} alone")
        if table.id.get_space_status() != h5py.h5d.SPACE_STATUS_ALLOCATED:
            what = f"was not written completely, and {table.name} in {path.name} reads as zeros where nobody wrote"
            raise BadInput(what, where, "write all of it, or make it as small as what was written")
        return
    missing, num_mapped = list[str](), 0
    for source in table.virtual_sources():
        num_mapped += source.vspace.get_select_npoints()
        if "%b" in source.file_name + source.dset_name:
            logger.warning("%s: its sources %s are a series, and not checked", where, source.file_name)
            num_mapped = table.size
        elif not _has_source(source, path, where, (*parents, itself)):
            missing.append(f"{source.dset_name} in {source.file_name}")
    if missing:
        what = f"is a virtual data set without {len(missing)} of its sources, which read as zeros: {some_of(missing)}"
        raise BadInput(what, where, "copy the sources into the folder of the file")
    if num_mapped < table.size:
        what = f"is a virtual data set whose sources are {num_mapped} of its {table.size} numbers"
        raise BadInput(what, where, "make it of sources for all its rows")


def _has_source(source: Any, path: Path, where: str, parents: tuple[tuple[Path, str], ...]) -> bool:
    """Whether a source of a virtual data set in a file is there, and as large as what is taken from it."""
    for place in _places_of(source.file_name.replace("%%", "%"), path):
        if not place.is_file():
            continue
        with h5py.File(place, "r") as file:
            table = file.get(source.dset_name.replace("%%", "%"))
            if not isinstance(table, h5py.Dataset):
                return False
            _refuse_unwritten(table, where, parents)
            try:
                _, ends = source.src_space.get_select_bounds()
            except ValueError:  # all of it is taken, and the virtual data set does not know how much that is
                return bool(table.size >= source.vspace.get_select_npoints())
            return len(ends) == table.ndim and all(end < size for end, size in zip(ends, table.shape, strict=True))
    return False


def _places_of(name: str, path: Path) -> list[Path]:
    """List where a source that a file names may be: in the file itself, in its folder, or where it says absolutely.

    HDF5 looks in the working folder last, but what a file holds must not depend on where a program is started.
    """
    if name == ".":
        return [path]
    folders = [path.parent, path.resolve().parent]
    if _SOURCES_PREFIX:
        folders.insert(0, Path(_SOURCES_PREFIX.replace("${ORIGIN}", str(path.parent))))
    moved = [folder / Path(name).name for folder in folders] if Path(name).is_absolute() else []
    return [*(folder / name for folder in folders), *moved]


def _read_values(table: h5py.Dataset, where: str) -> NDArray[Any]:
    """Read all numbers of a data set."""
    try:
        return np.asarray(table[()])
    except OSError as error:
        created = table.id.get_create_plist()
        codes = [created.get_filter(number)[0] for number in range(created.get_nfilters())]
        missing = [str(code) for code in codes if not h5py.h5z.filter_avail(code)]
        if missing:
            what = f"is compressed by a filter that is not installed, number {some_of(missing)}"
            raise BadInput(what, where, "write it with gzip or without compression") from error
        raise


def _reading_error(error: Exception, path: Path) -> BadInput:
    """Say what keeps a file from being read, by the error that h5py raised."""
    text = str(error)
    if isinstance(error, PermissionError):
        return BadInput(f"cannot be read ({error.strerror or error})", str(path), "check its permissions")
    if "already open for" in text or ("unable to lock" in text and getattr(error, "errno", None) == errno.EAGAIN):
        mend = "close it there; if that program was killed, run h5clear -s on the file"
        return BadInput("is open in another program, which writes to it", str(path), mend)
    if "unable to lock" in text:
        return BadInput(f"cannot be locked ({text})", str(path), "set HDF5_USE_FILE_LOCKING=FALSE")
    return BadInput(f"not a readable HDF5 file ({text})", str(path), "check that it was copied completely")


def read_arrays(path: Path) -> tuple[Table, Table]:
    """Read X and Y of an HDF5 file; both are transposed, with a warning, where their first dimensions differ.

    MATLAB stores a table with its dimensions the other way round and marks it, so a table of MATLAB's is turned first.

    Returns:
        X (N, F) and Y (N, K), finite; float64 where the file holds numbers that float32 lacks, else float32.

    Raises:
        BadInput: the file is missing, damaged, locked or no HDF5, lacks X or Y, or holds text, NaN, infinity, parts
            that were never written, fewer than ten rows, or tables whose shapes fit neither way round.

    """
    try:
        tables = _read_tables(path)
    except _DAMAGE as error:
        raise _reading_error(error, path) from error
    features, targets = (_turned(array) if is_matlab else array for array, is_matlab in tables.values())
    if any(is_matlab for _, is_matlab in tables.values()):
        logger.warning("%s: is in MATLAB's order; X is %s, Y is %s", path, features.shape, targets.shape)
    if features.shape[0] != targets.shape[0]:
        if features.shape[1] != targets.shape[1]:
            what = f"X {features.shape} and Y {targets.shape} agree in neither dimension"
            raise BadInput(what, str(path), "give both one row a sample")
        logger.warning("%s: X %s and Y %s are stored transposed; turned round", path, features.shape, targets.shape)
        features, targets = _turned(features), _turned(targets)
    if len(features) < _LEAST_ROWS:
        raise BadInput(f"only {len(features)} row(s)", str(path), f"give at least {_LEAST_ROWS}, to be split")
    return features, targets


def _read_tables(path: Path) -> dict[str, tuple[Table, bool]]:
    """Read X and Y by name, each as `_read_table` gives it."""
    if not path.is_file():
        raise BadInput("no such file", str(path), "give an HDF5 file with X and Y, or run make-data")
    with h5py.File(path, "r") as file:
        return {name: _read_table(file, name, path) for name in "XY"}


def _turned(table: Table) -> Table:
    return cast("Table", np.ascontiguousarray(table.T))


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
    for name, table, spread in (("X", features_NF, scaling.deviation_F), ("Y", targets_NK, scaling.iqr_K)):
        _say_what_is_centred_first(table, spread, f"{path} [{name}]")
    scaled = {"X": scaling.scale_features(features_NF), "Y": scaling.scale_targets(targets_NK)}
    for name, array in scaled.items():
        if not np.isfinite(array).all():
            column = int(np.argwhere(~np.isfinite(array))[0][1])
            raise BadInput(f"column {column} overflows when scaled", f"{path} [{name}]", "remove its extreme values")
    splits = split_rows(len(features_NF), config)
    return RegressionData(
        torch.from_numpy(scaled["X"]), torch.from_numpy(scaled["Y"]), splits, scaling, targets_NK.dtype.type
    )


def _say_what_is_centred_first(table: Table, spread: NDArray[np.float64], where: str) -> None:
    """Warn of columns whose values are so much larger than their spread that float32 could not tell them apart."""
    if table.dtype != np.float64:
        return
    lost = np.abs(table - _to_float32(table)).max(axis=0)
    columns = np.flatnonzero(lost > _MOST_LOST * spread)
    if len(columns):
        named = some_of([str(column) for column in columns])
        logger.warning("%s: column %s is centred in float64, as float32 lacks the digits of its values", where, named)


def data_fingerprint(features_NF: Tensor, targets_NK: Tensor) -> str:
    """SHA-256 of two scaled tables: tells whether two files hold the same data, whichever way round."""
    digest = hashlib.sha256()
    for table in (features_NF, targets_NK):
        digest.update(str(tuple(table.shape)).encode())
        digest.update(table.cpu().numpy().tobytes())
    return digest.hexdigest()


def batches_of_epoch(loader: DataLoader[Batch], seed: int, epoch: int, num_done: int) -> Iterator[Batch]:
    """Batches of one epoch without the first `num_done`, in the order of an `EpochSampler` where the loader has one."""
    order = order_of(loader)
    if order is not None:
        order.seek(seed, epoch, num_done * batch_size_of(loader))
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
