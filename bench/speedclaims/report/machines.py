"""Several machines beside each other: what the newest record of each says of every pair and of every claim.

Only ratios and verdicts stand here. Times of two machines are never set against each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .formatting import MISSING, Estimate, Verdict
from .trend import Run, Trend, differing
from .view import ClaimRow

_ABSENT = "not in its newest record"


@dataclass(frozen=True, slots=True)
class PairCell:
    """A pair on one machine: its speedup, or None and why there is none."""

    speedup: Estimate | None
    reason: str

    def __str__(self) -> str:
        """Return the speedup with its interval, or the reason."""
        return str(self.speedup) if self.speedup else self.reason


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
    """Return the machines beside each other, by name; without any row where there is only one.

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
    # by trend and age: the cells of one row come from the trend itself, the reasons from its namesakes
    at = {(trend.key, point.run.age): point.row for trend in found for point in trend.points}
    namesakes: dict[str, list[Trend]] = {}
    for trend in found:
        namesakes.setdefault(trend.key[0], []).append(trend)
    for trend in found:
        if not any((trend.key, run.age) in at for run in columns):
            continue
        cells = []
        for run in columns:
            row = at.get((trend.key, run.age))
            others = [one for one in namesakes[trend.key[0]] if (one.key, run.age) in at]
            if row is not None:
                cells.append(PairCell(row.speedup, row.problem))
            elif others:
                cells.append(PairCell(None, f"configured differently there: {differing(others[0].key, trend.key)}"))
            else:
                cells.append(PairCell(None, _ABSENT))
        yield trend, tuple(cells)


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
    found = [row for row in run.view.claims if _identity(row) == key]
    if found:
        return ClaimCell(tuple(dict.fromkeys(Judgement(row.verdict, _result(row)) for row in found)), "")
    other = any(row.id == key[0] for row in run.view.claims)
    return ClaimCell((), f"claims something else there: {_ABSENT}" if other else _ABSENT)


def _result(row: ClaimRow) -> str:
    """Return what was measured, or the reason alone: the verdict beside it says that nothing was."""
    return row.result.removeprefix(MISSING).removeprefix(":").strip()
