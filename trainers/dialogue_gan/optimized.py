"""The dialogue GAN's training after documents 000 to 002 (`000_3153d1e40fc8ad44.txt` and its neighbours): what changes.

Apart from the switches it times every adversarial batch and prints what the documents print.

Shape suffixes: B sequences of a batch, T tokens, V token ids, 2 the two words of a seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from trainers.dialogue_gan.config import SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.documented_loop import DocumentedLoop, TooManySkips
from trainers.dialogue_gan.model import discriminator_loss, policy_loss, policy_rewards, teacher_forcing_loss
from trainers.dialogue_gan.reference import ReferenceTrainer
from trainers.switches import resolve
from trainers.tensorflow.clipping import clip_by_global_norm

__all__ = ["OptimizedTrainer", "TooManySkips"]


class OptimizedTrainer(DocumentedLoop, ReferenceTrainer):
    """The reference with the optimizations of documents 000 to 002, each behind a switch.

    Args:
        config: as the reference's.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        switches: what is on; a switch not named here is as its `Switch` says, `graph_steps` as the configuration says.
        log: as the reference's.

    Attributes:
        batch_seconds: what every adversarial batch took, by the clock of the host.

    """

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
        """Bind every switch once, those of the loop in `DocumentedLoop`; from then on nothing asks for them."""
        self.switches = on = resolve(SWITCHES, {"graph_steps": not config.eager, **(switches or {})})

        # --- The switches of the steps, bound here and read nowhere else ---
        self._compiled = self._graph_of if on["graph_steps"] else self._eager_step
        self._limit = config.gradient_clip if on["global_norm_clipping"] else math.inf
        self._apply = self._apply_if_finite if on["nan_skip"] else self._apply_always
        self._scalar_spec = [] if on["python_float_temperature"] else [tf.TensorSpec((), tf.float32)]
        # --- End of the switches ---

        super().__init__(config, data, on=on, device=device, seed=seed, log=log)

    def compile_steps(self) -> None:
        """Compile the train steps into graphs, or leave them eager, as the switches say."""
        tokens_BT = tf.TensorSpec((None, self.config.sequence_length), tf.int32)
        ids_B, seed_2 = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((2,), tf.int64)
        sequences = [tokens_BT, ids_B, ids_B]
        pretrain_generator = self._compiled(self.pretrain_generator_step, [*sequences, seed_2])
        train_discriminator = self._compiled(self.discriminator_step, [tokens_BT, tokens_BT, seed_2, seed_2])
        train_generator = self._compiled(self.adversarial_generator_step, [*sequences, seed_2, *self._scalar_spec])
        self._graphs: tuple[Any, ...] = (pretrain_generator, train_discriminator, train_generator)
        self._logits = self._compiled(self.generator, None)
        self._pretrain_generator_step = self._noting("generator", pretrain_generator)
        self._discriminator_step = self._noting("discriminator", train_discriminator)
        self._adversarial_generator_step = self._noting("generator", train_generator)

    def _graph_of(self, step: Callable[..., Any], signature: list[tf.TensorSpec] | None) -> Any:
        # A graph that takes a Python number cannot have a signature; it is traced for every number and batch size.
        takes_number = step == self.adversarial_generator_step and not self._scalar_spec
        return tf.function(step, input_signature=None if takes_number else signature)

    @staticmethod
    def _eager_step(step: Callable[..., Any], _: list[tf.TensorSpec] | None) -> Any:
        return step

    def _noting(self, network: str, step: Callable[..., Any]) -> Callable[..., Any]:
        """Make a step that keeps by itself whether its update was applied, and returns the rest."""

        def run(*arguments: Any) -> Any:
            *figures, applied = step(*arguments)
            self._keep_applied(network, applied)
            return figures

        return run

    # --- The train steps ---

    def pretrain_generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Update the generator towards the sequences, clipped and guarded; return loss and whether it was applied."""
        part, (tokens_BT, characters_B, scenes_B) = self.workers.split(tokens_BT, characters_B, scenes_B)
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2, part)
            loss = teacher_forcing_loss(logits_BTV, tokens_BT[:, 1:])
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        loss, *gradients = self.workers.mean(part, loss, *gradients)
        return loss, self.update(self.generator_optimizer, self.generator, gradients)

    def discriminator_step(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Update the discriminator, clipped and guarded; also return whether the update was applied."""
        part, (real_BT,) = self.workers.split(real_BT)
        with tf.GradientTape() as tape:
            real_B = self.discriminator(real_BT, real_seed_2, part)
            fake_B = self.discriminator(fake_BT, fake_seed_2, part)
            figures = discriminator_loss(real_B, fake_B, self.config.label_smoothing)
        gradients = tape.gradient(figures[0], self.discriminator.trainable_variables)
        loss, loss_real, loss_fake, accuracy, *gradients = self.workers.mean(part, *figures, *gradients)
        applied = self.update(self.discriminator_optimizer, self.discriminator, gradients)
        return loss, loss_real, loss_fake, accuracy, applied

    def adversarial_generator_step(
        self,
        tokens_BT: tf.Tensor,
        characters_B: tf.Tensor,
        scenes_B: tf.Tensor,
        seed_2: tf.Tensor,
        temperature: tf.Tensor | float,
    ) -> tuple[tf.Tensor, ...]:
        """Update the generator by the rewards, with a temperature; also return whether the update was applied."""
        part, (tokens_BT, characters_B, scenes_B) = self.workers.split(tokens_BT, characters_B, scenes_B)
        rewards_B = policy_rewards(self.discriminator, tokens_BT)
        (reward,) = self.workers.mean(part, tf.reduce_mean(rewards_B))
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2, part)
            loss = policy_loss(self._scaled(logits_BTV, temperature), tokens_BT[:, 1:], rewards_B, reward)
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        loss, *gradients = self.workers.mean(part, loss, *gradients)
        applied = self.update(self.generator_optimizer, self.generator, gradients)
        return loss, reward, applied

    def update(
        self, optimizer: keras.optimizers.Optimizer, network: keras.Model, gradients: Sequence[Any]
    ) -> tf.Tensor:
        """Apply gradients, clipped and guarded as the switches say; returns whether they were applied."""
        return self._apply(optimizer, network.trainable_variables, gradients)

    def _apply_always(
        self, optimizer: keras.optimizers.Optimizer, variables: Sequence[Any], gradients: Sequence[Any]
    ) -> tf.Tensor:
        clipped = clip_by_global_norm(gradients, self._limit)
        optimizer.apply_gradients(zip(clipped.gradients, variables, strict=True))
        return tf.constant(True)  # noqa: FBT003 - it is the answer

    def _apply_if_finite(
        self, optimizer: keras.optimizers.Optimizer, variables: Sequence[Any], gradients: Sequence[Any]
    ) -> tf.Tensor:
        """Leave out the whole update, moments and step count too: with zeros for gradients Adam would still move."""
        clipped = clip_by_global_norm(gradients, self._limit)

        def apply() -> tf.Tensor:
            optimizer.apply_gradients(zip(clipped.gradients, variables, strict=True))
            return tf.constant(True)  # noqa: FBT003 - it is the answer

        return tf.cond(clipped.may_step, apply, lambda: tf.constant(False))  # noqa: FBT003 - likewise

    # --- The loop ---

    def pretrain_generator_batch(self, batch: Batch) -> None:
        """Pre-train the generator on one batch; its loss may stay on the device."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        (loss,) = self._pretrain_generator_step(tokens_BT, characters_B, scenes_B, self.dropout_seed_2())
        self._figures["num_generator_updates"] += 1
        self._keep_loss("generator_losses", loss)

    def pretrain_discriminator_batch(self, batch: Batch) -> None:
        """Pre-train the discriminator on one batch and fakes made for it; its figures may stay on the device."""
        loss, accuracy = self.train_discriminator(batch, 0)
        self._keep_loss("discriminator_losses", loss)
        self._keep_accuracy("discriminator_accuracies", accuracy)

    def adversarial_batch(self, batch: Batch) -> None:
        """Train both networks on one batch, the discriminator at its interval, and record the seconds."""
        self._adversarial_updates(partial(self.train_discriminator, batch), partial(self.train_generator, batch))

    def _num_tokens(self) -> Any:
        """Return the length of a fake sequence, a number that no device has to be asked for."""
        return self.config.sequence_length

    def train_generator(self, batch: Batch, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the generator at the epoch's temperature, for the time `number` on a batch; return loss and reward."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        seed_2 = self.dropout_seed_2(number)
        loss, reward = self._adversarial_generator_step(tokens_BT, characters_B, scenes_B, seed_2, self._temperature)
        self._figures["num_generator_updates"] += 1
        return loss, reward

    # --- What the loop asks of a framework ---

    def _on_the_device(self, value: float) -> tf.Tensor:
        return tf.constant(value, tf.float32)

    def _fetched(self, scalar: tf.Tensor) -> Any:
        return scalar.numpy()

    def _fetched_together(self, scalars: Sequence[tf.Tensor]) -> list[Any]:
        values: list[Any] = tf.stack(scalars).numpy().tolist()
        return values
