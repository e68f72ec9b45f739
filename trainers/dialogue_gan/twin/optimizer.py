"""Adam as Keras defines it, with its clipping of every weight's gradient by itself.

PyTorch's own adds epsilon to another number: Keras to the root of the velocity, PyTorch to that root after it was
divided by the root of 1 - beta_2^t, which makes Keras' epsilon thirty times as large at the first step.
"""

# ruff: noqa: SLF001 - PyTorch documents its foreach operations under these names

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainers.dialogue_gan.twin.weights import keras_names, to_keras, to_torch

__all__ = ["ForeachAdam", "KerasAdam"]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # Keras' defaults


class KerasAdam(Optimizer):
    """Adam, weight by weight.

    The norm of an embedding's gradient is that of the whole; Keras takes it over the rows as they come, before those of
    one token are added up. The update is the same wherever neither exceeds `clipnorm`.

    Args:
        network: whose trainable weights are updated.
        name: of the network in the TensorFlow model.
        learning_rate: at every step.
        clipnorm: limit of the norm of every weight's gradient by itself.

    """

    def __init__(self, network: nn.Module, name: str, learning_rate: float, clipnorm: float) -> None:
        """Make the moments, on the device of the weights."""
        self._keys, self.weights = map(list, zip(*keras_names(network), strict=True))
        self._slots = [f"{name}_{key.replace('/', '_')}" for key in self._keys]
        super().__init__(self.weights, {"lr": learning_rate})
        self.clipnorm = clipnorm
        self.momentums = [torch.zeros_like(weight) for weight in self.weights]
        self.velocities = [torch.zeros_like(weight) for weight in self.weights]
        # On the device, as all that an update depends on: a captured update finds them there.
        device = self.weights[0].device
        self.iteration = torch.zeros((), dtype=torch.int64, device=device)
        self.learning_rate = torch.tensor(learning_rate, device=device)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight by its gradient.

        Raises:
            ValueError: a closure is given, or a weight has no gradient.

        """
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if closure is not None or len(gradients) < len(self.weights):
            raise ValueError("every weight needs a gradient before the step, which takes no closure")
        self.iteration += 1
        self._update(gradients, self._alpha())

    def tensors(self) -> list[Tensor]:
        """All that an update changes: the weights, their moments and the count of updates."""
        return [*self.weights, *self.momentums, *self.velocities, self.iteration]

    def values(self) -> dict[str, Any]:
        """Iterations, learning rate and moments under Keras' names, as arrays of their own."""
        found: dict[str, Any] = {
            "iteration": np.array(self.iteration.cpu().numpy()),
            "learning_rate": np.array(self.learning_rate.cpu().numpy()),
        }
        for key, slot, momentum, velocity in self._named():
            found[f"{slot}_momentum"] = to_keras(key, momentum)
            found[f"{slot}_velocity"] = to_keras(key, velocity)
        return found

    @torch.no_grad()
    def set_values(self, values: Mapping[str, Any]) -> None:
        """Take what `values` gives, into the tensors that are there."""
        self.iteration.fill_(int(values["iteration"]))
        self.learning_rate.fill_(float(values["learning_rate"]))
        for key, slot, momentum, velocity in self._named():
            momentum.copy_(to_torch(key, values[f"{slot}_momentum"]))
            velocity.copy_(to_torch(key, values[f"{slot}_velocity"]))

    def _named(self) -> Sequence[tuple[str, str, Tensor, Tensor]]:
        return list(zip(self._keys, self._slots, self.momentums, self.velocities, strict=True))

    def _alpha(self) -> Tensor:
        """Learning rate with the corrections of both moments, in float32 as Keras computes it."""
        step = self.iteration.float()
        powers = [torch.pow(torch.full_like(step, beta), step) for beta in (_BETA_1, _BETA_2)]
        return self.learning_rate * torch.sqrt(1 - powers[1]) / (1 - powers[0])

    def _update(self, gradients: list[Tensor], alpha: Tensor) -> None:
        of_each = zip(self.weights, gradients, self.momentums, self.velocities, strict=True)
        for weight, gradient, momentum, velocity in of_each:
            clipped = gradient * self.clipnorm / gradient.norm().clamp(min=self.clipnorm)
            momentum.add_((clipped - momentum) * (1 - _BETA_1))
            velocity.add_((clipped.square() - velocity) * (1 - _BETA_2))
            weight.sub_(momentum * alpha / (velocity.sqrt() + _EPSILON))


class ForeachAdam(KerasAdam):
    """The same with every operation over all weights at once."""

    def _update(self, gradients: list[Tensor], alpha: Tensor) -> None:
        norms = torch._foreach_norm(gradients)
        torch._foreach_clamp_min_(norms, self.clipnorm)
        clipped = torch._foreach_div(gradients, norms)
        if self.clipnorm != 1:
            torch._foreach_mul_(clipped, self.clipnorm)
        torch._foreach_lerp_(self.momentums, clipped, 1 - _BETA_1)
        torch._foreach_mul_(self.velocities, _BETA_2)
        torch._foreach_addcmul_(self.velocities, clipped, clipped, 1 - _BETA_2)
        divisors = torch._foreach_sqrt(self.velocities)
        torch._foreach_add_(divisors, _EPSILON)
        steps = torch._foreach_div(self.momentums, divisors)
        torch._foreach_mul_(steps, alpha)
        torch._foreach_sub_(self.weights, steps)
