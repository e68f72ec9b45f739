"""The record: one run's JSON, validated against the published schema when it is written and when it is read.

Validating needs fastjsonschema. A machine without it can still measure: it writes records without validation. Of the
records that it reads it checks only that they are strict JSON with a ``speedclaims`` section of this schema version.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

SCHEMA_VERSION = 1
SCHEMA_PATH = Path(__file__).with_name("record.schema.json")
NOT_ASKED = "its test did not run"
"""Reason of a claim none of whose tests were among those of the run."""


class RecordError(ValueError):
    """A record cannot be used: one line that says what, where and how to mend it."""


@cache
def _validator() -> Callable[[object], object] | None:
    """Return the compiled schema, None without fastjsonschema."""
    try:
        import fastjsonschema  # noqa: PLC0415 - loading the plugin must stay cheap
    except ImportError:
        return None
    compiled: Callable[[object], object] = fastjsonschema.compile(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    return compiled


def validate(record: Mapping[str, Any]) -> None:
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
        msg = error.message.replace("data.", "", 1)
        raise RecordError(msg) from None


def dumps(record: Mapping[str, Any]) -> str:
    """Return a record as strict JSON.

    Raises:
        RecordError: it does not fit the schema or holds NaN or infinity.
    """
    validate(record)
    try:
        return json.dumps(record, indent=1, allow_nan=False) + "\n"
    except ValueError:
        msg = "the record holds NaN or infinity, which JSON has not: a figure that is not there is null with a reason"
        raise RecordError(msg) from None


def read(path: Path) -> dict[str, Any]:
    """Read and validate a record.

    Raises:
        RecordError: the file is missing, truncated, not JSON, not a record, or of another schema version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path}: the record cannot be read ({error.strerror}): name a file written by --speedup-report"
        raise RecordError(msg) from None
    except UnicodeDecodeError:
        msg = f"{path}: not a record (it is not text): name a file written by --speedup-report"
        raise RecordError(msg) from None
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        msg = f"{path}: damaged or not JSON ({error}): measure again"
        raise RecordError(msg) from None
    section = data.get("speedclaims") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        msg = f"{path}: no speedclaims section: measure with the plugin and --speedup-report"
        raise RecordError(msg)
    if section.get("schema_version") != SCHEMA_VERSION:
        msg = (
            f"{path}: schema version {section.get('schema_version')!r}, this speedclaims reads {SCHEMA_VERSION}: "
            "measure again, or use the version that wrote it"
        )
        raise RecordError(msg)
    try:
        validate(data)
    except RecordError as error:
        msg = f"{path}: {error}: measure again"
        raise RecordError(msg) from None
    return dict(data)


def _refuse_constant(name: str) -> float:
    msg = f"it holds {name}"
    raise ValueError(msg)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a temporary file beside it, renamed over it.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def figure(value: float | None, unit: str, reason: str | None = None) -> dict[str, Any]:
    """Return one figure of a record: a value, or the reason why there is none.

    Raises:
        ValueError: neither or both are given.
    """
    if (value is None) == (reason is None):
        msg = "a figure has a value or a reason, one of them"
        raise ValueError(msg)
    return {"value": value, "unit": unit, "status": "measured" if reason is None else "not_measured", "reason": reason}


def spread(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one figure of several measurements of the same: their median, with the lowest and the highest.

    Where one of them has no value, neither has the result, for the same reason.
    """
    missing = next((one for one in figures if one["value"] is None), None)
    if missing is not None:
        return dict(missing)
    values = [one["value"] for one in figures]
    return {**figure(median(values), figures[0]["unit"]), "low": min(values), "high": max(values)}


def sides(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return one figure for each side of a pair and their ratio before / after, with its range where they have one."""
    if before["value"] is None or after["value"] is None:
        ratio = figure(None, "1", before["reason"] or after["reason"])
    elif min(after["value"], after.get("low", after["value"])) <= 0:
        ratio = figure(None, "1", "the after side is zero")
    else:
        ratio = figure(before["value"] / after["value"], "1")
        if "low" in before and "low" in after:
            ratio.update(low=before["low"] / after["high"], high=before["high"] / after["low"])
    return {"before": dict(before), "after": dict(after), "ratio": ratio}
