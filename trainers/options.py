"""What a user can choose for a training on the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["TrainOptions"]


@dataclass(frozen=True)
class TrainOptions:
    """What a user chose for one training; None where nothing was chosen.

    Attributes:
        tier: one of the family's tiers; without it that of the resumed checkpoint, or `optimized`.
        preset: one of the family's presets; without it that of the resumed checkpoint, or `smoke`.
        data: the user's own data; without it the family's offline data.
        config: JSON file of settings that differ from the preset's or the resumed checkpoint's.
        out: folder of the training's files.
        epochs: most epochs, those before a resume included.
        seed: of the training.
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
    resume: Path | None = None
    switches: Mapping[str, bool] = field(default_factory=dict)
