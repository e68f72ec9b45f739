"""The ``speedclaims`` command."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from speedclaims import __version__, boundary
from speedclaims.boundary import complain, say
from speedclaims.errors import SpeedclaimsError
from speedclaims.export import COMMENT, FORMATS, export, is_export
from speedclaims.numbers import fraction, positive, some_text
from speedclaims.record import files as record_files

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedAudit

REFUTED, NOTHING = 1, 3
LEDGERS = ("claims.toml", "bench/claims.toml", "tests/claims.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, which the help explains."""

    def command() -> int:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        return code

    return boundary.run(command, SpeedclaimsError, "speedclaims")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="speedclaims",
        description="Say what can be measured here, check a ledger's arithmetic, and draw what "
        "`pytest --speedup-report DIR` measured: speedups of pairs and verdicts on claims.",
        epilog="Exit codes: 0; 1 a regression, a text that contradicts its record, a merge that lacks tests, or with "
        "--strict an inconsistent claim; 2 bad usage, bad input or a place that cannot be read or written; 3 nothing "
        "to judge, compare, export or check; 70 an error of speedclaims itself, whose traceback is kept in a file; 130 "
        "after Ctrl-C. 2, 70 and 130 write one line to the standard error.",
    )
    parser.add_argument("--version", action="version", version=f"speedclaims {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="draw the report of saved records",
        description="Write index.html, speedups.md and record.json from saved records; nothing is measured. Of "
        "several, in any order, the report is about the newest, shows each pair's speedups over them with a line for "
        "each machine, newest last, and sets the machines' newest records side by side.",
    )
    report.add_argument("records", nargs="+", type=Path, metavar="RUN.json", help="a record: reports/.../record.json")
    report.add_argument("-o", "--out", required=True, type=_path, metavar="DIR", help="folder for the report")
    report.set_defaults(run=_report)
    _add_compare(commands)
    _add_run(commands)
    _add_bisect(commands)
    _add_merge(commands)
    _add_export(commands)
    _add_docs(commands)
    _add_audit(commands)
    _add_doctor(commands)
    _add_calibrate(commands)
    return parser


