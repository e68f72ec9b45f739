"""The last lines of a run: what was claimed, what was found, on what machine, and how sure.

A line never exceeds the width. The counts, the machine and the certainty come last, for that is what stays on screen.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from speedclaims.record.types import Record
from speedclaims.report.model import columns
from speedclaims.report.model.claims import ClaimRow
from speedclaims.report.model.formatting import clean, plural
from speedclaims.report.model.ladder import SLOWER, UNSEEN
from speedclaims.report.model.view import ValueRow, View, view_record
from speedclaims.report.terminal.layout import BOLD, MIN_WIDTH, MUTED, TONES, Layout, printed, to_ascii
from speedclaims.report.terminal.tables import MANY, table

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_FEW_PAIRS: Final = 3
_MANY_INCONSISTENT: Final = 3


def claims_summary(record: Record, width: int, *, color: bool, unicode: bool = True) -> str:
    """Return the summary printed at the end of a run, without a line longer than `width`.

    With `unicode` off every character is ASCII; with `color` off there is no escape sequence. Without any claim in the
    record the pairs take the claims' place. Claims whose tests did not run are counted in one line. Where rich cannot
    be imported, the summary has sentences instead of tables, and says so.
    """
    layout = Layout(max(width, MIN_WIDTH), unicode)
    view = view_record(record)
    try:
        import rich  # noqa: F401, PLC0415 - rich is imported only to print
    except ImportError as error:
        return "\n".join(_without_rich(view, layout, clean(error)))
    return printed(_lines(view, layout), layout.width, color=color)


def _without_rich(view: View, layout: Layout, why: str) -> Iterator[str]:
    """Yield the summary in sentences: what was claimed and found, the counts, the machine and the certainty."""
    import textwrap  # noqa: PLC0415 - needed here only

    claims = [row for row in view.claims if row.is_run]
    sentences = [
        *(f"{row.verdict.word}: {row.id}: claimed {row.claimed}, {_result(row)}" for row in claims),
        *(f"{row.name}: {row.result}, {row.work} work" for row in view.pairs if row.index not in _judging(view)),
        view.headline,
        f"On {view.machine}",
        " ".join(view.certainty),
        f"No tables here: rich cannot be imported ({why}).",
    ]
    for sentence in sentences:
        plain = sentence if layout.unicode else to_ascii(sentence)
        yield from textwrap.wrap(plain, layout.width, subsequent_indent="  ", break_on_hyphens=False)


def _result(row: ClaimRow) -> str:
    result = f"as {row.variant} {row.result}" if row.variant else row.result
    return "; ".join(filter(None, (result, row.evidence, row.among, *(told for told, _ in row.summaries))))


def _judging(view: View) -> set[int | None]:
    """Return the places of the pairs that judge claims."""
    return {one.pair for row in view.claims for one in row.of_variants}


def _lines(view: View, layout: Layout) -> Iterator["Text | Table"]:
    yield from _claims(view, layout)
    yield from _arithmetic(view, layout)
    others = [row for row in view.pairs if row.index not in _judging(view) and "alternative" not in row.recorded]
    if others:
        yield layout.text("")
        head = "pair without a claim" if view.claims else ""
        yield from table(columns.PAIRS, others, layout, head=head, confidence=view.confidence)
    yield from _comparisons(view, layout)
    yield from _values([row for row in view.values if not row.is_claimed], view, layout)
    yield from _ladders(view, layout)
    yield from _profiled(view, layout)
    yield from _control_lines(view, layout)
    yield layout.rule()
    yield from layout.paragraph(view.headline, BOLD)
    yield from _ranks(view, layout)
    yield from layout.paragraph(f"On {view.machine}")
    yield from layout.paragraph(" ".join(view.certainty), MUTED)


def _ranks(view: View, layout: Layout) -> Iterator["Text"]:
    """Yield how many ranks worked on which pairs, for the pairs that several processes measured together."""
    names: dict[int, list[str]] = {}
    for row in view.pairs:
        number = row.recorded.get("ranks")
        if number is not None and row.value is not None:
            names.setdefault(number, []).append(row.name)
    for number, of_number in sorted(names.items()):
        which = ", ".join(of_number) if len(of_number) <= _FEW_PAIRS else plural(len(of_number), "pair")
        yield from layout.paragraph(f"In {plural(number, 'rank')} of torchrun: {which}.", hang=2)


def _claims(view: View, layout: Layout) -> Iterator["Text | Table"]:
    run = [row for row in view.claims if row.is_run]
    if run:
        yield from table(columns.claims(run, view.device), run, layout, confidence=view.confidence)
    not_run = {row.id: row for row in view.claims if not row.is_run}
    yield from _not_run(list(not_run.values()), layout)


def _arithmetic(view: View, layout: Layout) -> Iterator["Text"]:
    """Yield the inconsistent sentences where they are few, and one line of counts."""
    if not view.audit:
        return
    inconsistent = [row for row in view.audit if row.verdict.word == "inconsistent"]
    if len(inconsistent) <= _MANY_INCONSISTENT:
        for row in inconsistent:
            told = f"{row.verdict.symbol} {row.id}: claimed {row.claimed}, its own figures give {row.recomputed}"
            yield from layout.paragraph(told, TONES[row.verdict.tone], hang=2)
    told = ", ".join(f"{count.number} {count.verdict.word}" for count in view.arithmetic)
    yield from layout.paragraph(f"{plural(len(view.audit), 'arithmetic claim')}: {told} (speedclaims audit lists them)")


def _comparisons(view: View, layout: Layout) -> Iterator["Text | Table"]:
    """Yield a table of each comparison of several alternatives."""
    for one in view.comparisons:
        yield layout.text("")
        yield from layout.paragraph(one.title, BOLD)
        yield from table(columns.alternatives(one.baseline, one.confidence), one.rows, layout)
        yield from layout.paragraph(" ".join(one.notes), MUTED)


def _not_run(rows: Sequence[ClaimRow], layout: Layout) -> Iterator["Text"]:
    if rows:
        reasons = Counter(row.reason or "no reason recorded" for row in rows)
        told = "; ".join(f"{reason} ({number})" if len(reasons) > 1 else reason for reason, number in reasons.items())
        yield from layout.paragraph(f"{plural(len(rows), 'claim')} not run: {told}", MUTED)


def _values(rows: Sequence[ValueRow], view: View, layout: Layout) -> Iterator["Text | Table"]:
    """Yield the figures that judge no claim, or only their number if the record has pairs."""
    yield layout.text("")
    if rows and view.pairs:
        verb = "judges" if len(rows) == 1 else "judge"
        yield from layout.paragraph(f"{plural(len(rows), 'figure')} that {verb} no claim: see the report", MUTED)
    elif rows:
        head = "figure without a claim" if view.claims else ""
        shown = rows if len(rows) <= MANY else [replace(row, details="") for row in rows]
        yield from table(columns.VALUES, shown, layout, head=head, confidence=view.confidence)
        yield layout.text("")


def _ladders(view: View, layout: Layout) -> Iterator["Text"]:
    """Yield one line for each ablation: without any switch, with all, and which of them are not worth their place."""
    for ladder in view.ladders:
        first, *rungs = ladder.rungs
        named = {
            SLOWER: [rung.name for rung in rungs if SLOWER in rung.verdict],
            UNSEEN: [rung.name for rung in rungs if rung.verdict == UNSEEN],
        }
        if any(rung.speedup.value for rung in ladder.rungs):
            told = [f"all off {first.speedup.told}, all on {ladder.whole.told}"]
        else:  # no row of the ladder itself was asked for
            lasts = [(rung.name, rung.last) for rung in rungs if rung.last]
            told = [f"added last, {', '.join(f'{name} {last.ratio}' for name, last in lasts if last.ratio)}"]
            for name, last in lasts:
                named.setdefault(last.missing, []).append(name)
            named.pop("", None)
        told += [f"{verdict}: {', '.join(names)}" for verdict, names in named.items() if names]
        yield from layout.paragraph(f"Switches of {ladder.under}: {'; '.join(told)}", MUTED)


def _profiled(view: View, layout: Layout) -> Iterator["Text"]:
    """Yield one line about where the time goes: of the only pair that was profiled, or how many were."""
    if len(view.profiled) == 1:
        (pair,) = view.profiled
        told = "; ".join(f"{bar.label} {bar.largest()}" for bar in pair.sides if bar.segments)
        yield from layout.paragraph(f"Where the time of {pair.name} goes: {told}", MUTED)
    elif view.profiled:
        yield from layout.paragraph(f"Where the time of {len(view.profiled)} pairs goes: see the report", MUTED)


def _control_lines(view: View, layout: Layout) -> Iterator["Text"]:
    told = "; ".join(f"{row.name} {row.result}" for row in view.controls)
    if told:  # else the last lines say why there is no noise floor
        yield from layout.paragraph(f"Control: {told}, where the truth is 1. {view.noise}", MUTED)
