"""Recompute a document's figures: ranges, products, and what an audit function returns."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_TOLERANCE = 1e-9  # of floating-point arithmetic, relative


@dataclass(frozen=True, slots=True)
class Recomputed:
    """Hold the result of an audit function: what a document claims, and what its own figures give.

    Make it with the functions below, so that ``consistent`` follows from the figures.

    Attributes:
        claimed: what the document says, with its unit.
        recomputed: what its own figures give, with its unit.
        formula: how it was computed, so that a reader can repeat it.
        consistent: whether the figures give what is claimed.
    """

    claimed: str
    recomputed: str
    formula: str
    consistent: bool

    def __post_init__(self) -> None:
        """Refuse what a record could not hold.

        Raises:
            TypeError: a field is of another type, or a text is empty.
        """
        for name in ("claimed", "recomputed", "formula"):
            if not (isinstance(getattr(self, name), str) and getattr(self, name).strip()):
                raise TypeError(f"{name} must be a text that is not empty, not {getattr(self, name)!r}")
        if not isinstance(self.consistent, bool):
            raise TypeError(f"consistent must be True or False, not {self.consistent!r}")


@dataclass(frozen=True, slots=True)
class Range:
    """All values from ``low`` to ``high``; arithmetic with it gives the range of what any of them can give.

    Raises:
        ValueError: an end is NaN or infinite, or low is greater than high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse ends that make no range."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"no range: {self.low:g} to {self.high:g}")

    @classmethod
    def of(cls, value: "Figure") -> "Range":
        """Return a figure as a range; a number has no width."""
        return value if isinstance(value, cls) else cls(float(value), float(value))  # type: ignore[arg-type]

    @classmethod
    def rounded(cls, value: float, digits: int) -> "Range":
        """Return the range of numbers that round to ``value`` at ``digits`` decimals: 31.2 is 31.15 to 31.25."""
        half = _half_unit(digits)
        return cls(value - half, value + half)

    def __add__(self, other: "Figure") -> "Range":
        """Return the range of sums."""
        that = Range.of(other)
        return Range(self.low + that.low, self.high + that.high)

    def __sub__(self, other: "Figure") -> "Range":
        """Return the range of differences."""
        that = Range.of(other)
        return Range(self.low - that.high, self.high - that.low)

    def __mul__(self, other: "Figure") -> "Range":
        """Return the range of products."""
        return _hull(mine * other_end for mine in _ends(self) for other_end in _ends(Range.of(other)))

    def __truediv__(self, other: "Figure") -> "Range":
        """Return the range of quotients.

        Raises:
            ZeroDivisionError: the divisor's range holds zero.
        """
        that = Range.of(other)
        if that.low <= 0 <= that.high:
            raise ZeroDivisionError(f"division by a range that holds zero: {that.low:g} to {that.high:g}")
        return _hull(mine / other_end for mine in _ends(self) for other_end in _ends(that))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: "Figure") -> "Range":
        """Return the range of differences, this subtracted."""
        return Range.of(other) - self

    def __rtruediv__(self, other: "Figure") -> "Range":
        """Return the range of quotients, this the divisor."""
        return Range.of(other) / self

    def text(self, digits: int, unit: str = "") -> str:
        """Format the range with ``digits`` decimals and a unit: ``16.7 to 21.7 min``, ``3 to 5x``."""
        low, high = (f"{end:,.{digits}f}" for end in _ends(self))
        number = low if low == high else f"{low} to {high}"
        return f"{number}{unit}" if unit in {"", "x", "%"} else f"{number} {unit}"


Figure = Range | float
"""A figure of a document: a range, or a number without width."""


def _ends(one: Range) -> tuple[float, float]:
    return one.low, one.high


def _hull(values: Iterable[float]) -> Range:
    found = list(values)
    return Range(min(found), max(found))


def _half_unit(digits: int) -> float:
    return 0.5 * 10.0**-digits


def product(factors: Iterable[Figure]) -> Range:
    """Return the range of the product of figures; 1 for none."""
    result = Range(1, 1)
    for factor in factors:
        result *= factor
    return result


def allows(recomputed: Range, claimed: Range, digits: int) -> bool:
    """Return whether every claimed value is one that the figures can give, within the rounding of the claim.

    Args:
        recomputed: what the figures give.
        claimed: what is claimed.
        digits: decimals that the claim is written with.
    """
    slack = _half_unit(digits) + _TOLERANCE * max(1.0, *(abs(end) for end in _ends(claimed)))
    return recomputed.low - slack <= claimed.low and claimed.high <= recomputed.high + slack


def _given(recomputed: Range, digits: int, unit: str) -> str:
    """Return what figures give, with one decimal more than the claim has, except where that would be a zero."""
    enough = all(math.isclose(end, round(end, digits), abs_tol=_TOLERANCE) for end in _ends(recomputed))
    return recomputed.text(digits if enough else digits + 1, unit)


def from_figures(*, claimed: Figure, recomputed: Figure, formula: str, unit: str = "", digits: int = 0) -> Recomputed:
    """Return whether figures give what is claimed.

    Args:
        claimed: what the document says, as written: not widened by its rounding.
        recomputed: what its other figures give.
        formula: how, for a reader.
        unit: unit of both.
        digits: decimals that the claim is written with; the recomputed value is shown with one more.
    """
    said, given = Range.of(claimed), Range.of(recomputed)
    return Recomputed(said.text(digits, unit), _given(given, digits, unit), formula, allows(given, said, digits))


def at_least(bound: float, *, recomputed: Figure, formula: str, unit: str = "", digits: int = 0) -> Recomputed:
    """Return whether figures can give a claim that is open above: ``bound`` or more."""
    given = Range.of(recomputed)
    reaches = given.high + _half_unit(digits) >= bound
    said = f"at least {Range.of(bound).text(digits, unit)}"
    return Recomputed(said, _given(given, digits, unit), formula, reaches)


def two_statements(*, one: Figure, other: Figure, formula: str, unit: str = "", digits: int = 0) -> Recomputed:
    """Return whether two statements about one quantity agree: each of them allows the other."""
    first, second = Range.of(one), Range.of(other)
    agree = allows(first, second, digits) and allows(second, first, digits)
    return Recomputed(first.text(digits, unit), second.text(digits, unit), formula, agree)


def counted(*, claimed: int, recomputed: int, what: str, formula: str) -> Recomputed:
    """Return whether a count comes out as claimed; ``what`` is counted."""
    return from_figures(claimed=claimed, recomputed=recomputed, formula=formula, unit=what)
