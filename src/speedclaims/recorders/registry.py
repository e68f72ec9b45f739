"""List the recorders: those of this package, a line each, and those that other packages add by entry points."""

from functools import cache
from importlib import import_module

from speedclaims.errors import SpeedclaimsError
from speedclaims.recorders.recorder import Recorder

GROUP = "speedclaims.recorders"
"""The entry-point group by which other packages add recorders; each names a subclass of `Recorder`."""

BUILT_IN = (
    "speedclaims.recorders.stages:Stages",
    "speedclaims.recorders.first_call:FirstCall",
    "speedclaims.recorders.memory:Memory",
    "speedclaims.recorders.syncs.recorder:Synchronizations",
    "speedclaims.recorders.phases.recorder:Profiler",
    "speedclaims.recorders.nvml.recorder:Nvml",
)
"""The recorders of this package, in the order of their tables in a report."""


class RecorderError(SpeedclaimsError, ValueError):
    """Signal that a recorder of another package cannot be used, in one line: which, why, and what to do."""


@cache
def recorders() -> dict[str, Recorder]:
    """Return the recorders by name, those of this package first.

    Raises:
        RecorderError: an entry point names no recorder, or one whose name is taken.
    """
    found: dict[str, Recorder] = {}
    for where in BUILT_IN:
        module, _, name = where.partition(":")
        one: Recorder = getattr(import_module(module), name)()
        found[one.name] = one
    return found | _added(set(found) | {"time"})


def _added(taken: set[str]) -> dict[str, Recorder]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - it costs a little, and few runs need recorders

    found: dict[str, Recorder] = {}
    for entry in entry_points(group=GROUP):
        where = f"entry point {entry.name} = {entry.value} of the group {GROUP}"
        try:
            one = entry.load()()
        except Exception as error:
            raise RecorderError(
                f"{where}: it cannot be loaded ({type(error).__name__}: {error}): correct or uninstall its package"
            ) from error
        if not isinstance(one, Recorder):
            raise RecorderError(
                f"{where}: not a subclass of speedclaims.recorders.recorder.Recorder: correct its package"
            )
        if one.name in taken | set(found):
            raise RecorderError(f"{where}: another recorder has the name {one.name}: rename it in its package")
        found[one.name] = one
    return found


def passes() -> tuple[str, ...]:
    """Return the names that ``--speedup-passes`` takes: ``time``, which is the pair itself, and the recorders.

    Stages have their own argument of ``pair``.
    """
    return ("time", *(name for name in recorders() if name != "stages"))
