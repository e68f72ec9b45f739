"""Profile one side of a pair: its phases, and the share of the time in which a GPU is busy."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol, cast

from speedclaims.recorders.phases.stopwatch import Interval, Phases, ProfilerError, union_length

_NS_PER_S = 1e9


_PERCENT = 100.0


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


def profile_side(prepare: Callable[[], object], call: Callable[[], object], device: str) -> dict[str, Any]:
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
    return {"busy": busy, **_phases(frameworks, call)}


def not_profiled(reason: str) -> dict[str, Any]:
    """Return what the record says of a side that was not profiled."""
    from speedclaims.record.figure import figure  # noqa: PLC0415 - it is loaded where it is needed

    return {"busy": figure(None, "percent", reason), "wall_s": figure(None, "s", reason), "phases": []}


def _phases(frameworks: list[_Framework], call: Callable[[], object]) -> dict[str, Any]:
    from speedclaims.record.figure import figure  # noqa: PLC0415

    def settle() -> None:
        for framework in frameworks:
            framework.settle()

    phases = Phases(settle=settle)
    with ExitStack() as stack:
        for framework in frameworks:
            stack.enter_context(framework.watching(phases))
        phases.run(call)
    spent = phases.ns
    return {
        "wall_s": figure(sum(spent.values()) / _NS_PER_S, "s"),
        "phases": [{"name": name, "seconds": ns / _NS_PER_S} for name, ns in spent.items() if ns],
    }


def _busy_percent(
    frameworks: list[_Framework], prepare: Callable[[], object], call: Callable[[], object], device: str
) -> dict[str, Any]:
    """Return for how much of a call at least one kernel runs, as a figure.

    The profiler itself slows the host down, so a call that the host holds up is busier without it.
    """
    from speedclaims.record.figure import figure  # noqa: PLC0415

    if not device.startswith("cuda"):
        return figure(None, "percent", "the busy fraction is of a GPU: this ran on the CPU")
    for framework in frameworks:
        prepare()
        try:
            with framework.recording_kernels() as kernels:
                started = time.perf_counter()
                call()
                wall_s = time.perf_counter() - started
        except ProfilerError as error:
            return figure(None, "percent", str(error))
        if kernels:
            return figure(_PERCENT * min(1.0, union_length(kernels) / wall_s), "percent")
    return figure(None, "percent", "the profiler saw no kernel on a GPU")
