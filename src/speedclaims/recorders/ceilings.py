"""Ceilings: the most that this machine does, measured on it and not taken from a data sheet.

A large matrix product of random numbers, and a large copy; the best of several, with the threads and the numerical
settings (TF32, oneDNN) that the trainers run under.
"""

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from speedclaims import clock
from speedclaims.record.figure import figure

if TYPE_CHECKING:
    from speedclaims.record.types import Ceilings, Figure

CPU_SIZE, CUDA_SIZE = 2048, 8192
"""Rows and columns of the matrices."""
_CPU_COPY_BYTES, _CUDA_COPY_BYTES = 2**28, 2**31
_FLOAT_BYTES = 4
_MOST_TRIES = 6
_ENOUGH_S = 2.0
NUMBERS = ("float32", "bfloat16")


def measure(device: str, *, size: int | None = None, copy_bytes: int | None = None) -> "Ceilings":
    """Return the ceilings of a device as the record has them, by PyTorch or else TensorFlow, whichever is imported.

    Args:
        device: ``cpu`` or ``cuda``.
        size: rows and columns of the matrices, by default large enough for the device.
        copy_bytes: size of the copy, likewise.
    """
    on_gpu = device.startswith("cuda")
    size = size or (CUDA_SIZE if on_gpu else CPU_SIZE)
    copy_bytes = copy_bytes or (_CUDA_COPY_BYTES if on_gpu else _CPU_COPY_BYTES)
    name = framework()
    if name is None:
        return missing(device, "neither PyTorch nor TensorFlow is imported: nothing here multiplies matrices")
    make = _torch_work if name == "torch" else _tensorflow_work
    num_operations = 2.0 * size**3
    work = make(sys.modules[name], device, size, copy_bytes // _FLOAT_BYTES)
    rates = {kind: _rate(partial(work, kind), num_operations, "FLOP/s") for kind in NUMBERS}
    # Every byte is read once and written once.
    copied = _rate(partial(work, "copy"), 2.0 * copy_bytes, "B/s")
    return {"framework": name, "device": device, "matmul": rates, "copy": copied}


def framework() -> str | None:
    """Return which framework this process has imported, PyTorch before TensorFlow; None without either."""
    return next((name for name in ("torch", "tensorflow") if name in sys.modules), None)


def missing(device: str, reason: str) -> "Ceilings":
    """Return what the record says where no ceiling could be measured."""
    return {
        "framework": None,
        "device": device,
        "matmul": {kind: figure(None, "FLOP/s", reason) for kind in NUMBERS},
        "copy": figure(None, "B/s", reason),
    }


def _rate(prepare: Callable[[], Callable[[], object]], amount: float, unit: str) -> "Figure":
    """Return the amount done a second at the fastest of several tries, after one that does not count."""
    try:
        call = prepare()
        call()
        times: list[float] = []
        read = clock.timer()
        while not times or (len(times) < _MOST_TRIES and sum(times) < _ENOUGH_S):
            started = read()
            call()
            times.append(read() - started)
    except (RuntimeError, ValueError) as error:  # no memory, or numbers that this device does not multiply
        return figure(None, unit, f"it could not be measured here: {str(error).splitlines()[0]}")
    return figure(amount / min(times), unit)


def _torch_work(torch: ModuleType, device: str, size: int, num_floats: int) -> Callable[[str], Callable[[], object]]:
    def work(kind: str) -> Callable[[], object]:
        if kind == "copy":
            source, target = torch.rand(num_floats, device=device), torch.empty(num_floats, device=device)
            act = partial(target.copy_, source)
        else:
            left, right, result = (torch.randn(size, size, device=device).to(getattr(torch, kind)) for _ in range(3))
            act = partial(torch.mm, left, right, out=result)

        def run() -> None:
            act()
            if device.startswith("cuda"):
                torch.cuda.synchronize()

        return run

    return work


def _tensorflow_work(
    tensorflow: ModuleType, device: str, size: int, num_floats: int
) -> Callable[[str], Callable[[], object]]:
    where = "GPU:0" if device.startswith("cuda") else "CPU:0"

    def work(kind: str) -> Callable[[], object]:
        with tensorflow.device(where):
            if kind == "copy":
                act = partial(tensorflow.raw_ops.DeepCopy, x=tensorflow.random.uniform((num_floats,)))
            else:
                factors = [tensorflow.cast(tensorflow.random.normal((size, size)), kind) for _ in range(2)]
                act = partial(tensorflow.matmul, *factors)

        def run() -> None:
            with tensorflow.device(where):
                act()
            tensorflow.test.experimental.sync_devices()

        return run

    return work
