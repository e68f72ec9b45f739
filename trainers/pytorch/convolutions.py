"""Compute convolutions as matrix products, for sizes at which that is faster than the library's kernels.

Kernels are square, without groups and dilation. Shape suffixes: B images of a batch, C channels in, F channels out, H
and W rows and columns of a map, h and w those of a smaller map, K rows or columns of a kernel.

Source of the method, called im2col: Chellapilla, Puri, Simard, "High performance convolutional neural networks for
document processing" (2006).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

__all__ = ["convolve", "convolve_transposed", "from_one_pixel", "replace_forward", "unfold"]


def replace_forward(layer: nn.Module, function: Callable[[Any, Tensor], Tensor]) -> None:
    """Let a layer compute its result by a function of the layer and its input; weights and hooks stay."""
    layer.forward = partial(function, layer)


def from_one_pixel(layer: nn.ConvTranspose2d, maps_BC11: Tensor) -> Tensor:
    """Convolve maps of one pixel, transposed and without padding or bias: kernels times channels (B, F, K, K)."""
    channels_last = layer.weight.is_contiguous(memory_format=torch.channels_last)
    weights = layer.weight.permute(0, 2, 3, 1) if channels_last else layer.weight
    maps = (maps_BC11.flatten(1) @ weights.flatten(1)).view(-1, *weights.shape[1:])
    return maps.permute(0, 3, 1, 2) if channels_last else maps


def convolve(layer: nn.Conv2d, maps_BCHW: Tensor) -> Tensor:
    """Convolve maps (B, C, H, W), with a bias, as one product with the unfolded maps.

    The gradient of the weights is a product with them too.
    """
    given = _in_precision(maps_BCHW, layer.weight, cast("Tensor", layer.bias))
    stride, padding = layer.stride[0], cast("int", layer.padding[0])
    height = (maps_BCHW.shape[2] + 2 * padding - layer.kernel_size[0]) // stride + 1
    rows: Tensor = _Convolution.apply(*given, stride, padding, height)  # type: ignore[no-untyped-call]
    # Made here and not by the function, whose own view the next layer could not change in place.
    return _as_maps(rows, len(maps_BCHW), height)


def convolve_transposed(layer: nn.ConvTranspose2d, maps_BChw: Tensor) -> Tensor:
    """Convolve maps (B, C, h, w) transposed and without bias; both gradients are products."""
    given = _in_precision(maps_BChw, layer.weight)
    options = layer.stride[0], layer.padding[0]
    maps: Tensor = _TransposedConvolution.apply(*given, *options)  # type: ignore[no-untyped-call]
    return maps


def unfold(maps_BCHW: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
    """Return what each place of a kernel sees, a row each: (B h w, K K C), with rows and channels in that order."""
    padded = functional.pad(maps_BCHW.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    seen = padded.unfold(1, kernel_size, stride).unfold(2, kernel_size, stride)  # (B, h, w, C, K, K)
    return seen.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel_size**2 * maps_BCHW.shape[1])


def _in_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    device = tensors[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensors[0].dtype
    return tuple(each.to(dtype) for each in tensors)


def _rows(maps_BCHW: Tensor) -> Tensor:
    """Return maps with a row for each pixel: (B H W, C)."""
    return maps_BCHW.permute(0, 2, 3, 1).reshape(-1, maps_BCHW.shape[1])


def _as_matrix(weights_FCKK: Tensor) -> Tensor:
    """Return weights with a column for each number that a kernel sees: (F, K K C)."""
    return weights_FCKK.permute(0, 2, 3, 1).reshape(len(weights_FCKK), -1)


def _as_weights(matrix: Tensor, like_FCKK: Tensor) -> Tensor:
    num_out, num_in, *size = like_FCKK.shape
    return matrix.view(num_out, *size, num_in).permute(0, 3, 1, 2)


def _as_maps(rows: Tensor, num_images: int, height: int) -> Tensor:
    return rows.reshape(num_images, height, -1, rows.shape[1]).permute(0, 3, 1, 2)


class _Convolution(Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what a convolution is of
        ctx: Any, maps_BCHW: Tensor, weights_FCKK: Tensor, bias_F: Tensor, stride: int, padding: int, height: int
    ) -> Tensor:
        unfolded = unfold(maps_BCHW, weights_FCKK.shape[2], stride, padding)
        ctx.save_for_backward(maps_BCHW, weights_FCKK, unfolded if ctx.needs_input_grad[1] else None)
        ctx.options = stride, padding, height
        return torch.addmm(bias_F, unfolded, _as_matrix(weights_FCKK).t())

    @staticmethod
    def backward(ctx: Any, rows: Tensor) -> tuple[Tensor | None, ...]:
        maps_BCHW, weights_FCKK, unfolded = ctx.saved_tensors
        of_maps = of_weights = of_bias = None
        if ctx.needs_input_grad[0]:
            stride, padding, height = ctx.options
            size, only_maps = ([stride] * 2, [padding] * 2, [1, 1], 0, [0, 0], 1), [True, False, False]
            gradient_BFhw = _as_maps(rows, len(maps_BCHW), height)
            of_maps, *_ = torch.ops.aten.convolution_backward(
                gradient_BFhw, maps_BCHW, weights_FCKK, None, *size, only_maps
            )
        if ctx.needs_input_grad[1]:
            of_weights = _as_weights(rows.t() @ unfolded, weights_FCKK)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_maps, of_weights, of_bias, None, None, None


class _TransposedConvolution(Function):
    @staticmethod
    def forward(ctx: Any, maps_BChw: Tensor, weights_CFKK: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(maps_BChw, weights_CFKK)
        ctx.options = stride, padding
        return functional.conv_transpose2d(maps_BChw, weights_CFKK, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient_BFHW: Tensor) -> tuple[Tensor | None, ...]:
        maps_BChw, weights_CFKK = ctx.saved_tensors
        unfolded = unfold(gradient_BFHW, weights_CFKK.shape[2], *ctx.options)
        of_maps = of_weights = None
        if ctx.needs_input_grad[0]:
            rows = unfolded @ _as_matrix(weights_CFKK).t()
            of_maps = _as_maps(rows, len(maps_BChw), maps_BChw.shape[2])
        if ctx.needs_input_grad[1]:
            of_weights = _as_weights(_rows(maps_BChw).t() @ unfolded, weights_CFKK)
        return of_maps, of_weights, None, None
