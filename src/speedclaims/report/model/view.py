"""One record turned into the rows that every rendering shows, so that page, Markdown and terminal cannot disagree."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from speedclaims.gate.compare import Gate
from speedclaims.record.io import NOT_ASKED
from speedclaims.record.types import Record, RecordedAudit, RecordedClaim, RecordedFigure
from speedclaims.record.verdicts import HOLDING, counting
from speedclaims.report.model.alternatives import ComparisonView, comparisons
from speedclaims.report.model.claims import ClaimRow, claim_rows, counted_as
from speedclaims.report.model.figures import FigureTable, figure_tables
from speedclaims.report.model.formatting import (
    MISSING,
    VERDICTS,
    Verdict,
    anchors,
    clean,
    format_estimate,
    not_measured,
    plural,
)
from speedclaims.report.model.ladder import Ladder, ladders
from speedclaims.report.model.pairs import PairRow, pair_row
from speedclaims.report.model.phases import ProfiledPair, profiled_pairs
from speedclaims.report.model.sentences import (
    Count,
    arithmetic_sentence,
    certainty,
    commit_words,
    confidence_words,
    count_verdicts,
    device_words,
    machine_line,
    noise_sentence,
)
from speedclaims.report.model.settings import best_rates, settings


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One arithmetic claim, recomputed from the document's own figures; `anchor` is the id of the row in a page."""

    id: str
    source: str
    text: str
    claimed: str
    recomputed: str
    formula: str
    verdict: Verdict
    anchor: str = ""

    @property
    def overall(self) -> Verdict:
        """Return the verdict of the claim."""
        return self.verdict

    @property
    def group(self) -> str:
        """Return the document under which a table shows the row."""
        return self.source


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One figure that a test measured itself, or why there is none; ``recorded`` is the row of the record."""

    title: str
    name: str
    under: str
    told: str
    details: str
    is_measured: bool
    is_claimed: bool
    recorded: RecordedFigure = field(compare=False, repr=False)

    @property
    def missing(self) -> str:
        """Return why there is no value; empty where there is one."""
        return "" if self.is_measured else self.told


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a rendering of one record shows.

    ``claims`` and ``counts`` are of what is measured; arithmetic is apart, in ``audit`` and ``arithmetic``, so
    that a machine is not credited with a document's sums. ``counts`` has each claim once, by its first variant.
    """

    headline: str
    opening: str
    counts: tuple[Count, ...]
    arithmetic: tuple[Count, ...]
    arithmetic_sentence: str
    phrases: tuple[str, ...]
    machine: str
    certainty: tuple[str, ...]
    confidence: str
    claims: tuple[ClaimRow, ...]
    pairs: tuple[PairRow, ...]
    controls: tuple[PairRow, ...]
    comparisons: tuple[ComparisonView, ...]
    noise: str
    noise_value: float | None
    figures: tuple[FigureTable, ...]
    missing_figures: tuple[str, ...]
    ladders: tuple[Ladder, ...]
    profiled: tuple[ProfiledPair, ...]
    values: tuple[ValueRow, ...]
    audit: tuple[AuditRow, ...]
    gate: Gate | None
    environment: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    command: str
    date: str
    commit: str
    device: str
    device_name: str


def view_record(record: Record) -> View:
    """Return the rows of one record, in the order in which they are shown."""
    run = record["speedclaims"]
    index_of = {pair["nodeid"]: index for index, pair in enumerate(run["pairs"])}
    audited = [audit_row(row) for row in run["audit"]]
    names = anchors("audit-", (row.id for row in audited))
    audit = tuple(replace(row, anchor=name) for row, name in zip(audited, names, strict=True))
    measured = _without(run["claims"], {row["id"] for row in run["audit"]})
    ids = list(anchors("pair-", (clean(pair["nodeid"]) for pair in run["pairs"])))
    rows = [replace(pair_row(index, pair, run["claims"]), anchor=ids[index]) for index, pair in enumerate(run["pairs"])]
    if "against" in run:
        rows = [replace(row, change=_change(row.value)) for row in rows]
    evidence_of = {
        pair["nodeid"]: row.as_evidence(device_words(run["environment"], pair["device"]))
        for pair, row in zip(run["pairs"], rows, strict=True)
        if row.speedup
    }
    pairs = tuple(row for row in rows if not row.is_control)
    is_asked = any(claim["reason"] != NOT_ASKED for claim in measured)
    counts = count_verdicts((claim["id"], claim["overall"]) for claim in counting(measured)) if is_asked else ()
    claimed = {claim["pair"] for claim in run["claims"]}
    values = tuple(_value_row(row, is_claimed=row["nodeid"] in claimed) for row in run["figures"])
    claims = claim_rows(measured, index_of, evidence_of)
    opening = _opening(counts, pairs, values, counted_as(claims))
    sentence = arithmetic_sentence([row.verdict.word for row in audit])
    tables, missing = figure_tables(run["pairs"], [row.name for row in rows])
    phrases = tuple(count.phrase for count in counts) or _pair_phrases(pairs)
    return View(
        headline=f"{_sentence(opening, phrases)} {sentence}".strip(),
        opening=opening,
        counts=counts,
        arithmetic=count_verdicts((row["id"], row["verdict"]) for row in run["audit"]),
        arithmetic_sentence=sentence,
        phrases=phrases,
        machine=machine_line(record),
        certainty=certainty(run),
        confidence=confidence_words(run["pairs"]),
        claims=claims,
        pairs=pairs,
        controls=tuple(row for row in rows if row.is_control),
        comparisons=comparisons(run["pairs"]),
        noise=noise_sentence(run["noise_floor"]),
        noise_value=run["noise_floor"]["value"],
        figures=tables,
        missing_figures=missing,
        ladders=ladders(run["pairs"], run["noise_floor"]["value"]),
        profiled=profiled_pairs(run["pairs"]),
        values=values,
        audit=audit,
        gate=Gate.of(run["gate"]) if "gate" in run else None,
        environment=(*settings(run["environment"]), *best_rates(run["ceilings"])),
        command=clean(run["environment"]["command"]),
        date=clean(record["datetime"])[:16].replace("T", " "),
        commit=commit_words(run["environment"]),
        device=clean(run["environment"]["device"]),
        device_name=clean(run["environment"]["device_name"]),
    )


