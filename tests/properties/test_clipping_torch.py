"""Properties 1 to 13 of gradient clipping, PyTorch's half; each check also meets a faulty clip and must fail on it.

1 and 3 speak of TensorFlow's formula: here it stands as a float64 NumPy model, so that this half needs no TensorFlow.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from tests import strategies
from tests.properties.controls import fails, holds
from trainers.pytorch.clipping import Clipped, clip_by_global_norm, clipping_divisor

pytestmark = pytest.mark.usefixtures("one_thread")

INFINITY = float("inf")


def parameters_of(gradients):
    """Parameters with these arrays as gradients; None stays None."""
    parameters = []
    for gradient in gradients:
        parameter = torch.nn.Parameter(torch.zeros(0 if gradient is None else len(gradient)))
        parameter.grad = None if gradient is None else torch.from_numpy(gradient.copy())
        parameters.append(parameter)
    return parameters


def apply(clip, gradients, limit):
    """(clipped gradients as arrays, what the clip returned)."""
    parameters = parameters_of(gradients)
    result = clip(parameters, limit)
    return [None if each.grad is None else each.grad.numpy() for each in parameters], result


def clip_by_dividing(parameters, limit):
    """What an optimizer does that is given the divisor."""
    divisor = clipping_divisor(parameters, limit)
    gradients = [each.grad for each in parameters if each.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    for gradient in gradients:
        gradient.div_(divisor)
    return Clipped(norm)


@pytest.fixture(params=[clip_by_global_norm, clip_by_dividing])
def clip(device, request):
    """What the trainers clip with, on a device; given and giving parameters of the CPU."""

    def clip_there(parameters, limit):
        there = [torch.nn.Parameter(each.detach().to(device)) for each in parameters]
        for each, source in zip(there, parameters, strict=True):
            each.grad = None if source.grad is None else source.grad.to(device)
        result = request.param(there, limit)
        for each, source in zip(there, parameters, strict=True):
            source.grad = None if each.grad is None else each.grad.cpu()
        return Clipped(result.norm.cpu())

    return request.param if device == "cpu" else clip_there


def norm_of(gradients):
    """Euclidean norm of all arrays together, in double precision."""
    return math.sqrt(sum(float(np.sum(gradient.astype(np.float64) ** 2)) for gradient in gradients))


def torch_model(gradients, limit):
    """PyTorch's formula in double precision."""
    factor = min(1.0, limit / (norm_of(gradients) + 1e-6))
    return [gradient.astype(np.float64) * factor for gradient in gradients]


def tensorflow_model(gradients, limit):
    """TensorFlow's formula in double precision."""
    factor = limit * min(1 / norm_of(gradients), 1 / limit)
    return [gradient.astype(np.float64) * factor for gradient in gradients]


def bitwise_equal(left, right):
    return all(np.array_equal(a.view(np.int32), b.view(np.int32)) for a, b in zip(left, right, strict=True))


# --- faults to plant ---


def as_clip(change):
    """Make a clip of a function that changes gradients, given their norm and the limit."""

    def clip(parameters, limit):
        gradients = [each.grad for each in parameters if each.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        change(gradients, norm, limit)
        return Clipped(norm)

    clip.__name__ = change.__name__
    return clip


@as_clip
def clip_per_tensor(gradients, _, limit):
    for gradient in gradients:
        gradient.mul_(torch.clamp(limit / (gradient.norm() + 1e-6), max=1.0))


@as_clip
def clip_with_large_epsilon(gradients, norm, limit):
    for gradient in gradients:
        gradient.mul_(torch.clamp(limit / (norm + 1e-3), max=1.0))


@as_clip
def clip_nothing(*_):
    pass


@as_clip
def always_rescale(gradients, norm, limit):
    for gradient in gradients:
        gradient.mul_(limit / (norm + 1e-6))


@as_clip
def clip_softly(gradients, norm, limit):
    for gradient in gradients:
        gradient.mul_(limit / (norm + limit))


@as_clip
def clip_by_value(gradients, _, limit):
    for gradient in gradients:
        gradient.clamp_(-limit / 10, limit / 10)


@as_clip
def shift_by_epsilon(gradients, norm, limit):
    for gradient in gradients:
        gradient.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0)).add_(1e-6)


