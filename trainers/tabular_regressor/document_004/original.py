"""The seven functions that document 004 lists, as the program before it had them.

Their signatures are the document's. They train with the reference trainer, print what they do, and save plain weights.
What the two tiers share is imported: reading a file, splitting it, the plots and the prediction were not optimized.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader

from trainers.pytorch.devices import find_device
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import Scaling, read_arrays
from trainers.tabular_regressor.document_004.loaders import GivenLoaders, SplitLoader, plain_number, split_loaders
from trainers.tabular_regressor.document_004.model_files import load_state_dict_safely
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.document_004.plots import plot_losses, plot_predictions
from trainers.tabular_regressor.model import TabularRegressor, extract_final_predictions
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = [
    "extract_final_predictions",
    "load_and_preprocess_data",
    "load_state_dict_safely",
    "plot_losses",
    "plot_predictions",
    "setup_training",
    "train_model",
]


def load_and_preprocess_data(file_path: str | Path = "training_data.h5") -> tuple[Tensor, Tensor]:
    """Read X and Y, standardize X, scale Y by its median and quartiles.

    Returns:
        X (N, F) and Y (N, K), float32.

    Raises:
        BadInput: see `trainers.tabular_regressor.data.read_arrays`.

    """
    features_NF, targets_NK = read_arrays(Path(file_path))
    scaling = Scaling.of(features_NF, targets_NK)
    X, Y = scaling.scale_features(features_NF), scaling.scale_targets(targets_NK)
    return torch.from_numpy(X), torch.from_numpy(Y)


def setup_training(
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    batch_size: int = 32,
    val_split: float = 0.1,
    test_split: float = 0.1,
) -> tuple[SplitLoader, SplitLoader, SplitLoader]:
    """Split the rows and make the loaders for training, validation and test.

    Raises:
        BadInput: a size that is no size, tables that do not fit, or a part that would be empty.

    """
    sizes = {"batch_size": batch_size, "val_split": val_split, "test_split": test_split, "num_workers": 0}
    config = RegressorConfig().replace(**{name: plain_number(value) for name, value in sizes.items()})
    return split_loaders(X, Y, config, frozenset())


def train_model(  # noqa: PLR0913, PLR0917 - the document's signature
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    test_loader: DataLoader[Any],
    input_dim: int,
    output_dim: int,
    num_epochs: int = 300,
    model_name: str = "improved_model",
) -> tuple[TabularRegressor, list[float], list[float], float]:
    """Train in float32, keep the best weights, stop after 30 epochs without better ones, test.

    Returns:
        The model with its best weights, the training and validation loss of every epoch, and the test loss.

    """
    loaders = {"train": train_loader, "val": val_loader, "test": test_loader}
    files, config = ModelFiles(model_name), RegressorConfig().replace(num_epochs=plain_number(num_epochs))
    # Where torch.manual_seed was called before, the training is the same again.
    seed = int(torch.randint(2**62, ()))
    data = GivenLoaders(loaders, plain_number(input_dim), plain_number(output_dim))
    trainer = ReferenceTrainer(config, data, device=find_device(None), seed=seed)
    train_losses: list[float] = []
    val_losses: list[float] = []
    best, best_weights = float("inf"), copy.deepcopy(trainer.model.state_dict())
    since_best = 0
    for epoch in range(1, num_epochs + 1):
        trainer.train_epoch()
        train_losses.append(trainer.metrics["train_loss"])
        val_losses.append(trainer.metrics["val_loss"])
        print(f"epoch {epoch}/{num_epochs}: training loss {train_losses[-1]:.6f}, validation loss {val_losses[-1]:.6f}")  # noqa: T201
        since_best += 1
        if val_losses[-1] < best:
            best, since_best = val_losses[-1], 0
            best_weights = copy.deepcopy(trainer.model.state_dict())
            torch.save(best_weights, files.best_model)
        if epoch % config.checkpoint_every == 0:
            torch.save(trainer.model.state_dict(), files.checkpoint(f"epoch_{epoch}"))
        if since_best >= config.patience:
            print(f"no better validation loss for {config.patience} epochs")  # noqa: T201 - it is what it did
            break
    trainer.model.load_state_dict(best_weights)
    test_loss = trainer.evaluate("test")
    print(f"test loss {test_loss:.6f}")  # noqa: T201 - it is what it did
    trainer.close()
    return trainer.model, train_losses, val_losses, test_loss
