"""The text-to-image training as it was before: document 003 (`003_530fe25f9ac715cb.txt`), its left-hand values.

Naive on purpose, a line per switch of the optimized tier:

- `fewer_epochs`: trains 250 epochs, whatever they still bring.
- `larger_batches`: 256 items a batch.
- `smaller_images`: 64x64 pixels.
- `sparse_logging`: prints a line every 18 batches.
- `mixed_precision`: forward, backward and update are float32 throughout; a sigmoid, then cross-entropy.
- `loader_workers`: the training process decodes and resizes every image itself, once for each of its captions.
- `compiled_networks`: one kernel after the other, from Python.
- `gradient_accumulation`: every batch is an update.
- `cosine_schedule`: the learning rates stay as they are.
- `early_stopping`: nobody looks at held-out images while it trains.

Also as it was, and left alone by document 003: `.item()` on both losses after every batch; the generator's backward
pass computes gradients of the discriminator's weights that nobody uses; with the procedure `two_forwards`, that of the
program with 250 epochs, the generator runs twice a batch, on new noise for its own update. The notebooks have
`one_forward`: noise is drawn once and its fakes serve both updates.

Shape suffixes: B items of a batch, C channels, H and W rows and columns of pixels, E embedded text, Z noise.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader

from trainers.contract import BadInput
from trainers.pytorch.loading import order_of
from trainers.pytorch.randomness import RandomStream, derived_seed
from trainers.pytorch.ranks import Ranks
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.items import Batch, CaptionData, images_of_others, without_single
from trainers.text_to_image.model import (
    Discriminator,
    Generator,
    discriminator_loss,
    entropy_of_probabilities,
    generator_loss,
)

__all__ = ["NOISE", "SECOND_NOISE", "ReferenceTrainer"]

_STATE_KEYS = frozenset({
    "family", "architecture", "generator", "discriminator", "generator_optimizer", "discriminator_optimizer",
    "schedulers", "scaler", "stopping", "progress",
})  # fmt: skip
_WEIGHTS, NOISE, _VALIDATION_NOISE, SECOND_NOISE = range(4)  # what a seed is derived for


class ReferenceTrainer:
    """Trains a DCGAN with Adam, one float32 batch after the other.

    Args:
        config: sizes and hyperparameters.
        data: captions with their images.
        device: where the networks live; batches are moved there one by one.
        seed: of the weights, the order of the batches and the noise.
        log: takes the log lines.
        ranks: which train together, each on its items of every batch; this process alone without them.

    Attributes:
        num_items_done: items of the current epoch that were trained on.

    """

    phases: tuple[str, ...] = ("train",)

    def __init__(  # noqa: PLR0913 - all but the first two are keywords
        self,
        config: TextToImageConfig,
        data: CaptionData,
        *,
        device: torch.device,
        seed: int,
        log: Callable[[str], None] = print,
        ranks: Ranks | None = None,
    ) -> None:
        """Draw the weights on the CPU, so that they are the same on every device."""
        self.ranks = ranks or Ranks()
        self.ranks.check_batch_size(config.batch_size)
        self.config, self.data, self.device, self.seed = config, data, device, seed
        self.log = log if self.ranks.is_first else lambda _: None
        self.runs_twice = config.procedure == "two_forwards"
        self.loss_weights: dict[str, Any] = {
            "l1_weight": config.l1_weight if self.runs_twice else 0.0,
            "feature_weight": config.feature_weight if self.runs_twice else 0.0,
        }
        self.architecture = {
            "image_size": self._network_size(config),
            "width": config.width,
            "text_size": config.text_size,
            "text_hidden_size": config.text_hidden_size,
        }
        with RandomStream(derived_seed(seed, _WEIGHTS), torch.device("cpu")):
            self.generator = Generator(**self.architecture, noise_size=config.noise_size).to(device)
            self.discriminator = Discriminator(**self.architecture).to(device)
        self.generator_network = self.ranks.parallel(self.generator)
        self.discriminator_network = self.ranks.parallel(self.discriminator)
        betas = (config.beta1, config.beta2)
        self.generator_optimizer = Adam(self.generator.parameters(), lr=config.learning_rate, betas=betas)
        self.discriminator_optimizer = Adam(self.discriminator.parameters(), lr=config.learning_rate, betas=betas)
        self.train_loader = self.make_loader("train")
        self.epoch = 0
        self.num_items_done = 0
        self._loss_sums = [0.0, 0.0]  # of this epoch: the discriminator's and the generator's, by items
        self._since_line = [0.0, 0]  # seconds and batches since the last log line
        self._batches: Iterator[Batch] | None = None
        self._clear_metrics()

    def _network_size(self, config: TextToImageConfig) -> int:
        """Return the image size for which the networks are made."""
        return config.image_size

    @property
    def num_batches(self) -> int:
        """Batches in an epoch. A last one of a single item is left out: BatchNorm has no variance of one value."""
        return self._batches_of(self.data.num_items("train"))

    @property
    def num_batches_left(self) -> int:
        """Batches that are left of this epoch."""
        return self._batches_of(max(0, self.data.num_items("train") - self.num_items_done))

    @property
    def step(self) -> int:
        """Batches done in this epoch."""
        return self.num_batches - self.num_batches_left

    @property
    def num_steps_left(self) -> int:
        """Steps that are left of this epoch: every batch is one."""
        return self.num_batches_left

    @property
    def finished(self) -> bool:
        """Whether the whole training is done."""
        return self.epoch >= self.config.num_epochs

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the last call, see `contract.Trainer.metrics`.

        Also `discriminator_losses` and `generator_losses`, whose sums are `train_losses`; `epoch` (whole epochs
        trained), `step` (batches done of the current one) and `learning_rate`; after `train_epoch` also
        `discriminator_loss` and `generator_loss` (means over that epoch's items).
        """
        losses = self._metrics["discriminator_losses"], self._metrics["generator_losses"]
        return {
            **copy.deepcopy(self._metrics),
            "train_losses": [a + b for a, b in zip(*losses, strict=True)],
            "epoch": self.epoch,
            "step": self.step,
            "learning_rate": self.generator_optimizer.param_groups[0]["lr"],
        }

    def train_epoch(self, phase: str = "train") -> None:
        """Train the rest of the epoch; see `contract.Trainer.train_epoch`."""
        self._check_phase(phase)
        self._take_steps(self.num_steps_left)
        self._end_epoch()

    def train_steps(self, n: int, phase: str = "train") -> None:
        """Take `n` steps, an update of each network, and nothing else; see `contract.Trainer.train_steps`."""
        self._check_phase(phase)
        if n < 0:
            raise ValueError(f"the number of steps must not be negative, but it is {n}")
        self._take_steps(n)

    def evaluate(self) -> float:
        """Mean distance |fake - real| of the held-out images' pixels, from 0 to 2, with the same noise every time.

        The adversarial losses are no measure: they compare the generator with a discriminator that changes.
        """
        self.generator.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for number, batch in enumerate(self.make_loader("val")):
                self.data.note_damaged(batch)
                noise_BZ = self._noise(len(batch.texts_BE), _VALIDATION_NOISE, number)
                fakes_BCHW = self.generator(noise_BZ, batch.texts_BE.to(self.device))
                distances_BCHW = (fakes_BCHW.float() - batch.images_BCHW.to(self.device)).abs()
                total += distances_BCHW.mean().item() * len(noise_BZ)
                count += len(noise_BZ)
        self.generator.train()
        return total / count

    def synchronize(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def state(self) -> dict[str, Any]:
        """Snapshot of everything; see `contract.Trainer.state`."""
        return copy.deepcopy(
            {
                "family": "text_to_image",
                "architecture": {**self.architecture, "noise_size": self.config.noise_size},
                "generator": dict(self.generator.state_dict()),
                "discriminator": dict(self.discriminator.state_dict()),
                "generator_optimizer": self.generator_optimizer.state_dict(),
                "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
                "schedulers": {},
                "scaler": {},
                "stopping": {},
                "progress": {
                    "seed": self.seed,
                    "epoch": self.epoch,
                    "num_items_done": self.num_items_done,
                    "loss_sums": self._loss_sums,
                },
            }
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier; see `contract.Trainer.load_state`."""
        self._check_state(state)
        # A copy, because the optimizers would otherwise keep the caller's tensors and write to them.
        state = copy.deepcopy(dict(state))
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        progress = state["progress"]
        self.seed, self.epoch = progress["seed"], progress["epoch"]
        self.num_items_done, self._loss_sums = progress["num_items_done"], progress["loss_sums"]
        self._batches = None

    def close(self) -> None:
        """Drop the iterator over the batches."""
        self._batches = None

    def make_loader(self, part: str) -> DataLoader[Batch]:
        """Loader in the training process of `train` (shuffled) or `val`."""
        return self.data.loader(
            part, batch_size=self.config.batch_size, image_size=self.config.image_size, ranks=self.ranks
        )

    def train_batch(self, batch: Batch) -> tuple[float, float]:
        """Update the discriminator, then the generator.

        Returns:
            The discriminator's and the generator's loss, each before its update.

        """
        images_BCHW, texts_BE = batch.images_BCHW.to(self.device), batch.texts_BE.to(self.device)
        noise_BZ = self.noise_of(batch, NOISE)
        fakes_BCHW = self.first_generator(noise_BZ, texts_BE)

        self.discriminator_optimizer.zero_grad()
        loss_d = discriminator_loss(
            self.discriminator_network,
            images_BCHW,
            self.wrong_of(batch),
            fakes_BCHW,
            texts_BE,
            entropy=entropy_of_probabilities,
            all_images_BCHW=self.all_images(images_BCHW),
        )
        self.ranks.weighted(loss_d).backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimizer.step()

        if self.runs_twice:
            fakes_BCHW = self.generator_network(self.noise_of(batch, SECOND_NOISE), texts_BE)
        self.generator_optimizer.zero_grad()
        loss_g = generator_loss(
            self.discriminator,
            images_BCHW,
            fakes_BCHW,
            texts_BE,
            entropy=entropy_of_probabilities,
            of_ranks=self.ranks.mean_with_gradient,
            **self.loss_weights,
        )
        self.ranks.weighted(loss_g).backward()  # type: ignore[no-untyped-call]
        self.generator_optimizer.step()
        return self.ranks.mean(loss_d).item(), self.ranks.mean(loss_g).item()

    @property
    def first_generator(self) -> nn.Module:
        """The generator of the discriminator's update; gradients flow back through it if its fakes serve both."""
        return self.generator if self.runs_twice else self.generator_network

    def wrong_of(self, batch: Batch) -> Tensor | None:
        """Return which image of a batch belongs to another text, or None where the procedure has no such images."""
        if self.ranks.number == 1 or not self.runs_twice:
            return batch.wrong_B if self.runs_twice else None
        items = self.ranks.whole_batch(batch.items_B.to(self.device)).tolist()
        images_B = [int(self.data.image_of_N[item]) if item >= 0 else -1 for item in items]
        rows = self.ranks.rows
        return torch.tensor(images_of_others(images_B, range(rows.start, rows.stop)), device=self.device)

    def all_images(self, images_BCHW: Tensor) -> Tensor | None:
        """Return the images that `wrong_of` counts: those of all ranks, None where there is one rank."""
        return self.ranks.whole_batch(images_BCHW) if self.runs_twice and self.ranks.number > 1 else None

    def noise_of(self, batch: Batch, purpose: int) -> Tensor:
        """Return the noise (B, Z) of the current batch, on this rank of its items."""
        if not self.ranks.is_parallel:
            return self._noise(len(batch.texts_BE), purpose, self.epoch, self.num_items_done)
        return self._noise(self.ranks.num_rows, purpose, self.epoch, self.num_items_done)[self.ranks.rows]

    def num_items_of(self, batch: Batch) -> int:
        """Return how many items a batch has, on all ranks together."""
        return self.ranks.num_rows if self.ranks.is_parallel else len(batch.texts_BE)

    def _take_steps(self, n: int) -> None:
        self._clear_metrics()
        self.generator.train()
        self.discriminator.train()
        for _ in range(n):
            if self.num_steps_left == 0:
                self._begin_epoch(self.epoch + 1)
            started, step = time.perf_counter(), self.step
            try:
                self._take_step()
            except BaseException:
                self._batches = None  # its next batch is no longer the one to go on with
                raise
            self._since_line[0] += time.perf_counter() - started
            self._since_line[1] += self.step - step
            if self.step // self.config.log_interval > step // self.config.log_interval:
                self._log_line()

    def _take_step(self) -> None:
        batch = self._next_batch()
        self._note_step(self.train_batch(batch), self.num_items_of(batch))

    def _next_batch(self) -> Batch:
        if self._batches is None:
            sampler = order_of(self.train_loader)
            assert sampler is not None  # noqa: S101 - `make_loader` gives the training part one
            sampler.seek(self.seed, self.epoch, self.num_items_done)
            self._batches = iter(self.train_loader)
        if self.ranks.is_parallel:
            num_left, size = self.data.num_items("train") - self.num_items_done, self.config.batch_size
            self.ranks.num_rows = min(size, without_single(num_left, size))
        batch = next(self._batches)
        self.data.note_damaged(batch)
        return batch

    def _note_step(self, losses: tuple[float, float], num_items: int) -> None:
        self._note_losses(losses, num_items)
        self._count_step(num_items)

    def _note_losses(self, losses: tuple[float, float], num_items: int) -> None:
        for number, name in enumerate(("discriminator_losses", "generator_losses")):
            self._metrics[name].append(losses[number])
            self._loss_sums[number] += losses[number] * num_items

    def _count_step(self, num_items: int) -> None:
        self._metrics["num_steps"] += 1
        self.num_items_done += num_items

    def _log_line(self) -> None:
        seconds, num_batches = self._since_line
        loss_d, loss_g = (self._metrics[name][-1] for name in ("discriminator_losses", "generator_losses"))
        self.log(
            f"epoch {self.epoch + 1}/{self.config.num_epochs}  batch {self.step}/{self.num_batches}  "
            f"loss D {loss_d:.4f}  loss G {loss_g:.4f}  {1000 * seconds / num_batches:.1f} ms/batch"
        )
        self._since_line = [0.0, 0]

    def _end_epoch(self) -> None:
        """Note the epoch's mean losses and go to the next."""
        for name, total in zip(("discriminator_loss", "generator_loss"), self._loss_sums, strict=True):
            self._metrics[name] = total / max(1, self.num_items_done)
        self._begin_epoch(self.epoch + 1)

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch, self.num_items_done, self._loss_sums = epoch, 0, [0.0, 0.0]
        self._batches = None

    def _clear_metrics(self) -> None:
        self._metrics: dict[str, Any] = {
            "discriminator_losses": [],
            "generator_losses": [],
            "num_steps": 0,
            "num_skipped_steps": 0,
        }

    def _batches_of(self, num_items: int) -> int:
        return math.ceil(without_single(num_items, self.config.batch_size) / self.config.batch_size)

    def _noise(self, num_items: int, *words: int) -> Tensor:
        """Noise (B, Z) of one batch: of an explicit seed, so that every tier draws the same."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, *words))
        return torch.randn(num_items, self.config.noise_size, generator=generator).to(self.device)

    def _check_phase(self, phase: str) -> None:
        if phase not in self.phases:
            raise ValueError(f"there is no phase {phase!r}, only {self.phases}")

    def _check_state(self, state: Mapping[str, Any]) -> None:
        mend = "give a state of this family and architecture"
        if state.get("family") != "text_to_image" or _STATE_KEYS - state.keys():
            raise BadInput("is no state of a text_to_image", "state", mend)
        ours = {**self.architecture, "noise_size": self.config.noise_size}
        for name, value in ours.items():
            if state["architecture"].get(name) != value:
                theirs = state["architecture"].get(name)
                raise BadInput(f"its {name} is {theirs}, the trainer's is {value}", "state", mend)
