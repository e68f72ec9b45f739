"""Networks and losses of the text-to-image GAN, the same in every tier.

Shape suffixes: B items of a batch, C channels, H rows and W columns of pixels, E embedded text, T reduced text,
Z noise, F features.

Architecture: Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative
adversarial networks" (2016), conditioned on text as in Reed et al., "Generative adversarial text to image synthesis"
(2016).
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "CrossEntropy",
    "Discriminator",
    "Generator",
    "discriminator_loss",
    "draw_samples",
    "entropy_of_logits",
    "entropy_of_probabilities",
    "generator_loss",
    "num_parameters",
]

CrossEntropy = Callable[[Tensor, float], Tensor]
"""Binary cross-entropy of logits (B,) against one target for all of them, a scalar."""

_DEEPEST = 8
"""The 4x4 layers have this many times `width` channels, whatever the image size: shorter networks lack the stages at
the image's end."""


def _channels(image_size: int, width: int) -> list[int]:
    """Channels of the stages between a 4x4 map and the image, from the inside out: 8, 4, 2, 1 times `width` at 64."""
    num_stages = int(math.log2(image_size // 4))
    return [max(1, width * _DEEPEST >> stage) for stage in range(num_stages)]


class _TextReducer(nn.Module):
    """Linear, BatchNorm, LeakyReLU 0.2: (B, E) to (B, T)."""

    def __init__(self, text_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(text_size, hidden_size), nn.BatchNorm1d(hidden_size), nn.LeakyReLU(0.2, inplace=True)
        )

    def forward(self, texts_BE: Tensor) -> Tensor:
        return cast("Tensor", self.layers(texts_BE))


class Generator(nn.Module):
    """Draws images for embedded texts: transposed convolutions 4x4, each with BatchNorm and ReLU, at last tanh.

    Args:
        image_size: pixels on each side, a power of two from 8 on.
        width: channels of the stage nearest to a 64x64 image.
        text_size: E.
        text_hidden_size: T.
        noise_size: Z.

    """

    def __init__(self, *, image_size: int, width: int, text_size: int, text_hidden_size: int, noise_size: int) -> None:
        """Build the network and draw its weights from PyTorch's global generator."""
        super().__init__()
        self.noise_size = noise_size
        self.text = _TextReducer(text_size, text_hidden_size)
        channels = _channels(image_size, width)
        layers: list[nn.Module] = []
        previous = text_hidden_size + noise_size
        for stage, count in enumerate(channels):
            stride, padding = (1, 0) if stage == 0 else (2, 1)
            layers += [nn.ConvTranspose2d(previous, count, 4, stride, padding, bias=False)]
            layers += [nn.BatchNorm2d(count), nn.ReLU(inplace=True)]
            previous = count
        layers += [nn.ConvTranspose2d(previous, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.image = nn.Sequential(*layers)
        self.apply(_draw_weights)

    def forward(self, noise_BZ: Tensor, texts_BE: Tensor) -> Tensor:
        """Map noise (B, Z) and texts (B, E) to images (B, 3, H, W) in [-1, 1]."""
        return cast("Tensor", self.image(self.seed_maps(noise_BZ, texts_BE)))

    def seed_maps(self, noise_BZ: Tensor, texts_BE: Tensor) -> Tensor:
        """Give what an image grows from: reduced text and noise as the channels (B, T + Z, 1, 1) of a 1x1 map."""
        return torch.cat([self.text(texts_BE), noise_BZ], dim=1)[:, :, None, None]


class Discriminator(nn.Module):
    """Tells real images with their own text from others: convolutions 4x4 with stride 2, LeakyReLU 0.2.

    Args:
        image_size: pixels on each side, a power of two from 8 on.
        width: channels of the stage nearest to a 64x64 image.
        text_size: E.
        text_hidden_size: T.

    """

    def __init__(self, *, image_size: int, width: int, text_size: int, text_hidden_size: int) -> None:
        """Build the network and draw its weights from PyTorch's global generator."""
        super().__init__()
        self.text = _TextReducer(text_size, text_hidden_size)
        layers: list[nn.Module] = []
        previous = 3
        for count in reversed(_channels(image_size, width)):
            layers += [nn.Conv2d(previous, count, 4, 2, 1)]
            layers += [nn.BatchNorm2d(count)] if previous != 3 else []
            layers += [nn.LeakyReLU(0.2, inplace=True)]
            previous = count
        self.image = nn.Sequential(*layers)
        self.judge = nn.Conv2d(previous + text_hidden_size, 1, 4, 1, 0, bias=False)
        self.apply(_draw_weights)

    def forward(self, images_BCHW: Tensor, texts_BE: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) and texts (B, E) to logits (B,) and features (B, F, 4, 4)."""
        features_BFHW = self.image(images_BCHW)
        return self.logits(features_BFHW, texts_BE), features_BFHW

    def logits(self, features_BFHW: Tensor, texts_BE: Tensor) -> Tensor:
        """Map features (B, F, 4, 4) of images, with texts (B, E), to logits (B,)."""
        texts_BTHW = self.text(texts_BE)[:, :, None, None].expand(-1, -1, *features_BFHW.shape[2:])
        return cast("Tensor", self.judge(torch.cat([features_BFHW, texts_BTHW], dim=1)).flatten())


def _draw_weights(module: nn.Module) -> None:
    """DCGAN's start (Radford et al., section 4): convolutions N(0, 0.02), all BatchNorm scales N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def draw_samples(network: Generator, texts_BE: Tensor, seed: int) -> Tensor:
    """Draw images (B, 3, H, W) in [-1, 1], on the CPU, for embedded texts; the noise depends on the seed alone."""
    noise_BZ = torch.randn(len(texts_BE), network.noise_size, generator=torch.Generator().manual_seed(seed))
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    with torch.no_grad():
        images_BCHW: Tensor = network(noise_BZ.to(device), texts_BE.to(device)).float().cpu()
    network.train(was_training)
    return images_BCHW


def num_parameters(network: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def entropy_of_probabilities(logits_B: Tensor, target: float) -> Tensor:
    """Sigmoid, then binary cross-entropy of the probabilities, as the original program has it.

    Loses all gradient where a logit beyond about 17 makes the sigmoid exactly 1, and raises under autocast on a GPU.
    """
    targets_B = torch.full_like(logits_B, target)
    return functional.binary_cross_entropy(torch.sigmoid(logits_B), targets_B)


def entropy_of_logits(logits_B: Tensor, target: float) -> Tensor:
    """Sigmoid and binary cross-entropy in one formula, max(x, 0) - x y + log(1 + exp(-|x|)), in float32."""
    logits_B = logits_B.float()
    return functional.binary_cross_entropy_with_logits(logits_B, torch.full_like(logits_B, target))


def _alone(mean: Tensor) -> Tensor:
    """Leave a mean as it is: one process has the whole batch."""
    return mean


def discriminator_loss(  # noqa: PLR0913 - what the loss is of
    network: Discriminator | Any, images_BCHW: Tensor, wrong_B: Tensor | None, fakes_BCHW: Tensor, texts_BE: Tensor,
    *, entropy: CrossEntropy, all_images_BCHW: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Sum cross-entropies: an image with its text is 1; another's image, and a fake, with that text are 0.

    Args:
        network: the discriminator.
        images_BCHW: real images.
        wrong_B: for every text, which of the images belongs to another one; None leaves these images out.
        fakes_BCHW: the generator's images for the texts; no gradient reaches them.
        texts_BE: embedded texts.
        entropy: how the logits are compared with their targets.
        all_images_BCHW: the images that `wrong_B` counts, where other ranks have some of them.

    """
    right_B, _ = network(images_BCHW, texts_BE)
    loss = entropy(right_B, 1.0)
    if wrong_B is not None:
        counted_BCHW = images_BCHW if all_images_BCHW is None else all_images_BCHW
        mismatched_B, _ = network(counted_BCHW[wrong_B], texts_BE)
        loss = loss + entropy(mismatched_B, 0.0)
    fake_B, _ = network(fakes_BCHW.detach(), texts_BE)
    return loss + entropy(fake_B, 0.0)


def generator_loss(  # noqa: PLR0913 - what the loss is of
    network: Discriminator | Any, images_BCHW: Tensor, fakes_BCHW: Tensor, texts_BE: Tensor,
    *, entropy: CrossEntropy, l1_weight: float, feature_weight: float, of_ranks: Callable[[Tensor], Tensor] = _alone,
) -> Tensor:  # fmt: skip
    """Cross-entropy of the fakes against 1, plus weighted distances of pixels (L1) and of mean features (squared).

    Args:
        network: the discriminator.
        images_BCHW: real images of the texts.
        fakes_BCHW: the generator's.
        texts_BE: embedded texts.
        entropy: how the logits are compared with their targets.
        l1_weight: of mean |fake - real| over all pixels.
        feature_weight: of the mean squared difference of the features, each averaged over the batch first. Where both
            weights are 0, the real images are not looked at.
        of_ranks: makes means over a rank's items those over the whole batch.

    """
    fake_B, fake_features_BFHW = network(fakes_BCHW, texts_BE)
    if not l1_weight and not feature_weight:
        return entropy(fake_B, 1.0)
    _, real_features_BFHW = network(images_BCHW, texts_BE)
    pixels = functional.l1_loss(fakes_BCHW.float(), images_BCHW)
    features = functional.mse_loss(
        of_ranks(fake_features_BFHW.float().mean(dim=0)), of_ranks(real_features_BFHW.detach().float().mean(dim=0))
    )
    return entropy(fake_B, 1.0) + l1_weight * pixels + feature_weight * features
