"""The dialogue GAN's twin in PyTorch computes what the TensorFlow trainers compute: losses to 1e-5, and the updates.

The twin is given TensorFlow's weights, and the numbers that TensorFlow draws: what it samples, and its dropout masks.
"""

import functools

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import assert_same_tree

tf = pytest.importorskip("tensorflow")
torch = pytest.importorskip("torch")

from trainers import family  # noqa: E402 - likewise
from trainers.dialogue_gan.config import PHASES  # noqa: E402 - likewise
from trainers.dialogue_gan.model import dropped, num_parameters, sample_sequences, seed_words  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch import model, optimizer, weights  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.draws import HEAD_SIZES, num_updates, split  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.model import num_parameters as num_parameters_of_twin  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.optimized import OptimizedTrainer  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.optimizer import GuardedAdam  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.sampling import incremental_sequences, merged_sequences  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.sampling import sample_sequences as sample_of_twin  # noqa: E402 - likewise
from trainers.dialogue_gan.reference import DISCRIMINATOR_DROPOUT, GENERATOR_DROPOUT, SAMPLING  # noqa: E402 - likewise
from trainers.tensorflow.clipping import clip_by_global_norm  # noqa: E402 - only with both frameworks

build_tensorflow, build_twin = family("dialogue_gan").build, family("dialogue_twin").build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

CLOSE = 1e-5
QUIET = {"preset": "tiny", "log": lambda _: None}
# Ten times the original's; at more, what rounding makes of a first update shows in the next loss.
RATE = 1e-3
RATES = {"num_lines": 4, "learning_rate_g": RATE, "learning_rate_d": RATE}
SETTINGS = (
    {"dropout": 0.3, "d_steps": 2, "g_steps": 2, "sequence_length": 4},
    {"dropout": 0.0, "conditional": False, "label_smoothing": 0.0, "sequence_length": 3},
)
"""Of the trainers whose graphs the tests have in common."""


# --- What TensorFlow draws, as the uniform numbers that the twin takes ---


def draws_of_tokens(seed_2, num_drawn, *sizes):
    """The uniform numbers of a sampler's draws, (T - 1, B, V)."""
    numbered = (seed_2 + tf.constant((0, number), tf.int64) for number in range(1, num_drawn + 1))
    return np.stack([tf.random.stateless_uniform(sizes, each, alg="philox").numpy() for each in numbered])


def kept(rate, seed_2, number, *sizes, by_time):
    """1 where a dropout mask keeps, 0 where it drops."""
    return np.float32(dropped(tf.ones(sizes), rate, seed_2, number, by_time=by_time).numpy() > 0)


def numbers_of_tensorflow(trainer, phase, num_sequences):
    """All numbers of the current step of a phase, in the order of the twin's draws, which `split` gives their uses."""
    config, step = trainer.config, (trainer.seed, PHASES.index(phase), *trainer.position(phase))
    num_tokens = config.sequence_length
    of_generator, of_discriminator = num_updates(config, phase)
    found = []
    for number in range(of_discriminator):
        seed_2 = seed_words(*step, SAMPLING, number)
        found.append(draws_of_tokens(seed_2, num_tokens - 1, num_sequences, config.vocabulary_size))
        for side in range(2):
            seed_2 = seed_words(*step, DISCRIMINATOR_DROPOUT, number, side)
            found += [
                kept(config.dropout, seed_2, layer, num_sequences, size, by_time=True)
                for layer, size in enumerate(HEAD_SIZES, start=1)
            ]
    sizes = (config.embedding_size + 2 * config.condition_size, config.hidden_size)
    for number in range(of_generator):
        seed_2 = seed_words(*step, GENERATOR_DROPOUT, number)
        found += [
            kept(config.dropout, seed_2, layer, num_sequences, num_tokens - 1, size, by_time=False)[:, :1]
            for layer, size in enumerate(sizes, start=1)
        ]
    return torch.from_numpy(np.concatenate([each.ravel() for each in found]))


def drawing_as_tensorflow(twin):
    """Let a twin take TensorFlow's numbers for its own."""
    twin.uniforms = functools.partial(numbers_of_tensorflow, twin)
    return twin


# --- Weights ---


def both(tier="reference", tensorflow_tier="reference", **arguments):
    """A TensorFlow trainer and a twin with its state."""
    theirs = build_tensorflow(tensorflow_tier, **{**QUIET, **RATES, **arguments})
    ours = build_twin(tier, **{**QUIET, **RATES, **arguments})
    ours.load_state(theirs.state())
    return theirs, ours


