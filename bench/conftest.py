"""Presets, devices and one fixture per family for the benchmarks."""

import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import Any

import pytest

from bench.harness.bench import Bench
from bench.harness.dialogue import twin_side
from bench.harness.images import ImageBench, ImageSide
from bench.harness.side import PARITY_STEPS
from trainers import BadInput, Family, families, family
from trainers.tensorflow.runtime import find_device

PRESETS = ("tiny", "smoke", "default")

Log = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project's benchmarks."""
    group = parser.getgroup("benchmarks of the trainers")
    group.addoption("--preset", choices=PRESETS, default="smoke", help="sizes of the trainers (default: %(default)s)")
    group.addoption("--device", choices=("cpu", "cuda"), help="where they run (default: cuda where there is one)")
    group.addoption("--family", choices=families(), help="run the benchmarks of this family only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the benchmarks of the family asked for, those that judge claims first."""
    items.sort(key=lambda item: item.get_closest_marker("speedup_claim") is None)
    asked = config.getoption("--family")
    if asked is None:
        return
    kept = [item for item in items if asked in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture
def preset(request: pytest.FixtureRequest) -> str:
    """The sizes of the trainers."""
    return str(request.config.getoption("--preset"))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """Where PyTorch's trainers run."""
    asked: str | None = request.config.getoption("--device")
    if find_spec("torch") is None:
        return "cpu"
    import torch  # noqa: PLC0415 - a machine without it must still collect these tests

    if asked == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device is available to PyTorch")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def tensorflow_device(request: pytest.FixtureRequest) -> str:
    """Where TensorFlow's trainers run."""
    try:
        place = find_device(request.config.getoption("--device"))
    except BadInput as error:
        pytest.skip(error.what)
    return "cpu" if "CPU" in place else "cuda"


def _device_fixture(name: str | None) -> str:
    """Return the fixture that says where the trainers of a family run."""
    return "tensorflow_device" if name is not None and family(name).framework == "tensorflow" else "device"


@pytest.fixture
def pair_labels(request: pytest.FixtureRequest, preset: str) -> Mapping[str, str | None]:
    """Return the labels of the rows of this project's pairs: family, preset and device."""
    name = next((name for name in families() if name in request.fixturenames), None)
    return {"family": name, "preset": preset, "device": request.getfixturevalue(_device_fixture(name))}


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """Undo what a shell or a service does to what it runs in the background: Ctrl-C is ignored or blocked there."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def log() -> Iterator[Log]:
    """Take the lines that training prints: they would cost what the terminal costs; here they cost what a file does."""
    with TemporaryFile("w+", encoding="utf-8") as file:
        yield partial(print, file=file, flush=True)


def kind_of_pairs(name: str, preset: str) -> Callable[..., Bench]:
    """Return what makes the pairs of a family; a family that needs nothing of its own is not listed."""
    kinds: dict[str, Callable[..., Bench]] = {
        "dialogue_gan": partial(Bench.of, parity_steps=5),
        "dialogue_twin": partial(Bench.of, kind=twin_side, parity_steps=5, resync_every=1),
        "tabular_regressor": partial(Bench.of, resync_every=2),
        "text_to_image": partial(
            ImageBench.of, kind=ImageSide, resync_every=2,
            # At full size twenty steps take minutes; the tests compare that number at the small ones.
            parity_steps=3 if preset == "default" else PARITY_STEPS,
        ),
    }  # fmt: skip
    return kinds.get(name, Bench.of)


def _pairs(of: Family) -> Callable[..., Any]:
    """Make the fixture of a family, which has the family's name."""

    def bench(request: pytest.FixtureRequest, pair: object, preset: str, log: Log) -> Iterator[Bench]:
        device = request.getfixturevalue(_device_fixture(of.name))
        pytest.importorskip(of.framework, reason=f"{of.framework} is not installed")
        found = kind_of_pairs(of.name, preset)(of, pair=pair, preset=preset, device=device, log=log)
        yield found
        found.close()

    bench.__doc__ = f"Pairs of trainers, in the phase {of.phases[-1]}: {of.title}."
    return pytest.fixture(name=of.name)(bench)


globals().update({name: _pairs(family(name)) for name in families()})
