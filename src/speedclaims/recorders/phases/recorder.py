"""Record where the time of a call goes, how much of it a GPU is busy, and the operations and bytes of the call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Protocol, cast

from speedclaims import clock
from speedclaims.record.figure import figure
from speedclaims.record.json_types import Json, JsonObject
from speedclaims.recorders.phases.stopwatch import PHASES, Interval, Phases, ProfilerError, union_length
from speedclaims.recorders.recorder import SIDES, FigureKind, FigureRow, Machine, PairContext, Recorder, Side, rows

if TYPE_CHECKING:
    from speedclaims.record.types import Amount, Figure, PhaseTime, ProfiledSide, RecordedPair, SideName

_NS_PER_S = 1e9
_PERCENT = 100.0


class Profiler(Recorder):
    """Record the phases of a call and its floating point operations."""

    name = "profile"
    help = "the phases of a call, its FLOPs and their share of what this machine can do"
    order = 5

    def record_side(self, side: Side) -> JsonObject:
        """Return where the time goes, the operations and the framework that did them."""
        from speedclaims.recorders import ceilings  # noqa: PLC0415 - loading the plugin must stay cheap
        from speedclaims.recorders.flops import count as flops  # noqa: PLC0415

        found: JsonObject = {**profile_side(side.prepare, side.call, side.device)}
        side.prepare()
        try:
            counted = flops.flops_per_call(side.call)
        except Exception as error:  # noqa: BLE001 - a call that does not run with the counters keeps its phases
            counted = figure(None, flops.UNIT, f"the call failed while counted ({type(error).__name__}: {error})")
        return {**found, "flops": counted, "framework": ceilings.framework()}

    def fields(self, before: Sequence[Json], after: Sequence[Json], context: PairContext) -> Mapping[str, object]:
        from speedclaims.recorders.flops import count as flops  # noqa: PLC0415

        frameworks = [one[0].pop("framework") for one in (before, after)]
        counted = before[0].pop("flops"), after[0].pop("flops")
        ceilings = context.ceilings_of(frameworks[0] or frameworks[1])
        found = {
            "profile": {"before": before[0], "after": after[0]},
            "flops": flops.of_pair(context.row, counted, flops.highest(ceilings), flops.TOO_MANY_FLOPS),
        }
        if context.min_bytes is not None:
            amounts = flops.of_either_side(context.row, context.min_bytes)
            found["bytes"] = flops.of_pair(context.row, amounts, ceilings["copy"], flops.TOO_MANY_BYTES)
        return found

    def missing(self, reason: str) -> Mapping[str, object]:
        from speedclaims.recorders.flops.count import not_counted  # noqa: PLC0415

        return {"profile": {side: not_profiled(reason) for side in SIDES}, "flops": not_counted(reason)}

    def tables(self, pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
        """Yield the tables of its figures other than phases; none for records older than this pass."""
        profiles = {i: pair["profile"] for i, pair in enumerate(pairs) if "profile" in pair}
        if not profiles:
            return
        yield FigureKind(
            "GPU busy",
            "For how much of one call at least one kernel runs, by the profiler, which itself slows the host down.",
            rows({i: {"before": p["before"]["busy"], "after": p["after"]["busy"]} for i, p in profiles.items()}),
        )
        yield from _tables_of_flops(pairs)
        yield from _tables_of_bytes({i: pair["bytes"] for i, pair in enumerate(pairs) if "bytes" in pair})

    def obstacles(self, machine: Machine) -> Mapping[str, Sequence[str | None]]:
        return {"profile": (machine.frameworks,)}


def saved_words(pair: "RecordedPair") -> str:
    """Return how much less the after side computes, in words; empty where that is unknown or nothing."""
    from speedclaims.recorders.flops.count import work_saved  # noqa: PLC0415 - loading the plugin must stay cheap

    saved = work_saved(pair)
    if saved is None:
        return ""
    return f"{_PERCENT * saved:.2g}% of the work saved" if saved > 0 else f"{-_PERCENT * saved:.2g}% more work"


def _tables_of_flops(pairs: "Sequence[RecordedPair]") -> Iterator[FigureKind]:
    from speedclaims.recorders.flops.count import possible_shares  # noqa: PLC0415 - loading the plugin must stay cheap

    found = {i: pair["flops"] for i, pair in enumerate(pairs) if "flops" in pair}
    if found:
        saved: dict[int, tuple[tuple[SideName, str], ...]] = {
            i: (("after", words),) for i in found if (words := saved_words(pairs[i]))
        }
        yield FigureKind(
            "Floating point operations of one call",
            "Matrix products, convolutions and attention of each side, counted without compilers. Records of schema "
            "version 1 have the before side's count for both.",
            [FigureRow(i, one["before"], one["after"], details=saved.get(i, ())) for i, one in found.items()],
        )
        yield FigureKind(
            "Share of the measured ceiling",
            "Those operations by the measured time of the call, of the fastest matrix product that this machine was "
            "measured to do.",
            rows({i: possible_shares(one) for i, one in found.items()}),
        )


def _tables_of_bytes(found: "Mapping[int, Amount]") -> Iterator[FigureKind]:
    if found:
        yield FigureKind(
            "Bytes of one call, at the least",
            "What a call must read and write, as its test computes it. Not counted is what a program could do without "
            "or keep in a cache: activations, gradients, batches.",
            rows({i: {"before": one["before"], "after": one["after"]} for i, one in found.items()}),
        )
        yield FigureKind(
            "Share of the measured copy, at the least",
            "Those bytes by the measured time of the call, of the fastest large copy that this machine was measured to "
            "do. Bytes that fit into a cache have no share.",
            rows({i: one["share"] for i, one in found.items()}),
        )


class _Framework(Protocol):
    """Define the interface of `phases.torch` and `phases.tensorflow`."""

    def is_imported(self) -> bool:
        """Whether this process has imported the framework."""

    def settle(self) -> None:
        """Wait for the device, if there is one and it can be waited for now."""

    def watching(self, phases: Phases) -> AbstractContextManager[None]:
        """Patch the framework's functions that belong to a phase, while the block runs."""

    def recording_kernels(self) -> AbstractContextManager[list[Interval]]:
        """Profile the device while the block runs; at its end the list holds its kernels' intervals in seconds."""


