"""The functions of document 004 as its authors published them, where they differ from those in `api`.

Mixed precision and four workers are on where nobody asked for them, and a configuration overrules the arguments that a
caller gives beside it without a word.
"""

import contextlib
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader

from trainers.pytorch.devices import find_device
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.document_004.api import Result, finish_training, load_and_preprocess_data
from trainers.tabular_regressor.document_004.loaders import GivenLoaders, SplitLoader, plain_number, split_loaders
from trainers.tabular_regressor.document_004.logs import TrainingMetrics
from trainers.tabular_regressor.document_004.model_files import load_best_weights
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.document_004.training_config import TrainingConfig
from trainers.tabular_regressor.published import PublishedTrainer

__all__ = ["load_and_preprocess_data", "setup_training", "train_model"]


def setup_training(  # noqa: PLR0913, PLR0917 - the program's signature
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    batch_size: int = 32,
    val_split: float = 0.1,
    test_split: float = 0.1,
    num_workers: int = 4,
) -> tuple[SplitLoader, SplitLoader, SplitLoader]:
    """Split the rows and make loaders with four persistent workers each for training, validation and test.

    Raises:
        BadInput: a size that is no size, tables that do not fit, or a part that would be empty.

    """
    given = {"batch_size": batch_size, "val_split": val_split, "test_split": test_split, "num_workers": num_workers}
    config = RegressorConfig().replace(**{name: plain_number(value) for name, value in given.items()})
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
    config: TrainingConfig | None = None,
) -> Result:
    """Train in mixed precision where there is a GPU, keep the best weights, stop early, test.

    The arguments are those of `original.train_model` and the configuration, with which `hidden_size`, `num_layers`,
    `dropout_rate` and `fixed_epochs` mean nothing.

    Returns:
        The model with its best weights, the training and validation loss of every epoch, and the test loss.

    Raises:
        Interrupted: Ctrl-C came; the training is saved.
        BadInput: something that was given cannot be used, or a file cannot be written.

    """
    if config is None:
        config = TrainingConfig(hidden_size=hidden_size, num_layers=num_layers, dropout_rate=dropout_rate)
        if not enable_early_stop:
            config.update(num_epochs=fixed_epochs)
    settings = config.regressor_config()
    if not enable_early_stop:
        settings = settings.replace(patience=settings.num_epochs)
    loaders = {"train": train_loader, "val": val_loader, "test": test_loader}
    data = GivenLoaders(loaders, plain_number(input_dim), plain_number(output_dim))
    files = ModelFiles(model_name)
    seed = int(torch.randint(2**62, ()))
    trainer = PublishedTrainer(settings, data, device=find_device(None), seed=seed)
    with contextlib.closing(trainer):
        load_best_weights(trainer.model, files.best_model)
        return finish_training(trainer, "published", files, TrainingMetrics())
