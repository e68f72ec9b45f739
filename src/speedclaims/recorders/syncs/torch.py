"""Host-device synchronizations of PyTorch: how often Python asks for the value of a tensor, and from where.

The count is the same on every device. A mode sees each call of a function of PyTorch's; counted are those that hand a
value to Python (``item()``, ``float()``, ``if tensor:``, an f-string, ``np.asarray()``), those whose result has a size
that only the values tell (``nonzero()``, an index of booleans), and those that move a tensor to another device. What
runs meanwhile must not be timed.

Not seen: other threads and processes, ``pickle`` and ``torch.save``, numbers that an operation takes out of a tensor by
itself, and the functions in `_unseen` where they were imported by name. Compiled functions run uncompiled meanwhile. On
CUDA, `cuda_warnings` is the check on it.
"""

import gc
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType, ModuleType
from typing import Protocol, TextIO
from unittest.mock import patch

from speedclaims.recorders.syncs.counter import NothingToCountError, Syncs

VALUES = frozenset(
    {"item", "tolist", "numpy", "cpu", "is_nonzero", "equal", "allclose", "__array__", "__dlpack__"}
    | {"__bool__", "__float__", "__int__", "__index__", "__complex__", "__contains__", "__format__", "__repr__"}
)
"""Functions that give Python what a tensor holds."""

SIZES = frozenset(
    {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "_unique2", "bincount", "tensor_split"}
    | {"repeat_interleave"}
)
"""Functions whose result has a size that only the values tell."""

_COUNTS = frozenset({"tensor_split", "repeat_interleave"})
"""Those of them in which a second tensor tells the size."""

_LISTS = frozenset({"tensor", "as_tensor", "asarray"})
"""Functions that make a tensor of a list: of tensors in it they take the values."""

_MOVES = frozenset({"to", "cuda", "type", "copy_", "tensor", "as_tensor", "asarray"})
"""Functions that may bring a tensor to another device."""

_FACTORIES = frozenset({"arange", "linspace", "logspace", "full", "zeros", "ones", "empty", "rand", "randn", "eye"})
"""Functions that make a tensor of numbers: of a tensor among them they take the value."""

_SYNCHRONIZED = "synchronizing CUDA operation"
"""CUDA's warning has these words."""

_ENTRY_MODULES = ("torch._tensor", "torch.overrides", "torch.functional", "torch._jit_internal", "torch.utils.dlpack")


def is_imported() -> bool:
    """Whether this process has imported PyTorch."""
    return "torch" in sys.modules


@contextmanager
def counting_syncs(syncs: Syncs | None = None) -> Iterator[Syncs]:
    """Count while the block runs.

    Counters that an optimizer keeps in host memory (its number of steps) wait for no device and are left out, whoever
    reads them. Once CUDA is in use, so is every tensor that lives in host memory; without it each tensor is taken for
    one of a device.

    Args:
        syncs: what to add to; a new one by default.

    Raises:
        NothingToCountError: PyTorch is not imported in this process.
    """
    if not is_imported():
        raise NothingToCountError("PyTorch is not imported: import it before counting its synchronizations")
    torch = sys.modules["torch"]
    watch = Watch(torch, Syncs() if syncs is None else syncs)

    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[name-defined, misc]
        def __torch_function__(
            self,
            func: Callable[..., object],
            types: object,
            args: Sequence[object] = (),
            kwargs: Mapping[str, object] | None = None,
        ) -> object:
            del types
            return watch.called(func, args, kwargs or {}, sys._getframe(1))  # noqa: SLF001 - the cheapest way there

    with ExitStack() as stack:
        stack.enter_context(watch.noting_optimizers())
        for owner, name in _unseen(torch):
            stack.enter_context(patch.object(owner, name, watch.syncs.counted(getattr(owner, name), watch.entry_files)))
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            # A compiled function would be compiled again with the mode in it, which one without graph breaks cannot be.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(Mode())
        yield watch.syncs


def _unseen(torch: ModuleType) -> list[tuple[object, str]]:
    """Return what no mode sees: the owners and names of functions."""
    functions = [(torch.utils.dlpack, "to_dlpack"), (torch, "to_dlpack"), (torch.cuda, "synchronize")]
    return [(owner, name) for owner, name in functions if hasattr(owner, name)]


class _Optimizer(Protocol):
    """An optimizer of PyTorch's."""

    state: Mapping[object, object]
    step: Callable[..., object]


