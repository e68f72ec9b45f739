"""Compare functions in a script or a notebook, without pytest."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from speedclaims.errors import shown
from speedclaims.fixtures.arguments import positive, two_names
from speedclaims.fixtures.comparison import (
    Alternatives,
    CompareError,
    Comparison,
    Over,
    cases_of,
    check_alternatives,
    check_results,
    exponents,
    result_of,
    together,
    works_of,
)
from speedclaims.fixtures.pair_row import label_of
from speedclaims.measure.alternatives import measure_alternatives
from speedclaims.measure.interleave import Settings
from speedclaims.numbers import plain

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


def pair(  # noqa: PLR0913 - the public signature
    before: Callable[[], object],
    after: Callable[[], object],
    *,
    names: tuple[str, str] | None = None,
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
        names: of the two sides; by default the ``label`` of each, or its function's name.
        equivalent: is given the results of both sides, and says whether they are the same, as for the fixture ``pair``.
        setup: runs before each side outside the clock; it may take the side's name.
        synchronize: waits for the device inside the clock.
        loop_factory: makes the event loop of async sides.
        units: how many items one call does.
        unit: what the items are called, for rates.
        seconds: time limit.
        confidence: of the interval.

    Raises:
        CompareError: the two cannot be compared, or do not compute the same.
        TypeError: an argument has another type.
        ValueError: an argument is not what it should be.
        RefusedError: a side leaves its work undone, or cannot be timed.
    """
    if names is None:
        names = (label_of(before, "before"), label_of(after, "after"))
        names = names if names[0] != names[1] else ("before", "after")
    first, second = two_names("names", names)
    return compare(
        {first: before, second: after}, equivalent=equivalent, setup=setup, synchronize=synchronize,
        loop_factory=loop_factory, units=units, unit=unit, seconds=seconds, confidence=confidence,
    )  # fmt: skip


def compare(  # noqa: PLR0913 - the public signature
    alternatives: Alternatives,
    *,
    baseline: str | None = None,
    over: Over | None = None,
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
        over: values of parameters, ``{"n": [10, 1000]}``, or values by label, ``{"rows": {"few": [1]}}``; all
            combinations are measured.
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
        CompareError: the alternatives cannot be compared, or one does not compute the same.
        TypeError: an argument has another type.
        ValueError: an argument is not what it should be.
        RefusedError: an alternative leaves its work undone, or cannot be timed.
    """
    cases = cases_of(over)
    first = check_alternatives(alternatives, baseline, cases)
    seconds, units = positive("seconds", seconds, "seconds of a case"), positive("units", units, "items of a call")
    if not 0 < (plain(confidence) or math.nan) < 1:
        raise ValueError(f"confidence is {shown(confidence)}: it is a number between 0 and 1")
    settings = Settings(max_time=seconds, confidence=confidence)
    results = []
    for case in cases:
        works = works_of(case, alternatives, setup, synchronize, loop_factory)
        try:
            equivalence, details = together(check_results(works, first, equivalent))
            if equivalence == "failed":
                raise CompareError("; ".join(details))
            timings = measure_alternatives(list(works.values()), settings)
        finally:
            for work in works.values():
                work.loop.close()
        results.append(result_of(case, list(works), first, [timings], confidence, equivalence, details))
    return Comparison(first, tuple(results), confidence, exponents(cases, results), units, unit)
