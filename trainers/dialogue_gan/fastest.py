"""The dialogue GAN's training with the reference's work and mathematics, as fast as one machine does it.

The batches, sizes, epochs, networks, losses and optimizers are the reference's, and so are the fakes, token by token;
none of what documents 000 to 002 change about the training is here. Every switch leaves the losses as close as another
order of the same sums leaves them.

Tried on a CPU and not kept: XLA (`jit_compile` draws other tokens and dropout masks from the same seeds, takes seconds
to compile, and is no faster at the original's sizes), TensorFlow's fused LSTM (`BlockLSTMV2`: its gradient is another,
and it is slower at the original's sizes) and fused Adam (no faster).

Shape suffixes: K batches of a call, B sequences of a batch, T tokens, S seeds of a batch, 2 the two words of a seed,
F figures of a batch.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from trainers.dialogue_gan.config import FASTEST_SWITCHES, PHASES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.model import (
    discriminator_loss,
    policy_loss,
    policy_rewards,
    sample_sequences,
    teacher_forcing_loss,
)
from trainers.dialogue_gan.phased_trainer import BATCHES_PER_LINE, SERIES, batch_line, num_updates
from trainers.dialogue_gan.recurrence import hoisted_lstm, incremental_sequences
from trainers.dialogue_gan.reference import ReferenceTrainer
from trainers.switches import resolve

__all__ = ["FastestTrainer"]

_Binder = Callable[[Callable[..., Any]], Any]
_SEEDS_OF_DISCRIMINATOR = 3  # the draws of the fakes, and the dropout masks of either side


class FastestTrainer(ReferenceTrainer):
    """The reference with the optimizations of `FASTEST_SWITCHES`, each behind a switch.

    Args:
        config: as the reference's.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        switches: what is on; a switch not named here is as its `Switch` says.
        log: as the reference's.

    Attributes:
        steps_per_call: batches that are trained in one piece: a training can be stopped between two such pieces only.

    """

    shares_batches = False

    def __init__(  # noqa: PLR0913 - the reference's, and the switches
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: str,
        seed: int,
        switches: Mapping[str, bool] | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        self.switches = resolve(FASTEST_SWITCHES, switches)
        on = self.switches

        # --- The switches, bound here and read nowhere else ---
        as_parts = (lambda step: step) if config.eager else tf.function
        self._part: _Binder = _as_it_is if on["compiled_step"] else as_parts
        self._whole: _Binder = self._graph_of if on["compiled_step"] else self._unstacked
        self._draw_sequences = incremental_sequences if on["incremental_decoding"] else sample_sequences
        self._logits_of = self._hoisted_logits if on["hoisted_products"] else self._plain_logits
        self._judge = self._judge_together if on["joined_discriminator"] else self._judge_apart
        self._repeated = self._looped if on["batched_calls"] else self._single
        self.steps_per_call = config.steps_per_call if on["batched_calls"] else 1
        # --- End of the switches ---

        super().__init__(config, data, device=device, seed=seed, log=log)

    def compile_steps(self) -> None:
        """Make a graph of each phase's whole step, or of its parts as the reference does; one, whatever the batch."""
        self._pretrain_generator_step = self._part(self.pretrain_generator_step)
        self._discriminator_step = self._part(self.discriminator_step)
        self._generator_step = self._part(self.generator_step)
        self._logits = tf.function(self._logits_of, reduce_retracing=True)
        steps = (self.generator_pretraining_figures, self.discriminator_pretraining_figures, self.adversarial_figures)
        self._train = {phase: self._whole(step) for phase, step in zip(PHASES, steps, strict=True)}
        parts = (self._pretrain_generator_step, self._discriminator_step, self._generator_step)
        self._graphs = (*parts, *self._train.values())

    # --- A call: one batch or several, stacked ---

    def _graph_of(self, step: Callable[..., tf.Tensor]) -> Any:
        signature = [
            tf.TensorSpec((None, None, self.config.sequence_length), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, None, 2), tf.int64),
        ]
        return tf.function(partial(self._repeated, step), input_signature=signature)

    @staticmethod
    def _unstacked(step: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        """Run a step operation by operation, batch by batch."""

        def run(*stacked: tf.Tensor) -> tf.Tensor:
            return tf.stack([step(*batch) for batch in zip(*map(tf.unstack, stacked), strict=True)])

        return run

    @staticmethod
    def _single(step: Callable[..., tf.Tensor], *stacked: tf.Tensor) -> tf.Tensor:
        """Train on the one batch of a call; its figures (1, F)."""
        return step(*(each[0] for each in stacked))[tf.newaxis]

    @staticmethod
    def _looped(step: Callable[..., tf.Tensor], *stacked: tf.Tensor) -> tf.Tensor:
        """Train on all batches of a call, in their order, without leaving the graph; their figures (K, F)."""
        num_batches = tf.shape(stacked[0])[0]
        found_KF = tf.TensorArray(tf.float32, num_batches)

        def body(number: tf.Tensor, found_KF: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return number + 1, found_KF.write(number, step(*(each[number] for each in stacked)))

        # One at a time: a batch is trained on the weights that the one before it leaves.
        _, found_KF = tf.while_loop(
            lambda number, _: number < num_batches, body, (tf.constant(0), found_KF), parallel_iterations=1
        )
        return found_KF.stack()

    # --- What is done with one batch: figures (F) in the order of SERIES ---

    def generator_pretraining_figures(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seeds_S2: tf.Tensor
    ) -> tf.Tensor:
        """Pre-train the generator; its loss."""
        return tf.stack([self._pretrain_generator_step(tokens_BT, characters_B, scenes_B, seeds_S2[0])])

    def discriminator_pretraining_figures(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seeds_S2: tf.Tensor
    ) -> tf.Tensor:
        """Pre-train the discriminator on fakes made for the batch; its loss and accuracy."""
        return tf.stack(self._update_discriminator(tokens_BT, characters_B, scenes_B, seeds_S2, 0))

    def adversarial_figures(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seeds_S2: tf.Tensor
    ) -> tf.Tensor:
        """Train both networks; the generator's loss, the discriminator's with its accuracy, and the mean reward."""
        for number in range(self.config.d_steps):
            d_loss, accuracy = self._update_discriminator(tokens_BT, characters_B, scenes_B, seeds_S2, number)
        num_before = _SEEDS_OF_DISCRIMINATOR * self.config.d_steps
        for number in range(self.config.g_steps):
            g_loss, reward = self._generator_step(tokens_BT, characters_B, scenes_B, seeds_S2[num_before + number])
        return tf.stack([g_loss, d_loss, accuracy, reward])

    def _update_discriminator(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seeds_S2: tf.Tensor, number: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        first = _SEEDS_OF_DISCRIMINATOR * number
        fake_BT = self._draw_sequences(
            self.generator, characters_B, scenes_B, self.config.sequence_length,
            self.config.sampler_temperature, seeds_S2[first],
        )  # fmt: skip
        # The length is fixed, but a sampler's loop does not say so.
        fake_BT = tf.ensure_shape(fake_BT, (None, self.config.sequence_length))
        loss, _, _, accuracy = self._discriminator_step(tokens_BT, fake_BT, seeds_S2[first + 1], seeds_S2[first + 2])
        return loss, accuracy

    # --- The parts, as the reference's ---

    def pretrain_generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tf.Tensor:
        """Update the generator towards the sequences; the switches choose how its logits are computed."""
        with tf.GradientTape() as tape:
            loss = teacher_forcing_loss(
                self._logits_of(tokens_BT[:, :-1], characters_B, scenes_B, seed_2), tokens_BT[:, 1:]
            )
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        self.generator_optimizer.apply_gradients(zip(gradients, self.generator.trainable_variables, strict=True))
        return loss

    def discriminator_step(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Update the discriminator; the switches choose whether it judges real and fake sequences together."""
        with tf.GradientTape() as tape:
            real_B, fake_B = self._judge(real_BT, fake_BT, real_seed_2, fake_seed_2)
            loss, loss_real, loss_fake, accuracy = discriminator_loss(real_B, fake_B, self.config.label_smoothing)
        variables = self.discriminator.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.discriminator_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, loss_real, loss_fake, accuracy

    def generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the generator by the rewards; the switches choose how its logits are computed."""
        rewards_B = policy_rewards(self.discriminator, tokens_BT)
        with tf.GradientTape() as tape:
            logits_BTV = self._logits_of(tokens_BT[:, :-1], characters_B, scenes_B, seed_2)
            loss = policy_loss(logits_BTV, tokens_BT[:, 1:], rewards_B)
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        self.generator_optimizer.apply_gradients(zip(gradients, self.generator.trainable_variables, strict=True))
        return loss, tf.reduce_mean(rewards_B)

    def _plain_logits(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self.generator(*inputs)

    def _hoisted_logits(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self.generator.logits_through(hoisted_lstm, *inputs)

    def _judge_apart(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self.discriminator(real_BT, real_seed_2), self.discriminator(fake_BT, fake_seed_2)

    def _judge_together(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.discriminator.of_both(*inputs)

    # --- The loop ---

    def _train_call(self, phase: str, most: int) -> int:
        """Train on up to `most` batches in one call of a graph, and return how many they were."""
        first = self._next_batch(phase)
        epoch, step = self._positions[phase]
        batches = [first, *self._alike_after(step, most)]
        num_done = len(batches)
        seeds_KS2 = np.array([self._seeds(phase, epoch, step + number) for number in range(num_done)], np.int64)
        stacked = (np.stack(arrays) for arrays in zip(*batches, strict=True))
        figures_KF = self._train[phase](*map(tf.constant, stacked), tf.constant(seeds_KS2))
        self._count_steps(phase, num_done)
        self._file(phase, step, figures_KF.numpy().tolist())
        return num_done

    def _alike_after(self, step: int, most: int) -> list[Batch]:
        """Batches that follow that of a step and fit into a call with it: of the same epoch and as large."""
        # The last batch of an epoch may be smaller; then its call is its own.
        num_whole = len(self.data.train) // self.config.batch_size
        num_more = min(most, self.steps_per_call, num_whole - step) - 1
        return list(islice(self._batches or (), max(num_more, 0)))

    def _file(self, phase: str, step: int, figures_KF: list[list[float]]) -> None:
        """Keep the figures of the batches from a step on, and print the lines that are due."""
        of_generator, of_discriminator = num_updates(self.config, phase)
        self._figures["num_generator_updates"] += of_generator * len(figures_KF)
        self._figures["num_discriminator_updates"] += of_discriminator * len(figures_KF)
        for num_done, figures_F in enumerate(figures_KF, start=step + 1):
            for name, figure in zip(SERIES[phase], figures_F, strict=True):
                self._record(name, figure)
            if phase == "adversarial" and num_done % BATCHES_PER_LINE == 0:
                self.log(batch_line(num_done, figures_F))


def _as_it_is(step: Callable[..., Any]) -> Callable[..., Any]:
    return step
