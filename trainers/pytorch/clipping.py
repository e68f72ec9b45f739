"""Clipping by the norm of all gradients together, for PyTorch.

The TensorFlow half lives in a module of its own, because no module may import both frameworks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

__all__ = ["Clipped", "clip_by_global_norm", "clipping_divisor"]


@dataclass(frozen=True)
class Clipped:
    """Outcome of one clipping.

    Attributes:
        norm: Euclidean norm of all gradients before clipping, a scalar on the gradients' device.

    """

    norm: Tensor

    @property
    def may_step(self) -> bool:
        """Whether the clipped gradients mean anything; reading it waits for the device.

        False after an infinite or NaN gradient, and when finite gradients are so large that their norm overflows:
        clipping turns those into zeros, with which an optimizer that has momentum or weight decay still moves.
        """
        return bool(torch.isfinite(self.norm))


def clip_by_global_norm(parameters: Iterable[Tensor], limit: float) -> Clipped:
    """Scale all gradients in place by min(1, limit / (norm + 1e-6)), the formula of `torch.nn.utils.clip_grad_norm_`.

    Args:
        parameters: their `.grad` is scaled; those without a gradient are left out.
        limit: largest norm to leave as it is; infinity leaves every gradient exactly as it is.

    Returns:
        The norm before clipping, and whether a step with these gradients may be applied.

    Raises:
        ValueError: the limit is zero, negative or NaN (a negative one would reverse the gradients), or a gradient is
            sparse, whose repeated rows would have to be summed before its norm means anything.

    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = _gradients_of(parameters, limit)
    if math.isinf(limit):
        # Not by multiplying with 1: with an infinite norm the factor would be inf / inf and spoil finite gradients.
        return Clipped(torch.nn.utils.get_total_norm(gradients))
    return Clipped(clip_grad_norm_(parameters, limit))


def clipping_divisor(parameters: Iterable[Tensor], limit: float, norm: Tensor | None = None) -> Tensor:
    """Return what divides gradients to the same effect as `clip_by_global_norm`: max(1, (norm + 1e-6) / limit).

    It is for an optimizer that can divide while it updates, which spares going through all gradients once more.

    Args:
        parameters: as `clip_by_global_norm`'s; their gradients stay as they are.
        limit: as `clip_by_global_norm`'s.
        norm: of all gradients together, where it is known.

    Returns:
        A scalar on the gradients' device.

    Raises:
        ValueError: as `clip_by_global_norm`.

    """
    gradients = _gradients_of(parameters, limit)
    norm = torch.nn.utils.get_total_norm(gradients) if norm is None else norm
    return torch.ones_like(norm) if math.isinf(limit) else ((norm + 1e-6) / limit).clamp(min=1.0)


def _gradients_of(parameters: Iterable[Tensor], limit: float) -> list[Tensor]:
    if not limit > 0:
        raise ValueError(f"the limit of a gradient norm must be above 0, not {limit!r}")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if any(gradient.layout is not torch.strided for gradient in gradients):
        raise ValueError("a sparse gradient cannot be clipped; make it dense first")
    return gradients