def test_weights_and_whole_states_come_and_go_to_the_bit():
    theirs, start = outspoken(**SETTINGS[0])
    theirs.load_state(start)
    ours = build_twin("reference", **QUIET, **RATES, **SETTINGS[0])
    for phase in PHASES:
        theirs.train_steps(2, phase)
    state = theirs.state()
    ours.load_state(state)
    assert_same_tree(ours.state(), state)
    drawing_as_tensorflow(ours).train_steps(1, "adversarial")
    state = ours.state()
    theirs.load_state(state)
    assert_same_tree(theirs.state(), state)


def test_both_have_as_many_parameters():
    theirs, ours = both(hidden_size=11, num_filters=3, condition_size=5)
    for name in ("generator", "discriminator"):
        count = num_parameters(getattr(theirs, name))
        assert num_parameters_of_twin(getattr(ours, name)) == count > 1000


# --- Tokens ---


@functools.cache
def outspoken(**arguments):
    """A TensorFlow trainer whose networks have opinions: at first, losses are too alike for a fault to show.

    The discriminator is not certain of anything: of a probability next to 1, what is left to 1 is rounding.
    """
    trainer = build_tensorflow("reference", seed=3, **QUIET, **RATES, **arguments)
    for network, factor, noise in ((trainer.generator, 3.0, 0.1), (trainer.discriminator, 1.5, 0.03)):
        for weight in network.trainable_variables:
            # Biases are 0 at first, and a bias that is lost or twice there would not show.
            drawn = np.random.default_rng(len(weight.path)).normal(size=weight.shape, scale=noise)
            weight.assign(weight * factor + np.float32(drawn))
    return trainer, trainer.state()


def check_tokens(draw, seed, num_drawn):
    """The same numbers draw the same tokens."""
    theirs, state = outspoken()
    theirs.load_state(state)
    ours = build_twin("reference", **QUIET, **RATES)
    ours.load_state(state)
    counts = len(theirs.data.characters), len(theirs.data.scenes)
    ids = [np.array([0, 1, 2], np.int32) % count for count in counts]
    seed_2 = seed_words(seed)
    uniforms_TBV = torch.from_numpy(draws_of_tokens(seed_2, num_drawn, 3, 40))
    wanted_BT = sample_sequences(theirs.generator, *map(tf.constant, ids), num_drawn + 1, 0.7, seed_2).numpy()
    found_BT = draw(ours.generator, *(torch.from_numpy(each).long() for each in ids), uniforms_TBV, 0.7)
    assert np.array_equal(found_BT, wanted_BT)


tokens = holds(check_tokens, strategies.seeds(), strategies.few(8), max_examples=6)


@pytest.mark.parametrize("draw", [sample_of_twin, incremental_sequences, merged_sequences])
def test_the_same_numbers_draw_the_same_tokens(draw):
    tokens(draw)


# --- Losses of all three updates, gradients and weights after them ---


def assert_close(ours, theirs):
    """To 1e-5; a policy gradient's loss passes through zero, and what is close there, the size of the figures says."""
    names = [name for name, series in ours.items() if isinstance(series, list)]
    size = max(abs(value) for name in names for value in theirs[name])
    for name in names:
        assert ours[name] == pytest.approx(theirs[name], rel=CLOSE, abs=CLOSE * size), name


def check_losses(plant, overrides, seed, phase):
    """One batch of a phase from an outspoken state: figures, moments (the gradients) and weights."""
    theirs, state = outspoken(**overrides)
    theirs.load_state({**state, "progress": {**state["progress"], "seed": seed}})
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        ours = drawing_as_tensorflow(build_twin("reference", **QUIET, **RATES, **overrides))
        ours.load_state(theirs.state())
        for _ in range(2):
            for trainer in (theirs, ours):
                trainer.train_steps(1, phase)
            assert_close(ours.metrics, theirs.metrics)
            wanted, found = theirs.state(), ours.state()
            for part in ("generator_optimizer", "discriminator_optimizer", "generator", "discriminator"):
                for name, value in wanted[part].items():
                    # Of an update by a gradient that is next to nothing, rounding makes a tenth more or less.
                    least = 1e-6 if part.endswith("optimizer") else RATE / 10
                    size = max(1.0, abs(value).max())
                    np.testing.assert_allclose(found[part][name] / size, value / size, 1e-3, least, err_msg=name)
            ours.load_state(wanted)


losses = holds(
    check_losses,
    strategies.st.sampled_from(SETTINGS),
    strategies.seeds(),
    strategies.st.sampled_from(PHASES),
    max_examples=8,
)  # fmt: skip


def test_losses_agree_to_1e_5_and_updates_with_them():
    losses(lambda _: None)


def gates(order):
    """Gates of the LSTMs in another order than PyTorch has them."""

    def plant(patch):
        real = weights.to_torch

        def swapped(name, array):
            value = real(name, array)
            return torch.cat([value.chunk(4)[number] for number in order]) if "lstm_cell" in name else value

        patch.setattr(weights, "to_torch", swapped)

    return plant