def _path(text: str) -> Path:
    """Return a path; an empty text, such as that of a variable that is not set, is none.

    Raises:
        argparse.ArgumentTypeError: the text is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def _add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compare = commands.add_parser(
        "compare",
        help="say which pairs lost speedup from one record to another",
        description="Compare the speedups of two records, each measured in one session, and end with 1 when a pair "
        "regressed, is missing, renamed, not measured or configured differently, or a claim is lost; with 3 when no "
        "pair could be compared. Nothing is measured.",
    )
    compare.add_argument("base", type=Path, metavar="BASE.json", help="the record to compare with")
    compare.add_argument("new", type=Path, metavar="NEW.json", help="the newer record")
    compare.add_argument(
        "--fail",
        type=positive("percent"),
        default=5.0,
        metavar="PCT",
        help="loss that fails, in percent (default: %(default)g); a pair's marker speedup_fail goes before it",
    )
    compare.add_argument("--fail-ambiguous", action="store_true", help="fail too where noise hides what was lost")
    compare.add_argument("--subset", action="store_true", help="leave out pairs of the base that the new run lacks")
    compare.set_defaults(run=_compare)


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "run",
        help="run whole commands in turn, and say which is faster",
        description="Run commands in balanced orders and compare each with the first one: the ratio of their times "
        "with an interval, all of them together at the confidence given. Their output is thrown away.",
    )
    run.add_argument("commands", nargs="+", metavar="COMMAND", help="a command with its arguments, as one text")
    run.add_argument("-n", "--name", action="append", default=[], help="the name of a command; give one for each")
    run.add_argument(
        "--seconds", type=positive("seconds"), default=10.0, metavar="S", help="time limit (default: %(default)g)"
    )
    run.add_argument(
        "--confidence", type=fraction, default=0.95, metavar="C", help="confidence level (default: %(default)g)"
    )
    run.add_argument("--prepare", metavar="COMMAND", help="run this by a shell before each call; it is not timed")
    run.add_argument("--output-equal", action="store_true", help="refuse commands that write different things")
    run.add_argument("--ignore-failure", action="store_true", help="allow commands to end with another code than 0")
    run.add_argument("--shell", action="store_true", help="let a shell run the commands; its start is in the time")
    run.add_argument("--json", action="store_true", help="print JSON instead of a table")
    run.set_defaults(run=_run_commands)


def _add_bisect(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bisect = commands.add_parser(
        "bisect",
        help="find the commit that made a test slower",
        description="Measure commits between two revisions against the first of them, by git's own bisection, with "
        "pytest --speedup-against; the working tree's tests are used throughout. Ends with 3 where the later revision "
        "is not slower, or the commits in question could not be measured.",
    )
    bisect.add_argument("test", metavar="TEST", help="one benchmark, such as tests/test_it.py::test_it")
    bisect.add_argument("--good", required=True, type=some_text, metavar="REF", help="a revision at which it is fast")
    bisect.add_argument(
        "--bad", default="HEAD", type=some_text, metavar="REF", help="a later, slow one (default: HEAD)"
    )
    bisect.add_argument(
        "--seconds",
        type=positive("seconds"),
        default=60.0,
        metavar="S",
        help="seconds that a commit may take until it is decided (default: %(default)g)",
    )
    bisect.add_argument("--build", type=some_text, metavar="COMMAND", help="build each commit, see --speedup-build")
    bisect.set_defaults(run=_bisect)


def _add_merge(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    merge = commands.add_parser(
        "merge",
        help="make one record of those of several shards",
        description="Make one record of several, such as those of pytest --speedup-shard on several machines. It says "
        "which tests no record has, and ends with 1 where there are any; tests that several records have count once. "
        "Control pairs are in every shard: the widest counts. Nothing is measured.",
    )
    merge.add_argument("records", nargs="+", type=Path, metavar="RUN.json", help="a record of a shard")
    merge.add_argument("-o", "--out", required=True, type=_path, metavar="FILE", help="the merged record")
    merge.set_defaults(run=_merge)


def _add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = commands.add_parser(
        "export",
        help="write a record's speedups for another tool",
        description="Write the speedups of a record in another tool's format. Pairs that were not measured are left "
        "out, with a line on stderr; ends with 3 when none was measured, except for github-comment, one screen of "
        "Markdown that says so.",
    )
    export.add_argument("record", type=Path, metavar="RUN.json", help="a record")
    export.add_argument("--to", required=True, choices=FORMATS, help="the format")
    export.add_argument("-o", "--out", type=_path, metavar="FILE", help="write it there (default: print it)")
    export.set_defaults(run=_export)


def _add_docs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    docs = commands.add_parser(
        "docs",
        help="fill the figures in Markdown from the newest record, or check them",
        description="Fill the text between <!-- speedclaims: NAME.FIELD --> and <!-- end --> in Markdown from the "
        "newest record that measured it, or end with 1 when the text contradicts that record; with 3 when there is no "
        "such marker. NAME is the node id of a test or its end, such as the test's name, or a claim's id. FIELD is "
        "speedup, interval, estimate, before or after of a pair, value of a figure, verdict of a claim, or date, "
        "commit or machine of any.",
    )
    action = docs.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="print a line for each text that contradicts its record")
    action.add_argument("--write", action="store_true", help="write the texts, and print the files that changed")
    docs.add_argument("files", nargs="+", type=_path, metavar="FILE", help="a Markdown file")
    docs.add_argument(
        "--record",
        action="append",
        type=_path,
        metavar="PATH",
        help="a record, or a folder of records; may be given several times (default: reports)",
    )
    docs.add_argument(
        "--max-age",
        type=positive("days"),
        metavar="DAYS",
        help="with --check, end with 1 too when the newest record is older (default: any age)",
    )
    docs.set_defaults(run=_docs)


def _add_audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    audit = commands.add_parser(
        "audit",
        help="recompute the documents' own arithmetic",
        description="Run the audit functions of a ledger's arithmetic claims, in audits.py beside it, and show what "
        "the documents claim, what their own figures give, and how. Nothing is measured.",
    )
    audit.add_argument(
        "ledger",
        nargs="?",
        type=Path,
        metavar="LEDGER",
        help=f"the ledger (default: the first of {', '.join(LEDGERS)})",
    )
    audit.add_argument("--strict", action="store_true", help="end with 1 when a claim is inconsistent")
    audit.add_argument("--json", action="store_true", help="print JSON: the ledger, the counts and the rows")
    audit.set_defaults(run=_audit)


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say what can be measured here, and why not the rest",
        description="Print as JSON what this machine has and what can be measured on it; always ends with 0.",
    )
    doctor.add_argument(
        "--timeout",
        type=positive("seconds"),
        default=120.0,
        metavar="S",
        help="seconds to wait for a framework's import (default: %(default)g)",
    )
    doctor.set_defaults(run=_doctor)


def _add_calibrate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="measure how small a loss of speedup the gate can find here",
        description="Measure built-in pairs in fresh processes, unchanged and with a known loss, and print this "
        "machine's noise between processes, the smallest loss that the gate finds in 10, 30 and 60 seconds a pair, and "
        "the threshold it recommends. Takes about a minute and a half; leave the machine as it is when it measures.",
    )
    calibrate.add_argument("--json", action="store_true", help="print JSON instead of sentences")
    calibrate.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    from speedclaims.calibrate import SECONDS_OF_GATE, calibrate, lines  # noqa: PLC0415

    is_told = sys.stderr is not None and sys.stderr.isatty()
    found = calibrate(lambda line: print(f"\r{line}", end="", file=sys.stderr) if is_told else None)  # noqa: T201
    if is_told:
        print(file=sys.stderr)  # noqa: T201
    if options.json:
        limits = {f"{seconds}": found.smallest_loss(seconds) for seconds in SECONDS_OF_GATE}
        extra = {"smallest_loss_percent": limits, "recommended_percent": found.recommended_percent}
        say(json.dumps({**asdict(found), **extra}, indent=1, allow_nan=False))
    else:
        say("\n".join(lines(found)))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from speedclaims.gate.compare import Rules, compare  # noqa: PLC0415
    from speedclaims.record import io as record  # noqa: PLC0415
    from speedclaims.report.model.gate import base_words  # noqa: PLC0415
    from speedclaims.report.terminal.gate_table import gate_summary  # noqa: PLC0415

    base, new = (record.read(path) for path in (options.base, options.new))
    rules = Rules(options.fail, fails_ambiguous=options.fail_ambiguous, compares_subset=options.subset)
    words = base_words(options.base, base)
    gate = compare(base["speedclaims"], new["speedclaims"], rules, words=words)
    say(_rendered(partial(gate_summary, gate)))
    return gate.exit_code


def _bisect(options: argparse.Namespace) -> int:
    from speedclaims.bisect import Asked, bisect, sentences  # noqa: PLC0415

    asked = Asked(options.good, options.bad, options.test, options.seconds, options.build)
    found = bisect(asked, complain)
    for line in sentences(found, asked):
        say(line)
    return NOTHING if found.first is None else 0


def _run_commands(options: argparse.Namespace) -> int:
    from speedclaims.commands import Asked, compare_commands  # noqa: PLC0415

    found = compare_commands(
        Asked(
            options.commands, options.name, options.seconds, options.confidence, options.shell,
            options.ignore_failure, options.output_equal, options.prepare,
        )
    )  # fmt: skip
    say(json.dumps(found.as_json(), allow_nan=False) if options.json else str(found))
    return 0


def _report(options: argparse.Namespace) -> int:
    from speedclaims.record import io as record  # noqa: PLC0415
    from speedclaims.report.html.page import why_no_page, write_report  # noqa: PLC0415
    from speedclaims.report.model.gathering import gather  # noqa: PLC0415

    records = [record.read(path) for path in options.records]
    names = [path.name for path in options.records]
    for path in write_report(records, options.out, sources=names, inputs=options.records):
        say(str(path))
    for note in gather(records, names).notes:
        complain(f"speedclaims: {note}")
    no_page = why_no_page()
    if no_page is not None:
        complain(f"speedclaims: no index.html: {no_page}")
    return 0


def _merge(options: argparse.Namespace) -> int:
    from speedclaims.merge import MARK, merge  # noqa: PLC0415
    from speedclaims.record import io as record  # noqa: PLC0415

    record_files.refuse_inputs([options.out], options.records)
    with _writing(options.out):
        record_files.refuse_foreign(options.out, record_files.holds(MARK), "a merged record")
        record_files.check_output(options.out)
    made = merge([record.read(path) for path in options.records], [str(path) for path in options.records])
    section = made["speedclaims"]
    with _writing(options.out):
        record_files.write_text(options.out, json.dumps(made, allow_nan=False, indent=1) + "\n")
    merged = section["merged"]
    for line in (*merged["notes"], *merged["holes"]):
        complain(f"speedclaims: {' '.join(line.split())}")
    numbers = ", ".join(f"{len(section[name])} {name}" for name in ("pairs", "figures", "claims"))
    say(f"{options.out}: {numbers}")
    return 1 if merged["holes"] else 0


def _export(options: argparse.Namespace) -> int:
    from speedclaims.record import io as record  # noqa: PLC0415

    if options.out is not None:
        record_files.refuse_inputs([options.out], [options.record])
        with _writing(options.out):
            if not options.out.is_symlink():  # whoever made a link chose its target
                record_files.refuse_foreign(options.out, is_export, "an earlier export")
            record_files.check_output(options.out)
    made = export(record.read(options.record), options.to)
    for line in made.left_out:
        complain(f"speedclaims: left out: {' '.join(line.split())}")
    if not made.num_pairs and options.to != COMMENT:
        complain(f"speedclaims: {options.record}: no pair was measured: nothing to export")
        return NOTHING
    if options.out is None:
        say(made.text.rstrip("\n"))
        return 0
    with _writing(options.out):
        record_files.write_text(options.out, made.text)
    return 0


def _docs(options: argparse.Namespace) -> int:
    from speedclaims import docs  # noqa: PLC0415
    from speedclaims.report.model.formatting import plural  # noqa: PLC0415

    if options.write and options.max_age is not None:
        raise docs.DocsError("--max-age goes with --check: --write takes the newest record, however old")
    files = {os.path.realpath(path): path for path in options.files}  # each once
    pages = [docs.read_page(path) for path in files.values()]
    num_places = sum(len(page.places) for page in pages)
    if not num_places:
        names = ", ".join(str(page.path) for page in pages)
        complain(f"speedclaims: {names}: no <!-- speedclaims: NAME.FIELD --> marker: nothing to check or write")
        return NOTHING
    sources = docs.read_records(options.record or [Path("reports")])
    if options.write:
        for path in docs.write(pages, sources):
            say(str(path))
        return 0
    found = docs.differences(pages, sources, options.max_age, datetime.now(UTC))
    for line in found:
        say(line)
    if not found:
        say(f"{plural(num_places, 'text')} of {plural(len(pages), 'file')} checked: none contradicts its newest record")
    return REFUTED if found else 0


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say which file cannot be written.

    Raises:
        OutputError: it cannot.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise record_files.OutputError(f"{path}: it cannot be written ({why}): name another file") from None


def _audit(options: argparse.Namespace) -> int:
    from speedclaims.claims.audit import audit_rows  # noqa: PLC0415
    from speedclaims.claims.ledger import load_ledger  # noqa: PLC0415

    path = options.ledger or _first_ledger()
    rows = audit_rows(load_ledger(path))
    counts = {word: sum(row["verdict"] == word for row in rows) for word in ("consistent", "inconsistent")}
    if options.json:
        say(json.dumps({"ledger": str(path), **counts, "audit": rows}, indent=1, allow_nan=False))
    elif rows:
        _print_audit(rows)
    if not rows:
        complain(f"speedclaims: {path}: no arithmetic claim: nothing to recompute")
        return NOTHING
    return REFUTED if options.strict and counts["inconsistent"] else 0


def _first_ledger() -> Path:
    """Return the ledger of the working directory.

    Raises:
        LedgerError: there is none.
    """
    from speedclaims.claims.ledger import LedgerError  # noqa: PLC0415

    found = next((path for path in map(Path, LEDGERS) if path.is_file()), None)
    if found is None:
        raise LedgerError(
            f"no ledger here: none of {', '.join(LEDGERS)} is in this folder: name one, speedclaims audit LEDGER"
        )
    return found


def _print_audit(rows: "Sequence[RecordedAudit]") -> None:
    from speedclaims.report.terminal.audit_table import audit_table  # noqa: PLC0415

    say(_rendered(partial(audit_table, rows)))


def _rendered(render: Callable[..., str]) -> str:
    """Return what a function makes for the terminal's width, colour and characters."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    width = shutil.get_terminal_size((100, 24)).columns
    color = sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return render(width, color=color, unicode=encoding.startswith("utf"))


def _doctor(options: argparse.Namespace) -> int:
    from speedclaims import doctor  # noqa: PLC0415

    say(json.dumps(doctor.report(options.timeout), indent=1, allow_nan=False))
    return 0
