"""Puts a trainer together from its configuration; the one place that knows the class of every tier."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from trainers.pytorch.devices import find_device
from trainers.switches import resolve
from trainers.tabular_regressor.config import FASTEST_SWITCHES, SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import Feed, RegressionData, load_data, offline_data_path
from trainers.tabular_regressor.fastest import FastestTrainer
from trainers.tabular_regressor.optimized import OptimizedTrainer
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["assemble", "find_data"]


def find_data(config: RegressorConfig, data: str | Path | None) -> RegressionData:
    """Load the given file, or the offline data of the configuration."""
    return load_data(offline_data_path(config) if data is None else Path(data), config)


def assemble(  # noqa: PLR0913 - the arguments of the family's build, once more
    tier: str,
    config: RegressorConfig,
    *,
    data: Feed | str | Path | None,
    device: str | None,
    seed: int,
    switches: Mapping[str, bool] | None,
) -> ReferenceTrainer:
    """Build the trainer of one tier; see `trainers.tabular_regressor.build`."""
    resolve({"optimized": SWITCHES, "fastest": FASTEST_SWITCHES}.get(tier, ()), switches)
    loaded: Feed = find_data(config, data) if data is None or isinstance(data, str | Path) else data
    place = find_device(device)
    if tier == "reference":
        return ReferenceTrainer(config, loaded, device=place, seed=seed)
    if tier == "fastest":
        # Loaders that somebody made are the data of document 004's functions only, which have no such tier.
        rows = cast("RegressionData", loaded)
        return FastestTrainer(config, rows, device=place, seed=seed, switches=switches)
    return OptimizedTrainer(config, loaded, device=place, seed=seed, switches=switches)
