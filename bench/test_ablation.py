"""What each switch of the fastest tiers is worth: the reference against one row of switches after the other.

`restructured` has all of them off: what rewriting alone changes. From there the ladder turns on one more a row, in the
order of its family's `FASTEST_SWITCHES`, until all are on; then each is left out once, with all the others on. A switch
that shows in neither does not earn its place.
"""

import pytest

from bench.sides import ablation
from trainers.dialogue_gan import FASTEST_SWITCHES as DIALOGUE_SWITCHES

pytestmark = [pytest.mark.ladder, pytest.mark.long_pair(6)]


def rows(switches):
    """Return the rows over some switches as parameters, each under its label."""
    return [pytest.param(label, settings, id=label) for label, settings in ablation(switches)]


@pytest.mark.parametrize(("label", "settings"), rows(DIALOGUE_SWITCHES))
def test_dialogue_gan_adversarial_batches(dialogue_gan, preset, label, settings):
    """Adversarial batches with some of the fastest tier's switches against the reference's."""
    # Fewer than fit into one call; at full size, where a batch takes the reference half a minute, one.
    num_steps = 1 if preset == "default" else 4
    after = dialogue_gan.switched("fastest", label, settings)
    dialogue_gan.steps(before=dialogue_gan.reference(), after=after, num_steps=num_steps)
