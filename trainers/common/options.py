"""Hold the options of a training that a user can choose on the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from trainers.common.configuration import Configuration

__all__ = ["TrainOptions"]

Config = TypeVar("Config", bound=Configuration)


@dataclass(frozen=True)
class TrainOptions:
    """Hold the options that a user chose for one training; None where nothing was chosen.

    Attributes:
        tier: one of the family's tiers; without it that of the resumed checkpoint, or `optimized`.
        preset: one of the family's presets; without it that of the resumed checkpoint, or `smoke`.
        data: the user's own data; without it the family's offline data.
        config: JSON file of settings that differ from the preset's or the resumed checkpoint's.
        out: folder of the training's files.
        epochs: most epochs, those before a resume included.
        seed: of the training.
        device: where it trains; without it the GPU if there is one, else the CPU.
        resume: checkpoint to continue from.
        switches: settings by name.

    """

    tier: str | None = None
    preset: str | None = None
    config: Path | None = None
    data: Path | None = None
    out: Path | None = None
    epochs: int | None = None
    seed: int | None = None
    device: str | None = None
    resume: Path | None = None
    switches: Mapping[str, bool] = field(default_factory=dict)

    def tier_over(self, resumed: Mapping[str, Any] | None) -> str:
        """Return the tier to train: the one chosen, else that of the resumed checkpoint, else `optimized`."""
        return self.tier or (resumed["tier"] if resumed else "optimized")

    def config_over(self, resumed: Mapping[str, Any] | None, kind: type[Config]) -> Config:
        """Configuration to begin with: the chosen preset's, else that of the checkpoint, else that of `smoke`.

        Raises:
            BadInput: the checkpoint's is none of this family, by name.

        """
        if self.preset is None and resumed is not None:
            return kind.from_dict(resumed["config"])
        return kind.preset(self.preset or "smoke")

    def switches_over(self, resumed: Mapping[str, Any] | None, tier: str) -> dict[str, bool]:
        """Return the chosen switches, over those of the resumed checkpoint if its tier is kept."""
        before = resumed["switches"] if resumed is not None and resumed["tier"] == tier else {}
        return {**before, **self.switches}
