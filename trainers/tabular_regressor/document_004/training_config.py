"""Document 004's `TrainingConfig`: the hyperparameters of one training, changeable, and kept as JSON.

It holds what `RegressorConfig` holds, without the sizes of the made-up data, and remembers which values somebody chose:
those are the ones that may overrule a default elsewhere. Imports no framework.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from trainers.common import checkpoint
from trainers.common.configuration import INFINITE, from_file
from trainers.contract import BadInput
from trainers.tabular_regressor.config import RegressorConfig

__all__ = ["TrainingConfig", "load_training_config", "save_training_config"]

_OF_MADE_UP_DATA = frozenset({"num_rows", "num_features", "num_targets", "data_seed"})
_PUBLISHED_NAMES = {
    "dropout_rate": "dropout",
    "max_epochs": "num_epochs",
    "gradient_clip_norm": "clip_norm",
    "scheduler_t0": "restart_epochs",
    "scheduler_t_mult": "restart_factor",
    "scheduler_eta_min": "min_learning_rate",
    "save_checkpoint_every": "checkpoint_every",
}
"""Values that the published program calls something else, by its names: a program or a file may use either."""

_NAMES = tuple(field.name for field in attrs.fields(RegressorConfig) if field.name not in _OF_MADE_UP_DATA)


class TrainingConfig:
    """Hyperparameters of one training; each starts at the default that `RegressorConfig` describes.

    The published program's names of values, `dropout_rate` for `dropout` and so on, mean the same.

    Args:
        values: values by name that differ from the defaults.

    Raises:
        BadInput: an unknown name, a value of the wrong type or out of its range, by name. Setting an attribute checks
            the same, and a refused change leaves everything as it was.

    """

    _config: RegressorConfig
    _chosen: frozenset[str]

    def __init__(self, /, **values: Any) -> None:
        """Start from the defaults, of which nobody has chosen any."""
        vars(self).update(_config=RegressorConfig(), _chosen=frozenset())
        self.update(**values)

    def __getattr__(self, name: str) -> Any:
        """Return one value by its name."""
        ours = _PUBLISHED_NAMES.get(name, name)
        if ours not in _NAMES:
            raise AttributeError(f"a {type(self).__name__} has no {name}")
        return getattr(self._config, ours)

    def __dir__(self) -> list[str]:
        """List the values' names too, for whoever completes them by the tab key."""
        return [*super().__dir__(), *_NAMES, *_PUBLISHED_NAMES]

    @property
    def chosen(self) -> frozenset[str]:
        """Return the names of the values that were given, even where they equal the default."""
        return self._chosen

    def update(self, /, **changes: Any) -> None:
        """Change several values at once: all of them or, when one is refused, none.

        Raises:
            BadInput: as the constructor.

        """
        plain: dict[str, Any] = {}
        for given, value in changes.items():
            name = _PUBLISHED_NAMES.get(given, given)
            if name not in _NAMES:
                raise BadInput(f"unknown key {given!r}", "configuration", f"choose from: {', '.join(sorted(_NAMES))}")
            if name in plain:
                theirs = next(other for other, ours in _PUBLISHED_NAMES.items() if ours == name)
                raise BadInput(f"{name} is given twice", "configuration", f"leave out {name} or {theirs}")
            plain[name] = value
        vars(self).update(_config=self._config.replace(**plain), _chosen=self._chosen | plain.keys())

    def __setattr__(self, name: str, value: Any) -> None:
        """Change one value, checked as by `update`."""
        self.update(**{name: value})

    def __delattr__(self, name: str) -> None:
        """Refuse: a value can be changed, not taken away."""
        raise AttributeError(f"{name} cannot be deleted from a {type(self).__name__}; set it instead")

    def __eq__(self, other: object) -> bool:
        """Whether all values are equal, whoever chose them."""
        return isinstance(other, TrainingConfig) and self._config == other._config

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Name the values that were chosen."""
        return f"TrainingConfig({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.chosen))})"

    def to_dict(self) -> dict[str, Any]:
        """Return every value by name, as plain data."""
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
        return self._config if base is None else base.replace(**{name: getattr(self, name) for name in self.chosen})


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
    return from_file(Path(file_path), TrainingConfig)
