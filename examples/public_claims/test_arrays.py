"""Arrays and tensors: numexpr, Bottleneck, fast-histogram and safetensors."""

from functools import partial

import bottleneck
import fast_histogram
import numexpr
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

# --- Expressions ----------------------------------------------------------------------------------------------------

EXPRESSIONS = {
    "a + 1": lambda a, b: a + 1,  # noqa: ARG005 - both take the same arrays
    "a*b-4.1*a > 2.5*b": lambda a, b: a * b - 4.1 * a > 2.5 * b,
}


@pytest.mark.speedup_claim("numexpr.common")
@pytest.mark.parametrize("size", [100_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression(pair, expression, size):
    """Evaluate one of the two expressions that numexpr's text names, by as many threads as numexpr chooses."""
    evaluate = EXPRESSIONS[expression]
    arrays = {"a": np.arange(size, dtype=float), "b": np.arange(size, dtype=float)}
    pair(
        lambda: evaluate(**arrays),
        lambda: numexpr.evaluate(expression, arrays),
        names=("NumPy", f"numexpr (threads: {numexpr.nthreads})"),
        units=size,
        equivalent=np.array_equal,
    )


# --- Reductions and moving windows ----------------------------------------------------------------------------------

WINDOW = 20


def numpy_move_mean(array: np.ndarray, axis: int) -> np.ndarray:
    """Return the means of a moving window, by NumPy alone; NaN where the window is not full, as Bottleneck has it."""
    means = np.full(array.shape, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(array, WINDOW, axis)
    np.moveaxis(means, axis, 0)[WINDOW - 1 :] = np.moveaxis(windows.mean(axis=-1), axis, 0)
    return means


FUNCTIONS = {
    "nanmean": (np.nanmean, bottleneck.nanmean),
    "nanmax": (np.nanmax, bottleneck.nanmax),
    "nanmedian": (np.nanmedian, bottleneck.nanmedian),
    "move_mean": (numpy_move_mean, partial(bottleneck.move_mean, window=WINDOW)),
}


def numbers(shape: tuple[int, ...], *, has_nan: bool) -> np.ndarray:
    """Return shuffled numbers, one in five of them NaN if wanted, as Bottleneck's own benchmark does."""
    array = np.arange(np.prod(shape), dtype=float)
    if has_nan:
        array[::5] = np.nan
    np.random.default_rng(0).shuffle(array)
    return array.reshape(shape)


def measure_function(pair, name, array, axis):
    """Measure a function of NumPy against Bottleneck's of that name."""
    before, after = FUNCTIONS[name]

    def same_numbers(before, after):
        np.testing.assert_allclose(before, after, rtol=1e-9)

    pair(
        lambda: before(array, axis=axis),
        lambda: after(array, axis=axis),
        names=("NumPy", "Bottleneck"),
        units=array.size,
        equivalent=same_numbers,
    )


@pytest.mark.speedup_claim("bottleneck.fast")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_of_a_large_array(pair, name, axis):
    """Call a function with 1,000 by 1,000 numbers, one in five NaN."""
    measure_function(pair, name, numbers((1_000, 1_000), has_nan=True), axis)


@pytest.mark.speedup_claim("bottleneck.fast")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.speedup_claim("bottleneck.nanmean-of-100")] * (name == "nanmean"))
        for name in FUNCTIONS
    ],
)
def test_function_of_a_small_array(pair, name):
    """Call a function with 100 numbers, none NaN."""
    measure_function(pair, name, numbers((100,), has_nan=False), 0)


# --- Histograms -----------------------------------------------------------------------------------------------------

BINS, X_RANGE, Y_RANGE = 30, (-1, 2), (-2, 4)
NO_EDGES = "the counts are equal; NumPy returns the edges of the bins too, fast-histogram does not"


def same_counts(before: tuple[np.ndarray, ...], after: np.ndarray) -> str:
    """Return how the sides differ by design, once the counts have been seen to be equal."""
    np.testing.assert_array_equal(before[0], after)
    return NO_EDGES


