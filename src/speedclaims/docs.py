"""Fill the figures in Markdown from the newest record, and find those that contradict it.

A marker names a figure, ``<!-- speedclaims: NAME.FIELD -->3.02x [2.95, 3.08]<!-- end -->``: the NAME of a pair, of a
test that recorded a figure, or of a claim, and one of its fields in `FIELDS`. ``NAME.FIELD in PLACE`` takes only the
records in a folder or file of that name.
"""

import difflib
import math
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from speedclaims.errors import SpeedclaimsError
from speedclaims.record import files as record_files
from speedclaims.record import io as record_io
from speedclaims.record import paths as record_paths
from speedclaims.record.types import Record, RecordedClaim, RecordedFigure, RecordedPair
from speedclaims.record.verdicts import counting
from speedclaims.report.markdown.places import Place, fill, find_places
from speedclaims.report.markdown.report import escape_markdown
from speedclaims.report.model.formatting import (
    MISSING,
    VERDICTS,
    clean,
    format_estimate,
    shorten,
)
from speedclaims.report.model.gathering import age_of
from speedclaims.report.model.pairs import pair_row
from speedclaims.report.model.sentences import commit_words

Kind = Literal["pair", "figure", "claim"]

_OF_RUNS: Final = ("date", "commit", "machine")
FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "pair": ("speedup", "interval", "estimate", "before", "after", *_OF_RUNS),
    "figure": ("value", "estimate", *_OF_RUNS),
    "claim": ("verdict", *_OF_RUNS),
}
"""The fields of a pair, of a figure and of a claim."""

_KNOWN: Final = "|".join(dict.fromkeys(name for names in FIELDS.values() for name in names))
_NAME: Final = re.compile(rf"(?P<of>.+)\.(?P<field>{_KNOWN})")
_NAME_IN: Final = re.compile(rf"{_NAME.pattern} in (?P<within>.+)")
_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z.])[-+\u2212]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBERS_OF: Final = {"speedup": 1, "value": 1, "interval": 2, "estimate": 3}
"""How many numbers a text holds that says a field."""
_SCALED: Final = frozenset({"s", "bytes"})
"""Units whose values are scaled for reading, so that the number alone says nothing."""
_SECONDS_PER_DAY: Final = 86400
_LONGEST: Final = 60


class DocsError(SpeedclaimsError, ValueError):
    """Signal that a text or its markers cannot be used, in one line: what is wrong, where, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Hold a Markdown file: its path, its text and the places that markers name."""

    path: Path
    text: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """Hold a field.

    Attributes:
        text: the field as Markdown; None where there is none.
        words: the same for a message, with the interval; or why there is none.
        range: ends between which a number does not contradict it; None where only the same text does not.
    """

    text: str | None
    words: str
    range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold a pair, a figure or a claim of a record; ``values`` makes its fields."""

    is_decided: bool
    reason: str
    values: Callable[[], Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Source:
    """Hold a record's file, the time it was made, in seconds since 1970, and its entries by their kinds and names."""

    path: Path
    time_s: float
    entries: Mapping[tuple[Kind, str], Entry]


@dataclass(frozen=True, slots=True)
class Fact:
    """Hold a field of the newest record."""

    field: str
    value: Value
    source: Source


