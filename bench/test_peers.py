"""The fastest tier of each family against what a user would pick instead: libraries, and a loop by hand.

Either side trains the same networks from the same weights on the same batches, with the same losses, optimizers and
random numbers, in the same precision. Lightning's Trainer and Keras' `fit` are used as their documentation has it: a
whole fit, nothing but the training (no bar, no logger, no checkpoints), losses fetched when it is over. What starting a
fit costs is in its time, and a fit is long enough for that to be little of it. The loops by hand are those that hold
the field's records: a compiled update on rows that lie on the device, as LeanRL has it, and images as bytes in memory,
as FFCV has them.
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


in_both_precisions = pytest.mark.parametrize("is_rounded", [False, True], ids=["float32", "bfloat16"])

IN_FLOAT32 = "both multiply in bfloat16, each rounding elsewhere; in float32 their losses agree step by step"


@in_both_precisions
def test_tabular_regressor_against_lightning(lightning_fit, tabular_regressor, preset, device, is_rounded):
    """Epochs with validation and schedule, against Lightning's Trainer on the same batches."""
    build = partial(lightning_fit.build_regressor, preset=preset, device=device)
    kinds = replace(tabular_regressor, kind=FitEpochsSide), replace(tabular_regressor, kind=EpochsSide)

    def sides(*, is_rounded: bool) -> tuple:
        label = f"Lightning{', bf16-mixed' * is_rounded}"
        peer = kinds[0].peer(label, partial(build, is_rounded=is_rounded))
        both = peer, kinds[1].fastest(**({} if is_rounded else {"bfloat16": False}))
        for side in both:
            side.num_epochs = EPOCHS[preset]
        return both

    before, after = sides(is_rounded=False)
    same_losses = tabular_regressor.same_losses(before, after)

    def same_training() -> None:
        same_losses()
        # Over eight seeds an epoch at the default sizes left them 0.02 apart in the mean, by 0.13 from seed to seed.
        assert_same_epochs(before, after, val_loss_rtol=0.25 if preset == "default" else 1e-2)

    def same_in_float32() -> str:
        same_training()
        return IN_FLOAT32

    if is_rounded:
        options = {"equivalent": same_in_float32}
        tabular_regressor.epochs(*sides(is_rounded=True), units=EPOCHS[preset], **options)
    else:
        tabular_regressor.epochs(before, after, units=EPOCHS[preset], equivalent=same_training)


@pytest.mark.speedup_long(2)
@in_both_precisions
def test_tabular_regressor_against_a_compiled_loop(tabular_regressor, preset, device, is_rounded):
    """Epochs with validation and schedule, against a loop by hand whose update is compiled, on resident rows."""
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    from bench.harness.peers import compiled_loop  # noqa: PLC0415 - a machine without it must still collect these tests
    from trainers.pytorch.devices import compiles_for, find_device  # noqa: PLC0415 - likewise

    if not compiles_for(find_device(device)):
        pytest.skip("no C++ compiler for torch.compile")

    def sides(bench, *, is_rounded: bool, **overrides: object) -> tuple:
        build = partial(compiled_loop.build, preset=preset, device=device, is_rounded=is_rounded, **overrides)
        label = f"compiled loop{', bfloat16' * is_rounded}"
        return bench.peer(label, build), bench.fastest(**({} if is_rounded else {"bfloat16": False}))

    def same_without_dropout() -> str:
        bench = tabular_regressor.built_with(dropout=0.0)
        bench.same_losses(*sides(bench, is_rounded=False, dropout=0.0))()
        return f"the compiler draws other dropout masks from the same seeds; without dropout, {IN_FLOAT32}"

    before, after = sides(tabular_regressor, is_rounded=is_rounded)
    before.reset()
    before()  # compiles, which takes longer than the pair may
    tabular_regressor.epochs(before, after, equivalent=same_without_dropout)


@pytest.mark.speedup_long(3)
@pytest.mark.parametrize("has_workers", [False, True], ids=["no workers", "workers"])
def test_text_to_image_against_lightning(lightning_fit, text_to_image, preset, device, has_workers):
    """Batches from JPEG files, against Lightning's Trainer under manual optimization, with and without workers."""
    build = partial(lightning_fit.build_gan, preset=preset, device=device, has_workers=has_workers)
    before = text_to_image.peer(f"Lightning{', workers' * has_workers}", build)
    after = text_to_image.fastest(bfloat16=False)
    before.num_images = after.num_images = IMAGES[preset]
    text_to_image.epochs(before, after, units=IMAGES[preset])


@pytest.mark.speedup_long(3)
@in_both_precisions
def test_text_to_image_against_bytes_in_memory(text_to_image, preset, is_rounded):
    """Batches against the reference's step on images held as bytes, laid out by channels, in the same precision."""
    held = dict.fromkeys((switch.name for switch in text_to_image.switches["fastest"]), False)
    held |= {"cached_images": True, "resident_data": True, "channels_last": True, "bfloat16": is_rounded}
    before, after = text_to_image.fastest(**held), text_to_image.fastest(bfloat16=is_rounded)
    before.label = f"images as bytes in memory{', bfloat16' * is_rounded}"
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
