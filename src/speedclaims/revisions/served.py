"""Serve one side of a comparison from a fresh process: run rounds when the process that started it says so."""

import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from time import process_time
from typing import TYPE_CHECKING, cast

import pytest

from speedclaims.clock import now
from speedclaims.fixtures.equivalence import answered, takes_results
from speedclaims.measure import child_process, command_line
from speedclaims.measure.instruments import switched_off
from speedclaims.measure.interleave import Work, quiet_interpreter, time_round, time_side, warm_up, work_of
from speedclaims.record import benchmark_rows
from speedclaims.record.json_types import Json, JsonObject
from speedclaims.record.types import SideName
from speedclaims.revisions import imports, values
from speedclaims.revisions.channel import Channel, ClosedError, connected

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from speedclaims.fixtures.equivalence import Equivalent

SERVED, FAILED, SKIPPED, REFUSED = "served", "failed", "skipped", "refused"

_ROUND_S = 1e-3
"""A round takes at least this long: it begins when the other process has just used the caches."""
_LONGEST = 300
_SINGLE_S, _MOST_OF_SINGLE = 0.02, 1.05
"""A side that in this many seconds uses at most so much of a processor's time runs on one processor."""
_WAKING_S = 2e-4
"""A side whose call is shorter is called once before each round, so that the round does not begin cold."""


class Served:
    """A side in its process."""

    def __init__(self, config: pytest.Config, job: child_process.Job, *, disable_gc: bool) -> None:
        """Keep the job.

        Args:
            config: of pytest.
            job: what this process is to do.
            disable_gc: keep the garbage collector off while the clock runs.
        """
        self._config = config
        self._job = job
        self._disable_gc = disable_gc
        self.seconds: list[float] = []

    @property
    def name(self) -> SideName:
        """The side."""
        return "before" if self._job.side == "before" else "after"

    def serve(self, work: Work, equivalent: "Equivalent | None" = None) -> object:
        """Follow requests until the last one, and return what the side returned.

        Args:
            work: both of its sides are the one that this process has.
            equivalent: the test's own check of two results.
        """
        side = work.side(self.name)
        with connected(self._job.channel) as channel, ExitStack() as quiet:
            with switched_off():
                time_side(work, self.name, 1)
            loaded = sys.modules.get(command_line.IMPORTS_NAME)
            found: imports.Redirection | None = None if loaded is None else loaded.installed()
            channel.send(
                {
                    "problem": None if found is None else found.problem(),
                    "num_modules": None if found is None else found.num_modules(),
                }
            )
            try:
                self._follow(channel, work, equivalent, quiet)
            except ClosedError:
                pytest.exit("the process that started this one has gone", returncode=pytest.ExitCode.INTERRUPTED)
        child_process.leave(self._job, {"outcome": SERVED})
        work.prepare(self.name)
        return side()

    def _follow(self, channel: Channel, work: Work, equivalent: "Equivalent | None", quiet: ExitStack) -> None:
        answers: dict[str, Callable[[JsonObject], Json]] = {
            "processors": lambda _: self._processors(work),
            "pin": lambda asked: _pin(asked["processor"]),
            "warm": lambda asked: self._warm(work, asked["seconds"], quiet),
            "round": lambda asked: self._round(work, asked["repeats"], is_short=asked["is_short"]),
            "value": lambda _: self._value(work, quiet),
            "compare": lambda asked: self._compare(work, equivalent, asked["value"]),
        }
        while True:
            asked: JsonObject = channel.receive()
            if asked["do"] == "end":
                return
            channel.send(answers[asked["do"]](asked))

    def _processors(self, work: Work) -> Json:
        """Return the processors that this process may use, and whether the side uses one at a time."""
        spent, used, started = 0.0, process_time(), now()
        while spent < _SINGLE_S:
            time_side(work, self.name, 1)
            spent = now() - started
        is_single = process_time() - used <= _MOST_OF_SINGLE * spent
        return {
            "is_single": is_single,
            "allowed": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        }

    def _warm(self, work: Work, seconds: float, quiet: ExitStack) -> Json:
        quiet.enter_context(quiet_interpreter(work.before, disable_gc=self._disable_gc))
        repeats = warm_up(work, self.name, seconds, _ROUND_S)
        took = time_side(work, self.name, repeats)
        return {"repeats": repeats, "is_short": took < _WAKING_S and not work.resets}

    def _round(self, work: Work, repeats: int, *, is_short: bool) -> Json:
        if is_short:
            work.side(self.name)()
        found = time_round(work, self.name, repeats)
        self.seconds.append(found.seconds)
        return {"seconds": found.seconds, "is_interrupted": found.is_interrupted}

    def _value(self, work: Work, quiet: ExitStack) -> Json:
        """Return what two calls return, where both are the same, as data; or why not."""
        quiet.close()
        encoded = []
        for _ in range(2):
            work.prepare(self.name)
            try:
                encoded.append(values.encode(work.side(self.name)()))
            except values.UnsendableError as error:
                return {"why_not": str(error)}
        if values.compare(*encoded)[0] != "passed":
            return {"why_not": "returns another value at each call"}
        return {"value": encoded[0]}

    def _compare(self, work: Work, equivalent: "Equivalent | None", before: Json) -> Json:
        """Return the equivalence of the other side's value with this one's, by the test's check or by tolerance."""
        work.prepare(self.name)
        after = work.side(self.name)()
        if equivalent is not None and takes_results(equivalent):
            equivalence, details = answered(equivalent, [values.decode(before), after])
        else:
            equivalence, details = values.compare(before, values.encode(after))
        return {"equivalence": equivalence, "details": [in_one_line(detail) for detail in details]}


