"""Properties 14 to 19 of the guard against gradients that are not finite; each with a planted fault."""

import functools
import math
from hashlib import sha256
from types import MethodType

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import put_back

tf = pytest.importorskip("tensorflow")

from trainers.common import checkpoint  # noqa: E402 - only with TensorFlow
from trainers.dialogue_gan import FAMILY  # noqa: E402 - likewise
from trainers.dialogue_gan.optimized import OptimizedTrainer, TooManySkips  # noqa: E402 - likewise
from trainers.tensorflow.clipping import clip_by_global_norm  # noqa: E402 - likewise

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache")

NETWORKS = ("generator", "discriminator")
PRETRAINING, ADVERSARIAL = "generator_pretraining", "adversarial"
EXAMPLES = 8


class PoisonedTrainer(OptimizedTrainer):
    """Adds to one gradient of a network what a test chooses, in the graph."""

    def update(self, optimizer, network, gradients):
        poison = self.poison[network.name]
        spoilt = []
        for number, gradient in enumerate(gradients):
            if isinstance(gradient, tf.IndexedSlices):
                values = gradient.values + poison[number]
                spoilt.append(tf.IndexedSlices(values, gradient.indices, gradient.dense_shape))
            else:
                spoilt.append(gradient + poison[number])
        return super().update(optimizer, network, spoilt)


class poisoned:
    """While it lasts, the gradients of one network are spoilt."""

    def __init__(self, trainer, network, value, place):
        self.poison = trainer.poison[network]
        self.value, self.place = value, place % self.poison.shape[0]

    def __enter__(self):
        spoilt = np.zeros(self.poison.shape[0], np.float32)
        spoilt[self.place] = self.value
        self.poison.assign(spoilt)

    def __exit__(self, *_):
        self.poison.assign(tf.zeros_like(self.poison))


def plain(trainer):
    """Leave the guard as it is."""


@functools.cache
def made(plant):
    """A trainer with a fault planted before its graphs are traced, its first state, and what it is made of."""
    trainer = build(
        "optimized", preset="tiny", sequence_length=3, num_lines=20, max_consecutive_skips=5, log=lambda _: None
    )
    trainer.__class__ = PoisonedTrainer
    trainer.poison = {
        network.name: tf.Variable(tf.zeros(len(network.trainable_variables)))
        for network in (trainer.generator, trainer.discriminator)
    }
    plant(trainer)
    return trainer, trainer.state(), dict(vars(trainer))


def fresh(plant):
    """A trainer in its first state; a fault that is in no graph is planted in the one without, and gone the next time.

    All of them have the graphs of `plain`, which take their time to be traced.
    """
    is_in_graphs = plant not in {forgetting_to_count, counting_all, without_a_cap}
    trainer, start, parts = made(plant if is_in_graphs else plain)
    put_back(trainer, parts, start)
    if not is_in_graphs:
        plant(trainer)
    return trainer


def learned(trainer, network):
    """A digest of all that an update of one network may change: pytest would draw up the differences of the bytes."""
    state = trainer.state()
    return sha256(checkpoint.dumps([state[network], state[f"{network}_optimizer"]])).hexdigest()


# --- faults to plant ---


def unguarded(trainer):
    trainer._apply = trainer._apply_always


def guarded_as_documented(trainer):
    """The documents' guard: it looks for NaN alone, and here no clip makes one of an infinity."""

    def apply(_, optimizer, variables, gradients):
        flat = [tf.convert_to_tensor(each) for each in gradients]
        has_nan = tf.reduce_any([tf.reduce_any(tf.math.is_nan(each)) for each in flat])

        def step():
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return tf.constant(True)  # noqa: FBT003 - it is the answer

        return tf.cond(has_nan, lambda: tf.constant(False), step)  # noqa: FBT003 - it is the answer

    trainer._apply = MethodType(apply, trainer)


def stepping_with_zeros(trainer):
    """Replaces what it should leave out by zeros, and lets Adam move on by its moments."""

    def apply(_, optimizer, variables, gradients):
        clipped = clip_by_global_norm(gradients, 1.0)
        safe = [
            tf.where(clipped.may_step, tf.convert_to_tensor(each), tf.zeros_like(tf.convert_to_tensor(each)))
            for each in clipped.gradients
        ]
        optimizer.apply_gradients(zip(safe, variables, strict=True))
        return clipped.may_step

    trainer._apply = MethodType(apply, trainer)