def untransposed(patch):
    """Recurrent kernels as Keras has them, block by block."""
    real = weights.to_torch

    def plain(name, array):
        if not name.endswith("recurrent_kernel"):
            return real(name, array)
        return torch.cat([torch.from_numpy(block.copy()) for block in np.split(array, 4, axis=1)])

    patch.setattr(weights, "to_torch", plain)


def two_biases(patch):
    """An LSTM that adds its bias twice."""
    real = model.Generator.hidden

    def hidden(self, *arguments):
        for layer in (self.lstm_1, self.lstm_2):
            layer.bias_hh_l0.data.copy_(layer.bias_ih_l0.data)
        return real(self, *arguments)

    patch.setattr(model.Generator, "hidden", hidden)


def other_side(patch):
    """The one place more before an even window instead of behind it."""
    real = model.functional.pad
    patch.setattr(model.functional, "pad", lambda values, sides: real(values, sides[::-1]))


def squared_sums(patch):
    """Velocities of embeddings as of any other weight."""
    real = optimizer.KerasAdam._squares

    def squared(self, gradients):
        self._squares_of_embeddings = {}
        return real(self, gradients)

    patch.setattr(optimizer.KerasAdam, "_squares", squared)


def torchs_epsilon(patch):
    """The epsilon where PyTorch's Adam adds it."""
    patch.setattr(optimizer, "_EPSILON", 1e-7 * 0.001**0.5)


def other_masks(patch):
    """Either layer with the other's dropout mask, as far as that is wide."""
    real = model.Discriminator.forward

    def forward(self, tokens_BT, masks=None):
        return real(self, tokens_BT, masks and (masks[1].repeat(1, 2), masks[0][:, : HEAD_SIZES[1]]))

    patch.setattr(model.Discriminator, "forward", forward)


def without_baseline(patch):
    """A policy gradient that takes the rewards as they are."""
    real = model.policy_rewards

    def biased(*arguments):
        return real(*arguments).square()

    patch.setattr("trainers.dialogue_gan.pytorch.reference.policy_rewards", biased)


@pytest.mark.parametrize(
    "plant",
    [
        gates((0, 1, 3, 2)), gates((1, 0, 2, 3)), untransposed, two_biases, other_side, squared_sums, torchs_epsilon,
        other_masks, without_baseline,
    ],
    ids=lambda plant: plant.__name__,
)  # fmt: skip
def test_a_fault_of_the_twin_is_noticed(plant):
    assert fails(losses, plant)


def test_several_steps_of_all_phases_agree():
    theirs, ours = both("fastest", seed=5)
    drawing_as_tensorflow(ours)
    for phase in PHASES:
        for trainer in (theirs, ours):
            trainer.train_steps(4, phase)
        assert_close(ours.metrics, theirs.metrics)
    assert ours.evaluate() == pytest.approx(theirs.evaluate(), rel=1e-4)


# --- The optimized tiers ---

DOCUMENTED = {
    "sequence_length": 3, "temp_start": 1.5, "temp_decay": 0.8, "gradient_clip": 0.02, "d_train_interval": 2,
    "max_consecutive_skips": 5,
}  # fmt: skip
"""Settings under which every switch of the documents computes something."""


@functools.cache
def optimized_tensorflow():
    """Build TensorFlow's optimized trainer, whose graphs would take longer to trace, and return its first state.

    The discriminator has opinions in that state: the generator's losses are more than rounding.
    """
    trainer = build_tensorflow("optimized", switches={"graph_steps": False}, **{**QUIET, **RATES, **DOCUMENTED})
    start = trainer.state()
    start["discriminator"] = {name: 3 * value for name, value in start["discriminator"].items()}
    return trainer, start


def check_optimized(kind, seed):
    """The same random numbers give the same figures in all phases and over the end of an epoch."""
    theirs, start = optimized_tensorflow()
    ours = build_twin("optimized", switches={"compiled_steps": False}, **{**QUIET, **RATES, **DOCUMENTED})
    ours.__class__ = kind
    start = {**start, "progress": {**start["progress"], "seed": seed}}
    for trainer in (theirs, drawing_as_tensorflow(ours)):
        trainer.load_state(start)
    for phase, num_steps in ((PHASES[0], 2), (PHASES[1], 1), (PHASES[2], theirs.num_batches + 2)):
        for trainer in (theirs, ours):
            trainer.train_steps(num_steps, phase)
        found, wanted = dict(ours.metrics), dict(theirs.metrics)
        del wanted["num_traces"]
        assert found.keys() == wanted.keys()
        assert_close(found, wanted)
        for name in found.keys() - {name for name, value in found.items() if isinstance(value, list)}:
            assert found[name] == wanted[name], name
    assert found["temperature"] == pytest.approx(1.5 * 0.8), "the second epoch"
    assert ours.state()["progress"].keys() == theirs.state()["progress"].keys()


