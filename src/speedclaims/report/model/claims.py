"""Rows of a record's claims, as every rendering shows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from speedclaims.claims.metrics import metrics
from speedclaims.record.io import NOT_ASKED
from speedclaims.record.types import RecordedClaim
from speedclaims.report.model.formatting import (
    VERDICTS,
    Estimate,
    Verdict,
    anchors,
    clean,
    equivalence_words,
    format_estimate,
    format_range,
    listed,
    not_measured,
    words,
)


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One claim and its verdict. ``measured`` holds the local figure also where it cannot judge the claim.

    A claim that several tests judge has a row for each of them: ``verdict`` is that of the row's test, ``overall`` that
    of the claim, and ``among`` names the test and says how the claim is judged over all of them; it is empty where one
    test judges the claim. ``evidence`` holds in words the pairs that a claim without any verdict has as evidence; it is
    empty for every other claim, and for all rows of a claim but its first. A claim is run if the run has a figure for
    it, or evidence. It is asked if one of its tests was among those of the run, whatever became of it, or if it has
    evidence. ``recorded`` is the row of the record.

    ``anchor`` is the id of the row in a page, ``place`` that of its document among those of the record.

    ``variant`` is empty unless the claim is judged on several variants. The rows of a claim are then those of the
    variant that counts, and the first of them that is judged, or else the first, has those of the others as ``others``.
    """

    id: str
    variant: str
    source: str
    text: str
    kind: str
    metric: str
    claimed: str
    low: float | None
    high: float | None
    is_ratio: bool
    measured: Estimate | None
    measured_value: float | None
    measured_low: float | None
    measured_high: float | None
    verdict: Verdict
    overall: Verdict
    among: str
    is_judged: bool
    is_run: bool
    is_asked: bool
    reason: str
    equivalence: str
    device: str
    pair: int | None
    evidence: str
    others: tuple["ClaimRow", ...]
    anchor: str
    place: int
    recorded: RecordedClaim = field(compare=False, repr=False)

    @property
    def group(self) -> str:
        """Return the document under which a table shows the row."""
        return self.source

    @property
    def of_variants(self) -> tuple["ClaimRow", ...]:
        """Return this row and those of the claim's other variants that it has."""
        return (self, *self.others)

    @property
    def is_judged_on_any(self) -> bool:
        """Whether this row has a verdict, on whichever variant."""
        return any(row.is_judged for row in self.of_variants)

    @property
    def has_strip(self) -> bool:
        """Whether the claim and the measured figure can be drawn on an axis of ratios."""
        return self.is_asked and self.is_ratio and self.measured_value is not None

    @property
    def result(self) -> str:
        """Return the measured result in words; for an unmet requirement the reason and the local figure."""
        if self.is_judged:
            return str(self.measured) if self.measured else (self.reason or "")
        here = f" (here on {self.device}: {self.measured})" if self.measured else ""
        return not_measured(self.reason) + here

    @property
    def summaries(self) -> tuple[tuple[str, Verdict], ...]:
        """Return a sentence and the verdict over all tests for each of the claim's other variants."""
        variants = dict.fromkeys(row.variant for row in self.others)
        return tuple(_summary([row for row in self.others if row.variant == variant]) for variant in variants)


def _summary(rows: Sequence[ClaimRow]) -> tuple[str, Verdict]:
    """Return a variant's results in one sentence, each with the tests that have it, and the verdict over all."""
    tests: dict[str, list[str]] = {}
    rule = ""
    for row in rows:
        verdict = f" {row.verdict.symbol} {row.verdict.word}" if row.is_judged else ""
        why = f", {row.reason}" if row.is_judged and row.measured and row.reason else ""
        by, _, rule = row.among.partition("; ")
        tests.setdefault(f"{row.result}{verdict}{why}", []).append(by.removeprefix("by "))
    parts = [f"{told}, by {listed(names)}" if any(names) else told for told, names in tests.items()]
    told = listed([*parts, rule] if rule else parts, "; ")
    return f"{rows[0].variant}: {told}", rows[0].overall


def claim_rows(
    claims: Sequence[RecordedClaim], index_of: Mapping[str, int], evidence_of: Mapping[str, str]
) -> tuple[ClaimRow, ...]:
    """Return the rows of a record's claims, what was judged first; a claim has rows for what counts.

    Args:
        claims: the record's rows.
        index_of: a pair's place by its node id.
        evidence_of: a pair in words by its node id, for the claims whose evidence it is.
    """
    rows: list[ClaimRow] = []
    by_claim: dict[str, list[RecordedClaim]] = {}
    for claim in claims:
        by_claim.setdefault(claim["id"], []).append(claim)
    for group in by_claim.values():
        made = [row for of_variant in _by_variant(group) for row in _variant_rows(of_variant, index_of)]
        found = () if any(row.is_judged for row in made) else group[0].get("evidence", [])
        words_of = [evidence_of[nodeid] for nodeid in found if nodeid in evidence_of]
        evidence = f"beside it, no verdict: {listed(words_of, '; ')}" if words_of else ""
        is_run, is_asked = any(row.is_run for row in made), any(row.is_asked for row in made)
        made = [replace(row, is_run=is_run or bool(evidence), is_asked=is_asked or bool(evidence)) for row in made]
        made[0] = replace(made[0], evidence=evidence)
        counted = [row for row in made if row.recorded["variant"] == group[0]["variant"]]
        host = next((number for number, row in enumerate(counted) if row.is_judged), 0)
        counted[host] = replace(counted[host], others=tuple(made[len(counted) :]))
        rows += counted
    # What was judged comes first, measured before arithmetic; inside a group the ledger's order stays.
    rows.sort(key=lambda row: (not row.is_judged_on_any, row.kind != "measured", not row.is_run))
    sources = list(dict.fromkeys(clean(claim["source"]) for claim in claims))
    ids = anchors("claim-", (row.id for row in rows))
    return tuple(
        replace(row, anchor=anchor, place=sources.index(row.source)) for row, anchor in zip(rows, ids, strict=True)
    )


