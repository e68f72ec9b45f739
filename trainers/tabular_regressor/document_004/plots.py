"""Document 004's plots. Matplotlib is imported when one is drawn, and no window is ever opened.

Shape suffixes: B rows of a batch, P plotted rows, K targets.
"""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.common import checkpoint
from trainers.contract import BadInput
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.model import extract_final_predictions

__all__ = ["plot_losses", "plot_predictions"]

_PANELS_IN_A_ROW = 3


def plot_losses(train_losses: Sequence[float], val_losses: Sequence[float], model_name: str = "improved_model") -> Path:
    """Draw the losses by epoch to `<model_name>_loss_analysis.png`, on a linear and on a logarithmic scale.

    Args:
        train_losses: training loss of every epoch.
        val_losses: validation loss of every epoch; the lowest one is marked.
        model_name: what the file's name begins with; it may begin with a folder.

    Returns:
        The file's path; an existing file is replaced.

    Raises:
        BadInput: there are no losses, or not as many of both, or the file cannot be written.

    """
    if not train_losses or len(train_losses) != len(val_losses):
        what = f"there are {len(train_losses)} training and {len(val_losses)} validation losses"
        raise BadInput(what, "plot_losses", "give one of each for every epoch")
    figure = _figure(width=11, height=4)
    epochs = range(1, len(val_losses) + 1)
    finite = [epoch for epoch in epochs if math.isfinite(val_losses[epoch - 1])]
    best = min(finite, key=lambda epoch: val_losses[epoch - 1], default=None)
    for index, scale in enumerate(("linear", "log"), start=1):
        axes = figure.add_subplot(1, 2, index)
        axes.plot(epochs, train_losses, marker=".", label="training")
        axes.plot(epochs, val_losses, marker=".", label="validation")
        if best is not None:
            axes.axvline(best, color="grey", linestyle=":", label=f"lowest, epoch {best}: {val_losses[best - 1]:.4g}")
        axes.set(xlabel="epoch", ylabel="loss", yscale=scale, title=f"loss, {scale} scale")
        axes.legend()
    return _write(figure, ModelFiles(model_name).loss_analysis)


def plot_predictions(
    model: nn.Module,
    val_loader: Iterable[tuple[Tensor, Tensor]],
    output_dim: int,
    stride: int = 10,
    model_name: str = "improved_model",
) -> Path:
    """Plot predictions and truth, one panel per target, to `<model_name>_predictions.png`.

    Args:
        model: maps features (B, F) to (B, K, 3); it is left in the mode it is in.
        val_loader: batches of (features_BF, targets_BK).
        output_dim: number of targets K.
        stride: one of every `stride` rows is drawn.
        model_name: what the file's name begins with; it may begin with a folder.

    Returns:
        The file's path; an existing file is replaced.

    Raises:
        BadInput: the stride is below 1, there are no rows, or the file cannot be written.

    """
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise BadInput(f"stride is {stride!r}", "plot_predictions", "make it a whole number of at least 1")
    predictions_PK, targets_PK = (table[::stride] for table in _predict(model, val_loader, output_dim))
    num_rows = math.ceil(output_dim / _PANELS_IN_A_ROW)
    figure = _figure(width=12, height=3 * num_rows)
    for target in range(output_dim):
        axes = figure.add_subplot(num_rows, min(output_dim, _PANELS_IN_A_ROW), target + 1)
        axes.plot(targets_PK[:, target], label="truth")
        axes.plot(predictions_PK[:, target], label="prediction", alpha=0.8)
        axes.set(title=f"target {target + 1}", xlabel=f"validation row / {stride}")
        axes.legend()
    return _write(figure, ModelFiles(model_name).predictions)


def _predict(model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], output_dim: int) -> tuple[Any, Any]:
    """Predictions and truth of every row, (N, K) each."""
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    was_training = model.training
    model.eval()
    predictions, targets = [], []
    try:
        with torch.no_grad():
            for features_BF, targets_BK in loader:
                outputs_BK3 = model(features_BF.to(device))
                predictions.append(extract_final_predictions(outputs_BK3, output_dim).float().cpu().numpy())
                targets.append(targets_BK.float().cpu().numpy())
    finally:
        model.train(was_training)
    if not targets:
        raise BadInput("the loader has no batch", "plot_predictions", "give it rows")
    return np.concatenate(predictions), np.concatenate(targets)


def _figure(width: float, height: float) -> Any:
    """Make a figure that belongs to no window and to no global list of figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import, and seldom needed
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Any, path: Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    checkpoint.write(path, picture.getvalue())
    return path
