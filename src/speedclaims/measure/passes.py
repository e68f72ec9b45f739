"""Run the passes other than ``time``: each records figures of each side alone, in fresh processes, apart from timing.

One process runs all passes of a side. Some figures scatter from process to process: the first call and the resident
memory. More processes repeat those alone, and the record holds the median with its range.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from speedclaims.measure.child_process import ChildError
from speedclaims.record.json_types import Json, JsonObject
from speedclaims.recorders.recorder import SIDES, PairContext, Recorder, Side, did_not_run
from speedclaims.recorders.registry import recorders

if TYPE_CHECKING:
    from speedclaims.claims.ledger import Claim
    from speedclaims.record.types import RecordedPair

NUM_PROCESSES = 3
"""Fresh processes for each side where a figure scatters from one to the next."""

SEPARATOR = "+"
TIME, TIME_AND_CHECK, CEILINGS, REVISION = "time", "time and check", "ceilings", "revision"
ALTERNATIVES, ALTERNATIVES_AND_CHECK = "alternatives", "alternatives and check"

Ask = Callable[[str, str], Json]
"""Asks a fresh process of one side for one task and returns what it left."""

FAILED = "failed"
"""Key under which a fresh process leaves the error of a pass, in place of its figures."""


def not_run() -> dict[str, object]:
    """Return the fields of a pair's row before any pass has run."""
    fields: dict[str, object] = {"gpu": {}, "recorders": {}}
    for name, recorder in recorders().items():
        if name != "gpu" and not recorder.units:  # a GPU's figures are there on a machine with one alone
            fields = merged(fields, recorder.missing(did_not_run(name)))
    return fields


def merged(row: Mapping[str, object], fields: Mapping[str, object]) -> dict[str, object]:
    """Return a pair's row with the fields of a pass, which may add to the figures of other packages' recorders."""
    both = {**row, **fields}
    if "recorders" in row and "recorders" in fields:
        both["recorders"] = {**_mapping(row["recorders"]), **_mapping(fields["recorders"])}
    return both


def late(names: Sequence[str], row: "RecordedPair", reason: str) -> dict[str, object]:
    """Return the fields of passes that were asked for and came too late, each with the reason."""
    fields: dict[str, object] = {}
    for recorder in _asked(names, row):
        fields = merged(fields, recorder.missing(reason))
    return fields


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _asked(names: Sequence[str], row: "RecordedPair") -> list[Recorder]:
    """Return the recorders to run, in their order."""
    asked = [one for name, one in recorders().items() if name in names and one.applies(row["device"])]
    return sorted(asked, key=lambda one: one.order)


def passes_of(claims: "Sequence[Claim]") -> set[str]:
    """Return the passes without which these claims cannot be judged."""
    wanted = {claim.metric for claim in claims}
    return {name for name, one in recorders().items() if wanted & {metric.name for metric in one.metrics}}


def measure_passes(names: Sequence[str], ask: Ask, context: PairContext) -> dict[str, object]:
    """Measure passes of both sides and return the fields of the pair's row.

    A pass that fails costs its own figures alone: they get its error as their reason.

    Args:
        names: the passes.
        ask: starts a fresh process.
        context: the pair's row, with its device and its times, and what recorders may need of it.
    """
    asked = _asked(names, context.row)
    if not asked:
        return {}
    found = {side: _of_side(asked, side, ask, context.row["device"]) for side in SIDES}
    fields: dict[str, object] = {}
    for recorder in asked:
        before, after = (found[side][recorder.name] for side in SIDES)
        error = next((left[FAILED] for left in (*before, *after) if FAILED in left), None)
        if error is None:
            try:
                made = recorder.fields(before, after, context)
                json.dumps(made, allow_nan=False)  # what no record can hold fails here, where it costs itself alone
                fields = merged(fields, made)
            except Exception as raised:  # noqa: BLE001 - whatever a pass does, the timing is kept
                error = describe(raised)
        if error is not None:
            fields = merged(fields, recorder.missing(f"the {recorder.name} pass failed: {error}"))
    return fields


def describe(error: BaseException) -> str:
    """Return an error in one line: its type and the end of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"


def _of_side(asked: Sequence[Recorder], side: str, ask: Ask, device: str) -> dict[str, list[Json]]:
    """Return what each pass found, in one process or several."""
    scattering = [one.name for one in asked if one.scatters(device)]
    found: dict[str, list[Json]] = {one.name: [] for one in asked}
    for tasks in [[one.name for one in asked], *[scattering] * (NUM_PROCESSES - 1)]:
        if tasks:
            left = _ask(ask, tasks, side)
            for name in tasks:
                found[name].append(left[name])
    return found


def _ask(ask: Ask, tasks: Sequence[str], side: str) -> JsonObject:
    """Return what a fresh process left of each task; of those that it did not come to, the error that ended it."""
    try:
        left: JsonObject = ask(SEPARATOR.join(tasks), side)
    except ChildError as error:
        left = {task: {FAILED: describe(error)} for task in tasks} | (error.left or {})
    return left


# -- in the fresh process ------------------------------------------------------------------------------------------


def run_tasks(tasks: str, side: Side, note: Callable[[Json, bool], object]) -> None:
    """Measure what is asked of a side in this process, which is fresh.

    Args:
        tasks: passes, or ``ceilings``, as `Ask` is given them.
        side: the side.
        note: takes what there is so far and whether it is all, after each pass: a later one may end the process.
    """
    if tasks == CEILINGS:
        from speedclaims.recorders import ceilings  # noqa: PLC0415

        note(ceilings.measure(side.device), True)  # noqa: FBT003 - it is all
        return
    found: JsonObject = {}
    names = tasks.split(SEPARATOR)
    for number, name in enumerate(names, start=1):
        try:
            found[name] = recorders()[name].record_side(side)
        except Exception as error:  # noqa: BLE001 - another pass may do better
            found[name] = {FAILED: describe(error)}
        note(found, number == len(names))