class Watch:
    """Decides which calls are synchronizations, and counts them; the pass `profile` asks it too.

    Args:
        torch: the module.
        syncs: what to add to.
    """

    def __init__(self, torch: ModuleType, syncs: Syncs) -> None:
        """Find the optimizers that exist already."""
        self.syncs = syncs
        self._torch, self._tensor = torch, torch.Tensor
        self.entry_files = frozenset(str(sys.modules[name].__file__) for name in _ENTRY_MODULES if name in sys.modules)
        optimizer = torch.optim.Optimizer
        # By type and not by isinstance, which asks lazy modules for their class and thereby imports them.
        self._optimizers = {id(one): one for one in gc.get_objects() if issubclass(type(one), optimizer)}

    @property
    def optimizers(self) -> "list[_Optimizer]":
        """The optimizers that are known."""
        return list(self._optimizers.values())

    @contextmanager
    def noting_optimizers(self) -> Iterator[None]:
        """Note also the optimizers that are made while the block runs, when they step."""
        register = sys.modules["torch.optim.optimizer"].register_optimizer_step_pre_hook

        def note(optimizer: object, *_: object) -> None:
            self._optimizers[id(optimizer)] = optimizer

        handle = register(note)
        try:
            yield
        finally:
            handle.remove()

    def called(
        self, func: Callable[..., object], args: Sequence[object], options: Mapping[str, object], caller: FrameType
    ) -> object:
        """Call a function of PyTorch's and count it if it waits for the device.

        What it calls in its turn is not seen, so nothing counts twice.
        """
        result = func(*args, **options)
        name = getattr(func, "__name__", "")
        if self.asks(name, args, options) or (name in _MOVES and self._has_moved(name, args, options, result)):
            self.syncs.note(caller, self.entry_files)
        return result

    def asks(self, name: str, args: Sequence[object], options: Mapping[str, object]) -> bool:
        """Whether a call of a function of PyTorch's, by its name, waits for the value of a tensor."""
        if name in {"__getitem__", "__setitem__"}:
            return self._asks_for_index(args)
        given = [*args, *options.values()]
        if name in _LISTS and given and isinstance(given[0], list | tuple):
            given = list(given[0])
        elif not (name in VALUES | SIZES | _FACTORIES or (name == "where" and len(given) == 1)):
            return False
        tensors = [one for one in given if isinstance(one, self._tensor)]
        if name in _COUNTS:  # by a tensor; by a number they wait for nothing
            tensors = [] if "output_size" in options else tensors[1:]
        return any(not self._is_on_host(one) for one in tensors)

    def _asks_for_index(self, args: Sequence[object]) -> bool:
        """Whether an index waits: one of booleans has to be counted first, one number is taken out of its tensor."""
        key = args[1]
        parts = list(key) if isinstance(key, tuple) else [key]
        masks = [one for one in parts if isinstance(one, self._tensor) and one.dtype is self._torch.bool and one.dim()]
        bounds = [end for one in parts if isinstance(one, slice) for end in (one.start, one.stop, one.step)]
        numbers = [one for one in (*parts, *bounds) if isinstance(one, self._tensor) and one.dim() == 0]
        if any(one.dtype is not self._torch.bool and not self._is_on_host(one) for one in numbers):
            return True
        fills = (
            len(args) > 2 and len(parts) == 1 and isinstance(args[2], int | float | complex)
        )  # masked_fill_ waits not
        return any(not self._is_on_host(one) for one in masks) and not fills

    def _has_moved(self, name: str, args: Sequence[object], options: Mapping[str, object], result: object) -> bool:
        """Whether a call copied between the memory of host and device, and waited for it."""
        if not isinstance(result, self._tensor) or options.get("non_blocking") or self._is_non_blocking(name, args):
            return False
        source = args[1] if name == "copy_" and len(args) > 1 else args[0] if args else None
        here = source.device if isinstance(source, self._tensor) else self._torch.device("cpu")
        return bool(here != result.device and "meta" not in {here.type, result.device.type})

    def _is_non_blocking(self, name: str, args: Sequence[object]) -> bool:
        """Whether a call says so by position: ``to(device, dtype, True)``, ``copy_(other, True)``."""
        flags = [one for one in args[1:] if isinstance(one, bool)]
        return name in {"to", "copy_", "cuda", "type"} and bool(flags) and flags[0]

    def _is_on_host(self, tensor: object) -> bool:
        """Whether a tensor's value lies in host memory on every kind of device."""
        if not isinstance(tensor, self._tensor) or tensor.device.type != "cpu":
            return False
        return bool(self._torch.cuda.is_initialized() or (tensor.dim() == 0 and self._is_counter(tensor)))

    def _is_counter(self, tensor: object) -> bool:
        """Whether it is among the single numbers that an optimizer keeps of a parameter."""
        states = (state for optimizer in self._optimizers.values() for state in optimizer.state.values())
        return any(value is tensor for state in states if isinstance(state, dict) for value in state.values())


@contextmanager
def cuda_warnings() -> Iterator[Counter[str]]:
    """Count while the block runs what CUDA's own check calls a synchronization, by ``file:line``.

    It is the check on `counting_syncs`: it sees waits inside operations too, but neither ``torch.cuda.synchronize``
    nor what needs no device. The place is that of the nearest caller outside PyTorch, for CUDA's warning names the
    innermost Python line, which for an f-string is one of PyTorch's. Without such a caller it is the warning's own.

    Raises:
        NothingToCountError: PyTorch is not imported or has no CUDA device.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        raise NothingToCountError("PyTorch has no CUDA device here: its check of synchronizations cannot run")
    before, found = torch.cuda.get_sync_debug_mode(), Counter[str]()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(  # noqa: PLR0913, PLR0917 - what `warnings` calls
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if _SYNCHRONIZED not in str(message):
                show(message, category, filename, lineno, file, line)
                return
            syncs = Syncs()
            syncs.note(sys._getframe(1), _files_of_torch())  # noqa: SLF001 - the cheapest way to the caller
            found.update(syncs.own or [f"{filename}:{lineno}"])

        warnings.filterwarnings("always", f".*{_SYNCHRONIZED}")
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)


def _files_of_torch() -> frozenset[str]:
    """Return the files of all modules of PyTorch that are imported."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "torch"]
    # Out of the dictionary, for a lazy module would be imported by the question.
    return frozenset(str(getattr(module, "__dict__", {}).get("__file__")) for module in modules)
