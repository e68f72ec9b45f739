"""Linear layers by oneDNN: the products and gradients of PyTorch, compiled too, and where they are used."""

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from trainers.pytorch import onednn

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not onednn.has_onednn(torch.device("cpu")), reason="this PyTorch is built without oneDNN"),
]

CPU = torch.device("cpu")


def layer(num_rows, num_inputs, num_outputs):
    torch.manual_seed(num_rows)
    shapes = (num_rows, num_inputs), (num_outputs, num_inputs), (num_outputs,)
    return [torch.randn(shape, requires_grad=True) for shape in shapes], torch.randn(num_rows, num_outputs)


def outputs_and_gradients(linear, arguments, upstream):
    outputs = linear(*arguments)
    wanted = [argument for argument in arguments if argument.requires_grad]
    return [outputs, *torch.autograd.grad(outputs, wanted, upstream)]


def assert_as_pytorchs(linear, arguments, upstream):
    found = outputs_and_gradients(linear, arguments, upstream)
    for ours, theirs in zip(found, outputs_and_gradients(functional.linear, arguments, upstream), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 3, 5), (64, 366, 512), (7, 512, 33)])
def test_products_and_gradients_are_pytorchs(sizes):
    assert_as_pytorchs(onednn.onednn_linear, *layer(*sizes))


def test_of_strided_inputs_too():
    (values, weight, bias), upstream = layer(6, 8, 4)
    turned = values.detach().t().contiguous().t().requires_grad_()
    part = torch.cat([weight.detach(), weight.detach()], 1)[:, :8].requires_grad_()
    assert not turned.is_contiguous()
    assert not part.is_contiguous()
    assert_as_pytorchs(onednn.onednn_linear, (turned, part, bias), upstream)


def test_inputs_that_need_no_gradient_get_none():
    (values, weight, bias), upstream = layer(6, 8, 4)
    found = outputs_and_gradients(onednn.onednn_linear, (values.detach(), weight, bias), upstream)
    assert len(found) == 3
    assert_as_pytorchs(onednn.onednn_linear, (values.detach(), weight, bias), upstream)


def test_pytorchs_own_check_of_operators():
    (values, weight, bias), _ = layer(6, 8, 4)
    torch.library.opcheck(torch.ops.trainers.onednn_product.default, (values, weight, bias))
    torch.library.opcheck(torch.ops.trainers.onednn_product.default, (values.detach(), weight.detach()))


@pytest.mark.parametrize(
    ("capabilities", "gains"),
    [
        ({"cpu_name": "AMD EPYC 9654", "avx512_f": True}, True),
        ({"cpu_name": "AMD EPYC 7763", "avx512_f": False}, False),
        ({"cpu_name": "Intel(R) Xeon(R) Platinum 8480C", "avx512_f": True}, False),
        ({}, False),
    ],
    ids=["AMD", "AMD without AVX-512", "Intel", "unknown"],
)
def test_taken_where_mkl_leaves_avx_512_unused(monkeypatch, capabilities, gains):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert onednn.gains_by_onednn(CPU) is gains
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert onednn.gains_by_onednn(CPU) is False


def test_never_on_a_gpu_nor_where_pytorch_has_no_onednn(monkeypatch):
    assert not onednn.has_onednn(torch.device("cuda"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not onednn.has_onednn(CPU)
    assert not onednn.gains_by_onednn(CPU)


def test_an_older_pytorch_keeps_its_own(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not onednn.gains_by_onednn(CPU)


def test_operations_are_counted_as_those_of_a_plain_layer():
    values, weight, bias = torch.randn(6, 9, requires_grad=True), torch.randn(4, 9, requires_grad=True), torch.randn(4)
    counts = []
    for linear in (functional.linear, onednn.onednn_linear):
        with FlopCounterMode(display=False) as counter:
            linear(values, weight, bias).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 6 * 9 * 4