def imported_frameworks() -> list[_Framework]:
    """Return the modules of the frameworks that this process has imported."""
    from speedclaims.recorders.phases import tensorflow as profile_tf  # noqa: PLC0415 - they import this module
    from speedclaims.recorders.phases import torch as profile_torch  # noqa: PLC0415 - likewise

    modules = cast("tuple[_Framework, ...]", (profile_torch, profile_tf))
    return [module for module in modules if module.is_imported()]


def profile_side(prepare: Callable[[], object], call: Callable[[], object], device: str) -> "ProfiledSide":
    """Return where the time of one side's warm call goes, as the record has it.

    Args:
        prepare: runs before each call, outside the clock.
        call: one warm call of the side, ending in a synchronization.
        device: where the work happens, ``cpu`` or ``cuda``.
    """
    frameworks = imported_frameworks()
    if not frameworks:
        return not_profiled("neither PyTorch nor TensorFlow is imported: there are no phases to tell apart")
    busy = _busy_percent(frameworks, prepare, call, device)
    prepare()
    wall_s, phases = _phases(frameworks, call)
    return {"busy": busy, "wall_s": wall_s, "phases": phases}


def not_profiled(reason: str) -> "ProfiledSide":
    """Return what the record says of a side that was not profiled."""
    return {"busy": figure(None, "percent", reason), "wall_s": figure(None, "s", reason), "phases": []}


def _phases(frameworks: list[_Framework], call: Callable[[], object]) -> "tuple[Figure, list[PhaseTime]]":
    def settle() -> None:
        for framework in frameworks:
            framework.settle()

    phases = Phases(settle=settle)
    with ExitStack() as stack:
        for framework in frameworks:
            stack.enter_context(framework.watching(phases))
        phases.run(call)
    spent = phases.ns
    times: list[PhaseTime] = [{"name": name, "seconds": spent[name] / _NS_PER_S} for name in PHASES if spent.get(name)]
    return figure(sum(spent.values()) / _NS_PER_S, "s"), times


def _busy_percent(
    frameworks: list[_Framework], prepare: Callable[[], object], call: Callable[[], object], device: str
) -> "Figure":
    """Return for how much of a call at least one kernel runs, as a figure.

    The profiler itself slows the host down, so a call that the host holds up is busier without it.
    """
    if not device.startswith("cuda"):
        return figure(None, "percent", "the busy fraction is of a GPU: this ran on the CPU")
    for framework in frameworks:
        prepare()
        try:
            with framework.recording_kernels() as kernels:
                read = clock.timer()
                started = read()
                call()
                wall_s = read() - started
        except ProfilerError as error:
            return figure(None, "percent", str(error))
        if kernels:
            return figure(_PERCENT * min(1.0, union_length(kernels) / wall_s), "percent")
    return figure(None, "percent", "the profiler saw no kernel on a GPU")
