"""Measure the speedup of each switch of the fastest tiers: the reference against one row of switches after another.

`restructured` has all of them off: it shows what rewriting alone changes. From there each row of the ladder turns on
one more switch, in the family's order, until all are on. Then each switch is left out once,
with all the others on, and measured against all. A switch whose effect shows in neither is not worth keeping. A switch
that its tier leaves off here, since it gains nothing on this device, is off in every row, and its own rows are skipped
with the reason.
"""

import pytest

from bench.harness.ablation import ablation
from bench.harness.images import IMAGES_IN_BATCHES_ALIKE
from trainers import family

pytestmark = pytest.mark.ladder


def rows(name, times=1):
    """Return the rows over the switches of a family's fastest tier as parameters, each under its label.

    Args:
        name: the family's.
        times: how many times --speedup-max-time a row against the reference may take, where that is slow.
    """
    long = {"ladder": [pytest.mark.speedup_long(times)]}
    switches = family(name).switches["fastest"]
    return [pytest.param(row, id=row.label, marks=long.get(row.kind, ())) for row in ablation(switches)]


def ablated(bench, row):
    """Return what the pair of a row is given; skip the row of a switch that does nothing here."""
    left_off = bench.left_off("fastest")
    if row.switch in left_off:
        pytest.skip(f"{row.switch} is off here: {left_off[row.switch]}")
    return bench.ablated("fastest", row, left_off)


@pytest.mark.parametrize("row", rows("dialogue_gan", times=6))
def test_dialogue_gan_adversarial_batches(dialogue_gan, preset, row):
    """Adversarial batches: the speedup of each switch of the fastest tier."""
    # Fewer than fit into one call; at full size, where a batch takes the reference half a minute, one.
    dialogue_gan.steps(**ablated(dialogue_gan, row), num_steps=1 if preset == "default" else 4)


@pytest.mark.parametrize("row", rows("tabular_regressor"))
def test_tabular_regressor_epoch(tabular_regressor, row):
    """An epoch: the speedup of each switch of the fastest tier."""
    tabular_regressor.epochs(**ablated(tabular_regressor, row))


@pytest.mark.parametrize("row", rows("text_to_image", times=2))
def test_text_to_image_same_work(text_to_image, preset, row):
    """The same images: the speedup of each switch of the fastest tier."""
    num_images = IMAGES_IN_BATCHES_ALIKE[preset]
    text_to_image.images(**ablated(text_to_image, row), num_images=num_images, with_stages=False)
