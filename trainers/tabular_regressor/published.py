"""The tabular regressor's training as the authors of document 004 published it, defects included.

It is the optimized tier with what their program does otherwise, a switch each. With a switch off it does what the
optimized tier does in its place: in float32 and without workers, as that one's `train_model` for callers who ask for
neither.

Shape suffixes: B rows of a batch, F features, K targets.
"""

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainers.pytorch.randomness import derived_seed
from trainers.switches import resolve
from trainers.tabular_regressor.config import PUBLISHED_SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import Batch, Feed
from trainers.tabular_regressor.document_004.memory import clear_gpu_memory
from trainers.tabular_regressor.model import regression_loss
from trainers.tabular_regressor.optimized import OptimizedTrainer

__all__ = ["PublishedTrainer"]

logger = logging.getLogger(__name__)

_LEFT_OUT = math.nan
"""Loss of a batch that was left out: this very number, which no computed loss is."""
_ORDER = 2
"""Number for which the seed of the changed order is derived; 0 is that of the weights, 1 that of dropout."""


class PublishedTrainer(OptimizedTrainer):
    """The training of the published program, each of its defects behind a switch.

    Args:
        config: sizes and hyperparameters.
        data: a preprocessed data file, or loaders that somebody made of one.
        device: where the network lives.
        seed: of the weights, the order of the batches and dropout.
        switches: what is on; a switch not named here is on.

    """

    def __init__(
        self,
        config: RegressorConfig,
        data: Feed,
        *,
        device: torch.device,
        seed: int,
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        on = resolve(PUBLISHED_SWITCHES, switches)
        has_autocast = device.type == "cuda" or not on["autocast_on_cuda_only"]
        mixed_precision = on["mixed_precision_by_default"] and config.use_mixed_precision and has_autocast
        documented = {
            "mixed_precision": mixed_precision,
            "loader_workers": on["workers_by_default"],
            "persistent_workers": on["workers_by_default"],
        }

        # --- The switches, bound here and read nowhere else ---
        self._skips_batch = on["skips_batch_on_oom"]
        self._changes_order = on["workers_change_order"]
        self._validates_mixed = on["validates_in_mixed_precision"] and mixed_precision
        # --- End of the switches ---

        super().__init__(config, data, device=device, seed=seed, switches=documented)
        self.switches = on

    def train_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """Make one optimizer step, or none where memory runs out.

        Returns:
            The batch's loss before the step; NaN for a batch that is left out.

        Raises:
            RuntimeError: memory ran out earlier, after the gradients were unscaled and before the scale was updated.

        """
        if not self._skips_batch:
            return super().train_batch(features_BF, targets_BK)
        try:
            return self._train_batch(features_BF, targets_BK)
        except torch.OutOfMemoryError:
            logger.error("memory ran out; the batch is left out")  # noqa: TRY400 - one line
        clear_gpu_memory()
        return _LEFT_OUT

    def _note_loss(self, loss: float) -> None:
        if loss is _LEFT_OUT:
            self._num_left_out += 1
        else:
            super()._note_loss(loss)

    def _order_seed(self) -> int:
        persists = self.train_loader.num_workers > 0 and self.train_loader.persistent_workers
        return derived_seed(self.seed, _ORDER) if self._changes_order and persists and self.epoch else self.seed

    def _mean_loss(self, loader: DataLoader[Batch]) -> float:
        if not self._validates_mixed:
            return super()._mean_loss(loader)
        self.model.eval()
        losses = []
        with torch.no_grad():
            for features_BF, targets_BK in loader:
                outputs_BK3 = self._autocast_outputs(features_BF.to(self.device))
                losses.append(regression_loss(outputs_BK3, targets_BK.to(self.device)).item())
        return sum(losses) / len(losses)
