"""The ledger of claims and the verdict on each.

A ledger is a TOML file of ``[[claim]]`` tables, by default ``claims.toml`` beside the tests. The verdict follows from
the interval alone: ``confirmed`` when all of it lies within the claimed bounds, ``below`` or ``above`` when all of it
lies outside, ``ambiguous`` when it straddles a bound.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Metric = Literal[
    "speedup",
    "memory_ratio",
    "sync_ratio",
    "utilization",
    "utilization_before",
    "sm_activity",
    "tensor_activity",
    "energy_ratio",
    "quality",
]
Work = Literal["same", "less", "different"]


_IN_PERCENT = ("utilization", "utilization_before", "sm_activity", "tensor_activity")


class LedgerError(ValueError):
    """A ledger cannot be used: one line that says what, where and how to mend it."""


class Claim(BaseModel):
    """One quantitative sentence of a document.

    Attributes:
        id: what tests name it by, for example ``text-to-image.amp``.
        source: the document.
        text: the sentence, quoted.
        kind: ``measured`` by a pair, or ``arithmetic``: recomputed from the document's own figures.
        metric: which figure judges it; ratios are before / after, so that above 1 is better. ``utilization`` and the
            activities are those of the after side, in percent; ``utilization_before`` is that of the before side.
        unit: unit of the bounds, 1 for ratios, percent for utilizations and activities.
        work: which work the claim is about.
        low, high: the bounds of what is claimed, at least one of them.
        requires: what the judging pair must have, for example ``{ device = "cuda" }``.
        audit: an arithmetic claim's audit function.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    source: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]
    kind: Literal["measured", "arithmetic"]
    metric: Metric = "speedup"
    unit: Annotated[str, Field(min_length=1)] = "1"
    work: Work = "same"
    low: float | None = None
    high: float | None = None
    requires: dict[Literal["device", "preset", "family"], str] = Field(default_factory=dict)
    audit: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _unit_of_shares(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("metric") in _IN_PERCENT:
            return {"unit": "percent", **table}
        return table

    @model_validator(mode="after")
    def _bounds(self) -> "Claim":
        if self.kind == "arithmetic":
            if self.audit is None:
                msg = 'an arithmetic claim names its audit function: add audit = "..."'
                raise ValueError(msg)
            return self
        if self.audit is not None:
            msg = "only an arithmetic claim has an audit function: remove audit"
            raise ValueError(msg)
        if self.low is None and self.high is None:
            msg = "it has no bound: add low, high or both"
            raise ValueError(msg)
        if self.low is not None and self.high is not None and self.low > self.high:
            msg = f"low ({self.low:g}) is greater than high ({self.high:g}): swap them"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Ledger:
    """The claims of one file by their ids."""

    path: Path
    claims: Mapping[str, Claim]


def load_ledger(path: Path) -> Ledger:
    """Read and validate a ledger.

    Raises:
        LedgerError: the file is missing or is not TOML, a claim has an unknown key, a value of the wrong type, no
            bound, low above high, or an id that another claim has.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = (
            f"{path}: the ledger cannot be read ({error.strerror}): create it, or correct the ini option speedup_claims"
        )
        raise LedgerError(msg) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not a TOML file ({_one_line(error)}): correct it there"
        raise LedgerError(msg) from None
    if set(document) - {"claim"}:
        unknown = ", ".join(sorted(set(document) - {"claim"}))
        msg = f"{path}: unknown key {unknown}: a ledger holds [[claim]] tables only"
        raise LedgerError(msg)
    tables = document.get("claim", [])
    if not isinstance(tables, list):
        msg = f"{path}: [claim] is one table: write [[claim]], with two brackets"
        raise LedgerError(msg)
    claims: dict[str, Claim] = {}
    for number, table in enumerate(tables, start=1):
        claim = _parse(path, number, table)
        if claim.id in claims:
            msg = f"{path}: claim {number} has the id {claim.id} of an earlier claim: give it another"
            raise LedgerError(msg)
        claims[claim.id] = claim
    return Ledger(path, claims)


def _parse(path: Path, number: int, table: Any) -> Claim:
    name = table.get("id", f"number {number}") if isinstance(table, dict) else f"number {number}"
    try:
        return Claim.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = ", ".join(Claim.model_fields)
            what, where = f"unknown key {where}: the keys are {known}", ""
        elif first["type"] == "missing":
            what, where = f"no {where}: add it", ""
        msg = f"{path}: claim {name}: {where + ': ' if where else ''}{_one_line(what)}"
        raise LedgerError(msg) from None


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def verdict(claim: Claim, low: float, high: float) -> str:
    """Return the verdict on a claim for a measured interval [low, high] of its metric."""
    at_least = claim.low is None or low >= claim.low
    at_most = claim.high is None or high <= claim.high
    if at_least and at_most:
        return "confirmed"
    if claim.low is not None and high < claim.low:
        return "below"
    if claim.high is not None and low > claim.high:
        return "above"
    return "ambiguous"


def judge(claim: Claim, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's row for a claim that a pair (or a figure) measured.

    Args:
        claim: the claim, of kind ``measured``.
        row: the pair's row of the record; see ``record.schema.json``.
    """
    measured, low, high, missing = _figure(claim, row)
    unmet = [_need(key, value) for key, value in claim.requires.items() if row.get(key) != value]
    reason: str | None
    if unmet:
        word, reason = "not_measured", f"needs {' and '.join(unmet)}"
    elif measured is None:
        word, reason = "not_measured", missing
    elif low is None or high is None:
        word, reason = "ambiguous", missing
    else:
        word = verdict(claim, low, high)
        reason = _straddles(claim, low, high) if word == "ambiguous" else None
    return {
        **blank(claim),
        "measured": measured,
        "measured_low": low,
        "measured_high": high,
        "verdict": word,
        "reason": reason,
        "pair": row["nodeid"],
        "device": row["device"],
        "equivalence": row.get("equivalence"),
    }


def not_judged(claim: Claim, reason: str, nodeid: str | None = None) -> dict[str, Any]:
    """Return the record's row for a claim that nothing measured, with the reason."""
    return {**blank(claim), "reason": reason, "pair": nodeid}


def blank(claim: Claim) -> dict[str, Any]:
    """Return the record's row for a claim before anything is known about it."""
    copied = ("id", "source", "text", "kind", "metric", "unit", "work", "low", "high")
    return {
        **{key: getattr(claim, key) for key in copied},
        "requires": dict(claim.requires),
        "measured": None,
        "measured_low": None,
        "measured_high": None,
        "verdict": "not_measured",
        "reason": None,
        "pair": None,
        "device": None,
        "equivalence": None,
    }


def _need(key: str, value: str) -> str:
    return value if key == "device" else f"the {key} {value}"


def _straddles(claim: Claim, low: float, high: float) -> str:
    bounds = [bound for bound in (claim.low, claim.high) if bound is not None and low <= bound <= high]
    return f"the interval straddles {' and '.join(f'{bound:g}' for bound in bounds)}"


_SIDES = {"memory_ratio": "memory", "sync_ratio": "syncs"}
_GPU = {
    "utilization": ("utilization", "after"),
    "utilization_before": ("utilization", "before"),
    "sm_activity": ("sm_activity", "after"),
    "tensor_activity": ("tensor_activity", "after"),
    "energy_ratio": ("energy_j", "ratio"),
}
"""For each metric that NVML tells, the figure and whose it is."""


def _figure(claim: Claim, row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None, str | None]:
    """Return value, low, high and, where one of them is missing, why."""
    if "value" in row:
        return row["value"], row["low"], row["high"], row["reason"]
    if claim.metric == "speedup":
        return row["speedup"], row["low"], row["high"], row["reason"]
    if claim.metric == "quality":
        return None, None, None, "a quality claim is judged by a figure, not by a pair"
    if claim.metric in _SIDES:
        figure = row[_SIDES[claim.metric]]["ratio"]
    else:
        name, side = _GPU[claim.metric]
        if name not in row["gpu"]:
            return None, None, None, f"no {claim.metric.replace('_', ' ')} was recorded on {row['device']}"
        figure = row["gpu"][name][side]
    return figure["value"], figure.get("low", figure["value"]), figure.get("high", figure["value"]), figure["reason"]