@pytest.mark.speedup_claim("fast-histogram.one-dimension")
@pytest.mark.parametrize("size", [1_000, 100_000, 10_000_000])
def test_histogram(pair, size):
    """Count numbers in 30 bins."""
    x = np.random.default_rng(0).random(size)
    pair(
        lambda: np.histogram(x, bins=BINS, range=X_RANGE),
        lambda: fast_histogram.histogram1d(x, bins=BINS, range=X_RANGE),
        names=("NumPy", "fast-histogram"),
        work="less",
        units=size,
        equivalent=same_counts,
    )


@pytest.mark.speedup_claim("fast-histogram.two-dimensions")
@pytest.mark.speedup_long(2)
@pytest.mark.parametrize("size", [1_000, 100_000, 10_000_000])
def test_histogram_of_two_dimensions(pair, size):
    """Count points in 30 by 30 bins; ten million of them is the size of the text's example."""
    x, y = np.random.default_rng(0).random((2, size))
    pair(
        lambda: np.histogram2d(x, y, bins=BINS, range=[X_RANGE, Y_RANGE]),
        lambda: fast_histogram.histogram2d(x, y, bins=BINS, range=[X_RANGE, Y_RANGE]),
        names=("NumPy", "fast-histogram"),
        work="less",
        units=size,
        equivalent=same_counts,
    )


# --- Weights --------------------------------------------------------------------------------------------------------
# The shapes are those of safetensors' own benchmark: many small tensors, and layers of a transformer.


def adapters() -> dict[str, torch.Tensor]:
    """Return the weights of 500 adapters, 4 MB in 1,000 small tensors."""
    return {f"{name}.{number}": torch.randn(32, 32) for number in range(500) for name in ("up", "down")}


def layers() -> dict[str, torch.Tensor]:
    """Return the weights of two layers of a transformer, 57 MB in 8 tensors."""
    shapes = {"attention": (768, 2_304), "projection": (768, 768), "expand": (768, 3_072), "contract": (3_072, 768)}
    return {f"{name}.{number}": torch.randn(shape) for number in range(2) for name, shape in shapes.items()}


@pytest.fixture(params=[adapters, layers], ids=["adapters", "layers"])
def weights(request):
    """Tensors by name."""
    torch.manual_seed(0)
    return request.param()


def same_tensors(before: dict, after: dict) -> None:
    """Compare the tensors of two files, bit by bit."""
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.speedup_claim("safetensors.loading")
def test_load(pair, weights, tmp_path):
    """Load a file that is in the page cache, without reading its values."""
    torch.save(weights, tmp_path / "weights.pt")
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")

    def same_but_mapped(before, after):
        same_tensors(before, after)
        return "the tensors are equal; safetensors maps the file, whose values are read when they are first used"

    pair(
        lambda: torch.load(tmp_path / "weights.pt"),
        lambda: safetensors.torch.load_file(tmp_path / "weights.safetensors"),
        names=("torch.load", "safetensors"),
        work="less",
        equivalent=same_but_mapped,
    )


def sums(tensors: dict) -> dict[str, float]:
    """Return the sum of each tensor, which reads every value."""
    return {name: float(tensor.sum()) for name, tensor in tensors.items()}


@pytest.mark.speedup_claim("safetensors.fast")
def test_load_and_read(pair, weights, tmp_path):
    """Load a file that is in the page cache, and read every value once."""
    torch.save(weights, tmp_path / "weights.pt")
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    pair(
        lambda: sums(torch.load(tmp_path / "weights.pt")),
        lambda: sums(safetensors.torch.load_file(tmp_path / "weights.safetensors")),
        names=("torch.load", "safetensors"),
        equivalent=lambda before, after: before == after,
    )


@pytest.mark.speedup_claim("safetensors.fast")
def test_load_and_read_arrays(pair, weights, tmp_path):
    """Load a file of NumPy's arrays that is in the page cache, and read every value once."""
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")

    def load_npz():
        with np.load(tmp_path / "weights.npz") as file:
            return sums({name: file[name] for name in file.files})

    pair(
        load_npz,
        lambda: sums(safetensors.numpy.load_file(tmp_path / "weights.safetensors")),
        names=("np.load", "safetensors"),
        equivalent=lambda before, after: before == after,
    )
