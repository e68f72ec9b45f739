"""A whole training around a trainer: epochs, checkpoints, samples, scalars, log, interruption."""

import contextlib
import functools
import importlib.util
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from trainers.common import checkpoint
from trainers.common.interruption import StopSignals, ignoring_signals, interrupting_immediately
from trainers.common.progress import EpochProgress
from trainers.contract import BadInput, Interrupted
from trainers.text_to_image import FAMILY
from trainers.text_to_image.data.items import CaptionData
from trainers.text_to_image.model import draw_samples
from trainers.text_to_image.reference import ReferenceTrainer
from trainers.text_to_image.samples import Row, draw_grid

__all__ = ["TrainingFiles", "TrainingLog", "TrainingRun", "read_training", "resume"]

logger = logging.getLogger(__name__)

_LABEL_KEYS = frozenset({"family", "tier", "switches", "config", "data_sha256", "text_encoder"})
_CONTENT_KEYS = _LABEL_KEYS | {"history", "unfinished_seconds", "state"}
_GRID_ROWS, _GRID_SAMPLES = 6, 4
_SAMPLE_SEED = 0  # the same noise every epoch, so that the sheets show the training and not the draw
_SECONDS_BETWEEN_DRAWINGS = 0.1  # of the progress bar, which takes about a millisecond to draw


@dataclass(frozen=True)
class TrainingFiles:
    """Name the files of one training.

    Attributes:
        folder: where they lie.

    """

    folder: Path

    @property
    def log(self) -> Path:
        """Every log line."""
        return self.folder / "training.log"

    @property
    def scalars(self) -> Path:
        """Folder for TensorBoard."""
        return self.folder / "tensorboard"

    def checkpoint(self, name: str) -> Path:
        """Return the path of a checkpoint: `last`, `interrupted`, `error` or `epoch_10`."""
        return self.folder / f"dcgan_{name}.safetensors"

    def samples(self, epoch: int) -> Path:
        """Samples after an epoch, counted from 1."""
        return self.folder / "samples" / f"epoch_{epoch:04d}.png"

    def checkpoints(self) -> list[Path]:
        """List the checkpoints that are there; earlier versions wrote `.pth` files."""
        return sorted(path for path in self.folder.glob("dcgan_*") if path.suffix in {".safetensors", ".pth"})


