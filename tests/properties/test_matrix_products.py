"""Property 36 of `matrix_products`: convolutions of one pixel, or to one, are products."""

import pytest
import torch
from hypothesis import strategies as st

from tests import strategies
from tests.properties.controls import holds
from trainers import family

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

FAMILY = family("text_to_image")


@pytest.fixture(scope="module", params=[False, True], ids=["channels first", "channels last"])
def trainer(request, private_cache, one_thread):
    on = {switch.name: False for switch in FAMILY.switches["fastest"]} | {"channels_last": request.param}
    return FAMILY.build("fastest", preset="tiny", switches=on | {"matrix_products": True}, log=lambda _: None)


def gradients_of(network, result, given):
    """Gradients of a weighted sum of a result with respect to all weights that it depends on and to what was given."""
    weights = torch.linspace(0.5, 1.5, result.numel()).view(result.shape)
    wanted = [*network.parameters(), *given]
    return torch.autograd.grad((result * weights).sum(), wanted, allow_unused=True)


def check_image(trainer, size, seed):
    """36: images of seeds, and gradients of the generator's weights and of the seeds, are those of the layers."""
    drawn = torch.Generator().manual_seed(seed)
    network = trainer.generator.eval()
    num_channels = network.image[0].in_channels
    seeds = torch.randn(size, num_channels, 1, 1, generator=drawn, requires_grad=True)
    wanted, ours = network.image(seeds), trainer._image_by_product(seeds)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)
    for mine, theirs in zip(
        gradients_of(network.image, ours, [seeds]), gradients_of(network.image, wanted, [seeds]), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def check_logits(trainer, size, seed):
    """36: logits of features and texts, and gradients of all weights and of the features, are those of the layer."""
    drawn = torch.Generator().manual_seed(seed)
    network, config = trainer.discriminator.train(), trainer.config
    num_features = network.judge.in_channels - config.text_hidden_size
    features = torch.randn(size, num_features, 4, 4, generator=drawn, requires_grad=True)
    texts = torch.randn(size, config.text_size, generator=drawn)
    wanted, ours = network.logits(features, texts), trainer._logits_by_products(features, texts)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(
        gradients_of(network, ours, [features]), gradients_of(network, wanted, [features]), strict=True
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


image_in = holds(check_image, st.integers(1, 6), strategies.seeds(), max_examples=15)
logits_in = holds(check_logits, st.integers(2, 6), strategies.seeds(), max_examples=15)


def test_36_an_image_by_a_product_is_that_of_the_layers(trainer):
    image_in(trainer)


def test_36_logits_by_products_are_those_of_the_layer(trainer):
    logits_in(trainer)
