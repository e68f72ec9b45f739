"""The PyTorch families as Lightning trains them: `Trainer.fit` without bar, logger, summary and checkpoints.

Networks, losses, optimizers, schedules, batches and random numbers are the families'. Losses stay on the device until
a fit is over, as in a module that logs none.

Shape suffixes: B rows or items of a batch, C channels, H and W rows and columns of pixels, F features, K targets, E
embedded text, Z noise.
"""

import itertools
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from trainers.pytorch.devices import find_device
from trainers.pytorch.loading import EpochSampler, make_loader, stop_workers
from trainers.tabular_regressor import FAMILY as REGRESSOR
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import Batch as Rows
from trainers.tabular_regressor.model import regression_loss
from trainers.tabular_regressor.reference import ReferenceTrainer as RegressorReference
from trainers.text_to_image import FAMILY as IMAGE
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.items import Batch as Images
from trainers.text_to_image.model import discriminator_loss, entropy_of_probabilities, generator_loss
from trainers.text_to_image.reference import NOISE, SECOND_NOISE
from trainers.text_to_image.reference import ReferenceTrainer as ImageReference

__all__ = ["LightningGan", "LightningRegressor", "Segment", "build_gan", "build_regressor"]

# Which devices there are and which are used is for a person at a terminal, not for a benchmark's.
logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)


def build_regressor(  # noqa: PLR0913 - a family's build, and one setting of the peer's
    tier: str,
    switches: Mapping[str, bool] | None,
    *,
    preset: str,
    device: str,
    is_rounded: bool = False,
    seed: int = 0,
    **overrides: Any,
) -> "LightningRegressor":
    """Build the peer as `Family.build` builds a tier: the same weights, batches and masks.

    Args:
        tier: of the side that asks; there is one peer.
        switches: the peer has none.
        preset: one of the family's.
        device: `cpu` or `cuda`.
        is_rounded: whether linear layers multiply in bfloat16, by Lightning's `bf16-mixed`.
        seed: of weights, batches and dropout.
        overrides: values of `RegressorConfig` that differ from the preset's.
    """
    del tier, switches
    config = RegressorConfig.preset(preset).replace(**overrides)
    data = REGRESSOR.find_data(config, None)
    peer = LightningRegressor(config, data, device=find_device(device), seed=seed)
    peer.precision = "bf16-mixed" if is_rounded else "32-true"
    return peer


def build_gan(  # noqa: PLR0913 - a family's build, and one setting of the peer's
    tier: str,
    switches: Mapping[str, bool] | None,
    *,
    preset: str,
    device: str,
    has_workers: bool,
    log: Callable[[str], None] = print,
    seed: int = 0,
    **overrides: Any,
) -> "LightningGan":
    """Build the peer as `Family.build` builds a tier: the same weights, batches and noise.

    Args:
        tier: of the side that asks; there is one peer.
        switches: the peer has none.
        preset: one of the family's.
        device: `cpu` or `cuda`.
        has_workers: whether persistent workers decode the images, as many as the configuration says.
        log: takes the log lines.
        seed: of weights, batches and noise.
        overrides: values of `TextToImageConfig` that differ from the preset's.
    """
    del tier, switches
    config = TextToImageConfig.preset(preset).replace(**overrides)
    data = IMAGE.find_data(config, None)
    return LightningGan(
        config, data, device=find_device(device), seed=seed, log=log, num_workers=config.num_workers * has_workers
    )


class Segment(Sampler[int]):
    """Sample a part of an epoch's order, as long as the epoch of a fit.

    Args:
        whole: gives the order of whole epochs.
    """

    def __init__(self, whole: EpochSampler) -> None:
        """Hold the whole of epoch 0 of seed 0."""
        self.whole = whole
        self.num_items = len(whole)

    def seek(self, seed: int, epoch: int, num_done: int, num_items: int) -> None:
        """Select `num_items` items of an epoch, after those that are done."""
        self.whole.seek(seed, epoch, num_done)
        self.num_items = num_items

    def __iter__(self) -> Iterator[int]:
        """Give the numbers of the items."""
        return itertools.islice(iter(self.whole), self.num_items)

    def __len__(self) -> int:
        """Count the items."""
        return self.num_items


def segmented(loader: DataLoader[Any], num_workers: int = 0) -> DataLoader[Any]:
    """Return a loader like one of a reference, whose epochs are segments, with workers or without."""
    return make_loader(
        loader.dataset,
        loader.batch_size,
        sampler=Segment(loader.sampler),
        num_workers=num_workers,
        persistent_workers=True,
        collate=loader.collate_fn,
    )


