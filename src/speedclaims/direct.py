"""Compare functions in a script or a notebook, without pytest."""

import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from speedclaims.errors import SpeedclaimsError, shown
from speedclaims.fixtures.equivalence import answered, takes_results
from speedclaims.measure.alternatives import (
    Ratio,
    Timings,
    compare_timings,
    exponent,
    measure_alternatives,
    median_seconds,
)
from speedclaims.measure.calls import accepts
from speedclaims.measure.interleave import Settings, Work, setup_for, work_of
from speedclaims.measure.random_effects import BETWEEN_SD
from speedclaims.record.json_types import JsonObject
from speedclaims.report.alternatives import Row, Shown
from speedclaims.report.model.formatting import format_scaled
from speedclaims.report.terminal.layout import MIN_WIDTH, Layout

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from speedclaims.record.types import Equivalence

Case = Mapping[str, object]

_ONE_PROCESS = (
    "Measured in one process: other processes may differ, and the intervals are wider for that. A test with the pair "
    "fixture measures in several."
)


class DirectError(SpeedclaimsError, ValueError):
    """Arguments that cannot be compared, or alternatives that do not compute the same."""


@dataclass(frozen=True)
class CaseResult:
    """Hold what was measured in one case.

    Attributes:
        case: the values of the parameters.
        seconds: median seconds of one call of each alternative.
        ratios: of each alternative to the baseline.
        neighbours: of each alternative to the next slower one, the fastest first.
        equivalence: whether all alternatives compute the same as the baseline.
        details: in what they differ by design.
        timings: what was measured.
    """

    case: Case
    seconds: dict[str, float]
    ratios: tuple[Ratio, ...]
    neighbours: tuple[Ratio, ...]
    equivalence: "Equivalence"
    details: tuple[str, ...]
    timings: Timings = field(repr=False)

    def ratio(self, name: str) -> Ratio:
        """Return the ratio of an alternative to the baseline.

        Raises:
            KeyError: there is no such alternative, or it is the baseline.
        """
        return {one.name: one for one in self.ratios}[name]


@dataclass(frozen=True)
class Comparison:
    """Hold what `compare` or `pair` measured; a terminal and a notebook show it as a table.

    Attributes:
        baseline: the alternative that the others are compared with.
        cases: what was measured, one for each combination of parameters.
        confidence: of all comparisons of a case together.
        exponents: by alternative, with which power its time grows with the only parameter; empty where there is none.
        units: how many items one call does, for rates.
        unit: what the items are called.
    """

    baseline: str
    cases: tuple[CaseResult, ...]
    confidence: float
    exponents: dict[str, float]
    units: float = 1
    unit: str = ""
    note: str = _ONE_PROCESS

    @property
    def speedup(self) -> float:
        """The baseline's time / the time of the only other alternative, in the only case."""
        return self._only.speedup

    @property
    def low(self) -> float:
        """Low end of the interval of `speedup`, NaN with too few rounds."""
        return self._only.low

    @property
    def high(self) -> float:
        """High end of the interval of `speedup`, NaN with too few rounds."""
        return self._only.high

    @property
    def _only(self) -> Ratio:
        if len(self.cases) != 1 or len(self.cases[0].ratios) != 1:
            raise DirectError("there are several ratios: take them from cases")
        return self.cases[0].ratios[0]

    @property
    def _shown(self) -> Shown:
        return Shown(self._rows(), self._notes(), self.baseline, f"{self.confidence:.0%}")

    def _rows(self) -> list[Row]:
        rows = []
        for one in self.cases:
            case = ", ".join(f"{name}={value}" for name, value in one.case.items())
            ratios: dict[str, Ratio] = {each.name: each for each in one.ratios}
            for name, seconds in one.seconds.items():
                rate = "" if not self.unit else f"{format_scaled(self.units / seconds, '')} {self.unit}/s"
                rows.append(Row(case, name, seconds, rate, ratios.get(name)))
        return rows

    def _notes(self) -> list[str]:
        words = {"passed": "All compute the same as the baseline.", "not_checked": "Equivalence was not checked."}
        notes = [words.get(one.equivalence, f"Different by design: {'; '.join(one.details)}.") for one in self.cases]
        if self.exponents:
            grown = ", ".join(f"{name} {power:.2f}" for name, power in self.exponents.items())
            notes.append(f"Time grows with the power: {grown}.")
        return [*dict.fromkeys(notes), *([self.note] if self.note else [])]

    def __str__(self) -> str:
        """Return a table for the terminal."""
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
        color = sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = max(shutil.get_terminal_size((100, 24)).columns, MIN_WIDTH)
        layout = Layout(width, unicode=encoding.startswith("utf"))
        return self._shown.as_text(layout, color=color).rstrip("\n")

    def as_json(self) -> JsonObject:
        """Return what was measured as JSON; null where there is no interval."""
        return {
            "baseline": self.baseline,
            "confidence": self.confidence,
            "cases": [
                {
                    "case": {name: str(value) for name, value in one.case.items()},
                    "equivalence": one.equivalence,
                    "alternatives": [
                        {"name": name, "seconds": seconds, **_as_json(one, name)}
                        for name, seconds in one.seconds.items()
                    ],
                }
                for one in self.cases
            ],
        }

    def _repr_html_(self) -> str:
        return self._shown.as_html()


