"""Document 003's larger batches and smaller images: under which settings they compute the same, and where they do not.

The documents call the change of the batch size a matter of speed and better gradients. It is another training: half the
updates, and, as BatchNorm looks at a whole batch, not even the mean of two batches' gradients.
"""

import pytest
import torch

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import same
from trainers.text_to_image import FAMILY
from trainers.text_to_image.config import SWITCHES
from trainers.text_to_image.data.items import join_items
from trainers.text_to_image.model import discriminator_loss, entropy_of_probabilities

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

OFF = {switch.name: False for switch in SWITCHES}
NUM_STEPS = 4
NUM_ITEMS = 50
"""More than an epoch of the preset tiny has for training."""


def check_same(settings, seed):
    """Losses and weights are the reference's, to the bit."""
    on, overrides = settings
    arguments = {"preset": "tiny", "seed": seed, "log": lambda _: None, **overrides}
    plain, changed = build("reference", **arguments), build("optimized", switches={**OFF, on: True}, **arguments)
    for trainer in (plain, changed):
        trainer.train_steps(NUM_STEPS)
    assert changed.metrics["train_losses"] == plain.metrics["train_losses"]
    for name in ("generator", "discriminator"):
        assert same(plain.state()[name], changed.state()[name])


computes_the_same = holds(check_same, strategies.seeds(), max_examples=5)


@pytest.mark.parametrize("sizes", [(4, 4), (NUM_ITEMS, 2 * NUM_ITEMS)], ids=["of one size", "each a whole epoch"])
def test_larger_batches_are_equivalent(sizes):
    trained = build("reference", preset="tiny", log=lambda _: None).data.num_items("train")
    assert trained <= NUM_ITEMS
    computes_the_same(("larger_batches", {"batch_size": sizes[0], "large_batch_size": sizes[1]}))


@pytest.mark.parametrize("sizes", [(4, 8), (4, 5), (NUM_ITEMS // 2, NUM_ITEMS)])
def test_larger_batches_of_any_other_size_are_not(sizes):
    assert fails(computes_the_same, ("larger_batches", {"batch_size": sizes[0], "large_batch_size": sizes[1]}))


def test_smaller_images_are_equivalent_only_if_they_are_no_smaller():
    computes_the_same(("smaller_images", {"image_size": 8, "small_image_size": 8}))
    assert fails(computes_the_same, ("smaller_images", {"image_size": 16, "small_image_size": 8}))


def gradient_of(trainer, items):
    """Gradient of the discriminator's loss of a batch, without an update."""
    batch = join_items(items)
    fakes_BCHW = torch.zeros_like(batch.images_BCHW)
    loss = discriminator_loss(
        trainer.discriminator, batch.images_BCHW, torch.arange(len(items)), fakes_BCHW, batch.texts_BE,
        entropy=entropy_of_probabilities,
    )  # fmt: skip
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(trainer.discriminator.parameters()))])


@pytest.mark.parametrize("knows_the_batch", [False, True])
def test_a_batchs_gradient_is_the_mean_of_its_halves_only_without_batch_norms_statistics(knows_the_batch):
    trainer = build("reference", preset="tiny", log=lambda _: None)
    trainer.discriminator.train(knows_the_batch)
    items = [trainer.train_loader.dataset[place] for place in range(8)]
    whole = gradient_of(trainer, items)
    halves = (gradient_of(trainer, items[:4]) + gradient_of(trainer, items[4:])) / 2
    agree = torch.allclose(whole, halves, rtol=1e-4, atol=1e-6)
    assert agree is not knows_the_batch
