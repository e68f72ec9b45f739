"""Count the synchronizations of a call in every framework that is imported."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from speedclaims.recorders.syncs.counter import NothingToCountError, Syncs


@contextmanager
def counting_syncs() -> Iterator[Syncs]:
    """Count while the block runs, in PyTorch, TensorFlow or both: whatever is imported when it begins.

    Raises:
        NothingToCountError: neither is imported in this process.
    """
    from speedclaims.recorders.syncs import tensorflow as syncs_tf  # noqa: PLC0415 - they import this module
    from speedclaims.recorders.syncs import torch as syncs_torch  # noqa: PLC0415 - likewise

    modules = [module for module in (syncs_torch, syncs_tf) if module.is_imported()]
    if not modules:
        msg = "neither PyTorch nor TensorFlow is imported: nothing here waits for a device"
        raise NothingToCountError(msg)
    syncs = Syncs()
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(module.counting_syncs(syncs))
        yield syncs


def count_call(call: Callable[[], object], root: Path) -> dict[str, Any]:
    """Run a call and return its own synchronizations as a figure of the record, with their lines and the internal ones.

    Args:
        call: one warm call of a side.
        root: the folder from which lines are named.

    Returns:
        ``figure``; ``lines``, a count by place; and ``internal``, None where nothing could be counted.
    """
    from speedclaims.record.figure import figure  # noqa: PLC0415 - it is loaded where it is needed

    try:
        with counting_syncs() as syncs:
            call()
    except NothingToCountError as error:
        return {"figure": figure(None, "1", str(error)), "lines": {}, "internal": None}
    return {
        "figure": figure(float(syncs.own.total()), "1"),
        "lines": _by_place(syncs.own, root),
        "internal": syncs.internal,
    }


def _by_place(own: Counter[str], root: Path) -> dict[str, int]:
    """Return the counts by places that tell nothing of the machine, the most frequent first."""
    places: Counter[str] = Counter()
    for place, count in own.items():
        file, _, line = place.rpartition(":")
        places[f"{_without_root(file, root)}:{line}"] += count
    return dict(sorted(places.items(), key=lambda item: (-item[1], item[0])))


def _without_root(file: str, root: Path) -> str:
    """Return a path from a folder, or else from where Python found the module: nothing of the machine."""
    path = Path(file)
    if not path.is_absolute():
        return path.as_posix()
    found_in = sorted((Path(entry) for entry in sys.path if entry), key=lambda entry: -len(entry.parts))
    for folder in (root, *found_in):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name
