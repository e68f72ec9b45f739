"""How good a trained network is: the distance of drawn images from real ones, and how far two tiers are apart."""

import itertools
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.harness.estimates import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

NUM_SEEDS = 5
_FEATURES_SEED = 20
_WIDTHS = (3, 16, 32, 64)


def frozen_features(images: "Tensor") -> "NDArray[Any]":
    """Return features (B, F) of images (B, 3, H, W) in [-1, 1], from a convolutional network that is never trained.

    Its weights are drawn once, from a fixed seed: the same in every run. What is left of an image after three random
    convolutions tells textures, colours and shapes apart, though not as people would; it replaces the trained
    networks of published distances, whose weights cannot be had everywhere.
    """
    import torch  # noqa: PLC0415 - a machine without it must still collect the benchmarks

    generator = torch.Generator().manual_seed(_FEATURES_SEED)
    maps = images.detach().cpu().float()
    found = []
    with torch.no_grad():
        for num_in, num_out in itertools.pairwise(_WIDTHS):
            fan_in = 9 * num_in
            weights = torch.randn(num_out, num_in, 3, 3, generator=generator) * (2 / fan_in) ** 0.5
            maps = torch.nn.functional.conv2d(maps, weights, stride=2, padding=1).relu()
            found += [maps.mean((2, 3)), maps.amax((2, 3))]
        features: NDArray[Any] = torch.cat(found, 1).double().numpy()
    return features


def kernel_distance(real: "NDArray[Any]", drawn: "NDArray[Any]") -> float:
    """Return how far apart two sets of features are: 0 in the mean where both come from one distribution.

    The unbiased squared maximum mean discrepancy under the kernel (x.y / F + 1)^3, which small sets do not mislead
    (Binkowski et al., Demystifying MMD GANs, 2018, section 4).

    Args:
        real: features of one set, at least two rows.
        drawn: of the other, at least two rows.
    """

    def kernel(one: "NDArray[Any]", other: "NDArray[Any]") -> "NDArray[Any]":
        products: NDArray[Any] = (one @ other.T / one.shape[1] + 1) ** 3
        return products

    def of_different_rows(rows: "NDArray[Any]") -> float:
        products, count = kernel(rows, rows), len(rows)
        return float((products.sum() - products.trace()) / (count * (count - 1)))

    across = float(kernel(real, drawn).mean())
    return of_different_rows(real) + of_different_rows(drawn) - 2 * across


class Trainings:
    """Whole trainings of two tiers, each done once however many of its qualities are asked for.

    Args:
        qualities: trains a tier from a seed to its end and returns what was reached, by name; lower is better.
    """

    def __init__(self, qualities: Callable[[str, int], Mapping[str, float]]) -> None:
        """Nothing is trained yet."""
        self.qualities = cache(qualities)

    def compare(self, name: str) -> dict[str, Any]:
        """Return how much worse the fastest tier ends than the reference, and whether that is within its spread.

        Args:
            name: of the quality.

        Returns:
            What the fixture `figure` takes, in standard deviations of the reference over the seeds.

        """
        found = paired_difference(
            lambda seed: self.qualities("reference", seed)[name],
            lambda seed: self.qualities("fastest", seed)[name],
            num_seeds=NUM_SEEDS,
        )
        agrees = found["low"] >= -1 and found["high"] <= 1
        word = "agrees" if agrees else "ambiguous"
        found["details"].append(f"{word}: the interval lies {'' if agrees else 'not '}within one standard deviation")
        return found
