"""Read the ledger of claims: a TOML file of ``[[claim]]`` tables, by default ``claims.toml`` next to the tests."""

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import attrs

from speedclaims.claims.metrics import metrics
from speedclaims.errors import SpeedclaimsError
from speedclaims.record.types import Better, Over, Work
from speedclaims.record.verdicts import better_side

Kind = Literal["measured", "arithmetic"]
Requirement = Literal["device", "preset", "family"]

_MIN_VARIANTS = 2


class LedgerError(SpeedclaimsError, ValueError):
    """Signal that a ledger cannot be used, in one line: what is wrong, where, and how to fix it."""


def _is_text(_: "Claim", attribute: "attrs.Attribute[str]", value: object) -> None:
    """Refuse a value that is not a text, or an empty text."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{attribute.name}: {value!r} is not a text with at least one character")


def _is_id(_: "Claim", attribute: "attrs.Attribute[str]", value: object) -> None:
    """Refuse a value that tests could not name a claim by."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(f"{attribute.name}: {value!r} is not made of letters, digits, dots, dashes and underscores")


def _is_bound(_: "Claim", attribute: "attrs.Attribute[float]", value: object) -> None:
    """Refuse a value that is not a finite number; a truth value and a number in quotes are none."""
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError(f"{attribute.name}: {value!r} is not a finite number")


def _are_requirements(_: "Claim", attribute: "attrs.Attribute[Mapping[str, str]]", value: object) -> None:
    """Refuse requirements that no pair could meet: unknown names, or values that are not texts."""
    if not isinstance(value, Mapping):
        raise ValueError(f'{attribute.name}: {value!r} is not a table such as {{ device = "cuda" }}')  # noqa: TRY004 - as for the others
    for key, wanted in value.items():
        if key not in get_args(Requirement):
            known = ", ".join(get_args(Requirement))
            raise ValueError(f"{attribute.name}.{key}: unknown requirement: the requirements are {known}")
        if not isinstance(wanted, str):
            raise ValueError(f"{attribute.name}.{key}: {wanted!r} is not a text")  # noqa: TRY004 - as for the others


def _is_one_of(words: Iterable[str]) -> "Callable[[Claim, attrs.Attribute[str], str], None]":
    """Return a validator that accepts these words only."""
    known = tuple(words)

    def check(_: "Claim", attribute: "attrs.Attribute[str]", value: object) -> None:
        if value not in known:
            raise ValueError(f"{attribute.name}: {value!r} is not one of {', '.join(known)}")

    return check


def _as_float(value: float | None) -> float | None:
    """Return a whole number as a float, infinite where it is too large for one, and any other value as it is."""
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return math.inf


@attrs.frozen(kw_only=True)
class Claim:
    """One quantitative sentence of a document.

    Attributes:
        id: what tests name it by, for example ``text-to-image.amp``.
        source: the document.
        text: the sentence, quoted.
        kind: ``measured`` by a pair, or ``arithmetic``: recomputed from the document's own figures.
        metric: which figure judges it; ratios are before / after, so that above 1 is better. ``utilization`` and the
            activities are those of the after side, in percent; ``utilization_before`` is that of the before side.
            ``memory_ratio`` compares peaks on CUDA, and on a CPU increases over the level before the call.
        unit: unit of the bounds; by default 1 for ratios, percent for utilizations and activities.
        work: which work the claim is about.
        low, high: the bounds of what is claimed, at least one of them.
        better: the side on which a figure outside the bounds exceeds the claim: ``higher``, ``lower`` or ``neither``;
            on any other side it refutes the claim. By default what ``record.verdicts.better_side`` derives.
        over: how several tests judge the claim: ``all`` must hold, ``any`` may hold, or the test with the ``median``
            or the ``best`` figure decides.
        requires: what the judging pair must have, for example ``{ device = "cuda" }``.
        audit: an arithmetic claim's audit function.

    Raises:
        ValueError: a value does not fit; one line that names its key.
    """

    id: str = attrs.field(validator=_is_id)
    source: str = attrs.field(validator=_is_text)
    text: str = attrs.field(validator=_is_text)
    kind: Kind = attrs.field(validator=_is_one_of(get_args(Kind)))
    metric: str = attrs.field(default="speedup")
    unit: str = attrs.field(validator=_is_text)
    work: Work = attrs.field(default="same", validator=_is_one_of(get_args(Work)))
    low: float | None = attrs.field(default=None, converter=_as_float, validator=attrs.validators.optional(_is_bound))
    high: float | None = attrs.field(default=None, converter=_as_float, validator=attrs.validators.optional(_is_bound))
    better: Better = attrs.field(validator=_is_one_of(get_args(Better)))
    over: Over = attrs.field(default="all", validator=_is_one_of(get_args(Over)))
    requires: Mapping[str, str] = attrs.field(factory=dict, validator=_are_requirements)
    audit: str | None = attrs.field(default=None, validator=attrs.validators.optional(_is_text))

    @metric.validator
    def _is_known(self, _: "attrs.Attribute[str]", value: object) -> None:
        known = metrics()
        if value not in known:
            raise ValueError(f"metric: {value!r} is not one of {', '.join(known)}")

    @unit.default
    def _unit_of_the_metric(self) -> str:
        known = metrics()
        return known[self.metric].unit if self.metric in known else "1"

    @better.default
    def _better_side_of_the_bounds(self) -> Better:
        return better_side(self.low, self.high, self.metric)

    def __attrs_post_init__(self) -> None:
        """Refuse values that do not fit together."""
        if self.kind == "arithmetic":
            if self.audit is None:
                raise ValueError('an arithmetic claim names its audit function: add audit = "..."')
            return
        if self.audit is not None:
            raise ValueError("only an arithmetic claim has an audit function: remove audit")
        if self.low is None and self.high is None:
            raise ValueError("it has no bound: add low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is greater than high ({self.high:g}): swap them")
        if self.over == "best" and self.better == "neither":
            raise ValueError('over = "best" needs a better side: set better to "higher" or "lower"')


