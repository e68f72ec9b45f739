"""Measure two callables in alternation: warm-up, double rounds, stopping rule.

This module knows neither pytest nor any framework, and nothing here is instrumented: what a run with counters or a
profiler shows is recorded elsewhere and never supplies a time.
"""

import gc
import inspect
import math
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, cycle
from types import ModuleType
from typing import NamedTuple, Protocol

from speedclaims import clock
from speedclaims.measure.calls import (
    Call,
    Loop,
    RefusedError,
    accepts,
    empty_seconds,
    needed_arguments,
    refuse_unfinished,
)
from speedclaims.measure.contention import Watch
from speedclaims.measure.instruments import switched_off
from speedclaims.measure.statistics import Interval, StoppingRule, interval, log_ratio
from speedclaims.record.types import SideName
from speedclaims.recorders.stages import StageCalls

try:
    import resource
except ImportError:  # Windows does not count context switches
    resource = None  # type: ignore[assignment]

MIN_ROUND_S = 2.5e-4
"""A side whose call is shorter is repeated inside each round, so that the clock's cost does not count. A round is also
shorter than the time that a scheduler gives a process before another one has its turn, so that most are undisturbed."""

BLOCK_S = 0.02
"""Double rounds are taken together until they have taken this long, several turns of a scheduler, or a thirtieth of a
short time limit."""

WARM_UP_S = 0.2
"""Each side is called until it has run this long, at least once, before anything counts; of a short time limit, until
it has taken an eighth."""

NUM_SURELY_EVEN = 4
"""From this many double rounds on their number is even, so that neither order has one more. Of fewer, none is given
away for it."""

MIN_MEASURING_S = 1.0
"""No pair is measured precisely enough before this long, in all of its processes together: a burst of other load must
not fill all of it."""

MIN_CLOCK_COSTS = 5
"""A call before which a setup runs is timed alone and must take this many times as long as reading the clock: after
subtraction, an eighth of that cost remains in the time, which is 2.4% here."""


@dataclass(frozen=True)
class Settings:
    """When a measurement ends and how sure it is; the options ``--speedup-...`` of the same names.

    Attributes:
        max_time: seconds a measurement may take, the warm-up among them: a double round that would end later is
            not begun, but one is always measured.
        precision: the relative half-width of the interval that suffices, 0.01 for 1 %.
        confidence: nominal coverage of the interval.
        disable_gc: keep Python's garbage collector off while the clock runs (``--benchmark-disable-gc``).
        num_processes: how many processes share the pair. Each needs less precision for itself, for their mean counts.
    """

    max_time: float = 10.0
    precision: float = 0.01
    confidence: float = 0.95
    disable_gc: bool = False
    num_processes: int = 1


@dataclass(frozen=True)
class Work:
    """The two sides and what surrounds them; the arguments of ``pair`` with the defaults filled in.

    Attributes:
        before: one call of the before side.
        after: one call of the after side.
        setup: runs before a side, given its name, outside the clock.
        synchronize: waits for the device, inside the clock.
        resets: whether the setup runs before each repeat of a call.
        loop: the event loop of both sides.
        waits_for_results: whether arrays of JAX among a side's results are waited for.
        label: what messages call both sides, for one alternative of several; by default ``the before side``.
    """

    before: Callable[[], object]
    after: Callable[[], object]
    setup: Callable[[SideName], object]
    synchronize: Callable[[], object]
    resets: bool
    loop: Loop = field(default_factory=Loop)
    waits_for_results: bool = True
    label: str | None = None
    _sides: dict[SideName, Call] = field(default_factory=dict, init=False, repr=False)

    def side(self, name: SideName) -> Call:
        """Return one side, whose call ends when its result is there."""
        if name not in self._sides:
            label = self.label or f"the {name} side"
            self._sides[name] = self.call(self.before if name == "before" else self.after, label)
        return self._sides[name]

    def call(self, function: Callable[[], object], name: str) -> Call:
        """Return a function whose call ends when its result is there."""
        return Call(function, name, self.loop, waits=self.waits_for_results)

    def stages(self, stages: StageCalls) -> StageCalls:
        """Return the stages of a pair as calls that end when their results are there."""
        return {
            name: (self.call(before, f"the before side of the stage {name}"),
                   self.call(after, f"the after side of the stage {name}"))
            for name, (before, after) in stages.items()
        }  # fmt: skip

    def prepare(self, name: SideName) -> None:
        """Run the setup of a side and wait for the device.

        Raises:
            RefusedError: before the first call, the setup or the synchronization leaves its work undone.
        """
        was_set_up, was_waited_for = self.setup(name), self.synchronize()
        if not self.side(name).is_known:
            refuse_unfinished(was_set_up, "setup")
            refuse_unfinished(was_waited_for, "synchronize")

    @cached_property
    def clock_s(self) -> float:
        """The seconds that reading the clock adds to a call that is timed alone."""
        return empty_seconds(clock.timer())