def fit(module: lightning.LightningModule, device: torch.device, *loaders: Any, **options: Any) -> lightning.Trainer:
    """Fit a module without logger, checkpoints and progress bar, and return the Lightning trainer.

    Args:
        module: what is trained.
        device: where.
        loaders: of training, and of validation if there is one.
        options: of `lightning.Trainer`.
    """
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    with warnings.catch_warnings():
        # It would have more workers; pairs with and without say what they are worth.
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning asks PyTorch in a way that is going out
        trainer.fit(module, *loaders)
    return trainer


class _Regression(lightning.LightningModule):
    """A tabular regressor's training step, validation and optimizer.

    Args:
        trainer: whose network and optimizer they are of.
        of_epochs: whether whole epochs are trained, after which schedule and order move on.
    """

    def __init__(self, trainer: "LightningRegressor", *, of_epochs: bool) -> None:
        super().__init__()
        self.network, self._trained, self._of_epochs = trainer.model, trainer, of_epochs
        self.losses: list[Tensor] = []

    def training_step(self, batch: Rows, batch_idx: int) -> Tensor:
        del batch_idx
        loss = self._loss(batch)
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Rows, batch_idx: int) -> None:
        del batch_idx
        self.log("val_loss", self._loss(batch), batch_size=1)  # every batch counts as much, as in the reference

    def on_train_epoch_end(self) -> None:
        if self._of_epochs:
            self._trained.begin_next_epoch()

    def configure_optimizers(self) -> Any:
        if not self._of_epochs:
            return self._trained.optimizer
        return {"optimizer": self._trained.optimizer, "lr_scheduler": self._trained.scheduler}

    def _loss(self, batch: Rows) -> Tensor:
        features_BF, targets_BK = batch  # noqa: N806 - tensors carry shape suffixes
        return regression_loss(self.network(features_BF), targets_BK)


class LightningRegressor(RegressorReference):
    """The reference's training, state and batches, its steps taken by `lightning.Trainer.fit`.

    Attributes:
        precision: as `lightning.Trainer` takes it.
    """

    precision = "32-true"

    def make_loader(self, part: str) -> DataLoader[Rows]:
        """Return the reference's loader; the epochs of `train` can be cut short."""
        loader = super().make_loader(part)
        return segmented(loader) if part == "train" else loader

    @property
    def num_batches(self) -> int:
        """Optimizer steps in an epoch, however short the loader's are made."""
        return math.ceil(len(self.train_loader.sampler.whole) / self.config.batch_size)

    def train_epoch(self, phase: str = "train") -> None:
        """Train one epoch in a fit of its own; see `train_epochs`."""
        self._check_phase(phase)
        self.train_epochs(1)

    def train_epochs(self, num_epochs: int) -> None:
        """Train whole epochs in one fit, with validation and the schedule.

        Raises:
            ValueError: an epoch is begun already.
        """
        if self.step:
            raise ValueError(f"a fit begins with an epoch, and {self.step} steps of this one are taken")
        self._seek(self.num_batches)
        module = _Regression(self, of_epochs=True)
        with self.random:
            trainer = self._fit(module, num_epochs, self.train_loader, self.val_loader)
        self._note(module.losses)
        self._metrics["val_loss"] = trainer.callback_metrics["val_loss"].item()

    def begin_next_epoch(self) -> None:
        """Let the loader's next epoch have the order of the training's next."""
        self._begin_epoch(self.epoch + 1)
        self._seek(self.num_batches)

    def _seek(self, num_batches: int) -> None:
        sampler, batch_size = self.train_loader.sampler, self.config.batch_size
        num_done = self.step * batch_size
        sampler.seek(self.seed, self.epoch, num_done, min(num_batches * batch_size, len(sampler.whole) - num_done))

    def _take_steps(self, n: int) -> None:
        losses: list[Tensor] = []
        num_left = n
        while num_left > 0:
            if self.step == self.num_batches:
                self._begin_epoch(self.epoch + 1)
            count = min(num_left, self.num_batches - self.step)
            self._seek(count)
            module = _Regression(self, of_epochs=False)
            self._fit(module, 1, self.train_loader)
            self.step += count
            losses += module.losses
            num_left -= count
        self._note(losses)

    def _fit(self, module: _Regression, num_epochs: int, *loaders: DataLoader[Rows]) -> lightning.Trainer:
        self.model.train()
        limit = self.config.clip_norm
        clip = None if math.isinf(limit) else limit
        options = {"max_epochs": num_epochs, "gradient_clip_val": clip, "precision": self.precision}
        return fit(module, self.device, *loaders, **options)

    def _note(self, losses: list[Tensor]) -> None:
        found = torch.stack(losses).tolist() if losses else []
        self._metrics = {"train_losses": found, "num_steps": len(found), "num_skipped_steps": 0}


