"""The ``speedclaims`` command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from speedclaims import __version__

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 fine, 2 bad usage or bad input (one line on stderr)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    from speedclaims.record import RecordError  # noqa: PLC0415
    from speedclaims.report.render import ReportError  # noqa: PLC0415

    try:
        code: int = options.run(options)
    except (RecordError, ReportError) as error:
        print(f"speedclaims: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return BAD_INPUT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="speedclaims",
        description="Read what `pytest --speedup-report DIR` measured: speedups of pairs and verdicts on claims.",
    )
    parser.add_argument("--version", action="version", version=f"speedclaims {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="draw the report of saved records",
        description="Write index.html, speedups.md and record.json from saved records; nothing is measured.",
    )
    report.add_argument("records", nargs="+", type=Path, metavar="RUN.json", help="a record: reports/.../record.json")
    report.add_argument("-o", "--out", required=True, type=Path, metavar="DIR", help="folder for the report")
    report.set_defaults(run=_report)
    return parser


def _report(options: argparse.Namespace) -> int:
    from speedclaims import record  # noqa: PLC0415
    from speedclaims.report.render import write_report  # noqa: PLC0415

    records = [record.read(path) for path in options.records]
    for path in write_report(records, options.out, sources=[path.name for path in options.records]):
        print(path)  # noqa: T201 - this is a command
    return 0