@as_clip
def clip_one_after_the_other(gradients, _, limit):
    squares = 0.0
    for gradient in gradients:
        squares = squares + gradient.square().sum()
        gradient.mul_(torch.clamp(limit / (squares.sqrt() + 1e-6), max=1.0))


@as_clip
def hide_what_is_not_finite(gradients, _, limit):
    for gradient in gradients:
        gradient.nan_to_num_(0.0, 0.0, 0.0)
    clip_grad_norm_([SimpleNamespace(grad=each) for each in gradients], limit)


def clip_and_fill_missing(parameters, limit):
    for each in parameters:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    return clip_by_global_norm(parameters, limit)


def judge_by_the_gradients(parameters, limit):
    finite = all(bool(torch.isfinite(each.grad).all()) for each in parameters if each.grad is not None)
    clip_grad_norm_(parameters, limit)
    return SimpleNamespace(may_step=finite)


def clip_unchecked(parameters, limit):
    return Clipped(clip_grad_norm_(parameters, limit))


# --- the properties ---


def check_the_formula(clip, gradients, limit):
    clipped, result = apply(clip, gradients, limit)
    assert result.may_step
    for ours, model in zip(clipped, torch_model(gradients, limit), strict=True):
        np.testing.assert_allclose(ours, model, rtol=2e-6, atol=0)
    np.testing.assert_allclose(float(result.norm), norm_of(gradients), rtol=2e-6)


the_formula = holds(check_the_formula, strategies.gradient_sets(), strategies.clip_limits())


def test_2_clipping_is_the_float64_formula(clip):
    the_formula(clip)


@pytest.mark.parametrize("norm", [1e-4, 1e-2, 0.1])
def test_2_the_epsilon_of_the_formula_counts_where_gradients_are_small(clip, norm):
    check_the_formula(clip, [np.float32([0.6 * norm, 0.0]), np.float32([-0.8 * norm])], norm / 2)


@pytest.mark.parametrize("faulty", [clip_per_tensor, clip_nothing, clip_with_large_epsilon])
def test_2_notices_another_formula(faulty):
    assert fails(the_formula, faulty)


def check_agreement_with_tensorflow(clip, gradients, factor):
    norm = norm_of(gradients)
    clipped, _ = apply(clip, gradients, norm * factor)
    for ours, model in zip(clipped, tensorflow_model(gradients, norm * factor), strict=True):
        np.testing.assert_allclose(ours, model, rtol=1.5e-6 / norm + 5e-7, atol=0)


agreement_with_tensorflow = holds(
    check_agreement_with_tensorflow, strategies.gradient_sets(nonzero=True), strategies.tight_factors()
)


def test_1_and_3_clipping_agrees_with_tensorflows_formula_from_the_limit_on(clip):
    agreement_with_tensorflow(clip)


def test_3_notices_a_large_epsilon():
    assert fails(agreement_with_tensorflow, clip_with_large_epsilon)


def check_norm_below_limit(clip, gradients, limit):
    clipped, _ = apply(clip, gradients, limit)
    assert norm_of(clipped) <= limit * (1 + 5e-7)


norm_below_limit = holds(check_norm_below_limit, strategies.gradient_sets(), strategies.clip_limits())


def test_4_the_clipped_norm_does_not_exceed_the_limit(clip):
    norm_below_limit(clip)


def test_4_notices_a_clip_that_does_nothing():
    assert fails(norm_below_limit, clip_nothing)


def check_identity_below_limit(clip, gradients, factor):
    # The epsilon of the formula counts: up to 1e-6 below the limit gradients still shrink.
    clipped, _ = apply(clip, gradients, (norm_of(gradients) + 2e-6) * factor)
    assert bitwise_equal(clipped, gradients)


