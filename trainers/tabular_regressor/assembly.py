"""Puts a trainer together from its configuration; the one place that knows the class of every tier."""

from collections.abc import Mapping
from pathlib import Path

import torch

from trainers.contract import BadInput
from trainers.switches import resolve
from trainers.tabular_regressor.config import SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import RegressionData, load_data, offline_data_path
from trainers.tabular_regressor.optimized import OptimizedTrainer
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["assemble", "best_device", "find_data"]


def best_device() -> str:
    """Name of the GPU if PyTorch can use one, else of the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def find_data(config: RegressorConfig, data: str | Path | None) -> RegressionData:
    """Load the given file, or the offline data of the configuration."""
    return load_data(offline_data_path(config) if data is None else Path(data), config)


def assemble(  # noqa: PLR0913 - the arguments of the family's build, once more
    tier: str,
    config: RegressorConfig,
    *,
    data: RegressionData | str | Path | None,
    device: str,
    seed: int,
    switches: Mapping[str, bool] | None,
) -> ReferenceTrainer:
    """Build the trainer of one tier; see `trainers.tabular_regressor.build`."""
    resolve(() if tier == "reference" else SWITCHES, switches, default=True)
    loaded = data if isinstance(data, RegressionData) else find_data(config, data)
    place = _device(device)
    if tier == "reference":
        return ReferenceTrainer(config, loaded, device=place, seed=seed)
    return OptimizedTrainer(config, loaded, device=place, seed=seed, switches=switches)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"unknown device {name!r}", "device", "choose cpu or cuda") from error
    if device.type not in {"cpu", "cuda"}:
        raise BadInput(f"device {name!r} is not supported", "device", "choose cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"there is no device {name!r} here", "device", "choose cpu, or install a PyTorch for your GPU")
    return device
