"""How time and memory grow with batch size, sequence length, image size and data set: fitted exponents.

Sizes double. Every figure is of one tier; the sizes are visited in turn, upwards and downwards.
"""

from dataclasses import replace

import pytest

from bench.harness.dialogue import decoder
from bench.harness.growth import Growth
from bench.harness.side import Side

pytestmark = pytest.mark.growth

SECONDS = {"tiny": 0.1, "smoke": 4.0, "default": 40.0}
"""After which no sweep over the sizes is begun."""

TIERS = pytest.mark.parametrize("tier", ["reference", "fastest"])
QUANTITIES = pytest.mark.parametrize("quantity", ["time", "memory"])


def sides_of(bench, tier, num_steps, dimension, sizes, **fixed: object):
    """Return a side for each size, one call of which trains some steps, or an epoch."""
    sides = [getattr(bench.built_with(**fixed, **{dimension: size}), tier)() for size in sizes]
    for side in sides:
        side.num_steps = num_steps
    return sides


@pytest.fixture
def growth(figure, preset, device):
    """Records exponents of PyTorch's families."""
    return Growth(figure, device, SECONDS[preset])


@pytest.fixture
def dialogue_growth(figure, preset, tensorflow_device):
    """Records exponents of TensorFlow's family."""
    return Growth(figure, tensorflow_device, SECONDS[preset])


# --- Tabular regressor ---


@TIERS
@QUANTITIES
def test_regressor_over_batch_sizes(tabular_regressor, growth, preset, tier, quantity):
    """Four steps of the tabular regressor, over batch sizes."""
    sizes = {"tiny": (4, 8, 16), "smoke": (128, 256, 512, 1024, 2048)}.get(preset, (128, 256, 512, 1024, 2048))
    rows = {"smoke": {"num_rows": 10_240}}.get(preset, {})
    sides = sides_of(tabular_regressor, tier, 4, "batch_size", sizes, **rows)
    growth.record("batch_size", sizes, sides, quantity)


REGRESSOR_ROWS = {
    "tiny": (100, 200, 400),
    "smoke": (1_000, 2_000, 4_000, 8_000),
    "default": (2_250, 4_500, 9_000, 18_000),
}


@TIERS
def test_regressor_over_rows(tabular_regressor, growth, preset, tier):
    """An epoch of the tabular regressor with its validation, over rows to train on."""
    sides = sides_of(tabular_regressor, tier, None, "num_rows", REGRESSOR_ROWS[preset])
    sizes = [len(side.trainer.data.splits.train) for side in sides]
    growth.record("rows", sizes, sides, "time")


@TIERS
def test_memory_of_regressor_over_rows(tabular_regressor, growth, preset, tier):
    """Memory of the tabular regressor from reading its data to the end of its first step, over rows of the table."""
    sizes = {"smoke": (4_000, 8_000, 16_000, 32_000)}.get(preset, REGRESSOR_ROWS[preset])
    calls = [first_step(tabular_regressor, tier, "num_rows", size) for size in sizes]
    growth.record("rows", sizes, calls, "memory")


def first_step(bench, tier, dimension, size):
    """Return a function that builds a trainer, takes a step and closes it."""

    def call() -> None:
        trainer = bench.built_with(**{dimension: size}).build(tier, None)
        trainer.train_steps(1, bench.phase)
        trainer.synchronize()
        trainer.close()

    return call


# --- Text to image ---


@TIERS
@QUANTITIES
def test_images_over_batch_sizes(text_to_image, growth, preset, tier, quantity):
    """A step of the text-to-image GAN, decoding in it, over batch sizes."""
    sizes = {"tiny": (2, 4, 8), "smoke": (4, 8, 16, 32)}.get(preset, (32, 64, 128, 256))
    sides = sides_of(replace(text_to_image, kind=Side), tier, 1, "batch_size", sizes)
    growth.record("batch_size", sizes, sides, quantity)


