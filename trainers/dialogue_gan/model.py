"""Generator, discriminator, losses and sampler of the dialogue GAN.

All that is random takes an explicit seed: two integers, of which the first is drawn for every use and the second
counts draws within it. The draws are counter-based (Philox), so they are the same eagerly and in a graph.

Shape suffixes: B sequences, T tokens, V token ids, E embedding, H hidden, F filters, 2 the two words of a seed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainers.common.seeds import derived_seed
from trainers.dialogue_gan.config import DialogueConfig
from trainers.dialogue_gan.data import UNKNOWN
from trainers.tensorflow.workers import Part

__all__ = [
    "Discriminator", "Generator", "discriminator_loss", "draw_tokens", "network_values", "num_parameters",
    "policy_loss", "policy_rewards", "sample_sequences", "seed_words", "set_values", "target_log_probabilities",
    "teacher_forcing_loss",
]  # fmt: skip

_LEAST_PROBABILITY = 1e-7  # Keras' epsilon: keeps the logarithm of a probability finite
_KERNEL_WIDTHS = (3, 4, 5)


def seed_words(*words: int) -> tf.Tensor:
    """Seed of one use of randomness, from integers that name it: the training's seed, phase, epoch, step and purpose.

    Returns:
        Two int64 numbers; the second is 0 and for the user to count with.

    """
    return tf.constant((derived_seed(*words), 0), tf.int64)


def _numbered(seed_2: tf.Tensor, number: int) -> tf.Tensor:
    return seed_2 + tf.constant((0, number), tf.int64)


def dropped(  # noqa: PLR0913 - what a mask depends on
    values: tf.Tensor,
    rate: float,
    seed_2: tf.Tensor | None,
    number: int,
    *,
    by_time: bool,
    part: Part | None = None,
) -> tf.Tensor:
    """Apply the dropout mask that `seed_2` and `number` give, or none without a seed.

    Without `by_time` the axis after the first, that of the tokens, has one mask in common; see `Generator.call`.
    Values that are a part of a batch get their part of the batch's mask.
    """
    if seed_2 is None or rate == 0:
        return values
    shape = None if by_time else tf.concat([tf.shape(values)[:1], [1], tf.shape(values)[2:]], 0)
    numbered_2 = _numbered(seed_2, number)

    def apply(to: tf.Tensor, shape: tf.Tensor | None) -> tf.Tensor:
        return tf.nn.experimental.stateless_dropout(to, rate, numbered_2, rng_alg="philox", noise_shape=shape)

    if part is None:
        return apply(values, shape)
    return values * part.drawn(lambda whole: apply(tf.ones(whole), None), tf.shape(values) if by_time else shape)


class _Initializers:
    """Keras' usual initializers, each with a seed of its own."""

    def __init__(self, seed: int) -> None:
        self._seed, self._num_made = seed, 0

    def _next_seed(self) -> int:
        self._num_made += 1
        return derived_seed(self._seed, self._num_made) % 2**31

    def embedding(self, num_ids: int, size: int, name: str) -> keras.layers.Embedding:
        draw = keras.initializers.RandomUniform(seed=self._next_seed())
        return keras.layers.Embedding(num_ids, size, embeddings_initializer=draw, name=name)

    def lstm(self, size: int, name: str) -> keras.layers.LSTM:
        return keras.layers.LSTM(
            size,
            return_sequences=True,
            kernel_initializer=keras.initializers.GlorotUniform(seed=self._next_seed()),
            recurrent_initializer=keras.initializers.Orthogonal(seed=self._next_seed()),
            name=name,
        )

    def dense(self, size: int, activation: str | None, name: str) -> keras.layers.Dense:
        draw = keras.initializers.GlorotUniform(seed=self._next_seed())
        return keras.layers.Dense(size, activation=activation, kernel_initializer=draw, name=name)

    def convolution(self, num_filters: int, width: int, name: str) -> keras.layers.Conv1D:
        draw = keras.initializers.GlorotUniform(seed=self._next_seed())
        return keras.layers.Conv1D(
            num_filters, width, padding="same", activation="relu", kernel_initializer=draw, name=name
        )


