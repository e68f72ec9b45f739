"""List the columns of the report's tables: one entry for each column, read by the page, the Markdown and the terminal.

A cell is a sequence of parts. The role of a part names what it is; a rendering decides how it looks:

- `title`, `quote`, `estimate`, `verdict`, `work`, `passed`, `failed`, `nowrap` or none: the text itself,
- `under`, `aside`, `code`, `fold`: details, which the terminal leaves out,
- `note`, `none`: a reason, which the terminal prints below the row,
- `strip`: a drawing of the page.

A column that is empty in every row is left out. The columns of the CSV are the record's own fields: `CSV_FIELDS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar

from speedclaims.report.model.alternatives import AlternativeRow
from speedclaims.report.model.claims import ClaimRow, counted_as, other_variants
from speedclaims.report.model.figures import FigureRow
from speedclaims.report.model.formatting import MISSING, VERDICTS, Verdict
from speedclaims.report.model.ladder import Factor, Rung
from speedclaims.report.model.pairs import PairRow
from speedclaims.report.model.trend import Run
from speedclaims.report.model.view import AuditRow, ValueRow

Row = TypeVar("Row")
Place = Literal["page", "markdown", "terminal"]

PAGE: Final[Place] = "page"
MARKDOWN: Final[Place] = "markdown"
TERMINAL: Final[Place] = "terminal"
NOTHING: Final = "\u2013"
"""An empty cell."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a cell.

    Attributes:
        text: its words.
        role: what it is (the module lists the roles).
        tone: the colour of a verdict, or nothing.
        pair: the index of the pair that the page links to.
        value: the object behind the text, for a rendering that shows more of it.
    """

    text: str
    role: str = ""
    tone: str = ""
    pair: int | None = None
    value: object = None


Cell = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a table.

    Attributes:
        title: its heading; `{confidence}` stands for the confidence of the intervals.
        cell: makes the cell of a row.
        align: the side on which its cells line up.
        places: the renderings that show it.
        style: a class of the page's style sheet.
        key: makes what the page sorts the rows by: texts, or numbers in which None comes last.
        is_result: whether a row without a result shows the reason in place of this cell and others of this kind.
        is_optional: whether a terminal shows it only where every name still fits on one line with the values; the last
            such column is left out first.
    """

    title: str
    cell: Callable[[Row], Cell]
    align: Literal["left", "right"] = "left"
    places: tuple[Place, ...] = (PAGE, MARKDOWN, TERMINAL)
    style: str = ""
    key: Callable[[Row], Sequence[float | str | None]] | None = None
    is_result: bool = False
    is_optional: bool = False

    @property
    def label(self) -> str:
        """Return the heading without the confidence."""
        return self.title.format(confidence="").partition(" [")[0]


@dataclass(frozen=True, slots=True)
class Group(Generic[Row]):
    """Rows that a table shows under one heading: a document's claims with their verdicts, or a family's pairs."""

    title: str
    counts: str
    rows: Sequence[Row]


