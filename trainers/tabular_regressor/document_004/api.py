"""The functions and classes that document 004 names, with the signatures it fixes; the optimized tier's.

Calls written for the functions of `original` work unchanged and give the same numbers: mixed precision and workers are
for those who ask for them. What is not asked for and happens all the same is what the document lists: a log, a
configuration file, checkpoints with all that a resume needs, and recovery from running out of memory. The published
program is in `published`.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader

from trainers.common import checkpoint
from trainers.common.interruption import StopSignals
from trainers.pytorch.devices import find_device
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.document_004.loaders import GivenLoaders, SplitLoader, plain_number, split_loaders
from trainers.tabular_regressor.document_004.logs import TrainingMetrics, close_logging, event, setup_logging
from trainers.tabular_regressor.document_004.memory import clear_gpu_memory, show_gpu_memory_usage
from trainers.tabular_regressor.document_004.model_files import load_best_weights, load_state_dict_safely
from trainers.tabular_regressor.document_004.model_names import (
    ModelFiles,
    check_existing_model_files,
    check_existing_plots,
)
from trainers.tabular_regressor.document_004.original import load_and_preprocess_data
from trainers.tabular_regressor.document_004.plots import plot_losses, plot_predictions
from trainers.tabular_regressor.document_004.training_config import (
    TrainingConfig,
    load_training_config,
    save_training_config,
)
from trainers.tabular_regressor.model import TabularRegressor, extract_final_predictions
from trainers.tabular_regressor.optimized import OptimizedTrainer
from trainers.tabular_regressor.training import TrainingRun, read_training, resume

__all__ = [
    "TrainingConfig",
    "TrainingMetrics",
    "check_existing_model_files",
    "check_existing_plots",
    "clear_gpu_memory",
    "extract_final_predictions",
    "load_and_preprocess_data",
    "load_state_dict_safely",
    "load_training_config",
    "plot_losses",
    "plot_predictions",
    "save_training_config",
    "setup_logging",
    "setup_training",
    "show_gpu_memory_usage",
    "train_model",
]


class _DefaultInt(int):
    """Mark a default, to distinguish it from the same number given by a caller."""


class _DefaultFloat(float):
    """Mark a default that is a float, as `_DefaultInt` does."""


Result = tuple[TabularRegressor, list[float], list[float], float]


def setup_training(  # noqa: PLR0913, PLR0917 - the document's signature
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    batch_size: int = _DefaultInt(32),
    val_split: float = _DefaultFloat(0.1),
    test_split: float = _DefaultFloat(0.1),
    num_workers: int = _DefaultInt(0),
    persistent_workers: bool = True,  # noqa: FBT001, FBT002 - the document's signature
    *,
    config: TrainingConfig | None = None,
) -> tuple[SplitLoader, SplitLoader, SplitLoader]:
    """Split the rows and make the loaders for training, validation and test.

    Args:
        X: scaled features (N, F).
        Y: scaled targets (N, K).
        batch_size: rows a step.
        val_split: fraction of the rows for validation.
        test_split: fraction of the rows for the test.
        num_workers: processes that assemble batches, for each loader.
        persistent_workers: whether those outlive an epoch; means nothing without any.
        config: decides what the other arguments leave open. Where both decide, the argument counts, with a warning.

    Raises:
        BadInput: a size that is no size, tables that do not fit, or a part that would be empty.

    """
    given = {
        "batch_size": batch_size, "val_split": val_split, "test_split": test_split, "num_workers": num_workers,
        "persistent_workers": persistent_workers,
    }  # fmt: skip
    chosen = {name for name, value in given.items() if not isinstance(value, _DefaultInt | _DefaultFloat)}
    if persistent_workers is True:
        chosen.discard("persistent_workers")
    values = {name: plain_number(value) for name, value in given.items()}
    settings = RegressorConfig()
    if config is not None:
        settings = config.regressor_config()
        _warn_of_two_choices(config, {name: values[name] for name in chosen}, "setup_training's argument", depth=2)
        values = {name: values[name] for name in chosen}
        chosen |= config.chosen & given.keys()
    return split_loaders(X, Y, settings.replace(**values), frozenset(chosen))


def _warn_of_two_choices(config: TrainingConfig, kept: Mapping[str, Any], of: str, *, depth: int) -> None:
    """Warn of every value that the configuration and somebody else chose differently; `depth` calls from the user's."""
    for name in sorted(config.chosen & kept.keys()):
        if getattr(config, name) != kept[name]:
            warnings.warn(
                f"{name} is {getattr(config, name)!r} in the configuration, but {of} {kept[name]!r} counts",
                UserWarning,
                stacklevel=depth + 1,
            )


