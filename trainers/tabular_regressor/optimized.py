"""The tabular regressor's training after document 004 (`004_7171354e19579539.txt`): only what changes.

Shape suffixes: B rows of a batch, F features, K targets.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainers.clipping import clip_by_global_norm
from trainers.switches import resolve
from trainers.tabular_regressor.config import SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import Batch, EpochSampler, RegressionData, Rows, make_loader, stop_workers
from trainers.tabular_regressor.model import regression_loss
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["OptimizedTrainer"]


class OptimizedTrainer(ReferenceTrainer):
    """The reference with document 004's optimizations, each behind a switch.

    Args:
        config: as the reference's; it also says how many workers a loader has.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        switches: what is on; a switch not named here is as the configuration says (document 004: on).

    """

    def __init__(
        self,
        config: RegressorConfig,
        data: RegressionData,
        *,
        device: torch.device,
        seed: int,
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        documented = {
            "mixed_precision": config.use_mixed_precision,
            "persistent_workers": config.persistent_workers,
        }
        self.switches = resolve(SWITCHES, {**documented, **(switches or {})}, default=True)

        # --- The switches, bound here and read nowhere else ---
        self._num_workers = config.num_workers if self.switches["loader_workers"] else 0
        self._persistent_workers = self.switches["persistent_workers"]
        self._train_batch = self._mixed_precision_batch if self.switches["mixed_precision"] else super().train_batch
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.switches["mixed_precision"])
        # --- End of the switches ---

        # float16 is what a GPU is fast at, and what document 004's autocast takes there; a CPU has bfloat16.
        self._autocast_dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
        self._fresh_scaler_state = self._scaler.state_dict()
        self._num_applied = 0
        super().__init__(config, data, device=device, seed=seed)
        self.optimizer.register_step_post_hook(self._count_applied_step)

    def make_loader(self, rows: EpochSampler | Rows) -> DataLoader[Batch]:
        """As the reference's, with workers that assemble the batches ahead of time."""
        return make_loader(
            rows.dataset if isinstance(rows, EpochSampler) else self.data.part(rows),
            self.config.batch_size,
            sampler=rows if isinstance(rows, EpochSampler) else None,
            num_workers=self._num_workers,
            persistent_workers=self._persistent_workers,
        )

    def train_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """One optimizer step, in mixed precision or as the reference's; returns the batch's loss before it."""
        return self._train_batch(features_BF, targets_BK)

    def _mixed_precision_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, dtype=self._autocast_dtype):
            outputs_BK3 = self.model(features_BF)
        # Squares and the mean in float32: a float16 square overflows from 256 on.
        loss = regression_loss(outputs_BK3.float(), targets_BK)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        # Clipping first would compare the limit with gradients that are still multiplied by the scale.
        self._scaler.unscale_(self.optimizer)
        clip_by_global_norm(self.model.parameters(), self.config.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return loss.item()

    def _count_applied_step(self, *_: object) -> None:
        # Counted where the optimizer steps: asking the scaler whether it did would wait for the device once more.
        self._num_applied += 1

    def _take_steps(self, n: int) -> None:
        applied_before = self._num_applied
        super()._take_steps(n)
        self._metrics["num_skipped_steps"] = self._metrics["num_steps"] - (self._num_applied - applied_before)

    def _advance_schedule(self) -> None:
        # An epoch in which the scaler skipped every step has not used its learning rate.
        steps = self._metrics["num_steps"]
        if steps == 0 or self._metrics["num_skipped_steps"] < steps:
            super()._advance_schedule()

    def state(self) -> dict[str, Any]:
        """As the reference's, with the loss scale."""
        return {**super().state(), "scaler": self._scaler.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As the reference's; a state without a loss scale starts with a fresh one."""
        super().load_state(state)
        # A new scaler, because the old one may have been left between unscaling and updating by an exception.
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._scaler.is_enabled())
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(copy.copy(state["scaler"] or self._fresh_scaler_state))

    def close(self) -> None:
        """Stop the workers."""
        super().close()
        for loader in (self.train_loader, self.val_loader):
            stop_workers(loader)