def work_of(  # noqa: PLR0913, PLR0917 - what a pair's test gives
    before: Callable[[], object],
    after: Callable[[], object],
    setup: Callable[..., object] | None,
    synchronize: Callable[[], object] | None,
    loop_factory: Callable[[], AbstractEventLoop] | None,
    label: str | None = None,
) -> Work:
    """Return the work of a pair from the arguments of its test."""
    return Work(
        before,
        after,
        setup_for(setup),
        synchronize or default_synchronize(),
        resets=setup is not None,
        loop=Loop(loop_factory),
        waits_for_results=synchronize is None,
        label=label,
    )


@dataclass(frozen=True)
class Measurement:
    """Hold the times and log-ratios that one process measured.

    Attributes:
        before_s: seconds of one call of the before side, one value per round.
        after_s: the same for the after side.
        log_ratios: one value per block of double rounds.
        repeats_before: calls per round of the before side.
        repeats_after: calls per round of the after side.
        reached_precision: whether the stopping rule, not the time limit, ended it.
        num_interrupted: rounds during which the system took a processor away from this process.
        carry_over: logarithms of what alternating does to the speedup, see `carry_over`; empty with too few rounds.
        took_s: seconds that the measurement took, the warm-up among them.
        waiting_percent: of that time, in which some task of the machine waited for a processor; None if unknown.
        stolen_percent: of the processors' time, what the hypervisor gave to others.
        throttled_percent: of that time, in which the control group was kept from running.
    """

    before_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)
    log_ratios: list[float] = field(default_factory=list)
    repeats_before: int = 1
    repeats_after: int = 1
    reached_precision: bool = False
    num_interrupted: int = 0
    carry_over: list[float] = field(default_factory=list)
    took_s: float = 0.0
    waiting_percent: float | None = None
    stolen_percent: float | None = None
    throttled_percent: float | None = None

    def interval(self, confidence: float) -> Interval:
        """Return the speedup with its interval."""
        return interval(self.log_ratios, confidence)


def setup_for(setup: Callable[..., object] | None) -> Callable[[SideName], object]:
    """Return the setup as a function of the side's name.

    A setup that takes an argument receives ``"before"`` or ``"after"``; one that takes none is called as it is.

    Raises:
        TypeError: the setup cannot be called with one argument or none.
    """
    if setup is None:
        return lambda _side: None
    if not callable(setup):
        raise TypeError(f"setup is {type(setup).__name__}, not callable: pass a function")
    takes_none, takes_name = accepts(setup), accepts(setup, 1)
    if not (takes_none or takes_name):
        raise TypeError("setup needs other arguments than one, the name of the side about to run: give it defaults")
    return setup if takes_name and (not takes_none or _wants_name(setup)) else lambda _side: setup()


def _wants_name(setup: Callable[..., object]) -> bool:
    """Whether a setup that can do without the side's name is meant to get it."""
    if hasattr(setup, "__wrapped__"):
        return needed_arguments(setup) == 1
    try:
        parameters = inspect.signature(setup).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature, such as list.clear
        return False
    return any(one.kind is one.VAR_POSITIONAL for one in parameters)