def sharing_one_guard(trainer):
    """Leaves out an update of either network after a bad one of the other."""
    good = tf.Variable(True)  # noqa: FBT003 - it is a flag
    guarded = trainer._apply

    def apply(_, optimizer, variables, gradients):
        def step():
            good.assign(guarded(optimizer, variables, gradients))
            return tf.identity(good)

        def leave_out():
            good.assign(True)  # noqa: FBT003 - likewise
            return tf.constant(False)  # noqa: FBT003 - likewise

        return tf.cond(good, step, leave_out)

    trainer._apply = MethodType(apply, trainer)


def forgetting_to_count(trainer):
    trainer._count_applied = lambda *_, **__: None


def counting_all(trainer):
    """Takes skips for a row whatever lies between them."""
    count = trainer._count_applied

    def count_on(network, figures, *, applied):
        before = trainer._consecutive_skips[network]
        count(network, figures, applied=applied)
        trainer._consecutive_skips[network] = before + (not applied)

    trainer._count_applied = count_on


def without_a_cap(trainer):
    trainer._check_skips = lambda: None


# --- 14 ---


def check_nothing_changes(plant, network, value, place, num_before):
    """14: weights, moments and step counts are bitwise what they were."""
    trainer = fresh(plant)
    trainer.train_steps(num_before, ADVERSARIAL)
    before = learned(trainer, network)
    with poisoned(trainer, network, value, place):
        trainer.train_steps(1, ADVERSARIAL)
    assert learned(trainer, network) == before


nothing_changes = holds(
    check_nothing_changes,
    strategies.st.sampled_from(NETWORKS),
    strategies.spoilt_gradients(),
    strategies.places(),
    strategies.few(2),
    max_examples=EXAMPLES,
)


def test_14_a_bad_update_changes_nothing_of_its_network():
    nothing_changes(plain)


@pytest.mark.parametrize("plant", [unguarded, guarded_as_documented, stepping_with_zeros])
def test_14_notices_a_fault(plant):
    assert fails(nothing_changes, plant)


# --- 15 ---


def without_a_step(trainer):
    """Go on to the next batch without a step on this one."""
    state = trainer.state()
    epoch, step = state["progress"]["positions"][PRETRAINING]
    state["progress"]["positions"][PRETRAINING] = [epoch, step + 1]
    state["progress"]["consecutive_skips"] = dict.fromkeys(NETWORKS, 0)
    trainer.load_state(state)


def check_as_if_they_had_not_been(plant, bad, value, place):
    """15: bad steps put among good ones leave what the good ones alone leave, bitwise."""
    trainer = fresh(plant)
    for is_bad in bad:
        with poisoned(trainer, "generator", value if is_bad else 0.0, place):
            trainer.train_steps(1, PRETRAINING)
    with_them = learned(trainer, "generator")
    trainer = fresh(plain)
    for is_bad in bad:
        if is_bad:
            without_a_step(trainer)
        else:
            trainer.train_steps(1, PRETRAINING)
    assert learned(trainer, "generator") == with_them


as_if_they_had_not_been = holds(
    check_as_if_they_had_not_been,
    strategies.good_and_bad_steps(),
    strategies.spoilt_gradients(),
    strategies.places(),
    max_examples=EXAMPLES,
)


def test_15_bad_steps_are_as_if_they_had_not_been():
    as_if_they_had_not_been(plain)


def test_15_notices_a_step_with_zeros():
    assert fails(as_if_they_had_not_been, stepping_with_zeros)


# --- 16 ---


def check_skip_is_no_zero_step(plant, value, place, num_before):
    """16: after a step that gave Adam moments, leaving out and stepping with zeros end differently."""
    left = []
    for each in (plant, stepping_with_zeros):
        trainer = fresh(each)
        trainer.train_steps(num_before, PRETRAINING)
        with poisoned(trainer, "generator", value, place):
            trainer.train_steps(1, PRETRAINING)
        left.append(learned(trainer, "generator"))
    assert left[0] != left[1]


skip_is_no_zero_step = holds(
    check_skip_is_no_zero_step,
    strategies.spoilt_gradients(),
    strategies.places(),
    strategies.few(3),
    max_examples=EXAMPLES,
)


def test_16_leaving_out_is_no_step_with_zeros():
    skip_is_no_zero_step(plain)


def test_16_notices_a_step_with_zeros():
    assert fails(skip_is_no_zero_step, stepping_with_zeros)


