"""Properties 36 to 38 of the dialogue GAN: tiers agree, load each other's state, and go on where they were stopped.

What needs fresh processes, to the bit, is in `test_dialogue_processes`.
"""

import functools
import itertools

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import assert_same_tree, put_back
from trainers.common import checkpoint
from trainers.contract import BadInput

pytest.importorskip("tensorflow")

from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import SWITCHES
from trainers.dialogue_gan.optimized import OptimizedTrainer

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache")

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
PARTS = ("generator", "discriminator")
CANCELLED = 1e-5  # likewise, for sums in which rewards meet their mean
RECOMPILED = 1e-4  # of other graphs of the same mathematics
CLOSE = 1e-5  # in one process TensorFlow does not even repeat itself to the bit
NUM_STEPS = 5  # of each phase; 20 adversarial ones are compared between fresh processes
QUIET = {"preset": "tiny", "log": lambda _: None}
PAIR = {"sequence_length": 3, "gradient_clip": float("inf")}


class SharpenedTrainer(OptimizedTrainer):
    """Divides the logits by a temperature that is off."""

    def _set_temperature(self, epoch):
        super()._set_temperature(epoch)
        self._temperature = self._as_argument(self._temperature_of_epoch(epoch) * 2)


class IdleTrainer(OptimizedTrainer):
    """Evaluates the losses, and never steps."""

    def update(self, optimizer, network, gradients):
        return super().update(optimizer, network, [gradient * 0.0 for gradient in map(_dense, gradients)])


class ReshuffledTrainer(OptimizedTrainer):
    """Takes the batches of another seed."""

    def _take_steps(self, n, phase):
        seed, self.seed = self.seed, self.seed + 1
        super()._take_steps(n, phase)
        self.seed = seed


class ForgetfulTrainer(OptimizedTrainer):
    """Loads everything but the generator's moments."""

    def load_state(self, state):
        fresh = self.state()["generator_optimizer"]
        super().load_state({**state, "generator_optimizer": fresh})


class RenamingTrainer(OptimizedTrainer):
    """Saves the generator under its own name, as a wrapped network does."""

    def state(self):
        state = super().state()
        return {**state, "generator": {f"wrapped/{name}": value for name, value in state["generator"].items()}}

    def load_state(self, state):
        names = {name.removeprefix("wrapped/"): value for name, value in state["generator"].items()}
        super().load_state({**state, "generator": names})


def _dense(gradient):
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def trained_weights(trainer):
    """Weights that training must change: without conditions, their embeddings get no gradient."""
    state = trainer.state()
    return {
        (part, name): value
        for part in PARTS
        for name, value in state[part].items()
        if trainer.config.conditional or not name.startswith(("character", "scene"))
    }


# --- 36 ---


def check_agreement(make, overrides, settings, seed):
    """36: the losses of every step agree, and training changed the weights."""
    reference = make("reference", seed=seed, **QUIET, **overrides)
    optimized = make("optimized", seed=seed, switches=settings, **QUIET, **overrides)
    start = trained_weights(optimized)
    for phase in PHASES:
        for trainer in (reference, optimized):
            trainer.train_steps(NUM_STEPS, phase)
        ours, theirs = optimized.metrics, reference.metrics
        assert ours["num_skipped_steps"] == 0
        for name in ("train_losses", "discriminator_losses", "rewards"):
            assert ours.get(name, []) == pytest.approx(theirs.get(name, []), rel=CLOSE), (phase, name)
        # Adversarial ones cancel almost to nothing; at first, what is left of them is rounding.
        ours, theirs = ours.get("generator_losses", []), theirs.get("generator_losses", [])
        assert ours == pytest.approx(theirs, rel=CLOSE, abs=CANCELLED), phase
    changed = {key: not np.array_equal(start[key], value) for key, value in trained_weights(optimized).items()}
    assert all(changed.values()), changed


agreement = holds(
    check_agreement,
    strategies.tiny_dialogue_overrides(),
    strategies.switch_subsets(SWITCHES),
    strategies.seeds(),
    max_examples=3,
)


def test_36_any_subset_of_the_switches_agrees_with_the_reference_where_the_documents_promise_it():
    """That is at temperature 1, an infinite limit and interval 1: there even the other switches keep parity."""
    agreement(build)


@functools.cache
def pair_of(tier):
    """Two trainers of a tier that share nothing; they are all that the tests which follow need graphs of.

    The limit on norms is infinite, as the agreement needs it. All batches are whole: for another size the reference
    would be traced anew.
    """
    pair = tuple(build(tier, seed=seed, **PAIR, **QUIET) for seed in (1, 2))
    assert len(pair[0].data.train) % pair[0].config.batch_size == 0
    return pair


@functools.cache
def first_state(tier):
    """The state in which a trainer of another seed begins."""
    return build(tier, seed=3, **PAIR, **QUIET).state()