def _pin(processor: int) -> Json:
    """Let this thread, and those that it starts, run on one processor."""
    os.sched_setaffinity(0, {processor})
    return None


class Serving:
    """The hooks of a process that serves a side."""

    def __init__(self, config: pytest.Config, job: child_process.Job) -> None:
        """Keep the job."""
        self._config = config
        self._job = job

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        """Let the test's ``benchmark`` fixture serve its side instead of measuring."""
        found = yield
        if fixturedef.argname == "benchmark":
            attach(self._config, self._job, cast("BenchmarkFixture", found))
        return found

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Leave why the test's file cannot be collected."""
        if report.failed:
            self._leave(FAILED, str(report.longrepr).strip().splitlines()[-1].removeprefix("E").strip())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave why the test failed, or was skipped before it was served."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._leave(FAILED, str(report.longrepr) if crash is None else crash.message)
        elif report.skipped and child_process.left_by(self._job) is None:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._leave(SKIPPED, str(reason).removeprefix("Skipped: "))

    def _leave(self, outcome: str, reason: str) -> None:
        plain = reason.removeprefix("speedclaims.measure.calls.RefusedError: ")
        child_process.leave(self._job, {"outcome": outcome, "reason": in_one_line(plain)})


def in_one_line(text: str) -> str:
    """Return a reason in one line that a report can show."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


class _Pedantic:
    """One call of ``benchmark.pedantic``: its setup gives the arguments, its teardown takes them."""

    def __init__(
        self,
        target: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object] | None,
        setup: Callable[[], object] | None,
        teardown: Callable[..., object] | None,
    ) -> None:
        self.target, self.setup, self.teardown = target, setup, teardown
        self.args, self.kwargs = args, kwargs or {}
        self._is_due = False

    def prepare(self) -> None:
        """Tear down what the last call used, and set the next one up."""
        self.finish()
        if self.setup is not None:
            given = self.setup()
            if given:
                self.args, self.kwargs = given  # type: ignore[misc] # as pytest-benchmark asks for
        self._is_due = True

    def finish(self) -> None:
        """Tear down what the last call used."""
        if self._is_due and self.teardown is not None:
            self.teardown(*self.args, **self.kwargs)
        self._is_due = False

    def call(self) -> object:
        """Call the function."""
        return self.target(*self.args, **self.kwargs)


def attach(config: pytest.Config, job: child_process.Job, benchmark: "BenchmarkFixture") -> None:
    """Let a test's ``benchmark`` fixture serve its side instead of measuring."""
    served = Served(config, job, disable_gc=benchmark_rows.garbage_collector_off(benchmark))

    def call(function: Callable[..., object], *args: object, **kwargs: object) -> object:
        side = (lambda: function(*args, **kwargs)) if args or kwargs else function
        result = served.serve(work_of(side, side, None, None, None))
        benchmark_rows.note_times(benchmark, served.seconds)
        return result

    def pedantic(  # noqa: PLR0913, PLR0917 - the signature of pytest-benchmark
        target: Callable[..., object],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
        setup: Callable[[], object] | None = None,
        teardown: Callable[..., object] | None = None,
        rounds: int = 1,  # noqa: ARG001 - as many as the time allows
        warmup_rounds: int = 0,  # noqa: ARG001
        iterations: int = 1,  # noqa: ARG001
    ) -> object:
        made = _Pedantic(target, args, kwargs, setup, teardown)
        has_state = setup is not None or teardown is not None
        result = served.serve(work_of(made.call, made.call, made.prepare if has_state else None, None, None))
        made.finish()
        benchmark_rows.note_times(benchmark, served.seconds)
        return result

    benchmark_rows.replace(benchmark, call, pedantic)
