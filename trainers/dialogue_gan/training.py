"""A whole training around a trainer: its three phases, checkpoints, interruption, going on."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers.common import checkpoint
from trainers.common.interruption import SharedStopSignals
from trainers.common.progress import EpochProgress
from trainers.contract import BadInput, Interrupted
from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import PHASES
from trainers.dialogue_gan.optimized import OptimizedTrainer
from trainers.dialogue_gan.reference import ReferenceTrainer

__all__ = ["KINDS", "TrainingRun", "checkpoint_path", "num_epochs", "read_training", "resume"]

KINDS = ("last", "interrupted", "error")
"""What a checkpoint may be: that of the last whole epoch, that of a stop, that of a failure."""

_CONTENT_KEYS = frozenset(
    {"family", "tier", "switches", "config", "data_sha256", "words", "characters", "scenes", "state", "history"}
)


def checkpoint_path(folder: Path, kind: str) -> Path:
    """Name the file of one of the `KINDS`."""
    return folder / f"dialogue_gan_{kind}.ckpt"


@dataclass
class TrainingRun:
    """Run one training from its trainer's position to its end; of several workers, the first writes the files.

    Attributes:
        trainer: built, and set to where the training begins or continues.
        folder: of its checkpoints.
        labels: what every checkpoint says besides state and history: family, tier, configuration, data and its names.
        history: figures of every finished epoch, by phase; those of a resumed training included.
        stop: what can interrupt it.
        progress: notified of every epoch.

    """

    trainer: ReferenceTrainer
    folder: Path
    labels: Mapping[str, Any]
    history: dict[str, list[dict[str, float]]]
    stop: SharedStopSignals
    progress: EpochProgress
    _in_step: bool = field(default=False, init=False)

    def run(self) -> None:
        """Train all phases to their ends; the last whole epoch is saved in the checkpoint `last`.

        Raises:
            Interrupted: somebody asked it to stop; all of it is saved in the checkpoint `interrupted`.
            KeyboardInterrupt: somebody could not wait for the end of a step, the half of which is not worth saving.
            BadInput: a file cannot be written, or no update can be applied any more.
            Exception: whatever else went wrong, after all of it was saved in the checkpoint `error`, unless another
                worker has died, which leaves half of a step.

        """
        with self.stop:
            try:
                self._train()
            except KeyboardInterrupt as error:
                if self._in_step:
                    raise
                path = self._save("interrupted")
                raise Interrupted(self.stop.agreed or self.stop.received or signal.SIGINT, path) from error
            except Exception as error:
                if self.trainer.workers.has_lost_one(error):
                    raise
                path = self._save("error")
                error.add_note(f"the training is saved in {path}")
                raise
            self._save("last")

    def _train(self) -> None:
        for phase in PHASES:
            while self.trainer.position(phase)[0] < self.trainer.config.num_epochs(phase):
                self._train_epoch(phase)
                self._save("last")
                self.stop.check()
        if isinstance(self.trainer, OptimizedTrainer):
            self.trainer.final_statistics()

    def _train_epoch(self, phase: str) -> None:
        trainer = self.trainer
        while trainer.position(phase)[1] < trainer.num_batches:
            self.stop.check()
            self._in_step = True
            # No more than one call to the device, between two of which a training can be stopped.
            num_left = trainer.num_batches - trainer.position(phase)[1]
            trainer.train_steps(min(getattr(trainer, "steps_per_call", 1), num_left), phase)
            self._in_step = False
        losses = trainer.epoch_losses(phase)
        trainer.train_epoch(phase)  # no step is left of it: validation
        figures = {name: trainer.metrics[name] for name in ("val_loss", "val_perplexity") if name in trainer.metrics}
        self.history[phase].append({"train_loss": sum(losses) / len(losses), **figures})
        said = "".join(f"  {name} {value:.4f}" for name, value in self.history[phase][-1].items())
        self.progress.epoch_done(f"{phase}{said}")

    def _save(self, kind: str) -> Path:
        path = checkpoint_path(self.folder, kind)
        if not self.trainer.workers.is_first:
            return path
        seconds = list(getattr(self.trainer, "batch_seconds", []))
        content = {
            **self.labels, "history": self.history, "batch_seconds": seconds, "state": self.trainer.state()
        }  # fmt: skip
        checkpoint.save(path, content)
        return path


def read_training(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this family.

    Raises:
        BadInput: the file cannot be read or is damaged, or is no checkpoint of this family.

    """
    content = checkpoint.load(path)
    if not isinstance(content, dict) or content.get("family") != FAMILY.name or _CONTENT_KEYS - content.keys():
        raise BadInput(f"is no checkpoint of {FAMILY.name}", str(path), "give a file that train wrote for this family")
    return content


def resume(
    trainer: ReferenceTrainer, path: Path, content: Mapping[str, Any], seed: int | None
) -> dict[str, list[dict[str, float]]]:
    """Put a trainer where a checkpoint was taken.

    Returns:
        The history up to there.

    Raises:
        BadInput: the checkpoint is of another architecture, vocabulary, data or seed, or of a finished training.

    """
    data, config = trainer.data, trainer.config
    if tuple(content["words"]) != data.tokenizer.words:
        raise BadInput("was trained with another vocabulary", str(path), "give the same data and vocabulary_size")
    try:
        trainer.load_state(content["state"])
    except BadInput as error:
        mend = "use the configuration and data it was trained with"
        raise BadInput(f"does not fit: {error.what}", str(path), mend) from error
    if content["data_sha256"] != data.fingerprint():
        raise BadInput("was trained on other data", str(path), "give the same data, or train anew without resuming")
    if content["config"]["batch_size"] != config.batch_size and any(trainer.position(phase)[1] for phase in PHASES):
        what = f"stands inside an epoch of batches of {content['config']['batch_size']}"
        raise BadInput(what, str(path), "leave batch_size as it was")
    if seed is not None and seed != trainer.seed:
        raise BadInput(f"its training has seed {trainer.seed}", str(path), "leave out the seed")
    if all(trainer.position(phase)[0] >= config.num_epochs(phase) for phase in PHASES):
        done = trainer.position("adversarial")[0]
        mend = f"give a number of epochs above {done}"
        raise BadInput(f"has trained {done} adversarial epochs already", str(path), mend)
    if isinstance(trainer, OptimizedTrainer):
        trainer.batch_seconds = list(content.get("batch_seconds", []))
    return {phase: list(content["history"][phase]) for phase in PHASES}


def num_epochs(trainer: ReferenceTrainer) -> tuple[int, int]:
    """Epochs of all phases, and how many of them are done."""
    wanted = {phase: trainer.config.num_epochs(phase) for phase in PHASES}
    return sum(wanted.values()), sum(min(trainer.position(phase)[0], wanted[phase]) for phase in PHASES)
