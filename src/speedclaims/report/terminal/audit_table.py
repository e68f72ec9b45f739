"""The documents' own arithmetic as a table for a terminal: claimed, recomputed, how, verdict."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from speedclaims.record.types import RecordedAudit
from speedclaims.report.model.columns import AUDIT, Column
from speedclaims.report.model.sentences import arithmetic_sentence
from speedclaims.report.model.view import AuditRow, audit_row
from speedclaims.report.terminal.layout import BOLD, MIN_WIDTH, MUTED, Layout, printed
from speedclaims.report.terminal.tables import as_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_ROOMY: Final = 120
_NARROW: Final = 64
_RATIOS: Final = {1: (1,), 2: (2, 3), 4: (5, 3, 3, 5)}
"""The shares of the width of the columns before the verdict, by their number."""


def audit_table(rows: Sequence[RecordedAudit], width: int, *, color: bool, unicode: bool = True) -> str:
    """Return the audit rows of a record as tables by document, and their counts; no line is longer than `width`.

    A wide terminal has a column for each of sentence, claimed, recomputed, how and verdict. A narrower one puts what
    was claimed, recomputed and how below one another. With `unicode` off every character is ASCII; with `color` off
    there is no escape sequence.
    """
    shown = [audit_row(row) for row in rows]
    layout = Layout(max(width, MIN_WIDTH), unicode)
    return printed(_parts(shown, layout), layout.width, color=color)


def _parts(rows: Sequence[AuditRow], layout: Layout) -> Iterator["Text | Table"]:
    for source, of_source in groupby(rows, key=lambda row: row.source):
        yield from layout.paragraph(source, BOLD)
        yield _table(list(of_source), layout)
        yield layout.text("")
    yield from layout.paragraph(arithmetic_sentence([row.verdict.word for row in rows]), BOLD)


def _table(rows: Sequence[AuditRow], layout: Layout) -> "Table":
    """Return the table of a document; the narrower the terminal, the more columns share one."""
    from rich.table import Table  # noqa: PLC0415 - rich is imported only to print

    first, *others, verdict = AUDIT
    groups = [[first, *others]]
    if layout.width >= _ROOMY:
        groups = [[column] for column in (first, *others)]
    elif layout.width >= _NARROW:
        groups = [[first], others]
    table = Table(
        box=None, width=layout.width, show_header=layout.width >= _ROOMY, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for group, ratio in zip(groups, _RATIOS[len(groups)], strict=True):
        table.add_column(layout.text(group[0].label.lower(), MUTED), ratio=ratio, overflow="fold")
    table.add_column(layout.text(verdict.label.lower(), MUTED), no_wrap=True)
    for row in rows:
        cells = [layout.text("\n").join(_told(column, row, group, layout) for column in group) for group in groups]
        word = as_text(verdict.cell(row), layout)
        table.add_row(*cells, word if layout.width >= _NARROW else word[:1])
    return table


def _told(column: Column[AuditRow], row: AuditRow, group: Sequence[Column[AuditRow]], layout: Layout) -> "Text":
    """Return a cell, with its column's title where it shares its place."""
    text = as_text(column.cell(row), layout)
    is_named = len(group) > 1 and column is not AUDIT[0]
    return layout.text(f"{column.label.lower()}: ") + text if is_named else text
