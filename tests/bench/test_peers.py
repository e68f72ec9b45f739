"""The equivalence checks of the peers can fail: a peer that trains differently is found."""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import pytest

from bench.harness.bench import Bench
from bench.harness.peers.sides import EpochsSide, FitEpochsSide, FitStepsSide, assert_same_epochs
from trainers import family

needs_lightning = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("lightning") is None,
    reason="lightning is not installed: pip install lightning, of the dependency group peers",
)


def bench_of(name, **options):
    return Bench.of(family(name), pair=None, preset="tiny", device="cpu", **options)


def regressors(**fault):
    """Return the bench with Lightning's side, which may have a fault, and ours."""
    from bench.harness.peers import lightning_fit

    bench = bench_of("tabular_regressor", resync_every=2)
    build = partial(lightning_fit.build_regressor, preset="tiny", device="cpu", **fault)
    before, after = (
        replace(bench, kind=FitEpochsSide).peer("Lightning", build),
        replace(bench, kind=EpochsSide).fastest(),
    )
    before.num_epochs = after.num_epochs = 2
    return bench, before, after


@needs_lightning
def test_lightning_passes_both_checks():
    bench, before, after = regressors()
    bench.same_losses(before, after)()
    assert_same_epochs(before, after)
    bench.close()


@needs_lightning
@pytest.mark.parametrize("fault", [{"learning_rate": 2e-3}, {"clip_norm": 0.1}, {"dropout": 0.2}])
def test_lightning_with_other_settings_is_found(fault):
    bench, before, after = regressors(**fault)
    with pytest.raises(AssertionError, match="the loss of step"):
        bench.same_losses(before, after)()
    bench.close()


@needs_lightning
def test_another_schedule_and_another_number_of_epochs_are_found():
    _, before, after = regressors(restart_epochs=3)
    with pytest.raises(AssertionError, match="learning_rate"):
        assert_same_epochs(before, after)
    after.num_epochs = 3
    with pytest.raises(AssertionError, match="the epoch is 2 before and 3 after"):
        assert_same_epochs(before, after)


@needs_lightning
def test_an_epoch_that_ends_too_early_is_found():
    _, before, after = regressors()
    trainer = after.trainer
    take_steps = trainer._take_steps
    trainer._take_steps = lambda n: take_steps(n - 1)
    with pytest.raises(AssertionError, match="the number of steps is"):
        assert_same_epochs(before, after)


@needs_lightning
@pytest.mark.parametrize("faulty", ["before", "after"])
def test_a_side_that_does_not_validate_where_it_ends_is_found(faulty):
    sides = dict(zip(("before", "after"), regressors()[1:], strict=True))
    trainer = sides[faulty].trainer
    trainer.evaluate = lambda split: 1.01 * type(trainer).evaluate(trainer, split)
    with pytest.raises(AssertionError, match="a call reports the val_loss"):
        assert_same_epochs(**sides)


@needs_lightning
def test_a_fit_begins_with_an_epoch():
    _, before, _ = regressors()
    before.trainer.train_steps(1)
    with pytest.raises(ValueError, match="1 steps of this one are taken"):
        before.trainer.train_epochs(1)


@needs_lightning
@pytest.mark.parametrize("fault", [{}, {"learning_rate": 4e-4}, {"l1_weight": 49.0}])
def test_a_gan_of_lightning_is_checked_over_the_end_of_an_epoch(fault, private_cache):
    from bench.harness.peers import lightning_fit

    bench = bench_of("text_to_image", resync_every=2, log=lambda _: None)
    build = partial(lightning_fit.build_gan, preset="tiny", device="cpu", has_workers=False, log=lambda _: None)
    before, after = bench.peer("Lightning", partial(build, **fault)), bench.fastest(bfloat16=False)
    if fault:
        with pytest.raises(AssertionError, match="the loss of step"):
            bench.same_losses(before, after)()
    else:
        bench.same_losses(before, after)()
        assert before.trainer.num_batches < bench.parity_steps
    bench.close()


def test_a_fit_of_keras_with_another_learning_rate_is_found():
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    from bench.harness.peers import keras_fit

    bench = bench_of("dialogue_gan", phase="generator_pretraining", parity_steps=3)
    build = partial(keras_fit.build, preset="tiny", device="cpu", jit_compile=False, learning_rate_g=1e-3)
    peer = replace(bench, kind=FitStepsSide).peer("Keras fit", build)
    with pytest.raises(AssertionError, match="the loss of step 2"):
        bench.same_losses(peer, bench.fastest())()
    bench.close()