def _as_json(case: CaseResult, name: str) -> JsonObject:
    found = next((one for one in case.ratios if one.name == name), None)
    if found is None:
        return {"speedup": 1.0, "low": None, "high": None, "verdict": "baseline"}
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return {"speedup": found.speedup, "low": low, "high": high, "verdict": found.verdict}


def pair(  # noqa: PLR0913 - the public signature
    before: Callable[[], object],
    after: Callable[[], object],
    *,
    names: tuple[str, str] = ("before", "after"),
    equivalent: Callable[..., object] | None = None,
    setup: Callable[..., object] | None = None,
    synchronize: Callable[[], object] | None = None,
    loop_factory: "Callable[[], AbstractEventLoop] | None" = None,
    units: float = 1,
    unit: str = "",
    seconds: float = 10.0,
    confidence: float = 0.95,
) -> Comparison:
    """Measure ``before`` against ``after`` in this process and return the speedup with its interval.

    Args:
        before: does one unit of work the old way; an async function is awaited.
        after: does the same the new way.
        names: of the two sides.
        equivalent: is given the results of both sides, and says whether they are the same, as for the fixture ``pair``.
        setup: runs before each side outside the clock; it may take the side's name.
        synchronize: waits for the device inside the clock.
        loop_factory: makes the event loop of async sides.
        units: how many items one call does.
        unit: what the items are called, for rates.
        seconds: time limit.
        confidence: of the interval.

    Raises:
        DirectError: an argument is not what it should be, or the two do not compute the same.
        RefusedError: a side leaves its work undone, or cannot be timed.
    """
    if len(set(names)) != 2:
        raise DirectError(f"names is {shown(names)}: give two different texts")
    return compare(
        {names[0]: before, names[1]: after}, equivalent=equivalent, setup=setup, synchronize=synchronize,
        loop_factory=loop_factory, units=units, unit=unit, seconds=seconds, confidence=confidence,
    )  # fmt: skip


def compare(  # noqa: PLR0913 - the public signature
    alternatives: Mapping[str, Callable[..., object]],
    *,
    baseline: str | None = None,
    over: Mapping[str, Sequence[object]] | None = None,
    equivalent: Callable[..., object] | None = None,
    setup: Callable[..., object] | None = None,
    synchronize: Callable[[], object] | None = None,
    loop_factory: "Callable[[], AbstractEventLoop] | None" = None,
    units: float = 1,
    unit: str = "",
    seconds: float = 10.0,
    confidence: float = 0.95,
) -> Comparison:
    """Measure several alternatives in balanced orders in this process, and compare them with a baseline.

    Args:
        alternatives: functions by name; async ones are awaited. With `over` they are given its parameters by name.
        baseline: the name of the one that the others are compared with; by default the first.
        over: values of parameters, ``{"n": [10, 1000]}``; all combinations are measured.
        equivalent: is given the result of the baseline and that of another alternative, and says whether they are the
            same, as for the fixture ``pair``.
        setup: runs before each call outside the clock; it may take the alternative's name.
        synchronize: waits for the device inside the clock.
        loop_factory: makes the event loop of async alternatives.
        units: how many items one call does.
        unit: what the items are called, for rates.
        seconds: time limit of a case.
        confidence: of all comparisons of a case together.

    Raises:
        DirectError: an argument is not what it should be, or an alternative does not compute the same.
        RefusedError: an alternative leaves its work undone, or cannot be timed.
    """
    first = _checked(alternatives, baseline, over, seconds, confidence)
    settings = Settings(max_time=seconds, confidence=confidence)
    cases: list[Case] = [dict(zip(over or {}, values, strict=True)) for values in product(*(over or {}).values())]
    results = []
    for case in cases:
        functions = {name: partial(one, **case) if case else one for name, one in alternatives.items()}
        works = [_work(name, one, setup, synchronize, loop_factory) for name, one in functions.items()]
        try:
            equivalence, details = _checked_results(dict(zip(functions, works, strict=True)), first, equivalent)
            timings = measure_alternatives(works, settings)
        finally:
            for work in works:
                work.loop.close()
        results.append(result_of(case, list(functions), first, [timings], confidence, equivalence, details))
    return Comparison(first, tuple(results), confidence, _exponents(over, results), units, unit)


