"""The tabular regressor's training as fast as the hardware allows: the reference's work, nothing left out.

Rows, batches, dropout masks, network, loss and optimizer are the reference's; only how they are computed changes.

Shape suffixes: N rows, B rows of a batch, F features, H hidden units, K targets.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader

from trainers.clipping import clip_by_global_norm
from trainers.fused import align_moments, portable_state, with_kernels_of
from trainers.loading import EpochSampler
from trainers.mixed_precision import multiplies_bfloat16
from trainers.switches import resolve
from trainers.tabular_regressor.config import FASTEST_SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import Batch, RegressionData
from trainers.tabular_regressor.model import regression_loss
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["FastestTrainer", "ResidentLoader"]

_WIDE = 256
"""Hidden units from which on a CPU multiplies in bfloat16 faster than it converts; at 64 it is the slower way."""


class ResidentLoader:
    """Batches of rows that lie on the device, in the order of a loader over the same rows.

    Args:
        features_NF: of all rows of the part.
        targets_NK: of the same rows.
        batch_size: rows a batch; the last one may have fewer.
        sampler: the order of the rows; without one they come as they lie.

    """

    def __init__(self, features_NF: Tensor, targets_NK: Tensor, batch_size: int, sampler: EpochSampler | None) -> None:
        """Keep the rows as they are."""
        self.batch_size, self.sampler = batch_size, sampler
        self._features_NF, self._targets_NK = features_NF, targets_NK

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return math.ceil(len(self._features_NF) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Take the rows of each batch out of all rows, by numbers that come to the device once an epoch."""
        if self.sampler is None:
            yield from zip(
                torch.split(self._features_NF, self.batch_size),
                torch.split(self._targets_NK, self.batch_size),
                strict=True,
            )
            return
        order = torch.tensor(list(self.sampler), dtype=torch.int64).to(self._features_NF.device)
        for rows_B in torch.split(order, self.batch_size):
            yield self._features_NF.index_select(0, rows_B), self._targets_NK.index_select(0, rows_B)