def _change(speedup: float | None) -> str:
    """Return how much longer the after side takes, as ``+20.7%``; empty without a speedup."""
    return "" if speedup is None else f"{100 * (1 / speedup - 1):+.1f}%"


def _value_row(row: RecordedFigure, *, is_claimed: bool) -> ValueRow:
    unit = "" if row["unit"] == "1" else row["unit"]
    found = row["value"] is not None
    told = (
        str(format_estimate(row["value"], row["low"], row["high"], unit=unit)) if found else not_measured(row["reason"])
    )
    under = " · ".join(clean(part) for part in (row["family"], row["preset"], row["device"]) if part)
    return ValueRow(
        title=clean(row["title"]),
        name=clean(row["name"]),
        under=under,
        told=told,
        details="; ".join(map(clean, row["details"])),
        is_measured=found,
        is_claimed=is_claimed,
        recorded=row,
    )


def _without(claims: Sequence[RecordedClaim], audited: set[str]) -> list[RecordedClaim]:
    """Return the claims that stand in no audit row."""
    return [claim for claim in claims if claim["kind"] != "arithmetic" or claim["id"] not in audited]


def _opening(counts: Sequence[Count], pairs: Sequence[PairRow], values: Sequence[ValueRow], counted: str) -> str:
    total = sum(count.number for count in counts)
    holding = sum(count.number for count in counts if count.verdict.word in HOLDING)
    judged = sum(count.number for count in counts if count.verdict.word != MISSING)
    by_variant = f", counted as {counted}" if counted else ""
    if total and not judged:
        subject = "The claim could not" if total == 1 else f"None of {total} claims could"
        return f"{subject} be judged on this machine{by_variant}"
    if total:
        of_one = holding == judged == 1
        claims, hold = ("claim", "holds") if of_one else ("claims", "hold")
        return f"{holding} of {judged} {claims} judged on this machine {hold}{by_variant}"
    if pairs:
        measured = sum(pair.speedup is not None for pair in pairs)
        return f"{measured} of {plural(len(pairs), 'pair')} measured on this machine"
    if values:
        measured = sum(value.is_measured for value in values)
        return f"{measured} of {plural(len(values), 'figure')} measured on this machine"
    return "Nothing was measured on this machine"


def _pair_phrases(pairs: Sequence[PairRow]) -> tuple[str, ...]:
    """Return how the pairs came out; only pairs of the same work can be faster or slower."""
    measured = [pair for pair in pairs if pair.speedup is not None]
    same = [pair for pair in measured if pair.work == "same"]
    faster = sum(pair.low is not None and pair.low > 1 for pair in same)
    slower = sum(pair.high is not None and pair.high < 1 for pair in same)
    unsure = sum(pair.low is None for pair in same)
    phrases = (
        (faster, "faster"),
        (slower, "slower"),
        (len(same) - faster - slower - unsure, "with no clear difference"),
        (unsure, "with too few rounds to tell"),
        (len(measured) - len(same), "of less or different work"),
    )
    return tuple(f"{number} {word}" for number, word in phrases if number)


def _sentence(opening: str, phrases: Sequence[str]) -> str:
    return f"{opening}: {', '.join(phrases)}." if phrases else f"{opening}."


def audit_row(row: RecordedAudit) -> AuditRow:
    """Return one row of the record's audit for showing."""
    return AuditRow(
        id=clean(row["id"]),
        source=clean(row["source"]),
        text=clean(row["text"]),
        claimed=clean(row["claimed"]),
        recomputed=clean(row["recomputed"]),
        formula=clean(row["formula"]),
        verdict=VERDICTS[row["verdict"]],
    )
