"""The seven functions that document 004 lists, as the program before it had them.

They have that program's signatures, train with the reference trainer, print their progress, and save plain weights.
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
from trainers.tabular_regressor.data import FloatArray, Scaling, read_arrays
from trainers.tabular_regressor.document_004.loaders import GivenLoaders, SplitLoader, plain_number, split_loaders
from trainers.tabular_regressor.document_004.model_files import load_best_weights, load_state_dict_safely
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


def load_and_preprocess_data(file_path: str | Path = "training_data.h5") -> tuple[FloatArray, FloatArray]:
    """Read X and Y, standardize X, scale Y by its median and quartiles.

    Returns:
        X (N, F) and Y (N, K), NumPy arrays of float32.

    Raises:
        BadInput: see `trainers.tabular_regressor.data.read_arrays`.

    """
    features_NF, targets_NK = read_arrays(Path(file_path))
    scaling = Scaling.of(features_NF, targets_NK)
    return scaling.scale_features(features_NF), scaling.scale_targets(targets_NK)


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


def train_model(  # noqa: PLR0913, PLR0917 - the program's signature
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any],
    test_loader: DataLoader[Any],
    input_dim: int,
    output_dim: int,
    hidden_size: int = 512,
    num_layers: int = 4,
    dropout_rate: float = 0.1,
    model_name: str = "improved_model",
    enable_early_stop: bool = True,  # noqa: FBT001, FBT002 - the program's signature
    fixed_epochs: int = 300,
) -> tuple[TabularRegressor, list[float], list[float], float]:
    """Train in float32, keep the best weights, stop early, test.

    It begins with the weights in `<model_name>_best_model.pth` if there is such a file, and replaces them.

    Args:
        train_loader: batches of (features_BF, targets_BK) to train on.
        val_loader: batches that decide which weights are the best.
        test_loader: batches on which the best weights are tested.
        input_dim: number of features F.
        output_dim: number of targets K.
        hidden_size: width of the network.
        num_layers: residual blocks.
        dropout_rate: probability of zeroing an activation.
        model_name: beginning of every file's name; it may begin with a folder.
        enable_early_stop: whether 30 epochs without a lower validation loss end the training, and 300 in any case.
        fixed_epochs: epochs to train without early stopping.

    Returns:
        The model with its best weights, the training and validation loss of every epoch, and the test loss.

    """
    loaders = {"train": train_loader, "val": val_loader, "test": test_loader}
    files = ModelFiles(model_name)
    chosen = {"hidden_size": hidden_size, "num_layers": num_layers, "dropout": dropout_rate}
    if not enable_early_stop:
        chosen["num_epochs"] = fixed_epochs
    config = RegressorConfig().replace(**{name: plain_number(value) for name, value in chosen.items()})
    # Where torch.manual_seed was called before, the training is the same again.
    seed = int(torch.randint(2**62, ()))
    data = GivenLoaders(loaders, plain_number(input_dim), plain_number(output_dim))
    trainer = ReferenceTrainer(config, data, device=find_device(None), seed=seed)
    load_best_weights(trainer.model, files.best_model)
    train_losses: list[float] = []
    val_losses: list[float] = []
    best, best_weights = float("inf"), copy.deepcopy(trainer.model.state_dict())
    since_best = 0
    for epoch in range(1, config.num_epochs + 1):
        trainer.train_epoch()
        train_losses.append(trainer.metrics["train_loss"])
        val_losses.append(trainer.metrics["val_loss"])
        losses = f"training loss {train_losses[-1]:.6f}, validation loss {val_losses[-1]:.6f}"
        print(f"epoch {epoch}/{config.num_epochs}: {losses}")  # noqa: T201 - it is what it does
        since_best += 1
        if val_losses[-1] < best:
            best, since_best = val_losses[-1], 0
            best_weights = copy.deepcopy(trainer.model.state_dict())
            torch.save(best_weights, files.best_model)
        if epoch % config.checkpoint_every == 0:
            torch.save(trainer.model.state_dict(), files.checkpoint(f"epoch_{epoch}"))
        if enable_early_stop and since_best >= config.patience:
            print(f"no better validation loss for {config.patience} epochs")  # noqa: T201 - it is what it did
            break
    trainer.model.load_state_dict(best_weights)
    test_loss = trainer.evaluate("test")
    print(f"test loss {test_loss:.6f}")  # noqa: T201 - it is what it did
    trainer.close()
    return trainer.model, train_losses, val_losses, test_loss