class Generator(keras.Model):  # type: ignore[misc] # Keras has no types
    """Predict the logits of the next token by two LSTMs, conditioned at every step on speaker and scene.

    7.65 million parameters at the original's sizes.

    Args:
        config: sizes.
        num_characters: speakers.
        num_scenes: scenes.
        seed: of the weights.

    """

    def __init__(self, config: DialogueConfig, num_characters: int, num_scenes: int, seed: int) -> None:
        """Make the weights, so that the first call is like every other."""
        super().__init__(name="generator")
        make = _Initializers(seed)
        self._dropout, self._conditional = config.dropout, config.conditional
        self.token_embedding = make.embedding(config.vocabulary_size, config.embedding_size, "token_embedding")
        self.character_embedding = make.embedding(num_characters, config.condition_size, "character_embedding")
        self.scene_embedding = make.embedding(num_scenes, config.condition_size, "scene_embedding")
        self.lstm_1 = make.lstm(config.hidden_size, "lstm_1")
        self.lstm_2 = make.lstm(config.hidden_size, "lstm_2")
        self.logits = make.dense(config.vocabulary_size, None, "logits")
        self(tf.zeros((1, 2), tf.int32), tf.zeros(1, tf.int32), tf.zeros(1, tf.int32))

    def call(
        self,
        tokens_BT: tf.Tensor,
        characters_B: tf.Tensor,
        scenes_B: tf.Tensor,
        seed_2: tf.Tensor | None = None,
        part: Part | None = None,
    ) -> tf.Tensor:
        """Logits (B, T, V) of the token that follows each of the tokens.

        The LSTMs run over the padding too: the original's mask does not survive its concatenation.

        Args:
            tokens_BT: token ids.
            characters_B: who speaks.
            scenes_B: where.
            seed_2: of the dropout masks, which an LSTM's input shares over all its tokens; without it, no dropout.
            part: which rows of a batch these are, if they are not all: their masks are those of the batch.

        """
        return self.logits_through(_as_it_is, tokens_BT, characters_B, scenes_B, seed_2, part)

    def logits_through(  # noqa: PLR0913, PLR0917 - what logits depend on
        self,
        recurrence: Callable[[keras.layers.LSTM, tf.Tensor], tf.Tensor],
        tokens_BT: tf.Tensor,
        characters_B: tf.Tensor,
        scenes_B: tf.Tensor,
        seed_2: tf.Tensor | None = None,
        part: Part | None = None,
    ) -> tf.Tensor:
        """As `call`, with the outputs of an LSTM (B, T, H) from what `recurrence` makes of it and its inputs."""
        conditions_BC = self.conditions(characters_B, scenes_B)
        conditions_BTC = tf.repeat(conditions_BC[:, tf.newaxis], tf.shape(tokens_BT)[1], axis=1)
        values_BTE = tf.concat([self.token_embedding(tokens_BT), conditions_BTC], -1)
        values_BTH = recurrence(self.lstm_1, dropped(values_BTE, self._dropout, seed_2, 1, by_time=False, part=part))
        values_BTH = recurrence(self.lstm_2, dropped(values_BTH, self._dropout, seed_2, 2, by_time=False, part=part))
        return self.logits(values_BTH)

    def conditions(self, characters_B: tf.Tensor, scenes_B: tf.Tensor) -> tf.Tensor:
        """Embed speakers and scenes (B, C); zeros where the generator is not conditional."""
        conditions_BC = tf.concat([self.character_embedding(characters_B), self.scene_embedding(scenes_B)], -1)
        return conditions_BC if self._conditional else conditions_BC * 0.0


def _as_it_is(layer: keras.layers.LSTM, values_BTE: tf.Tensor) -> tf.Tensor:
    return layer(values_BTE)


