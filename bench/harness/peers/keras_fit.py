"""Train the dialogue GAN by Keras: `fit` with custom train steps, `jit_compile` and `steps_per_execution`.

Networks, losses, optimizers and batches are the family's. The seeds of dropout and of the fakes come with each batch,
so that both ends of a pair draw the same; XLA draws other numbers from the same seeds.

Shape suffixes: B sequences of a batch, T tokens, C conditions, H hidden units, S seeds of a batch, 2 the two words of a
seed.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainers.dialogue_gan.config import DialogueConfig
from trainers.dialogue_gan.data import UNKNOWN, DialogueData, find_data
from trainers.dialogue_gan.model import (
    Discriminator,
    Generator,
    discriminator_loss,
    draw_tokens,
    policy_loss,
    policy_rewards,
    teacher_forcing_loss,
)
from trainers.dialogue_gan.phased_trainer import SERIES
from trainers.dialogue_gan.reference import ReferenceTrainer
from trainers.tensorflow.runtime import find_device

__all__ = ["AdversarialModel", "KerasFit", "TeacherForcingModel", "build", "draw_sequences"]

STEPS_PER_EXECUTION = 8
"""Batches that one call of the compiled function trains, as many as the fastest tier's `steps_per_call`."""


def build(  # noqa: PLR0913 - a family's build, and one setting of the peer's
    tier: str,
    switches: Mapping[str, bool] | None,
    *,
    preset: str,
    device: str,
    jit_compile: bool,
    log: Callable[[str], None] = print,
    seed: int = 0,
    **overrides: Any,
) -> "KerasFit":
    """Build the peer as `Family.build` builds a tier: the same weights, batches and seeds.

    Args:
        tier: of the side that asks; there is one peer.
        switches: the peer has none.
        preset: one of the family's.
        device: `cpu` or `cuda`.
        jit_compile: whether XLA compiles the train steps.
        log: takes the lines that the original prints.
        seed: of weights, batches, dropout and fakes.
        overrides: values of `DialogueConfig` that differ from the preset's.
    """
    del tier, switches
    config = DialogueConfig.preset(preset).replace(**overrides)
    data = find_data(config, None)
    return KerasFit(config, data, device=find_device(device), seed=seed, log=log, jit_compile=jit_compile)


