"""Host-device synchronizations of TensorFlow: how often Python asks for the value of a tensor, and from where.

Every way to a value but the buffer protocol goes through one method of eager tensors: ``numpy()``, ``float()``,
``bool()``, ``format()``, ``np.array()``. It is wrapped while the count runs, so what runs then must not be timed.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch


@dataclass
class Syncs:
    """What was counted.

    Attributes:
        own: calls whose nearest caller is no part of TensorFlow, Keras or NumPy, by ``file:line``.
        internal: calls that the frameworks make inside themselves.
    """

    own: Counter[str] = field(default_factory=Counter)
    internal: int = 0


@contextmanager
def counting_syncs() -> Iterator[Syncs]:
    """Count while the block runs.

    Raises:
        RuntimeError: TensorFlow is not imported in this process.
    """
    ops = sys.modules.get("tensorflow.python.framework.ops")
    if ops is None:
        msg = "TensorFlow is not imported: import it before counting its synchronizations"
        raise RuntimeError(msg)
    tensor, syncs, folders = ops._EagerTensorBase, Syncs(), _framework_folders()  # noqa: SLF001 - the one door
    real, door = tensor._numpy, str(ops.__file__)  # noqa: SLF001 - the same

    def counted(self: Any) -> Any:
        frame = _outside_of(door, sys._getframe(1))  # noqa: SLF001 - the cheapest way to the caller
        if frame is None or frame.f_code.co_filename.startswith(folders):
            syncs.internal += 1
        else:
            syncs.own[f"{frame.f_code.co_filename}:{frame.f_lineno}"] += 1
        return real(self)

    with patch.object(tensor, "_numpy", counted):
        yield syncs


def _outside_of(file: str, frame: FrameType | None) -> FrameType | None:
    """Return the nearest frame that is not in a file: who called a tensor's own methods."""
    while frame is not None and frame.f_code.co_filename == file:
        frame = frame.f_back
    return frame


def _framework_folders() -> tuple[str, ...]:
    modules = (sys.modules.get(name) for name in ("tensorflow", "keras", "numpy"))
    return tuple(str(Path(module.__file__).parent) for module in modules if module is not None and module.__file__)