class Discriminator(keras.Model):  # type: ignore[misc] # Keras has no types
    """Convolutions of three widths over a sequence; gives the probability that it is real.

    1.51 million parameters at the original's sizes.

    Args:
        config: sizes.
        seed: of the weights.

    """

    def __init__(self, config: DialogueConfig, seed: int) -> None:
        """Make the weights, so that the first call is like every other."""
        super().__init__(name="discriminator")
        make = _Initializers(seed)
        self._dropout = config.dropout
        self.token_embedding = make.embedding(config.vocabulary_size, config.embedding_size, "token_embedding")
        self.convolutions = [
            make.convolution(config.num_filters, width, f"convolution_{width}") for width in _KERNEL_WIDTHS
        ]
        self.dense_1 = make.dense(128, "relu", "dense_1")
        self.dense_2 = make.dense(64, "relu", "dense_2")
        self.probability = make.dense(1, "sigmoid", "probability")
        self(tf.zeros((1, config.sequence_length), tf.int32))

    def call(self, tokens_BT: tf.Tensor, seed_2: tf.Tensor | None = None, part: Part | None = None) -> tf.Tensor:
        """Probability (B) of each sequence; `seed_2` is that of the dropout masks, without it there is no dropout.

        `part` says which rows of a batch these are, if they are not all: their masks are those of the batch.
        """
        return self.probabilities(tokens_BT, lambda values_BH, number: self._masked(values_BH, seed_2, number, part))

    def of_both(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Probabilities (B) of real and of fake sequences in one pass over all, with the masks that each has alone."""
        num_real = tf.shape(real_BT)[0]

        def masked(values_BH: tf.Tensor, number: int) -> tf.Tensor:
            real_BH = self._masked(values_BH[:num_real], real_seed_2, number)
            return tf.concat([real_BH, self._masked(values_BH[num_real:], fake_seed_2, number)], 0)

        together_B = self.probabilities(tf.concat([real_BT, fake_BT], 0), masked)
        return together_B[:num_real], together_B[num_real:]

    def probabilities(self, tokens_BT: tf.Tensor, masked: Callable[[tf.Tensor, int], tf.Tensor]) -> tf.Tensor:
        """Probability (B) of each sequence; `masked` applies dropout mask 1 or 2 to activations."""
        values_BTE = self.token_embedding(tokens_BT)
        pooled_BF = [tf.reduce_max(convolution(values_BTE), 1) for convolution in self.convolutions]
        values_BH = self.dense_1(tf.concat(pooled_BF, -1))
        values_BH = self.dense_2(masked(values_BH, 1))
        return self.probability(masked(values_BH, 2))[:, 0]

    def _masked(
        self, values_BH: tf.Tensor, seed_2: tf.Tensor | None, number: int, part: Part | None = None
    ) -> tf.Tensor:
        return dropped(values_BH, self._dropout, seed_2, number, by_time=True, part=part)


def target_log_probabilities(logits_BTV: tf.Tensor, targets_BT: tf.Tensor) -> tf.Tensor:
    """Log-probability (B, T) that logits give to the targets."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets_BT, logits=logits_BTV)


def teacher_forcing_loss(logits_BTV: tf.Tensor, targets_BT: tf.Tensor) -> tf.Tensor:
    """Cross-entropy, the mean over all places: padding counts too, as everywhere in the original."""
    return -tf.reduce_mean(target_log_probabilities(logits_BTV, targets_BT))


def discriminator_loss(
    real_B: tf.Tensor, fake_B: tf.Tensor, smoothing: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Binary cross-entropy on probabilities, with labels that stay `smoothing` away from 0 and 1.

    Returns:
        The sum of both sides, that of the real side, that of the fake side, and the accuracy.

    """
    loss_real = _cross_entropy(real_B, 1.0 - smoothing)
    loss_fake = _cross_entropy(fake_B, smoothing)
    accuracy = (
        tf.reduce_mean(tf.cast(real_B > 0.5, tf.float32)) + tf.reduce_mean(tf.cast(fake_B < 0.5, tf.float32))
    ) / 2
    return loss_real + loss_fake, loss_real, loss_fake, accuracy


def _cross_entropy(probabilities_B: tf.Tensor, label: float) -> tf.Tensor:
    inside_B = tf.clip_by_value(probabilities_B, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    return -tf.reduce_mean(label * tf.math.log(inside_B) + (1.0 - label) * tf.math.log(1.0 - inside_B))


def policy_rewards(discriminator: Discriminator, tokens_BT: tf.Tensor) -> tf.Tensor:
    """Reward (B) of every sequence: how real the discriminator holds it, without dropout and without gradient."""
    return tf.stop_gradient(discriminator(tokens_BT))


def policy_loss(
    logits_BTV: tf.Tensor, targets_BT: tf.Tensor, rewards_B: tf.Tensor, mean_reward: tf.Tensor | None = None
) -> tf.Tensor:
    """-mean_B( sum_T log p(target) * (reward - mean_B reward) ); of a part of a batch, give the batch's mean reward."""
    log_probabilities_B = tf.reduce_sum(target_log_probabilities(logits_BTV, targets_BT), -1)
    baseline = tf.reduce_mean(rewards_B) if mean_reward is None else mean_reward
    return -tf.reduce_mean(log_probabilities_B * (rewards_B - baseline))


def draw_tokens(logits_BV: tf.Tensor, seed_2: tf.Tensor, part: Part | None = None) -> tf.Tensor:
    """One token id (B) from each row's distribution: the largest of logits plus Gumbel noise.

    `tf.random.categorical` draws differently eagerly and in a graph; this does not. Rows that are a part of a batch
    draw what they draw in the batch.
    """

    def draw(shape: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, seed_2, alg="philox")

    shape = tf.shape(logits_BV)
    uniform_BV = draw(shape) if part is None else part.drawn(draw, shape)
    # A uniform number may be exactly 0: its Gumbel number is then minus infinity, and the token is not drawn.
    gumbel_BV = -tf.math.log(-tf.math.log(uniform_BV))
    return tf.argmax(logits_BV + gumbel_BV, -1, tf.int32)


def sample_sequences(  # noqa: PLR0913, PLR0917 - what a sample depends on
    generator: Generator,
    characters_B: tf.Tensor,
    scenes_B: tf.Tensor,
    num_tokens: int,
    temperature: float,
    seed_2: tf.Tensor,
    part: Part | None = None,
) -> tf.Tensor:
    """Fake sequences (B, T), token by token, each by a forward pass over the whole prefix.

    Args:
        generator: gives the logits.
        characters_B: who speaks.
        scenes_B: where.
        num_tokens: T; the first token is `<UNK>`, as in the original.
        temperature: divides the logits.
        seed_2: of the draws; token number t draws with (seed, t).
        part: which rows of a batch these are, if they are not all.

    """
    tokens_BT = tf.fill((tf.shape(characters_B)[0], 1), tf.constant(UNKNOWN, tf.int32))
    for position in range(1, num_tokens):
        logits_BTV = generator(tokens_BT, characters_B, scenes_B)
        next_B = draw_tokens(logits_BTV[:, -1] / temperature, _numbered(seed_2, position), part)
        # A drawn padding token stays in the prefix like any other, as in the original.
        tokens_BT = tf.concat([tokens_BT, next_B[:, tf.newaxis]], 1)
    return tokens_BT


def num_parameters(network: keras.Model) -> int:
    """Trainable numbers of a network."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)


def network_values(network: keras.Model) -> dict[str, Any]:
    """Weights by name, as arrays of their own."""
    return {_name(weight): np.array(weight.numpy()) for weight in network.weights}


def set_values(network: keras.Model, values: Mapping[str, Any]) -> None:
    """Take weights by name, into the variables that are there."""
    for weight in network.weights:
        weight.assign(values[_name(weight)])


def _name(weight: keras.Variable) -> str:
    """Name of a weight inside its network: `lstm_1/lstm_cell/kernel`."""
    name: str = weight.path.partition("/")[2]
    return name
