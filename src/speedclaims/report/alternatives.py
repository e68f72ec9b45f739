"""Show a comparison of several alternatives: as text for a terminal, and as HTML for a notebook."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from speedclaims.report.model.columns import Column, Part
from speedclaims.report.model.formatting import clean, format_ratio, format_seconds
from speedclaims.report.terminal.layout import MUTED, Layout, printed
from speedclaims.report.terminal.tables import table

if TYPE_CHECKING:
    from speedclaims.measure.alternatives import Ratio

_TONES: Final = {"faster": "good", "slower": "bad"}


@dataclass(frozen=True, slots=True)
class Row:
    """One alternative in one case: its time, its ratio to the baseline, and its verdict."""

    case: str
    name: str
    seconds: float
    rate: str
    ratio: "Ratio | None"

    @property
    def title(self) -> str:
        """The case and the name."""
        return f"{self.case}  {self.name}" if self.case else self.name


def _columns(baseline: str, confidence: str) -> tuple[Column[Row], ...]:
    return (
        Column("Alternative", lambda row: (Part(clean(row.title), "title"),)),
        Column("Time", lambda row: (Part(format_seconds(row.seconds)),), align="right"),
        Column("Rate", lambda row: (Part(row.rate),) if row.rate else (), align="right"),
        Column(f"Against {clean(baseline)} [{confidence}]", lambda row: (Part(_ratio(row)),)),
        Column("Verdict", lambda row: (Part(_verdict(row), "verdict", _TONES.get(_verdict(row), "none")),)),
    )


def _ratio(row: Row) -> str:
    return "baseline" if row.ratio is None else format_ratio(row.ratio.speedup, row.ratio.low, row.ratio.high)


def _verdict(row: Row) -> str:
    return "" if row.ratio is None else row.ratio.verdict


@dataclass(frozen=True, slots=True)
class Shown:
    """A comparison as it is shown.

    Attributes:
        rows: one for each alternative in each case.
        notes: sentences below the table.
        baseline: what the others are compared with.
        confidence: of all comparisons of a case, such as ``95%``.
    """

    rows: Sequence[Row]
    notes: Sequence[str]
    baseline: str
    confidence: str

    def as_text(self, layout: Layout, *, color: bool) -> str:
        """Return a table for a terminal, with the notes below it."""
        lines = [*table(_columns(self.baseline, self.confidence), self.rows, layout), layout.text("")]
        for note in self.notes:
            lines += layout.paragraph(note, MUTED)
        return printed(lines, layout.width, color=color)

    def as_html(self) -> str:
        """Return an HTML table with the notes below it."""
        columns = [one for one in _columns(self.baseline, self.confidence) if any(map(one.cell, self.rows))]
        head = "".join(f"<th style='text-align:{one.align}'>{html.escape(one.title)}</th>" for one in columns)
        body = "".join(f"<tr>{''.join(_cell(one, row) for one in columns)}</tr>" for row in self.rows)
        below = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cell(column: Column[Row], row: Row) -> str:
    text = " ".join(part.text for part in column.cell(row))
    return f"<td style='text-align:{column.align}'>{html.escape(text)}</td>"