identity_below_limit = holds(check_identity_below_limit, strategies.gradient_sets(), strategies.loose_factors())


def test_5_gradients_below_the_limit_stay_bitwise_the_same(clip):
    identity_below_limit(clip)


def test_5_notices_a_clip_that_always_rescales():
    assert fails(identity_below_limit, always_rescale)


def check_twice_is_once(clip, gradients, limit):
    once, _ = apply(clip, gradients, limit)
    twice, _ = apply(clip, once, limit)
    for first, second in zip(once, twice, strict=True):
        np.testing.assert_allclose(second, first, rtol=5e-6, atol=0)


# The epsilon shrinks a clipped gradient once more by 1e-6 / limit, so a limit far below 1 cannot hold the tolerance.
twice_is_once = holds(check_twice_is_once, strategies.gradient_sets(), strategies.clip_limits(least=0.5))


def test_6_clipping_twice_is_clipping_once(clip):
    twice_is_once(clip)


def test_6_notices_a_soft_clip():
    assert fails(twice_is_once, clip_softly)


def check_direction(clip, gradients, limit):
    clipped, _ = apply(clip, gradients, limit)
    before, after = np.concatenate(gradients).astype(np.float64), np.concatenate(clipped).astype(np.float64)
    assert before @ after >= (1 - 1e-6) * np.linalg.norm(before) * np.linalg.norm(after)
    assert not after[before == 0].any()


direction = holds(check_direction, strategies.gradient_sets(nonzero=True), strategies.clip_limits())


def test_7_clipping_keeps_the_direction_and_the_zeros(clip):
    direction(clip)


@pytest.mark.parametrize("faulty", [clip_by_value, shift_by_epsilon])
def test_7_notices_a_turned_gradient(faulty):
    assert fails(direction, faulty)


def check_missing_stay_missing(clip, gradients, missing, limit):
    some = [None if absent else gradient for gradient, absent in zip(gradients, missing, strict=False)]
    clipped, _ = apply(clip, some, limit)
    assert [each is None for each in clipped] == [each is None for each in some]
    present, _ = apply(clip, [each for each in some if each is not None], limit)
    assert bitwise_equal([each for each in clipped if each is not None], present)


missing_stay_missing = holds(
    check_missing_stay_missing, strategies.gradient_sets(), strategies.missing_flags(), strategies.clip_limits()
)


def test_8_missing_gradients_stay_missing_and_change_nothing(clip):
    missing_stay_missing(clip)


def test_8_notices_missing_gradients_that_are_filled_in():
    assert fails(missing_stay_missing, clip_and_fill_missing)


