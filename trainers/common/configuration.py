"""Define the base of the families' configurations: checked values, presets, plain data. Imports no framework."""

import math
import operator
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import attrs

from trainers.common.reading import read_json
from trainers.contract import BadInput

__all__ = ["INFINITE", "Configuration", "from_file", "read_settings", "setting"]

INFINITE = "infinity"
"""JSON has no infinite number; this text represents it in files of settings."""

_Made = TypeVar("_Made")

_COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "gt": (operator.gt, "greater than"),
    "ge": (operator.ge, "at least"),
    "lt": (operator.lt, "less than"),
    "le": (operator.le, "at most"),
}


def setting(
    default: bool | float | str,  # noqa: FBT001 - the value's kind is that of its default
    description: str,
    *,
    choices: tuple[str, ...] = (),
    infinite: bool = False,
    power_of_two: bool = False,
    **bounds: float,
) -> Any:
    """Declare one field of a configuration: its default, its description and its bounds.

    Args:
        default: value of the original program. Values are of its type; an int passes for a float, and NumPy's numbers
            become Python's, which JSON and checkpoints hold.
        description: meaning of the value in a few words, kept in the field's metadata.
        choices: allowed texts, for a text.
        infinite: whether infinity is allowed.
        power_of_two: whether the number must be a power of two.
        bounds: allowed numbers: `gt` (greater than), `ge` (at least), `lt` (less than), `le` (at most).

    """
    rules = [(*_COMPARISONS[name], bound) for name, bound in bounds.items()]

    def advice(value: Any) -> str | None:
        """Return how to correct a number; None where it is within its bounds."""
        if not (_is_finite(value) or (infinite and value == math.inf)):
            return "give it a finite number"
        for holds, words, bound in rules:
            if not holds(value, bound):
                return f"make it {words} {bound:g}"
        return "make it a power of two" if power_of_two and value & (value - 1) else None

    def check(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        text: str | None
        if isinstance(default, bool):
            text = None if isinstance(value, bool) else "set it to True or False"
        elif isinstance(default, str):
            text = None if isinstance(value, str) and value in choices else f"choose one of: {', '.join(choices)}"
        elif isinstance(value, bool) or not isinstance(value, (int, float) if isinstance(default, float) else int):
            text = f"give it a number of type {type(default).__name__}"
        else:
            text = advice(value)
        if text is not None:
            raise BadInput(f"{field.name} is {value!r}", "configuration", text)

    return attrs.field(default=default, validator=check, converter=_plain, metadata={"description": description})


def _plain(value: Any) -> Any:
    """Convert a number, NumPy's too, to Python's; leave anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


@attrs.frozen
class Configuration:
    """Hold the sizes and hyperparameters of one family, whose defaults are the original program's.

    Class attributes:
        PRESETS: values that differ from the defaults, by the preset's name.

    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def replace(self, /, **changes: Any) -> Self:
        """Copy with some values changed.

        Raises:
            BadInput: a key that the configuration does not have, or a value it refuses, by name.

        """
        known = {field.name for field in attrs.fields(type(self))}
        for key in changes:
            if key not in known:
                raise BadInput(f"unknown key {key!r}", "configuration", f"choose from: {', '.join(sorted(known))}")
        return attrs.evolve(self, **changes)

    def changed_by(self, path: Path) -> Self:
        """Copy with the values of a JSON file, see `read_settings`.

        Raises:
            BadInput: as `read_settings`, or as `replace`, naming the file too.

        """
        return from_file(path, self.replace)

    def to_dict(self) -> dict[str, Any]:
        """Return every value by name, as plain data."""
        return attrs.asdict(self)

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


def from_file(path: Path, make: Callable[..., _Made]) -> _Made:
    """Return what `make` makes of a JSON file's values, see `read_settings`.

    Raises:
        BadInput: as `read_settings`, or as `make`, naming the file too.

    """
    values = read_settings(path)
    try:
        return make(**values)
    except BadInput as error:
        raise BadInput(error.what, f"{path} [{error.where}]", error.mend) from error
    except RecursionError as error:  # a value that could just be read, but not shown
        raise BadInput("is nested too deeply", str(path), "fix or remove it") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON file of values by name, in which the text "infinity" means that number.

    Raises:
        BadInput: the file cannot be read, is no JSON object, or has one key twice.

    """
    try:
        values = read_json(path, parse_constant=_refuse_constant)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadInput(what, str(path), "give a JSON file of training settings") from error
    except ValueError as error:
        raise BadInput(f"is no JSON of training settings ({error})", str(path), "fix or remove it") from error
    if not isinstance(values, dict):
        raise BadInput("holds no JSON object", str(path), 'write {"name": value, ...}')
    return {name: math.inf if value == INFINITE else value for name, value in values.items()}


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number in JSON")
