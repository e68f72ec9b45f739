"""The text-to-image training after document 003 (`003_530fe25f9ac715cb.txt`): only what changes.

Shape suffixes: B items of a batch, C channels, H and W rows and columns of pixels, E embedded text, Z noise.
"""

import copy
import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from trainers.contract import BadInput
from trainers.pytorch.mixed_precision import automatic_dtype, renewed
from trainers.pytorch.ranks import Ranks
from trainers.switches import resolve
from trainers.text_to_image.config import SWITCHES, TextToImageConfig
from trainers.text_to_image.data.items import Batch, CaptionData
from trainers.text_to_image.model import discriminator_loss, entropy_of_logits, entropy_of_probabilities, generator_loss
from trainers.text_to_image.reference import NOISE, SECOND_NOISE, ReferenceTrainer

__all__ = ["OptimizedTrainer"]


class OptimizedTrainer(ReferenceTrainer):
    """The reference with document 003's changes and its future optimizations, each behind a switch.

    Args:
        config: as the reference's; it also says what each switch changes a value to.
        data: as the reference's.
        device: as the reference's.
        seed: as the reference's.
        log: as the reference's.
        switches: what is on; a switch not named here is as document 003 has it.
        ranks: as the reference's.

    Attributes:
        config: the configuration with the values of the switches that are on.

    Raises:
        BadInput: an unknown switch, `compiled_networks` where there is no C++ compiler for the CPU's code, or that or
            `gradient_accumulation` with ranks.

    """

    def __init__(  # noqa: PLR0913 - the reference's, and the switches
        self,
        config: TextToImageConfig,
        data: CaptionData,
        *,
        device: torch.device,
        seed: int,
        log: Callable[[str], None] = print,
        switches: Mapping[str, bool] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        self.switches = on = resolve(SWITCHES, switches)
        if ranks is not None:
            ranks.refuse_switches(on, "compiled_networks", "gradient_accumulation")

        # --- The switches, bound here and read nowhere else ---
        changed: dict[str, Any] = {}
        if on["fewer_epochs"]:
            changed["num_epochs"] = config.few_epochs
        if on["larger_batches"]:
            changed["batch_size"] = config.large_batch_size
        if on["smaller_images"]:
            changed["image_size"] = config.small_image_size
        if on["sparse_logging"]:
            changed["log_interval"] = config.sparse_log_interval
        config = config.replace(**changed)
        self._entropy = entropy_of_logits if on["mixed_precision"] else entropy_of_probabilities
        self._precision: Callable[[], AbstractContextManager[object]] = partial(
            torch.autocast, device.type, _autocast_dtype(config, device), enabled=on["mixed_precision"]
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=on["mixed_precision"])
        self._num_workers = config.num_workers if on["loader_workers"] else 0
        self._batches_a_step = config.accumulation_steps if on["gradient_accumulation"] else 1
        self._update = self._accumulated_update if on["gradient_accumulation"] else self._single_update
        self._patience = config.patience if on["early_stopping"] else math.inf
        self._validate = self._compare_with_best if on["early_stopping"] else _do_nothing
        self._fresh_stopping = {"best_val_loss": math.inf, "epochs_since_best": 0} if on["early_stopping"] else {}
        super().__init__(config, data, device=device, seed=seed, log=log, ranks=ranks)
        self._schedulers = self._cosine_schedules() if on["cosine_schedule"] else {}
        if on["compiled_networks"]:
            self._compile_networks()
        # --- End of the switches ---

        self._stopping = dict(self._fresh_stopping)
        self._fresh_scaler_state = self._scaler.state_dict()
        self._fresh_schedule = next((copy.deepcopy(each.state_dict()) for each in self._schedulers.values()), {})
        self._num_applied = {"discriminator": 0, "generator": 0}
        self._applied_in_epoch = False
        for name, optimizer in self._optimizers().items():
            optimizer.register_step_post_hook(partial(self._count_applied, name))

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """Return a loader whose worker processes decode images ahead of time."""
        return self.data.loader(
            part,
            batch_size=self.config.batch_size,
            image_size=self.config.image_size,
            num_workers=self._num_workers,
            ranks=self.ranks,
        )

    @property
    def num_steps_left(self) -> int:
        """Steps that are left of this epoch; with accumulated gradients each takes several batches."""
        return -(-self.num_batches_left // self._batches_a_step)

    @property
    def finished(self) -> bool:
        """Whether the whole training is done, or early stopping ends it."""
        return super().finished or self._stopping.get("epochs_since_best", 0) >= self._patience

    def train_batch(self, batch: Batch) -> tuple[float, float]:
        """Update the discriminator, then the generator, in mixed precision if that is on; see the reference's."""
        return self._try([batch])

    def _take_step(self) -> None:
        batches = [self._next_batch() for _ in range(min(self._batches_a_step, self.num_batches_left))]
        applied_before = dict(self._num_applied)
        losses = self._try(batches)
        skipped = [name for name, count in applied_before.items() if self._num_applied[name] == count]
        self._metrics["num_skipped_steps"] += bool(skipped)
        self._applied_in_epoch |= len(skipped) < len(applied_before)
        self._note_step(losses, sum(map(self.num_items_of, batches)))

    def _try(self, batches: list[Batch]) -> tuple[float, float]:
        try:
            return self._update(batches)
        except BaseException:
            self._renew_scaler(self._scaler.state_dict())
            raise

    def _single_update(self, batches: list[Batch]) -> tuple[float, float]:
        """Do the reference's step; the scaler and the precision do nothing where mixed precision is off."""
        (batch,) = batches
        images_BCHW, texts_BE = batch.images_BCHW.to(self.device), batch.texts_BE.to(self.device)
        noise_BZ = self.noise_of(batch, NOISE)
        all_images_BCHW, wrong_B = self.all_images(images_BCHW), self.wrong_of(batch)
        with self._precision():
            fakes_BCHW = self.first_generator(noise_BZ, texts_BE)

        self.discriminator_optimizer.zero_grad()
        with self._precision():
            loss_d = discriminator_loss(
                self.discriminator_network, images_BCHW, wrong_B, fakes_BCHW, texts_BE, entropy=self._entropy,
                all_images_BCHW=all_images_BCHW,
            )  # fmt: skip
        self._scaler.scale(self.ranks.weighted(loss_d)).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self.discriminator_optimizer)

        self.generator_optimizer.zero_grad()
        with self._precision():
            if self.runs_twice:
                fakes_BCHW = self.generator_network(self.noise_of(batch, SECOND_NOISE), texts_BE)
            loss_g = self._generator_loss(images_BCHW, fakes_BCHW, texts_BE)
        self._scaler.scale(self.ranks.weighted(loss_g)).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self.generator_optimizer)
        # Once for both: the scale is shared, and infinities in either halve it once.
        self._scaler.update()
        return self.ranks.mean(loss_d).item(), self.ranks.mean(loss_g).item()

    def _accumulated_update(self, batches: list[Batch]) -> tuple[float, float]:
        """Take one step with the gradients of several batches, each weighted by its share of the items.

        Both networks move after the last batch: every gradient of the generator's is taken against the discriminator
        as it was before the step, and BatchNorm knows the batches one by one.
        """
        self.discriminator_optimizer.zero_grad()
        self.generator_optimizer.zero_grad()
        num_items = sum(len(batch.texts_BE) for batch in batches)
        sum_d, sum_g = (torch.zeros((), device=self.device) for _ in range(2))
        num_before = 0
        for batch in batches:
            share = len(batch.texts_BE) / num_items
            images_BCHW, texts_BE = batch.images_BCHW.to(self.device), batch.texts_BE.to(self.device)
            with self._precision():
                fakes_BCHW = self.generator(self._step_noise(batch, num_before), texts_BE)
                loss_d = share * discriminator_loss(
                    self.discriminator, images_BCHW, self.wrong_of(batch), fakes_BCHW, texts_BE, entropy=self._entropy
                )
                if self.runs_twice:
                    fakes_BCHW = self.generator(self._step_noise(batch, num_before, SECOND_NOISE), texts_BE)
                loss_g = share * self._generator_loss(images_BCHW, fakes_BCHW, texts_BE)
            self._scaler.scale(loss_d).backward()  # type: ignore[no-untyped-call]
            # The generator's loss must leave nothing in the gradients that the discriminator gathers.
            self._scaler.scale(loss_g).backward(inputs=list(self.generator.parameters()))  # type: ignore[no-untyped-call]
            sum_d += loss_d.detach()
            sum_g += loss_g.detach()
            num_before += len(batch.texts_BE)
        self._scaler.step(self.discriminator_optimizer)
        self._scaler.step(self.generator_optimizer)
        self._scaler.update()
        return sum_d.item(), sum_g.item()

    def _step_noise(self, batch: Batch, num_before: int, purpose: int = NOISE) -> Tensor:
        """Noise of a batch that comes `num_before` items after where the step begins: the reference's."""
        return self._noise(len(batch.texts_BE), purpose, self.epoch, self.num_items_done + num_before)

    def _generator_loss(self, images_BCHW: Tensor, fakes_BCHW: Tensor, texts_BE: Tensor) -> Tensor:
        return generator_loss(
            self.discriminator, images_BCHW, fakes_BCHW, texts_BE, entropy=self._entropy,
            of_ranks=self.ranks.mean_with_gradient, **self.loss_weights,
        )  # fmt: skip

    def _end_epoch(self) -> None:
        self._validate()
        # An epoch in which the scaler skipped every step has not used its learning rate.
        if self._applied_in_epoch:
            for scheduler in self._schedulers.values():
                scheduler.step()
        super()._end_epoch()

    def _begin_epoch(self, epoch: int) -> None:
        super()._begin_epoch(epoch)
        self._applied_in_epoch = False

    def _compare_with_best(self) -> None:
        val_loss = self.ranks.agreed(self.evaluate())
        self._metrics["val_loss"] = val_loss
        if val_loss < self._stopping["best_val_loss"]:
            self._stopping = {"best_val_loss": val_loss, "epochs_since_best": 0}
        else:
            self._stopping["epochs_since_best"] += 1

    def state(self) -> dict[str, Any]:
        """Return the reference's state with the loss scale, the schedules and the early-stopping counters."""
        state = super().state()
        if self._scaler.is_enabled():
            state["scaler"] = {**self._scaler.state_dict(), "applied_in_epoch": self._applied_in_epoch}
        state["schedulers"] = {name: copy.deepcopy(each.state_dict()) for name, each in self._schedulers.items()}
        state["stopping"] = dict(self._stopping)
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier; parts that its tier lacks start afresh."""
        super().load_state(state)
        # A new scaler, because the old one may have been left between unscaling and updating by an exception.
        self._renew_scaler(state["scaler"] or self._fresh_scaler_state)
        # A tier that has no scaler skips no step.
        self._applied_in_epoch = state["scaler"].get("applied_in_epoch", self.num_items_done > 0)
        self._stopping = {name: state["stopping"].get(name, fresh) for name, fresh in self._fresh_stopping.items()}
        for name, scheduler in self._schedulers.items():
            self._load_schedule(scheduler, state["schedulers"].get(name))

    def _load_schedule(self, scheduler: CosineAnnealingLR, state: Mapping[str, Any] | None) -> None:
        if state is not None and state["T_max"] == scheduler.T_max:
            scheduler.load_state_dict(copy.deepcopy(dict(state)))
            return
        # A tier without a schedule trained at the first learning rate, and one of more or fewer epochs along another
        # cosine; the schedule continues from the epoch it is in.
        scheduler.load_state_dict(copy.deepcopy(self._fresh_schedule))
        for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = rate
        with warnings.catch_warnings(action="ignore"):  # of steps before the optimizer's first, which came elsewhere
            for _ in range(self.epoch if state is None else state["last_epoch"]):
                scheduler.step()

    def _cosine_schedules(self) -> dict[str, CosineAnnealingLR]:
        return {name: CosineAnnealingLR(each, self.config.num_epochs) for name, each in self._optimizers().items()}

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"discriminator": self.discriminator_optimizer, "generator": self.generator_optimizer}

    def _compile_networks(self) -> None:
        compilers = [os.environ.get("CXX", "g++"), "clang++"]
        if self.device.type == "cpu" and not any(map(shutil.which, compilers)):
            what = f"needs a C++ compiler, and none of {', '.join(compilers)} is here"
            raise BadInput(what, "compiled_networks", "install g++ or set CXX, or leave the switch off")
        # In place, so that the weights keep their names.
        self.generator.compile()
        self.discriminator.compile()

    def _count_applied(self, name: str, *_: object) -> None:
        # Counted where the optimizer steps: asking the scaler whether it did would wait for the device once more.
        self._num_applied[name] += 1

    def _renew_scaler(self, state: Mapping[str, Any]) -> None:
        self._scaler = renewed(self._scaler, self.device, state)


def _autocast_dtype(config: TextToImageConfig, device: torch.device) -> torch.dtype:
    named = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    return named.get(config.mixed_precision_dtype, automatic_dtype(device))


def _do_nothing() -> None:
    pass