def train_model(  # noqa: PLR0913, PLR0917 - the program's signature
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    test_loader: DataLoader[Any],
    input_dim: int,
    output_dim: int,
    hidden_size: int = _DefaultInt(512),
    num_layers: int = _DefaultInt(4),
    dropout_rate: float = _DefaultFloat(0.1),
    model_name: str = "improved_model",
    enable_early_stop: bool = True,  # noqa: FBT001, FBT002 - the program's signature
    fixed_epochs: int = 300,
    config: TrainingConfig | None = None,
    *,
    device: str | torch.device | None = None,
    seed: int | None = None,
    resume_from: bool | str | Path = False,
    skip_completed: bool = False,
) -> Result:
    """Train, keep the best weights, stop early, test; write a log, the configuration and checkpoints on the way.

    Unless it resumes a checkpoint it begins with the weights in `<model_name>_best_model.pth`, if there is such a file,
    and replaces them by its own. Interrupted by Ctrl-C it saves everything to
    `<model_name>_checkpoint_interrupted.pth` and raises `trainers.contract.Interrupted`, a KeyboardInterrupt.

    Args:
        train_loader: batches of (features_BF, targets_BK) to train on.
        val_loader: those that decide which weights are the best.
        test_loader: those on which the best weights are tested.
        input_dim: number of features F.
        output_dim: number of targets K.
        hidden_size: width of the network.
        num_layers: residual blocks.
        dropout_rate: probability of zeroing an activation.
        model_name: what every file's name begins with; it may begin with a folder.
        enable_early_stop: whether `patience` epochs without a lower validation loss end the training.
        fixed_epochs: epochs to train without early stopping; means nothing with it.
        config: hyperparameters, and whether mixed precision is used; without one, those of the program before, in
            float32. What it decides about the loaders counts if `setup_training` was not given other values. Else,
            and for loaders from elsewhere, the loaders count, with a warning.
        device: where to train; by default the GPU, if there is one.
        seed: of weights, order and dropout; by default drawn from PyTorch's global generator.
        resume_from: a checkpoint to continue, or True for the newest of this `model_name`, if there is one.
        skip_completed: whether a finished training of the same name, configuration and data is returned as it is.

    Returns:
        The model with its best weights, the training and validation loss of every epoch, and the test loss.

    Raises:
        Interrupted: see above.
        BadInput: something that was given cannot be used, a file cannot be written, or memory does not suffice.

    """
    loaders = {"train": train_loader, "val": val_loader, "test": test_loader}
    given = {"hidden_size": hidden_size, "num_layers": num_layers, "dropout": dropout_rate}
    chosen = {name: value for name, value in given.items() if not isinstance(value, _DefaultInt | _DefaultFloat)}
    if not enable_early_stop:
        chosen |= {"num_epochs": fixed_epochs, "patience": fixed_epochs}
    settings = _settings(config, chosen)
    overrides = {} if config is None else _settle(config, loaders)
    if config is None or overrides.get("batch_size") is None:
        settings = settings.replace(batch_size=train_loader.batch_size or settings.batch_size)
    data = GivenLoaders(loaders, plain_number(input_dim), plain_number(output_dim), overrides)
    files = ModelFiles(model_name)
    start = _found_checkpoint(resume_from, files)
    seed_of_run = int(torch.randint(2**62, ())) if seed is None else seed
    trainer = OptimizedTrainer(settings, data, device=find_device(device), seed=seed_of_run)
    with contextlib.closing(trainer):
        if skip_completed and (done := _completed(trainer, files)) is not None:
            return done
        metrics = TrainingMetrics()
        if start is None:
            load_best_weights(trainer.model, files.best_model)
        else:
            metrics = resume(trainer, start, read_training(start), files, seed)
        return finish_training(trainer, "optimized", files, metrics)


