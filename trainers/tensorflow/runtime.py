"""TensorFlow as the trainers take it: imported when it is used, quietly, on the device that was asked for."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

from trainers.common.frameworks import require
from trainers.contract import BadInput

__all__ = ["find_device", "hide_other_devices", "require_tensorflow"]


def require_tensorflow() -> None:
    """Import TensorFlow, without the lines that it writes to stderr while it starts.

    Raises:
        BadInput: it is not installed.

    """
    if "tensorflow" in sys.modules:
        return
    require("tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _quiet_stderr():
        import tensorflow  # noqa: F401, ICN001, PLC0415 - from here on every module of the family finds it imported


def find_device(name: str | None) -> str:
    """TensorFlow's name of a device; without one, of the best there is.

    Args:
        name: `cpu`, `cuda` or `cuda:1`, as for the families that use PyTorch.

    Raises:
        BadInput: there is no such device, or TensorFlow is not installed.

    """
    require_tensorflow()
    import tensorflow as tf  # noqa: PLC0415 - see the module's docstring

    num_gpus = len(tf.config.get_visible_devices("GPU"))
    match = re.fullmatch(r"(cpu)|cuda(?::(\d+))?", ("cuda" if num_gpus else "cpu") if name is None else str(name))
    if match is None:
        raise BadInput(f"unknown device {name!r}", "device", "choose cpu or cuda")
    if match[1]:
        return "/CPU:0"
    index = int(match[2] or 0)
    if index >= num_gpus:
        mend = "choose cpu, or install a TensorFlow for your GPU"
        raise BadInput(f"TensorFlow finds no device {name!r} here", "device", mend)
    return f"/GPU:{index}"


def hide_other_devices(name: str | None) -> str:
    """Hide all GPUs but that of a name from TensorFlow, and return the name of what is left: `cpu` or `cuda`.

    TensorFlow must not have run any operation in this process.

    Args:
        name: as for `find_device`.

    Raises:
        BadInput: as `find_device`.

    """
    chosen = find_device(name)
    import tensorflow as tf  # noqa: PLC0415 - see the module's docstring

    kind, _, index = chosen.rpartition(":")
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices([] if kind == "/CPU" else gpus[int(index)], "GPU")
    return "cpu" if kind == "/CPU" else "cuda"


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Send what is written to stderr nowhere: TensorFlow's libraries log there before any setting of theirs counts."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
