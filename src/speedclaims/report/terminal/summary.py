"""The last lines of a run: what was claimed, what was found, on what machine, and how sure.

A line never exceeds the width. The counts, the machine and the certainty come last, for that is what stays on screen.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from speedclaims.report.model.claims import ClaimRow
from speedclaims.report.model.formatting import clean, format_ratio, plural
from speedclaims.report.model.ladder import SLOWER, UNSEEN
from speedclaims.report.model.pairs import PairRow
from speedclaims.report.model.view import ValueRow, View, view_record
from speedclaims.report.terminal.layout import (
    _GAP,
    _ROOMY,
    BOLD,
    MIN_WIDTH,
    MUTED,
    TONES,
    Layout,
    _Cell,
    _Column,
    printed,
    to_ascii,
)

if TYPE_CHECKING:
    from rich.text import Text

_MANY_CLAIMS: Final = 12
_MANY_INCONSISTENT: Final = 3
_VERDICT_WIDTH: Final = 14
_MIN_QUOTE: Final = 26


def claims_summary(record: Mapping[str, Any], width: int, *, color: bool, unicode: bool = True) -> str:
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
        *(_with_evidence(f"{row.verdict.word}: {row.id}: claimed {row.claimed}, {row.result}", row) for row in claims),
        *(f"{row.name}: {row.result}, {row.work} work" for row in view.pairs if row.index not in _judging(view)),
        view.headline,
        f"On {view.machine}",
        " ".join(view.certainty),
        f"No tables here: rich cannot be imported ({why}).",
    ]
    for sentence in sentences:
        plain = sentence if layout.unicode else to_ascii(sentence)
        yield from textwrap.wrap(plain, layout.width, subsequent_indent="  ", break_on_hyphens=False)


def _judging(view: View) -> set[int | None]:
    """Return the places of the pairs that judge claims."""
    return {row.pair for row in view.claims}


def _lines(view: View, layout: Layout) -> Iterator["Text"]:
    yield from _claims(view, layout)
    yield from _arithmetic(view, layout)
    others = [row for row in view.pairs if row.index not in _judging(view)]
    if others:
        yield from _pairs(others, view, layout, title="pair without a claim" if view.claims else "pair")
    yield from _values([row for row in view.values if not row.is_claimed], view, layout)
    yield from _ladders(view, layout)
    yield from _profiled(view, layout)
    yield from _control_lines(view, layout)
    yield layout.line(("─" * layout.width, MUTED))
    yield from layout.paragraph(view.headline, BOLD)
    yield from layout.paragraph(f"On {view.machine}")
    yield from layout.paragraph(" ".join(view.certainty), MUTED)


def _claims(view: View, layout: Layout) -> Iterator["Text"]:
    shown = [row for row in view.claims if row.is_run]
    if layout.is_narrow:
        for row in shown:
            told = f"{row.verdict.word}: “{row.text}” claimed {row.claimed}, {'measured ' * row.is_judged}{row.result}"
            yield from layout.paragraph(_with_evidence(told, row), indent="  ", first="")
    elif shown:
        device = max(6, *(len(row.device) for row in shown))
        claimed = min(20 if layout.width >= _ROOMY else 10, max(7, *(len(row.claimed) for row in shown)))
        measured = min(22, max(len(view.confidence) + 11, *(len(_measured(row)) for row in shown)))
        fixed = claimed + measured + _VERDICT_WIDTH + device + 4 * len(_GAP)
        widths = (layout.width - fixed, claimed, measured, _VERDICT_WIDTH, device)
        header = ("claim", "claimed", f"measured [{view.confidence}]", "verdict", "device")
        yield layout.row([_Cell(name, MUTED) for name in header], widths)
        for row in shown:
            yield from _claim(row, widths, layout, is_short=len(shown) > _MANY_CLAIMS)
    with_evidence = {row.id for row in shown if row.evidence}
    yield from _not_run([row for row in view.claims if not row.is_run and row.id not in with_evidence], layout)


def _measured(row: ClaimRow) -> str:
    return str(row.measured) if row.measured and row.is_judged else "-"


def _note(row: ClaimRow) -> str:
    """Return a claim's reason, followed by the local figure where that cannot judge the claim."""
    here = f"(here on {row.device}: {row.measured})" if row.measured and not row.is_judged else ""
    return _with_evidence(f"{row.reason} {here}".strip(), row)


