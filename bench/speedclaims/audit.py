"""Claims that are arithmetic: a document's own figures, calculated again.

A claim of kind ``arithmetic`` names a function, ``audit = "name"``, of the file ``audits.py`` beside its ledger. The
function takes no arguments, holds the document's figures, and returns a ``Recomputed``.

The rule, the same for every claim. What a document claims is a range of values (a single value is a range without
width) and is written with so many decimals. What its other figures give is a range too, by interval arithmetic: each
figure may lie anywhere in its own range, independently of the others. The claim is **consistent** when every value it
claims is one that the figures can give, within the rounding of the claim: the claimed range lies inside the recomputed
one, widened on both sides by half a unit of the claim's last decimal. So "3-5x" agrees with 150-200 ms over 30-50 ms,
which is 3.0 to 6.7x, though the figures could give more; and "60-80 min" does not agree with 20 times 50-65 s.

Three forms of the rule cover what is not one range against another. A claim that is open above ("faster", "fewer
than") is consistent when the figures can give its bound: ``at_least``. Two statements about one quantity agree when
each of them allows the other: ``two_statements``. What is not a number is counted (parameters, files, calls, epochs
in which something holds) and the counts are compared: ``counted``.
"""

import contextlib
import importlib.machinery
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from speedclaims.claims import Claim, Ledger, LedgerError, blank

AUDITS = "audits.py"
"""The file beside a ledger that holds the audit functions."""

_TOLERANCE = 1e-9  # of floating-point arithmetic, relative


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What an audit function returns. Make it with the functions below, so that ``consistent`` follows from figures.

    Attributes:
        claimed: what the document says, with its unit.
        recomputed: what its own figures give, with its unit.
        formula: how, so that a reader can do it again.
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
                msg = f"{name} must be a text that is not empty, not {getattr(self, name)!r}"
                raise TypeError(msg)
        if not isinstance(self.consistent, bool):
            msg = f"consistent must be True or False, not {self.consistent!r}"
            raise TypeError(msg)


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
            msg = f"no range: {self.low:g} to {self.high:g}"
            raise ValueError(msg)

    @classmethod
    def of(cls, value: "Figure") -> "Range":
        """Return a figure as a range; a number has no width."""
        return value if isinstance(value, cls) else cls(float(value), float(value))  # type: ignore[arg-type]

    @classmethod
    def rounded(cls, value: float, digits: int) -> "Range":
        """Return everything that is printed as ``value`` with so many decimals: 31.2 is 31.15 to 31.25."""
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
            msg = f"division by a range that holds zero: {that.low:g} to {that.high:g}"
            raise ZeroDivisionError(msg)
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
        """Return the range for reading, with so many decimals: ``16.7 to 21.7 min``, ``3 to 5x``."""
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


# -- running a ledger's audit functions ----------------------------------------------------------------------------


def audit_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the record's ``audit`` rows: one for each arithmetic claim, in the ledger's order.

    ``audits.py`` is executed only when there is one; what it prints goes to stderr.

    Raises:
        LedgerError: there is no such file or function, it raised, or it returned something else.
    """
    claims = [claim for claim in ledger.claims.values() if claim.kind == "arithmetic"]
    if not claims:
        return []
    path = ledger.path.with_name(AUDITS)
    with contextlib.redirect_stdout(sys.stderr):
        module = _load(path, ledger, claims[0])
        found = [(claim, _call(module, path, ledger, claim)) for claim in claims]
    return [
        {
            **{key: getattr(claim, key) for key in ("id", "source", "text")},
            **{key: getattr(result, key) for key in ("claimed", "recomputed", "formula")},
            "verdict": "consistent" if result.consistent else "inconsistent",
        }
        for claim, result in found
    ]


def claim_rows(ledger: Ledger, audit: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return the record's ``claims`` rows of the arithmetic claims.

    Args:
        ledger: the ledger.
        audit: its ``audit_rows``, where they have been made already.

    Raises:
        LedgerError: as ``audit_rows``.
    """
    rows = audit_rows(ledger) if audit is None else audit
    return [
        {**blank(ledger.claims[row["id"]]), "metric": None, "work": None, "verdict": row["verdict"]} for row in rows
    ]


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles what stands in the file now: no stale bytecode, and no folder written beside somebody's ledger."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the loader's interface
        """Return the module's code."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _load(path: Path, ledger: Ledger, first: Claim) -> ModuleType:
    if not path.is_file():
        msg = (
            f"{path}: no such file, and the claim {first.id!r} of {ledger.path.name} names its function "
            f"{first.audit!r}: write it there"
        )
        raise LedgerError(msg)
    name = f"speedclaims_audits_{abs(hash(path.resolve())):x}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None:  # pragma: no cover - only without a loader
        msg = f"{path}: not a Python file: correct it there"
        raise LedgerError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses defined in it look themselves up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is somebody's file: whatever it raises is told
        msg = f"{_where(path, error)}: cannot be loaded ({_told(error)}): correct it there"
        raise LedgerError(msg) from None
    finally:
        sys.modules.pop(name, None)
    return module


def _call(module: ModuleType, path: Path, ledger: Ledger, claim: Claim) -> Recomputed:
    function: Callable[[], object] | None = getattr(module, claim.audit or "", None)
    if not callable(function):
        msg = (
            f"{path}: no function {claim.audit!r}, which the claim {claim.id!r} of {ledger.path.name} names: "
            "add it, or correct the name"
        )
        raise LedgerError(msg)
    try:
        result = function()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - likewise
        msg = f"{_where(path, error)}: {claim.audit}, named by the claim {claim.id!r}, raised {_told(error)}: mend it"
        raise LedgerError(msg) from None
    if not isinstance(result, Recomputed):
        msg = (
            f"{path}: {claim.audit}, named by the claim {claim.id!r}, returned {type(result).__name__}: "
            "return a speedclaims.audit.Recomputed"
        )
        raise LedgerError(msg)
    return result


def _where(path: Path, error: BaseException) -> str:
    """Return the file and, where the error has one there, the line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    number = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{path}:{number}" if number else str(path)


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
