"""Names of the files that a training leaves behind, and which of them exist. Imports no framework."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ModelFiles", "check_existing_model_files", "check_existing_plots"]


@dataclass(frozen=True)
class ModelFiles:
    """Names of everything that a training with one model name writes.

    Attributes:
        model_name: what every name begins with; it may begin with a folder.

    """

    model_name: str = "improved_model"

    @classmethod
    def of(cls, path: Path) -> "ModelFiles":
        """Find the names that go with one of a training's `.pth` files."""
        stem = re.sub(r"_(best_model|checkpoint_(last|interrupted|epoch_\d+))\.pth$", "", path.name)
        return cls() if stem == path.name else cls(str(path.parent / stem))

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.best_model.parent

    @property
    def best_model(self) -> Path:
        """Best weights so far."""
        return Path(f"{self.model_name}_best_model.pth")

    @property
    def config(self) -> Path:
        """Configuration of the training."""
        return Path(f"{self.model_name}_config.json")

    @property
    def training_log(self) -> Path:
        """Everything that was logged."""
        return Path(f"{self.model_name}_training.log")

    @property
    def loss_analysis(self) -> Path:
        """Plot of the losses."""
        return Path(f"{self.model_name}_loss_analysis.png")

    @property
    def predictions(self) -> Path:
        """Return the path of the plot of predictions and truth."""
        return Path(f"{self.model_name}_predictions.png")

    def checkpoint(self, label: str) -> Path:
        """Checkpoint of one occasion: `epoch_50`, `last` or `interrupted`."""
        return Path(f"{self.model_name}_checkpoint_{label}.pth")

    def checkpoints(self) -> list[Path]:
        """Checkpoints that exist, the newest first."""
        start = self.checkpoint("").name.removesuffix(".pth")
        # Not by a pattern: a model's name may hold the characters that mean something in one.
        found = [path for path in _entries(self.folder) if path.name.startswith(start) and path.suffix == ".pth"]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def check_existing_plots(model_name: str = "improved_model") -> dict[str, Path]:
    """Find the plots that exist already, by `loss_analysis` and `predictions`; empty when there is none."""
    files = ModelFiles(model_name)
    plots = {"loss_analysis": files.loss_analysis, "predictions": files.predictions}
    return {kind: path for kind, path in plots.items() if path.is_file()}


def check_existing_model_files(model_name: str = "improved_model") -> dict[str, Path]:
    """Find what a training left behind: `best_model`, `config`, `training_log` and each `checkpoint_...`.

    Returns:
        Paths by kind, of existing files alone; checkpoints from the newest to the oldest.

    """
    files = ModelFiles(model_name)
    single = {"best_model": files.best_model, "config": files.config, "training_log": files.training_log}
    start = f"{Path(model_name).name}_"
    found = {kind: path for kind, path in single.items() if path.is_file()}
    return found | {path.stem.removeprefix(start): path for path in files.checkpoints()}
