"""The phases and the kernels of PyTorch: what `profile` wraps and reads.

On CUDA, where kernels run asynchronously, every boundary of a phase waits for the device, so that the time belongs to
the phase that issued it. This lengthens the call, which is why it never supplies a time.

Not distinguished: what other threads do, Tensors moved by functions other than ``to``, ``cuda``, ``copy_`` and
``pin_memory``, and what a module or a function compiled by ``torch.compile`` does inside; its backward is `backward`.
"""

import gc
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeVar

from speedclaims.recorders.phases.stopwatch import (
    BACKWARD,
    COMPILED,
    DATA_WAIT,
    FORWARD,
    HOST_SYNC,
    OPTIMIZER,
    TRANSFER,
    Interval,
    Phases,
    ProfilerError,
    defining_classes,
    patched,
)
from speedclaims.recorders.syncs.counter import Syncs
from speedclaims.recorders.syncs.torch import SIZES, VALUES, Watch

_US_PER_S = 1e6
_COPIES = ("Memcpy", "Memset")
_CLIPPING = ("clip_grad_norm_", "clip_grad_value_")
_SCALING = ("step", "update", "unscale_")

T = TypeVar("T")

if TYPE_CHECKING:
    from speedclaims.record.types import PhaseName

Patch = tuple[object, str, Callable[..., object]]


def is_imported() -> bool:
    """Whether this process has imported PyTorch."""
    return "torch" in sys.modules


def settle() -> None:
    """Wait for CUDA where it is in use, but not while a graph is captured, which must not be waited for."""
    cuda = sys.modules["torch"].cuda
    if cuda.is_initialized() and not cuda.is_current_stream_capturing():
        inspect.unwrap(cuda.synchronize)()  # not the patched one of `watching`, which waits here itself


@contextmanager
def watching(phases: Phases) -> Iterator[None]:
    """Patch PyTorch's functions that belong to a phase, while the block runs.

    They are loaders, moves, modules, ``backward``, optimizers and synchronizations.

    Args:
        phases: takes the time of every phase.
    """
    torch = sys.modules["torch"]
    watch = Watch(torch, Syncs())
    with ExitStack() as stack:
        stack.enter_context(watch.noting_optimizers())
        modules = list(_methods(torch.nn.Module, "__call__", FORWARD, phases))
        stack.enter_context(_marking_compiled(phases, modules))
        patches = [*modules, *_loading(torch, phases), *_computing(torch, phases), *_waiting(torch, phases, watch)]
        patches += _optimizing(torch, phases, watch)
        stack.enter_context(patched(patches))
        yield


class _Tensor(Protocol):
    """A tensor, of which the device is known."""

    device: object


def _loading(torch: ModuleType, phases: Phases) -> Iterator[Patch]:
    """Yield the patches for waiting on loaders and for moving tensors.

    Making a loader's iterator starts its workers, so it counts as waiting too.
    """
    iterator = torch.utils.data.dataloader._BaseDataLoaderIter  # noqa: SLF001 - base of those with and without workers
    for base, name in ((torch.utils.data.DataLoader, "__iter__"), (iterator, "__next__")):
        yield from _methods(base, name, DATA_WAIT, phases)

    def has_moved(result: _Tensor, target: _Tensor, *others: object) -> bool:
        sources = [one for one in others if isinstance(one, torch.Tensor)] if result is target else []
        return bool((sources or [target])[0].device != result.device)

    def was_pinned(result: object, target: object, *_: object) -> bool:
        return result is not target

    for name, happened in (("to", has_moved), ("cuda", has_moved), ("copy_", has_moved), ("pin_memory", was_pinned)):
        yield torch.Tensor, name, phases.timed_if(getattr(torch.Tensor, name), TRANSFER, happened=happened)


def _methods(base: type, name: str, phase: "PhaseName", phases: Phases) -> Iterator[Patch]:
    """Yield the patches of a method: on the class that defines it and on the subclasses that override it."""
    for kind in defining_classes(base, name):
        yield kind, name, phases.timed(vars(kind)[name], phase)


def _function(owner: object, name: str, phase: "PhaseName", phases: Phases) -> Iterator[Patch]:
    """Yield the patches of a function: in its own module and in those that imported it by name."""
    real = getattr(owner, name)
    timed = phases.timed(real, phase)
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is real:
            yield module, name, timed


