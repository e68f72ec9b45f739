"""Run the passes other than ``time``: they measure each side alone, in fresh processes, apart from the timing.

One process runs all passes of a side. Some figures scatter from process to process: the first call and the resident
memory. More processes repeat those alone, and the record holds the median with its range.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speedclaims.measure.child_process import ChildError
from speedclaims.measure.interleave import SideName, Work, time_side
from speedclaims.measure.stages import Stages, rates_of_side
from speedclaims.recorders.phases import record as phases_record

if TYPE_CHECKING:
    from speedclaims.claims.ledger import Claim

PASSES = ("time", "cold", "memory", "syncs", "gpu", "profile")
"""Names of the passes; ``time`` is the pair itself."""

SIDES: tuple[SideName, SideName] = ("before", "after")
NUM_PROCESSES = 3
"""Fresh processes for each side where a figure scatters from one to the next."""

SEPARATOR = "+"
CEILINGS = "ceilings"
STAGES = "stages"
_ORDER = ("cold", "memory", "syncs", "gpu", STAGES, "profile")  # what disturbs the process for the others comes last

Ask = Callable[[str, str], Any]
"""Asks a fresh process of one side for one task and returns what it left."""

FAILED = "failed"
"""Key under which a fresh process leaves the error of a pass, in place of its figures."""


def not_run(reason: Callable[[str], str]) -> dict[str, Any]:
    """Return the fields of a pair's row for passes that did not run, each with its reason by its name."""
    asked = [name for name in _ORDER if name != "gpu"]  # whose figures are of a machine with a GPU alone
    return {"gpu": {}} | {key: value for name in asked for key, value in _missing(name, reason(name)).items()}


def _missing(name: str, reason: str) -> dict[str, Any]:
    """Return the fields of one pass that has no figures, for a reason."""
    from speedclaims.record.figure import figure, sides  # noqa: PLC0415
    from speedclaims.recorders.flops.count import not_counted  # noqa: PLC0415
    from speedclaims.recorders.phases.record import not_profiled  # noqa: PLC0415

    if name == "cold":
        return {f"cold_{side}_s": figure(None, "s", reason) for side in SIDES}
    if name in ("memory", "syncs"):
        return {name: sides(*(figure(None, "bytes" if name == "memory" else "1", reason) for _ in SIDES))}
    if name == "gpu":
        from speedclaims.recorders.nvml.window import UNITS  # noqa: PLC0415

        return {"gpu": {key: sides(*(figure(None, unit, reason) for _ in SIDES)) for key, unit in UNITS.items()}}
    if name == "profile":
        return {"profile": {side: not_profiled(reason) for side in SIDES}, "flops": not_counted(reason)}
    return {"stages": {}}


