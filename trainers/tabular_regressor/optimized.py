"""The tabular regressor's training after document 004 (`004_7171354e19579539.txt`): only what changes.

Apart from the switches it always recovers from running out of memory: a batch that does not fit is repeated in parts.

Shape suffixes: B rows of a batch, F features, K targets.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainers.contract import BadInput
from trainers.pytorch.clipping import clip_by_global_norm
from trainers.pytorch.loading import stop_workers
from trainers.pytorch.mixed_precision import automatic_dtype, renewed
from trainers.pytorch.ranks import Ranks
from trainers.switches import resolve
from trainers.tabular_regressor.config import SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import Batch, Feed
from trainers.tabular_regressor.document_004.memory import clear_gpu_memory
from trainers.tabular_regressor.model import regression_loss
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["NotEnoughMemory", "OptimizedTrainer"]

logger = logging.getLogger(__name__)

_MOST_PARTS = 8  # a batch is halved three times, then it is too large
_SMALLER = "make batch_size smaller"


class NotEnoughMemory(BadInput):
    """Memory runs out however small the parts of a batch; the trainer's state is that before the step."""


class OptimizedTrainer(ReferenceTrainer):
    """The reference with document 004's optimizations, each behind a switch.

    Args:
        config: as the reference's; it also says how many workers a loader has.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        switches: what is on; a switch not named here is as the configuration says (document 004: on).
        ranks: as the reference's; where memory runs out on one of several, the training ends.

    Attributes:
        num_parts: parts in which a batch is taken, their gradients adding up to its mean; 1 until memory runs out.

    """

    def __init__(  # noqa: PLR0913 - the reference's, and the switches
        self,
        config: RegressorConfig,
        data: Feed,
        *,
        device: torch.device,
        seed: int,
        switches: Mapping[str, bool] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        documented = {
            "mixed_precision": config.use_mixed_precision,
            "persistent_workers": config.persistent_workers,
        }
        self.switches = resolve(SWITCHES, {**documented, **(switches or {})})

        self._autocast_dtype = automatic_dtype(device)

        # --- The switches, bound here and read nowhere else ---
        self._num_workers = config.num_workers if self.switches["loader_workers"] else 0
        self._persistent_workers = self.switches["persistent_workers"]
        self._train_batch = self._mixed_precision_batch if self.switches["mixed_precision"] else super().train_batch
        self._outputs = self._autocast_outputs if self.switches["mixed_precision"] else self._plain_outputs
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.switches["mixed_precision"])
        # --- End of the switches ---

        self._fresh_scaler_state = self._scaler.state_dict()
        self.num_parts = 1
        self._num_applied = 0
        self._num_applied_before_epoch = 0
        super().__init__(config, data, device=device, seed=seed, ranks=ranks)
        self._first_parameter = next(self.model.parameters())
        self.optimizer.register_step_post_hook(self._count_applied_step)

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """Return a loader whose worker processes assemble batches ahead of time."""
        return self.data.loader(
            part,
            batch_size=self.config.batch_size,
            num_workers=self._num_workers,
            persistent_workers=self._persistent_workers,
            **self.loader_ranks(),
        )

    def train_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """One optimizer step, in mixed precision or as the reference's; in more parts each time that memory runs out.

        Returns:
            The batch's loss before the step.

        Raises:
            NotEnoughMemory: memory runs out even with the batch in eight parts; the trainer is as before the step.
            BadInput: memory ran out halfway through a change of the weights, which cannot be taken back.

        """
        while True:
            random, num_updates = self.random.installed(), self._num_updates()
            try:
                return self._attempt(features_BF, targets_BK)
            except torch.OutOfMemoryError:
                if self.ranks.number > 1:  # the others wait for gradients of the whole batch
                    raise
                self._check_no_weight_changed(num_updates)
            # Not inside the handler: there, the error still holds the frames in which the tensors live.
            self.random.reinstall(random)  # the parts draw the dropout masks of a first attempt
            self._make_room(len(features_BF))

    def _attempt(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        try:
            if self.num_parts == 1:
                return self._train_batch(features_BF, targets_BK)
            return self._batch_in_parts(features_BF, targets_BK)
        except BaseException:
            self._renew_scaler(self._scaler.state_dict())
            raise

    def _mixed_precision_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        self.optimizer.zero_grad()
        loss = regression_loss(self._autocast_outputs(features_BF), targets_BK)
        self._scaler.scale(self.ranks.weighted(loss)).backward()  # type: ignore[no-untyped-call]
        self._apply_gradients()
        return self.ranks.mean(loss).item()

    def _batch_in_parts(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """Take one step with the sum of the parts' gradients, each weighted by its share of the rows."""
        self.optimizer.zero_grad()
        num_parts = min(self.num_parts, len(features_BF))
        parts = zip(features_BF.tensor_split(num_parts), targets_BK.tensor_split(num_parts), strict=True)
        loss_sum = torch.zeros((), device=self.device)
        for features_PF, targets_PK in parts:
            share = len(features_PF) / len(features_BF)
            loss = regression_loss(self._outputs(features_PF), targets_PK) * share
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
        self._apply_gradients()
        return loss_sum.item()

    def _plain_outputs(self, features_BF: Tensor) -> Tensor:
        outputs_BK3: Tensor = self.network(features_BF)
        return outputs_BK3

    def _autocast_outputs(self, features_BF: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self._autocast_dtype):
            outputs_BK3: Tensor = self.network(features_BF)
        # What follows are squares and a mean, in float32: a float16 square overflows from 256 on.
        return outputs_BK3.float()

    def _apply_gradients(self) -> None:
        # Clipping first would compare the limit with gradients that are still multiplied by the scale.
        self._scaler.unscale_(self.optimizer)
        clip_by_global_norm(self.model.parameters(), self.config.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def _num_updates(self) -> float:
        """Count the optimizer's steps by its own count, of the first parameter."""
        state = self.optimizer.state.get(self._first_parameter)
        return float(state["step"]) if state else 0.0

    def _check_no_weight_changed(self, num_updates: float) -> None:
        if any(float(state["step"]) != num_updates for state in self.optimizer.state.values()):
            what = "memory ran out in the middle of changing the weights"
            raise BadInput(what, "training", "continue from the last checkpoint with a smaller network")
        if num_updates == 0:
            self.optimizer.state.clear()  # moments of which only some could be made

    def _make_room(self, num_rows: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        clear_gpu_memory()
        if self.num_parts >= min(_MOST_PARTS, num_rows):
            rows = math.ceil(num_rows / min(self.num_parts, num_rows))
            raise NotEnoughMemory(f"memory runs out even with {rows} row(s) at a time", "training", _SMALLER)
        self.num_parts *= 2
        logger.warning("memory ran out; from here on every batch is taken in %d parts", self.num_parts)

    def _renew_scaler(self, state: dict[str, Any]) -> None:
        self._scaler = renewed(self._scaler, self.device, state)

    def _count_applied_step(self, *_: object) -> None:
        # Counted where the optimizer steps: asking the scaler whether it did would wait for the device once more.
        self._num_applied += 1

    def _take_steps(self, n: int) -> None:
        applied_before = self._num_applied
        super()._take_steps(n)
        self._metrics["num_skipped_steps"] = self._metrics["num_steps"] - (self._num_applied - applied_before)

    def _begin_epoch(self, epoch: int) -> None:
        super()._begin_epoch(epoch)
        self._num_applied_before_epoch = self._num_applied

    def _advance_schedule(self) -> None:
        # An epoch in which the scaler skipped every step has not used its learning rate.
        if self._num_applied > self._num_applied_before_epoch:
            super()._advance_schedule()

    def state(self) -> dict[str, Any]:
        """Return the reference's state with the loss scale."""
        scaler = self._scaler.state_dict()
        if self._scaler.is_enabled():
            scaler["num_applied"] = self._num_applied - self._num_applied_before_epoch
        return {**super().state(), "scaler": scaler}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier; without a loss scale in it, start with a fresh one."""
        super().load_state(state)
        # A new scaler, because the old one may have been left between unscaling and updating by an exception.
        self._renew_scaler(state["scaler"] or self._fresh_scaler_state)
        # A tier that has no scaler skips no step.
        num_applied = state["scaler"].get("num_applied", self.step)
        self._num_applied_before_epoch = self._num_applied - num_applied

    def close(self) -> None:
        """Stop the workers."""
        super().close()
        for loader in (self.train_loader, self.val_loader):
            stop_workers(loader)
