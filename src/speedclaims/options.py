"""Add the command line's ``--speedup-...`` options and parse their values."""

import argparse
from pathlib import Path

import pytest

from speedclaims import shards
from speedclaims.markers import DEPRECATED
from speedclaims.measure import child_process
from speedclaims.measure.command_line import INI_OPTIONS
from speedclaims.numbers import few, fraction, positive, some_text
from speedclaims.session import INI_CLAIMS, INI_TESTS

_CLAIM_HELP = (
    "speedup_claim(*ids, variant=None, alternative=None, case=None): judge these claims of the ledger by the test's "
    "pair or figure, on one of the ledger's variants where one is given. In a test with the compare fixture, "
    'alternative and case={"n": 10} say which of its pairs judge. The ledger is claims.toml next to the test, or the '
    f"file that the ini option {INI_CLAIMS} names."
)


_EVIDENCE_HELP = (
    "speedup_evidence(*ids): where these claims of the ledger could not be judged, show the speedup of this test's "
    "pair next to them in the report. It never changes a verdict."
)


_CONTROL_HELP = (
    "speedup_control: both sides are separately built instances of the same thing. Their difference, measured in fresh "
    "processes, is the noise floor."
)


_LONG_HELP = (
    "speedup_long(times): one round of this pair takes long. Multiply --speedup-max-time by this number for it, to "
    "get the rounds that an interval needs."
)


DEPRECATED_HELPS = tuple(f"{old}: the deprecated name of {new}." for old, new in DEPRECATED.items())


_FAIL_HELP = (
    "speedup_fail(percent): with --speedup-fail, the loss in percent at which this pair fails, instead of "
    "the option's value."
)


_DIFFERS_HELP = (
    "speedup_differs(why): with --speedup-against, what this test returns differs between the revisions by design, "
    "for this reason."
)


_RANKS_HELP = (
    "speedup_ranks(number): torchrun starts as many processes on this machine, which run both sides of this pair "
    "together. A round takes as long as the slowest of them."
)


_PASSES_HELP = "speedup_passes(*names): run these passes for this pair, in addition to those of --speedup-passes."


def _passes(text: str) -> tuple[str, ...]:
    from speedclaims.recorders.registry import RecorderError, passes  # noqa: PLC0415

    try:
        known = passes()
    except RecorderError as error:
        raise pytest.UsageError(str(error)) from None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or set(names) - set(known):
        raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(known)}")
    return names


def _file(text: str) -> str:
    """Return a file's path from the root on, or ``-`` for the standard output."""
    if not text.strip():
        raise argparse.ArgumentTypeError("give the path of a file, or -")
    return text if text == "-" else str(Path(text).absolute())


