"""The generator's LSTMs with everything outside the recurrence that does not depend on the step before.

The same mathematics as Keras' layers, cut differently. `hoisted_lstm` multiplies the inputs of all tokens by the kernel
in one product and leaves one product a token. Its gradient does likewise, so that the gradient of a kernel is one
product over all tokens instead of a sum that is updated at every token. `incremental_sequences` carries the
states from token to token, where the reference runs every prefix from its beginning.

Shape suffixes: T tokens, B sequences, E inputs of an LSTM, H its outputs, G = 4H its gates (input, forget, new, output,
as Keras orders them), V token ids, C conditions, 2 the two words of a seed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainers.dialogue_gan.data import UNKNOWN
from trainers.dialogue_gan.model import Generator, draw_tokens

__all__ = ["hoisted_lstm", "incremental_sequences"]


def hoisted_lstm(layer: keras.layers.LSTM, values_BTE: tf.Tensor) -> tf.Tensor:
    """Outputs (B, T, H) of a Keras LSTM with its default activations, as the layer itself gives them."""
    outputs_BTH: tf.Tensor = _hoisted(values_BTE, *_weights(layer))
    return outputs_BTH


def incremental_sequences(  # noqa: PLR0913, PLR0917 - what a sample depends on
    generator: Generator,
    characters_B: tf.Tensor,
    scenes_B: tf.Tensor,
    num_tokens: int,
    temperature: float,
    seed_2: tf.Tensor,
) -> tf.Tensor:
    """Fake sequences (B, T) as `model.sample_sequences` draws them, each token by one step of both LSTMs.

    Args:
        generator: gives the logits.
        characters_B: who speaks.
        scenes_B: where.
        num_tokens: T; the first token is `<UNK>`, as in the original.
        temperature: divides the logits.
        seed_2: of the draws; token number t draws with (seed, t).

    """
    step = _one_token(generator, characters_B, scenes_B)
    num_sequences = tf.shape(characters_B)[0]
    start_B = tf.fill((num_sequences,), tf.constant(UNKNOWN, tf.int32))
    drawn_TB = tf.TensorArray(tf.int32, num_tokens, element_shape=(None,)).write(0, start_B)
    zeros_BH = tf.zeros((num_sequences, generator.lstm_1.units))

    def body(position: tf.Tensor, drawn_TB: tf.TensorArray, tokens_B: tf.Tensor, *states_BH: tf.Tensor) -> Any:
        logits_BV, *states_BH = step(tokens_B, *states_BH)
        tokens_B = draw_tokens(logits_BV / temperature, seed_2 + _second(position))
        return position + 1, drawn_TB.write(position, tokens_B), tokens_B, *states_BH

    begun = (tf.constant(1), drawn_TB, start_B, *[zeros_BH] * 4)
    _, drawn_TB, *_ = tf.while_loop(lambda position, *_: position < num_tokens, body, begun)
    return tf.transpose(drawn_TB.stack())


def _second(number: tf.Tensor) -> tf.Tensor:
    """Return the offset that turns a seed into that of draw `number`."""
    return tf.stack((tf.constant(0, tf.int64), tf.cast(number, tf.int64)))


def _one_token(generator: Generator, characters_B: tf.Tensor, scenes_B: tf.Tensor) -> Callable[..., Any]:
    """Make the step from a token and both LSTMs' states to the next token's logits and the states after it."""
    embeddings_VE = tf.convert_to_tensor(generator.token_embedding.embeddings)
    (kernel_EG, recurrent_HG, bias_G), (kernel_HG, recurrent_2_HG, bias_2_G) = (
        _weights(layer) for layer in (generator.lstm_1, generator.lstm_2)
    )
    size = embeddings_VE.shape[1]
    # Who speaks and where is the same for every token: its part of the gates is computed once.
    conditions_BG = generator.conditions(characters_B, scenes_B) @ kernel_EG[size:] + bias_G
    weights_1 = tf.concat([kernel_EG[:size], recurrent_HG], 0)
    weights_2 = tf.concat([kernel_HG, recurrent_2_HG], 0)

    def step(tokens_B: tf.Tensor, h1_BH: tf.Tensor, c1_BH: tf.Tensor, h2_BH: tf.Tensor, c2_BH: tf.Tensor) -> Any:
        values_BE = tf.concat([tf.gather(embeddings_VE, tokens_B), h1_BH], 1)
        h1_BH, c1_BH, *_ = _cell(values_BE @ weights_1 + conditions_BG, c1_BH)
        h2_BH, c2_BH, *_ = _cell(tf.concat([h1_BH, h2_BH], 1) @ weights_2 + bias_2_G, c2_BH)
        return generator.logits(h2_BH), h1_BH, c1_BH, h2_BH, c2_BH

    return step


def _weights(layer: keras.layers.LSTM) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    cell = layer.cell
    return tuple(tf.convert_to_tensor(each) for each in (cell.kernel, cell.recurrent_kernel, cell.bias))


def _cell(sums_BG: tf.Tensor, cells_BH: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """One step of an LSTM from the weighted sums that go into its gates.

    Returns:
        Outputs and cells after the step, then what its gradient needs, all (B, H): the gates input, forget, new and
        output, the hyperbolic tangent of the cells after the step, and the cells before it.

    """
    input_BH, forget_BH, new_BH, output_BH = tf.split(sums_BG, 4, 1)
    input_BH, forget_BH, output_BH = tf.sigmoid(input_BH), tf.sigmoid(forget_BH), tf.sigmoid(output_BH)
    new_BH = tf.tanh(new_BH)
    after_BH = forget_BH * cells_BH + input_BH * new_BH
    bent_BH = tf.tanh(after_BH)
    return output_BH * bent_BH, after_BH, input_BH, forget_BH, new_BH, output_BH, bent_BH, cells_BH


@tf.custom_gradient  # type: ignore[untyped-decorator] # TensorFlow has no types
def _hoisted(values_BTE: tf.Tensor, kernel_EG: tf.Tensor, recurrent_HG: tf.Tensor, bias_G: tf.Tensor) -> Any:
    values_TBE = tf.transpose(values_BTE, (1, 0, 2))
    outputs_TBH, kept = _forward(values_TBE @ kernel_EG + bias_G, recurrent_HG)

    def gradient(upstream_BTH: tf.Tensor) -> tuple[tf.Tensor, ...]:
        upstream_TBH = tf.transpose(upstream_BTH, (1, 0, 2))
        sums_TBG = _backward(upstream_TBH, kept, recurrent_HG)
        all_NG = tf.reshape(sums_TBG, (-1, recurrent_HG.shape[1]))
        by_values_TBE = tf.matmul(sums_TBG, kernel_EG, transpose_b=True)
        return (
            tf.transpose(by_values_TBE, (1, 0, 2)),
            tf.matmul(tf.reshape(values_TBE, (-1, kernel_EG.shape[0])), all_NG, transpose_a=True),
            tf.matmul(tf.reshape(_one_later(outputs_TBH), (-1, recurrent_HG.shape[0])), all_NG, transpose_a=True),
            tf.reduce_sum(all_NG, 0),
        )

    return tf.transpose(outputs_TBH, (1, 0, 2)), gradient


def _forward(sums_TBG: tf.Tensor, recurrent_HG: tf.Tensor) -> tuple[tf.Tensor, list[tf.TensorArray]]:
    """Outputs at all tokens from what the inputs add to the gates, and what `_cell` keeps for the gradient."""
    num_tokens, num_sequences, size = tf.shape(sums_TBG)[0], tf.shape(sums_TBG)[1], recurrent_HG.shape[0]
    # One array each for the outputs and the six that a gradient needs.
    kept = [
        tf.TensorArray(tf.float32, num_tokens, element_shape=(None, size), clear_after_read=False) for _ in range(7)
    ]

    def body(token: tf.Tensor, outputs_BH: tf.Tensor, cells_BH: tf.Tensor, *kept: tf.TensorArray) -> Any:
        outputs_BH, cells_BH, *others = _cell(sums_TBG[token] + outputs_BH @ recurrent_HG, cells_BH)
        written = (array.write(token, each) for array, each in zip(kept, (outputs_BH, *others), strict=True))
        return token + 1, outputs_BH, cells_BH, *written

    zeros_BH = tf.zeros((num_sequences, size))
    begun = (tf.constant(0), zeros_BH, zeros_BH, *kept)
    _, _, _, outputs, *kept = tf.while_loop(lambda token, *_: token < num_tokens, body, begun)
    return outputs.stack(), kept


def _backward(upstream_TBH: tf.Tensor, kept: Sequence[tf.TensorArray], recurrent_HG: tf.Tensor) -> tf.Tensor:
    """Gradient (T, B, G) by the weighted sums that went into the gates, from the last token to the first.

    With c = f c' + i n and h = o tanh(c). A token is computed in full before the next: that fits into the caches.
    """
    num_tokens, num_sequences, size = tf.shape(upstream_TBH)[0], tf.shape(upstream_TBH)[1], recurrent_HG.shape[0]
    # Transposed once: a product that transposes such a factor itself, at every token, takes three times as long.
    recurrent_GH = tf.transpose(recurrent_HG)

    def body(token: tf.Tensor, outputs_BH: tf.Tensor, cells_BH: tf.Tensor, sums_TBG: tf.TensorArray) -> Any:
        input_BH, forget_BH, new_BH, output_BH, bent_BH, before_BH = (array.read(token) for array in kept)
        outputs_BH += upstream_TBH[token]
        cells_BH += outputs_BH * output_BH * (1 - bent_BH**2)
        sums_BG = tf.concat([
            cells_BH * new_BH * input_BH * (1 - input_BH),
            cells_BH * before_BH * forget_BH * (1 - forget_BH),
            cells_BH * input_BH * (1 - new_BH**2),
            outputs_BH * bent_BH * output_BH * (1 - output_BH),
        ], 1)  # fmt: skip
        return token - 1, sums_BG @ recurrent_GH, cells_BH * forget_BH, sums_TBG.write(token, sums_BG)

    zeros_BH = tf.zeros((num_sequences, size))
    found_TBG = tf.TensorArray(tf.float32, num_tokens, element_shape=(None, 4 * size))
    *_, found_TBG = tf.while_loop(
        lambda token, *_: token >= 0, body, (num_tokens - 1, zeros_BH, zeros_BH, found_TBG)
    )  # fmt: skip
    return found_TBG.stack()


def _one_later(values_TBH: tf.Tensor) -> tf.Tensor:
    """Shift values by one token, with zeros at the first."""
    return tf.concat([tf.zeros_like(values_TBH[:1]), values_TBH[:-1]], 0)
