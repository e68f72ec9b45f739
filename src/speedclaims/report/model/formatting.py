"""Words and numbers as every rendering shows them: pure functions from values to short strings.

Ratios are written ``1.42x [1.38, 1.46]``: before / after, then the interval. A value that was not measured is never
written as a number.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.record.types import Figure

MISSING: Final = "not measured"
MOST_NAMES: Final = 8
"""How many names a sentence lists."""
_MAX_DECIMALS: Final = 5
_SMALLEST, _LARGEST = 1e-4, 1e15
"""Numbers between these are written without an exponent."""
_FEWEST_DIGITS: Final = 3
_MOST_DIGITS: Final = 7
# what could reorder the words around it, and two characters that no XML may hold
_UNFIT: Final = frozenset("\ufffe\uffff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NEEDED_DECIMALS_BELOW: Final = 10
_SECONDS_PER_MINUTE: Final = 60
_MINUTES_FROM_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one verdict is shown: never by colour alone, but by a word, a shape and a tone."""

    word: str
    symbol: str
    ascii_symbol: str
    tone: str
    meaning: str

    @property
    def slug(self) -> str:
        """Return the word as one that an attribute of the page can hold."""
        return self.word.replace(" ", "-")


VERDICTS: Final[Mapping[str, Verdict]] = {
    "confirmed": Verdict("confirmed", "✓", "+", "good", "the whole interval lies in the claimed range"),
    "exceeded": Verdict(
        "exceeded", "▲", "^", "more", "the whole interval lies on the better side of the claimed range"
    ),
    "consistent": Verdict("consistent", "✓", "+", "good", "the document's own figures give what it says"),
    "refuted": Verdict("refuted", "▼", "v", "bad", "the whole interval lies on a wrong side of the claimed range"),
    "inconsistent": Verdict("inconsistent", "✗", "x", "bad", "the document's own figures give something else"),
    "ambiguous": Verdict(
        "ambiguous",
        "◆",
        "?",
        "open",
        "the interval straddles a bound of the claimed range, or too few rounds gave none",
    ),
    "not_measured": Verdict("not measured", "○", "-", "none", "no figure was taken here that could judge the claim"),
}
"""Every verdict of a record, in the order in which counts are given."""

EQUIVALENCES: Final[Mapping[str, str]] = {
    "passed": "passed",
    "failed": "failed",
    "not_checked": "not checked",
    "different_by_design": "different by design",
}

WORKS: Final[Mapping[str, str]] = {"same": "same work", "less": "less work", "different": "different work"}

_SCALED_UNITS: Final = frozenset({"FLOP", "FLOP/s", "B/s"})
_MEASURED_UNITS: Final = _SCALED_UNITS | {"1", "1/s", "s", "ms", "min", "bytes", "percent", "J", "W", "°C", "MHz", "sd"}
"""Units of measured quantities; any other unit, such as ``of 4 faults``, counts something."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value as text: the point, and its interval or an empty string."""

    point: str
    interval: str

    def __str__(self) -> str:
        """Return the point followed by its interval."""
        return f"{self.point} {self.interval}".strip()


def clean(text: object) -> str:
    """Return text on one line, without control characters (which could move a terminal's cursor or hide words)."""
    kept = (
        " " if character.isspace() else character
        for character in str(text)
        if character.isspace() or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _UNFIT)
    )
    return re.sub(r" +", " ", "".join(kept)).strip()


def without_unit(name: str) -> str:
    """Return a figure's name as words without the unit that it ends in, for the values carry it: ``energy_j``."""
    return words(re.sub(r"_(j|w|s|ms|bytes|percent)$", "", name))


def words(name: str) -> str:
    """Return an identifier of the record as words: ``different_by_design`` becomes ``different by design``."""
    return clean(name).replace("_", " ")


def format_number(value: float, digits: int = 3) -> str:
    """Format a number to significant digits, without rounding whole digits away; with an exponent if it needs one."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    if not _SMALLEST <= abs(value) < _LARGEST:
        return f"{value:.{digits}g}"
    # the exponent after rounding: 0.9996 with three digits is 1.00
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{min(decimals, 9)}f}"


def format_bound(value: float) -> str:
    """Return a bound as its author wrote it: ``2.0`` is ``2``."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def interval_decimals(low: float, high: float, bounds: Sequence[float] = (), *, point: float | None = None) -> int:
    """Return how many decimals show an interval: down to the first significant digit of its half-width.

    More are added while rounding would put an end on a bound that it does not reach: the text would then
    contradict the verdict.
    """
    half = high / 2 - low / 2
    decimals = 2 if half <= 0 else max(1 if high < _NEEDED_DECIMALS_BELOW else 0, -math.floor(math.log10(half)))
    decimals = min(decimals, _MAX_DECIMALS)
    shown = [low, high] if point is None else [low, high, point]
    while decimals < _MAX_DECIMALS and not _rounds_faithfully(shown, bounds, decimals):
        decimals += 1
    return decimals


