"""Render the gate's result for a terminal: a table of changes, what could not be compared, and the verdict."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from speedclaims.gate.compare import Gate
from speedclaims.report.model.gate import (
    base_sentence,
    chance_sentences,
    changes,
    compared,
    mend_sentence,
    problems,
    verdict_sentence,
)
from speedclaims.report.terminal.layout import BOLD, MIN_WIDTH, MUTED, TONES, Layout, printed
from speedclaims.report.terminal.tables import table

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_WIDE: Final = 124


def gate_summary(gate: Gate, width: int, *, color: bool, unicode: bool = True) -> str:
    """Return the comparison with a base as a terminal of a width shows it.

    Args:
        gate: the comparison.
        width: no line is longer.
        color: whether escape sequences may be used.
        unicode: whether characters that ASCII lacks may be used.
    """
    layout = Layout(max(width, MIN_WIDTH), unicode)
    return printed(_parts(gate, layout), layout.width, color=color)


def _parts(gate: Gate, layout: Layout) -> Iterator["Text | Table"]:
    rows = compared(gate)
    if rows:
        yield from table(changes(has_intervals=layout.width >= _WIDE), rows, layout)
    for shown, told in problems(gate):
        yield from layout.paragraph(f"{shown.symbol} {told}", TONES[shown.tone], hang=2)
    yield layout.rule()
    yield from layout.paragraph(verdict_sentence(gate), BOLD)
    mend = mend_sentence(gate)
    if mend is not None:
        yield from layout.paragraph(mend)
    yield from layout.paragraph(base_sentence(gate))
    yield from layout.paragraph(chance_sentences(gate), MUTED)