def finish_training(trainer: OptimizedTrainer, tier: str, files: ModelFiles, metrics: TrainingMetrics) -> Result:
    """Train to the end with the files that document 004 lists, and return what `train_model` does.

    Args:
        trainer: set to where the training begins or continues.
        tier: the trainer's.
        files: what the files are called.
        metrics: empty, or those up to where the training continues.

    Raises:
        Interrupted: as `train_model`.
        BadInput: a file cannot be written, or memory does not suffice.

    """
    labels = {
        "family": FAMILY.name,
        "tier": tier,
        "switches": trainer.switches,
        "config": trainer.config.to_dict(),
        "data_sha256": trainer.data.fingerprint(),
        "scaling": None,  # the data came scaled
    }
    checkpoint.make_folder(files.folder)
    with _logging(files.model_name) as log:
        test_loss = TrainingRun(trainer, files, labels, metrics, log, StopSignals()).run()
    return trainer.model, metrics.train_losses, metrics.val_losses, test_loss


@contextlib.contextmanager
def _logging(model_name: str) -> Iterator[Any]:
    log = setup_logging(model_name)
    try:
        yield log
    finally:
        close_logging(log)


def _settings(config: TrainingConfig | None, chosen: Mapping[str, Any]) -> RegressorConfig:
    """Return the configuration of a training, in which arguments that a caller chose count for more."""
    if config is None:
        # The program before trained in float32 throughout.
        settings = RegressorConfig().replace(use_mixed_precision=False)
    else:
        settings = config.regressor_config()
        _warn_of_two_choices(config, chosen, "train_model's argument", depth=3)
    return settings.replace(**{name: plain_number(value) for name, value in chosen.items()})


def _settle(config: TrainingConfig, loaders: Mapping[str, DataLoader[Any]]) -> dict[str, Any]:
    """Which settings of the loaders the configuration changes, with a warning for those it wants to but may not."""
    train = loaders["train"]
    names = ("batch_size", "num_workers", "persistent_workers")
    fixed = {"val_split", "test_split"}
    if isinstance(train, SplitLoader):
        fixed |= train.chosen
        present = {name: getattr(train, name) for name in (*names, "val_split", "test_split")}
    else:
        fixed |= set(names)
        present = {name: getattr(train, name) for name in names}
    kept = {name: value for name, value in present.items() if name in fixed}
    if not present["num_workers"]:
        kept.pop("persistent_workers", None)
    _warn_of_two_choices(config, kept, "the loaders'", depth=3)
    return {name: getattr(config, name) for name in names if name in config.chosen - fixed}


def _found_checkpoint(resume_from: bool | str | Path, files: ModelFiles) -> Path | None:  # noqa: FBT001 - see train_model
    if isinstance(resume_from, bool):
        return next(iter(files.checkpoints()), None) if resume_from else None
    return Path(resume_from)


def _completed(trainer: OptimizedTrainer, files: ModelFiles) -> Result | None:
    """Return the result of a finished training of the same configuration and data, if there is one."""
    last = files.checkpoint("last")
    if not last.is_file() or not files.best_model.is_file():
        return None
    content = read_training(last)
    same = content["config"] == trainer.config.to_dict() and content["data_sha256"] == trainer.data.fingerprint()
    if not same or "test_loss" not in content:
        return None
    trainer.load_state(read_training(files.best_model)["state"])
    metrics = TrainingMetrics.from_dict(content["history"])
    with _logging(files.model_name) as log:
        log.info(event("skipped", reason="completed before", **metrics.summary(), best_model=files.best_model))
    return trainer.model, metrics.train_losses, metrics.val_losses, content["test_loss"]
