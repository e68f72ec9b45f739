"""Puts a trainer together from its configuration; the one place that knows the class of every tier."""

from collections.abc import Callable, Mapping
from pathlib import Path

from trainers.dialogue_gan.config import FASTEST_SWITCHES, SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import DialogueData, find_data
from trainers.dialogue_gan.fastest import FastestTrainer
from trainers.dialogue_gan.optimized import OptimizedTrainer
from trainers.dialogue_gan.reference import ReferenceTrainer
from trainers.switches import resolve
from trainers.tensorflow.runtime import find_device

__all__ = ["assemble"]

_SWITCHES = {"reference": (), "optimized": SWITCHES, "fastest": FASTEST_SWITCHES}


def assemble(  # noqa: PLR0913 - the arguments of the family's build, once more
    tier: str,
    config: DialogueConfig,
    *,
    data: DialogueData | str | Path | None,
    device: str | None,
    seed: int,
    switches: Mapping[str, bool] | None,
    log: Callable[[str], None] | None,
) -> ReferenceTrainer:
    """Build the trainer of one tier; see `trainers.dialogue_gan.build`."""
    resolve(_SWITCHES[tier], switches)
    loaded = data if isinstance(data, DialogueData) else find_data(config, data)
    place = find_device(device)
    say = print if log is None else log
    if tier == "reference":
        return ReferenceTrainer(config, loaded, device=place, seed=seed, log=say)
    if tier == "fastest":
        return FastestTrainer(config, loaded, device=place, seed=seed, switches=switches, log=say)
    return OptimizedTrainer(config, loaded, device=place, seed=seed, switches=switches, log=say)
