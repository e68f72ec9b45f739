"""Show a comparison of several alternatives: as text for a terminal, and as HTML for a notebook."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from speedclaims.report.model import columns
from speedclaims.report.model.alternatives import AlternativeRow
from speedclaims.report.model.formatting import clean
from speedclaims.report.terminal.layout import MUTED, Layout, printed
from speedclaims.report.terminal.tables import table


@dataclass(frozen=True, slots=True)
class Shown:
    """A comparison as it is shown.

    Attributes:
        rows: one for each alternative in each case.
        notes: sentences below the table.
        baseline: what the others are compared with.
        confidence: of all comparisons of a case, such as ``95%``.
    """

    rows: Sequence[AlternativeRow]
    notes: Sequence[str]
    baseline: str
    confidence: str

    @property
    def _columns(self) -> Sequence[columns.Column[AlternativeRow]]:
        return columns.alternatives(clean(self.baseline), self.confidence)

    def as_text(self, layout: Layout, *, color: bool) -> str:
        """Return a table for a terminal, with the notes below it."""
        lines = [*table(self._columns, self.rows, layout), layout.text("")]
        for note in self.notes:
            lines += layout.paragraph(note, MUTED)
        return printed(lines, layout.width, color=color)

    def as_html(self) -> str:
        """Return an HTML table with the notes below it."""
        kept = columns.shown(self._columns, self.rows, columns.PAGE)
        head = "".join(f"<th style='text-align:{one.align}'>{html.escape(one.title.format())}</th>" for one in kept)
        body = ""
        for group in columns.groups(self.rows):
            if group.title:
                body += f"<tr><th colspan='{len(kept)}' style='text-align:left'>{html.escape(group.title)}</th></tr>"
            body += "".join(f"<tr>{''.join(_cell(one, row) for one in kept)}</tr>" for row in group.rows)
        below = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cell(column: columns.Column[AlternativeRow], row: AlternativeRow) -> str:
    text = " ".join(part.text for part in column.cell(row))
    return f"<td style='text-align:{column.align}'>{html.escape(text)}</td>"