@dataclass(frozen=True)
class Ledger:
    """The claims of one file by their ids, and the variants that they may be judged on.

    The verdict on the first variant is the one that counts.
    """

    path: Path
    claims: Mapping[str, Claim]
    variants: tuple[str, ...] = ()


def load_ledger(path: Path) -> Ledger:
    """Read and validate a ledger.

    Raises:
        LedgerError: the file is missing or is not TOML, the variants are not at least two different texts, a claim has
            an unknown key, a value of the wrong type, no bound, low above high, or an id that another claim has.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LedgerError(
            f"{path}: the ledger cannot be read ({error.strerror}): create it, or correct the ini option speedup_claims"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path}: not a TOML file ({_one_line(error)}): correct it there") from None
    unknown = sorted(set(document) - {"claim", "variants"})
    if unknown:
        raise LedgerError(
            f"{path}: unknown key {', '.join(unknown)}: a ledger holds [[claim]] tables and, above them, variants only"
        )
    variants = _variants(path, document)
    tables = document.get("claim", [])
    if not isinstance(tables, list):
        raise LedgerError(f"{path}: [claim] is one table: write [[claim]], with two brackets")
    claims: dict[str, Claim] = {}
    for number, table in enumerate(tables, start=1):
        claim = _parse(path, number, table)
        if claim.id in claims:
            raise LedgerError(f"{path}: claim {number} has the id {claim.id} of an earlier claim: give it another")
        claims[claim.id] = claim
    return Ledger(path, claims, variants)


def _variants(path: Path, document: Mapping[str, object]) -> tuple[str, ...]:
    """Return the variants of a ledger, none where it lacks the key."""
    given = document.get("variants")
    if given is None:
        return ()
    variants = given if isinstance(given, list) else []
    texts = [text for text in variants if isinstance(text, str) and text.strip()]
    if len(texts) < _MIN_VARIANTS or len(set(texts)) < len(variants):
        raise LedgerError(
            f"{path}: {_one_line(f'variants: {given!r}')} is not a list of at least two different texts: "
            'write for example variants = ["published", "fixed"], or remove it'
        )
    return tuple(texts)


def _parse(path: Path, number: int, table: object) -> Claim:
    name = table.get("id", f"number {number}") if isinstance(table, dict) else f"number {number}"
    try:
        return _claim(table)
    except ValueError as error:
        raise LedgerError(f"{path}: {_one_line(f'claim {name}: {error}')}") from None


def _claim(table: object) -> Claim:
    """Return the claim of a ledger's table.

    Raises:
        ValueError: it is no table, a key is unknown or missing, or a value does not fit; the first of these.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{table!r} is not a table: write [[claim]] and its keys below")  # noqa: TRY004 - see Raises
    fields = attrs.fields(Claim)
    known = [field.name for field in fields]
    unknown = next((key for key in table if key not in known), None)
    if unknown == "variants":
        raise ValueError("unknown key variants: it belongs to the ledger: move it above the first [[claim]]")
    if unknown is not None:
        raise ValueError(f"unknown key {unknown}: the keys are {', '.join(known)}")
    needed = (field.name for field in fields if field.default is attrs.NOTHING)
    missing = next((key for key in needed if key not in table), None)
    if missing is not None:
        raise ValueError(f"no {missing}: add it")
    return Claim(**table)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
