"""Implement the family's commands: make data, train, predict.

Shape suffixes: N rows, K targets.
"""

import contextlib
import importlib.util
import logging
import signal
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.common import checkpoint
from trainers.common.interruption import SharedStopSignals
from trainers.common.options import TrainOptions
from trainers.common.progress import EpochProgress
from trainers.contract import BadInput
from trainers.pytorch.devices import best_device
from trainers.pytorch.ranks import join_ranks
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor import data as files
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import RegressionData, Rows, Scaling
from trainers.tabular_regressor.document_004.logs import TrainingMetrics, close_logging, setup_logging
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.document_004.plots import plot_losses, plot_predictions
from trainers.tabular_regressor.document_004.training_config import load_training_config
from trainers.tabular_regressor.reference import ReferenceTrainer
from trainers.tabular_regressor.training import TrainingRun, read_training, resume

__all__ = ["make_data", "predict", "train"]

logger = logging.getLogger(__name__)


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
        Interrupted: Ctrl-C or SIGTERM came; the training is saved.

    """
    # The document sets four workers; PyTorch's advice to set fewer is none that the user of a command can follow.
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    resumed = None if options.resume is None else read_training(options.resume)
    config = _chosen_config(options, resumed)
    tier = options.tier_over(resumed)
    model_files = _chosen_files(options)
    _refuse_inputs(model_files, options)
    data = files.find_data(config, options.data)
    switches = options.switches_over(resumed, tier)
    device = FAMILY.find_device(options.device)
    ranks = join_ranks(device)
    trainer: ReferenceTrainer = FAMILY.assemble(
        tier, config, data=data, device=device, seed=options.seed or 0, switches=switches, ranks=ranks
    )
    with contextlib.closing(trainer), contextlib.ExitStack() as stack:
        if ranks.is_first:
            stack.enter_context(checkpoint.occupied(model_files.folder))
            _chosen_files(options)  # another training may have ended there meanwhile
        metrics = TrainingMetrics()
        if resumed is not None and options.resume is not None:
            metrics = resume(trainer, options.resume, resumed, model_files, options.seed)
        with ranks.naming_lost_ones():
            test_loss = _run(trainer, model_files, metrics, tier, data)
        ranks.leave()
        if not ranks.is_first:
            return
        _plot(trainer, model_files, metrics)
    _say(
        f"best epoch {metrics.best_epoch} of {metrics.num_epochs}: validation loss {metrics.best_val_loss:.6f}, "
        f"test loss {test_loss:.6f}; weights {model_files.best_model}"
    )


def _run(
    trainer: ReferenceTrainer, model_files: ModelFiles, metrics: TrainingMetrics, tier: str, data: RegressionData
) -> float:
    labels = {
        "family": FAMILY.name,
        "tier": tier,
        "switches": dict(getattr(trainer, "switches", {})),
        "config": trainer.config.to_dict(),
        "data_sha256": data.fingerprint(),
        "scaling": data.scaling.to_dict(),
    }
    # The console gets the progress instead of the log's lines, and one line for what goes wrong.
    ranks = trainer.ranks
    log = setup_logging(model_files.model_name, console_level=None) if ranks.is_first else _silent_logger()
    try:
        with EpochProgress(trainer.config.num_epochs, metrics.num_epochs, is_shown=ranks.is_first) as progress:
            stop = SharedStopSignals(ranks.largest, signal.SIGTERM, is_alone=not ranks.is_parallel)
            return TrainingRun(trainer, model_files, labels, metrics, log, stop, progress).run()
    finally:
        close_logging(log)


def _silent_logger() -> logging.Logger:
    log = logging.Logger("rank")  # noqa: LOG001 - it belongs to no tree of loggers
    log.disabled = True
    return log


def _plot(trainer: ReferenceTrainer, model_files: ModelFiles, metrics: TrainingMetrics) -> None:
    """Draw both plots, where there is something to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no plots were drawn: matplotlib is not installed")
        return
    plot_losses(metrics.train_losses, metrics.val_losses, model_files.model_name)
    plot_predictions(trainer.model, trainer.val_loader, trainer.data.num_targets, model_name=model_files.model_name)


