"""Adam as Keras defines it, with its clipping of every weight's gradient by itself.

PyTorch's own adds epsilon to another number: Keras to the root of the velocity, PyTorch to that root after it was
divided by the root of 1 - beta_2^t, which makes Keras' epsilon thirty times as large at the first step.
"""

# ruff: noqa: SLF001 - PyTorch documents its foreach operations under these names

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainers.dialogue_gan.pytorch.model import Embedding
from trainers.dialogue_gan.pytorch.weights import keras_names, to_keras, to_torch
from trainers.pytorch.ranks import Ranks

__all__ = ["ForeachAdam", "GuardedAdam", "KerasAdam"]

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
        squares_of = {id(each.weight): each.squares for each in network.modules() if isinstance(each, Embedding)}
        # By the weights' numbers: of a dictionary whose keys are tensors, torch.compile prints all their values.
        self._squares_of_embeddings = {
            number: squares_of[id(weight)] for number, weight in enumerate(self.weights) if id(weight) in squares_of
        }
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
        gradients = self._gradients()
        if closure is not None or len(gradients) < len(self.weights):
            raise ValueError("every weight needs a gradient before the step, which takes no closure")
        self.iteration.add_(1)  # not `+= 1`: compiled by PyTorch 2.11 that fails
        self._update(gradients, self._squares(gradients), self._alpha())

    def average_squares(self, ranks: Ranks) -> None:
        """Make the squares of the embeddings' gradients those of the whole batch, as the gradients are already.

        A rank's gradients count for one part in as many as there are ranks, and their squares for its square. Where all
        ranks have the same rows, each has the squares themselves.
        """
        divisor = ranks.number if ranks.num_rows < ranks.number else ranks.number**2
        for squares in self._squares_of_embeddings.values() if ranks.is_parallel else ():
            ranks.sum_over_ranks(squares)
            squares.div_(divisor)

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

    def _gradients(self) -> list[Tensor]:
        return [weight.grad for weight in self.weights if weight.grad is not None]

    def _squares(self, gradients: list[Tensor]) -> list[Tensor]:
        """Squares of the gradients, as Keras takes them."""
        held = self._squares_of_embeddings
        return [held[number] if number in held else each.square() for number, each in enumerate(gradients)]

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


class GuardedAdam(KerasAdam):
    """Adam with a limit of the norm of all gradients together, and a guard against gradients that are not finite.

    Nothing of it waits for the device.

    Args:
        network: as of `KerasAdam`.
        name: as of `KerasAdam`.
        learning_rate: as of `KerasAdam`.
        clipnorm: as of `KerasAdam`; it limits the gradients that the other limit leaves.
        limit: largest norm of all gradients together to leave as it is; infinity leaves all gradients as they are.
        is_guarded: whether an update is left out if that norm is not finite.

    Attributes:
        applied: whether the last update was applied, a boolean on the device.

    """

    def __init__(  # noqa: PLR0913 - the base's, and one for each of the two mechanisms
        self,
        network: nn.Module,
        name: str,
        learning_rate: float,
        clipnorm: float,
        *,
        limit: float = math.inf,
        is_guarded: bool = False,
    ) -> None:
        """Make the moments, on the device of the weights."""
        super().__init__(network, name, learning_rate, clipnorm)
        self._limit, self._is_guarded = limit, is_guarded
        self.applied = torch.ones((), dtype=torch.bool, device=self.iteration.device)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight by its clipped gradient, or leave all of them, their moments and the count as they are.

        Raises:
            ValueError: as `KerasAdam.step`.

        """
        norm = self.clip()
        if not self._is_guarded:
            super().step(closure)
            return
        # With zeros for gradients Adam would still move: the whole update is taken back.
        before = [tensor.clone() for tensor in self.tensors()]
        super().step(closure)
        self.applied.copy_(norm.isfinite())
        for tensor, value in zip(self.tensors(), before, strict=True):
            tensor.copy_(torch.where(self.applied, tensor, value))

    @torch.no_grad()
    def clip(self) -> Tensor:
        """Scale all gradients by limit / max(norm, limit), the formula of `tf.clip_by_global_norm`; return the norm.

        It is the norm that TensorFlow takes: an embedding's rows count one by one, see `Embedding`.
        """
        gradients = self._gradients()
        norm = torch.stack([square.sum() for square in self._squares(gradients)]).sum().sqrt()
        if not math.isinf(self._limit):
            factor = self._limit / norm.clamp(min=self._limit)
            factor = torch.where(norm.isfinite(), factor, math.nan)  # as TensorFlow: nothing is left of an infinity
            for gradient in gradients:
                gradient.mul_(factor)
            for squares in self._squares_of_embeddings.values():
                squares.mul_(factor.square())
        return norm
