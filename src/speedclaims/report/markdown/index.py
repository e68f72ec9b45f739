"""The index of a folder of evidence: ``python -m speedclaims.report.markdown.index reports`` writes its README.md.

With ``--into FILE`` it also puts the newest verdicts of each machine between two marks of that file.

It lists the records under ``recorded/``, newest first, with the machine and the verdicts, and the other Markdown files.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from speedclaims import boundary
from speedclaims.errors import SpeedclaimsError
from speedclaims.record import files as record_files
from speedclaims.record import io as record
from speedclaims.report.markdown.report import escape_markdown as escape
from speedclaims.report.markdown.results import ResultsError, put, results
from speedclaims.report.model.gathering import age_of
from speedclaims.report.model.view import view_record

README = "README.md"
_WRITTEN_BY = "Written by `python -m speedclaims.report.markdown.index"


def index(folder: Path) -> str:
    """Return the index of a folder as Markdown.

    Raises:
        RecordError: a record under ``recorded/`` cannot be read.
        ResultsError: there is no such folder.
    """
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such folder: name the one that holds the evidence")
    lines = [
        "# Evidence",
        "",
        f"{_WRITTEN_BY} {folder.name}`. Each record is one run, as it was",
        "left; `speedclaims report RECORD.json -o DIR` draws it.",
        "",
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
    rows = ["## Records", "", "| record | measured on | found |", "| --- | --- | --- |"]
    for path, data in found:
        view = view_record(data)
        link = f"[{path.parent.name}/{path.stem}]({path.relative_to(folder).as_posix()})"
        report = path.with_suffix(".md")
        tables = f" ([tables]({report.relative_to(folder).as_posix()}))" if report.exists() else ""
        rows.append(f"| {link}{tables} | {escape(view.machine)} | {escape(view.headline)} |")
    return [*rows, ""]


def _tables(folder: Path) -> list[Path]:
    others = {"latest", "recorded"}
    found = (path for path in sorted(folder.rglob("*.md")) if path.name != README)
    return [path for path in found if others.isdisjoint(path.relative_to(folder).parts)]


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return escape(first.removeprefix("# ").strip() or path.stem)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the index; exit code 2 and one line where a record cannot be read, or there is none to show verdicts of."""
    parser = argparse.ArgumentParser(prog="python -m speedclaims.report.markdown.index", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the evidence")
    parser.add_argument("--into", type=Path, metavar="FILE", help="a Markdown file that shows the verdicts")

    def command() -> int:
        given = parser.parse_args(arguments)
        _write(given.folder, given.into)
        return 0

    return boundary.run(command, SpeedclaimsError, "speedclaims")


def _write(folder: Path, into: Path | None) -> None:
    """Write the index, and the verdicts into another file.

    Raises:
        RecordError: a record cannot be read.
        ResultsError: there is no such folder, or a file cannot take the text.
        OSError: a file cannot be read or written.
    """
    written = {folder / README: index(folder)}
    record_files.refuse_foreign(folder / README, [_WRITTEN_BY.encode()], "an earlier index")
    if into is not None:
        record_files.refuse_inputs([into], [folder / README, *folder.glob("recorded/*/*.json")])
        try:
            old = into.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ResultsError(f"{into}: it is not text: name a Markdown file") from None
        written[into] = put(old, results(folder), str(into))
    for path in written:
        record_files.check_output(path)
    for path, text in written.items():
        record_files.write_text(path, text)


if __name__ == "__main__":
    sys.exit(main())
