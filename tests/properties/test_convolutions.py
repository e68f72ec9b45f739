"""Property 36 of `matrix_products` and `unfolded_maps`: convolutions by products have the layers' gradients too."""

import pytest
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests import strategies
from tests.properties.controls import fails, holds
from trainers import family
from trainers.pytorch import convolutions
from trainers.pytorch.convolutions import convolve, convolve_transposed, from_one_pixel, replace_forward
from trainers.pytorch.mixed_precision import multiplies_bfloat16

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

FAMILY = family("text_to_image")
OFF = {switch.name: False for switch in FAMILY.switches["fastest"]}


def make(tier="fastest", **arguments):
    switches = {"switches": OFF | arguments.pop("switches", {})} if tier == "fastest" else {}
    return FAMILY.build(tier, **{"preset": "tiny", "log": lambda _: None, **switches, **arguments})


# --- a layer ---

KINDS = {
    "convolve": (convolve, nn.Conv2d, True),
    "convolve_transposed": (convolve_transposed, nn.ConvTranspose2d, False),
    "from_one_pixel": (from_one_pixel, nn.ConvTranspose2d, False),
}


def check_layer(kind, sizes, options, channels_last, seed):
    """36: a layer's result, and its gradients, in double precision."""
    function, layer_kind, has_bias = KINDS[kind]
    (num_images, num_in, num_out, size), (kernel_size, stride, padding) = sizes, options
    if function is from_one_pixel:
        size, stride, padding = 1, 1, 0
    torch.manual_seed(seed)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    layer = layer_kind(num_in, num_out, kernel_size, stride, padding, bias=has_bias).double().to(memory_format=layout)
    maps = torch.randn(num_images, num_in, size, size, dtype=torch.float64).contiguous(memory_format=layout)
    maps.requires_grad_()
    wanted, ours = (functional.leaky_relu_(result) for result in (layer(maps), function(layer, maps)))  # in place
    weights, given = torch.randn(wanted.shape, dtype=torch.float64), [maps, *layer.parameters()]
    torch.testing.assert_close(ours, wanted)
    for mine, theirs in zip(
        torch.autograd.grad(ours, given, weights), torch.autograd.grad(wanted, given, weights), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


layers_in = holds(
    check_layer,
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(4, 9)),
    st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(0, 1)),
    st.booleans(),
    strategies.seeds(),
    max_examples=20,
)


@pytest.mark.parametrize("kind", KINDS)
def test_36_a_convolution_by_products_is_the_layers(kind):
    layers_in(kind)


def test_36_notices_maps_unfolded_in_another_order(monkeypatch):
    unfold = convolutions.unfold
    monkeypatch.setattr(convolutions, "unfold", lambda *given: unfold(*given).flip(1))
    assert fails(layers_in, "convolve")
    assert fails(layers_in, "convolve_transposed")


@pytest.mark.parametrize("kind", ["convolve", "convolve_transposed"])
def test_gradients_that_nobody_asks_for_are_left_out(kind, monkeypatch):
    function, layer_kind, has_bias = KINDS[kind]
    layer, maps = layer_kind(2, 3, 4, 2, 1, bias=has_bias), torch.randn(1, 2, 8, 8, requires_grad=True)
    made, as_weights = [], convolutions._as_weights
    monkeypatch.setattr(convolutions, "_as_weights", lambda *given: made.append(given) or as_weights(*given))
    (wanted,) = torch.autograd.grad(layer(maps).sum(), maps)
    function(layer, maps).sum().backward()
    assert len(made) == 1
    maps.grad = None
    layer.requires_grad_(requires_grad=False)
    function(layer, maps).sum().backward()
    assert len(made) == 1
    torch.testing.assert_close(maps.grad, wanted)


def test_a_replaced_forward_keeps_weights_and_hooks():
    layer, seen = nn.Conv2d(2, 3, 4, 2, 1), []
    layer.register_forward_hook(lambda *_: seen.append("hook"))
    names, maps = list(layer.state_dict()), torch.randn(1, 2, 8, 8)
    wanted = layer(maps)
    replace_forward(layer, convolve)
    torch.testing.assert_close(layer(maps), wanted)
    assert (list(layer.state_dict()), seen) == (names, ["hook"] * 2)


# --- a trainer ---


@pytest.fixture(scope="module", params=[False, True], ids=["channels first", "channels last"])
def trainer(request, private_cache, one_thread):
    return make(switches={"matrix_products": True, "channels_last": request.param})


