"""Parse the numbers of command-line options; a text that is none is refused in one line."""

import argparse
import math
from collections.abc import Callable


def positive(unit: str) -> Callable[[str], float]:
    """Return a parser of positive finite numbers of a unit."""
    return _parser(float, lambda value: 0 < value < math.inf, f"a positive number of {unit}")


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
