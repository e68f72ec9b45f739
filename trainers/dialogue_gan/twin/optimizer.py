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

from trainers.dialogue_gan.twin.model import Embedding
from trainers.dialogue_gan.twin.weights import keras_names, to_keras, to_torch

__all__ = ["ForeachAdam", "KerasAdam"]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # Keras' defaults


class KerasAdam(Optimizer):
    """Adam, weight by weight.

    Of an embedding's gradient Keras takes the squares row by row, as the ids come, for the norm as for the velocity;
    see `Embedding`.

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
        embeddings = [module for module in network.modules() if isinstance(module, Embedding)]
        self._squares_of_embeddings = {module.weight: module.squares for module in embeddings}
        self.momentums = [torch.zeros_like(weight) for weight in self.weights]
        self.velocities = [torch.zeros_like(weight) for weight in self.weights]
        # On the device, as all that an update depends on: a captured update finds them there.
        device = self.weights[0].device
        self.iteration = torch.zeros((), dtype=torch.int64, device=device)
        self.learning_rate = torch.tensor(learning_rate, device=device)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002 - as PyTorch has it
        """Forget the gradients and their squares."""
        super().zero_grad(set_to_none)
        for squares in self._squares_of_embeddings.values():
            squares.zero_()

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
        self._update(gradients, self._squares(gradients), self._alpha())

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

    def _squares(self, gradients: list[Tensor]) -> list[Tensor]:
        """Squares of the gradients, as Keras takes them."""
        held = self._squares_of_embeddings
        of_each = zip(self.weights, gradients, strict=True)
        return [held[weight] if weight in held else gradient.square() for weight, gradient in of_each]

    def _update(self, gradients: list[Tensor], squares: list[Tensor], alpha: Tensor) -> None:
        of_each = zip(self.weights, gradients, squares, self.momentums, self.velocities, strict=True)
        for weight, gradient, square, momentum, velocity in of_each:
            scale = self.clipnorm / square.sum().sqrt().clamp(min=self.clipnorm)
            momentum.add_((gradient * scale - momentum) * (1 - _BETA_1))
            velocity.add_((square * scale.square() - velocity) * (1 - _BETA_2))
            weight.sub_(momentum * alpha / (velocity.sqrt() + _EPSILON))


class ForeachAdam(KerasAdam):
    """The same with every operation over all weights at once."""

    def _update(self, gradients: list[Tensor], squares: list[Tensor], alpha: Tensor) -> None:
        scales = list(torch._foreach_norm(squares, 1))  # the sum: they are not negative
        torch._foreach_sqrt_(scales)
        torch._foreach_clamp_min_(scales, self.clipnorm)
        torch._foreach_reciprocal_(scales)
        torch._foreach_mul_(scales, self.clipnorm)
        torch._foreach_lerp_(self.momentums, torch._foreach_mul(gradients, scales), 1 - _BETA_1)
        torch._foreach_mul_(scales, scales)
        torch._foreach_lerp_(self.velocities, torch._foreach_mul(squares, scales), 1 - _BETA_2)
        divisors = torch._foreach_sqrt(self.velocities)
        torch._foreach_add_(divisors, _EPSILON)
        steps = torch._foreach_div(self.momentums, divisors)
        torch._foreach_mul_(steps, alpha)
        torch._foreach_sub_(self.weights, steps)
