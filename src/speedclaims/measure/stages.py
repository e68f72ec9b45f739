"""Parts of a pair's work measured alone, so that a reader sees which of them sets the pace."""

import time
from collections.abc import Callable, Mapping
from typing import Any

FEWEST_CALLS = 5
MOST_CALLS = 50
SECONDS = 0.5
"""A stage is called until it took this long, within a least and a most number of calls."""

Stages = Mapping[str, tuple[Callable[[], object], Callable[[], object]]]


def check_stages(stages: Stages) -> None:
    """Raise for what is no mapping of names to two callables.

    Raises:
        TypeError: a stage is not a pair of callables.
    """
    for name, both in stages.items():
        if not (isinstance(both, tuple) and len(both) == 2 and all(map(callable, both))):
            msg = f"stage {name!r} is {both!r}: give two callables, of the before and of the after side"
            raise TypeError(msg)


def measure_stages(stages: Stages, units: float, synchronize: Callable[[], object]) -> dict[str, Any]:
    """Return the rates of each stage's two sides, in units per second."""
    rates = {side: rates_of_side(stages, side, units, synchronize) for side in ("before", "after")}
    return {name: {side: of_side[name] for side, of_side in rates.items()} for name in stages}


def rates_of_side(stages: Stages, side: str, units: float, synchronize: Callable[[], object]) -> dict[str, Any]:
    """Return the rate of each stage of one side, in units per second."""
    return {name: _rate(both[side == "after"], units, synchronize) for name, both in stages.items()}


def _rate(call: Callable[[], object], units: float, synchronize: Callable[[], object]) -> dict[str, Any]:
    from speedclaims.record.figure import figure, spread  # noqa: PLC0415 - loading the plugin must stay cheap

    call()  # the first call builds what later ones find
    rates: list[dict[str, Any]] = []
    begun = time.perf_counter()
    while len(rates) < FEWEST_CALLS or (len(rates) < MOST_CALLS and time.perf_counter() - begun < SECONDS):
        synchronize()
        started = time.perf_counter()
        call()
        synchronize()
        rates.append(figure(units / (time.perf_counter() - started), "1/s"))
    return spread(rates)
