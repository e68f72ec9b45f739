"""Text to image's networks, losses and samples.

Shape suffixes: B items of a batch, C channels, H and W rows and columns of pixels, E embedded text, F features.
"""

import copy

import numpy as np
import pytest
import torch

from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.model import (
    Discriminator,
    Generator,
    discriminator_loss,
    draw_samples,
    entropy_of_logits,
    entropy_of_probabilities,
    generator_loss,
    num_parameters,
)

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = {"l1_weight": 50.0, "feature_weight": 100.0}


def networks(image_size=16, width=2, text_size=6, text_hidden_size=4, noise_size=5):
    torch.manual_seed(0)
    sizes = {"image_size": image_size, "width": width, "text_size": text_size, "text_hidden_size": text_hidden_size}
    return Generator(**sizes, noise_size=noise_size), Discriminator(**sizes)


def networks_of(config):
    return networks(config.image_size, config.width, config.text_size, config.text_hidden_size, config.noise_size)


def a_batch(generator, num_items=7, image_size=16, text_size=6):
    """Images, texts, the generator's fakes and which image is another's."""
    random = torch.Generator().manual_seed(1)
    images_BCHW = torch.rand(num_items, 3, image_size, image_size, generator=random) * 2 - 1
    texts_BE = torch.randn(num_items, text_size, generator=random)
    fakes_BCHW = generator(torch.randn(num_items, generator.noise_size, generator=random), texts_BE)
    return images_BCHW, texts_BE, fakes_BCHW, torch.arange(1, num_items + 1) % num_items


def shapes_inside(network):
    """Shapes of the convolutional activations for three items, from the first layer to the last."""
    shapes = []
    for module in network.image:
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[1:])))
    return shapes


# --- the networks ---


def test_the_networks_of_the_original_size_have_4756736_and_2900032_parameters():
    generator, discriminator = networks_of(TextToImageConfig())
    assert num_parameters(generator) == 4_756_736
    assert num_parameters(discriminator) == 2_900_032


@pytest.mark.parametrize("image_size", [8, 16, 32, 64])
@pytest.mark.parametrize("num_items", [2, 5])
def test_the_generator_draws_images_from_minus_1_to_1_and_the_discriminator_judges_each(image_size, num_items):
    generator, discriminator = networks(image_size)
    images_BCHW, texts_BE, fakes_BCHW, _ = a_batch(generator, num_items, image_size)
    assert fakes_BCHW.shape == images_BCHW.shape
    assert fakes_BCHW.abs().max() <= 1
    logits_B, features_BFHW = discriminator(fakes_BCHW, texts_BE)
    assert logits_B.shape == (num_items,)
    assert features_BFHW.shape == (num_items, 8 * 2, 4, 4)


def test_the_generators_image_reaches_both_ends_of_its_range_for_large_inputs():
    generator, _ = networks()
    _, texts_BE, _, _ = a_batch(generator)
    fakes_BCHW = generator(1e6 * torch.randn(7, 5), texts_BE)
    assert fakes_BCHW.abs().max() <= 1
    with torch.no_grad():
        generator.image[-2].weight.mul_(1e4)
    fakes_BCHW = generator(torch.randn(7, 5), texts_BE)
    assert (fakes_BCHW.min(), fakes_BCHW.max()) == (-1, 1)


