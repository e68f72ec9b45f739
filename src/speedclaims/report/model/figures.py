"""Tabulate the figures of pairs other than times: pace, memory, synchronizations, GPU."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speedclaims.recorders import recorder
from speedclaims.recorders.registry import recorders
from speedclaims.report.model.formatting import MOST_NAMES, clean, format_count, format_figure, listed

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, RecordedPair


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of one pair: before, after and (where it is recorded) their ratio."""

    pair: int
    name: str
    before: str
    after: str
    ratio: str


@dataclass(frozen=True, slots=True)
class FigureTable:
    """One kind of figure over the pairs that have it.

    ``missing`` says in one line which pairs have none and why, and ``more`` names those that it only counts;
    ``details`` are sentences about the pairs that have one.
    """

    title: str
    note: str
    rows: tuple[FigureRow, ...]
    missing: str
    more: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def figure_tables(
    pairs: "Sequence[RecordedPair]", names: Sequence[str]
) -> tuple[tuple[FigureTable, ...], tuple[str, ...]]:
    """Return a table for each kind of figure that anything has, and lines for those that nothing has, with the reasons.

    Args:
        pairs: rows of the record.
        names: what each of them is called.
    """
    tables, missing, not_asked = [], [], []
    pass_of = {recorder.did_not_run(name): name for name in recorders()}
    for kind in (kind for one in recorders().values() for kind in one.tables(pairs)):
        present = [row for row in kind.rows if _has_value(row)]
        absent = [row for row in kind.rows if not _has_value(row)]
        if present:
            tables.append(
                FigureTable(
                    kind.title,
                    kind.note,
                    tuple(_figure_row(row, names, pairs, per_unit=kind.per_unit) for row in present),
                    missing=_absent_line(absent, names),
                    more=_absent_names(absent, names)[MOST_NAMES:],
                    details=tuple(
                        f"{names[row.pair]}, {side}: {clean(text)}" for row in present for side, text in row.details
                    ),
                )
            )
        elif pairs:
            reason = _reasons(absent) or "no GPU took part"
            if reason in pass_of:
                not_asked.append(pass_of[reason])
            else:
                missing.append(f"{kind.title}: {reason}")
    if not_asked:
        names_of_passes = ", ".join(dict.fromkeys(not_asked))
        missing.append(f"Passes that --speedup-passes did not ask for: {names_of_passes}")
    return tuple(tables), tuple(missing)


def _has_value(row: recorder.FigureRow) -> bool:
    return any(one is not None and one["value"] is not None for one in (row.before, row.after, row.ratio))


def _figure_row(
    row: recorder.FigureRow, names: Sequence[str], pairs: "Sequence[RecordedPair]", *, per_unit: bool
) -> FigureRow:
    units = pairs[row.pair]["units"] if per_unit else 1
    name = f"{names[row.pair]} · {clean(row.part)}" if row.part else names[row.pair]
    ratio = "" if row.ratio is None else format_figure(row.ratio, is_ratio=True)
    return FigureRow(row.pair, name, _with_rate(row.before, units), _with_rate(row.after, units), ratio)


def _with_rate(figure: "Figure", units: float) -> str:
    """Return a figure and, where a call does several units, the figure of one."""
    if figure["value"] is None or units == 1:
        return format_figure(figure)
    return f"{format_figure(figure)} ({format_count(figure['value'] / units)} a unit)"


def _reasons(absent: Iterable[recorder.FigureRow]) -> str:
    figures = (one for row in absent for one in (row.before, row.after, row.ratio) if one is not None)
    return "; ".join(dict.fromkeys(clean(one["reason"]) for one in figures if one["reason"]))


def _absent_line(absent: Sequence[recorder.FigureRow], names: Sequence[str]) -> str:
    if not absent:
        return ""
    named = listed(_absent_names(absent, names))
    return f"Not measured for {named}: {_reasons(absent) or 'no reason recorded'}."


def _absent_names(absent: Sequence[recorder.FigureRow], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names[row.pair] for row in absent))
