"""The tabular regressor's training as fast as the hardware allows: the reference's work, nothing left out.

Rows, batches, dropout masks, network, loss and optimizer are the reference's; only how they are computed changes.

Shape suffixes: N rows, B rows of a batch, F features, H hidden units, K targets, W weights; I inputs of a
layer, O its outputs.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader

from trainers.pytorch.clipping import clip_by_global_norm, clipping_divisor
from trainers.pytorch.compiling import compile_each_size
from trainers.pytorch.cuda_graphs import (
    Captured,
    LearningRates,
    begin_moments,
    capture,
    captures_graphs,
    changed_by,
    keep_tensors,
)
from trainers.pytorch.devices import compiles_for
from trainers.pytorch.flat_weights import FlatWeights
from trainers.pytorch.loading import EpochSampler
from trainers.pytorch.mixed_precision import multiplies_bfloat16
from trainers.pytorch.onednn import gains_by_onednn, has_onednn, onednn_linear
from trainers.pytorch.optimizer_state import align_moments, keep_kernel_options, portable_state
from trainers.switches import resolve
from trainers.tabular_regressor.config import FASTEST_SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import Batch, RegressionData
from trainers.tabular_regressor.fused_gradient import FusedGradient, can_fuse, compiler_takes_source
from trainers.tabular_regressor.model import regression_loss
from trainers.tabular_regressor.reference import ReferenceTrainer

__all__ = ["FastestTrainer", "ResidentLoader"]

_WIDE = 256
"""Hidden units from which on a CPU multiplies in bfloat16 faster than it converts; at 64 it is the slower way."""
_STEPS_A_GRAPH = 256
"""The most steps of one graph: of each step the driver keeps some hundred nodes."""
MIN_STEPS_TO_COMPILE = 40_000
"""Steps of a training from which on a CPU compiling, some 40 s, costs less time than it saves, at least 1 ms a step."""

_Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
_Differentiated = tuple[Tensor, Tensor | None]
"""A loss, and the norm of all gradients where it is known."""


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
        yield from map(self.take, torch.split(self.order(), self.batch_size))

    def order(self) -> Tensor:
        """Return the numbers of the rows (N) in the sampler's order, on the device."""
        return torch.tensor(list(self.sampler or ()), dtype=torch.int64).to(self._features_NF.device)

    def take(self, rows_B: Tensor) -> Batch:
        """Return the batch of some rows.

        Not many batches at once, of which each is a view: where its memory begins decides how its sums are rounded.
        """
        return self._features_NF.index_select(0, rows_B), self._targets_NK.index_select(0, rows_B)