def test_the_stages_of_the_original_size_are_those_of_the_paper():
    generator, discriminator = networks_of(TextToImageConfig())
    ours, theirs = shapes_inside(generator), shapes_inside(discriminator)
    texts_BE = torch.randn(3, 1024)
    discriminator(generator(torch.randn(3, 100), texts_BE), texts_BE)
    assert ours == [(512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32), (3, 64, 64)]
    assert theirs == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_at_32_pixels_a_stage_on_the_image_side_is_missing_and_the_features_stay_512x4x4():
    generator, discriminator = networks_of(TextToImageConfig(image_size=32))
    ours, theirs = shapes_inside(generator), shapes_inside(discriminator)
    texts_BE = torch.randn(3, 1024)
    _, features_BFHW = discriminator(generator(torch.randn(3, 100), texts_BE), texts_BE)
    assert ours == [(512, 4, 4), (256, 8, 8), (128, 16, 16), (3, 32, 32)]
    assert theirs == [(128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert features_BFHW.shape == (3, 512, 4, 4)


def test_biases_and_norms_are_where_the_original_program_has_them():
    generator, discriminator = networks(64)
    transposed = [module for module in generator.image if isinstance(module, torch.nn.ConvTranspose2d)]
    assert len(transposed) == 5
    assert all(module.bias is None for module in transposed)
    convolutions = [module for module in discriminator.image if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 4
    assert all(module.bias is not None for module in convolutions)
    assert discriminator.judge.bias is None
    norms = [isinstance(module, torch.nn.BatchNorm2d) for module in discriminator.image]
    assert sum(norms) == 3
    assert not norms[1], "none after the first convolution"


def test_weights_start_as_the_paper_has_them():
    for network in networks_of(TextToImageConfig()):
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                assert module.weight.mean().item() == pytest.approx(0, abs=1e-3)
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            elif isinstance(module, torch.nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
                assert 0.01 < module.weight.std().item() < 0.03
                assert not module.bias.any()


def test_both_networks_have_a_text_reducer_of_their_own():
    generator, discriminator = networks()
    shared = {id(each) for each in generator.parameters()} & {id(each) for each in discriminator.parameters()}
    assert not shared
    assert not torch.equal(generator.text.layers[0].weight, discriminator.text.layers[0].weight)


def test_noise_and_text_both_change_the_image_and_text_the_judgement():
    generator, discriminator = (network.eval() for network in networks())
    images_BCHW, texts_BE, _, _ = a_batch(generator)
    noise_BZ = torch.randn(7, 5)
    image_BCHW = generator(noise_BZ, texts_BE)
    assert not torch.equal(image_BCHW, generator(noise_BZ + 1, texts_BE))
    assert not torch.equal(image_BCHW, generator(noise_BZ, texts_BE + 1))
    assert not torch.equal(discriminator(images_BCHW, texts_BE)[0], discriminator(images_BCHW, texts_BE + 1)[0])
    assert torch.equal(discriminator(images_BCHW, texts_BE)[1], discriminator(images_BCHW, texts_BE + 1)[1])


# --- the losses ---


def numpy_entropy(logits_B, target):
    probabilities_B = 1 / (1 + np.exp(-logits_B.detach().numpy().astype(np.float64)))
    return -np.mean(target * np.log(probabilities_B) + (1 - target) * np.log(1 - probabilities_B))


def in_float64(tensor):
    return tensor.detach().numpy().astype(np.float64)


@pytest.mark.parametrize("entropy", [entropy_of_probabilities, entropy_of_logits])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.9])
def test_either_cross_entropy_is_its_numpy_model(entropy, target):
    logits_B = torch.linspace(-6, 6, 41)
    loss = entropy(logits_B, target)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(numpy_entropy(logits_B, target), rel=1e-6)


@pytest.mark.parametrize("entropy", [entropy_of_probabilities, entropy_of_logits])
def test_the_discriminators_loss_is_its_numpy_model(entropy):
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, wrong_B = a_batch(generator)
    expected = (
        numpy_entropy(discriminator(images_BCHW, texts_BE)[0], 1.0)
        + numpy_entropy(discriminator(images_BCHW[wrong_B], texts_BE)[0], 0.0)
        + numpy_entropy(discriminator(fakes_BCHW, texts_BE)[0], 0.0)
    )
    loss = discriminator_loss(discriminator, images_BCHW, wrong_B, fakes_BCHW, texts_BE, entropy=entropy)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_without_mismatched_images_the_discriminators_loss_has_two_parts():
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, _ = a_batch(generator)
    real_B, fake_B = (discriminator(images, texts_BE)[0] for images in (images_BCHW, fakes_BCHW))
    loss = discriminator_loss(discriminator, images_BCHW, None, fakes_BCHW, texts_BE, entropy=entropy_of_logits)
    assert loss.item() == pytest.approx(numpy_entropy(real_B, 1.0) + numpy_entropy(fake_B, 0.0), rel=1e-5)


def test_all_scales_of_normalization_start_around_one():
    """Those of the text's layers too."""
    torch.manual_seed(3)
    for network in (
        Generator(image_size=64, width=64, text_size=1024, text_hidden_size=128, noise_size=100),
        Discriminator(image_size=64, width=64, text_size=1024, text_hidden_size=128),
    ):
        norms = [one for one in network.modules() if isinstance(one, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
        assert any(isinstance(one, torch.nn.BatchNorm1d) for one in norms)
        for norm in norms:
            assert norm.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert norm.weight.std().item() == pytest.approx(0.02, rel=0.5)
            assert not norm.bias.any()


@pytest.mark.parametrize("entropy", [entropy_of_probabilities, entropy_of_logits])
@pytest.mark.parametrize(("l1_weight", "feature_weight"), [(50.0, 100.0), (0.0, 0.0), (3.0, 0.0), (0.0, 7.0)])
def test_the_generators_loss_is_its_numpy_model(entropy, l1_weight, feature_weight):
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, _ = a_batch(generator)
    logits_B, fake_BFHW = discriminator(fakes_BCHW, texts_BE)
    _, real_BFHW = discriminator(images_BCHW, texts_BE)
    pixels = np.mean(np.abs(in_float64(fakes_BCHW) - in_float64(images_BCHW)))
    features = np.mean((in_float64(fake_BFHW).mean(axis=0) - in_float64(real_BFHW).mean(axis=0)) ** 2)
    expected = numpy_entropy(logits_B, 1.0) + l1_weight * pixels + feature_weight * features
    weights = {"l1_weight": l1_weight, "feature_weight": feature_weight}
    loss = generator_loss(discriminator, images_BCHW, fakes_BCHW, texts_BE, entropy=entropy, **weights)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_no_gradient_of_the_discriminators_loss_reaches_the_generator():
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, wrong_B = a_batch(generator)
    assert fakes_BCHW.requires_grad
    discriminator_loss(
        discriminator, images_BCHW, wrong_B, fakes_BCHW, texts_BE, entropy=entropy_of_probabilities
    ).backward()
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_the_generators_loss_reaches_the_generator_and_its_real_features_are_constants():
    """Nothing flows back through the real images' features: theirs is the target."""
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, _ = a_batch(generator)
    images_BCHW.requires_grad_()
    generator_loss(
        discriminator, images_BCHW, fakes_BCHW, texts_BE,
        entropy=entropy_of_probabilities, l1_weight=0.0, feature_weight=100.0,
    ).backward()  # fmt: skip
    assert not images_BCHW.grad.any()
    assert all(parameter.grad.any() for parameter in generator.parameters())


def test_the_real_features_reach_no_weight_of_the_discriminator():
    """What the discriminator's weights get comes through the fakes alone."""
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, _ = a_batch(generator)
    fakes_BCHW = fakes_BCHW.detach()
    twin = copy.deepcopy(discriminator)
    generator_loss(discriminator, images_BCHW, fakes_BCHW, texts_BE, entropy=entropy_of_logits, **WEIGHTS).backward()
    logits_B, fake_BFHW = twin(fakes_BCHW, texts_BE)
    with torch.no_grad():
        _, real_BFHW = twin(images_BCHW, texts_BE)
    features = torch.nn.functional.mse_loss(fake_BFHW.mean(dim=0), real_BFHW.mean(dim=0))
    (entropy_of_logits(logits_B, 1.0) + 100 * features).backward()
    for one, other in zip(discriminator.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_wrong_images_are_those_it_is_told():
    generator, discriminator = networks()
    images_BCHW, texts_BE, fakes_BCHW, wrong_B = a_batch(generator)
    itself = torch.arange(len(wrong_B))
    losses = [
        discriminator_loss(discriminator, images_BCHW, which_B, fakes_BCHW, texts_BE, entropy=entropy_of_logits)
        for which_B in (wrong_B, itself)
    ]
    assert losses[0] != losses[1]


def test_cross_entropy_of_logits_is_float32_in_half_precision_too():
    logits_B = torch.linspace(-5, 5, 11)
    for dtype in (torch.bfloat16, torch.float16):
        assert entropy_of_logits(logits_B.to(dtype), 1.0).dtype is torch.float32


# --- samples ---


def test_samples_depend_on_the_seed_alone():
    generator, _ = networks()
    _, texts_BE, _, _ = a_batch(generator)
    torch.manual_seed(1)
    first_BCHW = draw_samples(generator, texts_BE, 3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(draw_samples(generator, texts_BE, 3), first_BCHW)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(draw_samples(generator, texts_BE, 4), first_BCHW)
    assert first_BCHW.shape == (7, 3, 16, 16)
    assert first_BCHW.dtype is torch.float32
    assert not first_BCHW.requires_grad


def test_a_sample_does_not_depend_on_the_others_texts():
    """As it would if BatchNorm took its statistics of the batch."""
    generator, _ = networks()
    _, texts_BE, _, _ = a_batch(generator)
    others_BE = texts_BE.clone()
    others_BE[1:] += 1
    torch.testing.assert_close(draw_samples(generator, texts_BE, 3)[0], draw_samples(generator, others_BE, 3)[0])


@pytest.mark.parametrize("training", [False, True])
def test_drawing_samples_leaves_mode_and_statistics_alone(training):
    generator, _ = networks()
    _, texts_BE, _, _ = a_batch(generator)
    generator.train(training)
    before = copy.deepcopy(generator.state_dict())
    draw_samples(generator, texts_BE, 3)
    assert all(module.training is training for module in generator.modules())
    assert all(map(torch.equal, before.values(), generator.state_dict().values()))
