"""The tabular regressor's training as it was before: document 004 (`004_7171354e19579539.txt`), `torch/train.py`.

Naive on purpose, a line per switch of the optimized tier:

- `mixed_precision`: forward, backward and update are float32 throughout.
- `loader_workers`: the training process assembles every batch itself, row by row.
- `persistent_workers`: there are no workers that could persist.

Also as it was, and left alone by document 004: `loss.item()` after every batch, clipping at 1, a schedule per epoch.

Shape suffixes: B rows of a batch, N rows, F features, K targets.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader

from trainers.contract import BadInput
from trainers.pytorch.clipping import clip_by_global_norm
from trainers.pytorch.loading import batch_size_of, order_of
from trainers.pytorch.randomness import RandomStream, derived_seed
from trainers.pytorch.ranks import Ranks
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import Batch, Feed, FloatArray, batches_of_epoch
from trainers.tabular_regressor.model import TabularRegressor, extract_final_predictions, regression_loss

__all__ = ["ReferenceTrainer"]

_STATE_KEYS = frozenset({"family", "architecture", "model", "optimizer", "scheduler", "scaler", "random", "progress"})


class ReferenceTrainer:
    """Trains a `TabularRegressor` with AdamW, one float32 batch after the other.

    Args:
        config: sizes and hyperparameters; the numbers of features and targets are the data's.
        data: a preprocessed data file, or loaders that somebody made of one.
        device: where the network lives; batches are moved there one by one.
        seed: of the weights, the order of the batches and dropout.
        ranks: which train together, each on its rows of every batch; this process alone without them.

    """

    phases: tuple[str, ...] = ("train",)

    def __init__(
        self, config: RegressorConfig, data: Feed, *, device: torch.device, seed: int, ranks: Ranks | None = None
    ) -> None:
        """Draw the weights on the CPU, so that they are the same on every device."""
        self.ranks = ranks or Ranks()
        self.ranks.check_batch_size(config.batch_size)
        self.config, self.data, self.device, self.seed = config, data, device, seed
        self.architecture = {
            "num_features": data.num_features,
            "num_targets": data.num_targets,
            "hidden_size": config.hidden_size,
            "num_layers": config.num_layers,
        }
        with RandomStream(derived_seed(seed, 0), torch.device("cpu")):
            self.model = TabularRegressor(**self.architecture, dropout=config.dropout).to(device)
        self.network = self.ranks.parallel(self.model)
        self.optimizer = AdamW(self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.scheduler = CosineAnnealingWarmRestarts(
            self.optimizer, config.restart_epochs, config.restart_factor, config.min_learning_rate
        )
        self.train_loader = self.make_loader("train")
        self.val_loader = self.make_loader("val")
        self.random = RandomStream(derived_seed(seed, 1), device)
        self.epoch = 0
        self.step = 0  # optimizer steps taken in this epoch
        self._epoch_loss_sum = 0.0
        self._num_left_out = 0  # batches of this epoch that no step was taken on; only the published tier has any
        self._batches: Iterator[Batch] | None = None
        self._metrics: dict[str, Any] = {"train_losses": [], "num_steps": 0, "num_skipped_steps": 0}

    @property
    def num_batches(self) -> int:
        """Optimizer steps in an epoch."""
        return len(self.train_loader)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the last call, see `contract.Trainer.metrics`.

        Also `epoch` (whole epochs trained), `step` (steps taken in the current one) and `learning_rate`; after
        `train_epoch` also `train_loss` (mean over that epoch's batches) and `val_loss`.
        """
        position = {"epoch": self.epoch, "step": self.step, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        return {**copy.deepcopy(self._metrics), **position}

    def train_epoch(self, phase: str = "train") -> None:
        """Train the rest of the epoch, validate, and move the schedule on; see `contract.Trainer.train_epoch`."""
        self._check_phase(phase)
        with self.random:
            self._take_steps(self.num_batches - self.step)
            self._metrics["train_loss"] = self._mean_train_loss()
            self._metrics["val_loss"] = self.ranks.agreed(self._validation_loss())
            self._advance_schedule()
        self._begin_epoch(self.epoch + 1)

    def train_steps(self, n: int, phase: str = "train") -> None:
        """Take `n` steps and nothing else; see `contract.Trainer.train_steps`."""
        self._check_phase(phase)
        if n < 0:
            raise ValueError(f"the number of steps must not be negative, but it is {n}")
        with self.random:
            self._take_steps(n)

    def evaluate(self, split: str) -> float:
        """Mean loss over the batches of `val` or `test`, without dropout and in float32."""
        return self._mean_loss(self.make_loader(split))

    def predict(self, features_NF: Tensor) -> FloatArray:
        """Predictions (N, K) for scaled features, on the scale of the scaled targets."""
        self.model.eval()
        with torch.no_grad():
            outputs = [self.model(features_BF.to(self.device)) for features_BF in torch.split(features_NF, 1024)]
        predictions_NK: FloatArray = extract_final_predictions(torch.cat(outputs), self.data.num_targets).cpu().numpy()
        return predictions_NK

    def synchronize(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def state(self) -> dict[str, Any]:
        """Snapshot of everything; see `contract.Trainer.state`."""
        return copy.deepcopy(
            {
                "family": "tabular_regressor",
                "architecture": self.architecture,
                "model": dict(self.model.state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": {},
                "random": self.random.state(),
                "progress": {
                    "seed": self.seed,
                    "epoch": self.epoch,
                    "step": self.step,
                    "epoch_loss_sum": self._epoch_loss_sum,
                    "num_left_out": self._num_left_out,
                },
            }
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier; see `contract.Trainer.load_state`."""
        self._check_state(state)
        # A copy, because the optimizer would otherwise keep the caller's tensors and write to them.
        state = copy.deepcopy(dict(state))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.random.load_state(state["random"])
        progress = state["progress"]
        self.seed, self.epoch, self.step = progress["seed"], progress["epoch"], progress["step"]
        self._epoch_loss_sum = progress["epoch_loss_sum"]
        self._num_left_out = progress.get("num_left_out", 0)  # version 0.1 had no such number
        self._batches = None

    def close(self) -> None:
        """Drop the iterator over the batches."""
        self._batches = None

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """Loader in the training process of `train` (shuffled), `val` or `test`."""
        return self.data.loader(part, batch_size=self.config.batch_size, **self.loader_ranks())

    def loader_ranks(self) -> dict[str, Ranks]:
        """Return the setting of a loader whose batches several ranks share."""
        return {"ranks": self.ranks} if self.ranks.is_parallel else {}

    def train_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """One optimizer step.

        Returns:
            The batch's loss before the step.

        """
        self.optimizer.zero_grad()
        loss = regression_loss(self.network(features_BF), targets_BK)
        self.ranks.weighted(loss).backward()  # type: ignore[no-untyped-call]
        clip_by_global_norm(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return self.ranks.mean(loss).item()

    def _take_steps(self, n: int) -> None:
        losses: list[float] = []
        self._metrics = {"train_losses": losses, "num_steps": 0, "num_skipped_steps": 0}
        self.model.train()
        for _ in range(n):
            try:
                features_BF, targets_BK = self._next_batch()
                loss = self.train_batch(features_BF.to(self.device), targets_BK.to(self.device))
            except BaseException:
                self._batches = None  # its next batch is no longer the one to go on with
                raise
            losses.append(loss)
            self._note_loss(loss)
            self.step += 1
            self._metrics["num_steps"] += 1

    def _note_loss(self, loss: float) -> None:
        self._epoch_loss_sum += loss

    def _next_batch(self) -> Batch:
        if self.step == self.num_batches:
            self._begin_epoch(self.epoch + 1)
        if self._batches is None:
            self._batches = batches_of_epoch(self.train_loader, self._order_seed(), self.epoch, self.step)
        if self.ranks.is_parallel:
            num_rows, size = len(order_of(self.train_loader) or ()), batch_size_of(self.train_loader)
            self.ranks.num_rows = min(size, num_rows - self.step * size)
        return next(self._batches)

    def _order_seed(self) -> int:
        """Return the seed from which the order of the rows in this epoch follows."""
        return self.seed

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch, self.step, self._epoch_loss_sum, self._num_left_out = epoch, 0, 0.0, 0
        self._batches = None

    def _mean_train_loss(self) -> float:
        num_taken = self.num_batches - self._num_left_out
        return self._epoch_loss_sum / num_taken if num_taken else math.nan

    def _advance_schedule(self) -> None:
        self.scheduler.step()

    def _validation_loss(self) -> float:
        return self._mean_loss(self.val_loader)

    def _mean_loss(self, loader: DataLoader[Batch]) -> float:
        """Mean of the batches' losses, as the original program takes it: the last, smaller batch counts as much."""
        self.model.eval()
        losses = []
        with torch.no_grad():
            for features_BF, targets_BK in loader:
                outputs_BK3 = self.model(features_BF.to(self.device))
                losses.append(regression_loss(outputs_BK3, targets_BK.to(self.device)).item())
        return sum(losses) / len(losses)

    def _check_phase(self, phase: str) -> None:
        if phase not in self.phases:
            raise ValueError(f"there is no phase {phase!r}, only {self.phases}")

    def _check_state(self, state: Mapping[str, Any]) -> None:
        mend = "give a state of this family and architecture"
        if state.get("family") != "tabular_regressor" or _STATE_KEYS - state.keys():
            raise BadInput("is no state of a tabular_regressor", "state", mend)
        theirs = state["architecture"]
        for name, ours in self.architecture.items():
            if theirs.get(name) != ours:
                raise BadInput(f"its {name} is {theirs.get(name)}, the trainer's is {ours}", "state", mend)