def _folder(text: str) -> Path:
    """Return a folder's path from the root on: a test may change the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("give the path of a folder")
    return Path(text).absolute()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ``--speedup-...`` options and the ini option for the ledger."""
    group = parser.getgroup("speedclaims", "speedups of pairs, and claims about them")
    add = group.addoption
    add(
        "--speedup-report",
        metavar="DIR",
        type=_folder,
        help="write index.html, speedups.md and record.json to this folder",
    )
    add(
        "--speedup-record",
        metavar="DIR",
        type=_folder,
        help="also keep the record and its tables in this folder, as <machine>/<date>-<commit>.json and .md",
    )
    add(
        "--speedup-json",
        metavar="FILE",
        type=_file,
        help="write the verdicts as one line of JSON to this file, or with - print them as the last line",
    )
    add(
        "--speedup-max-time",
        metavar="S",
        type=positive("seconds"),
        default=10.0,
        help="time limit of a pair in seconds; at least one double round is measured (default: %(default)s)",
    )
    add(
        "--speedup-total-time",
        metavar="S",
        type=positive("seconds"),
        help="time limit of the whole run in seconds: each pair gets a share, and tests that have not begun by then "
        "are skipped",
    )
    add(
        "--speedup-precision",
        metavar="P",
        type=fraction,
        default=0.01,
        help="stop measuring a pair when the half-width of its interval is at most this fraction of the speedup; 0.01 "
        "is 1%% (default: %(default)s)",
    )
    add(
        "--speedup-confidence",
        metavar="C",
        type=fraction,
        default=0.95,
        help="confidence level of the intervals (default: %(default)s)",
    )
    add(
        "--speedup-processes",
        metavar="N",
        type=few,
        default=0,
        help="measure each pair in N fresh processes, which share its time (default: 5 or 3, where starting them takes "
        "at most half of its time, else in the pytest process; control pairs, and all pairs with --speedup-fail, in 3 "
        "at least)",
    )
    add(
        "--speedup-passes",
        metavar="NAMES",
        type=_passes,
        default=("time",),
        help="passes to run, separated by commas: time, cold (first call), memory (peak), syncs (how often the "
        "processor waits for the device, and in which lines), gpu (figures from NVML), profile (the phases of a call, "
        "its FLOPs and their share of what this machine can do), and those of installed recorders (default: time)",
    )
    add(
        "--speedup-passes-last",
        action="store_true",
        help="run what judges no claim (other passes, stages) after all pairs, as far as --speedup-total-time allows",
    )
    add(
        "--speedup-strict",
        action="store_true",
        help="exit with 1 when a claim is refuted or inconsistent",
    )
    add(
        "--speedup-fail",
        metavar="PCT",
        type=positive("percent"),
        help="with --benchmark-compare: exit with 1 when the after side of a pair takes PCT percent longer than in "
        "that run, measured against the before side, or surely more than half of that; when a pair is missing, "
        "renamed, not measured or configured differently; or when a claim is lost",
    )
    add(
        "--speedup-fail-ambiguous",
        action="store_true",
        help="with --speedup-fail: exit with 1 too when noise hides what became of a pair",
    )
    add(
        "--speedup-until-decided",
        metavar="S",
        type=positive("seconds"),
        nargs="?",
        const=60.0,
        help="with --speedup-fail: when noise hides what became of a pair, add fresh processes until it is decided or "
        "the pair has taken S seconds (default of S: %(const)s)",
    )
    add(
        "--speedup-compare-subset",
        action="store_true",
        help="with --speedup-fail: compare the pairs that were run, and leave out the others of the base",
    )
    add(
        "--speedup-shard",
        metavar="I/N",
        type=shards.parse,
        help="run the Ith of N shards of the tests with pairs and figures, of which speedclaims merge makes one "
        "record; auto takes I and N from the variables of Slurm, GitLab, CircleCI or Buildkite, auto/N takes I alone",
    )
    add(
        "--speedup-shard-by",
        metavar="RUN.json",
        type=Path,
        help="with --speedup-shard: share the tests out by how long each took in this record",
    )
    add(
        "--speedup-against",
        metavar="REF",
        type=some_text,
        help="measure each test that uses benchmark or pair with the code at REF against that of the working tree, "
        "both by the working tree's tests: a commit, branch or tag, merge-base:BRANCH, A..B for two commits, or a "
        "folder",
    )
    add(
        "--speedup-python",
        metavar="PATH",
        type=some_text,
        help="measure each such test in the Python at PATH against the one that runs pytest: two versions of a library "
        "or of Python; PATH needs pytest-benchmark",
    )
    add(
        "--speedup-build",
        metavar="COMMAND",
        type=some_text,
        help="with --speedup-against: build and install each side by this command, in a copy of its tree and a "
        "virtual environment, such as 'pip install --no-deps .'; builds are kept for later runs",
    )
    add(child_process.OPTION, dest="speedup_child", help=argparse.SUPPRESS)
    parser.addini(
        INI_OPTIONS,
        "options of installed plugins, such as --base-url, that fresh processes get too: they always get those of "
        "conftest files and of the project's own plugins",
        type="args",
        default=[],
    )
    parser.addini(
        INI_TESTS,
        "folders of the working tree, relative to its root folder, whose files both sides of --speedup-against take "
        "from there, besides test files, conftest.py and what is in a folder named test, tests, bench or benchmarks",
        type="args",
        default=[],
    )
    parser.addini(INI_CLAIMS, "path of the ledger, relative to this file (default: claims.toml next to the tests)")