@TIERS
@QUANTITIES
def test_images_over_image_sizes(text_to_image, growth, preset, tier, quantity):
    """A step of the text-to-image GAN over pixels on each side of an image; a network grows by a stage each time."""
    sizes = {"tiny": (8, 16, 32), "smoke": (8, 16, 32, 64)}.get(preset, (16, 32, 64, 128))
    sides = sides_of(replace(text_to_image, kind=Side), tier, 1, "image_size", sizes)
    growth.record("image_size", sizes, sides, quantity)


@TIERS
def test_images_over_data_sets(text_to_image, growth, preset, tier):
    """An epoch of the text-to-image GAN over images with a caption each."""
    sizes = {"tiny": (12, 24, 48), "smoke": (15, 30, 60, 120)}.get(preset, (250, 500, 1_000, 2_000))
    bench = replace(text_to_image, kind=Side)
    sides = sides_of(bench, tier, None, "num_images", sizes, captions_per_image=1)
    sizes = [side.trainer.data.num_items("train") for side in sides]
    growth.record("images", sizes, sides, "time")


# --- Dialogue: graphs are traced for every size, so steps are the fastest tier's alone ---


def test_dialogue_over_batch_sizes(dialogue_gan, dialogue_growth, preset):
    """An adversarial batch of the dialogue GAN in the fastest tier, over batch sizes."""
    sizes = {"tiny": (2, 4, 8), "smoke": (8, 16, 32, 64)}.get(preset, (16, 32, 64, 128))
    sides = sides_of(dialogue_gan, "fastest", 1, "batch_size", sizes)
    dialogue_growth.record("batch_size", sizes, sides, "time")


def test_dialogue_over_sequence_lengths(dialogue_gan, dialogue_growth, preset):
    """An adversarial batch of the dialogue GAN in the fastest tier, over tokens of a sequence."""
    sizes = {"tiny": (3, 6, 12), "smoke": (20, 40, 80, 160)}.get(preset, (25, 50, 100, 200))
    sides = sides_of(dialogue_gan, "fastest", 1, "sequence_length", sizes)
    dialogue_growth.record("sequence_length", sizes, sides, "time")


def test_memory_of_pretraining_over_sequence_lengths(dialogue_gan, dialogue_growth, preset):
    """A batch of the generator's pre-training in the fastest tier, over tokens of a sequence."""
    sizes = {"tiny": (4, 8, 16), "smoke": (20, 40, 80, 160)}.get(preset, (25, 50, 100, 200))
    sides = sides_of(dialogue_gan.of_phase("generator_pretraining"), "fastest", 1, "sequence_length", sizes)
    dialogue_growth.record("sequence_length", sizes, sides, "memory")


def test_dialogue_over_data_sets(dialogue_gan, dialogue_growth, preset):
    """An epoch of the generator's pre-training in the fastest tier with its validation, over sequences to train on."""
    lines = {"tiny": (6, 12, 24), "smoke": (10, 20, 40, 80)}.get(preset, (250, 500, 1_000, 2_000))
    sides = sides_of(dialogue_gan.of_phase("generator_pretraining"), "fastest", None, "num_lines", lines)
    sizes = [len(side.trainer.data.train) for side in sides]
    dialogue_growth.record("sequences", sizes, sides, "time")


@TIERS
def test_decoding_over_lengths(dialogue_gan, dialogue_growth, preset, tier):
    """A batch of fakes alone: the reference runs every prefix from its beginning, the fastest tier carries states."""
    by_tier = {
        "reference": {"tiny": (2, 4, 8), "smoke": (4, 8, 16, 32)},
        "fastest": {"tiny": (16, 32, 64), "smoke": (40, 80, 160, 320)},
    }
    sizes = by_tier[tier].get(preset, (25, 50, 100, 200))
    trainer = dialogue_gan.reference().trainer
    calls = [decoder(trainer, size, incremental=tier == "fastest") for size in sizes]
    dialogue_growth.record("tokens", sizes, calls, "time")
