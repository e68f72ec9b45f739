"""Presets, devices and one fixture per family for the benchmarks."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import pytest

from bench.harness.bench import Bench
from bench.harness.dialogue import twin_side
from bench.harness.images import ImageBench, ImageSide
from bench.harness.side import PARITY_STEPS, Builder

if TYPE_CHECKING:
    from trainers.contract import Trainer
    from trainers.switches import Switch

FAMILIES = ("dialogue_gan", "dialogue_twin", "tabular_regressor", "text_to_image")
PRESETS = ("tiny", "smoke", "default")

Log = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project's benchmarks."""
    group = parser.getgroup("benchmarks of the trainers")
    group.addoption("--preset", choices=PRESETS, default="smoke", help="sizes of the trainers (default: %(default)s)")
    group.addoption("--device", choices=("cpu", "cuda"), help="where they run (default: cuda where there is one)")
    group.addoption("--family", choices=FAMILIES, help="run the benchmarks of this family only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the benchmarks of the family asked for."""
    family = config.getoption("--family")
    if family is None:
        return
    kept = [item for item in items if family in getattr(item, "fixturenames", ())]
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
    from trainers.contract import BadInput  # noqa: PLC0415 - only this family's benchmarks need it
    from trainers.tensorflow.runtime import find_device  # noqa: PLC0415 - the same

    try:
        place = find_device(request.config.getoption("--device"))
    except BadInput as error:
        pytest.skip(error.what)
    return "cpu" if "CPU" in place else "cuda"


@pytest.fixture
def pair_labels(request: pytest.FixtureRequest, preset: str) -> Mapping[str, str | None]:
    """Return the labels of the rows of this project's pairs: family, preset and device."""
    family = next((name for name in FAMILIES if name in request.fixturenames), None)
    device = request.getfixturevalue("tensorflow_device" if family == "dialogue_gan" else "device")
    return {"family": family, "preset": preset, "device": device}


@pytest.fixture
def tabular_regressor(pair: object, preset: str, device: str) -> Iterator[Bench]:
    """Pairs of tabular regressors, document 004."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trainers import tabular_regressor as family  # noqa: PLC0415

    bench = Bench(
        pair=pair, build=_builder(family, preset, device), switches=_switches(family), device=device,
        resync_every=2,
    )  # fmt: skip
    yield bench
    bench.close()


@pytest.fixture
def log() -> Iterator[Log]:
    """Take the lines that training prints: they would cost what the terminal costs; here they cost what a file does."""
    with TemporaryFile("w+", encoding="utf-8") as file:
        yield partial(print, file=file, flush=True)


@pytest.fixture
def text_to_image(pair: object, preset: str, device: str, log: Log) -> Iterator[ImageBench]:
    """Pairs of text-to-image GANs, document 003."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trainers import text_to_image as family  # noqa: PLC0415

    build = partial(_builder(family, preset, device), log=log)
    bench = ImageBench(
        pair=pair, build=build, switches=_switches(family), device=device, kind=ImageSide,
        # At full size twenty steps take minutes; the tests compare as many at the small ones.
        parity_steps=3 if preset == "default" else PARITY_STEPS,
        resync_every=2,
    )  # fmt: skip
    yield bench
    bench.close()


@pytest.fixture
def dialogue_gan(tensorflow_device: str, preset: str, pair: object, log: Log) -> Iterator[Bench]:
    """Pairs of dialogue GANs, documents 000 to 002, in the adversarial phase."""
    from trainers import dialogue_gan as family  # noqa: PLC0415

    build = partial(_builder(family, preset, tensorflow_device), log=log)
    bench = Bench(
        pair=pair, build=build, switches=_switches(family), device=tensorflow_device, phase="adversarial",
        parity_steps=5, is_bitwise=False,
    )  # fmt: skip
    yield bench
    bench.close()


@pytest.fixture
def dialogue_twin(device: str, preset: str, pair: object, log: Log) -> Iterator[Bench]:
    """Pairs of the dialogue GAN's twin in PyTorch, in the adversarial phase; they judge no claim."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trainers.dialogue_gan.pytorch import build as family  # noqa: PLC0415

    build = partial(_builder(family, preset, device), log=log)
    bench = Bench(
        pair=pair, build=build, device=device, phase="adversarial", kind=twin_side, parity_steps=5,
        switches={"optimized": family.TWIN_OPTIMIZED_SWITCHES, "fastest": family.TWIN_SWITCHES},
        resync_every=1,
    )  # fmt: skip
    yield bench
    bench.close()


def _builder(family: Any, preset: str, device: str) -> Builder:
    def build(tier: str, switches: Mapping[str, bool] | None, *, seed: int = 0, **overrides: object) -> "Trainer":
        return family.build(tier, preset=preset, device=device, switches=switches, seed=seed, **overrides)

    return build


def _switches(family: Any) -> "Mapping[str, tuple[Switch, ...]]":
    return {"optimized": family.SWITCHES, "fastest": family.FASTEST_SWITCHES}