def check_logits(trainer, size, seed):
    """36: logits of features and texts, and gradients of all weights and of the features, are those of the layer."""
    drawn = torch.Generator().manual_seed(seed)
    network, config = trainer.discriminator.train(), trainer.config
    num_features = network.judge.in_channels - config.text_hidden_size
    features = torch.randn(size, num_features, 4, 4, generator=drawn, requires_grad=True)
    texts = torch.randn(size, config.text_size, generator=drawn)
    wanted, ours = network.logits(features, texts), trainer._logits(features, texts)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    weights, given = torch.linspace(0.5, 1.5, size), [features, network.judge.weight, *network.text.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad(ours, given, weights), torch.autograd.grad(wanted, given, weights), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


logits_in = holds(check_logits, st.integers(2, 6), strategies.seeds(), max_examples=15)


def test_36_logits_by_products_are_those_of_the_layer(trainer):
    logits_in(trainer)


def test_36_notices_logits_without_the_text(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "_logits", lambda features, _: trainer._logits_of_images(features))
    assert fails(logits_in, trainer)


def test_the_generator_keeps_its_memory_layout(trainer):
    given = []
    hook = trainer.generator.image[1].register_forward_hook(lambda _, maps, __: given.append(maps[0]))
    trainer.train_steps(1)
    hook.remove()
    assert given
    assert all(maps.is_contiguous(memory_format=trainer._layout) for maps in given)


def kernels_of(trainer):
    """Weights of all convolutions; a bias before a BatchNorm has no gradient but rounding."""
    both = [*trainer.generator.parameters(), *trainer.discriminator.parameters()]
    return [weight for weight in both if weight.ndim == 4]


@pytest.mark.skipif(not multiplies_bfloat16(torch.device("cpu")), reason="this processor does not multiply bfloat16")
@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_36_unfolded_maps_agree_step_by_step_in_bfloat16(image_size, monkeypatch):
    calls, unfold = [], convolutions.unfold
    monkeypatch.setattr(convolutions, "unfold", lambda *given: calls.append(given[0].dtype) or unfold(*given))
    ours, plain = (
        make(switches={"bfloat16": True, "unfolded_maps": on}, image_size=image_size, width=8) for on in (True, False)
    )
    for _ in range(6):
        ours.load_state(plain.state())
        for each in (ours, plain):
            each.train_steps(1)
        for name in ("discriminator_losses", "generator_losses"):
            assert ours.metrics[name] == pytest.approx(plain.metrics[name], rel=5e-3)
        for mine, theirs in zip(kernels_of(ours), kernels_of(plain), strict=True):
            assert (mine.grad - theirs.grad).norm() < 0.1 * theirs.grad.norm()
    assert calls == [torch.bfloat16] * 6 * 6, "of five passes of the discriminator and a gradient of the generator"


def test_36_the_generators_loss_computes_no_gradient_of_the_discriminator(monkeypatch):
    made, as_weights = [], convolutions._as_weights
    monkeypatch.setattr(convolutions, "_as_weights", lambda *given: made.append(given) or as_weights(*given))
    for pruned, number in ((False, 5), (True, 4)):
        trainer = make(switches={"pruned_backward": pruned})
        replace_forward(trainer.discriminator.image[0], convolve)
        replace_forward(trainer.generator.image[3], convolve_transposed)
        made.clear()
        trainer.train_steps(1)
        assert len(made) == number
        assert all(weight.requires_grad for weight in trainer.discriminator.parameters())


def test_the_switches_replace_the_layers_around_the_smallest_maps():
    trainer = make(switches={"matrix_products": True, "bfloat16": True, "unfolded_maps": True})
    replaced = {
        name: layer.forward.func
        for network in (trainer.generator, trainer.discriminator)
        for name, layer in network.image.named_children()
        if "forward" in vars(layer)
    }
    last = max(
        int(name) for name, layer in trainer.discriminator.image.named_children() if isinstance(layer, nn.Conv2d)
    )
    assert replaced == {"0": from_one_pixel, "3": convolve_transposed, str(last): convolve}


def test_nothing_is_unfolded_in_float32(monkeypatch):
    monkeypatch.setattr(convolutions, "unfold", lambda *_: pytest.fail("unfolded"))
    make(switches={"unfolded_maps": True}).train_steps(1)
