"""The passes beside the times: what is measured of each side alone, in fresh processes, and never times anything.

One process measures all that is asked of a side; where a figure scatters from process to process (the first call, the
resident memory), more processes repeat that figure alone, and it is their median with its range.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from speedclaims.pairing import SideName, Work, time_side

PASSES = ("time", "cold", "memory", "syncs", "gpu", "profile")
"""What can be measured; ``time`` is the pair itself."""

SIDES: tuple[SideName, SideName] = ("before", "after")
NUM_PROCESSES = 3
"""Fresh processes for each side where a figure scatters from one to the next."""

SEPARATOR = "+"
CEILINGS = "ceilings"
_ORDER = ("cold", "memory", "syncs", "gpu", "profile")  # what disturbs the process for the others comes last

Ask = Callable[[str, str], Any]
"""Asks a fresh process of one side for one task and returns what it left."""


def not_run(reason: Callable[[str], str]) -> dict[str, Any]:
    """Return the fields of a pair's row for passes that did not run, each with its reason by its name."""
    from speedclaims.record import figure, sides  # noqa: PLC0415
    from speedclaims.recorders.flops import not_counted  # noqa: PLC0415
    from speedclaims.recorders.profile import not_profiled  # noqa: PLC0415

    def missing(unit: str, name: str) -> dict[str, Any]:
        return figure(None, unit, reason(name))

    return {
        "cold_before_s": missing("s", "cold"),
        "cold_after_s": missing("s", "cold"),
        "memory": sides(missing("bytes", "memory"), missing("bytes", "memory")),
        "syncs": sides(missing("1", "syncs"), missing("1", "syncs")),
        "gpu": {},
        "profile": {side: not_profiled(reason("profile")) for side in SIDES},
        "flops": not_counted(reason("profile")),
    }


def measure_passes(
    names: Sequence[str],
    row: Mapping[str, Any],
    ask: Ask,
    ceilings_of: Callable[[str | None], Mapping[str, Any]],
    least_bytes: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Measure passes of both sides and return the fields of the pair's row.

    Args:
        names: the passes.
        row: the pair's row, with its device and its times.
        ask: starts a fresh process.
        ceilings_of: gives what the machine does at most with a framework.
        least_bytes: gives what a call must read and write at the least, for the pass `profile`.
    """
    on_gpu = str(row["device"]).startswith("cuda")
    asked = [name for name in _ORDER if name in names and (name != "gpu" or on_gpu)]
    if not asked:
        return {}
    found = {side: _of_side(asked, side, ask, on_gpu=on_gpu) for side in SIDES}
    fields: dict[str, Any] = {}
    for name in asked:
        fields.update(_FIELDS[name]({side: found[side][name] for side in SIDES}))
    if "profile" in asked:
        from speedclaims.recorders import flops  # noqa: PLC0415

        counted, framework = (fields["profile"]["before"].pop(name) for name in ("flops", "framework"))
        ceilings = ceilings_of(framework)
        fields["flops"] = flops.of_pair(row, counted, flops.highest(ceilings))
        if least_bytes is not None:
            fields["bytes"] = flops.of_pair(row, flops.least(least_bytes()), ceilings["copy"])
    return fields


def _of_side(asked: Sequence[str], side: SideName, ask: Ask, *, on_gpu: bool) -> dict[str, list[Any]]:
    """Return what each pass found, in one process or several."""
    # what a GPU's allocator counts is the same in every process
    scattering = [name for name in asked if name == "cold" or (name == "memory" and not on_gpu)]
    found: dict[str, list[Any]] = {name: [] for name in asked}
    for tasks in [asked, *[scattering] * (NUM_PROCESSES - 1)]:
        if tasks:
            left = ask(SEPARATOR.join(tasks), side)
            for name in tasks:
                found[name].append(left[name])
    return found


def _cold(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record import spread  # noqa: PLC0415

    return {f"cold_{side}_s": spread(found[side]) for side in SIDES}


def _memory(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record import sides, spread  # noqa: PLC0415

    return {"memory": sides(*(spread(found[side]) for side in SIDES))}


def _syncs(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record import sides  # noqa: PLC0415

    counts = {side: found[side][0] for side in SIDES}
    return {
        "syncs": sides(*(counts[side]["figure"] for side in SIDES)),
        "sync_lines": {
            **{side: counts[side]["lines"] for side in SIDES},
            "internal": {side: counts[side]["internal"] for side in SIDES},
        },
    }


def _gpu(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record import sides  # noqa: PLC0415

    seen = {side: found[side][0] for side in SIDES}
    names = seen["before"]["figures"]
    return {
        "gpu": {name: sides(*(seen[side]["figures"][name] for side in SIDES)) for name in names},
        "gpu_timeline": {side: seen[side]["timeline"] for side in SIDES},
    }


def _profile(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {"profile": {side: found[side][0] for side in SIDES}}


_FIELDS = {"cold": _cold, "memory": _memory, "syncs": _syncs, "gpu": _gpu, "profile": _profile}


# -- in the fresh process ------------------------------------------------------------------------------------------


def of_one_side(tasks: str, name: SideName, sides: Work, device: str, root: Path) -> Any:
    """Measure what is asked of one side in this process, which is fresh.

    Args:
        tasks: passes, or ``ceilings``, as `Ask` is given them.
        name: the side.
        sides: both sides; the other one is not touched.
        device: where it works.
        root: what the places of synchronizations are told from.
    """
    first_call_s = time_side(sides, name, 1)
    if tasks == CEILINGS:
        from speedclaims.recorders import ceilings  # noqa: PLC0415

        return ceilings.measure(device)
    alone = _Alone(name, sides, device, root, first_call_s)
    return {task: getattr(alone, task)() for task in tasks.split(SEPARATOR)}


class _Alone:
    """The passes, a method each, of one side that has run once."""

    def __init__(self, name: SideName, sides: Work, device: str, root: Path, first_call_s: float) -> None:
        self._name, self._sides, self._device, self._root = name, sides, device, root
        self._first_call_s = first_call_s

    def _prepare(self) -> None:
        """Put the side back to its start: what that takes belongs to no side."""
        self._sides.setup(self._name)
        self._sides.synchronize()

    def _call(self) -> None:
        self._sides.side(self._name)()
        self._sides.synchronize()

    def cold(self) -> dict[str, Any]:
        from speedclaims.record import figure  # noqa: PLC0415

        return figure(self._first_call_s, "s")

    def memory(self) -> dict[str, Any]:
        from speedclaims.recorders.memory import peak_bytes  # noqa: PLC0415

        return peak_bytes(self._device, partial(time_side, self._sides, self._name, 1))

    def syncs(self) -> dict[str, Any]:
        from speedclaims.recorders.syncs import count_call  # noqa: PLC0415

        self._prepare()
        return count_call(self._sides.side(self._name), self._root)

    def gpu(self) -> dict[str, Any]:
        from speedclaims.recorders.nvml_window import watch  # noqa: PLC0415

        self._prepare()  # once: between the calls it would make the device look idle
        return asdict(watch(self._call, device=self._device))

    def profile(self) -> dict[str, Any]:
        from speedclaims.recorders import ceilings, flops, profile  # noqa: PLC0415

        found = profile.profile_side(self._prepare, self._call, self._device)
        if self._name == "before":
            self._prepare()
            found.update(flops=flops.flops_per_call(self._call), framework=ceilings.framework())
        return found
