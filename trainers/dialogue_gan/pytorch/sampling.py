"""Samplers of the dialogue GAN in PyTorch: token by token, each drawn by given uniform numbers.

All of them draw the same tokens from the same numbers, but where two logits are equal up to rounding.

Shape suffixes: B sequences, T tokens, V token ids, C conditions, H hidden, G gates of an LSTM (4 H), P products.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from trainers.dialogue_gan.data import UNKNOWN
from trainers.dialogue_gan.pytorch.model import Generator

__all__ = [
    "Position",
    "SamplerWeights",
    "draw_tokens",
    "gumbel_noise",
    "incremental_sequences",
    "merged_sequences",
    "next_token",
    "sample_sequences",
]


def gumbel_noise(uniforms: Tensor) -> Tensor:
    """Gumbel numbers of uniform ones from 0 to 1; of 0 it is minus infinity, and that token is never drawn."""
    return -(-uniforms.log()).log()


def draw_tokens(logits_BV: Tensor, uniforms_BV: Tensor) -> Tensor:
    """One token id (B) from each row's distribution: the largest of logits plus Gumbel noise."""
    return (logits_BV + gumbel_noise(uniforms_BV)).argmax(-1)


@torch.no_grad()
def sample_sequences(
    generator: Generator, characters_B: Tensor, scenes_B: Tensor, uniforms_TBV: Tensor, temperature: float
) -> Tensor:
    """Fake sequences (B, T), token by token, each by a forward pass over the whole prefix.

    Args:
        generator: gives the logits.
        characters_B: who speaks.
        scenes_B: where.
        uniforms_TBV: numbers from 0 to 1 of the draws, for all tokens but the first, which is `<UNK>`.
        temperature: divides the logits.

    """
    tokens_BT = torch.full_like(characters_B, UNKNOWN)[:, None]
    for uniforms_BV in uniforms_TBV:
        logits_BTV = generator(tokens_BT, characters_B, scenes_B)
        next_B = draw_tokens(logits_BTV[:, -1] / temperature, uniforms_BV)
        # A drawn padding token stays in the prefix like any other, as in the original.
        tokens_BT = torch.cat([tokens_BT, next_B[:, None]], 1)
    return tokens_BT


@torch.no_grad()
def incremental_sequences(
    generator: Generator, characters_B: Tensor, scenes_B: Tensor, uniforms_TBV: Tensor, temperature: float
) -> Tensor:
    """Fake sequences (B, T) as `sample_sequences` draws them, each token by one step of both LSTMs.

    On CUDA the steps multiply in float32 as matrix products do by default, where cuDNN's whole sequences take TF32.
    """
    conditions_BC = generator.conditions(characters_B, scenes_B)
    weights = [cast("list[Tensor]", layer.all_weights[0]) for layer in (generator.lstm_1, generator.lstm_2)]
    zeros_BH = conditions_BC.new_zeros(len(characters_B), generator.lstm_1.hidden_size)
    first = second = (zeros_BH, zeros_BH)
    drawn = [torch.full_like(characters_B, UNKNOWN)]
    for noise_BV in gumbel_noise(uniforms_TBV):
        values_BE = torch.cat([generator.token_embedding(drawn[-1]), conditions_BC], -1)
        first = torch.lstm_cell(values_BE, first, *weights[0])
        second = torch.lstm_cell(first[0], second, *weights[1])
        drawn.append(torch.add(noise_BV, generator.logits(second[0]), alpha=1 / temperature).argmax(-1))
    return torch.stack(drawn, 1)


class SamplerWeights(NamedTuple):
    """Hold a generator's weights as `next_token` multiplies by them.

    Attributes:
        of_tokens_VG: what every token id adds to the first LSTM's gates.
        of_conditions_BG: what speaker and scene add to them.
        of_first_PH: what the first LSTM's output is multiplied by: input weights of the second, then recurrent weights
            of the first, for the next token.
        of_first_P: their biases.
        of_second_PH: what the second LSTM's output is multiplied by: its recurrent weights, then those of the logits.
        of_second_P: their biases.

    """

    of_tokens_VG: Tensor
    of_conditions_BG: Tensor
    of_first_PH: Tensor
    of_first_P: Tensor
    of_second_PH: Tensor
    of_second_P: Tensor


class Position(NamedTuple):
    """Hold what the next token depends on.

    Attributes:
        tokens_B: drawn last.
        first_BH: cells of the first LSTM.
        second_BH: cells of the second.
        of_first_BP: products of the first LSTM's newest output.
        of_second_BP: products of the second's.

    """

    tokens_B: Tensor
    first_BH: Tensor
    second_BH: Tensor
    of_first_BP: Tensor
    of_second_BP: Tensor


