"""Plants every mutant of the table in a process of its own, and says which test has caught it.

A process imports each framework once; a child of it, with the framework but without a trainer, is what a mutant is
planted in. A mutant is caught when a test that it names fails by an assertion. A test that breaks off with another
error, is skipped, or never imports the faulty module has not caught anything, and neither has one that fails without
the fault too: all tests run once without it.
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from tests.mutants.table import ROOT, Mutant, StaleMutant, load

__all__ = ["Verdict", "main", "run_mutants"]

_FORK = multiprocessing.get_context("fork")
_MOST_SECONDS = 240
_ALSO = {"torch": ("torch._dynamo", "h5py", "PIL.Image"), "tensorflow": ("keras",), "numpy": ("scipy.stats",)}
"""Modules that the tests of a framework's mutants would import in each child again."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, or of tests without one.

    Attributes:
        name: of the mutant, or of the file of the tests.
        outcome: `caught`, `survived` or `broken`; for tests without a mutant `passed` or `broken`.
        said: the test that caught it, or what broke.
        seconds: how long it took.

    """

    name: str
    outcome: str
    said: str
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether it is as it should be."""
        return self.outcome in {"caught", "passed"}


class _Watch:
    """Notes, as a plugin of pytest, how each test ended, and stops at the first assertion that fails."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.caught: list[str] = []
        self.broken: list[str] = []

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is None:
            if call.when == "call":
                self.passed.append(item.nodeid)
        elif _is_skip(call.excinfo.value):
            return
        elif call.when == "call" and _is_assertion(call.excinfo.value):
            self.caught.append(item.nodeid)
            item.session.shouldstop = "caught"
        else:
            self.broken.append(f"{item.nodeid}: {call.excinfo.exconly()}".partition("\n")[0])

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.broken.append(f"{report.nodeid} cannot be collected: {str(report.longrepr).splitlines()[-1]}")


def _is_assertion(error: BaseException) -> bool:
    import pytest

    if isinstance(error, BaseExceptionGroup):  # Hypothesis has found several
        return all(_is_assertion(each) for each in error.exceptions)
    return isinstance(error, AssertionError | pytest.fail.Exception)


def _is_skip(error: BaseException) -> bool:
    import pytest

    return isinstance(error, pytest.skip.Exception)


def _run_tests(tests: Sequence[str], folder: Path) -> _Watch:
    import pytest

    watch = _Watch()
    options = ["-q", "-pno:cacheprovider", "--benchmark-disable", f"--basetemp={folder / 'tests'}", f"--rootdir={ROOT}"]
    code = pytest.main([*options, *tests], plugins=[watch])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:
        watch.broken.append(f"pytest ended with {code!r}")
    return watch


def _judge_mutant(mutant: Mutant, folder: Path) -> tuple[str, str]:
    """Plant a mutant here, and run its tests."""
    from tests.mutants.planting import Planted

    try:
        planted = Planted(mutant, folder)
        planted.plant()
    except (StaleMutant, SyntaxError, RuntimeError) as error:
        return "broken", str(error)
    watch = _run_tests(mutant.tests, folder)
    if watch.caught:
        return "caught", watch.caught[0]
    if watch.broken:
        return "broken", watch.broken[0]
    if not planted.is_imported:
        return "broken", f"no test imports {mutant.module}"
    return "survived", f"{mutant.fault} ({mutant.target})"


def _judge_tests(tests: Sequence[str], folder: Path) -> tuple[str, str]:
    """Run tests as they are."""
    watch = _run_tests(tests, folder)
    wrong = [*watch.caught, *watch.broken]
    if wrong:
        return "broken", f"fails without a mutant: {wrong[0]}"
    missing = [test for test in tests if not any(_is_of(passed, test) for passed in watch.passed)]
    return ("broken", f"no such test passes: {missing[0]}") if missing else ("passed", "")


def _is_of(node: str, test: str) -> bool:
    """Whether a node is the test, or one of its cases."""
    return node == test or node.startswith((f"{test}[", f"{test}::"))


def _child(judge: Callable[..., tuple[str, str]], subject: Any, pipe: connection.Connection) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        pipe.send(judge(subject, Path(folder)))


def _ended(process: Any, pipe: connection.Connection, *, in_time: bool) -> tuple[str, str]:
    if not in_time:
        process.kill()
        process.join()
        return "broken", f"takes more than {_MOST_SECONDS} s"
    try:
        outcome, said = pipe.recv()
    except EOFError:
        process.join()
        return "broken", f"its process ended with {process.exitcode}"
    process.join()
    return outcome, said


def _run_jobs(jobs: Iterable[tuple[str, Any, Any]], num_at_once: int) -> Iterator[Verdict]:
    """Run each `(name, judge, subject)` in a child, some at once; verdicts in the order in which they come."""
    waiting, running = list(jobs), dict[connection.Connection, Any]()
    while waiting or running:
        while waiting and len(running) < num_at_once:
            name, judge, subject = waiting.pop(0)
            ours, theirs = _FORK.Pipe(duplex=False)
            process = _FORK.Process(target=_child, args=(judge, subject, theirs))
            process.start()
            theirs.close()
            running[ours] = (name, process, time.monotonic())
        ready = connection.wait(list(running), timeout=1)
        for pipe, (name, process, started) in list(running.items()):
            seconds = time.monotonic() - started
            if pipe in ready or seconds > _MOST_SECONDS:
                outcome, said = _ended(process, pipe, in_time=pipe in ready)
                del running[pipe]
                yield Verdict(name, outcome, said, time.monotonic() - started)


def _lead(framework: str, mutants: Sequence[Mutant], num_at_once: int, pipe: connection.Connection) -> None:
    """Import a framework, and run the tests of its mutants, first without and then with them."""
    for name in (framework, *_ALSO[framework], "numpy", "hypothesis.extra.numpy", "pytest", "_pytest.pytester"):
        importlib.import_module(name)
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    by_file: dict[str, list[str]] = {}
    for test in tests:
        by_file.setdefault(test.partition("::")[0], []).append(test)
    for verdict in _run_jobs(((file, _judge_tests, those) for file, those in by_file.items()), num_at_once):
        pipe.send(verdict)
    for verdict in _run_jobs(((mutant.name, _judge_mutant, mutant) for mutant in mutants), num_at_once):
        pipe.send(verdict)


def run_mutants(mutants: Sequence[Mutant], num_at_once: int) -> Iterator[Verdict]:
    """Verdicts on the tests without mutants and on each mutant, as they come."""
    os.chdir(ROOT)
    settings = {
        "HYPOTHESIS_PROFILE": "mutants", "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2", "PYTEST_ADDOPTS": "",
    }  # fmt: skip
    os.environ.update(settings)
    for framework in dict.fromkeys(mutant.framework for mutant in mutants):
        those = [mutant for mutant in mutants if mutant.framework == framework]
        ours, theirs = _FORK.Pipe(duplex=False)
        leader = _FORK.Process(target=_lead, args=(framework, those, num_at_once, theirs))
        leader.start()
        theirs.close()
        with contextlib.suppress(EOFError):
            while True:
                yield ours.recv()
        leader.join()
        if leader.exitcode:
            yield Verdict(framework, "broken", f"its process ended with {leader.exitcode}", 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all mutants, or those that are named; 1 if one lives, 2 if one is unknown."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants (default: all)")
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    table = load()
    unknown = set(chosen.names) - {mutant.name for mutant in table}
    if unknown:
        print(f"error: no mutant is called {min(unknown)}: look into tests/mutants/mutants.toml", file=sys.stderr)  # noqa: T201
        return 2
    mutants = [mutant for mutant in table if mutant.name in chosen.names or not chosen.names]
    begun, num_caught, is_good = time.monotonic(), 0, True
    for verdict in run_mutants(mutants, chosen.at_once):
        num_caught += verdict.outcome == "caught"
        is_good &= verdict.is_good
        if verdict.outcome != "passed":
            said = (
                f"caught by {verdict.said}"
                if verdict.outcome == "caught"
                else f"{verdict.outcome.upper()}: {verdict.said}"
            )
            print(f"{verdict.name:<42} {verdict.seconds:5.1f} s  {said}", flush=True)  # noqa: T201 - its output
    print(f"{num_caught} of {len(mutants)} mutants caught in {time.monotonic() - begun:.0f} s")  # noqa: T201 - likewise
    return 0 if is_good and num_caught == len(mutants) else 1
