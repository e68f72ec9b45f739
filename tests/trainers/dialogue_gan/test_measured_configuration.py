"""The dialogue GAN's pairs compute the same as they are measured: sizes, switches, dropout and sampling."""

import contextlib
from dataclasses import replace

import pytest

from tests.measured import bench_of, check_calls, check_equivalence, faster_tiers, pairs_of

tf = pytest.importorskip("tensorflow")

from bench import test_dialogue_gan  # noqa: E402 - only with TensorFlow
from trainers.dialogue_gan import FAMILY, fastest  # noqa: E402 - likewise

NAMES = (
    "test_adversarial_batch_as_published",
    "test_adversarial_batch",
    "test_fastest_adversarial_batch",
    "test_adversarial_epoch_as_published",
    "test_adversarial_epoch",
    "test_whole_training_as_published",
    "test_whole_training",
    "test_generator_pretraining",
    "test_discriminator_pretraining",
    "test_restructured",
)
CLOCK = "test_adversarial_batch_by_the_clock_of_the_host"
"""Its call is that of `test_adversarial_batch`, of longer sequences."""
CHECKED = ("test_fastest_adversarial_batch", "test_whole_training", "test_restructured")
"""Pairs whose check is run: that of a whole training is of all phases, and published trainers have property 44."""
FIGURES = {"discriminator_losses": 1e-2, "rewards": 1e-2, "generator_losses": 1e-2}
UNCENTRED = {name: rtol for name, rtol in FIGURES.items() if name != "generator_losses"}
"""An adversarial generator's loss passes through zero, and temperatures change it by design."""


@pytest.fixture(scope="module")
def seeds():
    """The seeds of what is drawn: TensorFlow draws from explicit ones, which graphs note when they run."""
    noted = []

    def noting(kind, real, place):
        def draw(*arguments, **options):
            def note(seed_2):
                noted.append((kind, *map(int, seed_2)))
                return []

            if len(arguments) > place:  # else it is Keras that draws first weights
                tf.numpy_function(note, [arguments[place]], [])
            return real(*arguments, **options)

        return tf.autograph.experimental.do_not_convert(draw)

    with pytest.MonkeyPatch.context() as patch:
        for owner, name, place in ((tf.nn.experimental, "stateless_dropout", 2), (tf.random, "stateless_uniform", 1)):
            patch.setattr(owner, name, noting(name, getattr(owner, name), place))
        yield noted


@pytest.fixture
def drawing(seeds):
    """Return a context that gives the seeds noted inside; in order, for a graph keeps none."""

    @contextlib.contextmanager
    def noting():
        seeds.clear()
        yield seeds
        seeds.sort()

    return noting


@pytest.fixture(scope="module")
def bench(private_cache, seeds):
    bench = bench_of("dialogue_gan", parity_steps=2)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def pairs(bench):
    short = bench.built_with(**test_dialogue_gan.SHORT["smoke"])
    fixtures = {
        "dialogue_gan": bench,
        "quick": bench.built_with(**test_dialogue_gan.QUICK["smoke"]),
        "short": short,
        "whole_trainings": replace(test_dialogue_gan.of_all_phases(short, "smoke"), parity_steps=1),
        "preset": "smoke",
    }
    return faster_tiers(pairs_of(test_dialogue_gan, bench, **fixtures))


def test_every_pair_of_a_faster_tier_on_the_same_work_is_tested(pairs):
    assert set(pairs) == {*NAMES, CLOCK}


@pytest.mark.parametrize("name", NAMES)
def test_a_call_as_it_is_measured_computes_the_same(pairs, drawing, name):
    given = pairs[name]
    assert given.before.trainer.config == given.after.trainer.config
    assert given.before.trainer.config.dropout == FAMILY.config().dropout > 0
    check_calls(given, drawing, FIGURES if name == "test_generator_pretraining" else UNCENTRED)


@pytest.mark.parametrize("name", CHECKED)
def test_the_benchmarks_own_check_holds_with_dropout_on(pairs, name):
    check_equivalence(pairs[name])


# --- Negative controls ---


class Undropped(fastest.FastestTrainer):
    """Leaves the generator's dropout out."""

    def _hoisted_logits(self, tokens_BT, characters_B, scenes_B, seed_2):
        del seed_2
        return super()._hoisted_logits(tokens_BT, characters_B, scenes_B)


def test_a_fastest_tier_that_skips_dropout_is_noticed(bench, drawing, monkeypatch):
    monkeypatch.setattr(fastest, "FastestTrainer", Undropped)
    # Named, so that it is not the one that other tests have had built.
    bench.steps(before=bench.reference(), after=bench.fastest(hoisted_products=True), num_steps=1)
    with pytest.raises(AssertionError):
        check_calls(bench.pair.given[-1], drawing, {})