def groups(rows: Sequence[Row]) -> list[Group[Row]]:
    """Return the rows by their `group`, in the record's order of documents; rows without one are one group."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(getattr(row, "group", ""), []).append(row)
    in_order = sorted(found.items(), key=lambda item: getattr(item[1][0], "place", 0))
    return [Group(title, _counts(members), members) for title, members in in_order]


def _counts(rows: Sequence[object]) -> str:
    """Return how many claims have each verdict; empty for other rows."""
    words = [row.overall.word for row in {row.id: row for row in rows if isinstance(row, ClaimRow | AuditRow)}.values()]
    return ", ".join(f"{words.count(one.word)} {one.word}" for one in VERDICTS.values() if one.word in words)


def shown(columns: Sequence[Column[Row]], rows: Sequence[Row], place: Place) -> list[Column[Row]]:
    """Return the columns that a rendering shows: those of the place that have a cell in any row."""
    return [column for column in columns if place in column.places and any(map(column.cell, rows))]


def missing(row: object) -> str:
    """Return why a row has no result; empty where it has one, and for rows that always have one."""
    return getattr(row, "missing", "")


def verdict_cell(verdict: Verdict) -> Cell:
    """Return the cell of a verdict: its symbol and word in its colour."""
    return (Part(f"{verdict.symbol} {verdict.word}", "verdict", verdict.tone, value=verdict),)


def _cell(*parts: Part) -> Cell:
    return tuple(part for part in parts if part.text)


def _text(of: Callable[[Row], str], role: str = "") -> Callable[[Row], Cell]:
    """Return the function that makes a cell of one part."""
    return lambda row: _cell(Part(of(row), role))


def _estimate(estimate: object) -> Part:
    return Part(str(estimate or ""), "estimate", value=estimate)


# --- alternatives ---

_TONES: Final = {"faster": "good", "slower": "bad"}


def alternatives(baseline: str, confidence: str) -> Sequence[Column[AlternativeRow]]:
    """Return the columns of a table of alternatives.

    Args:
        baseline: the alternative that the others are compared with.
        confidence: of the intervals.
    """
    against = f"Against {baseline} [{confidence}]".replace("{", "{{").replace("}", "}}")
    return (
        Column("Alternative", _text(lambda row: row.title, "title")),
        Column("Time", _text(lambda row: row.time), align="right"),
        Column("Rate", _text(lambda row: row.rate), align="right", is_optional=True),
        Column(against, _text(lambda row: row.ratio)),
        Column("Verdict", lambda row: _cell(Part(row.result, _TONES.get(row.verdict, "")))),
        Column("Against the next slower", _text(lambda row: row.next), places=(PAGE, MARKDOWN)),
    )


# --- pairs ---


def _pair(row: PairRow) -> Cell:
    return _cell(
        Part(row.title, "title"),
        Part(row.name, "code"),
        Part(f"{row.before} → {row.after} · {row.where}", "under"),
        Part(row.first_call, "under"),
    )


def _colored_speedup(row: PairRow) -> Cell:
    """Return the speedup, in colour if the work is the same and the interval excludes 1."""
    status = f" ({row.status})" if row.low is None and row.status != "measured" else ""
    tone = ""
    if row.work == "same" and row.low is not None and row.high is not None:
        tone = "good" if row.low > 1 else "bad" if row.high < 1 else ""
    return _cell(Part(f"{row.speedup}{status}" if row.speedup else "", tone=tone))


def _pair_equivalence(row: PairRow) -> Cell:
    why = Part("; ".join(row.details), "fold", "bad" if row.is_equivalence_bad else "", value=row.details)
    return _cell(*_equivalence(row), why)


def _short_equivalence(row: PairRow) -> Cell:
    """Return the equivalence, or the work where it is other work: it must not pass for a speedup of the same work."""
    if row.work != "same":
        return (Part("less work" if row.work == "less" else "other work"),)
    return tuple(replace(part, text=part.text.removeprefix("different ")) for part in _equivalence(row))


def _equivalence(row: PairRow | ClaimRow) -> Cell:
    return _cell(Part(row.equivalence, row.equivalence if row.equivalence in {"passed", "failed"} else ""))


PAIRS: Final[Sequence[Column[PairRow]]] = (
    Column("Pair", _pair, places=(PAGE, MARKDOWN), style="wide", key=lambda row: (row.name,)),
    Column("Pair", _text(lambda row: row.name, "title"), places=(TERMINAL,)),
    Column("Before → after", _text(lambda row: f"{row.before} → {row.after}"), places=(TERMINAL,), is_optional=True),
    Column("Work", _text(lambda row: row.work, "work"), places=(PAGE, MARKDOWN), style="nowrap"),
    Column(
        "Before",
        lambda row: _cell(Part(row.before_time), Part(row.before_share, "aside")),
        align="right",
        key=lambda row: (row.recorded["before_s"],),
        is_result=True,
    ),
    Column(
        "After",
        lambda row: _cell(Part(row.after_time), Part(row.after_share, "aside")),
        align="right",
        key=lambda row: (row.recorded["after_s"],),
        is_result=True,
    ),
    Column("Units per second", _text(lambda row: row.rates), align="right", is_result=True, is_optional=True),
    Column(
        "Speedup [{confidence}]",
        lambda row: (_estimate(row.speedup) if row.speedup else Part(row.status),),
        align="right",
        places=(PAGE, MARKDOWN),
        key=lambda row: (row.value,),
        is_result=True,
    ),
    Column("Speedup [{confidence}]", _colored_speedup, places=(TERMINAL,), is_result=True),
    Column("Change", _text(lambda row: row.change), align="right", is_result=True),
    Column(
        "Rounds",
        lambda row: _cell(Part(row.rounds), Part(row.processes, "aside")),
        align="right",
        places=(PAGE, MARKDOWN),
        is_result=True,
    ),
    Column("Equivalence", _pair_equivalence, places=(PAGE, MARKDOWN), style="middle"),
    Column("Equivalence", _short_equivalence, places=(TERMINAL,)),
    Column("Status", _text(lambda row: row.problem or row.status), places=(MARKDOWN,)),
    Column(
        "Status",
        lambda row: (
            Part(row.problem) if row.problem and row.speedup else Part(row.status, "" if row.problem else "none"),
        ),
        places=(PAGE,),
        style="reason",
    ),
)

CSV_FIELDS: Final = (
    "nodeid",
    "family",
    "preset",
    "device",
    "before",
    "after",
    "work",
    "equivalence",
    "status",
    "speedup",
    "low",
    "high",
    "confidence",
    "num_rounds",
    "num_processes",
    "before_s",
    "after_s",
)
"""The columns of the CSV: fields of a pair's row in the record, as they are; the last two are seconds of one call."""


