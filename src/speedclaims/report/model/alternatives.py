"""Rows of comparisons of several alternatives, as every rendering shows them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import linear_regression

from speedclaims.record.pair_key import case_words
from speedclaims.record.types import RecordedNext, RecordedPair
from speedclaims.report.model.formatting import (
    MISSING,
    agreeing_seconds,
    clean,
    equivalence_words,
    format_ratio,
    format_scaled,
    format_seconds,
    words,
)
from speedclaims.report.model.sentences import confidence_words


@dataclass(frozen=True, slots=True)
class AlternativeRow:
    """One alternative in one case: its time, its ratio to the baseline and to the next slower one, and the verdict.

    The baseline has no ratio. ``problem`` says why another one has none, or no interval.
    """

    case: str
    name: str
    seconds: float | None
    rate: str = ""
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    next: str = ""
    problem: str = ""
    is_baseline: bool = False

    @property
    def title(self) -> str:
        """The name."""
        return clean(self.name)

    @property
    def group(self) -> str:
        """The case, under which a table shows the row."""
        return clean(self.case)

    @property
    def time(self) -> str:
        """The time of one call in words."""
        return MISSING if self.seconds is None else format_seconds(self.seconds)

    @property
    def ratio(self) -> str:
        """The ratio to the baseline with its interval, or why there is none."""
        if self.is_baseline:
            return "baseline"
        return clean(self.problem) if self.speedup is None else format_ratio(self.speedup, self.low, self.high)

    @property
    def result(self) -> str:
        """The verdict, with why there is no interval."""
        if self.speedup is None or not self.problem:
            return self.verdict
        return f"{self.verdict} ({clean(self.problem)})"


@dataclass(frozen=True, slots=True)
class Curve:
    """The ratio of an alternative over the only parameter, and the power with which it grows.

    Attributes:
        name: the alternative.
        sizes: of the parameter, ascending.
        ratios: speedup with the ends of its interval, for each size; None where there is none.
        power: the slope of the logarithm of the speedup over that of the size, by least squares; None with one point.
    """

    name: str
    sizes: tuple[float, ...]
    ratios: tuple[tuple[float | None, float | None, float | None], ...]
    power: float | None


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """A comparison as every rendering shows it.

    Attributes:
        title: of its test.
        name: of its test.
        under: family, preset and device.
        baseline: what the others are compared with.
        parameter: the only parameter where it is a number, else empty.
        rows: one for each alternative in each case.
        notes: sentences below the table.
        curves: one for each alternative but the baseline where there is such a parameter.
        confidence: of all comparisons of a case, such as ``95%``.
    """

    title: str
    name: str
    under: str
    baseline: str
    parameter: str
    rows: tuple[AlternativeRow, ...]
    notes: tuple[str, ...]
    curves: tuple[Curve, ...]
    confidence: str


def by_how_much(other: str, speedup: float, low: float | None, high: float | None) -> str:
    """Return the ratio to another alternative in words."""
    return f"{format_ratio(speedup, low, high)} against {other}"


def comparisons(pairs: Sequence[RecordedPair]) -> tuple[ComparisonView, ...]:
    """Return the comparisons that a record's pairs are part of, in the record's order."""
    found: dict[str, list[RecordedPair]] = {}
    for pair in pairs:
        if "alternative" in pair:
            found.setdefault(pair["alternative"]["of"], []).append(pair)
    return tuple(_comparison(rows) for rows in found.values())


def _comparison(pairs: Sequence[RecordedPair]) -> ComparisonView:
    first = pairs[0]
    rows: list[AlternativeRow] = []
    for case, group in groupby(pairs, key=lambda pair: pair["alternative"]["case"]):
        rows += _rows(case_words(case), list(group))
    sizes = [pair["alternative"]["sizes"] for pair in pairs]
    has_one = all(len(pair["alternative"]["case"]) == len(pair["alternative"]["sizes"]) == 1 for pair in pairs)
    curves = _curves(pairs) if has_one and len({tuple(one.values()) for one in sizes}) > 1 else ()
    parameter = clean(next(iter(sizes[0]))) if curves else ""
    return ComparisonView(
        title=clean(first["alternative"]["title"]),
        name=clean(first["alternative"]["of"].rpartition("::")[2]),
        under=" · ".join(clean(part) for part in (first["family"], first["preset"], first["device"]) if part),
        baseline=clean(first["before"]),
        parameter=parameter,
        rows=tuple(rows),
        notes=_notes(pairs, parameter, curves),
        curves=curves,
        confidence=confidence_words(pairs),
    )


def _rows(case: str, pairs: Sequence[RecordedPair]) -> list[AlternativeRow]:
    first = pairs[0]
    base_next = first["alternative"].get("baseline_next")
    rows = [
        AlternativeRow(
            case, first["before"], first["before_s"], _rate(first, first["before_s"]),
            next="" if base_next is None else _next(base_next), is_baseline=True,
        )
    ]  # fmt: skip
    for pair in pairs:
        place, next_ = pair["alternative"], pair["alternative"].get("next")
        times = agreeing_seconds(pair["before_s"], pair["after_s"], pair["speedup"])
        seconds = None if times is None else times[1]
        rows.append(
            AlternativeRow(
                case, pair["after"], seconds, _rate(pair, seconds), pair["speedup"],
                pair["low"], pair["high"], place["verdict"] or words(pair["status"]),
                "" if next_ is None else _next(next_), pair["reason"] or "",
            )
        )  # fmt: skip
    return rows


def _next(found: RecordedNext) -> str:
    return by_how_much(clean(found["name"]), found["speedup"], found["low"], found["high"])


def rate(units: float, unit: str, seconds: float | None) -> str:
    """Return how many items an alternative does in a second; empty where they have no name and a call does one."""
    if not seconds or (units == 1 and not unit):
        return ""
    return f"{format_scaled(units / seconds, '')} {clean(unit)}/s".replace(" /s", "/s")


def _rate(pair: RecordedPair, seconds: float | None) -> str:
    return rate(pair["units"], pair["alternative"]["unit"], seconds)


def _curves(pairs: Sequence[RecordedPair]) -> tuple[Curve, ...]:
    found = []
    for name in dict.fromkeys(pair["after"] for pair in pairs):
        own = sorted(
            ((next(iter(one["alternative"]["sizes"].values())), one) for one in pairs if one["after"] == name),
            key=lambda each: each[0],
        )
        known = [(math.log(size), math.log(one["speedup"])) for size, one in own if one["speedup"]]
        power = linear_regression(*zip(*known, strict=True)).slope if len(known) > 1 else None
        ratios = tuple((one["speedup"], one["low"], one["high"]) for _, one in own)
        found.append(Curve(clean(name), tuple(size for size, _ in own), ratios, power))
    return tuple(found)


def _notes(pairs: Sequence[RecordedPair], parameter: str, curves: Sequence[Curve]) -> tuple[str, ...]:
    measured = [pair for pair in pairs if pair["speedup"] is not None]
    if not measured:
        return ()
    notes = [f"All ratios of a case hold together at {confidence_words(pairs)} (Holm).", *_equivalences(measured)]
    winners = _fastest(measured)
    if winners:
        notes.append(f"Fastest: {winners}.")
    base = clean(pairs[0]["before"])
    known = [curve for curve in curves if curve.power is not None]
    grown = [f"{curve.name} {curve.power:+.2f}" for curve in known if abs(curve.power or 0) >= _STEADY]
    steady = [curve.name for curve in known if abs(curve.power or 0) < _STEADY]
    if grown:
        notes.append(f"The ratio to {base} changes with a power of {parameter}: {', '.join(grown)}.")
    if steady:
        notes.append(f"It hardly depends on {parameter}: {', '.join(steady)}.")
    return tuple(notes)


_STEADY = 0.05
"""Below this power a ratio hardly depends on the parameter: tenfold it changes by an eighth."""


def _equivalences(pairs: Sequence[RecordedPair]) -> list[str]:
    """Return a sentence for each equivalence, with its details."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        found.setdefault(equivalence_words(pair["equivalence"]), []).extend(map(clean, pair["equivalence_details"]))
    return [f"Equivalence: {word}{_in_brackets(list(dict.fromkeys(details)))}." for word, details in found.items()]


def _in_brackets(details: Sequence[str]) -> str:
    return f" ({'; '.join(details)})" if details else ""


def _fastest(pairs: Sequence[RecordedPair]) -> str:
    """Return which alternative is surely the fastest, of each case that has one."""
    cases: dict[str, list[str]] = {}
    for case, group in groupby(pairs, key=lambda pair: pair["alternative"]["case"]):
        of_case = list(group)
        slower = {pair["alternative"]["next"]["name"] for pair in of_case if "next" in pair["alternative"]}
        base = of_case[0]
        nexts = {pair["after"]: pair["alternative"].get("next") for pair in of_case}
        nexts[base["before"]] = base["alternative"].get("baseline_next")
        slower |= {one["name"] for one in nexts.values() if one is not None}
        for name, following in nexts.items():
            if name not in slower and following is not None and (following["low"] or 0) > 1:
                cases.setdefault(clean(name), []).append(case_words(case))
    return "; ".join(
        f"{name} ({'; '.join(map(clean, found))})" if any(found) else name for name, found in cases.items()
    )
