"""Document 004's `TrainingConfig`: the hyperparameters of one training, changeable, and kept as JSON.

It holds what `RegressorConfig` holds, without the sizes of the made-up data, and remembers which values somebody chose:
those are the ones that may overrule a default elsewhere. Imports no framework.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.common import checkpoint
from trainers.common.configuration import INFINITE, read_settings
from trainers.contract import BadInput
from trainers.tabular_regressor.config import RegressorConfig

__all__ = ["TrainingConfig", "load_training_config", "save_training_config"]

_OF_MADE_UP_DATA = frozenset({"num_rows", "num_features", "num_targets", "data_seed"})
_NAMES = tuple(field.name for field in dataclasses.fields(RegressorConfig) if field.name not in _OF_MADE_UP_DATA)


class TrainingConfig:
    """Hyperparameters of one training; each starts at the default that `RegressorConfig` describes.

    Args:
        values: values by name that differ from the defaults.

    Raises:
        BadInput: an unknown name, a value of the wrong type or out of its range, by name. Setting an attribute checks
            the same, and a refused change leaves everything as it was.

    """

    hidden_size: int = RegressorConfig.hidden_size
    num_layers: int = RegressorConfig.num_layers
    dropout: float = RegressorConfig.dropout
    batch_size: int = RegressorConfig.batch_size
    learning_rate: float = RegressorConfig.learning_rate
    weight_decay: float = RegressorConfig.weight_decay
    restart_epochs: int = RegressorConfig.restart_epochs
    restart_factor: int = RegressorConfig.restart_factor
    min_learning_rate: float = RegressorConfig.min_learning_rate
    clip_norm: float = RegressorConfig.clip_norm
    num_epochs: int = RegressorConfig.num_epochs
    patience: int = RegressorConfig.patience
    checkpoint_every: int = RegressorConfig.checkpoint_every
    val_split: float = RegressorConfig.val_split
    test_split: float = RegressorConfig.test_split
    split_seed: int = RegressorConfig.split_seed
    huber_weight: float = RegressorConfig.huber_weight
    mse_weight: float = RegressorConfig.mse_weight
    huber_delta: float = RegressorConfig.huber_delta
    use_mixed_precision: bool = RegressorConfig.use_mixed_precision
    num_workers: int = RegressorConfig.num_workers
    persistent_workers: bool = RegressorConfig.persistent_workers

    def __init__(self, /, **values: Any) -> None:
        """Start from the defaults, of which nobody has chosen any."""
        vars(self)["_chosen"] = frozenset()
        self.update(**values)

    @property
    def chosen(self) -> frozenset[str]:
        """Names of the values that were given, even where they equal the default."""
        chosen: frozenset[str] = vars(self)["_chosen"]
        return chosen

    def update(self, /, **changes: Any) -> None:
        """Change several values at once: all of them or, when one is refused, none.

        Raises:
            BadInput: as the constructor.

        """
        for name in changes:
            if name not in _NAMES:
                raise BadInput(f"unknown key {name!r}", "configuration", f"choose from: {', '.join(sorted(_NAMES))}")
        RegressorConfig().replace(**{**self.to_dict(), **changes})  # raises for whatever no training could use
        vars(self).update(changes, _chosen=self.chosen | changes.keys())

    def __setattr__(self, name: str, value: Any) -> None:
        """Change one value, checked as by `update`."""
        self.update(**{name: value})

    def __delattr__(self, name: str) -> None:
        """Refuse: a value can be changed, not taken away."""
        raise AttributeError(f"{name} cannot be deleted from a {type(self).__name__}; set it instead")

    def __eq__(self, other: object) -> bool:
        """Whether all values are equal, whoever chose them."""
        return isinstance(other, TrainingConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Name the values that were chosen."""
        return f"TrainingConfig({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.chosen))})"

    def to_dict(self) -> dict[str, Any]:
        """Every value by name, as plain data."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Rebuild from `to_dict`'s result, or from a part of it; what it names counts as chosen.

        Raises:
            BadInput: as the constructor.

        """
        return cls(**values)

    @classmethod
    def of(cls, config: RegressorConfig) -> "TrainingConfig":
        """Take the hyperparameters of a trainer's configuration."""
        return cls(**{name: value for name, value in config.to_dict().items() if name in _NAMES})

    def regressor_config(self, base: RegressorConfig | None = None) -> RegressorConfig:
        """Make a trainer's configuration: every value, or with a `base` the chosen ones over it."""
        changes = self.to_dict() if base is None else {name: getattr(self, name) for name in self.chosen}
        return (base or RegressorConfig()).replace(**changes)


def save_training_config(config: TrainingConfig, file_path: str | Path = "improved_model_config.json") -> None:
    """Write every value to a JSON file, atomically.

    Raises:
        BadInput: the file cannot be written; an old one is left as it was.

    """
    values = {name: INFINITE if value == float("inf") else value for name, value in config.to_dict().items()}
    checkpoint.write(Path(file_path), (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def load_training_config(file_path: str | Path = "improved_model_config.json") -> TrainingConfig:
    """Read a JSON file of values by name; those it does not name keep their defaults.

    Raises:
        BadInput: the file cannot be read or is no JSON object, or it has an unknown key, one key twice, or a value of
            the wrong type or out of its range, by name.

    """
    path = Path(file_path)
    values = read_settings(path)
    try:
        return TrainingConfig(**values)
    except BadInput as error:
        raise BadInput(error.what, f"{path} [{error.where}]", error.mend) from error
