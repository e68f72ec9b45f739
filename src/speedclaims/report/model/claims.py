"""Rows of a record's claims, as every rendering shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from speedclaims.claims.metrics import metrics
from speedclaims.record.io import NOT_ASKED
from speedclaims.record.types import RecordedClaim
from speedclaims.report.model.formatting import (
    VERDICTS,
    Estimate,
    Verdict,
    clean,
    equivalence_words,
    format_estimate,
    format_range,
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
    """

    id: str
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
    recorded: RecordedClaim = field(compare=False, repr=False)

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


def claim_rows(
    claims: Sequence[RecordedClaim], index_of: Mapping[str, int], evidence_of: Mapping[str, str]
) -> tuple[ClaimRow, ...]:
    """Return the rows of a record's claims, what was judged first.

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
        is_judged = any(claim["verdict"] != "not_measured" for claim in group)
        found = () if is_judged else group[0].get("evidence", [])
        words_of = [evidence_of[nodeid] for nodeid in found if nodeid in evidence_of]
        evidence = f"beside it, no verdict: {'; '.join(words_of)}" if words_of else ""
        made = [_claim_row(claim, index_of, "" if number else evidence) for number, claim in enumerate(group)]
        is_run, is_asked = any(row.is_run for row in made), any(row.is_asked for row in made)
        among = _among(group) if len(group) > 1 else [""]
        rows += [
            replace(row, is_run=is_run, is_asked=is_asked, among=words) for row, words in zip(made, among, strict=True)
        ]
    # What was judged comes first, measured before arithmetic; inside a group the ledger's order stays.
    return tuple(sorted(rows, key=lambda row: (not row.is_judged, row.kind != "measured", not row.is_run)))


def _claim_row(claim: RecordedClaim, index_of: Mapping[str, int], evidence: str) -> ClaimRow:
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
        is_run=is_judged or claim["measured"] is not None or claim["pair"] in index_of or bool(evidence),
        is_asked=claim["reason"] != NOT_ASKED or bool(evidence),
        reason=_claim_reason(claim, is_judged=is_judged),
        equivalence=equivalence_words(claim["equivalence"]),
        device=clean(claim["device"] or ""),
        pair=index_of.get(claim["pair"] or ""),
        evidence=evidence,
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
