"""Floating point operations of TensorFlow: what PyTorch's counter counts, for a call run operation by operation.

Graphs run eagerly meanwhile, so that every operation is seen as often as it runs and with the shapes that it has; a
graph's own statistics count the body of a loop once and know no batch size.
"""

import importlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, cast

from speedclaims.recorders.flops import NotCountedError

_Shape = tuple[int, ...]
_Shapes = Sequence[_Shape]

_OPS = "tensorflow.python.framework.ops"
_CALLBACKS = "tensorflow.python.framework.op_callbacks"
_MATRIX_PRODUCTS = frozenset({"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})
_CONVOLUTIONS: dict[str, Callable[[_Shapes, _Shapes], tuple[_Shape, _Shape]]] = {
    "Conv2D": lambda inputs, outputs: (outputs[0], inputs[1]),
    "Conv2DBackpropInput": lambda inputs, _: (inputs[2], inputs[1]),
    "Conv2DBackpropFilter": lambda inputs, outputs: (inputs[2], outputs[0]),
}
"""Where the shapes of the results and of the weights are among those of the inputs and outputs."""
_OPAQUE = ("CudnnRNN", "_FusedConv2D", "_FusedMatMul", "XlaLaunch", "StatefulPartitionedCall", "PartitionedCall")


class _Shaped(Protocol):
    """A tensor, of which the shape is known."""

    shape: Iterable[int]


@dataclass
class Count:
    """Hold the floating point operations counted so far.

    Attributes:
        flops: operations so far.
        opaque: names of operations whose work cannot be counted from outside.
    """

    flops: int = 0
    opaque: set[str] = field(default_factory=set)

    def total(self) -> int:
        """Return the operations.

        Raises:
            NotCountedError: some operations cannot be counted from outside, so that the count would be too low.
        """
        if self.opaque:
            raise NotCountedError(self.opaque)
        return self.flops

    def note(
        self, name: str, inputs: Sequence[_Shaped], attributes: Mapping[str, object], outputs: Sequence[_Shaped]
    ) -> None:
        """Count one operation."""
        if name.startswith(_OPAQUE):
            self.opaque.add(name)
        self.flops += operation_flops(name, [tuple(one.shape) for one in inputs], attributes, _shapes(outputs))


def _shapes(tensors: Sequence[_Shaped]) -> list[tuple[int, ...]]:
    return [tuple(one.shape) for one in tensors]


def is_imported() -> bool:
    """Whether this process has imported TensorFlow."""
    return _OPS in sys.modules


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Count while the block runs; yield the function that returns the operations.

    Raises:
        NotCountedError: this version of TensorFlow does not let its operations be watched.
    """
    tensorflow = sys.modules["tensorflow"]
    try:
        callbacks = importlib.import_module(_CALLBACKS)
        add, remove = callbacks.add_op_callback, callbacks.remove_op_callback
    except (ImportError, AttributeError):
        raise NotCountedError("this version of TensorFlow does not let its operations be watched") from None
    count = Count()

    def note(
        name: str | bytes,
        inputs: Sequence[_Shaped],
        attributes: Sequence[str],
        outputs: Sequence[_Shaped],
        *_: object,
        graph: object = None,
        **__: object,
    ) -> None:
        if graph is None:  # an operation that runs; others are only written into a graph
            pairs = dict(zip(attributes[::2], attributes[1::2], strict=True)) if attributes else {}
            count.note(_text(name), inputs, pairs, outputs)

    were_eager = tensorflow.config.functions_run_eagerly()
    tensorflow.config.run_functions_eagerly(run_eagerly=True)
    add(note)
    try:
        yield count.total
    finally:
        remove(note)
        tensorflow.config.run_functions_eagerly(were_eager)


def operation_flops(
    name: str,
    inputs: Sequence[tuple[int, ...]],
    attributes: Mapping[str, object],
    outputs: Sequence[tuple[int, ...]],
) -> int:
    """Return the operations of a matrix product or convolution by its shapes: two for each product of two numbers.

    Everything else is 0, as for PyTorch's counter.
    """
    if name == "MatMul":
        return 2 * math.prod(outputs[0]) * inputs[0][0 if attributes.get("transpose_a") else 1]
    if name in _MATRIX_PRODUCTS:
        return 2 * math.prod(outputs[0]) * inputs[0][-2 if attributes.get("adj_x") else -1]
    if name == "Einsum":
        return _einsum_flops(_text(cast("bytes", attributes["equation"])), inputs)
    if name in _CONVOLUTIONS:
        results, weights = _CONVOLUTIONS[name](inputs, outputs)
        # Weights are (height, width, in, out); of the results only how many there are counts, so any layout will do.
        return 2 * math.prod(results) * math.prod(weights[:-1])
    return 0


def _einsum_flops(equation: str, inputs: Sequence[tuple[int, ...]]) -> int:
    """Return the operations of a product of two tensors: two for each combination of all their labels."""
    if len(inputs) != 2:
        return 0
    sizes: dict[str, int] = {}
    for labels, shape in zip(equation.replace(" ", "").split("->")[0].split(","), inputs, strict=True):
        before, dots, after = labels.partition("...")
        num_more = len(shape) - len(before) - len(after)
        # The dimensions of the dots are aligned at the end, and may be broadcast from 1.
        names = [*before, *((f".{number}" for number in range(num_more, 0, -1)) if dots else ()), *after]
        for label, size in zip(names, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return 2 * math.prod(sizes.values())


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