class _Scored(nn.Module):
    """A network with its loss: what is differentiated as a whole."""

    def __init__(self, network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._loss = network, loss

    def forward(self, features_BF: Tensor, targets_BK: Tensor) -> Tensor:
        return self._loss(features_BF, targets_BK)


class FastestTrainer(ReferenceTrainer):
    """The reference computed faster, each way of doing so behind a switch.

    Args:
        config: as the reference's.
        data: a preprocessed data file.
        device: as the reference's.
        seed: as the reference's.
        switches: what is on; a switch not named here is on where device and sizes make it pay.

    Attributes:
        captures_epochs: whether the steps of a whole epoch are replayed, where fewer steps are taken one by one.

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
            "onednn_products": gains_by_onednn(device) and config.hidden_size >= _WIDE,
            "bfloat16": multiplies_bfloat16(device) and (on_cuda or config.hidden_size >= _WIDE),
            "deferred_metrics": on_cuda,
            "whole_epoch_graph": on_cuda,
        }
        chosen = {**of_device, **(switches or {})}
        can_gain = chosen["bfloat16"] and can_fuse(device, config.num_layers)
        if "fused_gradient" not in chosen:
            chosen["fused_gradient"] = can_gain and compiler_takes_source()
        fuses = chosen["fused_gradient"] and can_gain
        pays_off = compiles_for(device) and pays_off_compiling(config, data) and not fuses
        chosen.setdefault("compiled_loss", on_cuda or pays_off)
        self.switches = on = resolve(FASTEST_SWITCHES, chosen)

        # --- The switches, bound here and read nowhere else ---
        self._make_loader = self._resident_loader if on["resident_data"] else super().make_loader
        by_onednn = on["onednn_products"] and has_onednn(device)
        self._exact_outputs = self._onednn_outputs if by_onednn else self._plain_outputs
        self._outputs = self._mixed_outputs if on["bfloat16"] else self._exact_outputs
        self._note = self._note_later if on["deferred_metrics"] else self._note_at_once
        self._clip_and_step = self._step_that_clips if on["fused_optimizer"] else self._step_after_clipping
        super().__init__(config, data, device=device, seed=seed)
        self._flat = FlatWeights(self.model) if on["compiled_loss"] or fuses else None
        weights_of = self._with_rounded if on["bfloat16"] else FlatWeights.views
        fused = FusedGradient(self.model, self._flat, config) if fuses and self._flat is not None else None
        self._differentiate = self._differentiate_loss if fused is None else partial(self._fill_gradient, fused)
        self._loss: Callable[[Tensor, Tensor], Tensor] = self._loss_of_batch
        if self._flat is not None and fused is None:
            self._loss = self._compiled(self._flat, weights_of)
        self._weights = list(self.model.parameters()) if self._flat is None else [self._flat.buffer_W]
        # Captured steps take their rows out of what lies on the device.
        captures = on["whole_epoch_graph"] and on["resident_data"] and captures_graphs(device)
        if on["fused_optimizer"] or self._flat is not None or captures:
            self._build_optimizer(fused=on["fused_optimizer"], capturable=captures)
        self.captures_epochs = captures
        self._advance = self._replay_epoch if captures else self._advance_by_one
        self._validate = self._replay_validation if captures else super()._validation_loss
        self._loading = partial(keep_tensors, self.optimizer) if captures else nullcontext
        # --- End of the switches ---

        self._pending: list[Tensor] = []  # losses still on the device
        self._captured: dict[int, tuple[Captured[Tensor], Tensor]] = {}
        self._captured_validation: Captured[Tensor] | None = None
        self._rates = LearningRates(self.optimizer, device=device)

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """Return the reference's loader, or one of rows resident on the device if that switch is on."""
        return self._make_loader(part)

    def train_batch(self, features_BF: Tensor, targets_BK: Tensor) -> float:
        """One optimizer step; see the reference's."""
        return self._update(features_BF, targets_BK).item()

    def state(self) -> dict[str, Any]:
        """Return the reference's state, independent of the optimizer's kernels and the weights' memory layout."""
        state = {**super().state(), "optimizer": portable_state(self.optimizer)}
        if self._flat is not None:
            state["model"] = {name: weight.clone() for name, weight in state["model"].items()}
            state["optimizer"] = self._flat.spread(state["optimizer"])
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier, and keep this optimizer's kernels and memory layout."""
        self._check_state(state)
        theirs = state["optimizer"] if self._flat is None else self._flat.gathered(state["optimizer"])
        with self._loading():
            super().load_state({**state, "optimizer": keep_kernel_options(self.optimizer, theirs)})
        align_moments(self.optimizer)

    def close(self) -> None:
        """Give back the captured graphs and their memory too."""
        self.drop_graphs()
        super().close()

    def drop_graphs(self) -> None:
        """Forget the captured graphs; the next epoch is captured again."""
        self._captured.clear()
        self._captured_validation = None

    def _build_optimizer(self, *, fused: bool, capturable: bool) -> None:
        config = self.config
        self.optimizer = AdamW(
            self._weights,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=fused or None,
            capturable=capturable,
        )
        self.scheduler = CosineAnnealingWarmRestarts(
            self.optimizer, config.restart_epochs, config.restart_factor, config.min_learning_rate
        )
        if capturable:
            begin_moments(self.optimizer)

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
        loss, norm = self._differentiate(features_BF, targets_BK)
        self._clip_and_step(norm)
        return loss

    def _differentiate_loss(self, features_BF: Tensor, targets_BK: Tensor) -> _Differentiated:
        """Set the weights' gradients."""
        self.optimizer.zero_grad()
        loss = self._loss(features_BF, targets_BK)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), None

    def _fill_gradient(self, fused: FusedGradient, features_BF: Tensor, targets_BK: Tensor) -> _Differentiated:
        """Set the gradient of the buffer; return the loss and the gradient's norm."""
        self._weights[0].grad = fused.gradient_W
        return fused(features_BF, targets_BK)

    def _step_after_clipping(self, norm: Tensor | None) -> None:
        del norm
        clip_by_global_norm(self._weights, self.config.clip_norm)
        self.optimizer.step()

    def _step_that_clips(self, norm: Tensor | None) -> None:
        """Divide by what unscales with a `GradScaler`, for which the fused kernel has its place."""
        divisor = clipping_divisor(self._weights, self.config.clip_norm, norm)
        self.optimizer.grad_scale = divisor  # type: ignore[attr-defined]
        self.optimizer.step()

    def _compiled(
        self, flat: FlatWeights, weights_of: Callable[[FlatWeights, Tensor], dict[str, Tensor]]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Compile the loss of a batch as a function of the buffer."""
        scored = _Scored(self.model, self._loss_of_batch)

        # Its own random numbers would be other dropout masks than the reference's.
        @partial(compile_each_size, options={"fallback_random": True})
        def loss(buffer_W: Tensor, features_BF: Tensor, targets_BK: Tensor) -> Tensor:
            weights = {f"network.{name}": weight for name, weight in weights_of(flat, buffer_W).items()}
            return cast("Tensor", functional_call(scored, weights, (features_BF, targets_BK)))

        return partial(loss, flat.buffer_W)

    def _with_rounded(self, flat: FlatWeights, buffer_W: Tensor) -> dict[str, Tensor]:
        """Return all weights, those of linear layers but the last rounded to bfloat16, in one pass over the buffer."""
        weights, rounded = flat.views(buffer_W), flat.views(buffer_W.detach().to(torch.bfloat16))
        layers = [name for name, layer in self.model.named_modules() if isinstance(layer, nn.Linear)]
        names = [f"{layer}.{kind}" for layer in layers if layer != "output_proj" for kind in ("weight", "bias")]
        return {
            **weights,
            **{name: _InBfloat16.apply(weights[name], rounded[name]) for name in names},  # type: ignore[no-untyped-call]
        }

    def _loss_of_batch(self, features_BF: Tensor, targets_BK: Tensor) -> Tensor:
        return regression_loss(self._outputs(features_BF), targets_BK)

    def _plain_outputs(self, features_BF: Tensor) -> Tensor:
        return cast("Tensor", self.model(features_BF))

    def _onednn_outputs(self, features_BF: Tensor) -> Tensor:
        """Do what the model does, linear layers but the last by oneDNN."""
        return self._outputs_of(features_BF, onednn_linear)

    def _mixed_outputs(self, features_BF: Tensor) -> Tensor:
        """Do what the model does; what linear layers but the last make is added up and normalized in float32."""
        return self._outputs_of(features_BF, self._rounded)

    def _outputs_of(self, features_BF: Tensor, linear: _Linear) -> Tensor:
        """Do what the model does, linear layers but the last, which is narrow, by `linear`."""
        hidden_BH = _through((self.model.input_proj, self.model.input_norm), features_BF, linear)
        for block in self.model.layers:
            hidden_BH = hidden_BH + _through(cast("nn.Sequential", block), hidden_BH, linear)
        outputs = self.model.output_proj(hidden_BH)
        return cast("Tensor", outputs.view(-1, self.model.num_targets, 3))

    def _rounded(self, values_BI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
        """Multiply in bfloat16; the product comes back in float32."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return functional.linear(values_BI, weight_OI, bias_O).float()

    def _take_steps(self, n: int) -> None:
        self._metrics = {"train_losses": [], "num_steps": 0, "num_skipped_steps": 0}
        self.model.train()
        try:
            while self._metrics["num_steps"] < n:
                self._advance(n - self._metrics["num_steps"])
        except BaseException:
            self._batches = None  # its next batch is no longer the one to go on with
            raise
        finally:
            self._settle()

    def _count_steps(self, losses: Tensor) -> None:
        self._note(losses.reshape(-1))
        self.step += losses.numel()
        self._metrics["num_steps"] += losses.numel()

    def _advance_by_one(self, n: int) -> None:
        """Take one step of the `n` that are asked for."""
        del n
        features_BF, targets_BK = self._next_batch()
        self._count_steps(self._update(features_BF.to(self.device), targets_BK.to(self.device)))

    def _replay_epoch(self, n: int) -> None:
        """Take the steps of a whole epoch by replaying graphs, or one where fewer are asked for or some are done."""
        if self.step == self.num_batches:
            self._begin_epoch(self.epoch + 1)
        if self.step or n < self.num_batches:
            self._advance_by_one(n)
            return
        loader = cast("ResidentLoader", self.train_loader)
        cast("EpochSampler", loader.sampler).seek(self._order_seed(), self.epoch, 0)
        for rows_N in torch.split(loader.order(), _STEPS_A_GRAPH * loader.batch_size):
            if len(rows_N) not in self._captured:
                self._captured[len(rows_N)] = self._capture_steps(rows_N)
            captured, held_N = self._captured[len(rows_N)]
            self._rates.update()
            held_N.copy_(rows_N)
            self._count_steps(captured.replay().clone())

    def _capture_steps(self, rows_N: Tensor) -> tuple[Captured[Tensor], Tensor]:
        """Capture the steps on a number of rows; return them with the tensor that holds the numbers of the rows."""
        loader, held_N = cast("ResidentLoader", self.train_loader), rows_N.clone()
        batches = torch.split(held_N, loader.batch_size)

        def losses(batches: Iterable[Tensor] = batches) -> Tensor:
            return torch.stack([self._update(*loader.take(rows_B)) for rows_B in batches])

        # The first batch and the last, which may have fewer rows, are of all sizes that there are.
        warm_up = partial(losses, {len(rows_B): rows_B for rows_B in batches}.values())
        with self._rates.installed():
            return capture(losses, changed_by(self.optimizer), self.device, warm_up=warm_up), held_N

    def _replay_validation(self) -> float:
        """Return the mean loss of the validation's batches by replaying a graph of all of them."""
        if len(self.val_loader) > _STEPS_A_GRAPH:
            return super()._validation_loss()
        self.model.eval()
        if self._captured_validation is None:
            self._captured_validation = capture(partial(self._batch_losses, self.val_loader), (), self.device)
        return _mean(self._captured_validation.replay())

    def _note_at_once(self, losses: Tensor) -> None:
        self._note_losses(losses.tolist())

    def _note_later(self, losses: Tensor) -> None:
        self._pending.append(losses)

    def _settle(self) -> None:
        """Fetch the losses that are still on the device, all at once, and note them in their order."""
        pending, self._pending = self._pending, []
        if pending:
            self._note_losses(torch.cat(pending).tolist())

    def _note_losses(self, losses: list[float]) -> None:
        self._metrics["train_losses"] += losses
        for loss in losses:
            self._epoch_loss_sum += loss

    def _begin_epoch(self, epoch: int) -> None:
        self._settle()  # into the sum of the epoch that they are of
        super()._begin_epoch(epoch)

    def _validation_loss(self) -> float:
        return self._validate()

    def _mean_loss(self, loader: DataLoader[Batch]) -> float:
        """Return the mean of the batches' losses, which are fetched from the device all at once."""
        self.model.eval()
        return _mean(self._batch_losses(loader))

    def _batch_losses(self, loader: DataLoader[Batch]) -> Tensor:
        """Return the loss of each batch of a loader, on the device."""
        with torch.no_grad():
            losses = [
                regression_loss(self._exact_outputs(features_BF.to(self.device)), targets_BK.to(self.device))
                for features_BF, targets_BK in loader
            ]
        return torch.stack(losses)


def _mean(losses: Tensor) -> float:
    return float(sum(losses.tolist())) / len(losses)


class _InBfloat16(torch.autograd.Function):
    """Take a weight's rounded values, with the gradient of the weight in float32."""

    @staticmethod
    def forward(context: Any, weight: Tensor, rounded: Tensor) -> Tensor:
        del context, weight
        return rounded.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        del context
        return gradient.float(), None


def _through(layers: Iterable[nn.Module], values: Tensor, linear: _Linear) -> Tensor:
    """Pass values through layers, of which `linear` computes the linear ones."""
    for layer in layers:
        values = linear(values, layer.weight, layer.bias) if isinstance(layer, nn.Linear) else layer(values)
    return values


def pays_off_compiling(config: RegressorConfig, data: RegressionData) -> bool:
    """Whether a training to its end takes enough steps for compiling to break even."""
    return config.num_epochs * math.ceil(len(data.splits.train) / config.batch_size) >= MIN_STEPS_TO_COMPILE
