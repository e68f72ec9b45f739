"""Name the files of a run: its report, the record of a run that may be cut off, and those in a folder of records."""

import re
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from speedclaims.record import files as record_files
from speedclaims.record import io as record
from speedclaims.record.files import OutputError

if TYPE_CHECKING:
    from speedclaims.record.types import Environment, Record

PAGE, TABLES, RECORD = "index.html", "speedups.md", "record.json"
"""The files of a report."""
SO_FAR = "record.partial.json"
"""The record of the tests that have ended, in the report's folder, until the report itself is there."""

_MARKS = {
    PAGE: (b'<meta name="generator" content="speedclaims">', b'<p class="machine">'),
    TABLES: (b"\n## How to read this\n",),
}
_MARKS_OF_RECORDS = (b'"speedclaims"',)
"""Contents by which a file of a report is known, by its name; one of them will do."""

_NO_COMMIT = "no-commit"
_LONGEST_NAME = 100


# -- a report's folder ---------------------------------------------------------------------------------------------


def unused(name: str, folder: Path, in_use: Collection[Path]) -> str:
    """Return a name for a file of a report: the usual one, or one with ``.new`` where a run's input has that."""
    while any(record_files.is_same(folder / name, one) for one in in_use):
        stem, _, ending = name.rpartition(".")
        name = f"{stem}.new.{ending}"
    return name


def check_report(folder: Path, names: Iterable[str]) -> None:
    """Refuse to replace a file of a report's name that is not of an earlier report.

    Raises:
        OutputError: there is such a file, or something else than a file.
        OSError: it cannot be read.
    """
    for name in names:
        path = folder / name
        if path.is_dir():
            raise OutputError(f"{path}: it is a folder, where a file of the report belongs: name another folder")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: it is a device or a pipe: name another folder for the report")
        record_files.refuse_foreign(path, partial(is_of_report, name), "of an earlier report")


def is_of_report(name: str, content: bytes) -> bool:
    """Whether a content is that of a report's file of a name."""
    return record_files.holds(*_MARKS.get(name, _MARKS_OF_RECORDS))(content)


# -- a folder of records -------------------------------------------------------------------------------------------


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

    Of a second run of that day and commit the names end in ``-2``: nothing is overwritten, also where several runs end
    at once.

    Raises:
        OSError: it cannot be written.
        RecordError: it is no record.
    """
    text = record.dumps(data)
    place = folder / machine(data["speedclaims"]["environment"])
    name, number = stem(data), 1
    while not _is_filed(place, name, tables, text):
        number += 1
        name = f"{stem(data)}-{number}"
    return place / f"{name}.json"


def _is_filed(folder: Path, name: str, tables: str, text: str) -> bool:
    """Write a record and its tables, unless there are files of that name."""
    beside = folder / f"{name}.md"
    try:
        record_files.write_new(beside, tables)  # whoever makes this file has the name
    except FileExistsError:
        return False
    try:
        record_files.write_new(folder / f"{name}.json", text)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _plain(text: str) -> str:
    text = re.sub(r"\((r|tm)\)", "", text.lower())  # Intel(R) Xeon(R)
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:_LONGEST_NAME].rstrip("-") or "unknown"
