"""The documents' own arithmetic as a table for a terminal: claimed, recomputed, how, verdict."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from speedclaims.report.model.formatting import Json
from speedclaims.report.model.sentences import arithmetic_sentence
from speedclaims.report.model.view import AuditRow, audit_row
from speedclaims.report.terminal.layout import BOLD, MIN_WIDTH, MUTED, TONES, Layout, printed, to_ascii

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_ROOMY: Final = 120
_NARROW: Final = 64


def audit_table(rows: Sequence[Json], width: int, *, color: bool, unicode: bool = True) -> str:
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
        yield layout.line(("", ""))
    yield from layout.paragraph(arithmetic_sentence([row.verdict.word for row in rows]), BOLD)


def _table(rows: Sequence[AuditRow], layout: Layout) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - rich is imported only to print

    table = Table(
        box=None,
        width=layout.width,
        show_header=layout.width >= _ROOMY,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style=MUTED,
    )
    for title, ratio in _columns(layout.width):
        table.add_column(title, ratio=ratio, overflow="fold")
    verdicts = [_verdict(row, layout) for row in rows]
    table.add_column("verdict", width=max(len(verdict) for verdict in verdicts), no_wrap=True)
    for row, verdict in zip(rows, verdicts, strict=True):
        table.add_row(*_cells(row, layout), _text(verdict, layout, TONES[row.verdict.tone]))
    return table


def _columns(width: int) -> tuple[tuple[str, int], ...]:
    """Return the columns before the verdict and their shares of the width."""
    if width >= _ROOMY:
        return (("sentence", 5), ("claimed", 3), ("recomputed", 3), ("how", 5))
    return (("sentence", 2), ("arithmetic", 3)) if width >= _NARROW else (("sentence and arithmetic", 1),)


def _cells(row: AuditRow, layout: Layout) -> Iterator["Text"]:
    quote = f"“{row.text}”"
    told = f"claimed {row.claimed}\nrecomputed {row.recomputed}\nhow: {row.formula}"
    if layout.width >= _ROOMY:
        cells: tuple[str, ...] = (quote, row.claimed, row.recomputed, row.formula)
    else:
        cells = (quote, told) if layout.width >= _NARROW else (f"{quote}\n{told}",)
    yield from (_text(cell, layout) for cell in cells)


def _verdict(row: AuditRow, layout: Layout) -> str:
    symbol = row.verdict.symbol if layout.unicode else row.verdict.ascii_symbol
    return symbol if layout.width < _NARROW else f"{symbol} {row.verdict.word}"


def _text(text: str, layout: Layout, style: str = "") -> "Text":
    from rich.text import Text  # noqa: PLC0415 - rich is imported only to print

    return Text(text if layout.unicode else to_ascii(text), style=style)