def at_the_start(kind=OptimizedTrainer):
    """Make a `build` that gives those trainers at temperature 1, the optimized one as one of `kind`.

    At the original's rates the generator's adversarial loss stays too close to nothing for a fault to show.
    """

    def build_again(tier, **_):
        trainer, start = pair_of(tier)[0], first_state(tier)
        trainer.config = trainer.config.replace(temp_start=1.0, temp_end=1.0)
        if tier == "optimized":
            trainer.__class__ = kind
            if kind is IdleTrainer:  # its fault is part of the graphs
                trainer.compile_steps()
        faster = {
            f"{part}_optimizer": {**start[f"{part}_optimizer"], "learning_rate": np.float32(0.01)} for part in PARTS
        }
        trainer.load_state({**start, **faster})
        return trainer

    return build_again


@pytest.fixture
def sound():
    """Leave the trainers of `pair_of` as they were before."""
    trainers = [trainer for tier in FAMILY.tiers for trainer in pair_of(tier)]
    before = [(trainer.__class__, trainer.state(), dict(vars(trainer))) for trainer in trainers]
    yield
    for trainer, (kind, state, parts) in zip(trainers, before, strict=True):
        trainer.__class__ = kind
        put_back(trainer, parts, state)


all_on = holds(
    check_agreement,
    *map(strategies.st.just, ({}, {switch.name: switch.default for switch in SWITCHES}, 3)),
    max_examples=1,
)


@pytest.mark.usefixtures("sound")
def test_36_with_the_documents_own_switches_it_agrees_too():
    all_on(at_the_start())


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("kind", [SharpenedTrainer, ReshuffledTrainer, IdleTrainer])
def test_36_notices_a_fault(kind):
    assert fails(all_on, at_the_start(kind))


# --- 37 ---


def check_state_travels(kind, num_steps, num_more):
    """37: the state of any tier loads into any other, comes out key for key, and both go on alike."""
    for trainer in pair_of("optimized"):
        trainer.__class__ = kind
    for source_tier, target_tier in itertools.product(FAMILY.tiers, FAMILY.tiers):
        source, target = pair_of(source_tier)[0], pair_of(target_tier)[1]
        for phase in PHASES:
            source.train_steps(num_steps, phase)
        state = source.state()
        kept = checkpoint.dumps(state)
        target.load_state(state)
        assert_same_tree(state, target.state())
        anneals = [tier in {"published", "optimized"} for tier in (source_tier, target_tier)]
        if anneals[0] == anneals[1]:  # a temperature sets a tier apart
            for phase in PHASES:
                for trainer in (source, target):
                    trainer.train_steps(num_more, phase)
                ours, theirs = (trainer.metrics["train_losses"] for trainer in (source, target))
                # Adversarial losses of the generator are nothing beside the discriminator's in their sum.
                assert ours == pytest.approx(theirs, rel=CLOSE if source_tier == target_tier else RECOMPILED)
        assert checkpoint.dumps(state) == kept, "a snapshot that was loaded belongs to whoever took it"


state_travels = holds(check_state_travels, strategies.few(6), strategies.few(6), max_examples=2)


@pytest.mark.usefixtures("sound")
def test_37_the_state_of_any_tier_loads_into_any_other_key_for_key():
    state_travels(OptimizedTrainer)


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("kind", [ForgetfulTrainer, RenamingTrainer])
def test_37_notices_a_fault(kind):
    assert fails(state_travels, kind)


def test_37_a_state_of_another_architecture_is_refused_by_name():
    trainer = pair_of("reference")[0]
    state = trainer.state()
    other = {**state, "architecture": {**state["architecture"], "hidden_size": 9}}
    with pytest.raises(BadInput, match="hidden_size is 9"):
        trainer.load_state(other)
    with pytest.raises(BadInput, match="no state of a dialogue_gan"):
        trainer.load_state({**state, "family": "tabular_regressor"})


# --- 38 ---


def check_resume(subject, phase, num_steps, num_more):
    """38: a trainer that loads a checkpoint goes on like the one that was not stopped."""
    tier, forgotten = subject
    whole, after = pair_of(tier)
    whole.train_steps(num_steps, phase)
    state = checkpoint.loads(checkpoint.dumps(whole.state()), "state")
    if forgotten is not None:
        part, key = forgotten
        state[part][key] = after.state()[part][key]
    after.load_state(state)
    for trainer in (whole, after):
        trainer.train_steps(num_more, phase)
    # One part that is forgotten is not the other phases': each is told by the phase that it belongs to.
    assert whole.metrics["train_losses"] == pytest.approx(after.metrics["train_losses"], rel=CLOSE)
    assert whole.position(phase) == after.position(phase)


resumes = holds(check_resume, strategies.st.sampled_from(PHASES), strategies.few(20), strategies.few(8), max_examples=8)


@pytest.mark.parametrize("tier", ["optimized", "fastest"])
def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted(tier):
    resumes((tier, None))


@pytest.mark.parametrize(
    "forgotten", [("generator", "logits/kernel"), ("discriminator", "dense_1/kernel"), ("progress", "positions")]
)
@pytest.mark.parametrize("tier", ["optimized", "fastest"])
def test_38_notices_a_part_that_is_forgotten(tier, forgotten):
    pair_of(tier)[1].load_state(build(tier, seed=9, **PAIR, **QUIET).state())
    assert fails(resumes, (tier, forgotten))