def result_of(  # noqa: PLR0913, PLR0917 - what a case is made of
    case: Case,
    names: Sequence[str],
    baseline: str,
    processes: Sequence[Timings],
    confidence: float,
    equivalence: "Equivalence",
    details: Sequence[str],
    between_sd: float = BETWEEN_SD,
) -> CaseResult:
    """Return what was found in a case from what its processes measured."""
    ratios, neighbours = compare_timings(names, baseline, processes, confidence, between_sd)
    seconds = median_seconds(names, processes)
    return CaseResult(case, seconds, tuple(ratios), tuple(neighbours), equivalence, tuple(details), processes[0])


def _checked(alternatives: object, baseline: str | None, over: object, seconds: float, confidence: float) -> str:
    """Return the baseline's name when the arguments are what they should be."""
    if not isinstance(alternatives, Mapping) or len(alternatives) < 2:
        raise DirectError("alternatives is not a mapping of at least two names to functions: give compare({...})")
    for name, one in alternatives.items():
        if not isinstance(name, str) or not name.strip():
            raise DirectError(f"{shown(name)} is no name of an alternative: give a text")
        if not callable(one):
            raise DirectError(f"the alternative {name} is {type(one).__name__}, not callable: give a function")
        if not over and not accepts(one):
            raise DirectError(f"the alternative {name} needs arguments: give their values in over")
    if over is not None and (
        not isinstance(over, Mapping)
        or not all(isinstance(name, str) and name.isidentifier() for name in over)
        or not all(isinstance(each, Sequence) and not isinstance(each, str) and each for each in over.values())
    ):
        raise DirectError(f"over is {shown(over)}: give names of parameters with lists of values")
    if baseline is not None and baseline not in alternatives:
        raise DirectError(f"the baseline {baseline!r} is none of {', '.join(alternatives)}")
    if not 0 < seconds < math.inf or not 0 < confidence < 1:
        raise DirectError("seconds is a positive number, and confidence lies between 0 and 1")
    return next(iter(alternatives)) if baseline is None else baseline


def _work(
    name: str,
    function: Callable[[], object],
    setup: Callable[..., object] | None,
    synchronize: Callable[[], object] | None,
    loop_factory: "Callable[[], AbstractEventLoop] | None",
) -> Work:
    by_name: Callable[[str], object] = setup_for(setup)  # type: ignore[assignment] # it takes any name
    return work_of(function, function, setup and (lambda: by_name(name)), synchronize, loop_factory)


def _checked_results(
    works: Mapping[str, Work], baseline: str, equivalent: Callable[..., object] | None
) -> "tuple[Equivalence, list[str]]":
    """Return whether all alternatives compute what the baseline does.

    Raises:
        DirectError: one does not.
    """
    if equivalent is None:
        return "not_checked", []
    if not takes_results(equivalent):
        raise DirectError("equivalent takes two results, of the baseline and of another alternative")
    found: list[str] = []
    results = {}
    for name, work in works.items():
        work.prepare("before")
        results[name] = work.side("before")()
    for name, result in results.items():
        if name == baseline:
            continue
        equivalence, details = answered(equivalent, [results[baseline], result])
        if equivalence == "failed":
            raise DirectError(f"{name} does not compute the same as {baseline}: {'; '.join(details)}")
        found += details
    return ("different_by_design", list(dict.fromkeys(found))) if found else ("passed", [])


def _exponents(over: Mapping[str, Sequence[object]] | None, results: Sequence[CaseResult]) -> dict[str, float]:
    """Return with which power the time of each alternative grows, where the only parameter is a positive number."""
    if over is None or len(over) != 1:
        return {}
    (values,) = over.values()
    sizes = [float(value) for value in values if isinstance(value, int | float) and value > 0]
    if len(set(sizes)) < 2 or len(sizes) != len(values):
        return {}
    return {name: exponent(sizes, [one.seconds[name] for one in results]) for name in results[0].seconds}
