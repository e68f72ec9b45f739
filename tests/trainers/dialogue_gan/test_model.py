"""The dialogue GAN's networks, losses and sampler."""

import math

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds

tf = pytest.importorskip("tensorflow")

from trainers.dialogue_gan.config import DialogueConfig  # noqa: E402 - only with TensorFlow
from trainers.dialogue_gan.model import (  # noqa: E402 - likewise
    Discriminator,
    Generator,
    discriminator_loss,
    draw_tokens,
    network_values,
    num_parameters,
    policy_loss,
    policy_rewards,
    sample_sequences,
    seed_words,
    set_values,
    target_log_probabilities,
    teacher_forcing_loss,
)

TINY = DialogueConfig.preset("tiny")
IDS_B = tf.constant([0, 1, 2, 0])


@pytest.fixture(scope="module")
def generator():
    return Generator(TINY, 3, 4, seed=0)


@pytest.fixture(scope="module")
def discriminator():
    return Discriminator(TINY, seed=0)


# --- sizes ---


def test_the_default_sizes_are_the_original_programs():
    config = DialogueConfig()
    assert num_parameters(Generator(config, config.num_characters, config.num_scenes, seed=0)) == 7_651_944
    assert num_parameters(Discriminator(config, seed=0)) == 1_509_825


def test_weights_depend_on_the_seed_alone(generator):
    ours, again, other = (network_values(Generator(TINY, 3, 4, seed=seed)) for seed in (0, 0, 1))
    assert list(ours) == list(network_values(generator))
    assert all(np.array_equal(ours[name], again[name]) for name in ours)
    assert not np.array_equal(ours["logits/kernel"], other["logits/kernel"])


def test_weights_come_and_go_by_name(generator):
    other = Generator(TINY, 3, 4, seed=1)
    values = network_values(generator)
    set_values(other, values)
    assert all(np.array_equal(value, values[name]) for name, value in network_values(other).items())
    values["logits/bias"][:] = 7
    assert not network_values(generator)["logits/bias"].any(), "a copy"


# --- what they compute ---


def test_logits_depend_on_who_speaks_and_where(generator):
    tokens_BT = tf.constant([[0, 2, 3]] * 4)
    logits = generator(tokens_BT, IDS_B, tf.zeros_like(IDS_B)).numpy()
    assert logits.shape == (4, 3, 40)
    assert np.array_equal(logits[0], logits[3])
    assert not np.array_equal(logits[0], logits[1])
    there = generator(tokens_BT, IDS_B, tf.ones_like(IDS_B)).numpy()
    assert not np.array_equal(logits, there)


def test_an_unconditional_generator_does_not_know_them():
    generator = Generator(TINY.replace(conditional=False), 3, 4, seed=0)
    tokens_BT = tf.constant([[0, 2, 3]] * 4)
    logits = generator(tokens_BT, IDS_B, IDS_B).numpy()
    assert all(np.array_equal(logits[0], each) for each in logits)


def test_the_lstms_run_over_padding_too(generator):
    short, padded = tf.constant([[2, 3]] * 4), tf.constant([[0, 0, 2, 3]] * 4)
    assert not np.allclose(generator(short, IDS_B, IDS_B)[:, -1], generator(padded, IDS_B, IDS_B)[:, -1], rtol=1e-6)


def test_dropout_follows_its_seed_and_graphs_draw_what_eager_code_draws(generator, discriminator):
    tokens_BT = tf.constant([[0, 2, 3, 4, 5, 6]] * 4)
    for network, inputs in ((generator, (tokens_BT, IDS_B, IDS_B)), (discriminator, (tokens_BT,))):
        seeds = [seed_words(1, 2), seed_words(1, 2), seed_words(1, 3)]
        one, again, other = (network(*inputs, seed).numpy() for seed in seeds)
        assert np.array_equal(one, again)
        assert not np.allclose(one, other, rtol=1e-6)
        assert not np.allclose(one, network(*inputs).numpy(), rtol=1e-6)
        np.testing.assert_allclose(tf.function(network)(*inputs, seeds[0]), one, rtol=1e-5, atol=1e-7)


def test_a_dropout_mask_keeps_the_share_it_should():
    from trainers.dialogue_gan.model import dropped

    masked = dropped(tf.ones((64, 5, 200)), 0.3, seed_words(2), 1, by_time=False).numpy()
    assert (masked == masked[:, :1]).all(), "one mask for all tokens"
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert masked.max() == pytest.approx(1 / 0.7)


# --- losses ---


