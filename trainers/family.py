"""Describe a family of trainers in one object: the command line, the benchmarks and the tests read it."""

import importlib
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.common.frameworks import require
from trainers.contract import BadInput, Trainer
from trainers.switches import Switch, resolve

if TYPE_CHECKING:
    from trainers.common.configuration import Configuration  # a name in `trainers` must not cost the packages it needs
    from trainers.pytorch.ranks import Ranks

__all__ = ["Family"]

_DEVICES = {"torch": "trainers.pytorch.devices", "tensorflow": "trainers.tensorflow.runtime"}
"""The module that finds a device, by framework."""


@dataclass(frozen=True)
class Family:
    """Describe one family of trainers and build them. No framework is imported before the first trainer is built.

    The family's package holds the modules that this object imports when it needs them:

    - for each tier a module of its name with the tier's class: `reference` with `ReferenceTrainer`. The class takes the
      configuration, the data, `device` and `seed`, `switches` if the tier has any, and `log` unless `is_silent`.
    - `data` with `find_data(config, path)`, which loads a file, or the family's offline data for None.
    - `commands` with a function for each action of the command line.

    Attributes:
        name: the name in records and on command lines.
        title: one line for help texts.
        package: the full name of the package.
        framework: the module of the framework that the trainers need: `torch` or `tensorflow`.
        config: the class of the configurations; it has the presets.
        switches: the switches of each tier, the slowest tier first.
        phases: the phases of a training, in their order; benchmarks time the last one.
        actions: the actions that the command line offers.
        add_options: functions that add the family's own options to an action's parser, by action.
        data_module: the full name of the module with `find_data`, if it is not the package's `data`.
        overrides: values that differ from the presets of `config`.
        is_silent: whether its trainers print nothing while they train.
        parallel_tiers: the tiers that several processes can train together.

    """

    name: str
    title: str
    package: str
    framework: str
    config: "type[Configuration]"
    switches: Mapping[str, tuple[Switch, ...]]
    phases: tuple[str, ...] = ("train",)
    actions: tuple[str, ...] = ()
    add_options: Mapping[str, Callable[[ArgumentParser], None]] = field(default_factory=dict)
    data_module: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    is_silent: bool = False
    parallel_tiers: tuple[str, ...] = ()

    @property
    def tiers(self) -> tuple[str, ...]:
        """List the names of the tiers, the slowest first."""
        return tuple(self.switches)

    @property
    def presets(self) -> tuple[str, ...]:
        """List the names of the presets."""
        return tuple(self.config.PRESETS)

    def build(  # noqa: PLR0913 - all but the tier are keywords, and a caller gives the few it cares about
        self,
        tier: str,
        *,
        preset: str = "smoke",
        data: Any = None,
        device: str | None = "cpu",
        seed: int = 0,
        switches: Mapping[str, bool] | None = None,
        log: Callable[[str], None] | None = None,
        ranks: "Ranks | None" = None,
        **overrides: Any,
    ) -> Trainer:
        """Build a trainer, ready for its first step.

        Two tiers built with the same arguments start with the same weights, see the same batches in the same order and
        draw the same random numbers: noise, dropout masks and, as long as their weights agree, fake sequences.

        Args:
            tier: one of `tiers`.
            preset: one of `presets`.
            data: the path of the user's data, or data that `find_data` has loaded; None for the family's offline data,
                which the first call makes and keeps.
            device: `cpu`, `cuda` or `cuda:1`; None for the GPU if there is one.
            seed: the seed of the weights, the order of the batches and all random numbers of the training. The offline
                data has its own, `data_seed`.
            switches: settings by name, of the tier's `switches`. In the optimized tier a switch that is not named is as
                the document or the configuration has it, in the fastest tier it is on where it pays on the device.
            log: takes the lines that the training writes; None prints them.
            ranks: the processes that train together, see `trainers.pytorch.ranks.join_ranks`; None trains in this one.
            overrides: values of the configuration that differ from the preset's.

        Returns:
            A trainer with the family's `phases`.

        Raises:
            BadInput: an unknown tier, preset, switch or configuration key, a bad value, bad data, no such device, or
                the framework is not installed.

        """
        config = self.config.preset(preset).replace(**self.overrides).replace(**overrides)
        trainer: Trainer = self.assemble(
            tier, config, data=data, device=device, seed=seed, switches=switches, log=log, ranks=ranks
        )  # fmt: skip
        return trainer

    def assemble(  # noqa: PLR0913 - the arguments of `build`
        self,
        tier: str,
        config: "Configuration",
        *,
        data: Any = None,
        device: str | None = None,
        seed: int = 0,
        switches: Mapping[str, bool] | None = None,
        log: Callable[[str], None] | None = None,
        ranks: "Ranks | None" = None,
    ) -> Any:
        """Build a trainer from a complete configuration; `build` explains the other arguments.

        Returns:
            An instance of the tier's class.

        Raises:
            BadInput: as `build`, or the tier trains in one process only.

        """
        if tier not in self.switches:
            raise BadInput(f"unknown tier {tier!r}", "tier", f"choose one of: {', '.join(self.tiers)}")
        is_parallel = ranks is not None and ranks.is_parallel
        if is_parallel and tier not in self.parallel_tiers:
            mend = f"choose {' or '.join(self.parallel_tiers)}, or train without torchrun"
            raise BadInput(f"{tier} trains in one process only", "tier", mend)
        resolve(self.switches[tier], switches)
        options: dict[str, Any] = {"device": self.find_device(device), "seed": seed}
        if self.switches[tier]:
            options["switches"] = switches
        if is_parallel:
            options["ranks"] = ranks
        if not self.is_silent:
            options["log"] = print if log is None else log
        loaded = self.find_data(config, data) if data is None or isinstance(data, str | Path) else data
        kind = getattr(importlib.import_module(f"{self.package}.{tier}"), f"{tier.capitalize()}Trainer")
        return kind(config, loaded, **options)

    def find_device(self, name: str | None) -> Any:
        """Return the framework's device of a name, or the best device for None.

        Raises:
            BadInput: there is no such device, or the framework is not installed.

        """
        require(self.framework)
        return importlib.import_module(_DEVICES[self.framework]).find_device(name)

    def find_data(self, config: "Configuration", path: str | Path | None) -> Any:
        """Load the data at a path, or the offline data of a configuration for None.

        Raises:
            BadInput: the data cannot be used, or there is no place to keep the offline data.

        """
        return importlib.import_module(self.data_module or f"{self.package}.data").find_data(config, path)