def _computing(torch: ModuleType, phases: Phases) -> Iterator[Patch]:
    yield from _methods(torch.Tensor, "backward", BACKWARD, phases)
    for name in ("backward", "grad"):
        yield from _function(torch.autograd, name, BACKWARD, phases)
    yield from _methods(torch.cuda.CUDAGraph, "replay", COMPILED, phases)


def _waiting(torch: ModuleType, phases: Phases, watch: Watch) -> Iterator[Patch]:
    def timed(name: str) -> Callable[..., object]:
        def asks(*args: object, **options: object) -> bool:
            return watch.asks(name, args, options)

        return phases.timed(getattr(torch.Tensor, name), HOST_SYNC, when=asks)

    yield from ((torch.Tensor, name, timed(name)) for name in sorted(VALUES | SIZES) if hasattr(torch.Tensor, name))
    yield torch.cuda, "synchronize", phases.timed(torch.cuda.synchronize, HOST_SYNC)


def _optimizing(torch: ModuleType, phases: Phases, watch: Watch) -> Iterator[Patch]:
    for name in ("step", "zero_grad"):
        yield from _methods(torch.optim.Optimizer, name, OPTIMIZER, phases)
    for name in _SCALING:
        yield from _methods(torch.amp.GradScaler, name, OPTIMIZER, phases)
    for name in _CLIPPING:
        yield from _function(torch.nn.utils, name, OPTIMIZER, phases)
    # A learning rate schedule puts a step of its own on its optimizer, in which the class's is held already.
    for optimizer in watch.optimizers:
        if "step" in vars(optimizer):
            yield optimizer, "step", phases.timed(optimizer.step, OPTIMIZER)


@contextmanager
def _marking_compiled(phases: Phases, modules: Sequence[Patch]) -> Iterator[None]:
    """Make a phase of every call of what ``torch.compile`` returned, by the hooks that it calls on its way in and out.

    What it returns is a closure that nobody can reach; its hooks can be. Inside, calls of modules are left as they
    were: the compiler would find another function there, and compile that.

    Args:
        phases: takes the time.
        modules: the patches of calls of modules.
    """
    frames = sys.modules.get("torch._dynamo.eval_frame")
    kind = getattr(frames, "OptimizeContext", None)
    reals = [vars(owner)[name] for owner, name, _ in modules]

    def entered() -> Callable[[], None]:
        if not phases.begins(COMPILED):
            return _do_nothing
        for (owner, name, _), real in zip(modules, reals, strict=True):
            setattr(owner, name, real)
        return left

    def left() -> None:
        for owner, name, timed in modules:
            setattr(owner, name, timed)
        phases.ends()

    hooked = [] if kind is None else [one.enter_exit_hooks for one in _instances(kind)]
    for hooks in hooked:
        hooks.append(entered)
    try:
        yield
    finally:
        for hooks in hooked:
            hooks.remove(entered)


def _instances(kind: type[T]) -> list[T]:
    # By type and not by isinstance, which asks lazy modules for their class and thereby imports them.
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def _do_nothing() -> None:
    pass


@contextmanager
def recording_kernels() -> Iterator[list[Interval]]:
    """Profile CUDA while the block runs; at its end the list holds the kernels' intervals in seconds.

    Raises:
        ProfilerError: there is no CUDA device.
    """
    torch = sys.modules["torch"]
    if not torch.cuda.is_available():
        raise ProfilerError("PyTorch has no CUDA device here: there are no kernels to profile")
    profile, activities = torch.profiler.profile, [torch.profiler.ProfilerActivity.CUDA]
    with profile(activities=activities):
        settle()  # the first start of the profiler takes seconds, and its first kernels may be lost
    found: list[Interval] = []
    with profile(activities=activities) as profiler:
        yield found
        settle()
    found += kernel_intervals(profiler.events())


class _Range(Protocol):
    """A range of time in microseconds."""

    start: float
    end: float


class _Named(Protocol):
    """A kind of device."""

    name: str


class _Event(Protocol):
    """An event of PyTorch's profiler."""

    name: str
    time_range: _Range
    device_type: _Named


def kernel_intervals(events: "Iterable[_Event]") -> list[Interval]:
    """Return the intervals in seconds of the kernels among the profiler's events.

    Copies are no kernels, and a range that somebody named on the device's time line covers the gaps in it.
    """
    return [
        (event.time_range.start / _US_PER_S, event.time_range.end / _US_PER_S)
        for event in events
        if event.device_type.name == "CUDA"
        and not getattr(event, "is_user_annotation", False)
        and not event.name.startswith(_COPIES)
    ]
