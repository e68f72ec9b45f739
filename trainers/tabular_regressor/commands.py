"""What the command line does with this family: make data, train, predict.

Shape suffixes: N rows, K targets.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers import checkpoint
from trainers.contract import BadInput
from trainers.progress import EpochProgress
from trainers.tabular_regressor import data as files
from trainers.tabular_regressor.assembly import assemble, best_device, find_data
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import RegressionData, Rows, Scaling
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["TrainOptions", "make_data", "predict", "train"]

BEST, LAST = "best.checkpoint", "last.checkpoint"
_FAMILY = "tabular_regressor"
_CONTENT_KEYS = frozenset({"family", "tier", "config", "data_sha256", "scaling", "state", "history"})


@dataclass(frozen=True)
class TrainOptions:
    """What a user chose for one training; None where nothing was chosen.

    Attributes:
        tier: one of the family's tiers; without it that of the resumed checkpoint, or `optimized`.
        preset: one of the family's presets; without it that of the resumed checkpoint, or `smoke`.
        data: an HDF5 file; without it the offline data.
        out: folder of the checkpoints.
        epochs: most epochs, those before a resume included.
        seed: of the training.
        resume: checkpoint to continue from.
        switches: settings by name.

    """

    tier: str | None = None
    preset: str | None = None
    data: Path | None = None
    out: Path | None = None
    epochs: int | None = None
    seed: int | None = None
    resume: Path | None = None
    switches: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """How a training went so far: losses by epoch, and since when the validation loss has not fallen."""

    train_losses: tuple[float, ...] = ()
    val_losses: tuple[float, ...] = ()
    best_epoch: int = 0
    best_val_loss: float = math.inf

    def extended(self, train_loss: float, val_loss: float) -> "History":
        """With one epoch more; epochs count from 1."""
        longer = replace(self, train_losses=(*self.train_losses, train_loss), val_losses=(*self.val_losses, val_loss))
        if val_loss < self.best_val_loss:
            return replace(longer, best_epoch=len(longer.val_losses), best_val_loss=val_loss)
        return longer

    @property
    def epochs_since_best(self) -> int:
        """Epochs that did not lower the validation loss, up to now."""
        return len(self.val_losses) - self.best_epoch


def make_data(out: Path, preset: str, seed: int) -> None:
    """Write `training_data.h5` and its transposed variant into a folder.

    Raises:
        BadInput: a file is there already, or cannot be written.

    """
    config = RegressorConfig.preset(preset).replace(data_seed=seed)
    targets = {out / "training_data.h5": False, out / "training_data_transposed.h5": True}
    for path in targets:
        if path.exists():
            raise BadInput("exists already", str(path), "choose another folder or remove it first")
    for path, transposed in targets.items():
        files.make_data(path, config, transposed=transposed)
        _say(f"wrote {path}")


def train(options: TrainOptions) -> None:
    """Train until the validation loss stops falling, keep the best weights, test those, and say where they are.

    Raises:
        BadInput: something the options name cannot be used; nothing was overwritten.

    """
    resumed = None if options.resume is None else _read_checkpoint(options.resume)
    config = _chosen_config(options, resumed)
    tier = options.tier or (resumed["tier"] if resumed else "optimized")
    out = _chosen_folder(options)
    data = find_data(config, options.data)
    seed = options.seed or 0
    trainer = assemble(tier, config, data=data, device=best_device(), seed=seed, switches=options.switches)
    try:
        history = History() if resumed is None else _resume(trainer, resumed, options)
        if len(history.val_losses) >= config.num_epochs:
            done = len(history.val_losses)
            raise BadInput(f"has trained {done} epochs already", str(options.resume), f"give --epochs above {done}")
        _prepare_folder(out, options)
        history = _fit(trainer, history, out, {"family": _FAMILY, "tier": tier})
        trainer.load_state(_read_checkpoint(out / BEST)["state"])
        test_loss = trainer.evaluate("test")
    finally:
        trainer.close()
    _say(
        f"best epoch {history.best_epoch} of {len(history.val_losses)}: validation loss {history.best_val_loss:.6f}, "
        f"test loss {test_loss:.6f}; checkpoint {out / BEST}"
    )


def predict(path: Path, data: Path | None, out: Path | None) -> None:
    """Write predictions on the original scale for every row of a file, and say how far off they are.

    The error is that of the test rows when the file is what the checkpoint was trained on, and else that of all rows.

    Raises:
        BadInput: the checkpoint or the data cannot be used, or the output exists already or cannot be written.

    """
    content = _read_checkpoint(path)
    config, scaling = RegressorConfig.from_dict(content["config"]), Scaling.from_dict(content["scaling"])
    target = out or path.parent / "predictions.h5"
    if target.exists():
        raise BadInput("exists already", str(target), "choose another file with --out or remove it first")
    source = files.offline_data_path(config) if data is None else data
    loaded = files.load_data(source, config, scaling)
    trainer = ReferenceTrainer(config, loaded, device=torch.device(best_device()), seed=0)
    _load_state(trainer, content["state"], path)
    scaled_NK = trainer.predict(loaded.features_NF)
    files.write_arrays(target, {"predictions": scaling.unscale_targets(scaled_NK)})
    same_data = files.data_fingerprint(loaded) == content["data_sha256"]
    rows = loaded.splits.test if same_data else np.arange(len(scaled_NK))
    _say(f"{_errors(scaled_NK, loaded, rows)} on {len(rows)} {'test rows' if same_data else 'rows'}; wrote {target}")


def _errors(scaled_NK: files.FloatArray, data: RegressionData, rows: Rows) -> str:
    """Root mean square error of every target over some rows, on the original scale, in words."""
    truth_NK = data.targets_NK.numpy()
    difference_NK = (scaled_NK[rows] - truth_NK[rows]).astype(np.float64) * data.scaling.iqr_K
    errors_K = np.sqrt(np.mean(difference_NK**2, axis=0))
    return "test error (RMSE) " + ", ".join(f"{error:.6g}" for error in errors_K)


def _fit(trainer: ReferenceTrainer, history: History, out: Path, labels: Mapping[str, str]) -> History:
    """Train epoch by epoch, saving the best and, now and then and at the end, the last state."""
    config = trainer.config
    fixed = {
        **labels,
        "config": config.to_dict(),
        "data_sha256": files.data_fingerprint(trainer.data),
        "scaling": trainer.data.scaling.to_dict(),
    }
    with EpochProgress(config.num_epochs, len(history.val_losses)) as progress:
        while len(history.val_losses) < config.num_epochs and history.epochs_since_best < config.patience:
            trainer.train_epoch()
            figures = trainer.metrics
            history = history.extended(figures["train_loss"], figures["val_loss"])
            done = len(history.val_losses)
            progress.epoch_done(f"train loss {figures['train_loss']:.4f}  validation loss {figures['val_loss']:.4f}")
            content = {**fixed, "history": asdict(history)}
            if history.best_epoch == done:
                checkpoint.save(out / BEST, {**content, "state": trainer.state()})
            if done % config.checkpoint_every == 0:
                checkpoint.save(out / LAST, {**content, "state": trainer.state()})
    checkpoint.save(out / LAST, {**fixed, "history": asdict(history), "state": trainer.state()})
    if history.best_epoch == 0:
        raise BadInput("no epoch had a finite validation loss", "training", "look for extreme values in the data")
    return history


def _chosen_config(options: TrainOptions, resumed: Mapping[str, Any] | None) -> RegressorConfig:
    """Take the preset's configuration or, without a preset, that of the checkpoint that is resumed."""
    if options.preset is None and resumed is not None:
        config = RegressorConfig.from_dict(resumed["config"])
    else:
        config = RegressorConfig.preset(options.preset or "smoke")
    return config if options.epochs is None else config.replace(num_epochs=options.epochs)


