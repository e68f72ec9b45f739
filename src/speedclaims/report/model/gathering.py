"""The records of a report in one order, whatever order they were given in, and each of them once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.types import Record
from speedclaims.report.model.formatting import clean


class ReportError(SpeedclaimsError, ValueError):
    """Signal that a report cannot be written, in one line: what is wrong, where, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The records of a report, newest first and each once, with the files they came from and what a reader must know.

    ``notes`` holds a sentence for each record that was given more than once.
    """

    records: tuple[Record, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]


def gather(records: Sequence[Record], sources: Sequence[str] = ()) -> Gathered:
    """Return records newest first, each once; the order in which they are given makes no difference.

    Args:
        records: the records.
        sources: the names of their files, one each and in their order, or none.

    Raises:
        ReportError: no record, or one that is none.
    """
    if not records:
        raise ReportError("cannot write the report: no record given; name at least one record file")
    for number, record in enumerate(records, start=1):
        _check(record, number)
    names = sources if len(sources) == len(records) else [""] * len(records)
    given: dict[tuple[float, str, str], list[tuple[str, str, Record]]] = {}
    for record, name in zip(records, names, strict=True):
        given.setdefault(age_of(record), []).append((clean(name), _text(record), record))
    # the copies of one record may still differ in the order of their keys
    copies = [sorted(given[age], key=lambda copy: copy[:2]) for age in sorted(given, reverse=True)]
    listed = [name for group in copies for name, _, _ in group if name]
    return Gathered(
        records=tuple(group[0][2] for group in copies),
        sources=tuple(listed or sorted(map(clean, sources))),
        notes=tuple(_repeated([name for name, _, _ in group]) for group in copies if len(group) > 1),
    )


def _check(record: Record, number: int) -> None:
    if "datetime" not in record or not isinstance(record.get("speedclaims"), Mapping):
        raise ReportError(
            f"cannot write the report: record {number} lacks 'speedclaims'; give a file that speedclaims wrote"
        )


def age_of(record: Record) -> tuple[float, str, str]:
    """Return what orders records by age, and those of one moment by their content."""
    told = str(record["datetime"])
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        return float("-inf"), told, _text(record, sort_keys=True)
    # of a time without a zone, UTC is what pytest-benchmark means
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.timestamp(), told, _text(record, sort_keys=True)


def _text(record: Record, *, sort_keys: bool = False) -> str:
    return json.dumps(record, sort_keys=sort_keys, default=repr)


def _repeated(names: Sequence[str]) -> str:
    told = f" ({', '.join(names)})" if any(names) else ""
    times = "twice" if len(names) == 2 else f"{len(names)} times"
    return f"The same record was given {times}{told}: it is shown once."
