"""The index of a folder of evidence: ``python -m speedclaims.report.markdown.index reports`` writes its README.md.

It shows the newest verdicts of each machine, and lists the records under ``recorded/``, newest first, and the other
Markdown files.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from speedclaims import boundary
from speedclaims.errors import SpeedclaimsError
from speedclaims.record import files as record_files
from speedclaims.record import io as record
from speedclaims.record.types import Record
from speedclaims.report.markdown.report import escape_markdown as escape
from speedclaims.report.markdown.results import results
from speedclaims.report.model.gathering import age_of
from speedclaims.report.model.view import view_record

README = "README.md"
_MOST_NAMED = 3
_WRITTEN_BY = "Written by `python -m speedclaims.report.markdown.index"


def index(folder: Path) -> str:
    """Return the index of a folder as Markdown.

    Raises:
        RecordError: a record under ``recorded/`` cannot be read.
        OutputError: there is no such folder.
    """
    if not folder.is_dir():
        raise record_files.OutputError(f"{folder}: no such folder: name the one that holds the evidence")
    newest = results(folder)
    lines = [
        "# Evidence",
        "",
        f"{_WRITTEN_BY} {folder.name}`. Each record is one run, as it was",
        "left; `speedclaims report RECORD.json -o DIR` draws it.",
        "",
        *(["## What came out", "", "The newest run on each kind of machine.", "", *newest] if newest else []),
        *_records(folder),
        "## Tables",
        "",
        *(f"- [{_title(path)}]({path.relative_to(folder).as_posix()})" for path in _tables(folder)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _records(folder: Path) -> list[str]:
    found = [(path, record.read(path)) for path in sorted(folder.glob("recorded/*/*.json"))]
    if not found:
        return []
    found.sort(key=lambda pair: age_of(pair[1]), reverse=True)
    rows = ["## Records", "", "Newest first. *Adds* names the tests that no newer record of that machine measured.", ""]
    rows += ["| record | measured on | found | adds |", "| --- | --- | --- | --- |"]
    newer: set[tuple[str, str, str | None]] = set()
    for path, data in found:
        view = view_record(data)
        link = f"[{path.parent.name}/{path.stem}]({path.relative_to(folder).as_posix()})"
        report = path.with_suffix(".md")
        tables = f" ([tables]({report.relative_to(folder).as_posix()}))" if report.exists() else ""
        measured = {(path.parent.name, *test) for test in _measured(data)}
        adds = _adds([name for _, name, _ in sorted(measured - newer, key=str)])
        newer |= measured
        rows.append(f"| {link}{tables} | {escape(view.machine)} | {escape(view.headline)} | {adds} |")
    return [*rows, ""]


def _measured(data: Record) -> Iterator[tuple[str, str | None]]:
    """Yield the tests that a record has a value of, and the presets."""
    section = data["speedclaims"]
    for row in section["pairs"]:
        if row["speedup"] is not None and not row["control"]:
            yield row["nodeid"], row["preset"]
    for figure in section["figures"]:
        if figure["value"] is not None:
            yield figure["nodeid"], figure["preset"]


def _adds(names: Sequence[str]) -> str:
    """Return a few names of tests without their parameters, and how many others there are."""
    distinct = list(dict.fromkeys(name.rpartition("::")[2].partition("[")[0] for name in names))
    if not distinct:
        return "nothing"
    others = len(distinct) - _MOST_NAMED
    shown = ", ".join(f"`{name}`" for name in distinct[: _MOST_NAMED + (others == 1)])
    return f"{shown} and {others} others" if others > 1 else shown


def _tables(folder: Path) -> list[Path]:
    others = {"latest", "recorded"}
    found = (path for path in sorted(folder.rglob("*.md")) if path.name != README)
    return [path for path in found if others.isdisjoint(path.relative_to(folder).parts)]


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return escape(first.removeprefix("# ").strip() or path.stem)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the index; exit code 2 and one line where a record cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m speedclaims.report.markdown.index", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the evidence")

    def command() -> int:
        _write(parser.parse_args(arguments).folder)
        return 0

    return boundary.run(command, SpeedclaimsError, "speedclaims")


def _write(folder: Path) -> None:
    """Write the index.

    Raises:
        RecordError: a record cannot be read.
        OutputError: there is no such folder, or the file is somebody else's.
        OSError: the file cannot be written.
    """
    text = index(folder)
    record_files.refuse_foreign(folder / README, record_files.holds(_WRITTEN_BY.encode()), "an earlier index")
    record_files.write_text(folder / README, text)


if __name__ == "__main__":
    sys.exit(main())
