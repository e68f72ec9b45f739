"""Compare several machines, by the newest record of each: every pair and every claim.

Only ratios and verdicts are compared, never times of two machines.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from speedclaims.record.pair_key import CONFIGURATION
from speedclaims.report.model.claims import ClaimRow
from speedclaims.report.model.formatting import MISSING, Estimate, Verdict
from speedclaims.report.model.pairs import PairRow
from speedclaims.report.model.trend import Key, Run, Trend, differing

_ABSENT = "not in its newest record"


@dataclass(frozen=True, slots=True)
class PairCell:
    """A pair on one machine: its speedup and on what device, or None; ``problem`` says why, or what mars it."""

    speedup: Estimate | None
    device: str
    problem: str

    @property
    def under(self) -> str:
        """Return the line below a speedup: its device and its problem."""
        return " · ".join(part for part in (self.device, self.problem) if part)

    def __str__(self) -> str:
        """Return the speedup with its interval and device, or the reason."""
        return f"{self.speedup} ({self.under})" if self.speedup else self.problem


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict on a claim and what it rests on."""

    verdict: Verdict
    result: str


@dataclass(frozen=True, slots=True)
class ClaimCell:
    """A claim on one machine: its verdicts, or none and why there is none."""

    judgements: tuple[Judgement, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Machines:
    """The newest runs of several machines, and pairs and claims with a cell for each of them."""

    newest: tuple[Run, ...]
    pairs: tuple[tuple[Trend, tuple[PairCell, ...]], ...]
    claims: tuple[tuple[ClaimRow, tuple[ClaimCell, ...]], ...]


def machines(told: Sequence[Run], found: Sequence[Trend]) -> Machines:
    """Return the comparison of the machines, sorted by name; without any row where there is only one.

    Args:
        told: the runs, newest first.
        found: what became of each pair.
    """
    newest: dict[str, Run] = {}
    for run in told:
        newest.setdefault(run.machine, run)
    columns = tuple(newest[name] for name in sorted(newest))
    if len(columns) == 1:
        return Machines(columns, (), ())
    return Machines(columns, tuple(_pairs(columns, found)), tuple(_claims(columns)))


def _pairs(columns: Sequence[Run], found: Sequence[Trend]) -> Iterator[tuple[Trend, tuple[PairCell, ...]]]:
    """Yield a row for each pair in each configuration; of one machine against another the device may differ."""
    groups: dict[tuple[object, ...], list[Trend]] = {}
    for trend in found:
        groups.setdefault((trend.key[0], *_without_device(trend)), []).append(trend)
    at = {(trend.key, point.run.age): point.row for trend in found for point in trend.points}
    for group in groups.values():
        namesakes = [trend for trend in found if trend.key[0] == group[0].key[0]]
        here = [_first(group, run, at) for run in columns]
        if any(here):
            yield (
                group[0],
                tuple(
                    _pair_cell(at[trend.key, run.age]) if trend else _absent(group[0], _first(namesakes, run, at))
                    for trend, run in zip(here, columns, strict=True)
                ),
            )


def _without_device(trend: Trend) -> tuple[object, ...]:
    return tuple(value for (field, _), value in zip(CONFIGURATION, trend.key[1], strict=True) if field != "device")


def _first(found: Sequence[Trend], run: Run, at: Container[tuple[Key, int]]) -> Trend | None:
    """Return the first of some trends that has a point of a run."""
    return next((trend for trend in found if (trend.key, run.age) in at), None)


def _pair_cell(row: PairRow) -> PairCell:
    return PairCell(row.speedup, row.device, row.problem)


def _absent(trend: Trend, other: Trend | None) -> PairCell:
    if other is None:
        return PairCell(None, "", _ABSENT)
    return PairCell(None, "", f"configured differently there: {differing(other.key, trend.key)}")


def _claims(columns: Sequence[Run]) -> Iterator[tuple[ClaimRow, tuple[ClaimCell, ...]]]:
    rows: dict[tuple[str, ...], ClaimRow] = {}
    for run in sorted(columns, key=lambda run: -run.age):
        for row in run.view.claims:
            rows.setdefault(_identity(row), row)
    for key, row in rows.items():
        yield row, tuple(_claim_cell(run, key) for run in columns)


def _identity(row: ClaimRow) -> tuple[str, ...]:
    """Return what makes a claim the same claim in two records: not its id alone, for its range may have changed."""
    return row.id, row.source, row.text, row.kind, row.claimed


def _claim_cell(run: Run, key: tuple[str, ...]) -> ClaimCell:
    found = [one for row in run.view.claims if _identity(row) == key for one in row.of_variants]
    if found:
        return ClaimCell(tuple(dict.fromkeys(Judgement(row.verdict, _result(row)) for row in found)), "")
    other = any(row.id == key[0] for row in run.view.claims)
    return ClaimCell((), f"claims something else there: {_ABSENT}" if other else _ABSENT)


def _result(row: ClaimRow) -> str:
    """Return the variant, and the measured result or the reason alone: the verdict says that nothing was measured."""
    result = row.result.removeprefix(MISSING).removeprefix(":").strip()
    return "; ".join(filter(None, (": ".join(filter(None, (row.variant, result))), row.among)))
