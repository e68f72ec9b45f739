"""Build sides and pairs whose unit is the image, and time the loader and the step alone."""

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.harness.bench import Bench
from bench.harness.side import Side

if TYPE_CHECKING:
    from trainers.text_to_image.data.items import Batch


IMAGES_IN_BATCHES_ALIKE = {"tiny": 16, "smoke": 32, "default": 256}
"""Images of one call where both sides have batches of one size; one of the default preset takes a CPU many seconds."""


class HeldLoader:
    """Batches that are in memory, over and over: what remains of a loader when it costs nothing.

    Args:
        batches: the batches.
    """

    def __init__(self, batches: "list[Batch]") -> None:
        """Stand at the first batch."""
        self.batches, self.sampler, self._first = batches, self, 0

    def seek(self, seed: int, epoch: int, num_done: int) -> None:
        """Go to the batch that begins after `num_done` items; the order is the same in every epoch."""
        del seed, epoch
        self._first = num_done // len(self.batches[0].texts_BE)

    def __iter__(self) -> "Iterator[Batch]":
        """Begin where `seek` went."""
        first = self._first % len(self.batches)
        return itertools.islice(itertools.cycle(self.batches), first, None)


@dataclass
class ImageSide(Side):
    """One side of a pair; calling it trains on a number of images, from their files.

    Attributes:
        num_images: that one call trains on; None for a whole epoch.
        is_held: whether the images of one call are in memory already, so that no loader costs anything.
    """

    num_images: int | None = None
    is_held: bool = False

    @cached_property
    def trainer(self) -> Any:
        """The trainer, built when first asked for."""
        trainer: Any = self.build(self.tier, self.switches)
        if self.is_held:
            trainer.train_loader = HeldLoader(list(self._batches(trainer)))
        return trainer

    def built(self, **overrides: object) -> Any:
        """Build one more trainer of this side, of another seed for example."""
        return self.build(self.tier, self.switches, **overrides)

    def held_batches(self, num_batches: int) -> AbstractContextManager[object]:
        """Take the first batches from memory while the block runs, on a GPU, whose steps cost less than decoding does.

        What checks the pixel cache reads it; it costs little.
        """
        reads_files = not self.is_held and not getattr(self.trainer, "switches", {}).get("cached_images", False)
        return _holding(self.trainer, num_batches) if self.num_warm_steps and reads_files else nullcontext()

    def __call__(self) -> None:
        """Train on as many images as one call has."""
        if self.num_images is None:
            self.trainer.train_epoch(self.phase)
        else:
            self.trainer.train_steps(self.num_images // self.trainer.config.batch_size, self.phase)

    @cached_property
    def held(self) -> "list[Batch]":
        """Batches of one call, in memory."""
        return list(self._batches(self.trainer))

    def loader_alone(self) -> None:
        """Read, decode and resize the images of one call."""
        for _ in self._batches(self.trainer):
            pass

    def step_alone(self) -> None:
        """Train on the images of one call as they lie in memory."""
        with getattr(self.trainer, "memory", nullcontext)():
            for batch in self.held:
                self.trainer.train_batch(batch)

    def _batches(self, trainer: Any) -> "Iterator[Batch]":
        num_left = trainer.data.num_items("train") if self.num_images is None else self.num_images
        for batch in trainer.make_loader("train"):
            yield batch
            num_left -= len(batch.texts_BE)
            if num_left <= 0:
                return


_FIRST_BATCHES: dict[tuple[object, ...], "list[Batch]"] = {}
"""First batches of an epoch, by data, sizes and seed: decoded once in a run."""


@contextmanager
def _holding(trainer: Any, num_batches: int) -> Iterator[None]:
    """Let a trainer take its first batches from memory while the block runs."""
    key = (trainer.data.folder, trainer.config.batch_size, trainer.config.image_size, trainer.seed)
    found = _FIRST_BATCHES.setdefault(key, [])
    loader = trainer.train_loader
    num_batches = min(num_batches, trainer.num_batches)
    if len(found) < num_batches:
        loader.sampler.seek(trainer.seed, 0, 0)
        found[:] = itertools.islice(loader, num_batches)
    trainer.train_loader = HeldLoader(found[:num_batches])
    try:
        yield
    finally:
        trainer.train_loader = loader


@dataclass
class ImageBench(Bench):
    """Pairs of the text-to-image family."""

    def images(
        self,
        before: ImageSide,
        after: ImageSide,
        *,
        num_images: int | None,
        is_held: bool = False,
        with_stages: bool = True,
        **options: Any,
    ) -> Any:
        """Measure the same number of images on each side, from the same state in every round.

        The rates of the loader alone and of the step alone are measured too.

        Args:
            before: one side.
            after: the other.
            num_images: of one call, a multiple of both batch sizes; None for an epoch.
            is_held: take the images from memory; then there is no loader to measure.
            with_stages: measure the loader and the step alone too.
            options: the pair's.
        """
        for side in (before, after):
            side.num_images, side.is_held = num_images, is_held
        stages = {
            "loader alone": (before.loader_alone, after.loader_alone),
            "step alone": (before.step_alone, after.step_alone),
        }
        units = num_images or before.trainer.data.num_items("train")
        return self.epochs(
            before, after, units=units, stages=stages if with_stages and not is_held else None, **options
        )

    def held_epoch(self) -> "HeldEpoch":
        """Return the batches of one epoch and of its validation, in memory; every image is decoded once."""
        cached = self.fastest(cached_images=True).trainer
        # As `decode_image` scales them, to the bit.
        train = [
            batch._replace(images_BCHW=batch.images_BCHW.float() / 127.5 - 1) for batch in cached.make_loader("train")
        ]
        return HeldEpoch(HeldLoader(train), list(cached.make_loader("val")))


@dataclass(frozen=True)
class HeldEpoch:
    """The batches of one epoch and of its validation, in memory.

    Attributes:
        train: replaces a trainer's loader.
        val: the batches that a trainer validates with.
    """

    train: HeldLoader
    val: "list[Batch]"

    def give(self, trainer: Any) -> None:
        """Let a trainer take its batches from here."""
        trainer.train_loader = self.train
        trainer.make_loader = {"train": self.train, "val": self.val}.__getitem__
