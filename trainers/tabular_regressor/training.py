"""A whole training around a trainer: epochs, the best weights, checkpoints, logs, early stopping, interruption.

The command line and document 004's `train_model` share it.
"""

import logging
import math
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.common import checkpoint
from trainers.common.interruption import StopSignals
from trainers.common.progress import EpochProgress
from trainers.contract import BadInput, Interrupted
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.document_004.logs import TrainingMetrics, event
from trainers.tabular_regressor.document_004.model_files import load_training, renamed_weights, save_training
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.document_004.training_config import TrainingConfig, save_training_config
from trainers.tabular_regressor.optimized import NotEnoughMemory
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["TrainingRun", "read_training", "resume"]

_CONTENT_KEYS = frozenset({"family", "tier", "config", "data_sha256", "scaling", "state", "history"})
_STEPS_BETWEEN_LOOKS = 8
"""Steps after which a training looks whether it was asked to stop, and notes its metrics."""


@dataclass
class TrainingRun:
    """Run one training from its trainer's position to its end.

    Attributes:
        trainer: built, and set to where the training begins or continues.
        files: what the files are called.
        labels: what every checkpoint says in addition to the state: family, tier, configuration, data and scaling.
        metrics: empty, or those up to where it continues.
        log: see `setup_logging`.
        stop: what can interrupt it.
        progress: notified of every epoch.

    """

    trainer: ReferenceTrainer
    files: ModelFiles
    labels: Mapping[str, Any]
    metrics: TrainingMetrics
    log: logging.Logger
    stop: StopSignals
    progress: EpochProgress | None = None

    def run(self) -> float:
        """Train until the validation loss stops falling or all epochs are done, then test the best weights.

        The trainer ends with the best weights.

        Returns:
            The loss of the test part; of several ranks, the first alone tests.

        Raises:
            Interrupted: somebody asked it to stop; all of it is saved in the checkpoint `interrupted`.
            NotEnoughMemory: memory runs out however small the parts of a batch; it is saved likewise.
            BadInput: a file cannot be written, or no epoch had a finite validation loss.

        """
        if self.trainer.ranks.is_first:
            save_training_config(TrainingConfig.of(self.trainer.config), self.files.config)
        self._log_start()
        try:
            with self.stop:
                try:
                    self._train()
                except (KeyboardInterrupt, NotEnoughMemory, RuntimeError) as error:
                    self._save_interrupted(error)
                    raise
                return self._finish() if self.trainer.ranks.is_first else math.nan
        except Interrupted as error:
            self.log.warning(event("interrupted", saved=error.saved))
            raise
        except BaseException as error:
            self.log.error(event("failed", error=type(error).__name__, reason=str(error)))  # noqa: TRY400 - one line
            raise

    def _train(self) -> None:
        config, metrics = self.trainer.config, self.metrics
        while metrics.num_epochs < config.num_epochs and metrics.epochs_since_best < config.patience:
            started = time.perf_counter() - metrics.unfinished_seconds
            try:
                learning_rate = self._train_epoch()
            finally:
                metrics.unfinished_seconds = time.perf_counter() - started
            self._end_epoch(learning_rate)
            self.stop.check()
        if metrics.num_epochs < config.num_epochs:
            self.log.info(event("stopped_early", epoch=metrics.num_epochs, best_epoch=metrics.best_epoch))

    def _train_epoch(self) -> float:
        """Train one epoch, or the rest of it; returns its learning rate."""
        trainer = self.trainer
        learning_rate = float(trainer.optimizer.param_groups[0]["lr"])
        while trainer.step < trainer.num_batches:
            self.stop.check()
            trainer.train_steps(min(_STEPS_BETWEEN_LOOKS, trainer.num_batches - trainer.step))
            loss = trainer.metrics["train_losses"][-1]
            self.metrics.observe_step(trainer.epoch + 1, trainer.step, loss, learning_rate)
            self.log.debug(event("step", **self.metrics.latest))
        trainer.train_epoch()  # no step is left of it: validation and schedule
        return learning_rate

    def _end_epoch(self, learning_rate: float) -> None:
        metrics, figures = self.metrics, self.trainer.metrics
        train_loss, val_loss = figures["train_loss"], figures["val_loss"]
        is_best = metrics.record_epoch(train_loss, val_loss, learning_rate, metrics.unfinished_seconds)
        epoch, seconds = metrics.num_epochs, metrics.epoch_seconds[-1]
        losses = {"train_loss": train_loss, "val_loss": val_loss}
        self.log.info(event("epoch", epoch=epoch, **losses, learning_rate=learning_rate, seconds=seconds, best=is_best))
        if self.progress is not None:
            self.progress.epoch_done(f"train loss {train_loss:.4f}  validation loss {val_loss:.4f}")
        if is_best:
            self._save(self.files.best_model)
        if epoch % self.trainer.config.checkpoint_every == 0:
            self._save(self.files.checkpoint(f"epoch_{epoch}"))

    def _finish(self) -> float:
        """Save the last state, test the best weights, and write down what came out."""
        metrics, last = self.metrics, self.files.checkpoint("last")
        content = self._content()
        save_training(last, content)
        if metrics.best_epoch == 0:
            raise BadInput("no epoch had a finite validation loss", "training", "look for extreme values in the data")
        self.trainer.load_state(read_training(self.files.best_model)["state"])
        test_loss = self.trainer.evaluate("test")
        save_training(last, {**content, "test_loss": test_loss})
        self.log.info(event("finished", **metrics.summary(), test_loss=test_loss, best_model=self.files.best_model))
        return test_loss

    def _save_interrupted(self, error: BaseException) -> None:
        """Save all of it, and say where, if the error left a state that is worth it."""
        # After a signal, it is a loader whose workers the same signal has ended, or a rank that has lost another.
        if isinstance(error, RuntimeError) and (self.stop.received is None or self.trainer.ranks.number > 1):
            return
        path = self.files.checkpoint("interrupted")
        self._save(path)
        if isinstance(error, NotEnoughMemory):
            raise NotEnoughMemory(error.what, error.where, f"{error.mend} and resume from {path}") from error
        raise Interrupted(self.stop.received or signal.SIGINT, path) from error

    def _save(self, path: Path) -> None:
        if self.trainer.ranks.is_first:
            save_training(path, self._content())
            self.log.debug(event("saved", path=path))

    def _content(self) -> dict[str, Any]:
        return {**self.labels, "history": self.metrics.to_dict(), "state": self.trainer.state()}

    def _log_start(self) -> None:
        trainer = self.trainer
        where = {"epoch": trainer.epoch + 1, "step": trainer.step, "num_epochs": trainer.config.num_epochs}
        self.log.info(event("started", tier=self.labels["tier"], device=trainer.device, seed=trainer.seed, **where))
        settings = TrainingConfig.of(trainer.config).to_dict()
        self.log.debug(event("configuration", **settings, switches=getattr(trainer, "switches", {})))


