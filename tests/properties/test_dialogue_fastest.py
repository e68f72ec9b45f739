"""Properties 23, 25, 26 and 36 of the dialogue GAN's fastest tier: the reference's work, by call and by token.

Its states (37) and its resuming (38) are tested with the other tiers', in `test_dialogue_tiers_agree`.
"""

import functools

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds

tf = pytest.importorskip("tensorflow")

from trainers.dialogue_gan import FAMILY, recurrence  # noqa: E402 - only with TensorFlow
from trainers.dialogue_gan.config import FASTEST_SWITCHES  # noqa: E402 - only with TensorFlow
from trainers.dialogue_gan.fastest import FastestTrainer  # noqa: E402 - likewise
from trainers.dialogue_gan.model import sample_sequences, seed_words  # noqa: E402 - likewise
from trainers.dialogue_gan.recurrence import hoisted_lstm, incremental_sequences  # noqa: E402 - likewise

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache")

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
QUIET = {"preset": "tiny", "log": lambda _: None}
# At the original's rates the generator's adversarial loss stays too close to nothing for a fault to show.
FIXED = {
    "sequence_length": 4,
    "num_lines": 4,
    "batch_size": 3,
    "learning_rate_g": 0.01,
    "learning_rate_d": 0.01,
    "d_steps": 2,
}
STEPS_PER_CALL = 4
RECOMPILED = 1e-4  # of other graphs of the same mathematics
NUM_STEPS = 5


@pytest.fixture(scope="module")
def outspoken():
    """A generator whose logits differ by enough for what went before to decide what is drawn."""
    generator = build("reference", seed=3, **QUIET).generator
    for weight in generator.trainable_variables:
        weight.assign(weight * (20.0 if weight.path.endswith("logits/kernel") else 3.0))
    return generator


# --- 26 ---

GREEDY = 1e-6
"""Temperature at which logits that differ by 1e-4 are 100 apart, and no noise decides between them."""


def check_decoding(generator, draw, temperature, num_tokens, seed):
    """26: incremental decoding draws the tokens of full prefixes, greedy ones while the first two are not as good."""
    characters_B, scenes_B = tf.constant([0, 1, 2, 0]), tf.constant([0, 1, 2, 1])
    arguments = (generator, characters_B, scenes_B, num_tokens, temperature, seed_words(seed))
    wanted_BT, ours_BT = sample_sequences(*arguments).numpy(), draw(*arguments).numpy()
    assert ours_BT.shape == wanted_BT.shape
    counted_BT = np.ones_like(wanted_BT, dtype=bool)
    if temperature == GREEDY:
        second, first = np.moveaxis(np.sort(generator(wanted_BT, characters_B, scenes_B))[..., -2:], -1, 0)
        counted_BT[:, 1:] = np.logical_and.accumulate(first - second > 1e-4, 1)[:, :-1]
        assert counted_BT.mean() > 0.5
    assert np.array_equal(ours_BT[counted_BT], wanted_BT[counted_BT])


decoding = holds(
    check_decoding,
    strategies.st.just(incremental_sequences),
    strategies.st.sampled_from([1.0, 0.5, GREEDY]),
    strategies.few(9).map(lambda number: number + 3),
    strategies.seeds(),
    max_examples=6,
)


def test_26_incremental_decoding_draws_what_full_prefixes_draw(outspoken):
    decoding(outspoken)


def test_26_in_a_graph_too_and_for_any_number_of_sequences(outspoken):
    graph = tf.function(
        lambda *inputs: incremental_sequences(outspoken, *inputs[:2], 7, 1.0, inputs[2]),
        input_signature=[*[tf.TensorSpec((None,), tf.int32)] * 2, tf.TensorSpec((2,), tf.int64)],
    )
    for num in (1, 4):
        inputs = (tf.zeros(num, tf.int32), tf.ones(num, tf.int32), seed_words(num))
        wanted = sample_sequences(outspoken, *inputs[:2], 7, 1.0, inputs[2])
        assert np.array_equal(graph(*inputs), wanted)


