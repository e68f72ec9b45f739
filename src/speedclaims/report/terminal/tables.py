"""Draw a table with the columns of a list: rich aligns and wraps the cells, and no name is ever cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from speedclaims.report.model.columns import NOTHING, TERMINAL, Cell, Column, Row, groups, missing, shown
from speedclaims.report.model.formatting import MISSING
from speedclaims.report.terminal.layout import BOLD, MUTED, TONES, Layout

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_STYLES: Final = {"title": BOLD, "failed": "red", **TONES}
_DETAILS: Final = ("under", "aside", "code", "fold")
_REASONS: Final = ("none", "note")
MANY: Final = 12
_MISSING: Final = f"{MISSING}: "
"""What a reason need not say again, because the verdict of its row does."""
_MIN_QUOTE: Final = 26
_INDENT: Final = 2
_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class _Line:
    """A row as text: its name, a quotation, its values, and its reasons, which have no column."""

    name: "Text"
    quote: "Text"
    values: tuple["Text", ...]
    reasons: tuple["Text", ...] = ()
    missing: str = ""


def table(
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    layout: Layout,
    *,
    head: str = "",
    confidence: str = "",
) -> Iterator["Text | Table"]:
    """Yield a table row by row, each with its reasons below it; where there are several groups, each has a heading.

    A name that has no room next to the values has a line of its own above them. Where the values have no room either,
    each row is a sentence. Of many rows, a quotation is shown only where it takes no line of its own.

    Args:
        columns: the columns, the first of which names the row.
        rows: at least one row.
        layout: the terminal's.
        head: the heading of the first column, where it is not the column's own.
        confidence: of the intervals.
    """
    kept = shown(columns, rows, TERMINAL)
    grouped = groups(rows)
    lines = [_line(kept, row, layout) for group in grouped for row in group.rows]
    titles = [layout.text(_lower(column.title.format(confidence=confidence)), MUTED) for column in kept]
    measured = [line.values for line in lines if not line.missing]
    widths = [
        min(layout.width // 2, max(cell.cell_len for cell in cells))
        for cells in zip(titles[1:], *measured, strict=True)
    ]
    room = layout.width - sum(width + _GAP for width in widths)
    optional = [column for column in kept if column.is_optional]
    if optional and room < max(line.name.cell_len for line in lines):
        needed = [column for column in kept if column is not optional[-1]]
        yield from table(needed, rows, layout, head=head, confidence=confidence)
    elif room < 0:
        for line in lines:
            yield from _sentence(line, kept, layout)
    else:
        header = layout.text(head, MUTED) if head else titles[0]
        left = iter(lines)
        yield from _lines(_Line(header, layout.text(""), tuple(titles[1:])), kept, [room, *widths], layout)
        for group in grouped:
            if len(grouped) > 1:
                yield layout.text("")
                yield from layout.paragraph(": ".join(filter(None, (group.title, group.counts))), MUTED)
            for line in islice(left, len(group.rows)):
                yield from _lines(line, kept, [room, *widths], layout, is_brief=len(rows) > MANY)


def _line(columns: Sequence[Column[Row]], row: Row, layout: Layout) -> _Line:
    first, *others = (column.cell(row) for column in columns)
    quote = as_text(first[1:], layout)
    quote.stylize(MUTED)
    return _Line(
        as_text(first[:1], layout),
        quote,
        tuple(as_text(cell, layout) for cell in others),
        tuple(
            layout.text(part.text.removeprefix(_MISSING), _STYLES.get(part.tone, ""))
            for cell in others
            for part in cell
            if part.role in _REASONS
        ),
        missing(row),
    )


def as_text(cell: Cell, layout: Layout) -> "Text":
    """Return the parts of a cell that a column has room for."""
    text = layout.text("")
    for part in cell:
        if part.role not in _DETAILS + _REASONS:
            words = f"“{part.text}”" if part.role == "quote" else part.text
            text.append_text(layout.text(words, _STYLES.get(part.tone or part.role, "")))
    return text


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def _sentence(line: _Line, columns: Sequence[Column[Row]], layout: Layout) -> Iterator["Text"]:
    """Yield a row as one sentence, for a terminal without room for columns."""
    named = zip((column.label.lower() for column in columns[1:]), line.values, strict=True)
    values = (f"{label} {value}" for label, value in named if value)
    told = layout.text(line.missing or ", ".join(values))
    name = line.name + layout.text(" ") + line.quote if line.quote else line.name
    parts = (name + layout.text(": ") + told, *line.reasons)
    yield from layout.paragraph(layout.text("; ").join(parts), hang=_INDENT)


def _lines(
    line: _Line, columns: Sequence[Column[Row]], widths: Sequence[int], layout: Layout, *, is_brief: bool = False
) -> Iterator["Text | Table"]:
    """Yield a row: its name next to its values or above them, then its quotation and its reasons."""
    if line.missing:
        yield from layout.paragraph(line.name + layout.text(f": {line.missing}", MUTED), hang=_INDENT)
        return
    name, quote = line.name, line.quote
    is_above = name.cell_len > widths[0]
    left = (layout.width if is_above else widths[0]) - name.cell_len - _GAP
    has_place_below = not (is_brief or is_above) and quote.cell_len <= layout.width - _INDENT
    if quote and left >= (quote.cell_len if has_place_below else min(_MIN_QUOTE, quote.cell_len)):
        name, quote = name + layout.text(" " * _GAP) + layout.cut(quote, left), layout.text("")
    if is_above:
        yield from layout.paragraph(name)
        name = layout.text("")
    values = (value or layout.text(NOTHING, MUTED) for value in line.values)
    yield _grid((name, *values), columns, widths)
    yield from _below(layout.text("") if is_brief else quote, line.reasons, layout)


def _grid(cells: Sequence["Text"], columns: Sequence[Column[Row]], widths: Sequence[int]) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - rich is imported only to print

    grid = Table.grid(padding=(0, _GAP, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        grid.add_column(width=width, justify=column.align, overflow="fold")
    grid.add_row(*cells)
    return grid


def _below(quote: "Text", several: Sequence["Text"], layout: Layout) -> Iterator["Text"]:
    """Yield a quotation and the reasons behind it, or below it where both do not fit; a reason is never cut.

    Several reasons that do not fit on one line have one each.
    """
    reasons = layout.text("; ").join(several)
    left = layout.width - _INDENT - (reasons.cell_len + _GAP if reasons else 0)
    if quote and left >= min(quote.cell_len, _MIN_QUOTE):
        gap = layout.text(" " * _GAP)
        yield from layout.paragraph(layout.cut(quote, left) + gap + reasons, indent=_INDENT)
        return
    if quote:
        yield from layout.paragraph(layout.cut(quote, layout.width - _INDENT), indent=_INDENT)
    fits = reasons.cell_len <= layout.width - _INDENT
    for reason in [reasons] if fits and reasons else several:
        yield from layout.paragraph(reason, indent=_INDENT, hang=_INDENT)
