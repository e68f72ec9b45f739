"""Products in float32 by oneDNN, for PyTorch on a CPU.

PyTorch multiplies float32 by Intel's MKL, which keeps to AVX2 on other makers' processors; there oneDNN, which PyTorch
includes and uses for bfloat16 and convolutions, is twice as fast where the processor has AVX-512.

Shape suffixes: B rows, I inputs of a layer, O its outputs.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from trainers.pytorch.devices import cpu_capabilities

__all__ = ["gains_by_onednn", "has_onednn", "onednn_linear"]


def has_onednn(device: torch.device) -> bool:
    """Whether `onednn_linear` can be called with tensors of a device."""
    is_built_in: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return device.type == "cpu" and is_built_in and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def gains_by_onednn(device: torch.device) -> bool:
    """Whether `onednn_linear` is faster than `torch.nn.functional.linear`: AVX-512 on a processor of AMD's, and MKL."""
    capabilities = cpu_capabilities()
    is_amds = str(capabilities.get("cpu_name", "")).startswith("AMD")
    has_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return has_onednn(device) and has_mkl and is_amds and bool(capabilities.get("avx512_f"))


def onednn_linear(values_BI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
    """As `torch.nn.functional.linear` of a matrix in float32: values weight^T + bias, (B, O), and its gradient."""
    return cast("Tensor", _product(values_BI, weight_OI, bias_O))


# An operator of our own: torch.compile takes PyTorch's for inference alone.
@torch.library.custom_op("trainers::onednn_product", mutates_args=(), device_types="cpu")
def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Product left right^T, plus the bias."""
    return cast("Tensor", torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], ""))  # noqa: SLF001


@_product.register_fake
def _(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    del bias
    return left.new_empty((left.shape[0], right.shape[0]))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:2])


def _gradient(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    left, right = context.saved_tensors
    needs_left, needs_right, needs_bias = context.needs_input_grad
    return (
        _product(upstream, right.t()) if needs_left else None,
        _product(upstream.t(), left.t()) if needs_right else None,
        upstream.sum(0) if needs_bias else None,
    )


_product.register_autograd(_gradient, setup_context=_keep)


@register_flop_formula(torch.ops.trainers.onednn_product)
def _flops(left_shape: Sequence[int], right_shape: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(left_shape) * right_shape[0]
