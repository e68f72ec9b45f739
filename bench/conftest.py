"""Presets, devices and one fixture per family for the benchmarks."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from bench.sides import Bench

if TYPE_CHECKING:
    from trainers.contract import Trainer

FAMILIES = ("tabular_regressor",)
PRESETS = ("tiny", "smoke", "default")


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
def pair_labels(request: pytest.FixtureRequest, preset: str, device: str) -> Mapping[str, str | None]:
    """What the rows of this project's pairs carry."""
    family = next((name for name in FAMILIES if name in request.fixturenames), None)
    return {"family": family, "preset": preset, "device": device}


@pytest.fixture
def tabular_regressor(pair: object, preset: str, device: str) -> Iterator[Bench]:
    """Pairs of tabular regressors, document 004."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trainers import tabular_regressor as family  # noqa: PLC0415

    def build(tier: str, switches: Mapping[str, bool] | None, *, seed: int = 0) -> "Trainer":
        return family.build(tier, preset=preset, device=device, switches=switches, seed=seed)

    bench = Bench(pair=pair, build=build, switches={"optimized": family.SWITCHES}, device=device)
    yield bench
    bench.close()
