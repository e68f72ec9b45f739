"""Rows of a record's claims, as every rendering shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speedclaims.record import NOT_ASKED

from .formatting import (
    METRICS,
    VERDICTS,
    Estimate,
    Json,
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

    A claim is asked if one of its tests was among those of the run, whatever became of it.
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
    is_judged: bool
    is_run: bool
    is_asked: bool
    reason: str
    equivalence: str
    device: str
    pair: int | None

    @property
    def result(self) -> str:
        """Return what was measured in words; for an unmet requirement the reason, with the local figure beside it."""
        if self.is_judged:
            return str(self.measured) if self.measured else (self.reason or "")
        here = f" (here on {self.device}: {self.measured})" if self.measured else ""
        return not_measured(self.reason) + here


def claim_rows(claims: Sequence[Json], index_of: Mapping[str, int]) -> tuple[ClaimRow, ...]:
    """Return the rows of a record's claims, what was judged first; `index_of` gives a pair's place by its node id."""
    rows = [_claim_row(claim, index_of) for claim in claims]
    # What was judged comes first, measured before arithmetic; inside a group the ledger's order stays.
    return tuple(sorted(rows, key=lambda row: (not row.is_judged, row.kind != "measured", not row.is_run)))


def _claim_row(claim: Json, index_of: Mapping[str, int]) -> ClaimRow:
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
        is_judged=is_judged,
        is_run=is_judged or claim["measured"] is not None or claim["pair"] in index_of,
        is_asked=claim["reason"] != NOT_ASKED,
        reason=_claim_reason(claim, is_judged=is_judged),
        equivalence=equivalence_words(claim["equivalence"]),
        device=clean(claim["device"] or ""),
        pair=index_of.get(claim["pair"]),
    )


def _metric(claim: Json) -> str:
    if claim["kind"] == "arithmetic":
        return "arithmetic"
    metric = METRICS.get(claim["metric"] or "", words(claim["metric"] or ""))
    work = f", {claim['work']} work" if claim["work"] else ""
    return f"{metric}{work}"


def _claim_reason(claim: Json, *, is_judged: bool) -> str:
    if claim["reason"] or is_judged:
        return clean(claim["reason"] or "")
    return "needs " + ", ".join(clean(need) for need in claim["requires"].values()) if claim["requires"] else ""
