"""The report's tables as GitHub Markdown, in which no text of a record can become markup."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from speedclaims.report.model import columns
from speedclaims.report.model.columns import MARKDOWN, Cell, Column, Part, Row, shown
from speedclaims.report.model.formatting import VERDICTS, clean, plural, shorten
from speedclaims.report.model.gate import (
    CHANGES,
    base_sentence,
    chance_sentences,
    changes,
    compared,
    heading,
    mend_sentence,
    problems,
    verdict_sentence,
)
from speedclaims.report.model.ladder import Ladder
from speedclaims.report.model.machines import ClaimCell, Machines
from speedclaims.report.model.pairs import PairRow
from speedclaims.report.model.trend import Line, Point, Run, Trend
from speedclaims.report.model.view import View

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "@": "&#64;", "\\": "&#92;"}
_PUNCTUATION: Final = re.compile(r"([*_\[\]~#$])")
_FIRST: Final = {"quote": "“{}”"}
_REST: Final = {
    **dict.fromkeys(("under", "note", "estimate", "verdict"), "<br>{}"),
    "aside": " ({})",
    "code": " ({})",
    "fold": ": {}",
}
"""How a cell shows its first part, and those behind it, by their roles."""
COMMENT_MARK: Final = "<!-- speedclaims -->"
"""The first line of a comment."""
MOST_ROWS, MOST_PROBLEMS, MOST_CLAIMS = 8, 5, 5
"""How many rows of each kind a comment shows."""
MOST_CHARACTERS, MOST_IN_SENTENCE = 50_000, 500
"""How long the tables of a comment may be, of which GitHub takes 65,536 characters, and the sentences above them."""
_LINK: Final = re.compile(r"(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)


def escape_markdown(text: object) -> str:
    """Return text that Markdown shows as it is: on one line, without markup, links or mentions."""
    escaped = "".join(_ENTITIES.get(character, character) for character in clean(text))
    # the entities above bring a "#" of their own, which needs no backslash
    parts = re.split(r"(&#?\w+;)", escaped)
    plain = [part if part.startswith("&") else _PUNCTUATION.sub(r"\\\1", part) for part in parts]
    return _LINK.sub(lambda match: f"&#{ord(match.group())};", "".join(plain))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Iterator[str]:
    """Yield the lines of a table whose cells are Markdown already; `right` names the columns of numbers."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'|'.join('---:' if i in right else '---' for i in range(len(header)))}|"
    for row in rows:
        yield f"| {' | '.join(cell or ' ' for cell in row)} |"
    yield ""


def _rows(
    listed: Sequence[Column[Row]], rows: Sequence[Row], confidence: str = "", *, is_grouped: bool = True
) -> Iterator[str]:
    """Yield the lines of a table with the columns of a list, a heading above each group of rows."""
    kept = shown(listed, rows, MARKDOWN)
    right = [number for number, column in enumerate(kept) if column.align == "right"]
    header = [escape_markdown(column.title.format(confidence=confidence)) for column in kept]
    lines: list[list[str]] = []
    for group in columns.groups(rows) if is_grouped else [columns.Group("", "", rows)]:
        if group.title:
            title = f"**{escape_markdown(group.title)}**{f': {group.counts}' if group.counts else ''}"
            lines.append([title, *[""] * (len(kept) - 1)])
        lines += ([_cell(column.cell(row)) for column in kept] for row in group.rows)
    yield from table(header, lines, right=right)


def _cell(parts: Cell) -> str:
    first, *rest = parts or (Part(""),)
    return _FIRST.get(first.role, "{}").format(escape_markdown(first.text)) + "".join(
        _REST[part.role].format(escape_markdown(part.text)) for part in rest
    )