class _Adversaries(lightning.LightningModule):
    """Both networks of a text-to-image GAN under manual optimization, as Lightning documents it for GANs.

    Args:
        trainer: whose networks and optimizers they are.
    """

    def __init__(self, trainer: "LightningGan") -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator, self._trained = trainer.generator, trainer.discriminator, trainer
        self.losses: list[tuple[Tensor, Tensor]] = []
        self.num_items: list[int] = []

    def configure_optimizers(self) -> Any:
        return [self._trained.discriminator_optimizer, self._trained.generator_optimizer]

    def training_step(self, batch: Images, batch_idx: int) -> STEP_OUTPUT:
        del batch_idx
        trained = self._trained
        trained.data.note_damaged(batch)
        optimizer_d, optimizer_g = self.optimizers()
        images_BCHW, texts_BE = batch.images_BCHW, batch.texts_BE  # noqa: N806 - tensors carry shape suffixes
        noise_BZ, second_BZ = trained.next_noise(len(texts_BE))  # noqa: N806
        fakes_BCHW = self.generator(noise_BZ, texts_BE)  # noqa: N806

        # A toggled optimizer's weights alone are given gradients.
        self.toggle_optimizer(optimizer_d)
        loss_d = discriminator_loss(
            self.discriminator,
            images_BCHW,
            trained.wrong_of(batch),
            fakes_BCHW,
            texts_BE,
            entropy=entropy_of_probabilities,
        )
        optimizer_d.zero_grad()
        self.manual_backward(loss_d)
        optimizer_d.step()
        self.untoggle_optimizer(optimizer_d)

        self.toggle_optimizer(optimizer_g)
        if trained.runs_twice:
            fakes_BCHW = self.generator(second_BZ, texts_BE)  # noqa: N806
        loss_g = generator_loss(
            self.discriminator,
            images_BCHW,
            fakes_BCHW,
            texts_BE,
            entropy=entropy_of_probabilities,
            **trained.loss_weights,
        )
        optimizer_g.zero_grad()
        self.manual_backward(loss_g)
        optimizer_g.step()
        self.untoggle_optimizer(optimizer_g)
        self.losses.append((loss_d.detach(), loss_g.detach()))
        self.num_items.append(len(texts_BE))


class LightningGan(ImageReference):
    """The reference's training, state and batches, its steps taken by `lightning.Trainer.fit`.

    Args:
        arguments: the reference's.
        num_workers: persistent processes that decode the images; with none the training process does.
    """

    def __init__(self, *arguments: Any, num_workers: int, **options: Any) -> None:
        """Remember the workers, which the first loader needs."""
        self._num_workers = num_workers
        super().__init__(*arguments, **options)

    def make_loader(self, part: str) -> DataLoader[Images]:
        """Return the reference's loader; the epochs of `train` can be cut short, and workers may decode its images."""
        loader = super().make_loader(part)
        return segmented(loader, self._num_workers) if part == "train" else loader

    def next_noise(self, num_items: int) -> tuple[Tensor, Tensor]:
        """Noise (B, Z) of both of the generator's runs on the batch that is trained next; it counts the batch."""
        first_BZ, second_BZ = (  # noqa: N806
            self._noise(num_items, purpose, self.epoch, self.num_items_done) for purpose in (NOISE, SECOND_NOISE)
        )
        self._count_step(num_items)
        return first_BZ, second_BZ

    def close(self) -> None:
        """Stop the workers."""
        super().close()
        stop_workers(self.train_loader)

    def _take_steps(self, n: int) -> None:
        self._clear_metrics()
        self.generator.train()
        self.discriminator.train()
        num_left, batch_size = n, self.config.batch_size
        while num_left > 0:
            if self.num_steps_left == 0:
                self._begin_epoch(self.epoch + 1)
            count = min(num_left, self.num_steps_left)
            sampler = self.train_loader.sampler
            num_items = min(count * batch_size, len(sampler.whole) - self.num_items_done)
            sampler.seek(self.seed, self.epoch, self.num_items_done, num_items)
            module = _Adversaries(self)
            fit(module, self.device, self.train_loader, max_epochs=1)
            for losses, num_of_batch in zip(torch.tensor(module.losses).tolist(), module.num_items, strict=True):
                self._note_losses(losses, num_of_batch)
            num_left -= count