def check_order(clip, gradients, limit):
    forwards, _ = apply(clip, gradients, limit)
    backwards, _ = apply(clip, gradients[::-1], limit)
    for one, other in zip(forwards, backwards[::-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=0)


order = holds(check_order, strategies.gradient_sets(least_tensors=2), strategies.clip_limits())


def test_8_the_order_of_the_tensors_does_not_matter(clip):
    order(clip)


def test_8_notices_a_norm_that_grows_along_the_way():
    assert fails(order, clip_one_after_the_other)


def check_nonfinite(clip, case, limit):
    gradients, places = case
    clipped, result = apply(clip, gradients, limit)
    assert not result.may_step
    has_nan = any(np.isnan(gradients[tensor][element]) for tensor, element in places)
    for before, after in zip(gradients, clipped, strict=True):
        if has_nan:
            assert np.isnan(after).all()
        else:
            assert np.isnan(after[np.isinf(before)]).all()
            assert not after[np.isfinite(before)].any()


nonfinite = holds(check_nonfinite, strategies.nonfinite_gradient_sets(), strategies.clip_limits())


def test_9_infinity_zeroes_the_finite_gradients_nan_spreads_and_neither_may_step(clip):
    nonfinite(clip)


def test_9_notices_a_clip_that_hides_them():
    assert fails(nonfinite, hide_what_is_not_finite)


def check_overflow(clip, gradients, limit):
    clipped, result = apply(clip, gradients, limit)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert not any(after.any() for after in clipped)
    assert not result.may_step


overflow = holds(check_overflow, strategies.overflowing_gradient_sets(), strategies.clip_limits())


def test_10_an_overflowing_norm_zeroes_everything_and_may_not_step(clip):
    overflow(clip)


def test_10_notices_a_guard_that_looks_at_the_gradients_only():
    assert fails(overflow, judge_by_the_gradients)


def check_refusal(clip, gradients, limit):
    parameters = parameters_of(gradients)
    try:
        clip(parameters, limit)
    except ValueError as error:
        assert repr(limit) in str(error)  # noqa: PT017 - a missing error is the fault looked for
    else:
        raise AssertionError(f"the limit {limit} was accepted")
    assert bitwise_equal([each.grad.numpy() for each in parameters], gradients)


refusal = holds(check_refusal, strategies.gradient_sets(), strategies.refused_limits())


def test_11_limits_that_no_norm_can_have_are_refused(clip):
    refusal(clip)


def test_11_notices_a_clip_that_takes_any_limit():
    assert fails(refusal, clip_unchecked)


def check_infinite_limit(clip, case):
    gradients, _ = case
    clipped, result = apply(clip, gradients, INFINITY)
    assert bitwise_equal(clipped, gradients)
    assert not result.may_step


infinite_limit = holds(check_infinite_limit, strategies.nonfinite_gradient_sets())


def test_11_an_infinite_limit_is_the_identity_even_for_gradients_that_are_not_finite(clip):
    infinite_limit(clip)


def test_11_notices_an_infinite_limit_that_is_multiplied_with():
    assert fails(infinite_limit, clip_unchecked)


def check_sparse(clip, gradient, limit):
    """Two rows' worth of gradient on one index: its norm is that of the sum, which PyTorch does not take."""
    values = torch.from_numpy(np.stack([gradient, gradient]))
    parameter = torch.nn.Parameter(torch.zeros(3, len(gradient)))
    shape = (3, len(gradient))
    parameter.grad = torch.sparse_coo_tensor(torch.tensor([[1, 1]]), values, shape, check_invariants=True)
    try:
        clip([parameter], limit)
    except ValueError as error:
        assert "sparse" in str(error)  # noqa: PT017 - a missing error is the fault looked for
    except NotImplementedError as error:
        raise AssertionError("PyTorch's own complaint came through") from error
    else:
        raise AssertionError("a sparse gradient was clipped")
    # Summed first, the repeated rows count together: twice the gradient, not the root of two times.
    dense = parameter.grad.to_dense().numpy()
    np.testing.assert_allclose(norm_of([dense]), 2 * norm_of([gradient]), rtol=1e-6)


sparse = holds(
    check_sparse,
    strategies.gradient_sets(least_elements=1, nonzero=True).map(lambda gradients: gradients[-1]),
    strategies.clip_limits(),
)


def test_12_sparse_gradients_are_refused_by_name(clip):
    sparse(clip)


def test_12_notices_pytorchs_own_complaint():
    assert fails(sparse, clip_unchecked)


def check_clipnorm_after_global(clip, gradients):
    clipped, _ = apply(clip, gradients, 1.0)
    for gradient in clipped:
        norm = norm_of([gradient])
        again = gradient.astype(np.float64) / max(norm, 1.0)  # Keras: limit / max(norm, limit), by variable
        np.testing.assert_allclose(again, gradient, rtol=5e-7, atol=0)


clipnorm_after_global = holds(check_clipnorm_after_global, strategies.gradient_sets())


def test_13_after_a_global_clip_of_1_clipping_by_variable_does_nothing(clip):
    clipnorm_after_global(clip)


def test_13_notices_a_clip_that_does_nothing():
    assert fails(clipnorm_after_global, clip_nothing)
