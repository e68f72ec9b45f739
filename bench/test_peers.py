"""The fastest tier of each family against what a user would pick instead: Lightning's Trainer and Keras' `fit`.

Either side trains the same networks from the same weights on the same batches, with the same losses, optimizers and
random numbers, in float32. The peers are used as their documentation has it: a whole fit, nothing but the training
(no bar, no logger, no checkpoints), losses fetched when it is over. What starting a fit costs is in its time, and a fit
is long enough for that to be little of it.
"""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import pytest

from bench.harness.peers.sides import EpochsSide, FitEpochsSide, FitStepsSide, assert_same_epochs

pytestmark = pytest.mark.peers

EPOCHS = {"tiny": 2, "smoke": 5, "default": 1}
"""Epochs of a fit of the tabular regressor: starting one costs a tenth of an epoch or two."""

IMAGES = {"tiny": 16, "smoke": 64, "default": 256}
"""Images of a fit of the text-to-image GAN, a multiple of the batch size."""

STEPS = {"tiny": 8, "smoke": 24, "default": 8}
"""Batches of a fit of the dialogue GAN: of one epoch, and a multiple of the steps of one execution."""

PLAIN = {"dropout": 0.0, "sampler_temperature": 1e-12}
"""Nothing left to chance: no masks, and of all tokens the likeliest."""


@pytest.fixture
def lightning_fit():
    """The peers made of Lightning."""
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    if find_spec("lightning") is None:
        pytest.skip("lightning is not installed: pip install lightning, of the dependency group peers")
    from bench.harness.peers import lightning_fit  # noqa: PLC0415 - a machine without it must still collect these tests

    return lightning_fit


def test_tabular_regressor_against_lightning(lightning_fit, tabular_regressor, preset, device):
    """Epochs with validation and schedule, against Lightning's Trainer on the same batches."""
    build = partial(lightning_fit.build_regressor, preset=preset, device=device)
    kinds = replace(tabular_regressor, kind=FitEpochsSide), replace(tabular_regressor, kind=EpochsSide)
    before, after = kinds[0].peer("Lightning", build), kinds[1].fastest(bfloat16=False)
    before.num_epochs = after.num_epochs = EPOCHS[preset]
    same_losses = tabular_regressor.same_losses(before, after)

    def same_training() -> None:
        same_losses()
        # Over eight seeds an epoch at the default sizes left them 0.02 apart in the mean, by 0.13 from seed to seed.
        assert_same_epochs(before, after, val_loss_rtol=0.25 if preset == "default" else 1e-2)

    tabular_regressor.epochs(before, after, units=EPOCHS[preset], equivalent=same_training)


@pytest.mark.speedup_long(3)
@pytest.mark.parametrize("has_workers", [False, True], ids=["no workers", "workers"])
def test_text_to_image_against_lightning(lightning_fit, text_to_image, preset, device, has_workers):
    """Batches from JPEG files, against Lightning's Trainer under manual optimization, with and without workers."""
    build = partial(lightning_fit.build_gan, preset=preset, device=device, has_workers=has_workers)
    before = text_to_image.peer(f"Lightning{', workers' * has_workers}", build)
    after = text_to_image.fastest(bfloat16=False)
    before.num_images = after.num_images = IMAGES[preset]
    text_to_image.epochs(before, after, units=IMAGES[preset])


@pytest.fixture
def against_keras(dialogue_gan, preset, tensorflow_device):
    """Measures a phase's batches against Keras' `fit`."""
    from bench.harness.peers import keras_fit  # noqa: PLC0415 - a machine without TensorFlow must still collect these tests

    def sides(phase, build, label, **overrides: object) -> tuple:
        bench = replace(dialogue_gan.built_with(**overrides), phase=phase)
        return bench, replace(bench, kind=FitStepsSide).peer(label, partial(build, **overrides)), bench.fastest()

    def measure(phase, *, jit_compile) -> None:
        settings = {"preset": preset, "device": tensorflow_device, "log": lambda _: None, "jit_compile": jit_compile}
        peer = phase, partial(keras_fit.build, **settings), f"Keras fit{', jit_compile' * jit_compile}"

        def same_but_for_the_draws() -> str:
            plain, *both = sides(*peer, **PLAIN)
            # Of two tokens almost as likely, rounding chooses: from where both stand, it does so seldom.
            replace(plain, resync_every=1).same_losses(*both)()
            for side in (before, after):  # compiles, which can take longer than the pair may
                side()
                side.reset()
            return (
                "XLA draws other dropout masks and tokens from the same seeds; without masks and with the likeliest "
                f"tokens the losses of the first {plain.parity_steps} steps agree, each from the same state"
            )

        bench, before, after = sides(*peer)
        options = {"equivalent": same_but_for_the_draws} if jit_compile else {}
        bench.steps(before, after, STEPS[preset], **options)

    return measure


@pytest.mark.speedup_long(2)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit_compile"])
def test_generator_pretraining_against_keras(against_keras, jit_compile):
    """Batches of the generator's pre-training, against Keras' fit with steps_per_execution."""
    against_keras("generator_pretraining", jit_compile=jit_compile)


@pytest.mark.speedup_long(3)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit_compile"])
def test_adversarial_batches_against_keras(against_keras, jit_compile):
    """Adversarial batches, against Keras' fit over a train step with a sampler that carries the cells' states along."""
    against_keras("adversarial", jit_compile=jit_compile)
