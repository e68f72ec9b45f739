"""Products in float32 by oneDNN, for PyTorch on a CPU.

PyTorch multiplies float32 by Intel's MKL, which keeps to AVX2 on other makers' processors; there oneDNN, which PyTorch
brings along and takes for bfloat16 and convolutions, is twice as fast where the processor has AVX-512.

Shape suffixes: B rows, I inputs of a layer, O its outputs.
"""

from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["gains_by_onednn", "has_onednn", "onednn_linear"]


def has_onednn(device: torch.device) -> bool:
    """Whether `onednn_linear` can be called with tensors of a device."""
    is_built_in: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return device.type == "cpu" and is_built_in and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def gains_by_onednn(device: torch.device) -> bool:
    """Whether `onednn_linear` is faster than `torch.nn.functional.linear`: AVX-512 on a processor of AMD's, and MKL."""
    # Older releases cannot tell; there PyTorch's own products are the safe answer.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    is_amds = str(capabilities.get("cpu_name", "")).startswith("AMD") and bool(capabilities.get("avx512_f"))
    has_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return has_onednn(device) and has_mkl and is_amds


def onednn_linear(values_BI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
    """As `torch.nn.functional.linear` of a matrix in float32: values weight^T + bias, (B, O), and its gradient."""
    return cast("Tensor", _linear(values_BI, weight_OI, bias_O))


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Product left right^T, plus the bias."""
    return cast("Tensor", torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], ""))  # noqa: SLF001


# Operators of our own: torch.compile takes PyTorch's for inference alone.
@torch.library.custom_op("trainers::onednn_linear", mutates_args=(), device_types="cpu")
def _linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _product(values, weight, bias)


@torch.library.custom_op("trainers::onednn_product", mutates_args=(), device_types="cpu")
def _transposed_product(left: Tensor, right: Tensor) -> Tensor:
    return _product(left, right)


@_linear.register_fake
def _(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    del bias
    return values.new_empty((values.shape[0], weight.shape[0]))


@_transposed_product.register_fake
def _(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty((left.shape[0], right.shape[0]))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:2])


def _gradient(context: Any, upstream_BO: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    values_BI, weight_OI = context.saved_tensors
    by_values_BI = _transposed_product(upstream_BO, weight_OI.t()) if context.needs_input_grad[0] else None
    return by_values_BI, _transposed_product(upstream_BO.t(), values_BI.t()), upstream_BO.sum(0)


_linear.register_autograd(_gradient, setup_context=_keep)
