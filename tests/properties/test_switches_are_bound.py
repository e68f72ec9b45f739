"""A switch is bound when a trainer is built: turned later, it changes no step of the PyTorch families.

The dialogue GAN's half is in `test_dialogue_schedule`.
"""

import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import same
from trainers import family
from trainers.tabular_regressor.optimized import OptimizedTrainer as Regressor
from trainers.text_to_image.model import entropy_of_logits, entropy_of_probabilities
from trainers.text_to_image.optimized import OptimizedTrainer as Painter

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

SLOW = {"compiled_networks", "loader_workers"}


class AskingRegressor(Regressor):
    """Asks for a switch in every step."""

    def train_batch(self, features_BF, targets_BK):
        mixed = self.switches["mixed_precision"]
        self._train_batch = self._mixed_precision_batch if mixed else super(Regressor, self).train_batch
        return super().train_batch(features_BF, targets_BK)


class AskingPainter(Painter):
    """Asks for a switch in every step."""

    def _try(self, batches):
        self._entropy = entropy_of_logits if self.switches["mixed_precision"] else entropy_of_probabilities
        return super()._try(batches)


def check_bound(kind, settings, seed, num_steps):
    of = family("tabular_regressor" if issubclass(kind, Regressor) else "text_to_image")
    arguments = {"num_workers": 0} if issubclass(kind, Regressor) else {"log": lambda _: None}
    chosen = {switch.name: settings[number % len(settings)] for number, switch in enumerate(of.switches["optimized"])}
    chosen |= dict.fromkeys(SLOW & set(chosen), False)
    pair = [of.build("optimized", preset="tiny", seed=seed, switches=chosen, **arguments) for _ in range(2)]
    turned, left = pair
    turned.__class__ = kind
    turned.switches = {name: not on for name, on in turned.switches.items()}
    for trainer in pair:
        trainer.train_steps(num_steps)
    assert turned.metrics == left.metrics
    assert same(turned.state(), left.state())


bound = holds(
    check_bound,
    strategies.st.lists(strategies.flags(), min_size=10, max_size=10),
    strategies.seeds(),
    strategies.few(3),
    max_examples=8,
)


@pytest.mark.parametrize("kind", [Regressor, Painter])
def test_a_switch_that_is_turned_later_changes_nothing(kind):
    bound(kind)


@pytest.mark.parametrize("kind", [AskingRegressor, AskingPainter])
def test_a_switch_that_is_asked_for_in_a_step_would_be_seen(kind):
    assert fails(bound, kind)
