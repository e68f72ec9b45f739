"""The tabular regressor's network, loss and final predictions.

Shape suffixes: B rows of a batch, F features, K targets.
"""

import math

import numpy as np
import pytest
import torch

from trainers.tabular_regressor.model import TabularRegressor, extract_final_predictions, regression_loss


def numpy_weight(p1_BK):
    return (1 - np.clip(p1_BK, -1, 1)) / 2


def outputs_and_targets(seed=0):
    random = np.random.default_rng(seed)
    return random.normal(0, 1.5, (17, 4, 3)).astype(np.float32), random.normal(0, 2, (17, 4)).astype(np.float32)


def test_the_network_of_the_original_size_has_its_2306063_parameters():
    model = TabularRegressor(num_features=366, num_targets=5, hidden_size=512, num_layers=4, dropout=0.1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_306_063


def test_the_network_maps_rows_to_three_values_a_target():
    model = TabularRegressor(num_features=6, num_targets=2, hidden_size=8, num_layers=2, dropout=0.0)
    assert model(torch.zeros(5, 6)).shape == (5, 2, 3)


def test_weights_start_xavier_uniform_and_biases_at_zero():
    model = TabularRegressor(num_features=366, num_targets=5, hidden_size=512, num_layers=1, dropout=0.1)
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert len(linears) == 4
    for linear in linears:
        bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
        assert not linear.bias.any()
        assert linear.weight.abs().max() <= bound
        assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def numpy_layer_norm(values, module):
    centred = values - values.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + module.eps)
    return scaled * module.weight.detach().numpy() + module.bias.detach().numpy()


def numpy_linear(values, module):
    return values @ module.weight.detach().numpy().astype(np.float64).T + module.bias.detach().numpy()


def numpy_gelu(values):
    return values * 0.5 * (1 + np.vectorize(math.erf)(values / np.sqrt(2)))


def test_the_network_is_its_numpy_model():
    torch.manual_seed(0)
    model = TabularRegressor(num_features=6, num_targets=2, hidden_size=8, num_layers=2, dropout=0.3).eval()
    for parameter in model.parameters():  # so that no term is hidden by a one or a zero
        torch.nn.init.normal_(parameter, 0.1, 0.5)
    features_BF = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    hidden = numpy_layer_norm(numpy_linear(features_BF, model.input_proj), model.input_norm)
    for block in model.layers:
        first, norm1, _, _, second, norm2, _ = block
        inner = numpy_gelu(numpy_layer_norm(numpy_linear(hidden, first), norm1))
        hidden = hidden + numpy_layer_norm(numpy_linear(inner, second), norm2)
    expected = numpy_linear(hidden, model.output_proj).reshape(5, 2, 3)
    np.testing.assert_allclose(model(torch.from_numpy(features_BF)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_its_numpy_model():
    outputs_BK3, targets_BK = outputs_and_targets()
    p1_BK, p2_BK, p3_BK = np.moveaxis(outputs_BK3.astype(np.float64), -1, 0)
    w_BK = numpy_weight(p1_BK)
    expected = np.mean(w_BK * (p2_BK - targets_BK) ** 2 + (1 - w_BK) * (p3_BK - targets_BK) ** 2)
    loss = regression_loss(torch.from_numpy(outputs_BK3), torch.from_numpy(targets_BK))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_reads_p1_p2_p3_in_this_order():
    perfect_first = torch.tensor([[[-5.0, 3.0, 100.0]]])
    perfect_second = torch.tensor([[[5.0, 100.0, 3.0]]])
    target = torch.tensor([[3.0]])
    assert regression_loss(perfect_first, target).item() == regression_loss(perfect_second, target).item() == 0


def test_final_predictions_are_their_numpy_model_from_either_shape():
    outputs_BK3, _ = outputs_and_targets()
    p1_BK, p2_BK, p3_BK = np.moveaxis(outputs_BK3, -1, 0)
    expected = numpy_weight(p1_BK) * p2_BK + (1 - numpy_weight(p1_BK)) * p3_BK
    for shaped in (outputs_BK3, outputs_BK3.reshape(17, 12)):
        predictions = extract_final_predictions(torch.from_numpy(shaped), 4)
        np.testing.assert_allclose(predictions.numpy(), expected, rtol=1e-6, atol=1e-6)
