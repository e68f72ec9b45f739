"""Puts a trainer of the twin together from its configuration; the one place that knows the class of every tier."""

from collections.abc import Callable, Mapping
from pathlib import Path

from trainers.dialogue_gan.config import TWIN_OPTIMIZED_SWITCHES, TWIN_SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import find_data
from trainers.dialogue_gan.pytorch.fastest import FastestTrainer
from trainers.dialogue_gan.pytorch.optimized import OptimizedTrainer
from trainers.dialogue_gan.pytorch.reference import ReferenceTrainer
from trainers.pytorch.devices import find_device
from trainers.switches import resolve

__all__ = ["assemble"]

_SWITCHES = {"reference": (), "optimized": TWIN_OPTIMIZED_SWITCHES, "fastest": TWIN_SWITCHES}


def assemble(  # noqa: PLR0913 - the arguments of the twin's build, once more
    tier: str,
    config: DialogueConfig,
    *,
    data: str | Path | None,
    device: str | None,
    seed: int,
    switches: Mapping[str, bool] | None,
    log: Callable[[str], None] | None,
) -> ReferenceTrainer:
    """Build the trainer of one tier; see `trainers.dialogue_gan.pytorch.build.build`."""
    resolve(_SWITCHES[tier], switches)
    place = find_device(device)
    loaded = find_data(config, data)
    write = print if log is None else log
    if tier == "reference":
        return ReferenceTrainer(config, loaded, device=place, seed=seed, log=write)
    kind = OptimizedTrainer if tier == "optimized" else FastestTrainer
    return kind(config, loaded, device=place, seed=seed, switches=switches, log=write)