def read_page(path: Path) -> Page:
    """Read a Markdown file and find its places.

    Raises:
        DocsError: it is a device, or no text.
        PlaceError: its markers cannot be used.
        OSError: it cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DocsError(f"{path}: it is a device or a pipe: name a Markdown file")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise DocsError(f"{path}: it is not text: name a Markdown file") from None
    return Page(path, text, tuple(find_places(text, path)))


def read_records(places: Sequence[Path]) -> list[Source]:
    """Read records, newest first. In a folder, JSON that is no record and a run that has not ended are passed over.

    Args:
        places: records, and folders that hold records at any depth.

    Raises:
        RecordError: a record cannot be read.
        DocsError: there is none.
        OSError: a folder cannot be read.
    """
    found: dict[Path, Record] = {}
    for place in places:
        if not place.exists():
            raise DocsError(f"{place}: no such file or folder: name a record, or a folder of records, by --record")
        if not place.is_dir():
            found[place] = record_io.read(place)
            continue
        for path in sorted(place.rglob("*.json")):
            if path.name == record_paths.SO_FAR or not path.is_file():
                continue
            try:
                found[path] = record_io.read(path)
            except record_io.NoSectionError:
                continue
    if not found:
        raise DocsError(f"{', '.join(map(str, places))}: no record there: name one, or a folder of some, by --record")
    newest = sorted(found.items(), key=lambda one: age_of(one[1]), reverse=True)
    return [_source(path, record) for path, record in newest]


def _source(path: Path, record: Record) -> Source:
    run = record["speedclaims"]
    entries: dict[tuple[Kind, str], Entry] = {}
    for pair in run["pairs"]:
        is_decided = pair["low"] is not None or pair["status"] == "withheld"
        values = partial(_pair_values, pair, record)
        entries["pair", clean(pair["nodeid"])] = Entry(is_decided, clean(pair["reason"] or ""), values)
    for row in run["figures"]:
        values = partial(_figure_values, row, record)
        entries["figure", clean(row["nodeid"])] = Entry(row["value"] is not None, clean(row["reason"] or ""), values)
    for claim in counting(run["claims"]):
        values = partial(_claim_values, claim, record)
        is_decided = claim["overall"] != "not_measured"
        entries.setdefault(("claim", clean(claim["id"])), Entry(is_decided, clean(claim["reason"] or ""), values))
    return Source(path, age_of(record)[0], entries)


def _pair_values(pair: RecordedPair, record: Record) -> dict[str, Value]:
    """Return the fields of a pair, with the digits of the report."""
    row = pair_row(0, pair, record["speedclaims"]["claims"])
    if row.speedup is None or row.low is None or row.high is None:
        return dict.fromkeys(FIELDS["pair"], Value(None, row.problem))
    point = row.speedup.point
    interval = row.speedup.interval or f"[{point.removesuffix('x')}, {point.removesuffix('x')}]"
    estimate = f"{point} {interval}"
    ends = _ends(row.low, row.high, estimate)
    return {
        "speedup": Value(point, estimate, ends),
        "interval": Value(interval, interval, ends),
        "estimate": Value(estimate, estimate, ends),
        "before": Value(None if row.before_time == MISSING else row.before_time, row.before_time),
        "after": Value(None if row.after_time == MISSING else row.after_time, row.after_time),
        **_run_values(record),
    }


def _figure_values(row: RecordedFigure, record: Record) -> dict[str, Value]:
    value, low, high, unit = row["value"], row["low"], row["high"], row["unit"]
    estimate = format_estimate(value, low, high, unit="" if unit == "1" else unit)
    ends = None
    if estimate.interval and low is not None and high is not None and unit not in _SCALED and not _numbers(unit):
        ends = _ends(low, high, str(estimate))
    point = escape_markdown(estimate.point)
    return {
        "value": Value(point, str(estimate), ends),
        "estimate": Value(f"{point} {estimate.interval}".strip(), str(estimate), ends),
        **_run_values(record),
    }


def _claim_values(claim: RecordedClaim, record: Record) -> dict[str, Value]:
    word = VERDICTS[claim["overall"]].word
    return {"verdict": Value(word, word), **_run_values(record)}


def _run_values(record: Record) -> dict[str, Value]:
    environment = record["speedclaims"]["environment"]
    words = {
        "date": clean(record["datetime"])[:10],
        "commit": commit_words(environment).removeprefix("commit "),
        "machine": clean(environment["device_name"]),
    }
    return {name: Value(escape_markdown(text), text) for name, text in words.items()}


def _ends(low: float, high: float, shown: str) -> tuple[float, float]:
    """Return the ends of an interval, as measured or as an estimate shows them, whichever are farther out."""
    return min(low, *_numbers(shown)), max(high, *_numbers(shown))


def _numbers(text: str) -> list[float]:
    return [float(number.replace("\u2212", "-")) for number in _NUMBER.findall(text)]


def differences(pages: Sequence[Page], sources: Sequence[Source], most_days: float | None, now: datetime) -> list[str]:
    """Return a line for each place that contradicts the newest record, or whose newest record is too old.

    Args:
        pages: the Markdown files.
        sources: the records, newest first.
        most_days: how old a record may be; None for any age.
        now: the present time.

    Raises:
        DocsError: markers name no field of any record; one line that holds these and the contradictions.
    """
    found, unknown = [], 0
    for page in pages:
        for place in page.places:
            where = f"{page.path}:{place.line}"
            try:
                fact = look_up(place.name, sources, where)
            except DocsError as error:
                found.append(str(error))
                unknown += 1
                continue
            problems = [] if agrees(place.text, fact) else [_contradiction(place.text, fact)]
            if most_days is not None and (age := _too_old(fact.source, most_days, now)):
                problems.append(age)
            if problems:
                found.append(f"{where}: {place.name}: {'; '.join(problems)}")
    if unknown:
        raise DocsError(" | ".join(found))
    return found


def write(pages: Sequence[Page], sources: Sequence[Source]) -> list[Path]:
    """Put the newest record's figures into Markdown files, and return the files that changed.

    Raises:
        DocsError: a marker names no field of any record, or the newest record withholds it.
        PlaceError: a place would be code once filled.
        OutputError: a file is a record too.
        OSError: a file cannot be written. No file has changed then, unless it became impossible in between.
    """
    changed: dict[Path, str] = {}
    for page in pages:
        values = [_written(page, place, sources) for place in page.places]
        text = fill(page.text, page.places, values, page.path)
        if text != page.text:
            changed[page.path] = text
    record_files.refuse_inputs(changed, [source.path for source in sources])
    for path in changed:
        record_files.check_output(path)
    for path, text in changed.items():
        record_files.write_text(path, text)
    return list(changed)


def _written(page: Page, place: Place, sources: Sequence[Source]) -> str:
    """Return the text that a place gets.

    Raises:
        DocsError: a marker names no field of any record, or the newest record withholds it.
    """
    where = f"{page.path}:{place.line}"
    fact = look_up(place.name, sources, where)
    if fact.value.text is None:
        raise DocsError(f"{where}: {place.name}: {fact.source.path} has none ({fact.value.words}): measure it again")
    return place.text if _is_same(place.text, fact.value) else fact.value.text


def look_up(name: str, sources: Sequence[Source], where: str) -> Fact:
    """Return the field that a marker names.

    Args:
        name: ``NAME.FIELD`` or ``NAME.FIELD in PLACE``.
        sources: the records, newest first.
        where: the marker's file and line, for errors.

    Raises:
        DocsError: no record has it, or several things have the name.
    """
    parts = _NAME.fullmatch(name) or _NAME_IN.fullmatch(name)
    if parts is None:
        raise DocsError(
            f"{where}: {name!r} ends in no field: write NAME.FIELD with one of {_listed(_KNOWN.split('|'))}"
        )
    within = parts.groupdict().get("within")
    if within is not None:
        sources = [source for source in sources if _lies_in(source.path, within)]
        if not sources:
            raise DocsError(f"{where}: {name!r}: none of the records is in a folder or file {within!r}")
    key = _find(clean(parts["of"]), parts["field"], sources, where)
    source = _newest(key, sources)
    if source is None:
        last = next(source for source in sources if key in source.entries)
        reason = last.entries[key].reason or MISSING
        raise DocsError(f"{where}: {key[1]} was measured in no record ({reason}): measure it first")
    return Fact(parts["field"], source.entries[key].values()[parts["field"]], source)


def _lies_in(path: Path, within: str) -> bool:
    """Whether a file is one, or is in a folder, whose name and, if given, whose folders' names these are."""
    wanted = f"/{within.strip('/')}/"
    return any(wanted in f"/{one.as_posix()}/" for one in (path, path.with_suffix("")))


