"""Read and write records: one run's JSON, validated against the published schema both times.

Validating needs fastjsonschema. A machine without it can still measure: it writes records without validation. Of the
records that it reads it checks only that they are strict JSON with a ``speedclaims`` section of a known schema version.
"""

import json
import math
import stat
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from speedclaims.errors import SpeedclaimsError
from speedclaims.record.upgrade import upgrade

if TYPE_CHECKING:
    from speedclaims.record.types import Record, RecordedFigure, RecordedPair

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
        _check_pairs(found["speedclaims"]["pairs"])
        _check_figures(found["speedclaims"]["figures"])
    except RecordError as error:
        raise RecordError(f"{path}: {error}: measure again") from None
    return found


def _check_pairs(pairs: "Sequence[RecordedPair]") -> None:
    """Check what a schema cannot say: names that are unique, and speedups inside their intervals.

    Raises:
        RecordError: something does not fit together.
    """
    seen: set[str] = set()
    for pair in pairs:
        if pair["nodeid"] in seen:
            raise RecordError(f"two pairs have the name {pair['nodeid']}")
        seen.add(pair["nodeid"])
        speedup, low, high = pair["speedup"], pair["low"], pair["high"]
        has_interval = low is not None and high is not None
        if (low is None) != (high is None) or (has_interval and speedup is None):
            raise RecordError(f"{pair['nodeid']}: of speedup, low and high some are null and some are not")
        if speedup is not None and low is not None and high is not None and not low <= speedup <= high:
            raise RecordError(f"{pair['nodeid']}: the speedup {speedup!r} is not between {low!r} and {high!r}")
        if speedup is not None and not 1 / _MOST_TIMES <= speedup <= _MOST_TIMES:
            raise RecordError(f"{pair['nodeid']}: a speedup of {speedup!r} is none")
        is_withheld = pair["status"] in {"withheld", "not_measured"} or pair["equivalence"] == "failed"
        if speedup is not None and is_withheld:
            raise RecordError(f"{pair['nodeid']}: it is {pair['status']} and has a speedup")


def _check_figures(figures: "Sequence[RecordedFigure]") -> None:
    """Check that figures have unique names, and values inside their intervals.

    Raises:
        RecordError: something does not fit together.
    """
    seen: set[str] = set()
    for one in figures:
        if one["nodeid"] in seen:
            raise RecordError(f"two figures have the name {one['nodeid']}")
        seen.add(one["nodeid"])
        value, low, high = one["value"], one["low"], one["high"]
        if value is not None and low is not None and high is not None and not low <= value <= high:
            raise RecordError(f"{one['nodeid']}: the value {value!r} is not between {low!r} and {high!r}")


def _finite(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _refuse_constant(text)


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        _refuse_constant(f"{text[:_MOST_DIGITS]}...")
    return int(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")
