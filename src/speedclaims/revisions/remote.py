"""Measure a test's code at two revisions: two live processes take turns, and never run at once."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from speedclaims.clock import now
from speedclaims.fixtures.equivalence import UNCHECKED
from speedclaims.measure import child_process, command_line
from speedclaims.measure.interleave import Measurement, Round, Settings, measure_sides
from speedclaims.measure.passes import REVISION, TIME_AND_CHECK
from speedclaims.record.json_types import Json, JsonObject
from speedclaims.record.types import SideName
from speedclaims.recorders.recorder import SIDES
from speedclaims.revisions.channel import Channel, ClosedError, Listener
from speedclaims.revisions.served import FAILED, REFUSED, SERVED, SKIPPED, in_one_line
from speedclaims.revisions.sides import Comparison, Side

if TYPE_CHECKING:
    from speedclaims.record.types import Equivalence

_START_S = 900
_LAST_S = 60


class SideError(child_process.ChildError):
    """A test that does not run on a side.

    Attributes:
        side: the side.
        outcome: ``failed``, ``skipped``, or ``refused`` where a module comes from another place.
        reason: why, in one line.
    """

    def __init__(self, side: SideName, outcome: str, reason: str) -> None:
        """Keep what became of the test."""
        super().__init__(reason)
        self.side = side
        self.outcome = outcome
        self.reason = reason


class _Process:
    """A fresh process of a side, and what became of it."""

    def __init__(self, name: SideName, start: "threading.Thread", listener: Listener) -> None:
        self.name = name
        self.listener = listener
        self.thread = start
        self.channel: Channel | None = None
        self.answer: JsonObject = {}

    def connected(self) -> Channel:
        if self.channel is None:
            raise ClosedError("not connected")
        return self.channel


class _Turns:
    """Let the processes of both sides warm up and time rounds, one at a time."""

    def __init__(self, channels: Mapping[SideName, Channel]) -> None:
        self._channels = channels
        self._is_short: dict[SideName, bool] = {}

    def warm_up(self, name: SideName, seconds: float) -> int:
        answer = self._channels[name].ask("warm", seconds=seconds)
        self._is_short[name] = answer["is_short"]
        repeats: int = answer["repeats"]
        return repeats

    def time_round(self, name: SideName, repeats: int) -> Round:
        answer = self._channels[name].ask("round", repeats=repeats, is_short=self._is_short[name])
        return Round(answer["seconds"], answer["is_interrupted"])


class Processes:
    """Starts the processes of a test's two sides and measures with them."""

    def __init__(self, item: pytest.Item, nodeid: str, comparison: Comparison, settings: Settings) -> None:
        """Keep what they need.

        Args:
            item: the test.
            nodeid: of the test that the processes run.
            comparison: the two sides.
            settings: of the measurement.
        """
        self._item = item
        self._nodeid = nodeid
        self._comparison = comparison
        self._settings = settings
        self._num_started = 0

    def measure(self, task: str, *, hash_seed: int | None, num_processes: int, max_time: float) -> Json:
        """Measure in one process of each side, and compare what they return where the task says so.

        Raises:
            SideError: the test does not run on a side, or imports its code from elsewhere.
        """
        settings = Settings(**{**asdict(self._settings), "max_time": max_time, "num_processes": num_processes})
        with self._both(hash_seed, max_time) as both:
            try:
                channels = {name: one.connected() for name, one in both.items()}
                self._share_processor(channels)
                measurement = self._measured(channels, settings)
                check = _compared(channels) if task == TIME_AND_CHECK else UNCHECKED
                for channel in channels.values():
                    channel.send({"do": "end"})
            except ClosedError:
                self._explain(both)
        for one in both.values():
            outcome = one.answer.get("outcome")
            if outcome is not None and outcome != SERVED:
                raise SideError(one.name, str(outcome), str(one.answer["reason"]))
        return {"measurement": asdict(measurement), "check": check}

    def _measured(self, channels: Mapping[SideName, Channel], settings: Settings) -> Measurement:
        """Measure both sides; every second time the after side has the place of the before side in the orders.

        The median of an odd number of blocks favours the side that comes second in most of them, where a round is
        faster after one of the same side.
        """
        if self._num_started % 2:
            return measure_sides(_Turns(channels), settings)
        before, after = SIDES
        return swapped(measure_sides(_Turns({before: channels[after], after: channels[before]}), settings))

    def _share_processor(self, channels: Mapping[SideName, Channel]) -> None:
        """Let both processes run on one processor where neither side uses more: another one may be faster."""
        number = self._num_started
        answers = [channel.ask("processors") for channel in channels.values()]
        allowed = answers[0]["allowed"]
        if allowed and all(one["is_single"] and one["allowed"] == allowed for one in answers):
            for channel in channels.values():
                channel.ask("pin", processor=allowed[number % len(allowed)])

    @contextmanager
    def _both(self, hash_seed: int | None, max_time: float) -> Iterator[dict[SideName, _Process]]:
        """Start a process of each side, wait until both are ready, and wait for their ends."""
        with ExitStack() as stack:
            self._num_started += 1
            names = SIDES if self._num_started % 2 else SIDES[::-1]  # neither side is always the first to start
            both = {name: self._start(name, stack.enter_context(Listener()), hash_seed, max_time) for name in names}
            try:
                self._wait(both)
                yield both
            finally:
                for one in both.values():
                    if one.channel is not None:
                        one.channel.close()
            for one in both.values():
                one.thread.join(_LAST_S)

    def _start(self, name: SideName, listener: Listener, hash_seed: int | None, max_time: float) -> _Process:
        side = self._comparison.side(name)
        job = child_process.Job(
            self._nodeid, str(self._item.path), REVISION, name, child_process.OUT, max_time, 1, listener.address
        )
        start = self._start_of(side, self._num_started)

        def run() -> None:
            try:
                process.answer = child_process.run_job(
                    self._item, job, start, child_process.seed(hash_seed), _START_S + 2 * max_time
                )
            except child_process.ChildError as error:
                process.answer = error.left or {"outcome": FAILED, "reason": in_one_line(_cause(error))}

        process = _Process(name, threading.Thread(target=run, daemon=True), listener)
        process.thread.start()
        return process

    def _start_of(self, side: Side, layout: int) -> command_line.Start:
        path = command_line.import_path(self._item.config)
        trees = self._comparison.trees(side, path)
        return command_line.Start(
            python=side.python or command_line.PYTHON,
            path=path if side.python is None else self._comparison.own_folders(path),
            is_whole_path=side.python is None,
            first=command_line.install_lines(trees),
            loads_plugin=side.python is not None and bool(side.libraries) and "speedclaims" not in side.libraries,
            layout=layout,
            import_first=tuple(self._comparison.import_path(side, path)),
        )

    def _wait(self, both: "dict[SideName, _Process]") -> None:
        """Wait until both processes have made their first call, and check what they imported.

        Raises:
            SideError: the test ended before it measured, or a module comes from another place.
        """
        give_up = now() + _START_S
        while any(one.channel is None for one in both.values()):
            for one in both.values():
                if one.channel is None:
                    one.channel = one.listener.accept()
                if one.channel is None and not one.thread.is_alive():
                    self._explain({one.name: one})
            if now() > give_up:
                late = next(one.name for one in both.values() if one.channel is None)
                raise SideError(late, FAILED, f"the test did not come to its measurement within {_START_S} s")
        for one in both.values():
            try:
                first: JsonObject = one.connected().receive()
            except ClosedError:
                self._explain({one.name: one})
            self._refuse(one.name, first)

    def _refuse(self, name: SideName, first: JsonObject) -> None:
        side = self._comparison.side(name)
        if first["problem"] is not None:
            raise SideError(name, REFUSED, str(first["problem"]))
        if first["num_modules"] == 0 and self._comparison.before.tree != self._comparison.after.tree:
            raise SideError(
                name,
                REFUSED,
                f"the test imports no module of {side.label} but those of tests: both sides would be the same; name "
                "folders of tests in the ini option speedup_test_folders only where they hold nothing else",
            )

    @staticmethod
    def _explain(both: "Mapping[SideName, _Process]") -> NoReturn:
        """Raise the error of the process that ended early."""
        for one in both.values():
            if one.channel is not None:
                one.channel.close()
        for one in both.values():
            one.thread.join(_LAST_S)
        failed = [one for one in both.values() if one.answer.get("outcome") not in {None, SERVED}]
        if not failed:
            name = next(iter(both))
            raise SideError(name, FAILED, "the test ended without a call of benchmark, pair or compare")
        one = min(failed, key=lambda each: each.answer["outcome"] == SKIPPED)
        raise SideError(one.name, str(one.answer["outcome"]), str(one.answer["reason"]))


def _cause(error: child_process.ChildError) -> str:
    """Return why a process failed: the error of its test, or the last line that it wrote."""
    first, *others = str(error).splitlines()
    last = next((line.strip() for line in reversed(others) if line.strip()), "")
    return error.cause if error.cause != first or not last else f"{first} {last}"


def swapped(one: Measurement) -> Measurement:
    """Return a measurement in which each side is called by the other's name."""
    return replace(
        one,
        before_s=one.after_s,
        after_s=one.before_s,
        log_ratios=[-value for value in one.log_ratios],
        repeats_before=one.repeats_after,
        repeats_after=one.repeats_before,
        carry_over=[-value for value in one.carry_over],
    )


def _compared(channels: Mapping[SideName, Channel]) -> "tuple[Equivalence, list[str]]":
    """Return whether both sides return the same."""
    before = channels["before"].ask("value")
    after = channels["after"].ask("value")
    for label, one in (("the before side", before), ("the after side", after)):
        if "why_not" in one:
            return "not_checked", [f"{label} {one['why_not']}"]
    found = channels["after"].ask("compare", value=before["value"])
    return found["equivalence"], found["details"]
