"""Document 004's logging and metrics: what a training says, and what it remembers. Imports no framework."""

import contextlib
import copy
import dataclasses
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainers.contract import BadInput
from trainers.tabular_regressor.document_004.model_names import ModelFiles

__all__ = ["TrainingMetrics", "close_logging", "event", "setup_logging"]

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


@dataclass
class TrainingMetrics:
    """How a training goes and went.

    Attributes:
        train_losses: mean loss over the batches, by epoch.
        val_losses: validation loss, by epoch.
        learning_rates: what each epoch trained with.
        epoch_seconds: what each epoch took, validation included.
        best_epoch: the one with the lowest validation loss, counted from 1; 0 before there is one.
        best_val_loss: that loss.
        unfinished_seconds: what an epoch took so far that was interrupted.
        latest: `epoch`, `step`, `loss` and `learning_rate` of the newest step, while the training runs.

    """

    train_losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_val_loss: float = math.inf
    unfinished_seconds: float = 0.0
    latest: dict[str, float] = field(default_factory=dict, compare=False)

    def observe_step(self, epoch: int, step: int, loss: float, learning_rate: float) -> None:
        """Note the newest step; epochs and steps count from 1."""
        self.latest = {"epoch": epoch, "step": step, "loss": loss, "learning_rate": learning_rate}

    def record_epoch(self, train_loss: float, val_loss: float, learning_rate: float, seconds: float) -> bool:
        """Note a finished epoch; returns whether its validation loss is the lowest so far (never for a NaN)."""
        self.train_losses.append(train_loss)
        self.val_losses.append(val_loss)
        self.learning_rates.append(learning_rate)
        self.epoch_seconds.append(seconds)
        self.unfinished_seconds = 0.0
        if not val_loss < self.best_val_loss:
            return False
        self.best_epoch, self.best_val_loss = self.num_epochs, val_loss
        return True

    def forget_best(self) -> None:
        """Let the next epoch be the best: its weights are gone."""
        self.best_epoch, self.best_val_loss = 0, math.inf

    @property
    def num_epochs(self) -> int:
        """Finished epochs."""
        return len(self.val_losses)

    @property
    def epochs_since_best(self) -> int:
        """Epochs that did not lower the validation loss, up to now."""
        return self.num_epochs - self.best_epoch

    @property
    def total_seconds(self) -> float:
        """Return the seconds of all epochs, including those of earlier runs of the same training."""
        return sum(self.epoch_seconds) + self.unfinished_seconds

    def summary(self) -> dict[str, float]:
        """Figures of the whole training, by name: epochs, best epoch and loss, total and mean time."""
        return {
            "num_epochs": self.num_epochs,
            "best_epoch": self.best_epoch,
            "best_val_loss": self.best_val_loss,
            "total_seconds": self.total_seconds,
            "mean_epoch_seconds": sum(self.epoch_seconds) / self.num_epochs if self.num_epochs else math.nan,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics that a checkpoint keeps, as plain data."""
        values = dataclasses.asdict(self)
        del values["latest"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingMetrics":
        """Rebuild from `to_dict`'s result."""
        return cls(**copy.deepcopy(dict(values)))


class _LogFile(logging.FileHandler):
    """A log file that a full disk silences, with one warning, instead of a traceback for every line."""

    _silent = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._silent:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the base class's name
        self._silent = True
        reason = sys.exc_info()[1]
        logging.getLogger(__name__).warning("%s cannot be written any more (%s)", self.baseFilename, reason)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is still to be written when the disk is full
            super().close()


def setup_logging(model_name: str = "improved_model", *, console_level: int | None = logging.INFO) -> logging.Logger:
    """Make the logger of one training: everything goes to `<model_name>_training.log`, a summary to the console.

    Every line has its time. A file that exists is continued. Calling it again for the same name replaces the handlers.

    Args:
        model_name: what the training's files begin with.
        console_level: the least that goes to stderr, None for nothing; details are `logging.DEBUG`.

    Raises:
        BadInput: the file cannot be written.

    """
    path = ModelFiles(model_name).training_log
    try:
        file = _LogFile(path, encoding="utf-8")
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise BadInput(what, str(path), "choose a folder you may write to") from error
    handlers: list[logging.Handler] = [file]
    if console_level is not None:
        console = logging.StreamHandler(sys.stderr)
        console.setLevel(console_level)
        handlers.append(console)
    logger = logging.getLogger(f"{__package__}.runs.{str(path.resolve()).replace('.', '_')}")
    close_logging(logger)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # its lines have a console of their own
    return logger


def close_logging(logger: logging.Logger) -> None:
    """Close the files of a logger that `setup_logging` made."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def event(name: str, **values: object) -> str:
    """Write what happened and its figures as `name key=value ...`, which text tools can search."""
    return " ".join([name, *(f"{key}={_text(value)}" for key, value in values.items())])


def _text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text else text