def stale_states(patch):
    """LSTMs that do not begin at zero, as after the sequences before."""
    patch.setattr(tf, "zeros", lambda *arguments, **options: 0.5 * tf.ones(*arguments, **options))


def later_draws(patch):
    """The uniform numbers of the position after."""
    real = recurrence._second
    patch.setattr(recurrence, "_second", lambda number: real(number + 1))


def one_draw(patch):
    """The same uniform numbers at all positions."""
    patch.setattr(recurrence, "_second", lambda _: tf.constant((0, 1), tf.int64))


def forgotten_state(patch):
    """The second LSTM forgets."""
    real = recurrence._one_token

    def forgetting(*arguments):
        step = real(*arguments)

        def forget(*inputs):
            logits, h1, c1, h2, c2 = step(*inputs)
            return logits, h1, c1, tf.zeros_like(h2), tf.zeros_like(c2)

        return forget

    patch.setattr(recurrence, "_one_token", forgetting)


@pytest.mark.parametrize("plant", [stale_states, later_draws, one_draw, forgotten_state])
def test_26_notices_a_fault(outspoken, plant):
    def faulty(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            return incremental_sequences(*arguments)

    for temperature in (1.0,) if plant in {later_draws, one_draw} else (1.0, GREEDY):
        with pytest.raises(AssertionError):
            check_decoding(outspoken, faulty, temperature, 12, 5)


# --- An LSTM with hoisted products is the layer ---


def check_lstm(recur, num_tokens, num_sequences, seed):
    """Outputs, and gradients by inputs and weights, are those of the Keras layer."""
    layer, random = a_layer(), np.random.default_rng(seed)
    for weight in layer.trainable_variables:
        weight.assign(random.normal(size=weight.shape))
    values_BTE, upstream_BTH = (
        tf.constant(random.normal(size=(num_sequences, num_tokens + 1, size)), tf.float32) for size in (3, 5)
    )
    both = []
    for through in (layer, functools.partial(recur, layer)):
        with tf.GradientTape() as tape:
            tape.watch(values_BTE)
            outputs_BTH = through(values_BTE)
        sources = [values_BTE, *(weight.value for weight in layer.trainable_variables)]
        both.append([outputs_BTH, *tape.gradient(outputs_BTH, sources, upstream_BTH)])
    for wanted, ours in zip(*both, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5 * max(1.0, float(tf.reduce_max(abs(wanted)))))


@functools.cache
def a_layer():
    import keras

    layer = keras.layers.LSTM(5, return_sequences=True)
    layer.build((None, None, 3))
    return layer


same_lstm = holds(check_lstm, strategies.few(7), strategies.few(3), strategies.seeds(), max_examples=6)


def test_hoisted_products_make_the_outputs_and_gradients_of_the_layer():
    same_lstm(hoisted_lstm)


def unshifted(patch):
    """The gradient of the recurrent kernel, and of the forget gate, from the token itself instead of the one before."""
    patch.setattr(recurrence, "_one_later", lambda values_TBH: values_TBH)


def test_a_position_that_is_off_by_one_in_the_gradient_is_noticed():
    def faulty(layer, values_BTE):
        return hoisted_lstm(layer, values_BTE)

    with pytest.MonkeyPatch.context() as patch:
        unshifted(patch)
        assert fails(same_lstm, faulty)


# --- 36 ---


@functools.cache
def made(tier, kind=None, switches=None):
    """A trainer that the tests of this file share, for graphs take their time to be traced, and its first state."""
    size = {"steps_per_call": STEPS_PER_CALL} if tier == "fastest" else {}
    trainer = build(tier, seed=4, switches=switches and dict(switches), **QUIET, **FIXED, **size)
    if kind is not None:
        trainer.__class__ = kind
        trainer.compile_steps()
    return trainer, trainer.state()


def fresh(tier, *arguments):
    trainer, start = made(tier, *arguments)
    trainer.load_state(start)
    return trainer


def figures(trainer, phases=PHASES):
    """Figures of the first steps of some phases."""
    found = {}
    for phase in phases:
        trainer.train_steps(NUM_STEPS, phase)
        found[phase] = {name: value for name, value in trainer.metrics.items() if name != "num_traces"}
    return found


@functools.cache
def of_the_reference(phases=PHASES):
    return figures(fresh("reference"), phases)


def assert_alike(ours, theirs):
    for phase, wanted in theirs.items():
        assert ours[phase].keys() == wanted.keys()
        for name, series in wanted.items():
            # Adversarial losses of the generator cancel almost to nothing; at first, what is left is rounding.
            assert ours[phase][name] == pytest.approx(series, rel=RECOMPILED, abs=1e-5), (phase, name)


def check_agreement(make, overrides, settings, seed, steps_per_call):
    """36: the figures of every step agree, whichever switches are on, and training changed the weights."""
    arguments = {"seed": seed, **QUIET, **overrides}
    reference = make("reference", **arguments)
    ours = make("fastest", switches=settings, steps_per_call=steps_per_call, **arguments)
    start = ours.state()
    # What pre-training does, the adversarial phase does too; graphs of all three take their time to be traced.
    assert_alike(figures(ours, PHASES[2:]), figures(reference, PHASES[2:]))
    for part in ("generator", "discriminator"):
        for name, before in start[part].items():
            is_told = ours.config.conditional or not name.startswith(("character", "scene"))
            assert np.array_equal(before, ours.state()[part][name]) != is_told, name


agreement = holds(
    check_agreement,
    strategies.tiny_dialogue_overrides(),
    strategies.switch_subsets(FASTEST_SWITCHES),
    strategies.seeds(),
    strategies.few(6).map(lambda number: number + 1),
    max_examples=2,
)


def test_36_any_subset_of_the_switches_agrees_with_the_reference():
    agreement(build)


def test_36_all_switches_together_agree_with_the_reference():
    assert_alike(figures(fresh("fastest")), of_the_reference())


class Idle(FastestTrainer):
    """Evaluates the losses, and never steps."""

    def compile_steps(self):
        self.generator_optimizer.apply_gradients = self.discriminator_optimizer.apply_gradients = lambda _: None
        super().compile_steps()


class OneSeed(FastestTrainer):
    """Draws the same in all steps of a call."""

    def _seeds(self, phase, epoch, step):
        return super()._seeds(phase, epoch, step - step % self.steps_per_call)


class FirstBatch(FastestTrainer):
    """Trains on the first batch of a call again and again."""

    def _train_call(self, phase, most):
        train = self._train[phase]
        repeated = lambda *stacked: train(*(tf.repeat(each[:1], tf.shape(each)[0], axis=0) for each in stacked))  # noqa: E731
        self._train = {**self._train, phase: repeated}
        try:
            return super()._train_call(phase, most)
        finally:
            self._train = {**self._train, phase: train}


class SwappedMasks(FastestTrainer):
    """Gives the real sequences the masks of the fake ones."""

    def _seeds(self, phase, epoch, step):
        draws, real, fake, *others = super()._seeds(phase, epoch, step)
        return [draws, fake, real, *others]


class SameFakes(FastestTrainer):
    """Makes the fakes of the second discriminator step from the draws of the first."""

    def _seeds(self, phase, epoch, step):
        first, one, two, _, *others = super()._seeds(phase, epoch, step)
        return [first, one, two, first, *others]


def with_the_fault(kind):
    """The trainer that the tests share, with a fault that needs no other graphs."""
    trainer = fresh("fastest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "__class__", kind)
        return figures(trainer, ("adversarial",))


@pytest.mark.parametrize("kind", [OneSeed, FirstBatch, SwappedMasks, SameFakes])
def test_36_notices_a_fault(kind):
    wanted = {"adversarial": of_the_reference(("adversarial",))["adversarial"]}
    assert_alike(with_the_fault(FastestTrainer), wanted)
    with pytest.raises(AssertionError):
        assert_alike(with_the_fault(kind), wanted)


def test_36_notices_a_trainer_that_never_steps():
    with pytest.raises(AssertionError):
        assert_alike(figures(fresh("fastest", Idle), PHASES[:1]), {PHASES[0]: of_the_reference()[PHASES[0]]})


# --- 23 and 25: calls of several batches ---


def test_23_one_trace_of_each_step_over_all_epochs():
    trainer = fresh("fastest")
    assert len(trainer.data.train) % trainer.config.batch_size, "the last batch is smaller than the others"
    for phase in (*PHASES, *PHASES):
        trainer.train_epoch(phase)
    trainer.train_steps(1, "adversarial")
    assert trainer.num_traces == 3


class Unsigned(FastestTrainer):
    """Has graphs without a signature."""

    def _graph_of(self, step):
        return tf.function(functools.partial(self._repeated, step))

    def compile_steps(self):
        self._whole = self._graph_of
        super().compile_steps()


def test_23_notices_graphs_that_are_traced_for_every_size():
    trainer = fresh("fastest", Unsigned)
    trainer.train_steps(STEPS_PER_CALL + 1, PHASES[0])
    assert trainer.num_traces > 1


def histories(trainer, num_steps):
    """Figures of calls that stop within an epoch, at its end, and in the next."""
    calls = {}
    for name, train in (
        ("steps", lambda: trainer.train_steps(num_steps, "adversarial")),
        ("the rest of the epoch", lambda: trainer.train_epoch("adversarial")),
        ("more than an epoch", lambda: trainer.train_steps(trainer.num_batches + 1, "adversarial")),
    ):
        train()
        calls[name] = {key: value for key, value in trainer.metrics.items() if key != "num_traces"}
        calls[name]["epoch_losses"] = trainer.epoch_losses("adversarial")
        calls[name]["position"] = trainer.position("adversarial")
    return calls


def check_same_history(kind, num_steps):
    """25: figures of several batches a call are those of one batch a call, over the end of an epoch too."""
    single = histories(fresh("fastest", None, (("batched_calls", False),)), num_steps)
    trainer = fresh("fastest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "__class__", kind)
        assert_alike(histories(trainer, num_steps), single)


class Overeager(FastestTrainer):
    """Trains more batches than it was asked for."""

    def _alike_after(self, step, most):
        return super()._alike_after(step, self.steps_per_call)


class Backwards(FastestTrainer):
    """Files the figures of a call in the wrong order."""

    def _file(self, phase, step, figures_KF):
        super()._file(phase, step, figures_KF[::-1])


same_history = holds(check_same_history, strategies.few(7), max_examples=3)


def test_25_a_call_of_several_batches_keeps_the_history_of_single_ones():
    same_history(FastestTrainer)


@pytest.mark.parametrize("kind", [Overeager, Backwards])
def test_25_notices_a_fault(kind):
    assert fails(same_history, kind)


def test_25_an_epoch_is_as_few_calls_as_its_batches_fit_into(monkeypatch):
    trainer, sizes = fresh("fastest"), []
    train = trainer._train["adversarial"]
    monkeypatch.setitem(
        trainer._train, "adversarial", lambda *stacked: (sizes.append(len(stacked[0])), train(*stacked))[1]
    )
    trainer.train_epoch("adversarial")
    num_whole = len(trainer.data.train) // trainer.config.batch_size
    assert num_whole % STEPS_PER_CALL, "the control: the whole batches' last call is not full either"
    assert sizes == [*[STEPS_PER_CALL] * (num_whole // STEPS_PER_CALL), num_whole % STEPS_PER_CALL, 1]


def test_the_seeds_of_a_step_are_those_that_the_reference_makes_one_by_one(monkeypatch):
    reference, ours, seen = fresh("reference"), fresh("fastest"), []
    one_by_one = reference._seed_2

    def noted(*purpose):
        seed_2 = one_by_one(*purpose)
        seen.append(tuple(seed_2.numpy().tolist()))
        return seed_2

    monkeypatch.setattr(reference, "_seed_2", noted)
    for phase in PHASES:
        seen.clear()
        reference.train_steps(1, phase)
        assert sorted(seen) == sorted(ours._seeds(phase, 0, 0))
        assert len({tuple(ours._seeds(phase, epoch, step)) for epoch in range(2) for step in range(2)}) == 4