class TrainingLog:
    """Takes a trainer's log lines: into a file, each with its time. The file is made by the first line.

    Args:
        path: where the lines go, after those that are there.

    """

    def __init__(self, path: Path) -> None:
        """Write nothing yet."""
        self._path = path

    def __call__(self, line: str) -> None:
        """Write one line, so that it is there whatever happens next.

        Raises:
            BadInput: the file cannot be written.

        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n")
        except OSError as error:
            what = f"cannot be written ({error.strerror or error})"
            raise BadInput(what, str(self._path), "choose a folder you may write to, with room") from error


@dataclass
class TrainingRun:
    """Run one training from its trainer's position to its end.

    Whatever interrupts it, a checkpoint holds the training between two steps, so at most the interrupted step is lost.
    The resumed training repeats that step with the same noise and ends with the same bits as without the interruption.
    For that a copy of the state is kept while a step runs: a step that fails halfway has updated the discriminator
    and not the generator. The end of an epoch (validation, schedules, checkpoints, samples) is atomic in the same way:
    it is completed or repeated.

    Attributes:
        trainer: built, and set to where the training begins or continues.
        files: what the files are called.
        labels: what every checkpoint names: family, tier, switches, configuration, data, text encoder.
        log: takes lines.
        stop: what can interrupt it.
        progress: notified of every step and epoch.
        history: a dict of figures for every epoch done.
        unfinished_seconds: that the steps of the epoch begun have taken so far, before an interruption too.

    """

    trainer: ReferenceTrainer
    files: TrainingFiles
    labels: Mapping[str, Any]
    log: Callable[[str], None]
    stop: StopSignals
    progress: EpochProgress
    history: list[dict[str, Any]] = field(default_factory=list)
    unfinished_seconds: float = 0.0
    _kept: dict[str, Any] | None = field(default=None, init=False)
    _drawn_at: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Train until all epochs are done, or longer training no longer helps.

        A signal that comes when the last step of all is done changes nothing: there is nothing left to save for later.

        Raises:
            Interrupted: somebody asked it to stop; all of it is saved in the checkpoint `interrupted`.
            BadInput: something cannot be read or written; it says how to go on where the checkpoint `error` could be
                saved.
            Exception: whatever else went wrong, as it was; all of it is saved in the checkpoint `error`.

        """
        trainer, config = self.trainer, self.trainer.config
        if trainer.ranks.is_first:
            checkpoint.make_folder(self.files.samples(trainer.epoch).parent)
        self.log(
            f"started: tier {self.labels['tier']}, device {trainer.device}, seed {trainer.seed}, "
            f"epoch {trainer.epoch + 1}/{config.num_epochs}, batch {trainer.step}/{trainer.num_batches}"
        )
        try:
            with self.stop:
                self._train_and_save()
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted) or not trainer.finished:
                raise
        early = ", as the validation loss no longer fell" if trainer.epoch < config.num_epochs else ""
        with contextlib.suppress(BadInput):  # all is saved, which says more than this line
            self.log(f"finished after {trainer.epoch} epochs{early}")

    def _train_and_save(self) -> None:
        try:
            is_shown = self.trainer.ranks.is_first
            with _Scalars(self.files.scalars, self._num_batches_done(), is_on=is_shown) as self._scalars:
                while not self.trainer.finished:
                    self._train_epoch()
        except KeyboardInterrupt as error:
            self._interrupt(error)
        except Exception as error:
            if self.stop.received is not None:  # a loader whose workers the same signal has ended
                self._interrupt(error)
            self._save_error(error)
            raise

    def _train_epoch(self) -> None:
        while self.trainer.num_steps_left:
            self.stop.check()
            self._take_step()
        with self._whole_or_not_at_all():
            speed, started = self._speed(), time.perf_counter()
            # What validation has seen so far is not needed, and it may take longer than whoever asks to stop will wait.
            with interrupting_immediately(), warnings.catch_warnings():
                self.stop.check()
                # Of a schedule that advances before the optimizer's first step: that was taken before an interruption.
                warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step", UserWarning)
                self.trainer.train_epoch()  # no step is left of it: validation and schedule
            self._end_epoch(speed, time.perf_counter() - started)

    def _take_step(self) -> None:
        trainer, started = self.trainer, time.perf_counter()
        num_batches = self._num_batches_done()
        with self._whole_or_not_at_all():
            trainer.train_steps(1)
        figures = trainer.metrics
        losses = {name: figures[f"{name}es"][-1] for name in ("discriminator_loss", "generator_loss")}
        for name, loss in losses.items():
            self._scalars.write(name, loss, num_batches)
        self.unfinished_seconds += time.perf_counter() - started
        if time.perf_counter() - self._drawn_at > _SECONDS_BETWEEN_DRAWINGS:
            self._drawn_at = time.perf_counter()
            shown = "D {discriminator_loss:.3f}  G {generator_loss:.3f}".format_map(losses)
            self.progress.step_done(trainer.step / trainer.num_batches, f"{shown}  {self._speed()}")

    def _end_epoch(self, speed: str, validation_seconds: float) -> None:
        trainer, figures = self.trainer, self.trainer.metrics
        epoch, seconds = trainer.epoch, self.unfinished_seconds + validation_seconds
        names = ("discriminator_loss", "generator_loss", "val_loss")
        self.history.append({name: figures.get(name) for name in names} | {"seconds": seconds})
        self.unfinished_seconds = 0.0
        self._save(self.files.checkpoint("last"))
        if epoch % trainer.config.checkpoint_every == 0:
            self._save(self.files.checkpoint(f"epoch_{epoch}"))
        if trainer.ranks.is_first:
            self._draw_samples(epoch)
        line = f"D {figures['discriminator_loss']:.4f}  G {figures['generator_loss']:.4f}"
        if "val_loss" in figures:
            line += f"  validation {figures['val_loss']:.4f}"
            self._scalars.write("val_loss", figures["val_loss"], self._num_batches_done())
        self.log(f"epoch {epoch}/{trainer.config.num_epochs} done in {seconds:.1f} s: {line}  {speed}")
        self.progress.epoch_done(f"{line}  {speed}")

    def _speed(self) -> str:
        """Say how fast the epoch's steps are, over all of it that is done, before an interruption too."""
        rate = self.trainer.num_items_done / self.unfinished_seconds
        batch_ms = 1000 * self.unfinished_seconds / self.trainer.step
        return f"{rate:.{0 if rate >= 10 else 1}f} images/s  {batch_ms:.0f} ms/batch"

    def _num_batches_done(self) -> int:
        return self.trainer.epoch * self.trainer.num_batches + self.trainer.step

    def _draw_samples(self, epoch: int) -> None:
        """Draw held-out captions: the real image, then what the generator makes of its caption."""
        captions, images_BCHW, texts_BE = self._held_out
        fakes_BCHW = draw_samples(
            self.trainer.generator, texts_BE.repeat_interleave(_GRID_SAMPLES, dim=0), _SAMPLE_SEED
        )
        drawn = torch.split(fakes_BCHW, _GRID_SAMPLES)
        rows = [Row(caption, list(drawn[number]), images_BCHW[number]) for number, caption in enumerate(captions)]
        content = draw_grid(rows, f"drawn after epoch {epoch} of {self.trainer.config.num_epochs}")
        checkpoint.write(self.files.samples(epoch), content)

    @functools.cached_property
    def _held_out(self) -> tuple[list[str], Tensor, Tensor]:
        """Captions that the sheets show, of different images, with their images and embedded: decoded once for all."""
        data, config = self.trainer.data, self.trainer.config
        batch = next(iter(data.loader("val", batch_size=_GRID_ROWS * 8, image_size=config.image_size)))
        data.note_damaged(batch)
        chosen = _of_different_images(batch.items_B, data)
        return data.captions(batch.items_B[chosen].tolist()), batch.images_BCHW[chosen], batch.texts_BE[chosen]

    def _interrupt(self, error: BaseException) -> NoReturn:
        path = self.files.checkpoint("interrupted")
        with ignoring_signals():
            self._write(path, self._kept)
            with contextlib.suppress(BadInput):
                self.log(f"interrupted; saved in {path}")
        raise Interrupted(self.stop.received or signal.SIGINT, path) from error

    def _save_error(self, error: Exception) -> None:
        """Save what there is; an error in doing so must not hide the one that it is about."""
        if not self.trainer.ranks.is_first:
            return
        path = self.files.checkpoint("error")
        with ignoring_signals():
            with contextlib.suppress(BadInput):
                self.log(f"failed: {type(error).__name__}: {error}")
            try:
                checkpoint.save(path, self._kept or self._content())
            except Exception as second:  # noqa: BLE001 - a broken device, say, that the state cannot be had from
                if not isinstance(error, BadInput):  # which is one line, and most likely says the same
                    logger.warning("the training could not be saved: %s", second)
                return
        if isinstance(error, BadInput):
            raise BadInput(error.what, error.where, f"{error.mend}, then continue with --resume {path}") from error
        logger.warning("the training failed and is saved; continue with --resume %s", path)

    @contextlib.contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Keep what there was before; after an exception in the block, it is what will be saved."""
        self._kept = self._content() if self.trainer.ranks.is_first else None
        yield
        self._kept = None

    def _save(self, path: Path) -> None:
        self._write(path, None)

    def _write(self, path: Path, kept: dict[str, Any] | None) -> None:
        """Write what was kept, or all there is now; of several ranks the first does."""
        if self.trainer.ranks.is_first:
            checkpoint.save(path, kept or self._content())

    def _content(self) -> dict[str, Any]:
        return {
            **self.labels,
            "history": list(self.history),
            "unfinished_seconds": self.unfinished_seconds,
            "state": self.trainer.state(),
        }


def read_training(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this family.

    Raises:
        BadInput: it cannot be read, is damaged, or is another family's.

    """
    content = checkpoint.load(path)
    if not isinstance(content, dict) or content.get("family") != FAMILY.name or _CONTENT_KEYS - content.keys():
        raise BadInput(f"is no checkpoint of {FAMILY.name}", str(path), "give a file that train wrote for this family")
    return content


