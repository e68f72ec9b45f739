"""Count the floating point operations of PyTorch by its ``FlopCounterMode``, and notice work that it does not see."""

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Protocol

from speedclaims.recorders.flops import NotCountedError

_SEEN = frozenset({"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional", "image", "torchvision"})
"""Namespaces of operations that are counted or do no matrix product; another one's may call any library."""
_OPAQUE = (
    "aten::_cudnn_rnn",
    "aten::mkldnn_rnn_layer",
    "aten::_addmm_activation",
    "aten::_native_multi_head_attention",
    "aten::_transformer_encoder_layer_fwd",
)
"""Beginnings of the names of fused operations that PyTorch's counter does not know."""
_LAUNCHES = (
    ("torch.cuda", "CUDAGraph", "replay", "a replayed CUDA graph"),
    ("triton.runtime.jit", "JITFunction", "run", "a Triton kernel"),
)
"""Methods that run kernels without PyTorch's dispatcher: module, class, method, and what it runs."""


class _Counter(Protocol):
    """PyTorch's counter of operations."""

    flop_registry: dict[object, object]

    def get_total_flops(self) -> int:
        """Return the operations so far."""


class _Operation(Protocol):
    """An operation of PyTorch's dispatcher."""

    def name(self) -> str:
        """Return its name with its namespace."""

    def __call__(self, *arguments: object, **options: object) -> object:
        """Run it."""


class _Library(Protocol):
    """A library that PyTorch can be kept from using."""

    enabled: bool


def is_imported() -> bool:
    """Whether this process has imported PyTorch."""
    return "torch" in sys.modules


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Count while the block runs; yield the function that returns the operations.

    That function raises `NotCountedError` where something ran whose operations are not seen.
    """
    torch, hidden = sys.modules["torch"], set[str]()
    with ExitStack() as stack:
        # cuDNN and oneDNN run an LSTM as one operation, which the counter does not know. Without them it is matrix
        # products.
        for library in (torch.backends.cudnn, torch.backends.mkldnn):
            stack.enter_context(_off(library))
        for module, kind, method, words in _LAUNCHES:
            if module in sys.modules:
                stack.enter_context(_noting(getattr(sys.modules[module], kind), method, words, hidden))
        counter: _Counter = stack.enter_context(_counter(torch))
        stack.enter_context(_watching(counter, hidden))
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            # A compiled function would be compiled again with the counter in it.
            stack.enter_context(torch.compiler.set_stance("force_eager"))

        def total() -> int:
            if hidden:
                raise NotCountedError(hidden)
            return counter.get_total_flops()

        yield total


def _counter(torch: ModuleType) -> "AbstractContextManager[_Counter]":
    """Return PyTorch's counter, which also counts products with vectors."""
    aten = torch.ops.aten
    found: AbstractContextManager[_Counter] = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(
        display=False,
        custom_mapping={
            aten.mv: lambda matrix, *_, **__: 2 * math.prod(matrix),
            aten.addmv: lambda _, matrix, *__, **___: 2 * math.prod(matrix),
            aten.dot: lambda vector, *_, **__: 2 * math.prod(vector),
        },
    )
    return found


def _watching(counter: _Counter, hidden: set[str]) -> AbstractContextManager[object]:
    """Return a context that notes the names of operations that hide others from the counter."""

    def dispatch(
        _: object,
        function: _Operation,
        __: object,
        arguments: Sequence[object] = (),
        options: Mapping[str, object] | None = None,
    ) -> object:
        is_counted = getattr(function, "overloadpacket", function) in counter.flop_registry
        name = function.name()
        if not is_counted and (name.partition("::")[0] not in _SEEN or name.startswith(_OPAQUE)):
            hidden.add(name)
        return function(*arguments, **(options or {}))

    base = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode
    members = {"__torch_dispatch__": dispatch, "supports_higher_order_operators": True}
    watcher: AbstractContextManager[object] = type("Watcher", (base,), members)()
    return watcher


@contextmanager
def _noting(kind: type, method: str, words: str, hidden: set[str]) -> Iterator[None]:
    """Note calls of a method while the block runs."""
    real = getattr(kind, method)

    def noted(*arguments: object, **options: object) -> object:
        hidden.add(words)
        return real(*arguments, **options)

    setattr(kind, method, noted)
    try:
        yield
    finally:
        setattr(kind, method, real)


@contextmanager
def _off(library: _Library) -> Iterator[None]:
    """Keep PyTorch from using a library while the block runs."""
    before, library.enabled = library.enabled, False
    try:
        yield
    finally:
        library.enabled = before