class TeacherForcingModel(keras.Model):
    """The generator's pre-training as a model to fit.

    Args:
        generator: what is trained.
    """

    def __init__(self, generator: Generator) -> None:
        """Keep the generator, whose weights exist already."""
        super().__init__(name="teacher_forcing")
        self.generator = generator
        self.loss_tracker = keras.metrics.Mean("generator_losses")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the metrics that Keras resets at the start of an epoch."""
        return [self.loss_tracker]

    def train_step(self, data: tuple[Any]) -> dict[str, tf.Tensor]:
        """Update the generator towards the sequences of a batch."""
        ((tokens_BT, characters_B, scenes_B, seeds_S2),) = data  # noqa: N806 - tensors carry shape suffixes
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seeds_S2[0])
            loss = teacher_forcing_loss(logits, tokens_BT[:, 1:])
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.loss_tracker.update_state(loss)
        return {"generator_losses": self.loss_tracker.result()}


class AdversarialModel(keras.Model):
    """The adversarial phase as a model to fit: both networks, the sampler inside the train step.

    Args:
        generator: one network.
        discriminator: the other.
        config: says how many updates a batch has and how the fakes are drawn.
    """

    def __init__(self, generator: Generator, discriminator: Discriminator, config: DialogueConfig) -> None:
        """Keep the networks, whose weights exist already."""
        super().__init__(name="adversarial")
        self.generator, self.discriminator, self.config = generator, discriminator, config
        self.trackers = {name: keras.metrics.Mean(name) for name in SERIES["adversarial"]}
        self.built = True

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
        **options: Any,
    ) -> None:
        """Take an optimizer of each network, and `keras.Model.compile`'s options."""
        super().compile(**options)
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the metrics that Keras resets at the start of an epoch."""
        return list(self.trackers.values())

    def train_step(self, data: tuple[Any]) -> dict[str, tf.Tensor]:
        """Update the discriminator on a batch and fakes made for it, then the generator by the rewards."""
        ((tokens_BT, characters_B, scenes_B, seeds_S2),) = data  # noqa: N806 - tensors carry shape suffixes
        config, seeds = self.config, iter(range(3 * self.config.d_steps + self.config.g_steps))
        for _ in range(config.d_steps):
            fakes_BT = draw_sequences(  # noqa: N806
                self.generator, characters_B, scenes_B, config.sequence_length, config.sampler_temperature,
                seeds_S2[next(seeds)],
            )  # fmt: skip
            d_loss, accuracy = self._update_discriminator(
                tokens_BT, fakes_BT, seeds_S2[next(seeds)], seeds_S2[next(seeds)]
            )
        for _ in range(config.g_steps):
            g_loss, reward = self._update_generator(tokens_BT, characters_B, scenes_B, seeds_S2[next(seeds)])
        figures = dict(zip(SERIES["adversarial"], (g_loss, d_loss, accuracy, reward), strict=True))
        for name, figure in figures.items():
            self.trackers[name].update_state(figure)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _update_discriminator(
        self, real: tf.Tensor, fake: tf.Tensor, real_seed: tf.Tensor, fake_seed: tf.Tensor
    ) -> Any:
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            judged = self.discriminator(real, real_seed), self.discriminator(fake, fake_seed)
            loss, _, _, accuracy = discriminator_loss(*judged, self.config.label_smoothing)
        self.discriminator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss, accuracy

    def _update_generator(self, tokens: tf.Tensor, characters: tf.Tensor, scenes: tf.Tensor, seed: tf.Tensor) -> Any:
        rewards = policy_rewards(self.discriminator, tokens)
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            loss = policy_loss(self.generator(tokens[:, :-1], characters, scenes, seed), tokens[:, 1:], rewards)
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss, tf.reduce_mean(rewards)


def draw_sequences(  # noqa: PLR0913, PLR0917 - what a sample depends on
    generator: Generator,
    characters_B: tf.Tensor,  # noqa: N803 - tensors carry shape suffixes
    scenes_B: tf.Tensor,  # noqa: N803
    num_tokens: int,
    temperature: float,
    seed_2: tf.Tensor,
) -> tf.Tensor:
    """Fake sequences (B, T), the same as `model.sample_sequences` draws: both layers' cells, a token at a time.

    So decoders of recurrent layers are written in Keras: `layer.cell` inside `tf.while_loop`, states carried along.
    """
    conditions_BC = generator.conditions(characters_B, scenes_B)  # noqa: N806
    cell_1, cell_2 = generator.lstm_1.cell, generator.lstm_2.cell
    num_sequences = tf.shape(characters_B)[0]
    first_B = tf.fill((num_sequences,), tf.constant(UNKNOWN, tf.int32))  # noqa: N806
    drawn_TB = tf.TensorArray(tf.int32, num_tokens, element_shape=(None,)).write(0, first_B)  # noqa: N806
    zeros_BH = tf.zeros((num_sequences, generator.lstm_1.units))  # noqa: N806

    def body(position: tf.Tensor, drawn: tf.TensorArray, tokens: tf.Tensor, *states: tf.Tensor) -> Any:
        inputs = tf.concat([generator.token_embedding(tokens), conditions_BC], -1)
        hidden, states_1 = cell_1(inputs, list(states[:2]))
        hidden, states_2 = cell_2(hidden, list(states[2:]))
        number_2 = tf.stack((tf.constant(0, tf.int64), tf.cast(position, tf.int64)))
        tokens = draw_tokens(generator.logits(hidden) / temperature, seed_2 + number_2)
        return position + 1, drawn.write(position, tokens), tokens, *states_1, *states_2

    begun = (tf.constant(1), drawn_TB, first_B, *[zeros_BH] * 4)
    _, drawn_TB, *_ = tf.while_loop(lambda position, *_: position < num_tokens, body, begun)  # noqa: N806
    return tf.ensure_shape(tf.transpose(drawn_TB.stack()), (None, num_tokens))


class KerasFit(ReferenceTrainer):
    """The reference's training, state and batches, its steps taken by `keras.Model.fit`.

    Its figures are the means of each fit: one step's are those of a fit of one step.

    Args:
        config: as the reference's.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        log: as the reference's.
        jit_compile: whether XLA compiles the train steps.
    """

    def __init__(  # noqa: PLR0913 - the reference's, and one setting
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: str,
        seed: int,
        log: Callable[[str], None] = print,
        jit_compile: bool,
    ) -> None:
        """Make a model of each phase that is compared."""
        super().__init__(config, data, device=device, seed=seed, log=log)
        options = {"jit_compile": jit_compile, "steps_per_execution": STEPS_PER_EXECUTION}
        pretraining = TeacherForcingModel(self.generator)
        pretraining.compile(optimizer=self.generator_optimizer, **options)
        adversarial = AdversarialModel(self.generator, self.discriminator, config)
        adversarial.compile(self.generator_optimizer, self.discriminator_optimizer, **options)
        self._models = {"generator_pretraining": pretraining, "adversarial": adversarial}
        self._kept: tuple[Any, tf.data.Dataset] | None = None

    def _train_call(self, phase: str, most: int) -> int:
        if self._positions[phase][1] == self.num_batches:
            self._begin_epoch(phase, self._positions[phase][0] + 1)
        epoch, step = self._positions[phase]
        count = min(most, self.num_batches - step)
        history = self._models[phase].fit(self._dataset(phase, epoch, step, count), shuffle=False, verbose=0).history
        for name in SERIES[phase]:
            self._record(name, history[name][-1])
        self._count_steps(phase, count)
        return count

    def _dataset(self, phase: str, epoch: int, step: int, count: int) -> tf.data.Dataset:
        """Batches of a segment of an epoch with the seeds of their steps; made once, as a user makes a data set."""
        key = (phase, self.seed, epoch, step, count)
        if self._kept is None or self._kept[0] != key:
            batches = islice(self.data.batches_of_epoch(self.config.batch_size, self.seed, epoch, step), count)
            rows = tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
            seeds = [self._seeds(phase, epoch, each) for each in range(step, step + count)]
            of_rows = tf.data.Dataset.from_tensor_slices(rows).batch(self.config.batch_size)
            both = tf.data.Dataset.zip((of_rows, tf.data.Dataset.from_tensor_slices(np.array(seeds, np.int64))))
            dataset = both.map(lambda batch, seeds: ((*batch, seeds),)).prefetch(tf.data.AUTOTUNE)
            self._kept = (key, dataset)
        return self._kept[1]