def _rounds_faithfully(values: Sequence[float], bounds: Sequence[float], decimals: int) -> bool:
    return all(
        (round(value, decimals) < bound) == (value < bound) and (round(value, decimals) > bound) == (value > bound)
        for value in values
        for bound in bounds
    )


def format_estimate(
    value: float | None, low: float | None, high: float | None, *, unit: str = "1", bounds: Sequence[float] = ()
) -> Estimate:
    """Return a value and its interval, with the digits that the interval's width carries.

    Ratios (unit ``1``) end in ``x``. Without an interval the point has three significant digits.
    """
    if value is None or not math.isfinite(value):
        return Estimate(MISSING, "")
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(format_quantity(value, unit), "")
    if low == high:
        # one figure without an interval, such as a peak of memory, is recorded as an interval without width
        if low == value and _is_count(unit):
            return Estimate(with_unit(format_count(value), unit), "")
        return Estimate(format_quantity(value, unit), "")
    if unit in {"s", "bytes"}:
        return Estimate(format_quantity(value, unit), f"[{format_quantity(low, unit)}, {format_quantity(high, unit)}]")
    needs_exponent = not _SMALLEST <= max(abs(low), abs(high)) < _LARGEST
    form = ".3g" if needs_exponent else f".{interval_decimals(low, high, bounds, point=value)}f"
    return Estimate(with_unit(f"{value:{form}}", unit), f"[{low:{form}}, {high:{form}}]")


def _is_count(unit: str) -> bool:
    return unit not in _MEASURED_UNITS and not unit.startswith(("%", "x "))


