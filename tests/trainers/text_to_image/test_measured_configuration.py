"""The text-to-image pairs compute the same as they are measured: sizes, switches, precision and noise."""

import pytest
import torch

from bench import test_ablation, test_text_to_image
from bench.harness.images import IMAGES_IN_BATCHES_ALIKE
from tests.drawing import draws_of_torch
from tests.measured import bench_of, check_calls, check_equivalence, faster_tiers, pairs_of
from trainers.pytorch.mixed_precision import multiplies_bfloat16
from trainers.text_to_image import FAMILY, fastest, optimized

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ORIGINAL = (
    "test_document_003_on_the_same_work_at_64x64",
    "test_fastest_on_the_same_work_at_64x64",
)
ROWS = (
    "restructured", "+cached_images", "+pruned_backward", "+reused_features", "+matrix_products",
    "+fused_optimizer", "+kept_memory", "+channels_last", "+bfloat16",
    "+unfolded_maps",
)  # fmt: skip
NAMES = (
    "test_document_003_on_the_same_work_as_published",
    "test_document_003_on_the_same_work",
    "test_fastest_on_the_same_work",
    "test_restructured",
    *(f"test_text_to_image_same_work[{row}]" for row in ROWS),
    *ORIGINAL,
)
FIGURES = {"discriminator_losses": 1e-2, "generator_losses": 1e-2}
ROUNDED = {f"test_text_to_image_same_work[+{row}]" for row in ("bfloat16", "unfolded_maps")}
"""Rows that are measured only where the processor multiplies bfloat16."""
NUM_IMAGES = 16
"""Images of a call here: two batches of those that are measured."""


def measured_pairs(bench):
    num_images = IMAGES_IN_BATCHES_ALIKE["smoke"]
    fixtures = {"text_to_image": bench, "preset": "smoke", "device": "cpu", "num_images": num_images}
    modules = test_text_to_image, test_ablation
    return {name: given for module in modules for name, given in pairs_of(module, bench, **fixtures).items()}


@pytest.fixture(scope="module")
def pairs(private_cache, one_thread):
    bench = bench_of("text_to_image", parity_steps=2)
    found = faster_tiers(measured_pairs(bench))
    for given in found.values():
        for side in (given.before, given.after):
            side.num_images = min(side.num_images, NUM_IMAGES)
    yield found
    bench.close()


def test_every_pair_of_a_faster_tier_on_the_same_work_is_tested(pairs):
    rounded = ROUNDED if multiplies_bfloat16(torch.device("cpu")) else set()
    assert set(pairs) == set(NAMES) - ROUNDED | rounded


@pytest.fixture
def given(pairs, name):
    if name not in pairs:
        pytest.skip("this processor does not multiply bfloat16")
    return pairs[name]


@pytest.mark.parametrize("name", NAMES)
def test_batches_as_they_are_measured_compute_the_same(given, name):
    before, after = given.before.trainer.config, given.after.trainer.config
    small = FAMILY.config.preset("smoke")
    original = {"image_size": 64, "width": 64, "text_size": 1024, "text_hidden_size": 128, "batch_size": 8}
    assert before == (small.replace(**original) if name in ORIGINAL else small)
    assert after.replace(log_interval=before.log_interval) == before
    check_calls(given, draws_of_torch, FIGURES)


@pytest.mark.parametrize("name", NAMES)
def test_the_benchmarks_own_check_holds(given, name):
    check_equivalence(given)


def test_the_published_program_is_checked_from_its_first_step(pairs):
    """It takes a step first, to find out whether it can; rounds begin before that one."""
    given = pairs["test_document_003_on_the_same_work_as_published"]
    losses = [side.first_losses(2) for side in (given.before, given.after)]
    assert losses[0] == losses[1]


# --- Negative controls ---


class OneNoise(fastest.FastestTrainer):
    """Draws the noise of the second run as that of the first."""

    def _computed(self, inputs, loss_d_of):
        return super()._computed(inputs._replace(noise_PBZ=inputs.noise_PBZ[[0, 0]]), loss_d_of)


class LightPixels(fastest.FastestTrainer):
    """Weighs the pixels' distance a tenth too low."""

    def _generator_loss(self, *batch):
        weights = self.loss_weights
        self.loss_weights = weights | {"l1_weight": 0.9 * weights["l1_weight"]}
        try:
            return super()._generator_loss(*batch)
        finally:
            self.loss_weights = weights


class StillNoise(optimized.OptimizedTrainer):
    """Draws the noise of an epoch's first batch for all."""

    def noise_of(self, batch, purpose):
        done, self.num_items_done = self.num_items_done, 0
        try:
            return super().noise_of(batch, purpose)
        finally:
            self.num_items_done = done


@pytest.mark.parametrize(
    ("module", "kind", "name"),
    [
        (fastest, OneNoise, "test_fastest_on_the_same_work"),
        (fastest, LightPixels, "test_fastest_on_the_same_work"),
        (optimized, StillNoise, "test_document_003_on_the_same_work"),
    ],
)
def test_a_fault_in_what_is_measured_is_noticed(monkeypatch, module, kind, name):
    monkeypatch.setattr(module, kind.__base__.__name__, kind)
    bench = bench_of("text_to_image", parity_steps=2)
    getattr(test_text_to_image, name)(bench, NUM_IMAGES)
    (given,) = bench.pair.given
    with pytest.raises(AssertionError):
        check_calls(given, draws_of_torch, FIGURES)
    with pytest.raises(AssertionError):
        check_equivalence(given)
