"""Run the loop around the steps of every dialogue GAN trainer: phases, batches, figures, log lines.

The same in both frameworks; imports neither.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.common.seeds import derived_seed
from trainers.contract import BadInput
from trainers.dialogue_gan.config import PHASES, DialogueConfig
from trainers.dialogue_gan.data import Batch, DialogueData

__all__ = ["BATCHES_PER_LINE", "SERIES", "PhasedTrainer", "batch_line", "num_updates"]

_PARTS = ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer")
_STATE_KEYS = frozenset({"family", "architecture", "progress", *_PARTS})
SERIES = {
    "generator_pretraining": ("generator_losses",),
    "discriminator_pretraining": ("discriminator_losses", "discriminator_accuracies"),
    "adversarial": ("generator_losses", "discriminator_losses", "discriminator_accuracies", "rewards"),
}
"""Figures of every step, by phase."""

BATCHES_PER_LINE = 10
"""Adversarial batches between two printed lines."""


def num_updates(config: DialogueConfig, phase: str) -> tuple[int, int]:
    """Updates of the generator and of the discriminator that a batch of a phase makes."""
    return {
        "generator_pretraining": (1, 0),
        "discriminator_pretraining": (0, 1),
        "adversarial": (config.g_steps, config.d_steps),
    }[phase]


def batch_line(num_done: int, figures: Sequence[float]) -> str:
    """Return the line that the original prints at intervals: both losses, the accuracy and the reward."""
    g_loss, d_loss, accuracy, reward = figures
    return f"Batch {num_done}: G_Loss={g_loss:.4f}, D_Loss={d_loss:.4f}, D_Acc={accuracy:.4f}, Reward={reward:.4f}"


class PhasedTrainer:
    """Track the position and the figures of a training of three phases; subclasses train on a batch.

    Args:
        config: sizes and hyperparameters.
        data: sequences with what the tokens, characters and scenes mean.
        seed: of the weights, the order of the batches, dropout and the fakes.
        log: takes the lines that the original prints.

    """

    phases: tuple[str, ...] = PHASES

    def __init__(self, config: DialogueConfig, data: DialogueData, *, seed: int, log: Callable[[str], None]) -> None:
        """Begin at the first batch of the first phase."""
        self.config, self.data, self.seed, self.log = config, data, seed, log
        self.architecture = {
            "vocabulary_size": config.vocabulary_size,
            "embedding_size": config.embedding_size,
            "condition_size": config.condition_size,
            "conditional": config.conditional,
            "hidden_size": config.hidden_size,
            "num_filters": config.num_filters,
            "num_characters": len(data.characters),
            "num_scenes": len(data.scenes),
        }
        self._positions = dict.fromkeys(PHASES, (0, 0))  # whole epochs, and steps of the current one
        self._epoch_series: dict[str, dict[str, list[float]]] = {phase: _empty(phase) for phase in PHASES}
        self._batches: Iterator[Batch] | None = None
        self._batches_phase = ""
        self._begin_call(PHASES[0])

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
        `num_skipped_steps` those of both that were left out. `epoch` and `step` are the phase's position; after
        `train_epoch` of a phase that trains the generator there are also `val_loss` and `val_perplexity`.
        """
        epoch, step = self._positions[self._phase]
        return {
            **copy.deepcopy(self._figures),
            **copy.deepcopy(self._series),
            "train_losses": _losses(self._series),
            "epoch": epoch,
            "step": step,
        }

    def train_epoch(self, phase: str) -> None:
        """Train the rest of the epoch, validate, and begin the next; see `contract.Trainer.train_epoch`."""
        self._check_phase(phase)
        with self._on_device():
            self._take_steps(self.num_batches - self._positions[phase][1], phase)
            self._end_epoch(phase)

    def train_steps(self, n: int, phase: str) -> None:
        """Take `n` steps and nothing else; see `contract.Trainer.train_steps`."""
        self._check_phase(phase)
        if n < 0:
            raise ValueError(f"the number of steps must not be negative, but it is {n}")
        with self._on_device():
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
        with self._on_device():
            for batch in self.data.val_batches(self.config.batch_size):
                counted_BT = batch.tokens_BT[:, 1:] != 0
                loss_sum -= float(self._target_log_probabilities(batch)[counted_BT].sum(dtype=np.float64))
                num_targets += int(counted_BT.sum())
        loss = loss_sum / max(num_targets, 1)
        return {"val_loss": loss, "val_perplexity": float(np.exp(min(loss, 700.0)))}

    def sample(self, character: int, scene: int, *, num: int, temperature: float, seed: int) -> list[str]:
        """Lines that the generator makes up for a character in a scene, by their ids."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop the iterator over the batches."""
        self._batches = None

    # --- What a subclass says ---

    def _train_batch(self, phase: str, batch: Batch) -> None:
        """Train on one batch of a phase, and record its figures."""
        raise NotImplementedError

    def _target_log_probabilities(self, batch: Batch) -> NDArray[np.float32]:
        """Log-probability (B, T) that the generator, without dropout, gives to every token of a batch but the first."""
        raise NotImplementedError

    def _on_device(self) -> AbstractContextManager[object]:
        """Where all that a call does is done."""
        return nullcontext()

    # --- The loop ---

    def _take_steps(self, n: int, phase: str) -> None:
        self._begin_call(phase)
        num_left = n
        try:
            while num_left > 0:
                num_left -= self._train_call(phase, num_left)
        except BaseException:
            self._batches = None  # its next batch is no longer the one to go on with
            raise

    def _train_call(self, phase: str, most: int) -> int:
        """Train on the next batch and return 1; an override may train on up to `most` batches in one call."""
        del most
        self._train_batch(phase, self._next_batch(phase))
        self._count_steps(phase, 1)
        return 1

    def _count_steps(self, phase: str, num_done: int) -> None:
        epoch, step = self._positions[phase]
        self._positions[phase] = (epoch, step + num_done)
        self._figures["num_steps"] += num_done

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

    # --- The state ---

    def _progress(self) -> dict[str, Any]:
        """Return the position and the figures of the training, as a part of the state."""
        return {
            "seed": self.seed,
            "positions": {phase: list(position) for phase, position in self._positions.items()},
            "epoch_series": copy.deepcopy(self._epoch_series),
            "consecutive_skips": {"generator": 0, "discriminator": 0},
        }

    def _load_progress(self, progress: Mapping[str, Any]) -> None:
        self.seed = progress["seed"]
        self._positions = {phase: (int(epoch), int(step)) for phase, (epoch, step) in progress["positions"].items()}
        self._epoch_series = copy.deepcopy(progress["epoch_series"])
        self._batches = None

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
