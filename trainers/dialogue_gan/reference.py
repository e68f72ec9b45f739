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

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.optimizers import Adam

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
from trainers.seeds import derived_seed

__all__ = [
    "BATCHES_PER_LINE", "DISCRIMINATOR_DROPOUT", "GENERATOR_DROPOUT", "SAMPLING", "SERIES", "ReferenceTrainer"
]  # fmt: skip

_PARTS = ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer")
_STATE_KEYS = frozenset({"family", "architecture", "progress", *_PARTS})
SERIES = {
    "generator_pretraining": ("generator_losses",),
    "discriminator_pretraining": ("discriminator_losses", "discriminator_accuracies"),
    "adversarial": ("generator_losses", "discriminator_losses", "discriminator_accuracies", "rewards"),
}
"""Figures of every step, by phase."""

SAMPLING, DISCRIMINATOR_DROPOUT, GENERATOR_DROPOUT, PRINTED_SAMPLE = range(4)
"""Uses of randomness: what tells the seeds of a step apart."""

BATCHES_PER_LINE = 10
"""Adversarial batches between two printed lines."""


class ReferenceTrainer:
    """Trains a generator, then a discriminator, then both against each other.

    All that is random is drawn from seeds made of the training's seed, the phase, the epoch and the step, so where a
    training stands is all that its state has to say of it.

    Args:
        config: sizes and hyperparameters.
        data: sequences with what the tokens, characters and scenes mean.
        device: TensorFlow's name of where the networks live.
        seed: of the weights, the order of the batches, dropout and the fakes.
        log: takes the lines that the original prints.

    """

    phases: tuple[str, ...] = PHASES

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
        self.config, self.data, self.device, self.seed, self.log = config, data, device, seed, log
        num_characters, num_scenes = len(data.characters), len(data.scenes)
        self.architecture = {
            "vocabulary_size": config.vocabulary_size,
            "embedding_size": config.embedding_size,
            "condition_size": config.condition_size,
            "conditional": config.conditional,
            "hidden_size": config.hidden_size,
            "num_filters": config.num_filters,
            "num_characters": num_characters,
            "num_scenes": num_scenes,
        }
        with tf.device(device):
            self.generator = Generator(config, num_characters, num_scenes, derived_seed(seed, 0))
            self.discriminator = Discriminator(config, derived_seed(seed, 1))
            self.generator_optimizer = Adam(config.learning_rate_g, clipnorm=config.clipnorm)
            self.discriminator_optimizer = Adam(config.learning_rate_d, clipnorm=config.clipnorm)
            self.generator_optimizer.build(self.generator.trainable_variables)
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.compile_steps()
        self._positions = dict.fromkeys(PHASES, (0, 0))  # whole epochs, and steps of the current one
        self._epoch_series: dict[str, dict[str, list[float]]] = {phase: _empty(phase) for phase in PHASES}
        self._batches: Iterator[Batch] | None = None
        self._batches_phase = ""
        self._begin_call(PHASES[0])

    def compile_steps(self) -> None:
        """Make graphs of the train steps, unless everything shall run eagerly."""
        compiled = (lambda step: step) if self.config.eager else tf.function
        self._pretrain_generator_step = compiled(self.pretrain_generator_step)
        self._discriminator_step = compiled(self.discriminator_step)
        self._generator_step = compiled(self.generator_step)
        self._logits = compiled(self.generator)
        self._graphs = (self._pretrain_generator_step, self._discriminator_step, self._generator_step)

    @property
    def num_batches(self) -> int:
        """Steps in an epoch of any phase."""
        return self.data.num_batches(self.config.batch_size)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the last call, see `contract.Trainer.metrics`.

        A step is a batch. By phase there are also `generator_losses`, `discriminator_losses`,
        `discriminator_accuracies` and `rewards`, a value a step; `train_losses` is the phase's loss, for the
        adversarial phase the sum of both. `num_generator_updates` and `num_discriminator_updates` are those attempted,
        `num_skipped_steps` those of both that were left out. `num_traces` counts the graphs that were traced since the
        trainer was built, `epoch` and `step` are where the phase stands; after `train_epoch` of a phase that trains the
        generator there are also `val_loss` and `val_perplexity`.
        """
        epoch, step = self._positions[self._phase]
        return {
            **copy.deepcopy(self._figures),
            **copy.deepcopy(self._series),
            "train_losses": _losses(self._series),
            "num_traces": self.num_traces,
            "epoch": epoch,
            "step": step,
        }

    @property
    def num_traces(self) -> int:
        """Graphs of train steps that were traced since the trainer was built; none where they run eagerly."""
        counts = (getattr(graph, "experimental_get_tracing_count", None) for graph in self._graphs)
        return sum(count() for count in counts if count is not None)

    def train_epoch(self, phase: str) -> None:
        """Train the rest of the epoch, validate, and begin the next; see `contract.Trainer.train_epoch`."""
        self._check_phase(phase)
        with tf.device(self.device):
            self._take_steps(self.num_batches - self._positions[phase][1], phase)
            self._end_epoch(phase)

    def train_steps(self, n: int, phase: str) -> None:
        """Take `n` steps and nothing else; see `contract.Trainer.train_steps`."""
        self._check_phase(phase)
        if n < 0:
            raise ValueError(f"the number of steps must not be negative, but it is {n}")
        with tf.device(self.device):
            self._take_steps(n, phase)

    def position(self, phase: str) -> tuple[int, int]:
        """Whole epochs of a phase that are trained, and steps of the current one."""
        return self._positions[phase]

    def epoch_losses(self, phase: str) -> list[float]:
        """Loss of every step of a phase's current epoch, as in `metrics`."""
        return _losses(self._epoch_series[phase])

    def evaluate(self) -> dict[str, float]:
        """Judge the generator by the validation sequences, teacher-forced and without dropout.

        Returns:
            `val_loss`, the mean cross-entropy of all targets but padding, and `val_perplexity`, its exponential.

        """
        loss_sum, num_targets = 0.0, 0
        with tf.device(self.device):
            for batch in self.data.val_batches(self.config.batch_size):
                tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
                logits_BTV = self._logits(tokens_BT[:, :-1], characters_B, scenes_B)
                counted_BT = batch.tokens_BT[:, 1:] != 0
                log_probabilities_BT = target_log_probabilities(logits_BTV, tokens_BT[:, 1:]).numpy()
                loss_sum -= float(log_probabilities_BT[counted_BT].sum(dtype=np.float64))
                num_targets += int(counted_BT.sum())
        loss = loss_sum / max(num_targets, 1)
        return {"val_loss": loss, "val_perplexity": float(np.exp(min(loss, 700.0)))}

    def sample(self, character: int, scene: int, *, num: int, temperature: float, seed: int) -> list[str]:
        """Lines that the generator makes up for a character in a scene, by their ids."""
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
            "progress": {
                "seed": self.seed,
                "positions": {phase: list(position) for phase, position in self._positions.items()},
                "epoch_series": copy.deepcopy(self._epoch_series),
                "consecutive_skips": {"generator": 0, "discriminator": 0},
            },
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier, into the variables that are there; see `contract.Trainer.load_state`."""
        self._check_state(state)
        set_values(self.generator, state["generator"])
        set_values(self.discriminator, state["discriminator"])
        _set_optimizer_values(self.generator_optimizer, state["generator_optimizer"])
        _set_optimizer_values(self.discriminator_optimizer, state["discriminator_optimizer"])
        progress = state["progress"]
        self.seed = progress["seed"]
        self._positions = {phase: (int(epoch), int(step)) for phase, (epoch, step) in progress["positions"].items()}
        self._epoch_series = copy.deepcopy(progress["epoch_series"])
        self._batches = None

    def close(self) -> None:
        """Drop the iterator over the batches."""
        self._batches = None

    def pretrain_generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tf.Tensor:
        """One update of the generator towards the sequences themselves; returns the loss before it."""
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2)
            loss = teacher_forcing_loss(logits_BTV, tokens_BT[:, 1:])
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        self.generator_optimizer.apply_gradients(zip(gradients, self.generator.trainable_variables, strict=True))
        return loss

    def discriminator_step(
        self, real_BT: tf.Tensor, fake_BT: tf.Tensor, real_seed_2: tf.Tensor, fake_seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """One update of the discriminator; returns loss, its real and fake sides, and accuracy before it."""
        with tf.GradientTape() as tape:
            real_B, fake_B = self.discriminator(real_BT, real_seed_2), self.discriminator(fake_BT, fake_seed_2)
            loss, loss_real, loss_fake, accuracy = discriminator_loss(real_B, fake_B, self.config.label_smoothing)
        gradients = tape.gradient(loss, self.discriminator.trainable_variables)
        variables = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, loss_real, loss_fake, accuracy

    def generator_step(
        self, tokens_BT: tf.Tensor, characters_B: tf.Tensor, scenes_B: tf.Tensor, seed_2: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One update of the generator towards the discriminator's taste; returns loss and mean reward before it."""
        rewards_B = policy_rewards(self.discriminator, tokens_BT)
        with tf.GradientTape() as tape:
            logits_BTV = self.generator(tokens_BT[:, :-1], characters_B, scenes_B, seed_2)
            loss = policy_loss(logits_BTV, tokens_BT[:, 1:], rewards_B)
        gradients = tape.gradient(loss, self.generator.trainable_variables)
        self.generator_optimizer.apply_gradients(zip(gradients, self.generator.trainable_variables, strict=True))
        return loss, tf.reduce_mean(rewards_B)

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
            self.log(
                f"Batch {num_done}: G_Loss={g_loss.numpy():.4f}, D_Loss={d_loss.numpy():.4f}, "
                f"D_Acc={d_accuracy.numpy():.4f}, Reward={reward.numpy():.4f}"
            )

    def train_discriminator(self, batch: Batch, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Make fakes for a batch and update the discriminator, for the time `number` on it; loss and accuracy."""
        real_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        fake_BT = sample_sequences(
            self.generator, characters_B, scenes_B, self.config.sequence_length,
            self.config.sampler_temperature, self._seed_2(SAMPLING, number),
        )  # fmt: skip
        seeds = (self._seed_2(DISCRIMINATOR_DROPOUT, number, side) for side in range(2))
        loss, _, _, accuracy = self._discriminator_step(real_BT, fake_BT, *seeds)
        self._figures["num_discriminator_updates"] += 1
        return loss, accuracy

    def train_generator(self, batch: Batch, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the generator by the discriminator's rewards, for the time `number` on a batch; loss and reward."""
        tokens_BT, characters_B, scenes_B = (tf.constant(array) for array in batch)
        seed_2 = self.dropout_seed_2(number)
        loss, reward = self._generator_step(tokens_BT, characters_B, scenes_B, seed_2)
        self._figures["num_generator_updates"] += 1
        return loss, reward

    def _take_steps(self, n: int, phase: str) -> None:
        self._begin_call(phase)
        train_batch = {
            "generator_pretraining": self.pretrain_generator_batch,
            "discriminator_pretraining": self.pretrain_discriminator_batch,
            "adversarial": self.adversarial_batch,
        }[phase]
        for _ in range(n):
            batch = self._next_batch(phase)
            train_batch(batch)
            epoch, step = self._positions[phase]
            self._positions[phase] = (epoch, step + 1)
            self._figures["num_steps"] += 1

    def _begin_call(self, phase: str) -> None:
        self._phase = phase
        self._series = _empty(phase)
        self._figures: dict[str, Any] = dict.fromkeys(
            ("num_steps", "num_skipped_steps", "num_generator_updates", "num_discriminator_updates"), 0
        )

    def _record(self, name: str, value: float) -> None:
        """Keep one figure of one step."""
        self._series[name].append(float(value))
        self._epoch_series[self._phase][name].append(float(value))

    def _next_batch(self, phase: str) -> Batch:
        if self._positions[phase][1] == self.num_batches:
            self._begin_epoch(phase, self._positions[phase][0] + 1)
        epoch, step = self._positions[phase]
        if self._batches is None or phase != self._batches_phase:
            self._batches = self.data.batches_of_epoch(self.config.batch_size, self.seed, epoch, step)
            self._batches_phase = phase
        if step == 0:
            self._announce(phase, epoch)
        return next(self._batches)

    def _announce(self, phase: str, epoch: int) -> None:
        if phase == "adversarial":
            self.log(f"Epoch {epoch + 1}/{self.config.adversarial_epochs}")

    def _begin_epoch(self, phase: str, epoch: int) -> None:
        self._positions[phase] = (epoch, 0)
        self._epoch_series[phase] = _empty(phase)
        self._batches = None

    def _end_epoch(self, phase: str) -> None:
        """Validate what the phase has trained, say how the epoch went, and begin the next."""
        if phase != "discriminator_pretraining":
            self._figures.update(self.evaluate())
        epoch = self._positions[phase][0]
        if phase == "adversarial":
            self._summarize()
            if (epoch + 1) % self.config.sample_every == 0:
                self._print_sample(epoch)
        self._begin_epoch(phase, epoch + 1)

    def _summarize(self) -> None:
        mean = {name: float(np.mean(values)) for name, values in self._epoch_series["adversarial"].items()}
        self.log(
            f"G_Loss={mean['generator_losses']:.4f}, D_Loss={mean['discriminator_losses']:.4f}, "
            f"D_Acc={mean['discriminator_accuracies']:.4f}, Reward={mean['rewards']:.4f}"
        )

    def _print_sample(self, epoch: int) -> None:
        character, scene = epoch % len(self.data.characters), epoch % len(self.data.scenes)
        seed = derived_seed(self.seed, PHASES.index("adversarial"), epoch)
        (line,) = self.sample(character, scene, num=1, temperature=self.config.sample_temperature, seed=seed)
        self.log(f"Sample: {self.data.characters[character]}: {line}")

    def _seed_2(self, *purpose: int) -> tf.Tensor:
        """Seed of one use of randomness in the current step."""
        return seed_words(self.seed, PHASES.index(self._phase), *self._positions[self._phase], *purpose)

    def dropout_seed_2(self, number: int = 0) -> tf.Tensor:
        """Seed of the generator's dropout masks, for its update `number` on the current batch."""
        return self._seed_2(GENERATOR_DROPOUT, number)

    def _check_phase(self, phase: str) -> None:
        if phase not in self.phases:
            raise ValueError(f"there is no phase {phase!r}, only {self.phases}")

    def _check_state(self, state: Mapping[str, Any]) -> None:
        mend = "give a state of this family and architecture"
        if state.get("family") != "dialogue_gan" or _STATE_KEYS - state.keys():
            raise BadInput("is no state of a dialogue_gan", "state", mend)
        theirs = state["architecture"]
        for name, ours in self.architecture.items():
            if theirs.get(name) != ours:
                raise BadInput(f"its {name} is {theirs.get(name)}, the trainer's is {ours}", "state", mend)


def _empty(phase: str) -> dict[str, list[float]]:
    return {name: [] for name in SERIES[phase]}


def _losses(series: Mapping[str, list[float]]) -> list[float]:
    """Loss of every step: the one there is, or the sum of both."""
    losses = [series[name] for name in ("generator_losses", "discriminator_losses") if name in series]
    return [sum(of_step) for of_step in zip(*losses, strict=True)]


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
