"""Properties 36 and 37 of the tabular regressor: tiers agree, and load each other's state."""

import itertools
import math

import pytest
import torch

from tests import strategies
from tests.properties.controls import build_faulty, fails, holds
from tests.states import assert_same_tree
from trainers.switches import weakest_parity
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.config import FASTEST_SWITCHES, PUBLISHED_SWITCHES, SWITCHES
from trainers.tabular_regressor.optimized import OptimizedTrainer

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread", "device")

NUM_STEPS = 20
EXAMPLES = 10


class MisscaledTrainer(OptimizedTrainer):
    """Trains on targets that are one per cent too large."""

    def train_batch(self, features_BF, targets_BK):
        return super().train_batch(features_BF, targets_BK * 1.01)


class IdleTrainer(OptimizedTrainer):
    """Evaluates the loss, and never steps."""

    def train_batch(self, features_BF, targets_BK):
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        loss = super().train_batch(features_BF, targets_BK)
        self.model.load_state_dict(before)
        return loss


class ReshuffledTrainer(OptimizedTrainer):
    """Takes the batches of another seed."""

    def _take_steps(self, n):
        seed, self.seed = self.seed, self.seed + 1
        super()._take_steps(n)
        self.seed = seed


class ForgetfulTrainer(OptimizedTrainer):
    """Loads everything but the optimizer's moments."""

    def load_state(self, state):
        fresh = self.state()["optimizer"]
        super().load_state({**state, "optimizer": fresh})


class RenamingTrainer(OptimizedTrainer):
    """Saves the network under other names, as a compiled or wrapped module does."""

    def state(self):
        state = super().state()
        return {**state, "model": {f"module.{name}": value for name, value in state["model"].items()}}

    def load_state(self, state):
        names = {name: name.removeprefix("module.") for name in state["model"]}
        super().load_state({**state, "model": {names[name]: value for name, value in state["model"].items()}})


def weights(trainer):
    return [value.clone() for value in trainer.state()["model"].values()]


def check_agreement(make, overrides, settings, seed):
    """36: the losses of every step agree to the weakest parity that is on, and training changed the weights."""
    on = [switch for switch in SWITCHES if settings[switch.name]]
    reference = make("reference", preset="tiny", seed=seed, **overrides)
    optimized = make("optimized", preset="tiny", seed=seed, switches=settings, **overrides)
    try:
        start = weights(optimized)
        for trainer in (reference, optimized):
            trainer.train_steps(NUM_STEPS, "train")
        ours, theirs = optimized.metrics["train_losses"], reference.metrics["train_losses"]
        assert len(ours) == NUM_STEPS
        assert all(math.isfinite(loss) for loss in ours)
        changed = [not torch.equal(before, after) for before, after in zip(start, weights(optimized), strict=True)]
        assert all(changed)
        match weakest_parity(on):
            case "bitwise":
                assert ours == theirs
            case "close":
                assert ours == pytest.approx(theirs, rel=1e-5)
    finally:
        optimized.close()
        reference.close()


bitwise_switches = [switch for switch in SWITCHES if switch.parity == "bitwise"]
settings_of_parity_keepers = strategies.switch_subsets(bitwise_switches).map(
    lambda settings: {**{switch.name: False for switch in SWITCHES}, **settings}
)
agreement = holds(
    check_agreement,
    strategies.tiny_regressor_overrides(),
    settings_of_parity_keepers,
    strategies.seeds(),
    max_examples=EXAMPLES,
)


def test_36_any_subset_of_the_parity_keeping_switches_agrees_with_the_reference():
    agreement(build)


@pytest.mark.parametrize("kind", [MisscaledTrainer, IdleTrainer, ReshuffledTrainer])
def test_36_notices_a_fault(kind):
    assert fails(agreement, build_faulty(build, kind))


def check_state_travels(make, overrides, settings, seed, num_steps, num_more):
    """37: the state of any tier loads into any other, comes out key for key, and both go on alike."""
    arguments = {"preset": "tiny", **overrides}
    quiet = {
        "reference": None,
        "published": {switch.name: switch.parity == "bitwise" for switch in PUBLISHED_SWITCHES},
        "optimized": {**settings, "mixed_precision": False},
        "fastest": {switch.name: switch.parity == "bitwise" for switch in FASTEST_SWITCHES},
    }
    for source_tier, target_tier in itertools.product(FAMILY.tiers, FAMILY.tiers):
        source, target = (
            make(tier, seed=one, switches=quiet[tier], **arguments)
            for tier, one in ((source_tier, seed), (target_tier, seed + 1))
        )
        try:
            source.train_steps(num_steps, "train")
            state = source.state()
            target.load_state(state)
            back = target.state()
            assert_same_tree(state, back)
            for trainer in (source, target):
                trainer.train_steps(num_more, "train")
            assert source.metrics["train_losses"] == target.metrics["train_losses"]
            assert_same_tree(source.state(), target.state())
        finally:
            source.close()
            target.close()


state_travels = holds(
    check_state_travels,
    strategies.tiny_regressor_overrides(),
    strategies.switch_subsets(SWITCHES),
    strategies.seeds(),
    strategies.step_counts(),
    strategies.step_counts(),
    max_examples=4,
)


def test_37_the_state_of_any_tier_loads_into_any_other_key_for_key():
    state_travels(build)


@pytest.mark.parametrize("kind", [ForgetfulTrainer, RenamingTrainer])
def test_37_notices_a_fault(kind):
    assert fails(state_travels, build_faulty(build, kind))
