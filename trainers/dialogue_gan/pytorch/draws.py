"""The random numbers of a batch: all uniform from 0 to 1, drawn at once, and what each of them is for.

Shape suffixes: N numbers, B sequences, T tokens, V token ids, E embedding, C conditions, H hidden.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.dialogue_gan.config import DialogueConfig
from trainers.dialogue_gan.phased_trainer import num_updates

__all__ = ["HEAD_SIZES", "DiscriminatorDraws", "Draws", "GeneratorDraws", "num_uniforms", "split"]

HEAD_SIZES = (128, 64)
"""Outputs of the discriminator's dense layers, each of which has a dropout mask."""

GeneratorDraws = tuple[Tensor, Tensor]
"""Of one update of the generator: the dropout masks of either LSTM's input, (B, 1, E + C) and (B, 1, H)."""


class DiscriminatorDraws(NamedTuple):
    """Of one update of the discriminator.

    Attributes:
        sampling_TBV: of the fakes, for all tokens but the first.
        real: dropout masks of the real sequences, (B, 128) and (B, 64).
        fake: those of the fake ones.

    """

    sampling_TBV: Tensor
    real: tuple[Tensor, Tensor]
    fake: tuple[Tensor, Tensor]


class Draws(NamedTuple):
    """Of one batch.

    Attributes:
        of_discriminator: for each of its updates.
        of_generator: for each of its updates.

    """

    of_discriminator: tuple[DiscriminatorDraws, ...]
    of_generator: tuple[GeneratorDraws, ...]

    def of_rows(self, rows: slice) -> "Draws":
        """Return those of some sequences of the batch."""

        def two(masks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return masks[0][rows], masks[1][rows]

        of_discriminator = (
            DiscriminatorDraws(each.sampling_TBV[:, rows], two(each.real), two(each.fake))
            for each in self.of_discriminator
        )
        return Draws(tuple(of_discriminator), tuple(map(two, self.of_generator)))


def _shapes(config: DialogueConfig, phase: str, num_sequences: int) -> Iterator[tuple[int, ...]]:
    of_generator, of_discriminator = num_updates(config, phase)
    heads = [(num_sequences, size) for size in HEAD_SIZES]
    for _ in range(of_discriminator):
        yield config.sequence_length - 1, num_sequences, config.vocabulary_size
        yield from heads + heads
    for _ in range(of_generator):
        yield num_sequences, 1, config.embedding_size + 2 * config.condition_size
        yield num_sequences, 1, config.hidden_size


def num_uniforms(config: DialogueConfig, phase: str, num_sequences: int) -> int:
    """Return how many random numbers a batch of `num_sequences` takes in a phase."""
    return sum(map(math.prod, _shapes(config, phase, num_sequences)))


def split(uniforms_N: Tensor, config: DialogueConfig, phase: str, num_sequences: int) -> Draws:
    """Give each of a batch's numbers its use; what comes back are views.

    Raises:
        RuntimeError: they are not `num_uniforms` many.

    """
    shapes = list(_shapes(config, phase, num_sequences))
    parts = torch.split(uniforms_N, [math.prod(shape) for shape in shapes])
    each = iter(part.view(shape) for part, shape in zip(parts, shapes, strict=True))
    of_generator, of_discriminator = num_updates(config, phase)
    by_discriminator = tuple(_of_discriminator(each) for _ in range(of_discriminator))
    return Draws(by_discriminator, tuple(_two(each) for _ in range(of_generator)))


def _of_discriminator(each: Iterator[Tensor]) -> DiscriminatorDraws:
    return DiscriminatorDraws(next(each), _two(each), _two(each))


def _two(each: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    first, second = itertools.islice(each, 2)
    return first, second
