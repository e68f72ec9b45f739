"""The published program of documents 000 to 002: what each defect does, and the optimized tier without them."""

import math

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from bench.harness.dialogue import poisoned_steps, weights_are_finite
from speedclaims.recorders.syncs.tensorflow import counting_syncs
from tests.states import assert_same_tree
from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import PHASES, PUBLISHED_SWITCHES, SWITCHES

pytestmark = pytest.mark.usefixtures("private_cache")

SMALL = {"preset": "tiny", "sequence_length": 3, "log": lambda _: None}
DEFECTS = [switch.name for switch in PUBLISHED_SWITCHES if switch.name not in {each.name for each in SWITCHES}]
RIGHT = dict.fromkeys(DEFECTS, False)


def make(tier="published", **switches):
    return FAMILY.build(tier, switches=switches or None, **SMALL)


def test_it_has_the_documents_changes_and_three_defects_all_on():
    assert DEFECTS == ["guards_adversarial_phase_only", "sampler_asks_for_length", "fetches_one_by_one"]
    assert make().switches == {switch.name: True for switch in PUBLISHED_SWITCHES}


def test_with_its_defects_off_it_is_the_optimized_tier_in_all_phases():
    ours, theirs = make(**RIGHT, python_float_temperature=False), make("optimized")
    for phase in PHASES:
        for trainer in (ours, theirs):
            trainer.train_steps(3, phase)
        assert ours.metrics["train_losses"] == pytest.approx(theirs.metrics["train_losses"], rel=1e-5)
        assert ours.metrics["num_skipped_steps"] == theirs.metrics["num_skipped_steps"] == 0
    assert ours.state().keys() == theirs.state().keys()


def test_its_defects_change_no_loss_while_gradients_are_finite():
    ours, theirs = make(), make("optimized")
    for phase in PHASES:
        for trainer in (ours, theirs):
            trainer.train_steps(3, phase)
        assert ours.metrics["train_losses"] == pytest.approx(theirs.metrics["train_losses"], rel=1e-5)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_only_updates_of_the_adversarial_phase_are_guarded(phase, value):
    published, right = make(), make(guards_adversarial_phase_only=False)
    for trainer in (published, right):
        poisoned_steps(trainer, phase, value)
    assert weights_are_finite(right)
    assert weights_are_finite(published) == (phase == "adversarial")


def test_a_guard_of_one_phase_is_back_in_the_next():
    """A phase's graphs are traced in its first step, after those of other phases."""
    guarded, unguarded = make(), make()
    for phase in PHASES[:2]:
        guarded.train_steps(1, phase)
    poisoned_steps(guarded, "adversarial", math.nan)
    assert weights_are_finite(guarded)
    unguarded.train_steps(1, "adversarial")
    poisoned_steps(unguarded, "generator_pretraining", math.nan)
    assert not weights_are_finite(unguarded)


def test_a_state_with_weights_that_are_no_numbers_is_replaced_by_any_other():
    trainer = make()
    state = trainer.state()
    poisoned_steps(trainer, "generator_pretraining", math.nan)
    assert not weights_are_finite(trainer)
    trainer.load_state(state)
    assert_same_tree(state, trainer.state())


@pytest.mark.parametrize(("tier", "off", "extra"), [
    ("reference", (), 1), ("published", (), 1), ("published", ("sampler_asks_for_length",), 0), ("optimized", (), 0),
])  # fmt: skip
def test_the_sampler_asks_for_its_length_once_a_batch(tier, off, extra):
    """The figures of a batch apart, which the reference fetches at once."""
    trainer = make(tier, **dict.fromkeys(off, False))
    trainer.train_steps(1, "adversarial")
    with counting_syncs() as syncs:
        trainer.train_steps(2, "adversarial")
    of_the_sampler = {place: count for place, count in syncs.own.items() if "model.py" in place}
    assert sum(of_the_sampler.values()) == 2 * extra
    assert syncs.own.total() - 2 * extra == (8 if tier == "reference" else 0)


@pytest.mark.parametrize(("apart", "transfers"), [(True, 4 * 3), (False, 4)])
def test_it_fetches_every_figure_by_itself_at_the_end(apart, transfers):
    """Four series of three batches; whether updates were applied is one transfer more, and not the program's."""
    trainer, others = make(fetches_one_by_one=apart), make("optimized")
    for each in (trainer, others):
        each.train_steps(3, "adversarial")
    with counting_syncs() as syncs:
        metrics = trainer.metrics
    assert syncs.own.total() == transfers + 1
    assert metrics["train_losses"] == pytest.approx(others.metrics["train_losses"], rel=1e-5)


def test_a_temperature_that_is_a_python_number_is_traced_again_in_every_epoch():
    counts = {}
    for name, trainer in (("published", make()), ("right", make(python_float_temperature=False))):
        seen = []
        for _ in range(3):
            trainer.train_steps(1, "adversarial")
            seen.append(trainer.num_traces)
            trainer.train_epoch("adversarial")
        counts[name] = np.diff(seen).tolist()
    assert counts == {"published": [1, 1], "right": [0, 0]}