# --- claims ---


SAME: Final = "the same on every variant"
"""The result, on a variant that does not count, of a claim that is judged without variants."""


def _measured(row: ClaimRow) -> Cell:
    result = _estimate(row.measured) if row.is_judged else Part(row.result, "none")
    return _cell(result, Part(row.reason if row.is_judged else "", "note"), Part(row.evidence, "note"))


def _strip(row: ClaimRow) -> Cell:
    return (Part("", "strip", value=row),) if row.has_strip else ()


def _verdict(row: ClaimRow) -> Cell:
    others = (Part(told, "note", verdict.tone) for told, verdict in row.summaries)
    return verdict_cell(row.verdict) + _cell(Part(row.among, "note"), *others)


def _judged(row: ClaimRow) -> Cell:
    """Return the result, the verdict and its reasons in one cell; without a result, why there is none."""
    result, *notes = _measured(row)
    verdict = verdict_cell(row.verdict) if row.is_judged else ()
    return _cell(result, *verdict, *notes, Part(row.among, "note"))


_ORDER: Final = [verdict.word for verdict in VERDICTS.values()]


def _verdict_key(row: ClaimRow | AuditRow) -> tuple[int]:
    return (_ORDER.index(row.verdict.word),)


_MEASURED: Final = Column("Measured [{confidence}]", _measured, style="result", key=lambda row: (row.measured_value,))
_VERDICT: Final = Column("Verdict", _verdict, key=_verdict_key)
_DEVICE: Final[Column[ClaimRow]] = Column("Device", _text(lambda row: row.device))

CLAIMS: Final[Sequence[Column[ClaimRow]]] = (
    Column(
        "Claim",
        lambda row: (Part(row.text, "quote"), Part(row.id, "under", pair=row.pair)),
        places=(PAGE, MARKDOWN),
        style="wide",
        key=lambda row: (row.id,),
    ),
    Column("Claim", lambda row: (Part(row.id, "title"), Part(row.text, "quote")), places=(TERMINAL,)),
    Column(
        "Claimed",
        lambda row: _cell(Part(row.claimed, "nowrap"), Part(row.metric, "under")),
        key=lambda row: (row.high if row.low is None else row.low,),
    ),
    _MEASURED,
    Column("Range and result", _strip, places=(PAGE,)),
    _VERDICT,
    Column("Equivalence", _equivalence, places=(PAGE, MARKDOWN)),
    _DEVICE,
)


def claims(rows: Sequence[ClaimRow], device: str) -> Sequence[Column[ClaimRow]]:
    """Return the columns of a table of claims: `CLAIMS`, and where claims have variants a column for each of them.

    Without a row of another device than the machine's, which the line above the table names, page and Markdown have no
    column of it.
    The column of a variant has its results and verdicts. In a terminal, which has no room for these, the column of
    what was measured names the variant that counts, and each other variant has a line below the row.
    """
    counted = counted_as(rows)
    is_told = all(row.device in {"", device} for row in rows)
    listed = [replace(one, places=(TERMINAL,)) if one is _DEVICE and is_told else one for one in CLAIMS]
    if not counted:
        return listed
    title = _as_variant(counted)
    replaced: dict[Column[ClaimRow], Sequence[Column[ClaimRow]]] = {
        _MEASURED: (
            replace(
                _MEASURED,
                title=title,
                cell=_judged,
                places=(PAGE, MARKDOWN),
                key=lambda row: (*_verdict_key(row), row.measured_value),
            ),
            replace(_MEASURED, title=title, places=(TERMINAL,)),
        ),
        _VERDICT: (
            *(_variant_column(variant) for variant in other_variants(rows)),
            replace(_VERDICT, places=(TERMINAL,)),
        ),
    }
    return [one for column in listed for one in replaced.get(column, (column,))]