def _with_evidence(text: str, row: ClaimRow) -> str:
    """Return a text about a claim, followed by the claim's evidence where it has some."""
    return f"{text}; {row.evidence}" if text and row.evidence else text + row.evidence


def _claim(row: ClaimRow, widths: Sequence[int], layout: Layout, *, is_short: bool) -> Iterator["Text"]:
    symbol = row.verdict.symbol if layout.unicode else row.verdict.ascii_symbol
    cells = (
        _Cell(row.claimed),
        _Cell(_measured(row)),
        _Cell(f"{symbol} {row.verdict.word}", TONES[row.verdict.tone]),
        _Cell(row.device),
    )
    quote, note = f"“{row.text}”", _note(row)
    if layout.is_wide:
        # a wide terminal has room for the quotation next to the id
        name = min(len(row.id), widths[0] // 2)
        split = (name, widths[0] - name - len(_GAP), *widths[1:])
        yield layout.row((_Cell(row.id, BOLD), _Cell(quote, MUTED), *cells), split)
        yield from layout.paragraph(note, indent="  ")
        return
    yield layout.row((_Cell(row.id, BOLD, keeps_end=True), *cells), widths)
    if not is_short:
        yield from _quotation(quote, note, layout)
    else:
        yield from layout.paragraph(note, indent="  ")


def _quotation(quote: str, note: str, layout: Layout) -> Iterator["Text"]:
    """Yield the quotation with the note behind it, or below it where both do not fit; a note is never cut."""
    indent = "  "
    room = layout.width - len(indent) - len(note) - len(_GAP)
    if room >= min(len(quote), _MIN_QUOTE):
        yield layout.line((indent, ""), (layout.fit(quote, room), MUTED), (_GAP + note if note else "", ""))
        return
    yield layout.line((indent, ""), (quote, MUTED))
    yield from layout.paragraph(note, indent=indent)


def _arithmetic(view: View, layout: Layout) -> Iterator["Text"]:
    """Yield the inconsistent sentences where they are few, and one line of counts."""
    if not view.audit:
        return
    inconsistent = [row for row in view.audit if row.verdict.word == "inconsistent"]
    if len(inconsistent) <= _MANY_INCONSISTENT:
        for row in inconsistent:
            symbol = row.verdict.symbol if layout.unicode else row.verdict.ascii_symbol
            told = f"{symbol} {row.id}: claimed {row.claimed}, its own figures give {row.recomputed}"
            yield from layout.paragraph(told, TONES[row.verdict.tone], indent="  ", first="")
    told = ", ".join(f"{count.number} {count.verdict.word}" for count in view.arithmetic)
    yield from layout.paragraph(f"{plural(len(view.audit), 'arithmetic claim')}: {told} (speedclaims audit lists them)")


def _not_run(rows: Sequence[ClaimRow], layout: Layout) -> Iterator["Text"]:
    if rows:
        reasons = Counter(row.reason or "no reason recorded" for row in rows)
        told = "; ".join(f"{reason} ({number})" if len(reasons) > 1 else reason for reason, number in reasons.items())
        yield from layout.paragraph(f"{plural(len(rows), 'claim')} not run: {told}", MUTED)


def _pairs(rows: Sequence[PairRow], view: View, layout: Layout, *, title: str) -> Iterator["Text"]:
    """Yield a table of pairs; the narrower the terminal, the fewer columns."""
    yield layout.line(("", ""))
    if layout.is_narrow:
        for row in rows:
            yield from layout.paragraph(f"{row.name}: {row.result}, {row.work} work", indent="  ", first="")
        return
    columns = _pair_columns(rows, view, layout, title)
    taken = sum(column.width for column in columns[1:]) + len(_GAP) * (len(columns) - 1)
    widths = [layout.width - taken, *(column.width for column in columns[1:])]
    yield layout.row([_Cell(column.title, MUTED) for column in columns], widths)
    for number, row in enumerate(rows):
        if row.speedup is not None:
            yield layout.row([column.cells[number] for column in columns], widths)
            continue
        yield from _beside(columns[0].cells[number], row.problem, widths[0], layout, MUTED)


def _beside(name: _Cell, text: str, name_width: int, layout: Layout, style: str = "") -> Iterator["Text"]:
    """Yield the lines of a name in the first column and a wrapped text in the second."""
    widths = (name_width, layout.width - name_width - len(_GAP))
    parts = layout.wrapped(text, widths[1])
    for cell, part in zip([name, *[_Cell("")] * (len(parts) - 1)], parts, strict=True):
        yield layout.row((cell, _Cell(part, style)), widths)


def _pair_columns(rows: Sequence[PairRow], view: View, layout: Layout, title: str) -> list[_Column]:
    """Return the columns that have room: the labels of the sides only where no name must be cut for them."""
    times = [f"{row.before_time} → {row.after_time}" if row.speedup else "" for row in rows]
    columns = [
        # of a parametrized test's rows the parameter is what tells them apart
        _column(title, [_Cell(row.name, BOLD, keeps_end=row.name.endswith("]")) for row in rows], layout),
        _column("time", [_Cell(time) for time in times], layout),
        _column(f"speedup [{view.confidence}]", [_Cell(_speedup(row), _pair_tone(row)) for row in rows], layout),
        _column("equivalence", [_equivalence(row, layout) for row in rows], layout),
    ]
    if layout.is_wide:
        columns.insert(3, _column("work", [_Cell(row.work) for row in rows], layout))
    sides = _column("before → after", [_Cell(f"{row.before} → {row.after}") for row in rows], layout)
    if sum(column.width for column in (*columns, sides)) + len(_GAP) * len(columns) <= layout.width:
        columns.insert(1, sides)
    return columns


def _column(title: str, cells: Sequence[_Cell], layout: Layout) -> _Column:
    texts = [title, *(cell.text for cell in cells)]
    return _Column(title, max(len(text if layout.unicode else to_ascii(text)) for text in texts), tuple(cells))


def _speedup(row: PairRow) -> str:
    if row.value is None:
        return ""
    if row.low is None:
        return f"{format_ratio(row.value)} ({row.status})" if row.status != "measured" else format_ratio(row.value)
    return str(row.speedup)


def _pair_tone(row: PairRow) -> str:
    if row.work != "same" or row.low is None or row.high is None:
        return ""
    return "green" if row.low > 1 else "red" if row.high < 1 else ""


def _equivalence(row: PairRow, layout: Layout) -> _Cell:
    is_designed = row.equivalence == "different by design"
    word = "by design" if is_designed and not layout.is_wide else row.equivalence
    # where there is no column for it, other work is named here: it must not pass for a speedup of the same work
    if row.work != "same" and not layout.is_wide:
        word = f"{row.work} work" if row.work == "less" else "other work"
    return _Cell(word, "red" if row.is_equivalence_bad else "")


def _values(rows: Sequence[ValueRow], view: View, layout: Layout) -> Iterator["Text"]:
    """Yield the lines on figures that judge no claim.

    Where the record has pairs, they are only counted. Where there are few, their details follow.
    """
    if not rows:
        return
    yield layout.line(("", ""))
    if view.pairs:
        verb = "judges" if len(rows) == 1 else "judge"
        yield from layout.paragraph(f"{plural(len(rows), 'figure')} that {verb} no claim: see the report", MUTED)
        return
    if layout.is_narrow:
        for row in rows:
            yield from layout.paragraph(f"{row.name}: {row.told}", indent="  ", first="")
        return
    title = "figure without a claim" if view.claims else "figure"
    names = _column(title, [_Cell(row.name, BOLD, keeps_end=True) for row in rows], layout)
    name_width = min(names.width, layout.width // 2)
    yield from _beside(_Cell(title, MUTED), f"measured [{view.confidence}]", name_width, layout, MUTED)
    for cell, row in zip(names.cells, rows, strict=True):
        yield from _beside(cell, row.told, name_width, layout)
        if len(rows) <= _MANY_CLAIMS:
            yield from layout.paragraph(row.details, MUTED, indent="  ")


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
    yield layout.line(("", ""))
    controls = f"Control: {told}, where the truth is 1. " if told else ""
    yield from layout.paragraph(f"{controls}{view.noise}", MUTED)
