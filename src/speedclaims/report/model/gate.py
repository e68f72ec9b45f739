"""Say what the gate found, for every rendering: verdicts, sentences and the columns of the table of changes."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from speedclaims.gate.compare import Change, Gate
from speedclaims.record.types import Record
from speedclaims.report.model.columns import Cell, Column, Part, verdict_cell
from speedclaims.report.model.formatting import Verdict, clean, format_percent, format_ratio, plural
from speedclaims.report.model.sentences import commit_words

CHANGES: Final = {
    "regressed": Verdict("regressed", "✗", "x", "bad", "the loss lies above 0 and above half of what fails"),
    "ambiguous": Verdict("ambiguous", "◆", "?", "open", "the noise hides whether the speedup was lost"),
    "held": Verdict("held", "✓", "+", "good", "a loss as large as what fails is ruled out"),
    "improved": Verdict("improved", "▲", "^", "more", "the whole interval of the loss lies below 0"),
    "missing": Verdict("missing", "✗", "x", "bad", "in the base, not in this run"),
    "renamed": Verdict("renamed", "✗", "x", "bad", "missing, and one that looks alike is new"),
    "not_measured": Verdict("not measured", "✗", "x", "bad", "in the base, now without a speedup"),
    "reconfigured": Verdict("reconfigured", "✗", "x", "bad", "configured differently from the base"),
    "withheld": Verdict("withheld", "✗", "x", "bad", "its equivalence check failed"),
    "new": Verdict("new", "○", "-", "none", "not in the base"),
    "no_base": Verdict("no base", "○", "-", "none", "in the base without a speedup"),
}
"""Every verdict of the gate, in the order in which counts are given."""

_MEND: Final = (
    "A pair that is gone or changed on purpose: save a new base (--benchmark-autosave, or keep the record.json of "
    "--speedup-report)."
)
_DECIDE: Final = "What the noise hides: --speedup-until-decided measures on until it is decided."
_OTHER_LOAD: Final = ", less what other load explains"
_CHANCE: Final = (
    f"A loss is how much longer the after side takes, measured against the before side{_OTHER_LOAD}. "
    "Chance alone should fail at most 1 in 200 sessions with unchanged code."
)


def base_words(path: Path, record: Record) -> str:
    """Return where a base comes from: its file, commit and day."""
    return f"{path} ({commit_words(record['speedclaims']['environment'])}, {record['datetime'][:10]})"


def heading(gate: Gate) -> str:
    """Return the title of the gate's part of a report."""
    return "Between the two sides" if gate.has_no_base else "Against the base"


def compared(gate: Gate) -> list[Change]:
    """Return the changes that a table shows: those with two speedups of the same pair."""
    return [change for change in gate.changes if change.base and change.new and change.verdict != "reconfigured"]


def problems(gate: Gate) -> Iterator[tuple[Verdict, str]]:
    """Yield what else is to be known, with the verdict whose symbol and tone it has."""
    for change in gate.changes:
        if change.problem:
            shown = CHANGES[change.verdict]
            yield shown, f"{shown.word}: {clean(change.nodeid)}: {clean(change.problem)}"
    for claim in gate.lost_claims:
        yield CHANGES["regressed"], f"lost claim: {clean(claim)}"
    for warning in gate.warnings:
        yield CHANGES["ambiguous"], f"warning: {clean(warning)}"


def verdict_sentence(gate: Gate) -> str:
    """Return the gate's verdict with its counts: what fails, and what became of the pairs."""
    counts = Counter(change.verdict for change in gate.changes)
    told = ", ".join(f"{counts[name]} {CHANGES[name].word}" for name in CHANGES if counts[name])
    pairs = f"{plural(len(gate.changes), 'pair')}: {told}" if gate.changes else "no pairs"
    lost = f"; {plural(len(gate.lost_claims), 'lost claim')}" if gate.lost_claims else ""
    if gate.num_alarms:
        return f"Gate failed, {plural(gate.num_alarms, 'alarm')}. {pairs}{lost}."
    if not gate.num_compared:
        return f"Nothing could be compared. {pairs}."
    undecided = counts["ambiguous"]
    but = f", but the noise hides what became of {plural(undecided, 'pair')}" if undecided else ""
    return f"Gate passed{but}. {pairs}."


def mend_sentence(gate: Gate) -> str | None:
    """Return what to do about pairs that are gone, changed on purpose, or ambiguous; None where there is none."""
    gone = {"missing", "renamed", "reconfigured", "not_measured"}
    found = [_MEND] if any(change.verdict in gone for change in gate.changes) else []
    if any(change.verdict == "ambiguous" and change.loss is not None for change in gate.changes):
        found.append(_DECIDE)
    return " ".join(found) or None


def base_sentence(gate: Gate) -> str:
    """Return what was compared with, and what identical code differed by in both sessions."""
    floors = [gate.new_floor] if gate.has_no_base else [gate.base_floor, gate.new_floor]
    told = [format_percent(floor) for floor in floors]
    known = [floor for floor in floors if floor is not None]
    smallest = min((change.percent for change in gate.changes), default=None)
    hidden = known and smallest is not None and 100 * max(known) > smallest / 2
    end = f", more than half of the {smallest:g}% that fail: smaller losses may go unseen" if hidden else ""
    where = told[0] if gate.has_no_base else f"{told[0]} in the base, {told[-1]} now"
    noise = f" Noise floor {where}{end}." if known else ""
    return f"Compared with {clean(gate.base)}.{noise}"


def chance_sentences(gate: Gate) -> str:
    """Return what a loss is, how sure the intervals are, and the notes."""
    meaning = _CHANCE.replace(_OTHER_LOAD, "") if gate.has_no_base else _CHANCE
    return " ".join([meaning, *(f"{clean(note)}." for note in gate.notes)])


def changes(*, has_intervals: bool) -> tuple[Column[Change], ...]:
    """Return the columns of the table of changes."""
    return (
        Column("Pair", lambda change: (Part(clean(change.name), "title"),)),
        Column("Base → now", partial(_speedups, has_intervals=has_intervals)),
        Column("Loss", lambda change: (Part(_loss(change)),)),
        Column("Limit", lambda change: (Part(f"{change.percent:g}%"),)),
        Column("Verdict", lambda change: verdict_cell(CHANGES[change.verdict])),
    )


def _loss(change: Change) -> str:
    loss = change.loss
    if loss is None:
        return "-"
    value, low, high = (100 * end for end in (loss.value, loss.low, loss.high))
    digits = 1 if high - low >= 0.2 else 2
    return f"{value:+.{digits}f}% [{low:+.{digits}f}, {high:+.{digits}f}]"


def _speedups(change: Change, *, has_intervals: bool) -> Cell:
    ratios = (ratio for ratio in (change.base, change.new) if ratio is not None)
    shown = (format_ratio(one.speedup, *((one.low, one.high) if has_intervals else ())) for one in ratios)
    return (Part(" → ".join(shown)),)