class FastestTrainer(ReferenceTrainer):
    """The reference computed faster, each way of doing so behind a switch.

    Args:
        config: as the reference's.
        data: a preprocessed data file.
        device: as the reference's.
        seed: as the reference's.
        switches: what is on; a switch not named here is on where device and sizes make it pay.

    Raises:
        BadInput: an unknown switch.

    """

    data: RegressionData

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
        on_cuda = device.type == "cuda"
        of_device = {
            "bfloat16": multiplies_bfloat16(device) and (on_cuda or config.hidden_size >= _WIDE),
            "compiled_loss": on_cuda,
            "deferred_metrics": on_cuda,
        }
        self.switches = on = resolve(FASTEST_SWITCHES, {**of_device, **(switches or {})})

        # --- The switches, bound here and read nowhere else ---
        self._make_loader = self._resident_loader if on["resident_data"] else super().make_loader
        self._outputs = self._mixed_outputs if on["bfloat16"] else self._plain_outputs
        self._note = self._note_later if on["deferred_metrics"] else self._note_at_once
        self._loss: Callable[[Tensor, Tensor], Tensor] = self._loss_of_batch
        if on["compiled_loss"]:
            # Its own random numbers would be other dropout masks than the reference's.
            self._loss = torch.compile(self._loss, options={"fallback_random": True})
        super().__init__(config, data, device=device, seed=seed)
        if on["fused_optimizer"]:
            self._build_fused_optimizer()
        # --- End of the switches ---

        self._pending: list[Tensor] = []  # losses still on the device

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """As the reference's; of rows on the device where those are resident."""
        return self._make_loader(part)

    def train_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """One optimizer step; see the reference's."""
        return self._update(features_BF, targets_BK).item()

    def state(self) -> dict[str, Any]:
        """As the reference's, whatever the optimizer's kernels."""
        return {**super().state(), "optimizer": portable_state(self.optimizer)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As the reference's."""
        self._check_state(state)
        super().load_state({**state, "optimizer": with_kernels_of(self.optimizer, state["optimizer"])})
        align_moments(self.optimizer)

    def _build_fused_optimizer(self) -> None:
        config = self.config
        self.optimizer = AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.scheduler = CosineAnnealingWarmRestarts(
            self.optimizer, config.restart_epochs, config.restart_factor, config.min_learning_rate
        )

    def _resident_loader(self, part: str) -> DataLoader[Batch]:
        rows = getattr(self.data.splits, part)
        sampler = EpochSampler(self.data.part(rows)) if part == "train" else None
        numbers = torch.from_numpy(rows)
        features_NF, targets_NK = (
            table[numbers].to(self.device) for table in (self.data.features_NF, self.data.targets_NK)
        )
        resident = ResidentLoader(features_NF, targets_NK, self.config.batch_size, sampler)
        return cast("DataLoader[Batch]", resident)

    def _update(self, features_BF: Tensor, targets_BK: Tensor) -> Tensor:
        """Do the reference's step; the loss stays on the device."""
        self.optimizer.zero_grad()
        loss = self._loss(features_BF, targets_BK)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_by_global_norm(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _loss_of_batch(self, features_BF: Tensor, targets_BK: Tensor) -> Tensor:
        return regression_loss(self._outputs(features_BF), targets_BK)

    def _plain_outputs(self, features_BF: Tensor) -> Tensor:
        return cast("Tensor", self.model(features_BF))

    def _mixed_outputs(self, features_BF: Tensor) -> Tensor:
        """Do what the model does; what linear layers make is added up and normalized in float32."""
        hidden_BH = self._through(self.model.input, features_BF)
        for block in self.model.blocks:
            hidden_BH = hidden_BH + self._through(cast("nn.Sequential", block.layers), hidden_BH)
        outputs = self.model.output(hidden_BH)
        return cast("Tensor", outputs.view(-1, self.model.num_targets, 3))

    def _through(self, layers: nn.Sequential, hidden_BH: Tensor) -> Tensor:
        for layer in layers:
            if isinstance(layer, nn.Linear):
                with torch.autocast(self.device.type, torch.bfloat16):
                    hidden_BH = layer(hidden_BH)
                hidden_BH = hidden_BH.float()
            else:
                hidden_BH = layer(hidden_BH)
        return hidden_BH

    def _take_steps(self, n: int) -> None:
        self._metrics = {"train_losses": [], "num_steps": 0, "num_skipped_steps": 0}
        self.model.train()
        try:
            for _ in range(n):
                features_BF, targets_BK = self._next_batch()
                self._note(self._update(features_BF.to(self.device), targets_BK.to(self.device)))
                self.step += 1
                self._metrics["num_steps"] += 1
        except BaseException:
            self._batches = None  # its next batch is no longer the one to go on with
            raise
        finally:
            self._settle()

    def _note_at_once(self, loss: Tensor) -> None:
        self._note_losses([loss.item()])

    def _note_later(self, loss: Tensor) -> None:
        self._pending.append(loss)

    def _settle(self) -> None:
        """Fetch the losses that are still on the device, all at once, and note them in their order."""
        pending, self._pending = self._pending, []
        if pending:
            self._note_losses(torch.stack(pending).tolist())

    def _note_losses(self, losses: list[float]) -> None:
        self._metrics["train_losses"] += losses
        for loss in losses:
            self._epoch_loss_sum += loss

    def _begin_epoch(self, epoch: int) -> None:
        self._settle()  # into the sum of the epoch that they are of
        super()._begin_epoch(epoch)

    def _mean_loss(self, loader: DataLoader[Batch]) -> float:
        """As the reference's, with one fetch for all batches."""
        self.model.eval()
        with torch.no_grad():
            losses = [
                regression_loss(self.model(features_BF.to(self.device)), targets_BK.to(self.device))
                for features_BF, targets_BK in loader
            ]
        return float(sum(torch.stack(losses).tolist())) / len(losses)