def counted_as(rows: Sequence[ClaimRow]) -> str:
    """Return the variant by which claims count, several where their ledgers differ; empty without variants."""
    return " or ".join(dict.fromkeys(row.variant for row in rows if row.variant))


def other_variants(rows: Sequence[ClaimRow]) -> Sequence[str]:
    """Return the variants on which claims are judged as well."""
    return list(dict.fromkeys(one.variant for row in rows for one in row.others))


def _by_variant(group: Sequence[RecordedClaim]) -> Iterable[list[RecordedClaim]]:
    """Return the rows of a claim for each of its variants, the one that counts first."""
    found: dict[str | None, list[RecordedClaim]] = {}
    for claim in group:
        found.setdefault(claim["variant"], []).append(claim)
    return found.values()


def _variant_rows(group: Sequence[RecordedClaim], index_of: Mapping[str, int]) -> list[ClaimRow]:
    """Return the rows of a claim's tests, each of which says how the claim is judged over all of them."""
    made = [_claim_row(claim, index_of) for claim in group]
    among = _among(group) if len(group) > 1 else [""]
    return [replace(row, among=words) for row, words in zip(made, among, strict=True)]


def _claim_row(claim: RecordedClaim, index_of: Mapping[str, int]) -> ClaimRow:
    is_judged = claim["verdict"] != "not_measured"
    bounds = [bound for bound in (claim["low"], claim["high"]) if bound is not None]
    ends = (claim["measured_low"], claim["measured_high"])
    measured = None
    # a quality is no ratio: without a unit of its own it is a plain number
    is_ratio = claim["unit"] == "1" and claim["metric"] != "quality"
    unit = claim["unit"] if is_ratio or claim["unit"] != "1" else ""
    if claim["measured"] is not None:
        measured = format_estimate(claim["measured"], *ends, unit=unit, bounds=bounds)
    claimed = format_range(claim["low"], claim["high"], unit, unicode=True)
    return ClaimRow(
        id=clean(claim["id"]),
        variant=clean(claim["variant"] or ""),
        source=clean(claim["source"]),
        text=clean(claim["text"]),
        kind=claim["kind"],
        metric=_metric(claim),
        claimed=claimed or "as quoted",
        low=claim["low"],
        high=claim["high"],
        is_ratio=is_ratio,
        measured=measured,
        measured_value=claim["measured"],
        measured_low=claim["measured_low"],
        measured_high=claim["measured_high"],
        verdict=VERDICTS[claim["verdict"]],
        overall=VERDICTS[claim["overall"]],
        among="",
        is_judged=is_judged,
        is_run=is_judged or claim["measured"] is not None or claim["pair"] in index_of,
        is_asked=claim["reason"] != NOT_ASKED,
        reason=_claim_reason(claim, is_judged=is_judged),
        equivalence=equivalence_words(claim["equivalence"]),
        device=clean(claim["device"] or ""),
        pair=index_of.get(claim["pair"] or ""),
        evidence="",
        others=(),
        anchor="",
        place=0,
        recorded=claim,
    )


_RULES: Final = {
    "all": "all {} pairs must hold",
    "any": "one of {} pairs must hold",
    "median": "the median of {} pairs decides",
    "best": "the best of {} pairs decides",
}
_BETTER: Final = {"higher": "higher is better", "lower": "lower is better", "neither": "wrong on either side"}


def _among(group: Sequence[RecordedClaim]) -> list[str]:
    """Return for each row of a claim the name of its test, and the verdict over all of them with its rule."""
    nodeids = [claim["pair"] or "" for claim in group]
    names = [nodeid.partition("::")[2] for nodeid in nodeids]
    shown = names if len(set(names)) == len(set(nodeids)) else nodeids
    rule = _RULES[group[0]["over"]].format(len(group))
    return [f"by {clean(name)}; overall {VERDICTS[group[0]['overall']].word}: {rule}" for name in shown]


def _metric(claim: RecordedClaim) -> str:
    if claim["kind"] == "arithmetic":
        return "arithmetic"
    name = claim["metric"] or ""
    metric = metrics()[name].words if name in metrics() else words(name)
    work = f", {claim['work']} work" if claim["work"] else ""
    plain = "lower" if claim["low"] is None else "higher"
    side = f", {_BETTER[claim['better']]}" if claim["better"] != plain else ""
    return f"{metric}{side}{work}"


def _claim_reason(claim: RecordedClaim, *, is_judged: bool) -> str:
    if claim["reason"] or is_judged:
        return clean(claim["reason"] or "")
    return "needs " + ", ".join(clean(need) for need in claim["requires"].values()) if claim["requires"] else ""