def _find(of: str, named: str, sources: Sequence[Source], where: str) -> tuple[Kind, str]:
    """Return the one pair, figure or claim that has a field and goes by a name.

    Raises:
        DocsError: there is none, or there are several.
    """
    every = list(dict.fromkeys(key for source in sources for key in source.entries))
    fitting = [key for key in every if key[1] == of] or [key for key in every if _ends_in(key, of)]
    found = [key for key in fitting if named in FIELDS[key[0]]]
    if len(found) > 1:
        names = _listed([f"{kind} {key}" for kind, key in found])
        raise DocsError(f"{where}: {of!r} is the name of several ({names}): write more of it")
    if found:
        return found[0]
    if fitting:
        kind, key = fitting[0]
        raise DocsError(f"{where}: {key} is a {kind}, which has no {named}: name one of {_listed(FIELDS[kind])}")
    known = [name for key in every for name in (key[1], key[1].rpartition("::")[2])]
    close = difflib.get_close_matches(of, known, n=1)
    meant = f"did you mean {close[0]!r}?" if close else "name a pair, a figure or a claim of a record"
    raise DocsError(f"{where}: no record has {of!r}: {meant}")


def _ends_in(key: tuple[Kind, str], of: str) -> bool:
    kind, name = key
    return kind != "claim" and name.endswith((f"/{of}", f"::{of}"))


def _newest(key: tuple[Kind, str], sources: Sequence[Source]) -> Source | None:
    """Return the newest record that measured something or withheld it; of an unmeasured claim the newest of all."""
    holding = [source for source in sources if key in source.entries]
    decided = next((source for source in holding if source.entries[key].is_decided), None)
    return decided or (holding[0] if key[0] == "claim" else None)


def agrees(text: str, fact: Fact) -> bool:
    """Whether a text does not contradict the newest record.

    A number must lie in the interval of the record, an interval must overlap with it, and any other text must be the
    same.
    """
    value = fact.value
    if value.text is None:
        return False
    if value.range is None:
        return _is_same(text, value)
    low, high = value.range
    numbers = _numbers(text)
    if len(numbers) != _NUMBERS_OF[fact.field]:
        return False
    points, ends = numbers[: len(numbers) % 2], numbers[len(numbers) % 2 :]
    overlaps = not ends or (ends[0] <= ends[1] and ends[0] <= high and low <= ends[1])
    return overlaps and all(low <= point <= high for point in points)


def _is_same(text: str, value: Value) -> bool:
    return clean(text) in {value.text, value.words}


def _contradiction(text: str, fact: Fact) -> str:
    said = clean(text)
    says = f'says "{shorten(said, _LONGEST)}"' if said else "says nothing"
    return f"{says}, but {fact.source.path} says {fact.value.words}"


def _too_old(source: Source, most_days: float, now: datetime) -> str | None:
    """Return how old a record is, None where it is not too old."""
    days = (now.timestamp() - source.time_s) / _SECONDS_PER_DAY
    if days <= most_days:
        return None
    age = f"{days:.1f} days old" if math.isfinite(days) else "of no date that can be read"
    return f"{source.path} is {age}, more than {most_days:g}: measure again"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