def test_teacher_forcing_is_the_cross_entropy():
    logits_BTV = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    targets_BT = np.array([[0, 1, 2], [3, 4, 0]])
    shifted = np.exp(logits_BTV) / np.exp(logits_BTV).sum(-1, keepdims=True)
    wanted = np.log(np.take_along_axis(shifted, targets_BT[..., None], -1)[..., 0])
    np.testing.assert_allclose(target_log_probabilities(logits_BTV, targets_BT), wanted, rtol=1e-5)
    np.testing.assert_allclose(teacher_forcing_loss(logits_BTV, targets_BT), -wanted.mean(), rtol=1e-5)


def test_discriminator_loss_is_smoothed_cross_entropy_and_survives_certainty():
    # Not placed evenly round one half, where smoothing would not show in the mean.
    real, fake = np.array([0.9, 0.2], np.float32), np.array([0.4, 0.7], np.float32)
    loss, loss_real, loss_fake, accuracy = discriminator_loss(tf.constant(real), tf.constant(fake), 0.1)
    wanted_real = -(0.9 * np.log(real) + 0.1 * np.log(1 - real)).mean()
    wanted_fake = -(0.1 * np.log(fake) + 0.9 * np.log(1 - fake)).mean()
    np.testing.assert_allclose([loss_real, loss_fake], [wanted_real, wanted_fake], rtol=1e-5)
    np.testing.assert_allclose(loss, wanted_real + wanted_fake, rtol=1e-5)
    assert float(accuracy) == 0.5
    certain = discriminator_loss(tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0]), 0.1)
    assert all(math.isfinite(float(each)) for each in certain)


def test_policy_loss_rewards_what_the_discriminator_likes_better_than_the_rest(discriminator):
    logits_BTV = tf.Variable(tf.zeros((2, 1, 3)))
    with tf.GradientTape() as tape:
        loss = policy_loss(logits_BTV, tf.constant([[0], [1]]), tf.constant([0.9, 0.1]))
    gradient = tape.gradient(loss, logits_BTV).numpy()
    assert gradient[0, 0, 0] < 0 < gradient[1, 0, 1]
    assert float(loss) == pytest.approx(0.0, abs=1e-7), "the rewards' mean is taken off"
    with tf.GradientTape() as tape:
        rewards = tf.reduce_sum(policy_rewards(discriminator, tf.constant([[0, 1, 2, 3, 4, 5]])))
    assert all(each is None for each in tape.gradient(rewards, discriminator.trainable_variables))


# --- sampling: property 26 as far as there is one sampler ---


def test_26_draws_follow_the_distribution():
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    drawn = draw_tokens(tf.constant(np.tile(logits, (20_000, 1))), seed_words(3)).numpy()
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), [0.5, 0.3, 0.2], atol=0.012)


def test_26_temperature_divides_the_logits(generator):
    hot, cold = (
        sample_sequences(generator, tf.zeros(400, tf.int32), tf.zeros(400, tf.int32), 3, each, seed_words(1)).numpy()
        for each in (100.0, 1e-7)
    )
    assert len(np.unique(hot[:, 1])) > 30
    assert len(np.unique(cold[:, 1])) == 1


def as_given(sampler, eagerly):
    return sampler if eagerly else tf.function(sampler)


def check_draws(draw, logits_BV, seed):
    """26: for equal random numbers, eager code and a graph draw the same."""
    eager, graph = (as_given(draw, eagerly)(tf.constant(logits_BV), seed_words(seed)) for eagerly in (True, False))
    assert np.array_equal(eager, graph)


draws = holds(check_draws, strategies.logits_of_words(), strategies.seeds(), max_examples=15)


def test_26_eager_code_and_graphs_draw_the_same():
    draws(draw_tokens)


def test_26_notices_draws_that_depend_on_where_they_run():
    def categorical(logits_BV, seed_2):
        return tf.random.categorical(logits_BV, 1, seed=1)[:, 0]

    assert fails(draws, categorical)


def test_26_the_whole_sampler_draws_the_same_eagerly_and_in_a_graph(generator):
    graph = tf.function(lambda seed_2: sample_sequences(generator, IDS_B, IDS_B, 6, 1.0, seed_2))
    for number in range(10):
        eager = sample_sequences(generator, IDS_B, IDS_B, 6, 1.0, seed_words(number)).numpy()
        assert np.array_equal(graph(seed_words(number)), eager)
        assert (eager[:, 0] == 1).all()
        assert eager.shape == (4, 6)
    assert not np.array_equal(eager, sample_sequences(generator, IDS_B, IDS_B, 6, 1.0, seed_words(0)))


def test_a_uniform_number_of_zero_draws_nothing(monkeypatch):
    zeros_but_one = tf.constant([[0.0, 0.5, 0.0]])
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *_, **__: zeros_but_one)
    assert draw_tokens(tf.constant([[50.0, 0.0, 50.0]]), seed_words(0)).numpy().tolist() == [1]