def predict(path: Path, data: Path | None, out: Path | None) -> None:
    """Write predictions on the original scale for every row of a file, and say how far off they are.

    The error is that of the test rows when the file is what the checkpoint was trained on, and else that of all rows.

    Raises:
        BadInput: the checkpoint or the data cannot be used, or the output exists already or cannot be written.

    """
    content = read_training(path)
    if content["scaling"] is None:
        what = "does not say how its data was scaled, because it was trained on scaled data"
        raise BadInput(what, str(path), "apply its weights with load_state_dict_safely")
    config, scaling = RegressorConfig.from_dict(content["config"]), Scaling.from_dict(content["scaling"])
    target = out or path.parent / "predictions.h5"
    if target.exists():
        raise BadInput("exists already", str(target), "choose another file with --out or remove it first")
    source = files.offline_data_path(config) if data is None else data
    loaded = files.load_data(source, config, scaling)
    trainer = ReferenceTrainer(config, loaded, device=torch.device(best_device()), seed=0)
    trainer.load_state(content["state"])
    scaled_NK = trainer.predict(loaded.features_NF)
    predictions_NK = scaling.unscale_targets(scaled_NK)
    with np.errstate(over="ignore"):  # what overflows becomes infinite
        files.write_arrays(target, {"predictions": predictions_NK.astype(loaded.precision)})
    same_data = loaded.fingerprint() == content["data_sha256"]
    rows = loaded.splits.test if same_data else np.arange(len(scaled_NK))
    _say(f"{_errors(scaled_NK, loaded, rows)} on {len(rows)} {'test rows' if same_data else 'rows'}; wrote {target}")


def _errors(scaled_NK: files.FloatArray, data: RegressionData, rows: Rows) -> str:
    """Root mean square error of every target over some rows, on the original scale, in words."""
    truth_NK = data.targets_NK.numpy()
    difference_NK = (scaled_NK[rows] - truth_NK[rows]).astype(np.float64) * data.scaling.iqr_K
    errors_K = np.sqrt(np.mean(difference_NK**2, axis=0))
    return "test error (RMSE) " + ", ".join(f"{error:.6g}" for error in errors_K)


def _chosen_config(options: TrainOptions, resumed: Mapping[str, Any] | None) -> RegressorConfig:
    """Take the preset's configuration or, without a preset, the resumed checkpoint's; then what else was chosen."""
    config = options.config_over(resumed, RegressorConfig)
    if options.config is not None:
        config = load_training_config(options.config).regressor_config(config)
    return config if options.epochs is None else config.replace(num_epochs=options.epochs)


def _chosen_files(options: TrainOptions) -> ModelFiles:
    """Name the training's files; a folder that holds those of another training is refused."""
    resumed = None if options.resume is None else ModelFiles.of(options.resume)
    name = ModelFiles().model_name if resumed is None else Path(resumed.model_name).name
    beside = None if options.resume is None else options.resume.parent
    model_files = ModelFiles(str((options.out or beside or Path("runs") / FAMILY.name) / name))
    if beside is not None and beside.resolve() == model_files.folder.resolve():
        return model_files
    mend = "choose another folder with --out, or continue with --resume"
    for path in (model_files.best_model, *model_files.checkpoints()):
        if path.exists():
            raise BadInput("holds a checkpoint already", str(path), mend)
    return model_files


def _refuse_inputs(model_files: ModelFiles, options: TrainOptions) -> None:
    """Refuse to write a file of the training over one that it reads; a training that continues has its own files."""
    if options.resume is not None and options.resume.parent.resolve() == model_files.folder.resolve():
        return
    outputs = (model_files.config, model_files.training_log, model_files.loss_analysis, model_files.predictions)
    for name, read in (("--config", options.config), ("--data", options.data)):
        for path in outputs:
            if read is not None and read.exists() and path.exists() and path.samefile(read):
                what = f"would be replaced by a file of the training, {path.name}"
                raise BadInput(what, f"{name} {read}", "choose another folder with --out, or copy the file first")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what the command line is for
