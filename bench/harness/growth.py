"""How cost grows with the work: sweeps over sizes, and the exponent p of cost = c * size^p that fits them."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Any

from bench.harness.estimates import mean_of
from speedclaims.measure.interleave import Work, default_synchronize, quiet_interpreter, setup_for, time_side, warm_up
from speedclaims.recorders.memory import call_memory

FEWEST_SWEEPS, MOST_SWEEPS = 5, 20

LEAST_BYTES = 2**19
"""Less memory above the base cannot be distinguished from what allocator and interpreter take by themselves."""

Measure = Callable[[], float]


class NotMeasuredError(Exception):
    """Signal a cost that this machine does not report, or that is too small to measure; its text is the reason."""


def growth_exponent(sizes: Sequence[float], sweeps: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the exponent with which a cost grows, with its interval, as a figure.

    Each sweep gives one exponent: the slope of log(cost) over log(size) by least squares (Montgomery, Peck and Vining,
    Introduction to Linear Regression Analysis, 5th edition, section 2.2). The value is the mean over the sweeps, its
    interval Student's. A cost with a constant part has no single exponent: the details name the exponents between
    neighbouring sizes, which rise towards that of the part that grows.

    Args:
        sizes: at least two different ones, positive.
        sweeps: costs of all sizes, positive, one sequence a sweep, of two sweeps or more.

    Raises:
        ValueError: too few sizes or sweeps, one that is not positive, or a sweep without a cost of each size.
    """
    if len(set(sizes)) < 2 or len(sweeps) < 2:
        raise ValueError(f"an exponent needs two sizes and two sweeps, not {len(set(sizes))} and {len(sweeps)}")
    if any(len(sweep) != len(sizes) for sweep in sweeps) or min(*sizes, *map(min, sweeps)) <= 0:
        raise ValueError("every sweep needs a positive cost of each size, which is positive too")
    logs = [math.log(size) for size in sizes]
    slopes = [linear_regression(logs, [math.log(cost) for cost in sweep]).slope for sweep in sweeps]
    return {**mean_of(slopes), "unit": "exponent"}


def details_of(
    name: str, sizes: Sequence[float], sweeps: Sequence[Sequence[float]], unit: str, scale: float
) -> list[str]:
    """Say which sizes were measured, what each costs, and how steeply the cost rises between neighbours.

    Args:
        name: of the size.
        sizes: as given to `growth_exponent`.
        sweeps: the same.
        unit: of the costs shown.
        scale: costs are multiplied by it.
    """
    costs = [median(costs) for costs in zip(*sweeps, strict=True)]
    steps = [math.log(costs[i + 1] / costs[i]) / math.log(sizes[i + 1] / sizes[i]) for i in range(len(sizes) - 1)]
    told = (", ".join(f"{number:.3g}" for number in numbers) for numbers in ([c * scale for c in costs], steps))
    return [
        f"{name} {', '.join(map(str, sizes))}: {next(told)} {unit} (medians of {len(sweeps)} sweeps)",
        f"exponents between neighbours: {next(told)}",
    ]


def sweep(measures: Sequence[Measure], seconds: float) -> list[list[float]]:
    """Measure every size in turn, upwards and downwards, again and again: what drifts favours no size.

    Args:
        measures: returns the cost of a size.
        seconds: after which no sweep is begun, beyond the fewest.

    Returns:
        Costs by sweep, each in the order of the measures.
    """
    found: list[list[float]] = []
    ends = time.perf_counter() + seconds
    with quiet_interpreter(disable_gc=False):
        while len(found) < FEWEST_SWEEPS or (len(found) < MOST_SWEEPS and time.perf_counter() < ends):
            order = range(len(measures)) if len(found) % 2 == 0 else range(len(measures) - 1, -1, -1)
            costs = {number: measures[number]() for number in order}
            found.append([costs[number] for number in range(len(measures))])
    return found


def seconds_of(call: Callable[[], object], setup: Callable[[], object] | None = None) -> Measure:
    """Return what times a call, warm; the setup runs before each, outside the clock."""
    work = Work(
        before=call, after=call, setup=setup_for(setup), synchronize=default_synchronize(),
        resets=setup is not None,
    )  # fmt: skip
    repeats = warm_up(work, "before")
    return lambda: time_side(work, "before", repeats)


def bytes_of(device: str, call: Callable[[], object], setup: Callable[[], object] | None = None) -> Measure:
    """Return what tells the memory of a call, in bytes above what is in use before it.

    Args:
        device: where it works, `cpu` or `cuda`.
        call: what takes memory.
        setup: runs before each call, and first of all.
    """

    def measure() -> float:
        if setup is not None:
            setup()
        above = call_memory(device, call)["increase"]
        if above["value"] is None:
            raise NotMeasuredError(above["reason"])
        if above["value"] < LEAST_BYTES:
            raise NotMeasuredError(f"a size takes {above['value'] / 2**10:.0f} KiB, too little to be told from noise")
        return float(above["value"])

    if setup is not None:
        setup()
    call()
    return measure


@dataclass(frozen=True)
class Growth:
    """Records exponents; the fixtures of `test_growth.py`.

    Attributes:
        figure: the plugin's fixture.
        device: where the sides train, `cpu` or `cuda`.
        seconds: after which no sweep over the sizes is begun.
    """

    figure: Callable[..., Any]
    device: str
    seconds: float

    def record(self, name: str, sizes: Sequence[float], calls: Sequence[Callable[[], object]], quantity: str) -> None:
        """Measure calls over their sizes and record the exponent; a `Side` is reset before each of its calls.

        Args:
            name: of the size.
            sizes: one for each call.
            calls: what is measured, warm.
            quantity: `time`, or `memory`: of a call, above what is in use before it.
        """
        setups = [getattr(call, "reset", None) for call in calls]
        try:
            if quantity == "time":
                unit, scale = "ms", 1e3
                measures = [seconds_of(call, setup) for call, setup in zip(calls, setups, strict=True)]
            else:
                unit, scale = "MiB", 2**-20
                measures = [bytes_of(self.device, call, setup) for call, setup in zip(calls, setups, strict=True)]
            sweeps = sweep(measures, self.seconds)
        except NotMeasuredError as error:
            self.figure(None, unit="exponent", reason=str(error))
            return
        found = growth_exponent(sizes, sweeps)
        self.figure(found.pop("value"), **found, details=details_of(name, sizes, sweeps, unit, scale))