def default_synchronize() -> Callable[[], object]:
    """Return a function that waits for the devices of the frameworks that this process has imported already.

    PyTorch is waited for on its accelerator, TensorFlow on all devices, CuPy on the current stream, and JAX at all
    arrays that are alive.
    """
    waits = [
        wait
        for name, wait_of in _WAITS.items()
        if (module := sys.modules.get(name)) is not None and (wait := wait_of(module)) is not None
    ]
    if len(waits) == 1:
        return waits[0]

    def synchronize() -> None:
        for wait in waits:
            wait()

    return synchronize


def _torch_wait(torch: ModuleType) -> Callable[[], object] | None:
    """Return the wait for PyTorch's accelerator; releases before 2.6 know each kind by its own module alone."""
    for name in ("accelerator", "cuda", "xpu", "mps"):
        kind = getattr(torch, name, None)
        if kind is not None and hasattr(kind, "is_available") and kind.is_available():
            wait: Callable[[], object] = kind.synchronize
            return wait
    return None


def _cupy_wait(cupy: ModuleType) -> Callable[[], object] | None:
    return (lambda: cupy.cuda.get_current_stream().synchronize()) if cupy.cuda.is_available() else None


_WAITS: dict[str, Callable[[ModuleType], Callable[[], object] | None]] = {
    "torch": _torch_wait,
    "tensorflow": lambda tensorflow: tensorflow.test.experimental.sync_devices,
    "cupy": _cupy_wait,
    "jax": lambda jax: lambda: jax.block_until_ready(jax.live_arrays()),
}


def time_side(work: Work, name: SideName, repeats: int) -> float:
    """Return the seconds of one call of a side, the mean over its repeats.

    The setup runs before the clock starts; the device is waited for before it starts and before it stops. Where a
    setup restores a state, it runs before each repeat, the repeats are timed one by one, and the time that reading the
    clock takes is subtracted.
    """
    side, synchronize, read = work.side(name), work.synchronize, clock.timer()
    if not work.resets or repeats == 1:
        work.prepare(name)
        return side.seconds(repeats, synchronize, read) / repeats
    total = -repeats * work.clock_s
    for _ in range(repeats):
        work.prepare(name)
        total += side.seconds(1, synchronize, read)
    return total / repeats


class Round(NamedTuple):
    """One round of a side: the seconds of one call, and whether the system took the processor away meanwhile."""

    seconds: float
    is_interrupted: bool


def time_round(work: Work, name: SideName, repeats: int) -> Round:
    """Time one round of a side, and note whether it was interrupted: an involuntary context switch."""
    switches = num_switches()
    seconds = time_side(work, name, repeats)
    return Round(seconds, num_switches() > switches)