def resume(trainer: ReferenceTrainer, path: Path, content: Mapping[str, Any], seed: int | None) -> None:
    """Put a trainer where a checkpoint was taken.

    Args:
        trainer: of the configuration that the training continues with.
        path: the checkpoint.
        content: what is in it.
        seed: the training's, if somebody chose it.

    Raises:
        BadInput: the checkpoint is of another architecture, other data, another seed, or of a finished training.

    """
    if content["data_sha256"] != trainer.data.fingerprint():
        raise BadInput("was trained on other data", str(path), "give the same data, or train anew without resuming")
    try:
        trainer.load_state(content["state"])
    except BadInput as error:
        mend = "use the configuration and switches it was trained with"
        raise BadInput(f"does not fit: {error.what}", str(path), mend) from error
    if seed is not None and seed != trainer.seed:
        raise BadInput(f"its training has seed {trainer.seed}", str(path), "leave out the seed")
    done = trainer.epoch
    if done >= trainer.config.num_epochs:
        raise BadInput(f"has trained {done} epochs already", str(path), f"give a number of epochs above {done}")
    if trainer.finished:
        what = f"its training ended early, after {done} epochs without more patience"
        raise BadInput(what, str(path), "turn early_stopping off, or set a greater patience with --config")


def _of_different_images(items_B: torch.Tensor, data: CaptionData) -> list[int]:
    """Positions of the first items of a batch that show different images, at most as many as a sheet has rows."""
    first: dict[int, int] = {}
    for number, item in enumerate(items_B.tolist()):
        first.setdefault(int(data.image_of_N[item]), number)
    return list(first.values())[:_GRID_ROWS]


class _Scalars:
    """Writes scalars for TensorBoard where that is installed; that it fails is no reason to end a training.

    Args:
        folder: where its files go.
        step: where the training continues; TensorBoard shows nothing of an earlier run from there on.
        is_on: whether anything is written.

    """

    def __init__(self, folder: Path, step: int, *, is_on: bool) -> None:
        self._folder, self._step, self._is_on = folder, step, is_on
        self._writer: Any = None

    def __enter__(self) -> Self:
        if self._is_on and importlib.util.find_spec("tensorboard") is not None:
            with self._forgiven():
                self._writer = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            with self._forgiven():
                self._writer.close()

    def write(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            with self._forgiven():
                self._writer.add_scalar(name, value, step)

    def _open(self) -> Any:
        # TensorBoard loads TensorFlow wherever that is installed, for seconds and with much chatter, and needs none of
        # it. This is the mark of its own by which it does without.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional, and slow to import

        return SummaryWriter(str(self._folder), purge_step=self._step or None)

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except (ImportError, OSError) as error:
            self._writer = None
            logger.warning("no more scalars for TensorBoard: %s", error)
