"""The dialogue GAN's training as it was before documents 000 to 002 (`000_3153d1e40fc8ad44.txt` and its neighbours).

Naive on purpose, a line per switch of the optimized tier:

- `deferred_metrics`: `.numpy()` on both losses and the reward after every batch, and again for every printed line.
- `device_accuracy`: `.numpy()` on the accuracy likewise.
- `graph_steps`: with `config.eager`, every train step runs operation by operation, as the documents state the problem;
  without, it is a graph, as the code they show has it.
- `discriminator_interval`: the discriminator is trained, and fakes are made for it, at every batch.
- `global_norm_clipping`: each variable's gradient is clipped by itself, by the optimizer's own `clipnorm`.
- `nan_skip`: gradients are applied as they are, finite or not.
- `temperature_schedule`: the generator's logits are what they are in every epoch.

Also as it was, and left alone by the documents: fake sequences are made by a forward pass over the whole prefix for
every token, operation by operation; on a CPU that is most of an adversarial step.

Shape suffixes: B sequences of a batch, T tokens, V token ids, 2 the two words of a seed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.optimizers import Adam
from numpy.typing import NDArray

from trainers.common.seeds import derived_seed
from trainers.contract import BadInput
from trainers.dialogue_gan.config import PHASES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData
from trainers.dialogue_gan.model import (
    Discriminator,
    Generator,
    discriminator_loss,
    network_values,
    policy_loss,
    policy_rewards,
    sample_sequences,
    seed_words,
    set_values,
    target_log_probabilities,
    teacher_forcing_loss,
)
from trainers.dialogue_gan.phased_trainer import BATCHES_PER_LINE, PhasedTrainer, batch_line, num_updates
from trainers.tensorflow.workers import Workers

__all__ = ["DISCRIMINATOR_DROPOUT", "GENERATOR_DROPOUT", "SAMPLING", "ReferenceTrainer", "uses_of_randomness"]

SAMPLING, DISCRIMINATOR_DROPOUT, GENERATOR_DROPOUT, PRINTED_SAMPLE = range(4)
"""Uses of randomness: what tells the seeds of a step apart."""


def uses_of_randomness(config: DialogueConfig, phase: str) -> Iterator[tuple[int, ...]]:
    """Yield the uses of random numbers in a step of a phase, in the order in which they are drawn."""
    of_generator, of_discriminator = num_updates(config, phase)
    for number in range(of_discriminator):
        yield SAMPLING, number
        yield DISCRIMINATOR_DROPOUT, number, 0
        yield DISCRIMINATOR_DROPOUT, number, 1
    for number in range(of_generator):
        yield GENERATOR_DROPOUT, number


class ReferenceTrainer(PhasedTrainer):
    """Trains a generator, then a discriminator, then both against each other.

    All that is random is drawn from seeds made of the training's seed, the phase, the epoch and the step, so the
    position of a training is all that its state has to hold of it.

    Built in the scope of a `tf.distribute.MultiWorkerMirroredStrategy`, it trains together with the other workers: see
    `trainers.tensorflow.workers`.

    Args:
        config: sizes and hyperparameters.
        data: sequences with what the tokens, characters and scenes mean.
        device: TensorFlow's name of where the networks live.
        seed: of the weights, the order of the batches, dropout and the fakes.
        log: takes the lines that the original prints.

    Attributes:
        workers: which train together; this process alone outside of a strategy's scope.

    Raises:
        BadInput: this tier does not train on several workers.

    """

    shares_batches = True
    """Whether several workers can train together."""

    def __init__(
        self,
        config: DialogueConfig,
        data: DialogueData,
        *,
        device: str,
        seed: int,
        log: Callable[[str], None] = print,
    ) -> None:
        """Draw the weights and make the optimizers' slots."""
        self.workers = Workers.here()
        if self.workers.num > 1 and not self.shares_batches:
            raise BadInput("trains in one process only", type(self).__name__, "unset TF_CONFIG, or choose another tier")
        super().__init__(config, data, seed=seed, log=log if self.workers.is_first else _say_nothing)
        self.device = device
        num_characters, num_scenes = len(data.characters), len(data.scenes)
        with tf.device(device):
            self.generator = Generator(config, num_characters, num_scenes, derived_seed(seed, 0))
            self.discriminator = Discriminator(config, derived_seed(seed, 1))
            self.generator_optimizer = Adam(config.learning_rate_g, clipnorm=config.clipnorm)
            self.discriminator_optimizer = Adam(config.learning_rate_d, clipnorm=config.clipnorm)
            self.generator_optimizer.build(self.generator.trainable_variables)
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.compile_steps()

    def compile_steps(self) -> None:
        """Compile the train steps into graphs, unless the configuration is eager."""
        compiled = (lambda step: step) if self.config.eager else tf.function
        self._pretrain_generator_step = compiled(self.pretrain_generator_step)
        self._discriminator_step = compiled(self.discriminator_step)
        self._generator_step = compiled(self.generator_step)
        self._logits = compiled(self.generator)
        self._graphs: tuple[Any, ...] = (self._pretrain_generator_step, self._discriminator_step, self._generator_step)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the last call, see `PhasedTrainer.metrics`.

        `num_traces` counts the graphs that were traced since the trainer was built.
        """
        return {**super().metrics, "num_traces": self.num_traces}

    @property
    def num_traces(self) -> int:
        """Graphs of train steps that were traced since the trainer was built; none where they run eagerly."""
        counts = (getattr(graph, "experimental_get_tracing_count", None) for graph in self._graphs)
        return sum(count() for count in counts if count is not None)

    def sample(self, character: int, scene: int, *, num: int, temperature: float, seed: int) -> list[str]:
        """See `PhasedTrainer.sample`."""
        with tf.device(self.device):
            characters_B, scenes_B = (tf.fill((num,), tf.constant(each, tf.int32)) for each in (character, scene))
            seed_2, length = seed_words(seed, PRINTED_SAMPLE), self.config.sequence_length
            tokens_BT = sample_sequences(self.generator, characters_B, scenes_B, length, temperature, seed_2)
        # The first token is the start, not a word that was drawn.
        return [self.data.tokenizer.decode(tokens_T[1:].tolist()) for tokens_T in tokens_BT.numpy()]

    def synchronize(self) -> None:
        """Wait for the device, whichever it is."""
        tf.test.experimental.sync_devices()

    def state(self) -> dict[str, Any]:
        """Snapshot of everything; see `contract.Trainer.state`."""
        return {
            "family": "dialogue_gan",
            "architecture": dict(self.architecture),
            "generator": network_values(self.generator),
            "discriminator": network_values(self.discriminator),
            "generator_optimizer": _optimizer_values(self.generator_optimizer),
            "discriminator_optimizer": _optimizer_values(self.discriminator_optimizer),
            "progress": self._progress(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier, into the variables that are there; see `contract.Trainer.load_state`."""
        self._check_state(state)
        set_values(self.generator, state["generator"])
        set_values(self.discriminator, state["discriminator"])
        _set_optimizer_values(self.generator_optimizer, state["generator_optimizer"])
        _set_optimizer_values(self.discriminator_optimizer, state["discriminator_optimizer"])
        self._load_progress(state["progress"])

    def pretrain_generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tf.Tensor:
        """One update of the generator towards the sequences themselves; returns the loss before it."""
        part, (tokens_BT, characters_B, scenes_B) = self.workers.split(tokens_BT, characters_B, scenes_B)
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2, part)
            loss = teacher_forcing_loss(logits_BTV, tokens_BT[:, 1:])
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        loss, *gradients = self.workers.mean(part, loss, *gradients)
        self.generator_optimizer.apply_gradients(zip(gradients, self.generator.trainable_variables, strict=True))
        return loss

    def discriminator_step(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """One update of the discriminator; returns loss, its real and fake sides, and accuracy before it.

        The real sequences are those of the whole batch, the fake ones this worker's.
        """
        part, (real_BT,) = self.workers.split(real_BT)
        with tf.GradientTape() as tape:
            real_B = self.discriminator(real_BT, real_seed_2, part)
            fake_B = self.discriminator(fake_BT, fake_seed_2, part)
            figures = discriminator_loss(real_B, fake_B, self.config.label_smoothing)
        variables = self.discriminator.trainable_variables
        gradients = tape.gradient(figures[0], variables)
        loss, loss_real, loss_fake, accuracy, *gradients = self.workers.mean(part, *figures, *gradients)
        self.discriminator_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, loss_real, loss_fake, accuracy

    def generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One update of the generator towards the discriminator's taste; returns loss and mean reward before it."""
        part, (tokens_BT, characters_B, scenes_B) = self.workers.split(tokens_BT, characters_B, scenes_B)
        rewards_B = policy_rewards(self.discriminator, tokens_BT)
        (reward,) = self.workers.mean(part, tf.reduce_mean(rewards_B))
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2, part)
            loss = policy_loss(logits_BTV, tokens_BT[:, 1:], rewards_B, reward)
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        loss, *gradients = self.workers.mean(part, loss, *gradients)
        self.generator_optimizer.apply_gradients(zip(gradients, self.generator.trainable_variables, strict=True))
        return loss, reward

    def pretrain_generator_batch(self, batch: Batch) -> None:
        """Pre-train the generator on one batch."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        loss = self._pretrain_generator_step(tokens_BT, characters_B, scenes_B, self.dropout_seed_2())
        self._figures["num_generator_updates"] += 1
        self._record("generator_losses", loss.numpy())

    def pretrain_discriminator_batch(self, batch: Batch) -> None:
        """Pre-train the discriminator on one batch and fakes made for it."""
        loss, accuracy = self.train_discriminator(batch, 0)
        self._record("discriminator_losses", loss.numpy())
        self._record("discriminator_accuracies", accuracy.numpy())

    def adversarial_batch(self, batch: Batch) -> None:
        """Train both networks on one batch."""
        for number in range(self.config.d_steps):
            d_loss, d_accuracy = self.train_discriminator(batch, number)
        self._record("discriminator_losses", d_loss.numpy())
        self._record("discriminator_accuracies", d_accuracy.numpy())
        for number in range(self.config.g_steps):
            g_loss, reward = self.train_generator(batch, number)
        self._record("generator_losses", g_loss.numpy())
        self._record("rewards", reward.numpy())
        num_done = self._positions["adversarial"][1] + 1
        if num_done % BATCHES_PER_LINE == 0:
            self.log(batch_line(num_done, [figure.numpy() for figure in (g_loss, d_loss, d_accuracy, reward)]))

    def train_discriminator(self, batch: Batch, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Make fakes for a batch and update the discriminator, for the time `number` on it; loss and accuracy."""
        real_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        part, (characters_B, scenes_B) = self.workers.split(characters_B, scenes_B)
        fake_BT = sample_sequences(
            self.generator, characters_B, scenes_B, self._num_tokens(),
            self.config.sampler_temperature, self._seed_2(SAMPLING, number), part,
        )  # fmt: skip
        seeds = (self._seed_2(DISCRIMINATOR_DROPOUT, number, side) for side in range(2))
        loss, _, _, accuracy = self._discriminator_step(real_BT, fake_BT, *seeds)
        self._figures["num_discriminator_updates"] += 1
        return loss, accuracy

    def _num_tokens(self) -> Any:
        """Return the length of a fake sequence: a tensor, so that the sampler's `range` asks the device for it."""
        return tf.constant(self.config.sequence_length)

    def train_generator(self, batch: Batch, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the generator by the discriminator's rewards, for the time `number` on a batch; loss and reward."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        seed_2 = self.dropout_seed_2(number)
        loss, reward = self._generator_step(tokens_BT, characters_B, scenes_B, seed_2)
        self._figures["num_generator_updates"] += 1
        return loss, reward

    def _train_batch(self, phase: str, batch: Batch) -> None:
        {
            "generator_pretraining": self.pretrain_generator_batch,
            "discriminator_pretraining": self.pretrain_discriminator_batch,
            "adversarial": self.adversarial_batch,
        }[phase](batch)

    def _target_log_probabilities(self, batch: Batch) -> NDArray[np.float32]:
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        logits_BTV = self._logits(tokens_BT[:, :-1], characters_B, scenes_B)
        found_BT: NDArray[np.float32] = target_log_probabilities(logits_BTV, tokens_BT[:, 1:]).numpy()
        return found_BT

    def _on_device(self) -> AbstractContextManager[object]:
        place: AbstractContextManager[object] = tf.device(self.device)
        return place

    def _seeds(self, phase: str, epoch: int, step: int) -> list[tuple[int, int]]:
        """Seeds of all uses of randomness in a step, as `_seed_2` makes them one by one."""
        number = PHASES.index(phase)
        uses = uses_of_randomness(self.config, phase)
        return [(derived_seed(self.seed, number, epoch, step, *use), 0) for use in uses]

    def _seed_2(self, *purpose: int) -> tf.Tensor:
        """Seed of one use of randomness in the current step."""
        return seed_words(self.seed, PHASES.index(self._phase), *self._positions[self._phase], *purpose)

    def dropout_seed_2(self, number: int = 0) -> tf.Tensor:
        """Seed of the generator's dropout masks, for its update `number` on the current batch."""
        return self._seed_2(GENERATOR_DROPOUT, number)


def _say_nothing(_: str) -> None:
    """Take a line of a worker that prints none."""


def _optimizer_values(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Iterations, learning rate and slots by name, as arrays of their own."""
    return {_name(variable): np.array(variable.numpy()) for variable in optimizer.variables}


def _set_optimizer_values(optimizer: keras.optimizers.Optimizer, values: Mapping[str, Any]) -> None:
    for variable in optimizer.variables:
        variable.assign(values[_name(variable)])


def _name(variable: keras.Variable) -> str:
    """Name of an optimizer's variable without the optimizer's own, which differs from trainer to trainer."""
    name: str = variable.path.partition("/")[2]
    return name