NextToken = Callable[[SamplerWeights, Position, Tensor, Tensor], Position]
"""Type of `next_token`, compiled or not."""


def next_token(weights: SamplerWeights, position: Position, uniforms_BV: Tensor, temperature: Tensor) -> Position:
    """Draw the next token of every sequence by two matrix products.

    Args:
        weights: of the generator.
        position: where the sequences are.
        uniforms_BV: numbers from 0 to 1 of the draw.
        temperature: a scalar that divides the logits.

    """
    num_gates = weights.of_tokens_VG.shape[1]
    gates_BG = weights.of_tokens_VG[position.tokens_B] + weights.of_conditions_BG + position.of_first_BP[:, num_gates:]
    output_BH, first_BH = _cell(gates_BG, position.first_BH)
    of_first_BP = functional.linear(output_BH, weights.of_first_PH, weights.of_first_P)
    gates_BG = of_first_BP[:, :num_gates] + position.of_second_BP[:, :num_gates]
    output_BH, second_BH = _cell(gates_BG, position.second_BH)
    of_second_BP = functional.linear(output_BH, weights.of_second_PH, weights.of_second_P)
    tokens_B = draw_tokens(of_second_BP[:, num_gates:] / temperature, uniforms_BV)
    return Position(tokens_B, first_BH, second_BH, of_first_BP, of_second_BP)


def _cell(gates_BG: Tensor, cells_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Output and cells (B, H) of an LSTM after its gates, in PyTorch's order: input, forget, candidate, output."""
    input_BH, forget_BH, candidate_BH, output_BH = gates_BG.chunk(4, -1)
    cells_BH = forget_BH.sigmoid() * cells_BH + input_BH.sigmoid() * candidate_BH.tanh()
    return output_BH.sigmoid() * cells_BH.tanh(), cells_BH


@torch.no_grad()
def merged_sequences(  # noqa: PLR0913 - the arguments of the others, and the step
    generator: Generator,
    characters_B: Tensor,
    scenes_B: Tensor,
    uniforms_TBV: Tensor,
    temperature: float,
    *,
    step: NextToken = next_token,
) -> Tensor:
    """Fake sequences (B, T) as `sample_sequences` draws them, with each LSTM's output multiplied once a token.

    An output is multiplied by all weights that it meets at once, and the products of all token ids with the first
    LSTM's input weights are made once.

    Args:
        generator: as of `sample_sequences`.
        characters_B: likewise.
        scenes_B: likewise.
        uniforms_TBV: likewise.
        temperature: likewise.
        step: `next_token`, or the same compiled.

    """
    weights = _sampler_weights(generator, characters_B, scenes_B)
    num_sequences, size = len(characters_B), generator.lstm_1.hidden_size
    position = Position(
        tokens_B=torch.full_like(characters_B, UNKNOWN),
        first_BH=weights.of_first_P.new_zeros(num_sequences, size),
        second_BH=weights.of_first_P.new_zeros(num_sequences, size),
        # Of outputs that are zeros only the biases are left.
        of_first_BP=weights.of_first_P.repeat(num_sequences, 1),
        of_second_BP=weights.of_second_P.repeat(num_sequences, 1),
    )
    drawn = [position.tokens_B]
    divisor = torch.full((), temperature, device=uniforms_TBV.device)
    for uniforms_BV in uniforms_TBV:
        position = step(weights, position, uniforms_BV, divisor)
        drawn.append(position.tokens_B)
    return torch.stack(drawn, 1)


def _sampler_weights(generator: Generator, characters_B: Tensor, scenes_B: Tensor) -> SamplerWeights:
    inputs_1, recurrent_1, *biases_1 = cast("list[Tensor]", generator.lstm_1.all_weights[0])
    inputs_2, recurrent_2, *biases_2 = cast("list[Tensor]", generator.lstm_2.all_weights[0])
    embeddings_VE = generator.token_embedding.weight
    size = embeddings_VE.shape[1]
    bias_1, bias_2 = biases_1[0] + biases_1[1], biases_2[0] + biases_2[1]
    return SamplerWeights(
        of_tokens_VG=embeddings_VE @ inputs_1[:, :size].T,
        of_conditions_BG=generator.conditions(characters_B, scenes_B) @ inputs_1[:, size:].T,
        of_first_PH=torch.cat([inputs_2, recurrent_1]),
        of_first_P=torch.cat([bias_2, bias_1]),
        of_second_PH=torch.cat([recurrent_2, generator.logits.weight]),
        of_second_P=torch.cat([torch.zeros_like(bias_2), generator.logits.bias]),
    )