def format_ratio(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a speedup such as ``1.42x [1.38, 1.46]``; digits also tell which side of 1 an end lies on."""
    return str(format_estimate(value, low, high, bounds=(1.0,)))


def with_unit(number: str, unit: str) -> str:
    """Return a number with its unit: ``1`` is a ratio and written ``x``."""
    if unit == "1":
        return f"{number}x"
    if unit == "percent" or unit.startswith("%"):
        return f"{number}%{clean(unit).removeprefix('percent').removeprefix('%')}"
    return f"{number} {clean(unit)}".rstrip()


def format_quantity(value: float, unit: str) -> str:
    """Return one value in its unit, scaled for reading where the unit is seconds or bytes."""
    if unit == "s":
        return format_seconds(value)
    if unit == "bytes":
        return format_bytes(value)
    if unit in _SCALED_UNITS:
        return format_scaled(value, unit)
    return with_unit(format_number(value), unit)


def agreeing_seconds(before_s: float | None, after_s: float | None, ratio: float | None) -> tuple[float, float] | None:
    """Return the times of one call of each side that a report shows; None where there are none.

    The after time is the before time divided by the ratio. The median time of the after side, which the record holds,
    may be another one: the median of ratios and the medians of times come from different rounds, and a machine that
    slows down for a while moves the times and not the ratios. The speedup is the result, so the times follow it.

    Args:
        before_s: median seconds of one call of the before side.
        after_s: median seconds of one call of the after side, shown where there is no ratio.
        ratio: how many times as long one call of the before side takes.
    """
    if before_s is None or after_s is None:
        return None
    return before_s, before_s / ratio if ratio else after_s


def format_times(before_s: float, after_s: float, *, is_equal: bool) -> tuple[str, str]:
    """Return two durations with three significant digits, or with as many as make two that are not equal differ."""
    digits = _FEWEST_DIGITS
    while True:
        before, after = format_seconds(before_s, digits=digits), format_seconds(after_s, digits=digits)
        if is_equal or before != after or digits == _MOST_DIGITS:
            return before, after
        digits += 1


def format_seconds(seconds: float | None, *, unicode: bool = True, digits: int = _FEWEST_DIGITS) -> str:
    """Return a duration in min, s, ms, µs or ns, with three significant digits unless another number is given."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds >= _MINUTES_FROM_SECONDS:
        return f"{format_number(seconds / _SECONDS_PER_MINUTE, digits)} min"
    for factor, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs" if unicode else "us")):
        # 0.9995 ms would be written as 1.00e3 µs if the scale were chosen before rounding
        if abs(seconds) >= factor * 0.9995:
            return f"{format_number(seconds / factor, digits)} {name}"
    return f"{format_number(seconds / 1e-9, digits)} ns"


def format_bytes(value: float | None) -> str:
    """Return a size in B, KiB, MiB, GiB or TiB."""
    if value is None or not math.isfinite(value):
        return MISSING
    for exponent, name in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(value) >= 1024**exponent:
            return f"{format_number(value / 1024**exponent)} {name}"
    return f"{value:.0f} B"


def format_scaled(value: float, unit: str) -> str:
    """Return a quantity with a decimal prefix before its unit: ``1.84e8 FLOP`` is ``184 MFLOP``."""
    for exponent, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        # 0.9996 G would be written as 1000 M if the prefix were chosen before rounding
        if abs(value) >= 10**exponent * 0.9995:
            return f"{format_number(value / 10**exponent)} {prefix}{clean(unit)}"
    return f"{format_number(value)} {clean(unit)}"


def format_percent(share: float | None) -> str:
    """Return a share as per cent: 0.006 is ``0.6%``."""
    if share is None or not math.isfinite(share):
        return MISSING
    percent = 100 * share
    return f"{percent:.2g}%" if abs(percent) < _NEEDED_DECIMALS_BELOW else f"{percent:.4g}%"


def format_range(low: float | None, high: float | None, unit: str = "1", *, unicode: bool = False) -> str:
    """Return a claimed range: ``1.5-2x``, ``>= 3x``, ``<= 0.5x`` or ``80-95%``; empty when neither bound is given."""
    at_least, at_most, dash = ("≥", "≤", "\u2013") if unicode else (">=", "<=", "-")
    if low is not None and high is not None:
        if low == high:
            return _bound_with_unit(low, unit)
        if unit in {"s", "bytes"}:
            return f"{format_quantity(low, unit)} {dash} {format_quantity(high, unit)}"
        between = " to " if low < 0 else dash  # a dash before a minus would be read as one
        return with_unit(f"{format_bound(low)}{between}{format_bound(high)}", unit)
    if low is not None:
        return f"{at_least} {_bound_with_unit(low, unit)}"
    if high is not None:
        return f"{at_most} {_bound_with_unit(high, unit)}"
    return ""


def _bound_with_unit(value: float, unit: str) -> str:
    return format_quantity(value, unit) if unit in {"s", "bytes"} else with_unit(format_bound(value), unit)


def format_figure(figure: Figure, *, is_ratio: bool = False) -> str:
    """Return a figure of the record, or ``not measured: reason``; a count (unit ``1``) has no ``x``, a ratio has."""
    value = figure["value"]
    if value is None or figure["status"] != "measured":
        return not_measured(figure["reason"])
    if figure["unit"] == "1" and not is_ratio:
        return format_count(value)
    return format_quantity(value, figure["unit"])


def format_count(value: float) -> str:
    """Return a count: whole numbers without decimals, averages with three significant digits."""
    return f"{value:.0f}" if float(value).is_integer() else format_number(value)


def not_measured(reason: str | None) -> str:
    """Return ``not measured: reason``."""
    told = clean(reason or "")
    return f"{MISSING}: {told}" if told else MISSING


def format_setting(name: str, value: object) -> tuple[str, str]:
    """Return a setting's name and value as words; a size in bytes is scaled and loses the unit in its name."""
    if name.endswith("_bytes") and isinstance(value, int | float):
        return clean(name.removesuffix("_bytes")), format_bytes(value)
    return clean(name), format_scalar(value)


def format_scalar(value: object) -> str:
    """Return a value of the environment: ``on`` and ``off`` for booleans, ``unknown`` for null."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.6g}" if isinstance(value, float) else clean(value)


def plural(count: int, noun: str) -> str:
    """Return ``1 claim`` or ``2 claims``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Return at most `MOST_NAMES` names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return separator.join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def anchors(prefix: str, names: Iterable[str]) -> Iterator[str]:
    """Yield an id for each of some rows, made from their names: unique in the page, without spaces and markup."""
    seen: Counter[str] = Counter()
    for name in names:
        made = prefix + re.sub(r"[\s<>\"'&%#~]+", "-", name)
        seen[made] += 1
        yield made if seen[made] == 1 else f"{made}~{seen[made]}"


def shorten(text: str, width: int) -> str:
    """Return text cut to a width, ending in an ellipsis where something was cut."""
    return text if len(text) <= width else "…"[:width] if width <= 1 else text[: width - 1].rstrip() + "…"


def equivalence_words(name: str | None) -> str:
    """Return an equivalence in words; empty where there is none."""
    return EQUIVALENCES.get(name, words(name)) if name else ""
