"""The phases and the kernels of TensorFlow: what `profile` wraps and reads.

A call of a ``tf.function`` is one phase, `compiled step`; what runs operation by operation is split by Keras'
layers and optimizers and by ``GradientTape``. On a GPU every boundary of a phase waits for it, which lengthens the
call; that is why it never supplies a time.

Not distinguished: tensors made of arrays (``tf.constant`` on a GPU is a transfer), ``np.asarray(tensor)``, and layers
that are no Keras layers.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from speedclaims.recorders.phases.stopwatch import (
    BACKWARD,
    COMPILED,
    DATA_WAIT,
    FORWARD,
    HOST_SYNC,
    OPTIMIZER,
    Interval,
    Phases,
    ProfilerError,
    defining_classes,
    patched,
)

_OPS = "tensorflow.python.framework.ops"
_FUNCTION = "tensorflow.python.eager.polymorphic_function.polymorphic_function"
_CONCRETE = "tensorflow.python.eager.polymorphic_function.concrete_function"
_ITERATORS = (
    ("tensorflow.python.data.ops.iterator_ops", "OwnedIterator"),
    (
        "tensorflow.python.data.ops.dataset_ops",
        "NumpyIterator",
    ),
)
_PLANES = "tensorflow.tsl.profiler.protobuf.xplane_pb2"
_GPU_PLANE = "/device:GPU:"
_STREAM = "Stream"
_COPIES = ("Memcpy", "Memset")
_PS_PER_S, _NS_PER_S = 1e12, 1e9

if TYPE_CHECKING:
    from speedclaims.record.types import PhaseName

Patch = tuple[object, str, Callable[..., object]]


def is_imported() -> bool:
    """Whether this process has imported TensorFlow."""
    return _OPS in sys.modules


def settle() -> None:
    """Wait for the GPUs, if there are any."""
    tensorflow = sys.modules["tensorflow"]
    if tensorflow.config.list_logical_devices("GPU"):
        tensorflow.test.experimental.sync_devices()


@contextmanager
def watching(phases: Phases) -> Iterator[None]:
    """Patch the functions of TensorFlow and Keras that belong to a phase, while the block runs.

    Args:
        phases: takes the time of every phase.
    """
    tensorflow = sys.modules["tensorflow"]
    methods = [*_methods(tensorflow), *_keras_methods()]
    with patched((kind, name, phases.timed(vars(kind)[name], phase)) for kind, name, phase in methods):
        yield


def _methods(tensorflow: ModuleType) -> "Iterator[tuple[type, str, PhaseName]]":
    tensor = sys.modules[_OPS]._EagerTensorBase  # noqa: SLF001 - the one way to values
    yield tensor, "_numpy", HOST_SYNC
    yield tensor, "cpu", HOST_SYNC
    for name in ("gradient", "jacobian"):
        yield tensorflow.GradientTape, name, BACKWARD
    yield sys.modules[_FUNCTION].Function, "__call__", COMPILED
    yield sys.modules[_CONCRETE].ConcreteFunction, "__call__", COMPILED
    for module, name in _ITERATORS:
        yield getattr(sys.modules[module], name), "__next__", DATA_WAIT


def _keras_methods() -> "Iterator[tuple[type, str, PhaseName]]":
    keras = sys.modules.get("keras")
    if keras is None:
        return
    yield from ((kind, "__call__", FORWARD) for kind in defining_classes(keras.layers.Layer, "__call__"))
    for name in ("apply", "apply_gradients"):
        yield from ((kind, name, OPTIMIZER) for kind in defining_classes(keras.optimizers.Optimizer, name))


@contextmanager
def recording_kernels() -> Iterator[list[Interval]]:
    """Profile the GPUs while the block runs; at its end the list holds the kernels' intervals in seconds.

    Raises:
        ProfilerError: TensorFlow has no GPU, or this version keeps the format of its profiles elsewhere.
    """
    tensorflow = sys.modules["tensorflow"]
    if not tensorflow.config.list_logical_devices("GPU"):
        raise ProfilerError("TensorFlow has no GPU here: there are no kernels to profile")
    find_format()
    found: list[Interval] = []
    with tempfile.TemporaryDirectory(prefix="speedclaims-") as folder:
        tensorflow.profiler.experimental.start(folder)
        try:
            yield found
            settle()
        finally:
            tensorflow.profiler.experimental.stop()
        found += kernel_intervals(read_profile(Path(folder)))


def find_format() -> ModuleType:
    """Return the module with the format of TensorFlow's profiles.

    Raises:
        ProfilerError: this version keeps it elsewhere.
    """
    try:
        return importlib.import_module(_PLANES)
    except ImportError:
        raise ProfilerError("this version of TensorFlow does not say how its profiles are to be read") from None


def read_profile(folder: Path) -> "_Profile":
    """Return the one profile below a folder.

    Raises:
        ProfilerError: there is none.
    """
    files = sorted(folder.rglob("*.xplane.pb"))
    if not files:
        raise ProfilerError("TensorFlow's profiler left no profile")
    space: _Profile = find_format().XSpace()
    space.ParseFromString(files[0].read_bytes())
    return space


class _Event(Protocol):
    """A kernel or an operation: when it ran and for how long."""

    metadata_id: int
    offset_ps: int
    duration_ps: int


class _Line(Protocol):
    """A stream of a device."""

    name: str
    timestamp_ns: int
    events: Iterable[_Event]


class _Named(Protocol):
    """A name."""

    name: str


class _Plane(Protocol):
    """A device."""

    name: str
    lines: Iterable[_Line]
    event_metadata: Mapping[int, _Named]


class _Profile(Protocol):
    """A profile of TensorFlow's."""

    planes: Iterable[_Plane]

    def ParseFromString(self, data: bytes) -> object:  # noqa: N802 - protobuf's name
        """Read it."""


def kernel_intervals(space: _Profile, plane_prefix: str = _GPU_PLANE, line_prefix: str = _STREAM) -> list[Interval]:
    """Return the intervals in seconds of a profile's kernels: what ran on the streams of its GPUs, but copies.

    Args:
        space: the profile.
        plane_prefix: how the names of the devices' planes begin.
        line_prefix: how the names of their streams begin; other lines repeat them in summary.
    """
    return [
        (_start_s(line, event), _start_s(line, event) + event.duration_ps / _PS_PER_S)
        for plane in space.planes
        if plane.name.startswith(plane_prefix)
        for line in plane.lines
        if line.name.startswith(line_prefix)
        for event in line.events
        if not plane.event_metadata[event.metadata_id].name.startswith(_COPIES)
    ]


def _start_s(line: _Line, event: _Event) -> float:
    return float(line.timestamp_ns / _NS_PER_S + event.offset_ps / _PS_PER_S)
