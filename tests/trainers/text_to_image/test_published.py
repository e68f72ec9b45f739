"""The published program of document 003: what each defect does, and that without them it is the optimized tier."""

import pytest

from trainers.contract import BadInput
from trainers.text_to_image import FAMILY
from trainers.text_to_image.config import PUBLISHED_SWITCHES, SWITCHES

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

DEFECTS = [switch.name for switch in PUBLISHED_SWITCHES if switch not in SWITCHES]
LOSSES = ("discriminator_losses", "generator_losses")


def make(tier, **on):
    known = {"reference": (), "published": PUBLISHED_SWITCHES, "optimized": SWITCHES}[tier]
    switches = {switch.name: False for switch in known} | on
    return FAMILY.build(tier, preset="tiny", log=lambda _: None, switches=switches)


def losses(trainer, num_steps=4):
    trainer.train_steps(num_steps)
    return [trainer.metrics[name] for name in LOSSES]


def test_it_has_the_documents_changes_and_two_defects():
    assert DEFECTS == ["autocast_on_cuda_only", "fixed_network_depth"]
    trainer = FAMILY.build("published", preset="tiny", log=lambda _: None)
    assert trainer.switches == {switch.name: switch.default for switch in PUBLISHED_SWITCHES}


@pytest.mark.parametrize(
    "on",
    [
        {},
        {"mixed_precision": True},
        {"larger_batches": True, "sparse_logging": True},
        {"smaller_images": True, "fewer_epochs": True},
        {"gradient_accumulation": True, "cosine_schedule": True},
    ],
)
def test_with_its_defects_off_it_is_the_optimized_tier_to_the_bit(on):
    ours, theirs = make("published", **on), make("optimized", **on)
    assert losses(ours) == losses(theirs)
    assert ours.config == theirs.config


def test_on_a_cpu_its_mixed_precision_does_nothing():
    plain = losses(make("reference"))
    assert losses(make("published", mixed_precision=True, autocast_on_cuda_only=True)) == plain
    assert losses(make("published", mixed_precision=True)) != plain


def test_its_networks_fail_at_smaller_images():
    with pytest.raises(BadInput, match=r"the published networks, made for 16 pixels, fail at 8 .*Kernel size"):
        losses(make("published", smaller_images=True, fixed_network_depth=True))


def test_its_networks_are_those_of_the_larger_images_and_train_on_these():
    fixed, right = make("published", fixed_network_depth=True), make("published")
    assert fixed.architecture == right.architecture
    assert losses(fixed) == losses(right)
    smaller = make("published", smaller_images=True, fixed_network_depth=True)
    assert smaller.architecture == right.architecture
    assert smaller.config.image_size < right.config.image_size
