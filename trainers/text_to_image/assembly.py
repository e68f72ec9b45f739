"""Puts a trainer together from its configuration; the one place that knows the class of every tier."""

from collections.abc import Callable, Mapping
from pathlib import Path

from trainers.pytorch.devices import find_device
from trainers.switches import resolve
from trainers.text_to_image.config import FASTEST_SWITCHES, SWITCHES, TextToImageConfig
from trainers.text_to_image.data.items import CaptionData, load_data
from trainers.text_to_image.data.synthetic import offline_data
from trainers.text_to_image.fastest import FastestTrainer
from trainers.text_to_image.optimized import OptimizedTrainer
from trainers.text_to_image.reference import ReferenceTrainer

__all__ = ["assemble", "find_data"]


def find_data(config: TextToImageConfig, data: str | Path | None) -> CaptionData:
    """Load the given captions with their images, or the offline data of the configuration."""
    return load_data(offline_data(config) if data is None else Path(data), config)


def assemble(  # noqa: PLR0913 - the arguments of the family's build, once more
    tier: str,
    config: TextToImageConfig,
    *,
    data: CaptionData | str | Path | None,
    device: str | None,
    seed: int,
    switches: Mapping[str, bool] | None,
    log: Callable[[str], None] | None = None,
) -> ReferenceTrainer:
    """Build the trainer of one tier; see `trainers.text_to_image.build`."""
    resolve({"optimized": SWITCHES, "fastest": FASTEST_SWITCHES}.get(tier, ()), switches)
    place = find_device(device)
    loaded = data if isinstance(data, CaptionData) else find_data(config, data)
    write = log or print
    if tier == "reference":
        return ReferenceTrainer(config, loaded, device=place, seed=seed, log=write)
    if tier == "fastest":
        return FastestTrainer(config, loaded, device=place, seed=seed, log=write, switches=switches)
    return OptimizedTrainer(config, loaded, device=place, seed=seed, log=write, switches=switches)
