"""Compare the quality of the fastest tiers with the reference's, trained to the end from the same seeds.

A figure is the mean difference, fastest - reference, in standard deviations of the reference over its seeds. Where its
interval lies within one standard deviation, the tiers agree.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from bench.harness.images import ImageBench
from bench.harness.quality import Trainings, frozen_features, kernel_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.quality


@pytest.fixture(scope="module")
def kept():
    """Trainings by family: two tests may ask for qualities of the same ones."""
    return {}


def test_dialogue_gan_perplexity(dialogue_gan, figure, kept):
    """Validation perplexity of the generator after all three phases."""

    def qualities(tier: str, seed: int) -> dict[str, float]:
        trainer = dialogue_gan.build(tier, None, seed=seed)
        for phase in trainer.phases:
            for _ in range(trainer.config.num_epochs(phase)):
                trainer.train_epoch(phase)
        reached = trainer.evaluate()["val_perplexity"]
        trainer.close()
        return {"perplexity": reached}

    figure(**kept.setdefault("dialogue_gan", Trainings(qualities)).compare("perplexity"))


@pytest.mark.parametrize("sizes", [{}, {"hidden_size": 512}], ids=["sizes of the preset", "512 units"])
def test_tabular_regressor_validation_loss(tabular_regressor, figure, kept, sizes):
    """Validation loss after the whole training; a CPU multiplies 512 units in bfloat16."""

    def qualities(tier: str, seed: int) -> dict[str, float]:
        trainer = tabular_regressor.build(tier, None, seed=seed, **sizes)
        for _ in range(trainer.config.num_epochs):
            trainer.train_epoch("train")
        reached = trainer.metrics["val_loss"]
        trainer.close()
        return {"validation loss": reached}

    figure(**kept.setdefault(f"tabular_regressor {sizes}", Trainings(qualities)).compare("validation loss"))


@pytest.mark.parametrize("quality", ["pixel distance", "feature distance"])
def test_text_to_image(text_to_image, figure, kept, quality):
    """Distance of held-out images' pixels, and of frozen features of images drawn and real, after the training."""
    figure(**kept.setdefault("text_to_image", Trainings(_trained_on(text_to_image))).compare(quality))


def _trained_on(bench: ImageBench) -> Callable[[str, int], dict[str, float]]:
    import torch  # noqa: PLC0415 - a machine without it collects these tests

    from trainers.text_to_image.model import draw_samples  # noqa: PLC0415 - the same

    @cache
    def real() -> tuple[list, "NDArray[Any]"]:
        """Real images' captions and features, as the reference reads them, whichever tier was trained."""
        batches = bench.held_epoch().train.batches
        return [batch.texts_BE for batch in batches], frozen_features(
            torch.cat([batch.images_BCHW for batch in batches])
        )

    def qualities(tier: str, seed: int) -> dict[str, float]:
        trainer = bench.build(tier, None, seed=seed)
        while not trainer.finished:
            trainer.train_epoch("train")
        captions, features = real()
        drawn = [draw_samples(trainer.generator, texts, number) for number, texts in enumerate(captions)]
        reached = {
            "pixel distance": trainer.evaluate(),
            "feature distance": kernel_distance(features, frozen_features(torch.cat(drawn))),
        }
        trainer.close()
        return reached

    return qualities
