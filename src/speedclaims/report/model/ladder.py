"""Compute the speedup of each switch of an ablation: its step on the ladder, and its effect when added last.

Every row of a ladder is a pair against the same before side; the rows are measured one after the other. The speedup of
a switch is the quotient of two such speedups, and its interval follows from both of their intervals. Only a pair of
all switches but one against all switches gives it directly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.record.types import RecordedAblation, RecordedPair
from speedclaims.report.model.formatting import MISSING, clean, format_ratio, words

FASTER: Final = "faster"
SLOWER: Final = "slower"
UNSEEN: Final = "not seen here"
_NO_INTERVAL: Final = "no interval"
_ALL_OFF: Final = "all off"

_Position = tuple[str, int]
"""The kind of a row, and how many switches it has on (ladder) or which one it has off (the others)."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A ratio of times with its interval where it has one; ``problem`` says why there is no ratio or no interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str = ""
    pair: int | None = None

    @property
    def ratio(self) -> str:
        """Return the ratio with its interval, empty where there is none."""
        return "" if self.value is None else format_ratio(self.value, self.low, self.high)

    @property
    def missing(self) -> str:
        """Return why there is no ratio, or none with an interval; empty where there is."""
        return self.problem if self.low is None else ""

    @property
    def told(self) -> str:
        """Return the ratio with its interval, and why one of them is missing."""
        if not (self.ratio and self.missing):
            return self.ratio or self.missing
        return f"{self.ratio} ({self.missing})"

    def seen(self, noise: float | None) -> str:
        """Return in words whether the ratio differs from 1, by its interval and by the noise floor if it is known."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        floor = 1 + (noise or 0.0)
        if self.low <= 1 <= self.high or 1 / floor <= self.value <= floor:
            return UNSEEN
        return FASTER if self.value > 1 else SLOWER


@dataclass(frozen=True, slots=True)
class Rung:
    """Hold one row: the speedup with a switch and all before it, the switch's step, and its effect when added last.

    Attributes:
        name: of the switch; for the first row, which has none on, what its after side is called.
        speedup: of the after side with this switch and those before it against the before side.
        step: that speedup by the one of the row above (for the first row by 1, the before side itself).
        last: the speedup of all switches on against all but this one, as if it were added last; None for the first
            row.
        verdict: what both say together.
    """

    name: str
    speedup: Factor
    step: Factor
    last: Factor | None
    verdict: str

    @property
    def label(self) -> str:
        """Return what the row is called."""
        return _ALL_OFF if self.is_first else f"+ {self.name}"

    @property
    def is_first(self) -> bool:
        """Whether this is the row without any switch."""
        return self.last is None


@dataclass(frozen=True, slots=True)
class Ladder:
    """One ablation: its rows from no switch to all of them.

    Attributes:
        index: which one it is in its record.
        title: what its pairs measure.
        under: what has the switches, against what, and where.
        rungs: the rows, the first without any switch.
        not_here: switches that do nothing on this machine, each with its reason.
        num_intervals: how many steps and `last` have an interval, each of which may exclude 1 by chance.
        confidence: of these intervals.
    """

    index: int
    title: str
    under: str
    rungs: tuple[Rung, ...]
    not_here: tuple[str, ...]
    num_intervals: int
    confidence: float

    @property
    def whole(self) -> Factor:
        """Return the speedup with all switches on."""
        return self.rungs[-1].speedup

    @property
    def chance(self) -> str:
        """Return how many of these intervals miss the truth by chance alone."""
        missed = self.num_intervals * (1 - self.confidence)
        return f"Expected wrong intervals of switches by chance: {missed:.2g} of {self.num_intervals}."


def quotient(numerator: Factor, denominator: Factor) -> Factor:
    """Return the quotient of two ratios that were measured independently, with an interval of their confidence.

    The interval is recovered from the two: in logarithms, each end lies away from the quotient by the root of the sum
    of the squares of the distances that push it there (MOVER: Zou and Donner, Statistics in Medicine 27, 2008).
    """
    if numerator.value is None or denominator.value is None:
        return Factor(problem=f"{MISSING}: a row has no speedup")
    first, second = _logs(numerator), _logs(denominator)
    value = first[1] - second[1]
    if math.isnan(sum((*first, *second))):
        return Factor(math.exp(value), problem="a row has too few rounds")
    below = math.hypot(first[1] - first[0], second[2] - second[1])
    above = math.hypot(first[2] - first[1], second[1] - second[0])
    return Factor(math.exp(value), math.exp(value - below), math.exp(value + above))


def _logs(factor: Factor) -> tuple[float, float, float]:
    """Return the logarithms of low end, value and high end; NaN for what is not there."""
    low, value, high = (math.nan if one is None else math.log(one) for one in (factor.low, factor.value, factor.high))
    return low, value, high


def ladders(pairs: Sequence[RecordedPair], noise: float | None) -> tuple[Ladder, ...]:
    """Return the ablations of a record in the order in which they begin.

    Args:
        pairs: rows of the record.
        noise: the noise floor, below which a switch is not seen. None where it was not measured.
    """
    groups: dict[tuple[object, ...], dict[str, dict[_Position, int]]] = {}
    for index, pair in enumerate(pairs):
        if "ablation" in pair:
            # Those of kind added_last have a before side each, and belong to the ladder of their test.
            before = "" if pair["ablation"]["kind"] == "added_last" else pair["before"]
            # of two rows with the same switches (a test that was repeated) the first one counts
            rows = groups.setdefault(_group(pair), {}).setdefault(before, {})
            rows.setdefault(_position(pair["ablation"]), index)
    found = []
    for sides in groups.values():
        last = sides.pop("", {})
        found += [rows | last for rows in sides.values()] or [last]
    return tuple(_ladder(number, pairs, rows, noise) for number, rows in enumerate(found))


def _group(pair: RecordedPair) -> tuple[object, ...]:
    """Return what the rows of one ablation have in common, but for the before side."""
    ablation = pair["ablation"]
    test = pair["nodeid"].partition("[")[0]
    names = tuple(one["name"] for one in ablation["switches"])
    return (test, ablation["of"], names, *(pair[key] for key in ("family", "preset", "device", "work")))


def _position(ablation: RecordedAblation) -> _Position:
    on = [one["on"] for one in ablation["switches"]]
    return ablation["kind"], sum(on) if ablation["kind"] == "ladder" else on.index(False)


def _ladder(number: int, pairs: Sequence[RecordedPair], rows: Mapping[_Position, int], noise: float | None) -> Ladder:
    one = pairs[next(iter(rows.values()))]
    ablation = one["ablation"]
    names = [clean(switch["name"]) for switch in ablation["switches"]]
    speedups = [_speedup(pairs, rows.get(("ladder", count))) for count in range(len(names) + 1)]
    bottom = rows.get(("ladder", 0))
    first = Rung(
        clean(pairs[bottom]["after"]) if bottom is not None else "",
        speedups[0], speedups[0], None, _verdict({"": speedups[0]}, noise),
    )  # fmt: skip
    rungs = [first]
    for count, name in enumerate(names, start=1):
        step = quotient(speedups[count], speedups[count - 1])
        last = _last(pairs, rows, count - 1, speedups[-1])
        told = _verdict({"when it is added": step, "with all the others on": last}, noise)
        rungs.append(Rung(name, speedups[count], step, last, told))
    factors = [factor for rung in rungs[1:] for factor in (rung.step, rung.last)]
    where = ", ".join(clean(part) for part in (one["family"], one["preset"], one["device"]) if part)
    work = "" if one["work"] == "same" else f"{words(one['work'])} work"
    ladder = next((pairs[index] for (kind, _), index in rows.items() if kind != "added_last"), None)
    against = f"{clean(ablation['of'])} against {clean(ladder['before']) if ladder else 'all but one'}"
    return Ladder(
        index=number,
        title=clean(one["title"]),
        under=" · ".join(part for part in (against, where, work) if part),
        rungs=tuple(rungs),
        not_here=tuple(f"{clean(switch['name'])}: {clean(switch['reason'])}" for switch in ablation["not_here"]),
        num_intervals=sum(factor is not None and factor.low is not None for factor in factors),
        confidence=one["confidence"],
    )


def _last(pairs: Sequence[RecordedPair], rows: Mapping[_Position, int], number: int, whole: Factor) -> Factor:
    """Return the speedup of a switch added last: measured, or computed from all switches and from all but it."""
    direct = rows.get(("added_last", number))
    if direct is not None:
        return _speedup(pairs, direct)
    without = _speedup(pairs, rows.get(("leave_one_out", number)))
    return without if without.value is None else quotient(whole, without)


def _speedup(pairs: Sequence[RecordedPair], index: int | None) -> Factor:
    if index is None:
        return Factor(problem=f"{MISSING}: its test did not run")
    pair = pairs[index]
    problem = clean(pair["reason"] or "")
    if pair["speedup"] is None:
        problem = f"{words(pair['status'])}: {problem}".rstrip(": ")
    return Factor(pair["speedup"], pair["low"], pair["high"], problem, index)


def _verdict(factors: Mapping[str, Factor], noise: float | None) -> str:
    """Return in words what is seen of a switch; where it shows in one place only, or otherwise in another, in which."""
    known = {place: word for place, factor in factors.items() if (word := factor.seen(noise))}
    if not known:
        return MISSING if all(factor.value is None for factor in factors.values()) else _NO_INTERVAL
    if len(set(known.values())) == 1:
        (word,) = set(known.values())
        return word
    return ", ".join(f"{word} {place}" for place, word in known.items())
