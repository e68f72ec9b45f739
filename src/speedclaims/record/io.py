"""Read and write records: one run's JSON, validated against the published schema both times.

Validating needs fastjsonschema. A machine without it can still measure: it writes records without validation. Of the
records that it reads it checks only that they are strict JSON with a ``speedclaims`` section of a known schema version.
"""

import json
import math
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.upgrade import upgrade

if TYPE_CHECKING:
    from speedclaims.record.types import Record, RecordedFigure, RecordedPair, Section

SCHEMA_VERSION = 2
SCHEMA_PATH = Path(__file__).with_name("record.schema.json")
_MOST_TIMES = 1e15
"""More than any clock could tell."""
_MOST_DIGITS = 300
"""Of whole numbers; no float holds larger ones."""
NOT_ASKED = "its test did not run"
"""Reason of a claim none of whose tests were among those of the run."""


class RecordError(SpeedclaimsError, ValueError):
    """Signal that a record cannot be used, in one line: what is wrong, where, and how to fix it."""


class NoSectionError(RecordError):
    """Signal that a file is JSON and no record: pytest-benchmark's own, or a file of something else."""


@cache
def _validator() -> Callable[[object], object] | None:
    """Return the compiled schema, None without fastjsonschema."""
    try:
        import fastjsonschema  # noqa: PLC0415 - loading the plugin must stay cheap
    except ImportError:
        return None
    compiled: Callable[[object], object] = fastjsonschema.compile(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    return compiled


def validate(record: object) -> None:
    """Check a record against the published schema; without fastjsonschema, check nothing.

    Raises:
        RecordError: it does not fit; the line names the first place.
    """
    check = _validator()
    if check is None:
        return
    from fastjsonschema import JsonSchemaValueException  # noqa: PLC0415

    try:
        check(record)
    except JsonSchemaValueException as error:
        raise RecordError(error.message.replace("data.", "", 1)) from None


def dumps(record: "Record") -> str:
    """Return a record as strict JSON.

    Raises:
        RecordError: it does not fit the schema or holds NaN or infinity.
    """
    validate(record)
    try:
        return json.dumps(record, indent=1, allow_nan=False) + "\n"
    except TypeError as error:
        raise RecordError(f"the record holds what JSON has not: {error}") from None
    except ValueError:
        raise RecordError(
            "the record holds NaN or infinity, which JSON has not: a figure that is not there is null with a reason"
        ) from None


def why_unusable(record: "Record") -> str | None:
    """Return in one line why a record could not be read again, None where it can."""
    try:
        dumps(record)
    except RecordError as error:
        return str(error)
    return None


def read(path: Path) -> "Record":
    """Read and validate a record; one of an earlier schema version is brought to the present one.

    Raises:
        RecordError: the file is missing, truncated, not JSON, or of another schema version.
        NoSectionError: it is JSON and no record.
    """
    try:
        if stat.S_ISCHR(path.stat().st_mode):
            raise RecordError(f"{path}: it is a device: name a file written by --speedup-report")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{path}: the record cannot be read ({error.strerror}): name a file written by --speedup-report"
        ) from None
    except UnicodeDecodeError:
        raise RecordError(f"{path}: not a record (it is not text): name a file written by --speedup-report") from None
    try:
        data = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: damaged or not JSON ({error}): measure again") from None
    section = data.get("speedclaims") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        raise NoSectionError(f"{path}: no speedclaims section: measure with the plugin and --speedup-report")
    version = section.get("schema_version")
    try:
        upgrade(section)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise RecordError(f"{path}: damaged ({error}): measure again") from None
    if section.get("schema_version") != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: schema version {version!r}, this speedclaims reads 1 to {SCHEMA_VERSION}: "
            "measure again, or use the version that wrote it"
        )
    try:
        validate(data)
        found = cast("Record", data)
        _check_rows(found["speedclaims"])
    except RecordError as error:
        raise RecordError(f"{path}: {error}: measure again") from None
    return found


def _check_rows(section: "Section") -> None:
    """Check what a schema cannot say: names that are unique, and values that do not contradict their rows.

    Raises:
        RecordError: something does not fit together.
    """
    _check_names("pairs", section["pairs"])
    _check_names("figures", section["figures"])
    for pair in section["pairs"]:
        _check_speedup(pair)
        _check_interval(pair["nodeid"], "speedup", pair["speedup"], pair["low"], pair["high"])
    for figure in section["figures"]:
        _check_interval(figure["nodeid"], "value", figure["value"], figure["low"], figure["high"])


def _check_names(what: str, rows: "Sequence[RecordedPair] | Sequence[RecordedFigure]") -> None:
    """Check that no two rows have one name.

    Raises:
        RecordError: two have.
    """
    name, number = next(iter(Counter(row["nodeid"] for row in rows).most_common(1)), ("", 0))
    if number > 1:
        raise RecordError(f"two {what} have the name {name}")


def _check_interval(name: str, what: str, value: float | None, low: float | None, high: float | None) -> None:
    """Check that a value is in its interval, where there are both.

    Raises:
        RecordError: it is not.
    """
    if value is not None and low is not None and high is not None and not low <= value <= high:
        raise RecordError(f"{name}: the {what} {value!r} is not between {low!r} and {high!r}")


def _check_speedup(pair: "RecordedPair") -> None:
    """Check that a pair has a whole interval or none, and a speedup only if it was measured, as a clock could tell it.

    Raises:
        RecordError: it has not.
    """
    speedup, low, high = pair["speedup"], pair["low"], pair["high"]
    if (low is None) != (high is None) or (low is not None and speedup is None):
        raise RecordError(f"{pair['nodeid']}: of speedup, low and high some are null and some are not")
    if speedup is None:
        return
    if not 1 / _MOST_TIMES <= speedup <= _MOST_TIMES:
        raise RecordError(f"{pair['nodeid']}: a speedup of {speedup!r} is none")
    if pair["status"] in {"withheld", "not_measured"} or pair["equivalence"] == "failed":
        raise RecordError(f"{pair['nodeid']}: it is {pair['status']} and has a speedup")


def _finite(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _refuse_constant(text)


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        _refuse_constant(f"{text[:_MOST_DIGITS]}...")
    return int(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")