def markdown_report(
    runs: Sequence[Run], trends: Sequence[Trend], machines: Machines, sources: Sequence[str], notes: Sequence[str]
) -> str:
    """Return the whole report as Markdown: on the newest run, and on what several runs say together."""
    view = runs[0].view
    lines = [
        *_head(view),
        *_gate(view),
        *_claims(view),
        *_comparisons(view),
        *_pairs("## Pairs", view.pairs, view.confidence),
        *_ladders(view),
        *_profiled(view),
        *_controls(view),
        *_figures(view),
        *_audit(view),
        *_trends(trends),
        *_machine_pairs(machines),
        *_machine_claims(machines),
        *_runs(runs[1:]),
        *_environment(view),
        *_reading(view),
        *_origin(view, sources, notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def markdown_comment(view: View) -> str:
    """Return one screen of the report for a comment on a pull request: the verdicts first, and no more rows than fit.

    The first line is `COMMENT_MARK`, by which the comment is found again.
    """
    head = [COMMENT_MARK, *_comment_head(view)]
    tables = [*_comment_gate(view), *_comment_claims(view)]
    if view.gate is None:
        rows = sorted(view.pairs, key=lambda row: not row.problem)
        tables += [
            *_rows(columns.PAIRS, rows[:MOST_ROWS], view.confidence, is_grouped=False),
            *_left_out(rows, MOST_ROWS, "pair"),
        ]
    if sum(map(len, tables)) > MOST_CHARACTERS:
        tables = ["The tables are too long for a comment: see the report."]
    return "\n".join([*head, *tables]).rstrip() + "\n"


def _comment_head(view: View) -> Iterator[str]:
    gate = view.gate
    if gate is None:
        yield f"### {escape_markdown(shorten(view.headline, MOST_IN_SENTENCE))}"
    else:
        yield f"### {'✗' if gate.exit_code else '✓'} {escape_markdown(verdict_sentence(gate))}"
        yield ""
        yield escape_markdown(shorten(view.headline, MOST_IN_SENTENCE))
    yield ""
    yield escape_markdown(shorten(view.machine, MOST_IN_SENTENCE))
    yield ""


def _comment_gate(view: View) -> Iterator[str]:
    gate = view.gate
    if gate is None:
        return
    order = list(CHANGES)
    rows = sorted(compared(gate), key=lambda change: (not gate.fails(change), order.index(change.verdict)))
    if rows:
        yield from _rows(changes(has_intervals=True), rows[:MOST_ROWS])
    yield from _left_out(rows, MOST_ROWS, "pair")
    known = list(problems(gate))
    if known:
        yield from (f"- {shown.symbol} {escape_markdown(sentence)}" for shown, sentence in known[:MOST_PROBLEMS])
        yield ""
    yield from _left_out(known, MOST_PROBLEMS, "problem")


def _comment_claims(view: View) -> Iterator[str]:
    asked = [row for row in view.claims if row.is_asked]
    rows = sorted(asked, key=lambda row: (row.overall.word != "refuted", not row.is_judged_on_any))
    if rows:
        yield from _rows(columns.claims(rows, view.device), rows[:MOST_CLAIMS], view.confidence, is_grouped=False)
    yield from _left_out(rows, MOST_CLAIMS, "claim")


def _left_out(rows: Sequence[object], most: int, noun: str) -> Iterator[str]:
    """Yield how many rows a comment has no room for."""
    if len(rows) > most:
        yield f"{plural(len(rows) - most, f'more {noun}')} in the report."
        yield ""


def _head(view: View) -> Iterator[str]:
    yield f"# {escape_markdown(view.headline)}"
    yield ""
    yield f"**{escape_markdown(view.machine)}**"
    yield ""
    yield escape_markdown(" ".join(view.certainty))
    yield ""


def _gate(view: View) -> Iterator[str]:
    gate = view.gate
    if gate is None:
        return
    yield f"## {heading(gate)}"
    yield ""
    yield f"**{escape_markdown(verdict_sentence(gate))}**"
    yield ""
    yield from _rows(changes(has_intervals=True), compared(gate))
    told = [f"- {shown.symbol} {escape_markdown(sentence)}" for shown, sentence in problems(gate)]
    if told:
        yield from told
        yield ""
    for sentence in (mend_sentence(gate), base_sentence(gate), chance_sentences(gate)):
        if sentence is not None:
            yield escape_markdown(sentence)
            yield ""


def _claims(view: View) -> Iterator[str]:
    if not view.claims:
        return
    yield "## Claims"
    yield ""
    asked = [row for row in view.claims if row.is_asked]
    if asked:
        yield from _rows(columns.claims(asked, view.device), asked, view.confidence)
    others = {row.id for row in view.claims if not row.is_asked}
    if others:
        yield f"{plural(len(others), 'claim')} whose tests did not run."
        yield ""


def _pairs(title: str, rows: Sequence[PairRow], confidence: str) -> Iterator[str]:
    if not rows:
        return
    yield title
    yield ""
    yield from _rows(columns.PAIRS, rows, confidence)


def _comparisons(view: View) -> Iterator[str]:
    if not view.comparisons:
        return
    yield "## Alternatives"
    yield ""
    for one in view.comparisons:
        yield f"### {escape_markdown(one.title)}"
        yield ""
        yield escape_markdown(" · ".join(filter(None, (one.name, one.under))))
        yield ""
        yield from _rows(columns.alternatives(one.baseline, one.confidence), one.rows)
        yield from (f"{escape_markdown(note)}\n" for note in one.notes)


def _ladders(view: View) -> Iterator[str]:
    if not view.ladders:
        return
    yield "## What each switch brings"
    yield ""
    yield (
        "Every row of a ladder is a pair of its own against the same before side. A step is a row's speedup by that of "
        "the row above; added last, a switch is what all on gains over all but it. A switch is not seen here when "
        "neither can be told from 1: its interval holds 1, or it is smaller than the noise floor."
    )
    yield ""
    for ladder in view.ladders:
        yield from _ladder(ladder)


def _ladder(ladder: Ladder) -> Iterator[str]:
    yield f"### {escape_markdown(ladder.title)}"
    yield ""
    yield escape_markdown(ladder.under)
    yield ""
    yield from _rows(columns.LADDER, ladder.rungs)
    if ladder.num_intervals:
        yield escape_markdown(ladder.chance)
        yield ""
    if ladder.not_here:
        yield f"Off in every row, for it does nothing here: {escape_markdown('; '.join(ladder.not_here))}."
        yield ""


def _profiled(view: View) -> Iterator[str]:
    if not view.profiled:
        return
    yield "## Where the time goes"
    yield ""
    yield "One warm call of each side. These calls are instrumented, so they take longer and supply no speedup."
    yield ""
    rows = [
        tuple(escape_markdown(cell) for cell in (pair.name, f"{bar.side}: {bar.label}", bar.time, bar.told))
        for pair in view.profiled
        for bar in pair.sides
    ]
    yield from table(("Pair", "Side", "Profiled call", "Phases"), rows, right=(2,))


def _controls(view: View) -> Iterator[str]:
    yield "## Control pairs"
    yield ""
    yield (
        "A control pair measures two separately built copies of the same code, so its true speedup is 1. "
        f"{escape_markdown(view.noise)}"
    )
    yield ""
    yield from _pairs("### Measured", view.controls, view.confidence)


def _figures(view: View) -> Iterator[str]:
    if view.figures or view.missing_figures or view.values:
        yield "## Other figures"
        yield ""
    if view.values:
        yield from _rows(columns.VALUES, view.values, view.confidence)
    for kind in view.figures:
        yield f"### {escape_markdown(kind.title)}"
        yield ""
        yield from _rows(columns.FIGURES, kind.rows)
        if kind.details:
            yield from (f"- {escape_markdown(detail)}" for detail in kind.details)
            yield ""
        if kind.missing:
            yield escape_markdown(kind.missing)
            yield ""
    if view.missing_figures:
        yield "Not measured here. " + " ".join(f"{escape_markdown(line)}." for line in view.missing_figures)
        yield ""


def _audit(view: View) -> Iterator[str]:
    if not view.audit:
        return
    yield "## The documents' own arithmetic"
    yield ""
    yield f"{escape_markdown(view.arithmetic_sentence)} Nothing was measured for these; they are recomputed."
    yield ""
    yield from _rows(columns.AUDIT, view.audit)


def _trends(trends: Sequence[Trend]) -> Iterator[str]:
    if not trends:
        return
    yield "## Over runs"
    yield ""
    yield (
        "Every pair that several records have, newest last. Each machine has a row of its own: ratios can be compared "
        "across machines, times cannot. A star marks a tree with local changes."
    )
    yield ""
    header = ("Pair", "Machine", "Speedups, newest last", "Newest", "Change from the one before")
    yield from table(header, [_trend_cells(trend, line) for trend in trends for line in trend.lines])


def _trend_cells(trend: Trend, line: Line) -> tuple[str, ...]:
    cells = (
        _pair_name(trend, trend.row.where),
        line.machine,
        ", ".join(map(_point, line.points)),
        line.newest.result,
        "; ".join([line.change, *(one.told for one in line.changed)]),
    )
    return tuple(escape_markdown(cell) for cell in cells)


def _pair_name(trend: Trend, where: str) -> str:
    row = trend.row
    sides = f"{row.before} → {row.after}"
    work = "" if row.work == "same" else f"{row.work} work"
    control = "control pair" if row.is_control else ""
    under = "; ".join(part for part in (row.name, sides, where, work, trend.variant, control) if part)
    return f"{row.title} ({under})"


def _point(point: Point) -> str:
    told = point.row.speedup.point if point.row.speedup else point.row.status
    return f"{told}*" if point.run.is_dirty else told


def _machine_pairs(machines: Machines) -> Iterator[str]:
    if not machines.pairs:
        return
    yield "## Pairs by machine"
    yield ""
    yield "The newest record of each machine. Ratios can be compared across machines; times cannot, so none stand here."
    yield ""
    header = ("Pair", *(_machine_head(run) for run in machines.newest))
    rows = [(_pair_name(trend, trend.setting), *map(str, cells)) for trend, cells in machines.pairs]
    yield from table(header, [[escape_markdown(cell) for cell in row] for row in rows])


def _machine_claims(machines: Machines) -> Iterator[str]:
    if not machines.claims:
        return
    yield "## Claims by machine"
    yield ""
    header = ("Claim", "Claimed", *(_machine_head(run) for run in machines.newest))
    rows = [
        (
            f"“{escape_markdown(row.text)}”<br>{escape_markdown(f'{row.id} · {row.source}')}",
            escape_markdown(row.claimed),
            *map(_claim_by_machine, cells),
        )
        for row, cells in machines.claims
    ]
    yield from table(header, rows)


def _machine_head(run: Run) -> str:
    return f"{escape_markdown(run.machine)}<br>{escape_markdown(f'{run.date[:10]}, {run.commit}')}"


def _claim_by_machine(cell: ClaimCell) -> str:
    told = [f"{one.verdict.symbol} {one.verdict.word}: {escape_markdown(one.result)}" for one in cell.judgements]
    return "<br>".join(one.rstrip(": ") for one in told) or escape_markdown(cell.reason)


def _runs(earlier: Sequence[Run]) -> Iterator[str]:
    if not earlier:
        return
    yield "## Other runs"
    yield ""
    yield from _rows(columns.RUNS, earlier)


def _environment(view: View) -> Iterator[str]:
    yield "## Environment"
    yield ""
    yield f"Command line: {escape_markdown(view.command or 'unknown')}"
    yield ""
    rows = [
        (escape_markdown(title), escape_markdown(", ".join(f"{key} {value}" for key, value in entries)))
        for title, entries in view.environment
    ]
    yield from table(("What", "Values"), rows)


def _reading(view: View) -> Iterator[str]:
    yield "## How to read this"
    yield ""
    yield from (f"- {verdict.symbol} **{verdict.word}**: {verdict.meaning}" for verdict in VERDICTS.values())
    yield (
        f"- 1.42x \\[1.38, 1.46\\]: before time / after time, with its {view.confidence} interval; above 1 is faster"
    )
    yield "- a ratio of less or different work is no speedup of the same work"
    yield "- a slower first call is amortized after n further calls, once their savings cover its extra time"
    yield "- what could not be measured says so with its reason and is never counted as 0"
    yield ""


def _origin(view: View, sources: Sequence[str], notes: Sequence[str]) -> Iterator[str]:
    made_from = f" Made from {escape_markdown(', '.join(sources))}." if sources else ""
    noted = "".join(f" {escape_markdown(note)}" for note in notes)
    yield f"Measured {escape_markdown(view.date)}.{made_from}{noted}"
