"""Take the numbers of command-line options and of arguments, and refuse what is none in one line."""

import argparse
import math
from collections.abc import Callable
from decimal import Decimal
from numbers import Integral, Real

_MOST_SECONDS = 1e7
"""Four months; the system's clocks do not take times of any length."""


def positive(unit: str) -> Callable[[str], float]:
    """Return a parser of positive finite numbers of a unit; seconds are bounded."""
    if unit == "seconds":
        return _parser(
            float, lambda value: 0 < value <= _MOST_SECONDS, f"a positive number of seconds up to {_MOST_SECONDS:.0f}"
        )
    kind = _percent if unit == "percent" else float
    return _parser(kind, lambda value: 0 < value < math.inf, f"a positive number of {unit}")


def _percent(text: str) -> float:
    """Return a number of percent, with or without its sign."""
    return float(text.removesuffix("%"))


def fraction(text: str) -> float:
    """Return a number between 0 and 1, neither of them.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    return _parser(float, lambda value: 0 < value < 1, "a number between 0 and 1")(text)


def count(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    return int(_parser(int, lambda value: value >= 1, "a positive whole number")(text))


def few(text: str) -> int:
    """Return a whole number from 1 to 1000.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    return int(_parser(int, lambda value: 1 <= value <= 1000, "a positive whole number up to 1000")(text))


def plain(value: object) -> float | None:
    """Return a real number as Python's int or float, None for anything else.

    NumPy's scalars are numbers, and so are arrays and tensors without dimensions. A truth value and a text are none. A
    whole number that no float can hold becomes infinite.
    """
    item = getattr(value, "item", None)
    if getattr(value, "shape", None) == () and callable(item):
        value = item()
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a signalling NaN
        return math.nan
    return int(value) if isinstance(value, Integral) else as_float


def some_text(text: str) -> str:
    """Return a text that is not empty, as that of a variable that is not set would be.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _parser(kind: Callable[[str], float], fits: Callable[[float], bool], what: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


def is_truth(value: object) -> bool:
    """Whether a value is True or False, Python's or NumPy's."""
    is_of_numpy = type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}
    return isinstance(value, bool) or is_of_numpy
