"""The number of times that each tier waits for the device, line by line."""

import inspect
from pathlib import Path

import pytest
import torch

from speedclaims.recorders.syncs.torch import counting_syncs
from trainers.tabular_regressor import FAMILY as TABULAR
from trainers.tabular_regressor import optimized as tabular_optimized
from trainers.tabular_regressor import reference as tabular_reference
from trainers.text_to_image import FAMILY as IMAGE
from trainers.text_to_image import optimized as image_optimized
from trainers.text_to_image import reference as image_reference
from trainers.text_to_image.data import items as image_data

pytestmark = [
    pytest.mark.usefixtures("private_cache", "one_thread"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="on CUDA the copies of the batches count too"),
]

NUM_STEPS = [1, 3]


@pytest.fixture
def make():
    """`build` with the preset tiny, whose trainers are warm, at their first step, and closed after the test."""
    made = []

    def build(family, tier, *on, **arguments):
        if tier == "optimized":
            arguments["switches"] = {switch.name: switch.name in on for switch in family.switches[tier]}
        trainer = family.build(tier, preset="tiny", device="cpu", log=lambda _: None, **arguments)
        made.append(trainer)
        initial = trainer.state()
        trainer.train_steps(1)
        trainer.load_state(initial)
        return trainer

    yield build
    for trainer in made:
        trainer.close()


def place(function, text):
    """Return file and number of the one line of a function that holds a text."""
    lines, first = inspect.getsourcelines(function)
    (number,) = [first + index for index, line in enumerate(lines) if text in line]
    return f"{Path(inspect.getsourcefile(function))}:{number}"


def loader_internals(num_epochs=1):
    """A loader draws a seed for its workers, and the sampler turns the order into a list, once an epoch."""
    return 2 * num_epochs


TABULAR_LOSS = (tabular_reference.ReferenceTrainer.train_batch, "self.ranks.mean(loss).item()")
TABULAR_MIXED = (tabular_optimized.OptimizedTrainer._mixed_precision_batch, "self.ranks.mean(loss).item()")
TABULAR_VALIDATION = (tabular_reference.ReferenceTrainer._mean_loss, ".item()")


@pytest.mark.parametrize("num_steps", NUM_STEPS)
@pytest.mark.parametrize(
    ("tier", "on", "line", "scaler"),
    [
        ("reference", (), TABULAR_LOSS, 0),
        ("optimized", (), TABULAR_LOSS, 0),
        ("optimized", ("mixed_precision",), TABULAR_MIXED, 1),
    ],
    ids=["reference", "restructured", "mixed precision"],
)
def test_the_tabular_regressor_asks_for_its_loss_once_a_step(make, num_steps, tier, on, line, scaler):
    trainer = make(TABULAR, tier, *on)
    with counting_syncs() as syncs:
        trainer.train_steps(num_steps)
    assert syncs.own == {place(*line): num_steps}
    assert syncs.internal == scaler * num_steps + loader_internals()


@pytest.mark.parametrize(
    ("tier", "on", "line", "scaler"),
    [("reference", (), TABULAR_LOSS, 0), ("optimized", ("mixed_precision",), TABULAR_MIXED, 1)],
    ids=["reference", "mixed precision"],
)
def test_an_epoch_of_the_tabular_regressor_asks_once_for_each_batch_it_validates_too(make, tier, on, line, scaler):
    trainer = make(TABULAR, tier, *on)
    num_batches, num_val_batches = trainer.num_batches, len(trainer.val_loader)
    assert num_batches > 1
    with counting_syncs() as syncs:
        trainer.train_epoch()
    assert syncs.own == {place(*line): num_batches, place(*TABULAR_VALIDATION): num_val_batches}
    # The loader of the validation draws a seed too; its order is no draw.
    assert syncs.internal == scaler * num_batches + loader_internals() + 1


IMAGE_RETURN = "self.ranks.mean(loss_d).item(), self.ranks.mean(loss_g).item()"
IMAGE_LOSSES = (image_reference.ReferenceTrainer.train_batch, IMAGE_RETURN)
IMAGE_SINGLE = (image_optimized.OptimizedTrainer._single_update, IMAGE_RETURN)
# The items' numbers stay in host memory, which CUDA's count leaves out; here every tensor stands for one of a device.
IMAGE_ITEMS = (image_data.CaptionData.note_damaged, "(batch.items_B < 0).any()")
IMAGE_SUMS = (image_optimized.OptimizedTrainer._accumulated_update, "sum_d.item(), sum_g.item()")


@pytest.mark.parametrize("num_steps", NUM_STEPS)
@pytest.mark.parametrize(
    ("tier", "on", "line", "scaler"),
    [
        ("reference", (), IMAGE_LOSSES, 0),
        ("optimized", (), IMAGE_SINGLE, 0),
        ("optimized", ("mixed_precision",), IMAGE_SINGLE, 2),
        ("optimized", ("gradient_accumulation",), IMAGE_SUMS, 0),
        ("optimized", ("mixed_precision", "larger_batches", "smaller_images", "sparse_logging"), IMAGE_SINGLE, 2),
    ],
    ids=["reference", "restructured", "mixed precision", "accumulation", "document 003"],
)
def test_text_to_image_asks_for_two_losses_a_step(make, num_steps, tier, on, line, scaler):
    trainer = make(IMAGE, tier, *on)
    assert num_steps <= trainer.num_steps_left
    with counting_syncs() as syncs:
        trainer.train_steps(num_steps)
    num_batches = trainer.config.accumulation_steps * num_steps if "gradient_accumulation" in on else num_steps
    assert syncs.own == {place(*line): 2 * num_steps, place(*IMAGE_ITEMS): num_batches}
    assert syncs.internal == scaler * num_steps + loader_internals()


def test_an_epoch_of_text_to_image_asks_for_nothing_more(make):
    trainer = make(IMAGE, "reference")
    num_batches = trainer.num_batches
    with counting_syncs() as syncs:
        trainer.train_epoch()
    assert syncs.own == {place(*IMAGE_LOSSES): 2 * num_batches, place(*IMAGE_ITEMS): num_batches}


def test_early_stopping_adds_one_for_each_batch_it_validates(make):
    trainer = make(IMAGE, "optimized", "early_stopping")
    num_batches, num_val_batches = trainer.num_batches, sum(1 for _ in trainer.make_loader("val"))
    with counting_syncs() as syncs:
        trainer.train_epoch()
    validation = place(image_reference.ReferenceTrainer.evaluate, ".item()")
    items = {place(*IMAGE_ITEMS): num_batches + num_val_batches}
    assert syncs.own == {place(*IMAGE_SINGLE): 2 * num_batches, validation: num_val_batches, **items}


def test_one_more_line_that_waits_would_be_seen(make, monkeypatch):
    """The control of the tests above."""
    trainer = make(TABULAR, "reference")
    train_batch = trainer.train_batch
    monkeypatch.setattr(trainer, "train_batch", lambda *batch: float(torch.tensor(train_batch(*batch))))
    with counting_syncs() as syncs:
        trainer.train_steps(2)
    assert sorted(syncs.own.values()) == [2, 2]
