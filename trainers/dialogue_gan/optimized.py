"""The dialogue GAN's training after documents 000 to 002 (`000_3153d1e40fc8ad44.txt` and its neighbours): what changes.

Beside the switches it takes the time of every adversarial batch and prints what the documents print.

Shape suffixes: B sequences of a batch, T tokens, V token ids, 2 the two words of a seed.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainers.clipping_tensorflow import clip_by_global_norm
from trainers.contract import BadInput
from trainers.dialogue_gan.config import SWITCHES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.model import discriminator_loss, policy_loss, policy_rewards, teacher_forcing_loss
from trainers.dialogue_gan.reference import ReferenceTrainer
from trainers.dialogue_gan.schedule import annealed_temperature
from trainers.switches import resolve

__all__ = ["OptimizedTrainer", "TooManySkips"]

_GOOD_ACCURACY = 0.7
_BATCHES_PER_LINE = 10


class TooManySkips(BadInput):
    """Update after update was left out, because none had finite gradients: there is nothing left to train."""


class OptimizedTrainer(ReferenceTrainer):
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
        """Bind every switch once; from then on nothing asks for them."""
        self.switches = resolve(SWITCHES, {"graph_steps": not config.eager, **(switches or {})})
        on = self.switches

        # --- The switches, bound here and read nowhere else ---
        keep = self._keep_for_later if on["deferred_metrics"] else self._keep_now
        self._keep_loss = self._keep_reward = keep
        self._keep_accuracy = self._keep_for_later if on["device_accuracy"] else self._keep_now
        self._compiled = self._graph_of if on["graph_steps"] else self._eager_step
        self._interval = config.d_train_interval if on["discriminator_interval"] else 1
        self._limit = config.gradient_clip if on["global_norm_clipping"] else math.inf
        self._apply = self._apply_if_finite if on["nan_skip"] else self._apply_always
        self._keep_applied = (
            self._ignore_applied if not on["nan_skip"]
            else self._keep_applied_for_later if on["deferred_metrics"] else self._keep_applied_now
        )  # fmt: skip
        self._scaled = self._over_temperature if on["temperature_schedule"] else self._unscaled
        self._temperature_of_epoch = self._annealed if on["temperature_schedule"] else self._constant_temperature
        # A Python number is part of what a graph is traced for, a tensor is an input of it.
        self._as_argument = float if on["python_float_temperature"] else self._as_tensor
        self._scalar_spec = [] if on["python_float_temperature"] else [tf.TensorSpec((), tf.float32)]
        # --- End of the switches ---

        self.batch_seconds: list[float] = []
        self._pending: list[tuple[str, tf.Tensor, dict[str, list[float]]]] = []
        self._pending_applied: list[tuple[str, tf.Tensor, dict[str, Any]]] = []
        self._consecutive_skips = {"generator": 0, "discriminator": 0}
        self._epoch_started = time.perf_counter()
        self._final_accuracy = math.nan
        super().__init__(config, data, device=device, seed=seed, log=log)
        self._set_temperature(0)
        self._d_loss, self._d_accuracy = tf.zeros(()), tf.zeros(())

    def compile_steps(self) -> None:
        """Make graphs of the train steps, if they shall be: one of each, whatever the size of a batch."""
        tokens_BT = tf.TensorSpec((None, self.config.sequence_length), tf.int32)
        ids_B, seed_2 = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((2,), tf.int64)
        sequences = [tokens_BT, ids_B, ids_B]
        pretrain_generator = self._compiled(self.pretrain_generator_step, [*sequences, seed_2])
        train_discriminator = self._compiled(self.discriminator_step, [tokens_BT, tokens_BT, seed_2, seed_2])
        train_generator = self._compiled(self.adversarial_generator_step, [*sequences, seed_2, *self._scalar_spec])
        self._graphs = (pretrain_generator, train_discriminator, train_generator)
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
        """As the reference's, with clipping and the guard; also returns whether the update was applied."""
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2)
            loss = teacher_forcing_loss(logits_BTV, tokens_BT[:, 1:])
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        return loss, self.update(self.generator_optimizer, self.generator, gradients)

    def discriminator_step(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """As the reference's, with clipping and the guard; also returns whether the update was applied."""
        with tf.GradientTape() as tape:
            real_B, fake_B = self.discriminator(real_BT, real_seed_2), self.discriminator(fake_BT, fake_seed_2)
            loss, loss_real, loss_fake, accuracy = discriminator_loss(real_B, fake_B, self.config.label_smoothing)
        gradients = tape.gradient(loss, self.discriminator.trainable_variables)
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
        """As the reference's `generator_step`, with a temperature; also returns whether the update was applied."""
        rewards_B = policy_rewards(self.discriminator, tokens_BT)
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2)
            loss = policy_loss(self._scaled(logits_BTV, temperature), tokens_BT[:, 1:], rewards_B)
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        applied = self.update(self.generator_optimizer, self.generator, gradients)
        return loss, tf.reduce_mean(rewards_B), applied

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

    @staticmethod
    def _over_temperature(logits_BTV: tf.Tensor, temperature: tf.Tensor | float) -> tf.Tensor:
        return logits_BTV / temperature

    @staticmethod
    def _unscaled(logits_BTV: tf.Tensor, _: tf.Tensor | float) -> tf.Tensor:
        return logits_BTV

    # --- The loop ---

    def pretrain_generator_batch(self, batch: Batch) -> None:
        """As the reference's, with the loss left on the device."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        (loss,) = self._pretrain_generator_step(tokens_BT, characters_B, scenes_B, self.dropout_seed_2())
        self._figures["num_generator_updates"] += 1
        self._keep_loss("generator_losses", loss)

    def pretrain_discriminator_batch(self, batch: Batch) -> None:
        """As the reference's, with the figures left on the device."""
        loss, accuracy = self.train_discriminator(batch, 0)
        self._keep_loss("discriminator_losses", loss)
        self._keep_accuracy("discriminator_accuracies", accuracy)

    def adversarial_batch(self, batch: Batch) -> None:
        """As the reference's, with the discriminator at intervals, the temperature, and the time it takes."""
        started = time.perf_counter()
        num_before = self._positions["adversarial"][1]
        if num_before % self._interval == 0:
            for number in range(self.config.d_steps):
                self._d_loss, self._d_accuracy = self.train_discriminator(batch, number)
        # A batch without an update of the discriminator repeats the figures of the last, as the documents' loop does.
        self._keep_loss("discriminator_losses", self._d_loss)
        self._keep_accuracy("discriminator_accuracies", self._d_accuracy)
        for number in range(self.config.g_steps):
            g_loss, reward = self.train_generator(batch, number)
        self._keep_loss("generator_losses", g_loss)
        self._keep_reward("rewards", reward)
        self.batch_seconds.append(time.perf_counter() - started)
        if (num_before + 1) % _BATCHES_PER_LINE == 0:
            latest = self.batch_seconds[-_BATCHES_PER_LINE:]
            self.log(
                f"Batch {num_before + 1}: G_Loss={g_loss.numpy():.4f}, D_Loss={self._d_loss.numpy():.4f}, "
                f"D_Acc={self._d_accuracy.numpy():.4f}, Reward={reward.numpy():.4f} "
                f"| \N{HIGH VOLTAGE SIGN}{1000 * sum(latest) / len(latest):.1f}ms/batch"
            )

    def train_generator(self, batch: Batch, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """As the reference's, at the epoch's temperature."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        seed_2 = self.dropout_seed_2(number)
        loss, reward = self._adversarial_generator_step(tokens_BT, characters_B, scenes_B, seed_2, self._temperature)
        self._figures["num_generator_updates"] += 1
        return loss, reward

    # --- The temperature ---

    def _annealed(self, epoch: int) -> float:
        config = self.config
        return annealed_temperature(config.temp_start, config.temp_end, config.temp_decay, epoch)

    @staticmethod
    def _constant_temperature(_: int) -> float:
        return 1.0

    @staticmethod
    def _as_tensor(temperature: float) -> tf.Tensor:
        return tf.constant(temperature, tf.float32)

    def _set_temperature(self, epoch: int) -> None:
        with tf.device(self.device):
            self._temperature = self._as_argument(self._temperature_of_epoch(epoch))

    @property
    def temperature(self) -> float:
        """What the generator's logits are divided by in the adversarial epoch where the training stands."""
        return self._temperature_of_epoch(self._positions["adversarial"][0])

    def _announce(self, phase: str, epoch: int) -> None:
        self._epoch_started = time.perf_counter()
        if phase == "adversarial":
            self._set_temperature(epoch)
            self.log(f"Epoch {epoch + 1}/{self.config.adversarial_epochs} | Temperature: {self.temperature:.3f}")

    # --- Figures that stay on the device ---

    def _keep_now(self, name: str, scalar: tf.Tensor) -> None:
        self._record(name, scalar.numpy())

    def _keep_for_later(self, name: str, scalar: tf.Tensor) -> None:
        # With the series of the call that it belongs to, for another call may have begun when it is fetched.
        self._pending.append((name, scalar, self._series))

    def _ignore_applied(self, network: str, applied: tf.Tensor) -> None:
        pass

    def _keep_applied_now(self, network: str, applied: tf.Tensor) -> None:
        self._count_applied(network, self._figures, applied=bool(applied.numpy()))
        self._check_skips()

    def _keep_applied_for_later(self, network: str, applied: tf.Tensor) -> None:
        self._pending_applied.append((network, applied, self._figures))

    def _fetch(self) -> None:
        """Fetch what waits on the device: one transfer for each kind of figure."""
        pending, self._pending = self._pending, []
        for name in dict.fromkeys(name for name, *_ in pending):
            ours = [(scalar, series) for each, scalar, series in pending if each == name]
            values = tf.stack([scalar for scalar, _ in ours]).numpy().tolist()
            self._epoch_series[self._phase][name].extend(values)
            for value, (_, series) in zip(values, ours, strict=True):
                series[name].append(value)
        applied, self._pending_applied = self._pending_applied, []
        if applied:
            flags = tf.stack([flag for _, flag, _ in applied]).numpy().tolist()
            for flag, (network, _, figures) in zip(flags, applied, strict=True):
                self._count_applied(network, figures, applied=flag)

    def _count_applied(self, network: str, figures: dict[str, Any], *, applied: bool) -> None:
        figures["num_skipped_steps"] += not applied
        # Past the cap it is not reset by a later update: what was skipped in a row is an error whenever it is seen.
        if self._consecutive_skips[network] < self.config.max_consecutive_skips:
            self._consecutive_skips[network] = 0 if applied else self._consecutive_skips[network] + 1

    def _check_skips(self) -> None:
        cap = self.config.max_consecutive_skips
        networks = [network for network, num_skips in self._consecutive_skips.items() if num_skips >= cap]
        if networks:
            what = f"{cap} updates of the {' and of the '.join(networks)} in a row had gradients that are not finite"
            raise TooManySkips(what, "training", "continue from an earlier checkpoint with a lower learning rate")

    @property
    def metrics(self) -> Mapping[str, Any]:
        """As the reference's; fetches what waits on the device.

        Raises:
            TooManySkips: `max_consecutive_skips` updates of a network were left out in a row.

        """
        self._fetch()
        self._check_skips()
        return {**super().metrics, "temperature": self.temperature}

    def epoch_losses(self, phase: str) -> list[float]:
        """As the reference's; fetches what waits on the device."""
        self._fetch()
        return super().epoch_losses(phase)

    def _begin_call(self, phase: str) -> None:
        # Figures wait for the end of their epoch; only those of another phase would be filed in the wrong place.
        if getattr(self, "_phase", phase) != phase:
            self._fetch()
        super()._begin_call(phase)

    def _begin_epoch(self, phase: str, epoch: int) -> None:
        self._fetch()
        self._check_skips()
        super()._begin_epoch(phase, epoch)

    def _end_epoch(self, phase: str) -> None:
        self._fetch()
        self._check_skips()
        super()._end_epoch(phase)

    # --- What the documents print ---

    def _summarize(self) -> None:
        mean = {name: float(np.mean(values)) for name, values in self._epoch_series["adversarial"].items()}
        self._final_accuracy = mean["discriminator_accuracies"]
        seconds = time.perf_counter() - self._epoch_started
        mark = " \N{DIRECT HIT}" if self._final_accuracy > _GOOD_ACCURACY else ""
        self.log("\n  \N{BAR CHART} EPOCH SUMMARY:")
        self.log(f"    Generator Loss: {mean['generator_losses']:.4f}")
        self.log(f"    Discriminator Loss: {mean['discriminator_losses']:.4f}")
        self.log(f"    Discriminator Accuracy: {self._final_accuracy:.4f}{mark}")
        self.log(f"    Average Reward: {mean['rewards']:.4f}")
        self.log(f"    Epoch Time: {seconds:.2f}s | Avg Batch: {1000 * seconds / self.num_batches:.1f}ms")

    def final_statistics(self) -> None:
        """Print what the documents print at the end of the adversarial phase."""
        if not self.batch_seconds:
            return
        times_ms = 1000 * np.array(self.batch_seconds)
        self.log("Performance Stats:")
        self.log(f"  Total batches: {len(times_ms)}")
        self.log(f"  Avg batch time: {times_ms.mean():.1f}ms")
        self.log(f"  Min batch time: {times_ms.min():.1f}ms")
        self.log(f"  Max batch time: {times_ms.max():.1f}ms")
        self.log(f"  Final temperature: {self.temperature:.3f}")
        self.log(f"  Final D accuracy: {self._final_accuracy:.4f}")

    # --- State ---

    def state(self) -> dict[str, Any]:
        """As the reference's, with how many updates in a row were left out."""
        self._fetch()
        state = super().state()
        state["progress"]["consecutive_skips"] = dict(self._consecutive_skips)
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As the reference's; figures that wait on the device are of what was trained before, and forgotten."""
        super().load_state(state)
        self._pending, self._pending_applied = [], []
        self._consecutive_skips = dict(state["progress"]["consecutive_skips"])
        series = self._epoch_series["adversarial"]
        if series["discriminator_losses"]:
            self._d_loss = tf.constant(series["discriminator_losses"][-1], tf.float32)
            self._d_accuracy = tf.constant(series["discriminator_accuracies"][-1], tf.float32)
        self._set_temperature(self._positions["adversarial"][0])