def read_training(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this family.

    Raises:
        BadInput: as `load_training`, or it is another family's.

    """
    content = load_training(path)
    if not isinstance(content, dict) or content.get("family") != FAMILY.name or _CONTENT_KEYS - content.keys():
        raise BadInput(f"is no checkpoint of {FAMILY.name}", str(path), "give a file that train wrote for this family")
    return {**content, "state": {**content["state"], "model": renamed_weights(content["state"]["model"])}}


def resume(
    trainer: ReferenceTrainer, path: Path, content: Mapping[str, Any], files: ModelFiles, seed: int | None
) -> TrainingMetrics:
    """Restore a trainer from a checkpoint, and copy the best weights from the checkpoint's folder.

    Args:
        trainer: of the configuration that the training continues with.
        path: the checkpoint.
        content: what is in it.
        files: of the continued training, whose name may differ from that of the one that wrote the checkpoint.
        seed: the training's, if somebody knows it.

    Returns:
        The metrics up to there. Better weights than they know of, from later epochs, stay the best.

    Raises:
        BadInput: the checkpoint is of another architecture, other data, another seed, or of a finished training.

    """
    try:
        trainer.load_state(content["state"])
    except BadInput as error:
        mend = "use the configuration and data it was trained with"
        raise BadInput(f"does not fit: {error.what}", str(path), mend) from error
    if content["data_sha256"] != trainer.data.fingerprint():
        what = "was trained on other data or on another split of it"
        raise BadInput(what, str(path), "give the same data and split, or train without resuming")
    if seed is not None and seed != trainer.seed:
        raise BadInput(f"its training has seed {trainer.seed}", str(path), "leave out the seed")
    metrics = TrainingMetrics.from_dict(content["history"])
    if metrics.num_epochs >= trainer.config.num_epochs:
        done = metrics.num_epochs
        raise BadInput(f"has trained {done} epochs already", str(path), f"give a number of epochs above {done}")
    best = ModelFiles.of(path).best_model
    if not best.is_file():
        metrics.forget_best()  # the best from here on is kept instead
        return metrics
    best_content = read_training(best)
    history = best_content["history"]
    metrics.best_epoch, metrics.best_val_loss = history["best_epoch"], history["best_val_loss"]
    if best.resolve() != files.best_model.resolve() and trainer.ranks.is_first:
        checkpoint.make_folder(files.folder)
        save_training(files.best_model, best_content)
    return metrics
