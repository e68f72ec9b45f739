"""Define the base of the families' configurations: checked values, presets, plain data. Imports no framework."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from trainers.contract import BadInput

__all__ = ["INFINITE", "Bounds", "Configuration", "read_settings"]

INFINITE = "infinity"
"""JSON has no infinite number; this text represents it in files of settings."""


@dataclass(frozen=True)
class Bounds:
    """Hold the bounds of a setting's value.

    Attributes:
        least: the smallest number allowed.
        above: a number that it must exceed.
        below: a number that it must stay below.
        may_be_infinite: whether infinity is a value too.
        choices: the texts allowed, for a text.

    """

    least: float | None = None
    above: float | None = None
    below: float | None = None
    may_be_infinite: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """Sizes and hyperparameters of one family: a frozen dataclass whose defaults are the original program's.

    Class attributes:
        BOUNDS: what the values may be, by name; booleans need none.
        PRESETS: values that differ from the defaults, by the preset's name.

    """

    BOUNDS: ClassVar[Mapping[str, Bounds]] = {}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Refuse values that no training could use.

        Raises:
            BadInput: a value of the wrong type or out of its range, by name.

        """
        for field in dataclasses.fields(self):
            _check_value(field.name, getattr(self, field.name), type(field.default), self.BOUNDS)

    def replace(self, /, **changes: Any) -> Self:
        """Copy with some values changed.

        Raises:
            BadInput: a key that the configuration does not have, or a value it refuses, by name.

        """
        known = {field.name for field in dataclasses.fields(self)}
        for key in changes:
            if key not in known:
                raise BadInput(f"unknown key {key!r}", "configuration", f"choose from: {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)

    def changed_by(self, path: Path) -> Self:
        """Copy with the values of a JSON file, see `read_settings`.

        Raises:
            BadInput: as `read_settings`, or as `replace`, naming the file too.

        """
        changes = read_settings(path)
        try:
            return self.replace(**changes)
        except BadInput as error:
            raise BadInput(error.what, f"{path} [{error.where}]", error.mend) from error

    def to_dict(self) -> dict[str, Any]:
        """Every value by name, as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`'s result.

        Raises:
            BadInput: an unknown key or a bad value, by name.

        """
        return cls().replace(**values)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Look up the configuration of one preset.

        Raises:
            BadInput: there is no preset of that name.

        """
        if name not in cls.PRESETS:
            raise BadInput(f"unknown preset {name!r}", "preset", f"choose one of: {', '.join(cls.PRESETS)}")
        return cls().replace(**cls.PRESETS[name])


def _check_value(name: str, value: object, kind: type, bounds_of: Mapping[str, Bounds]) -> None:
    """Raise BadInput unless `value` is a `kind` (an int passes for a float) within the bounds of its name."""

    def refuse(mend: str) -> BadInput:
        return BadInput(f"{name} is {value!r}", "configuration", mend)

    if kind is bool:
        if not isinstance(value, bool):
            raise refuse("set it to True or False")
        return
    bounds = bounds_of[name]
    if kind is str:
        if value not in bounds.choices:
            raise refuse(f"choose one of: {', '.join(bounds.choices)}")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else (int,)):
        raise refuse(f"give it a number of type {kind.__name__}")
    mend = _out_of_bounds(cast("float", value), bounds)
    if mend is not None:
        raise refuse(mend)


def _out_of_bounds(value: float, bounds: Bounds) -> str | None:
    """Return how to fix a value that is out of its bounds; None where it is within them."""
    if math.isnan(value) or (math.isinf(value) and not bounds.may_be_infinite):
        return "give it a finite number"
    if bounds.above is not None and value <= bounds.above:
        return f"make it greater than {bounds.above:g}"
    if bounds.least is not None and value < bounds.least:
        return f"make it at least {bounds.least:g}"
    if bounds.below is not None and value >= bounds.below:
        return f"make it less than {bounds.below:g}"
    return None


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON file of values by name, in which the text "infinity" means that number.

    Raises:
        BadInput: the file cannot be read, is no JSON object, or has one key twice.

    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadInput(what, str(path), "give a JSON file of training settings") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"is no JSON of training settings ({error})", str(path), "mend or remove it") from error
    if not isinstance(values, dict):
        raise BadInput("holds no JSON object", str(path), 'write {"name": value, ...}')
    return {name: math.inf if value == INFINITE else value for name, value in values.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return values


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON's")