def num_switches() -> int:
    """Return how often the system took a processor away from this process; 0 where it does not say."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def undisturbed(before: Sequence[Round], after: Sequence[Round]) -> tuple[list[float], list[float]]:
    """Return the seconds of the rounds that were not interrupted; of all rounds if a side has no such round.

    Which rounds count never depends on how long they took, and both sides are treated alike.
    """
    kept = [[one.seconds for one in side if not one.is_interrupted] for side in (before, after)]
    if not all(kept):
        kept = [[one.seconds for one in side] for side in (before, after)]
    return kept[0], kept[1]


def warm_up(work: Work, name: SideName, seconds: float = WARM_UP_S, round_s: float = MIN_ROUND_S) -> int:
    """Call a side until it is warm and return how many calls a round takes.

    Args:
        work: both sides.
        name: the side.
        seconds: after which it is warm.
        round_s: seconds that a round takes at least.

    Raises:
        RefusedError: a setup runs before each call, which takes about as long as reading the clock.
    """
    spent, fastest = 0.0, math.inf
    # Timing a short call takes longer than the call, and a slow setup must not turn the warm-up into minutes.
    read = clock.timer()
    give_up = read() + (5 if work.resets else 1) * seconds
    while spent < seconds and read() < give_up:
        took = time_side(work, name, 1)
        spent += took
        fastest = min(fastest, took)
        if took == 0:  # below the clock's resolution: more than enough of these fit
            break
    repeats = max(1, math.ceil(round_s / max(fastest, 1e-9)))
    if work.resets and repeats > 1 and fastest < (1 + MIN_CLOCK_COSTS) * work.clock_s:
        raise RefusedError(
            f"{work.label or f'the {name} side'} takes {(fastest - work.clock_s) * 1e9:.0f} ns and reading the clock "
            f"{work.clock_s * 1e9:.0f} ns, each time as a setup runs before: do the work several times in one call"
        )
    return repeats


@contextmanager
def quiet_interpreter(*sides: Callable[[], object], disable_gc: bool) -> Iterator[None]:
    """Take instruments off while the clock runs, and the garbage collector if it is to be off, and put them back.

    Args:
        disable_gc: keep the garbage collector off.
        sides: the functions that are timed.

    Raises:
        RefusedError: an instrument is on that cannot be switched off.
    """
    collecting = gc.isenabled()
    with switched_off(*sides):
        gc.collect()
        if disable_gc:
            gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


@dataclass
class Rounds:
    """Hold what the clock said, round by round.

    Attributes:
        before: rounds of the before side, in the order measured.
        after: rounds of the after side.
        log_ratios: one value per block of double rounds.
        repeats: calls per round of each side.
        reached_precision: whether the stopping rule, not the time limit, ended it.
    """

    before: list[Round] = field(default_factory=list)
    after: list[Round] = field(default_factory=list)
    log_ratios: list[float] = field(default_factory=list)
    repeats: dict[SideName, int] = field(default_factory=dict)
    reached_precision: bool = False


class Sides(Protocol):
    """Warms up the sides of a pair and times their rounds, in this process or in others."""

    def warm_up(self, name: SideName, seconds: float) -> int:
        """Call a side until it is warm and return how many calls a round takes."""

    def time_round(self, name: SideName, repeats: int) -> Round:
        """Time one round of a side."""


@dataclass(frozen=True)
class _Here:
    """The sides of a pair in this process."""

    work: Work

    def warm_up(self, name: SideName, seconds: float) -> int:
        return warm_up(self.work, name, seconds)

    def time_round(self, name: SideName, repeats: int) -> Round:
        return time_round(self.work, name, repeats)


def measure(work: Work, settings: Settings) -> Measurement:
    """Measure both sides in alternation, in this process.

    Raises:
        RefusedError: a callable leaves its work undone, an instrument cannot be switched off, or the clock is wrong.
    """
    return _measured(lambda: alternate(work, settings))


def measure_sides(sides: Sides, settings: Settings) -> Measurement:
    """Measure both sides in alternation until the interval is narrow enough or the time is up.

    Raises:
        RefusedError: a callable leaves its work undone, or the clock is wrong.
    """
    return _measured(lambda: take_turns(sides, settings))


def _measured(rounds: Callable[[], Rounds]) -> Measurement:
    _refuse(clock.why_unusable())
    watch, progress = Watch(), clock.Progress()
    found = rounds()
    _refuse(progress.why_wrong())
    contention = watch.read()
    return Measurement(
        [one.seconds for one in found.before],
        [one.seconds for one in found.after],
        found.log_ratios,
        found.repeats["before"],
        found.repeats["after"],
        found.reached_precision,
        sum(one.is_interrupted for one in (*found.before, *found.after)),
        carry_over(found.before, found.after),
        contention.took_s,
        contention.waiting,
        contention.stolen,
        contention.throttled,
    )


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise RefusedError(reason)


def carry_over(before: Sequence[Round], after: Sequence[Round]) -> list[float]:
    """Return the log speedup of rounds that follow one of the other side, less that of rounds that follow their own.

    Of AB BA BA AB, the last B and the second A follow their own side; the other six follow the other. Consecutive
    double rounds are taken together into at most `CARRY_OVER_VALUES` values, without interrupted rounds.
    """
    num_cycles = min(len(before), len(after)) // _CYCLE
    per_value = max(1, math.ceil(num_cycles / CARRY_OVER_VALUES))
    found = []
    for start in range(0, num_cycles - per_value + 1, per_value):
        logs = [
            _after_other_less_after_own(side[_CYCLE * start : _CYCLE * (start + per_value)], own)
            for side, own in ((before, _BEFORE_AFTER_ITSELF), (after, _AFTER_AFTER_ITSELF))
        ]
        if logs[0] is not None and logs[1] is not None:
            found.append(logs[0] - logs[1])
    return found


def _after_other_less_after_own(rounds: Sequence[Round], own: int) -> float | None:
    """Return how much longer rounds take after the other side, as a logarithm; None where one kind was interrupted."""
    places = [(number % _CYCLE == own, one) for number, one in enumerate(rounds) if not one.is_interrupted]
    other, itself = ([one.seconds for is_own, one in places if is_own == wanted] for wanted in (False, True))
    return log_ratio(other, itself) if other and itself else None


_CYCLE, _BEFORE_AFTER_ITSELF, _AFTER_AFTER_ITSELF = 4, 3, 1
"""Rounds of a side until the order repeats, and which of them follows a round of the same side."""

CARRY_OVER_VALUES = 60


def alternate(work: Work, settings: Settings) -> Rounds:
    """Time rounds of both sides in alternation in this process.

    Raises:
        RefusedError: a callable leaves its work undone, or an instrument cannot be switched off.
    """
    with quiet_interpreter(work.before, work.after, disable_gc=settings.disable_gc):
        return take_turns(_Here(work), settings)


def take_turns(sides: Sides, settings: Settings) -> Rounds:
    """Time rounds of both sides in alternation until the interval is narrow enough or the time is up.

    Double rounds alternate too, AB BA then BA AB: a place in the double round may be faster than another (the last of
    four was by 0.1 %, measured with one callable on both sides; one that follows its own side by 1 % where the sides
    are processes of many threads), which favours one side in all double rounds of one kind and the other side in those
    of the other. So a block of several double rounds has as many of one kind as of the other, and so has the
    measurement, from `NUM_SURELY_EVEN` double rounds on. At least one double round is measured; whether their number
    suffices for an interval is the caller's to say.
    """
    read = clock.timer()
    started = read()
    warming = min(WARM_UP_S, settings.max_time / 8)
    found = Rounds(repeats={name: sides.warm_up(name, warming) for name in _ORDERS[0]})
    warm = now = read()
    block: dict[SideName, list[Round]] = {"before": [], "after": []}
    rule = StoppingRule(settings.precision * math.sqrt(settings.num_processes), settings.confidence)
    begun, block_s = now, min(BLOCK_S, settings.max_time / 30)
    for number, orders in enumerate(cycle((_ORDERS, tuple(reversed(_ORDERS)))), 1):
        for name in chain.from_iterable(orders):
            block[name].append(sides.time_round(name, found.repeats[name]))
        last, now = now, read()
        may_end = number < NUM_SURELY_EVEN or number % 2 == 0
        num_next = 1 if number < NUM_SURELY_EVEN else 2
        is_up = may_end and now + num_next * (now - last) > started + settings.max_time
        in_block = len(block["before"]) // 2
        is_block = now - begun >= block_s and (in_block == 1 or in_block % 2 == 0)
        if not is_block and not is_up:
            continue
        begun = now
        found.log_ratios.append(log_ratio(*undisturbed(block["before"], block["after"])))
        found.before += block["before"]
        found.after += block["after"]
        block = {"before": [], "after": []}
        is_long_enough = now - warm >= MIN_MEASURING_S / settings.num_processes
        found.reached_precision = may_end and rule.satisfied(found.log_ratios) and is_long_enough
        if found.reached_precision or is_up:
            break
    return found


_ORDERS: tuple[tuple[SideName, SideName], tuple[SideName, SideName]] = (("before", "after"), ("after", "before"))