# --- 17 ---


def check_counts(plant, bad, value, place):
    """17: what was left out and what was applied are together what was attempted; too many in a row are an error."""
    trainer = fresh(plant)
    cap = trainer.config.max_consecutive_skips
    skipped = in_a_row = 0
    for is_bad in bad:
        with poisoned(trainer, "generator", value if is_bad else 0.0, place):
            trainer.train_steps(1, PRETRAINING)
        in_a_row = in_a_row + 1 if is_bad else 0
        if in_a_row == cap:
            try:
                trainer.metrics["num_steps"]
            except TooManySkips as error:
                assert "generator" in str(error)  # noqa: PT017 - a missing error is the fault looked for
                return
            raise AssertionError("the cap was passed in silence")
        try:
            skipped += trainer.metrics["num_skipped_steps"]
        except TooManySkips as error:
            raise AssertionError("fewer than the cap in a row ended it") from error
    applied = int(trainer.generator_optimizer.iterations.numpy())
    assert skipped + applied == len(bad)
    assert applied == bad.count(False)


counts = holds(
    check_counts,
    strategies.good_and_bad_steps(),
    strategies.spoilt_gradients(),
    strategies.places(),
    max_examples=EXAMPLES,
)


def test_17_skipped_and_applied_are_attempted_and_the_cap_raises():
    counts(plain)


@pytest.mark.parametrize("plant", [forgetting_to_count, unguarded, counting_all])
def test_17_notices_a_fault(plant):
    assert fails(counts, plant)


def test_17_notices_a_cap_that_is_missing():
    long = holds(check_counts, strategies.st.just([True] * 8), strategies.spoilt_gradients(), strategies.places())
    long(plain)
    assert fails(long, without_a_cap)


# --- 18 ---


def check_the_other_goes_on(plant, bad, value, place):
    """18: a bad update of one network leaves the other's as it would have been."""
    (good,) = set(NETWORKS) - {bad}
    calm, hit = [], []
    for left, poison in ((calm, 0.0), (hit, value)):
        trainer = fresh(plant)
        trainer.train_steps(1, ADVERSARIAL)
        before = {network: learned(trainer, network) for network in NETWORKS}
        with poisoned(trainer, bad, poison, place):
            trainer.train_steps(1, ADVERSARIAL)
        left += [before[good], learned(trainer, good), int(trainer.generator_optimizer.iterations.numpy())]
        assert (learned(trainer, bad) == before[bad]) == bool(poison)
    assert hit[0] != hit[1], "the other network has learned"
    if bad == "generator":
        assert hit[:2] == calm[:2], "the discriminator comes first, so it does not even notice"


the_other_goes_on = holds(
    check_the_other_goes_on,
    strategies.st.sampled_from(NETWORKS),
    strategies.spoilt_gradients(),
    strategies.places(),
    max_examples=EXAMPLES,
)


def test_18_a_bad_update_of_one_network_leaves_the_other_alone():
    the_other_goes_on(plain)


def test_18_notices_a_guard_that_both_share():
    assert fails(the_other_goes_on, sharing_one_guard)


# --- 19 ---


def check_nan_weights_end_it(plant, network, place):
    """19: from weights that are NaN there is no way back: the epoch ends with an error, and nothing was applied."""
    trainer = fresh(plant)
    trainer.train_steps(1, ADVERSARIAL)
    state = trainer.state()
    names = sorted(name for name in state[network] if name.endswith("kernel"))
    state[network][names[place % len(names)]][...] = math.nan
    trainer.load_state(state)
    before = checkpoint.dumps(state[f"{network}_optimizer"])
    try:
        trainer.train_epoch(ADVERSARIAL)
    except TooManySkips as error:
        assert network in str(error)  # noqa: PT017 - a missing error is the fault looked for
    else:
        raise AssertionError("the epoch ended in silence")
    assert checkpoint.dumps(trainer.state()[f"{network}_optimizer"]) == before


nan_weights_end_it = holds(
    check_nan_weights_end_it, strategies.st.sampled_from(NETWORKS), strategies.places(), max_examples=3
)


def test_19_weights_that_are_nan_end_the_training_with_an_error():
    nan_weights_end_it(plain)


@pytest.mark.parametrize("plant", [without_a_cap, unguarded])
def test_19_notices_a_silent_finish(plant):
    assert fails(nan_weights_end_it, plant)