def _chosen_folder(options: TrainOptions) -> Path:
    """Choose the folder for the checkpoints; one that holds those of another training is refused."""
    beside = None if options.resume is None else options.resume.parent
    out = options.out or beside or Path("runs") / _FAMILY
    mend = "choose another folder with --out, or continue with --resume"
    for name in (BEST, LAST):
        if (out / name).exists() and (beside is None or beside.resolve() != out.resolve()):
            raise BadInput("holds a checkpoint already", str(out / name), mend)
    return out


def _prepare_folder(out: Path, options: TrainOptions) -> None:
    """Make the folder, see whether it can be written, and bring along the best weights of a resumed training."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.check_writable(out)
    except OSError as error:
        what = f"cannot be written ({error.strerror})"
        raise BadInput(what, str(out), "choose a folder you may write to, with room") from error
    best = None if options.resume is None else options.resume.parent / BEST
    if best is not None and best.is_file() and not (out / BEST).exists():
        checkpoint.save(out / BEST, _read_checkpoint(best))


def _resume(trainer: ReferenceTrainer, content: Mapping[str, Any], options: TrainOptions) -> History:
    """Put the trainer where the checkpoint was taken; returns the history up to there."""
    path = Path(str(options.resume))
    _load_state(trainer, content["state"], path)
    if content["data_sha256"] != files.data_fingerprint(trainer.data):
        raise BadInput("was trained on other data", str(path), "give the same --data, or train anew without --resume")
    if options.seed is not None and options.seed != trainer.seed:
        raise BadInput(f"its training has seed {trainer.seed}", str(path), "leave out --seed")
    history = History(**content["history"])
    if (path.parent / BEST).is_file():
        return history
    # The weights of its best epoch are gone; the best from here on shall be kept instead.
    return replace(history, best_epoch=0, best_val_loss=math.inf)


def _load_state(trainer: ReferenceTrainer, state: Mapping[str, Any], path: Path) -> None:
    try:
        trainer.load_state(state)
    except BadInput as error:
        mend = "use the preset and data it was trained with"
        raise BadInput(f"does not fit: {error.what}", str(path), mend) from error


def _read_checkpoint(path: Path) -> dict[str, Any]:
    content = checkpoint.load(path)
    if not isinstance(content, dict) or content.get("family") != _FAMILY or _CONTENT_KEYS - content.keys():
        raise BadInput(f"is no checkpoint of {_FAMILY}", str(path), "give a file that train wrote for this family")
    return content


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what the command line is for