def _as_variant(variant: str) -> str:
    return f"As {variant.replace('{', '{{').replace('}', '}}')} [{{confidence}}]"


def _variant_column(variant: str) -> Column[ClaimRow]:
    """Return the column of a variant that does not count."""

    def cell(row: ClaimRow) -> Cell:
        if not row.variant and row.is_judged:
            return (Part(SAME, "none"),)
        found = [one for one in row.others if one.variant == variant]
        parts: list[Part] = []
        for one in found:
            first, *rest = _judged(one)
            if parts and first.role in {"", "none"}:
                first = replace(first, role="under")  # of another test: on a line below the one before
            parts += [first, *rest, *_pair_of(one)]
        return tuple(parts)

    def key(row: ClaimRow) -> Sequence[float | None]:
        return next(((*_verdict_key(one), one.measured_value) for one in row.others if one.variant == variant), (None,))

    return Column(_as_variant(variant), cell, places=(PAGE, MARKDOWN), style="result", key=key)


def _pair_of(row: ClaimRow) -> Cell:
    """Return whether the sides of a row's pair compute the same, with a link to the pair."""
    return _cell(Part(f"equivalence {row.equivalence}" if row.equivalence else "", "under", pair=row.pair))


# --- the documents' arithmetic, figures, switches ---

AUDIT: Final[Sequence[Column[AuditRow]]] = (
    Column(
        "Sentence",
        lambda row: (Part(row.text, "quote"), Part(row.id, "under")),
        style="wide",
        key=lambda row: (row.id,),
    ),
    Column("Claimed", _text(lambda row: row.claimed), style="short"),
    Column("Recomputed", _text(lambda row: row.recomputed), style="short"),
    Column("How", _text(lambda row: row.formula), style="how"),
    Column("Verdict", lambda row: verdict_cell(row.verdict), key=_verdict_key),
)

VALUES: Final[Sequence[Column[ValueRow]]] = (
    Column(
        "Figure",
        lambda row: _cell(Part(row.title), Part(row.name, "code"), Part(row.under, "under")),
        places=(PAGE, MARKDOWN),
        style="wide",
    ),
    Column("Figure", _text(lambda row: row.name, "title"), places=(TERMINAL,)),
    Column("Measured [{confidence}]", _text(lambda row: row.told), places=(PAGE, MARKDOWN), is_result=True),
    Column("How", _text(lambda row: row.details), places=(PAGE, MARKDOWN)),
    Column("Measured [{confidence}]", lambda row: _cell(Part(row.told), Part(row.details, "note")), places=(TERMINAL,)),
)


def _figure(text: str) -> Cell:
    return _cell(Part(text, "none" if text.startswith(MISSING) else ""))


FIGURES: Final[Sequence[Column[FigureRow]]] = (
    Column("Pair", lambda row: (Part(row.name, pair=row.pair),), style="wide"),
    Column("Before", lambda row: _figure(row.before), align="right"),
    Column("After", lambda row: _figure(row.after), align="right"),
    Column("Before / after", lambda row: _figure(row.ratio), align="right"),
)


def _factor(factor: Factor | None) -> Cell:
    return _cell(Part(factor.ratio, pair=factor.pair), Part(factor.missing, "aside")) if factor else ()


LADDER: Final[Sequence[Column[Rung]]] = (
    Column("Switch", lambda row: _cell(Part(row.label), Part(row.name if row.is_first else "", "aside")), style="wide"),
    Column("With it and those above", lambda row: _factor(row.speedup), align="right"),
    Column("Step", lambda row: _factor(None if row.is_first else row.step), align="right"),
    Column("Added last", lambda row: _factor(row.last), align="right"),
    Column("Verdict", _text(lambda row: row.verdict)),
)

RUNS: Final[Sequence[Column[Run]]] = (
    Column("When", _text(lambda row: row.date)),
    Column("Machine", _text(lambda row: row.machine)),
    Column("Commit", _text(lambda row: row.commit)),
    Column("Result", _text(lambda row: row.view.headline), style="wide"),
)
