"""Name and write the files of a run's record: the partial one during the run, and the one in a folder of records."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from speedclaims.record import files as record_files
from speedclaims.record import io as record

if TYPE_CHECKING:
    from speedclaims.record.types import Environment, Record

SO_FAR = "record.partial.json"
"""The record of the tests that have ended, in the report's folder, until the report itself is there."""

_NO_COMMIT = "no-commit"


def machine(environment: "Environment") -> str:
    """Return a folder's name for the machine of a run: its GPUs where they did the work, else its processor."""
    names = sorted({str(gpu["name"]) for gpu in environment["gpus"]})
    on_gpu = names and "cuda" in environment["device"]
    return _plain(" ".join(names) if on_gpu else f"cpu {environment['device_name']}")


def stem(data: "Record") -> str:
    """Return a record's file name without its suffix: the date and the commit, marked if the tree had changes."""
    commit = data["speedclaims"]["environment"]["commit"]
    found = str(commit["id"] or "")
    name = found[:7] if re.fullmatch(r"[0-9a-f]{7,}", found) else _NO_COMMIT
    return f"{str(data['datetime'])[:10]}-{name}{'-changed' if commit['dirty'] else ''}"


def file(data: "Record", tables: str, folder: Path) -> Path:
    """Keep a record and its tables as ``<folder>/<machine>/<date>-<commit>.json`` and ``.md``; return the former.

    Of a second run of that day and commit the names end in ``-2``: nothing is overwritten.

    Raises:
        OSError: it cannot be written.
        RecordError: it is no record.
    """
    place = folder / machine(data["speedclaims"]["environment"])
    name, number = stem(data), 1
    while (place / f"{name}.json").exists():
        number += 1
        name = f"{stem(data)}-{number}"
    record_files.write_text(place / f"{name}.md", tables)
    record_files.write_text(place / f"{name}.json", record.dumps(data))
    return place / f"{name}.json"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"