optimized = holds(check_optimized, strategies.seeds(), max_examples=2)


class Unclipped(OptimizedTrainer):
    """Takes the gradients as they are."""

    def _train_batch(self, phase, batch):
        for network in ("generator", "discriminator"):
            getattr(self, f"{network}_optimizer")._limit = float("inf")
        super()._train_batch(phase, batch)


class EveryBatch(OptimizedTrainer):
    """Trains the discriminator in every batch."""

    def _is_due(self):
        return True


class AtOne(OptimizedTrainer):
    """Leaves the temperature out."""

    def _set_temperature(self, _):
        self._temperature = 1.0


def test_the_optimized_tiers_agree_to_1e_5_where_every_switch_computes_something():
    optimized(OptimizedTrainer)


@pytest.mark.parametrize("kind", [Unclipped, EveryBatch, AtOne])
def test_a_fault_of_the_optimized_twin_is_noticed(kind):
    assert fails(optimized, kind)


def check_clipping(kind, seed, scale, limit, special):
    """Norm and clipped gradients are TensorFlow's, with an id that comes twice, and with a value that is not finite."""
    random, ids_N = np.random.default_rng(seed), [0, 2, 0]
    rows_NE, dense = np.float32(random.normal(size=(2, 3, 2), scale=scale))
    dense[0, 0] += special
    network = torch.nn.ModuleDict(
        {"embedding": model.Embedding(4, 2), "dense": torch.nn.Linear(2, 3, bias=False)}
    )  # fmt: skip
    ours = GuardedAdam(network, "network", 0.1, 1.0, limit=limit)
    ours.__class__ = kind
    ours.zero_grad()
    network["embedding"](torch.tensor(ids_N)).backward(torch.from_numpy(rows_NE))
    network["dense"].weight.grad = torch.from_numpy(dense.copy())
    slices = tf.IndexedSlices(tf.constant(rows_NE), tf.constant(ids_N), (4, 2))
    wanted = clip_by_global_norm([slices, tf.constant(dense)], limit)
    np.testing.assert_allclose(ours.clip().numpy(), wanted.norm.numpy(), 2e-6)
    rows, dense = wanted.gradients
    squares = tf.IndexedSlices(tf.square(rows.values), rows.indices, rows.dense_shape)
    # Rows of ids that do not come are zero in TensorFlow even where a NaN is the factor.
    found = [network["embedding"].weight.grad[ids_N], network["embedding"].squares[ids_N], network["dense"].weight.grad]
    wanted = [tf.gather(tf.convert_to_tensor(each), ids_N) for each in (rows, squares)] + [dense]
    for mine, theirs in zip(found, wanted, strict=True):
        # Rows that come twice may cancel in their sum.
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), 3e-6, 1e-6 * min(scale, limit))


clipping = holds(
    check_clipping,
    strategies.seeds(),
    strategies.st.sampled_from([1e-3, 1.0, 100.0]),
    strategies.st.sampled_from([1e-4, 0.5, 1e3, float("inf")]),
    strategies.st.sampled_from([0.0, 0.0, float("nan"), float("inf")]),
    max_examples=30,
)


class OfSums(GuardedAdam):
    """Takes the norm of an embedding's rows after they are added up."""

    def _squares(self, gradients):
        return [gradient.square() for gradient in gradients]


class WithEpsilon(GuardedAdam):
    """Clips as PyTorch does, which adds an epsilon to the norm."""

    def clip(self):
        norm = super().clip()
        for weight in self.weights:
            weight.grad.mul_(norm / (norm + 1e-6))
        return norm


class LeavingSquares(GuardedAdam):
    """Forgets that an embedding's squares shrink with its gradient."""

    def clip(self):
        squares = [each.clone() for each in self._squares_of_embeddings.values()]
        norm = super().clip()
        for each, value in zip(self._squares_of_embeddings.values(), squares, strict=True):
            each.copy_(value)
        return norm


def test_the_optimized_twin_clips_as_tensorflow_does():
    clipping(GuardedAdam)


@pytest.mark.parametrize("kind", [OfSums, WithEpsilon, LeavingSquares])
def test_another_clipping_is_noticed(kind):
    assert fails(clipping, kind)


def test_the_numbers_given_are_as_many_as_the_twin_takes():
    ours = build_twin("reference", **QUIET)
    draws = split(numbers_of_tensorflow(ours, "adversarial", 3), ours.config, "adversarial", 3)
    assert set(draws.of_generator[0][0].unique().tolist()) == {0.0, 1.0}
