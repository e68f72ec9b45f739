"""Check the interval and the gate: by simulation, where the truth is known, and by real runs of known speedup.

``python -m bench.calibration coverage`` simulates the interval; ``... runs`` measures on this machine.
``... gate`` simulates the gate; ``... gate-runs`` measures real sessions. Each prints a Markdown table, or writes it
with ``-o FILE``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.calibration.common import read_results
from bench.calibration.coverage import coverage_table
from bench.calibration.runs import runs_table
from speedclaims import boundary
from speedclaims.boundary import say
from speedclaims.errors import SpeedclaimsError
from speedclaims.numbers import count, fraction, positive
from speedclaims.record.files import check_output, holds, refuse_foreign, refuse_inputs, write_text
from speedclaims.record.io import RecordError

_WRITE_RESULTS = ("gate-runs", "between")
"""The commands that add to their file of results as they go."""

_MARKS = (b"`python -m bench.calibration ", b"`python -m speedclaims.calibration ")
"""Contents by which tables are known, those of the command's earlier name too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the checks and print or write its table; return the exit code, 2 for bad input and 70 for a fault."""
    return boundary.run(lambda: _run(_parser().parse_args(arguments)), SpeedclaimsError, "speedclaims")


def _run(options: argparse.Namespace) -> int:
    """Find out whether all outputs can be written, then run the check.

    Raises:
        SpeedclaimsError: an input cannot be used, or an output is one.
        OSError: an output cannot be written.
    """
    results: Path | None = getattr(options, "results", None)
    if options.out is not None:
        refuse_inputs([options.out], [] if results is None else [results])
        refuse_foreign(options.out, holds(*_MARKS), "an earlier table")
        check_output(options.out)
    if results is not None and options.command in _WRITE_RESULTS:
        check_output(results)
    text: str = options.table(options)
    if options.out is None:
        say(text.removesuffix("\n"))
    else:
        write_text(options.out, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    coverage = commands.add_parser("coverage", help="simulate the interval's coverage and the stopping rule")
    coverage.add_argument("--sessions", type=count, default=4000, help="simulated measurements a row")
    coverage.set_defaults(table=lambda options: coverage_table(options.sessions))
    runs = commands.add_parser("runs", help="measure pairs of known speedup on this machine")
    runs.add_argument("--runs", type=count, default=200, help="measurements of each pair")
    runs.add_argument("--size", type=count, default=60_000, help="additions of the callable")
    runs.add_argument("--extra", type=fraction, default=0.05, help="additional work of the slower callable")
    runs.set_defaults(table=lambda options: runs_table(options.runs, options.size, options.extra))
    gate = commands.add_parser(
        "gate", help="simulate the gate's false alarms, and how often it finds a loss of 5 per cent"
    )
    gate.add_argument("--sessions", type=count, default=2000, help="simulated pairs of sessions a row")
    gate.set_defaults(table=_gate)
    real = commands.add_parser("gate-runs", help="the same with real sessions on this machine")
    real.add_argument("--sessions", type=count, default=101, help="sessions that the file is to hold in the end")
    real.add_argument("--busy", type=_number, default=0, metavar="N", help="other processes that are busy by turns")
    real.add_argument(
        "--results",
        type=Path,
        default=Path("reports/statistics/gate-runs.jsonl"),
        metavar="FILE",
        help="raw results, a line a session; what it holds already is not measured again (default: %(default)s)",
    )
    real.set_defaults(table=_gate_runs)
    process = commands.add_parser("gate-process", help="what gate-runs starts: measure a pair once, print JSON")
    process.add_argument("pair", help="name of the pair")
    process.set_defaults(table=_gate_process)
    between = commands.add_parser("between", help="measure how pairs of unlike functions vary between processes")
    between.add_argument("--runs", type=count, default=10, help="runs of each pair, of five processes each")
    between.add_argument("--busy", type=_number, default=0, metavar="N", help="other processes that are busy by turns")
    between.add_argument(
        "--results",
        type=Path,
        default=Path("reports/statistics/between.jsonl"),
        metavar="FILE",
        help="raw results, a line a process; what it holds already is not measured again (default: %(default)s)",
    )
    between.set_defaults(table=_between)
    estimators = commands.add_parser("estimators", help="compare estimators on what between measured")
    estimators.add_argument(
        "--results", type=Path, default=Path("reports/statistics/between.jsonl"), metavar="FILE", help="its raw results"
    )
    estimators.set_defaults(table=_estimators)
    one = commands.add_parser("between-process", help="what between starts: measure one pair once, print JSON")
    one.add_argument("pair", help="name of the pair")
    one.add_argument("--seconds", type=positive("seconds"), default=2.0, help="time limit")
    one.set_defaults(table=_between_process)
    alternatives = commands.add_parser("alternatives", help="check the comparison of several alternatives")
    alternatives.add_argument("--simulated", type=count, default=1000, help="simulated sessions a row")
    alternatives.add_argument("--sessions", type=count, default=50, help="measured sessions")
    alternatives.set_defaults(table=_alternatives)
    several = commands.add_parser("alternatives-process", help="what alternatives starts: measure once, print JSON")
    several.set_defaults(table=_alternatives_process)
    for command in (coverage, runs, gate, real, process, between, estimators, one, alternatives, several):
        command.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the table there")
    return parser


def _gate(options: argparse.Namespace) -> str:
    from bench.calibration.gate import gate_table  # noqa: PLC0415 - it uses this module

    return gate_table(options.sessions)


def _gate_runs(options: argparse.Namespace) -> str:
    from bench.calibration.gate import gate_runs_table, run_sessions  # noqa: PLC0415 - it uses this module

    if options.sessions < 2:
        raise RecordError(f"--sessions {options.sessions}: give at least 2, for each is compared with the one before")
    return gate_runs_table(run_sessions(options.results, options.sessions, options.busy), options.busy)


def _gate_process(options: argparse.Namespace) -> str:
    from bench.calibration.gate import PAIRS, measure_pair  # noqa: PLC0415 - it uses this module

    if options.pair not in PAIRS:
        raise RecordError(f"{options.pair!r}: no such pair: the pairs are {'; '.join(PAIRS)}")
    return json.dumps(measure_pair(options.pair), allow_nan=False)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _between(options: argparse.Namespace) -> str:
    from bench.calibration.between import between_table, gather  # noqa: PLC0415 - the other commands need none of it

    return between_table(gather(options.results, options.runs, options.busy), options.busy)


def _estimators(options: argparse.Namespace) -> str:
    from bench.calibration.between import estimators_table  # noqa: PLC0415 - the same

    rows = read_results(options.results, "between", "at")
    if not rows:
        raise RecordError(f"{options.results}: no results of between: run it first, or name its file")
    return estimators_table(rows)


def _between_process(options: argparse.Namespace) -> str:
    from bench.calibration.between import measure_one  # noqa: PLC0415 - the same

    return json.dumps(measure_one(options.pair, options.seconds), allow_nan=False)


def _alternatives(options: argparse.Namespace) -> str:
    from bench.calibration.alternatives import alternatives_table  # noqa: PLC0415 - the same

    return alternatives_table(options.simulated, options.sessions)


def _alternatives_process(_: argparse.Namespace) -> str:
    from bench.calibration.alternatives import measure_process  # noqa: PLC0415 - the same

    return json.dumps(measure_process(), allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