def late(names: Sequence[str], row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the fields of passes that were asked for and came too late, each with the reason."""
    return {key: value for name in _asked(names, row) for key, value in _missing(name, reason).items()}


def _asked(names: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    """Return the passes to run, in their order: NVML is asked only where a GPU does the work."""
    on_gpu = str(row["device"]).startswith("cuda")
    return [name for name in _ORDER if name in names and (name != "gpu" or on_gpu)]


def passes_of(claims: "Sequence[Claim]") -> set[str]:
    """Return the passes without which these claims cannot be judged."""
    return {_PASS_OF_METRIC[claim.metric] for claim in claims if claim.metric in _PASS_OF_METRIC}


_PASS_OF_METRIC = {
    "memory_ratio": "memory",
    "sync_ratio": "syncs",
    **dict.fromkeys(("utilization", "utilization_before", "sm_activity", "tensor_activity", "energy_ratio"), "gpu"),
}


def measure_passes(
    names: Sequence[str],
    row: Mapping[str, Any],
    ask: Ask,
    ceilings_of: Callable[[str | None], Mapping[str, Any]],
    min_bytes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure passes of both sides and return the fields of the pair's row.

    A pass that fails costs its own figures alone: they get its error as their reason.

    Args:
        names: the passes.
        row: the pair's row, with its device and its times.
        ask: starts a fresh process.
        ceilings_of: gives what the machine does at most with a framework.
        min_bytes: the bytes that a call must read and write, a figure, for the pass `profile`.
    """
    asked = _asked(names, row)
    if not asked:
        return {}
    on_gpu = str(row["device"]).startswith("cuda")
    found = {side: _of_side(asked, side, ask, on_gpu=on_gpu) for side in SIDES}
    fields: dict[str, Any] = {}
    for name in asked:
        error = next((left[FAILED] for side in SIDES for left in found[side][name] if FAILED in left), None)
        if error is None:
            try:
                fields.update(_FIELDS[name]({side: found[side][name] for side in SIDES}))
                if name == "profile":
                    fields.update(_shares(fields["profile"]["before"], row, ceilings_of, min_bytes))
            except Exception as raised:  # noqa: BLE001 - whatever a pass does, the timing is kept
                error = describe(raised)
        if error is not None:
            fields.update(_missing(name, f"the {name} pass failed: {error}"))
    return fields


def _shares(
    before: dict[str, Any],
    row: Mapping[str, Any],
    ceilings_of: Callable[[str | None], Mapping[str, Any]],
    min_bytes: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the operations and bytes of a call and their shares of what the machine does at most."""
    from speedclaims.recorders.flops import count as flops  # noqa: PLC0415

    counted, framework = before.pop("flops"), before.pop("framework")
    ceilings = ceilings_of(framework)
    found = {"flops": flops.of_pair(row, counted, flops.highest(ceilings))}
    if min_bytes is not None:
        found["bytes"] = flops.of_pair(row, min_bytes, ceilings["copy"])
    return found


def describe(error: BaseException) -> str:
    """Return an error in one line: its type and the end of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"


def _of_side(asked: Sequence[str], side: SideName, ask: Ask, *, on_gpu: bool) -> dict[str, list[Any]]:
    """Return what each pass found, in one process or several."""
    # what a GPU's allocator counts is the same in every process
    scattering = [name for name in asked if name == "cold" or (name == "memory" and not on_gpu)]
    found: dict[str, list[Any]] = {name: [] for name in asked}
    for tasks in [asked, *[scattering] * (NUM_PROCESSES - 1)]:
        if tasks:
            left = _ask(ask, tasks, side)
            for name in tasks:
                found[name].append(left[name])
    return found


def _ask(ask: Ask, tasks: Sequence[str], side: SideName) -> dict[str, Any]:
    """Return what a fresh process left of each task; of those that it did not come to, the error that ended it."""
    try:
        left: dict[str, Any] = ask(SEPARATOR.join(tasks), side)
    except ChildError as error:
        left = {task: {FAILED: describe(error)} for task in tasks} | (error.left or {})
    return left


def _cold(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record.figure import spread  # noqa: PLC0415

    return {f"cold_{side}_s": spread(found[side]) for side in SIDES}


def _memory(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record.figure import sides, spread  # noqa: PLC0415

    return {"memory": sides(*(spread(found[side]) for side in SIDES))}


def _syncs(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record.figure import sides  # noqa: PLC0415

    counts = {side: found[side][0] for side in SIDES}
    return {
        "syncs": sides(*(counts[side]["figure"] for side in SIDES)),
        "sync_lines": {
            **{side: counts[side]["lines"] for side in SIDES},
            "internal": {side: counts[side]["internal"] for side in SIDES},
        },
    }


def _gpu(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    from speedclaims.record.figure import sides  # noqa: PLC0415

    seen = {side: found[side][0] for side in SIDES}
    names = seen["before"]["figures"]
    return {
        "gpu": {name: sides(*(seen[side]["figures"][name] for side in SIDES)) for name in names},
        "gpu_timeline": {side: seen[side]["timeline"] for side in SIDES},
    }


def _profile(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {"profile": {side: found[side][0] for side in SIDES}}


def _stages(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    rates = {side: found[side][0] for side in SIDES}
    return {"stages": {name: {side: rates[side][name] for side in SIDES} for name in rates["before"]}}


_FIELDS = {"cold": _cold, "memory": _memory, "syncs": _syncs, "gpu": _gpu, "profile": _profile, STAGES: _stages}


# -- in the fresh process ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alone:
    """One side in a process of its own, for the passes.

    Attributes:
        name: the side.
        sides: both sides; the other one is not touched.
        device: where it works.
        root: folder that the places of synchronizations are named from.
        units: how many units of work a call does.
        stages: parts of the work to measure alone.
    """

    name: SideName
    sides: Work
    device: str
    root: Path
    units: float = 1
    stages: Stages = field(default_factory=dict)

    def run(self, tasks: str, note: Callable[[Any, bool], object]) -> None:
        """Measure what is asked of the side in this process, which is fresh.

        Args:
            tasks: passes, or ``ceilings``, as `Ask` is given them.
            note: takes what there is so far and whether it is all, after each pass: a later one may end the process.
        """
        first_call_s = time_side(self.sides, self.name, 1)
        if tasks == CEILINGS:
            from speedclaims.recorders import ceilings  # noqa: PLC0415

            note(ceilings.measure(self.device), True)  # noqa: FBT003 - it is all
            return
        found: dict[str, Any] = {}
        names = tasks.split(SEPARATOR)
        for number, task in enumerate(names, start=1):
            try:
                found[task] = self._cold(first_call_s) if task == "cold" else getattr(self, f"_{task}")()
            except Exception as error:  # noqa: BLE001 - another pass may do better
                found[task] = {FAILED: describe(error)}
            note(found, number == len(names))

    def _prepare(self) -> None:
        """Put the side back to its start: what that takes belongs to no side."""
        self.sides.setup(self.name)
        self.sides.synchronize()

    def _call(self) -> None:
        self.sides.side(self.name)()
        self.sides.synchronize()

    def _cold(self, first_call_s: float) -> dict[str, Any]:
        from speedclaims.record.figure import figure  # noqa: PLC0415

        return figure(first_call_s, "s")

    def _memory(self) -> dict[str, Any]:
        from speedclaims.recorders.memory import peak_bytes  # noqa: PLC0415

        self._prepare()  # what that holds for a moment is not the side's
        return peak_bytes(self.device, self._call)

    def _syncs(self) -> dict[str, Any]:
        from speedclaims.recorders.syncs.record import count_call  # noqa: PLC0415

        self._prepare()
        return count_call(self.sides.side(self.name), self.root)

    def _gpu(self) -> dict[str, Any]:
        from speedclaims.recorders.nvml.window import watch  # noqa: PLC0415

        self._prepare()  # once: between the calls it would make the device look idle
        return asdict(watch(self._call, device=self.device))

    def _profile(self) -> dict[str, Any]:
        from speedclaims.recorders import ceilings  # noqa: PLC0415
        from speedclaims.recorders.flops import count as flops  # noqa: PLC0415

        found = phases_record.profile_side(self._prepare, self._call, self.device)
        if self.name == "before":
            self._prepare()
            found.update(flops=flops.flops_per_call(self._call), framework=ceilings.framework())
        return found

    def _stages(self) -> dict[str, Any]:
        return rates_of_side(self.stages, self.name, self.units, self.sides.synchronize)
