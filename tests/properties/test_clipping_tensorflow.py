"""Properties 1 and 3 to 13 of gradient clipping, TensorFlow's half; each check also meets a faulty clip and must fail.

3 speaks of PyTorch's formula: here it stands as a float64 NumPy model, so that this half needs no PyTorch.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds

tf = pytest.importorskip("tensorflow")

from trainers.tensorflow.clipping import Clipped, clip_by_global_norm, dense_norm  # noqa: E402 - only with TensorFlow

INFINITY = float("inf")


def apply(clip, gradients, limit):
    """(clipped gradients as arrays, what the clip returned)."""
    result = clip([None if each is None else tf.constant(each) for each in gradients], limit)
    return [None if each is None else each.numpy() for each in result.gradients], result


def norm_of(gradients):
    """Euclidean norm of all arrays together, in double precision."""
    return math.sqrt(sum(float(np.sum(gradient.astype(np.float64) ** 2)) for gradient in gradients))


def tensorflow_model(gradients, limit):
    """TensorFlow's formula in double precision."""
    factor = limit / max(norm_of(gradients), limit)
    return [gradient.astype(np.float64) * factor for gradient in gradients]


def torch_model(gradients, limit):
    """PyTorch's formula in double precision."""
    factor = min(1.0, limit / (norm_of(gradients) + 1e-6))
    return [gradient.astype(np.float64) * factor for gradient in gradients]


def bitwise_equal(left, right):
    return all(np.array_equal(a.view(np.int32), b.view(np.int32)) for a, b in zip(left, right, strict=True))


# --- faults to plant ---


def as_clip(change):
    """Make a clip of a function that gives other gradients, given their norm and the limit."""

    def clip(gradients, limit):
        present = [each for each in gradients if each is not None]
        norm = tf.linalg.global_norm(present) if present else tf.zeros(())
        changed = iter(change(present, norm, limit))
        return Clipped([None if each is None else next(changed) for each in gradients], norm, tf.math.is_finite(norm))

    clip.__name__ = change.__name__
    return clip


@as_clip
def clip_per_tensor(gradients, _, limit):
    return [tf.clip_by_norm(each, limit) for each in gradients]


@as_clip
def clip_with_large_epsilon(gradients, norm, limit):
    return [each * tf.minimum(limit / (norm + 1e-3), 1.0) for each in gradients]


@as_clip
def clip_nothing(gradients, *_):
    return gradients


@as_clip
def always_rescale(gradients, norm, limit):
    return [each * (limit / (norm + 1e-6)) for each in gradients]


@as_clip
def clip_softly(gradients, norm, limit):
    return [each * (limit / (norm + limit)) for each in gradients]


@as_clip
def clip_by_value(gradients, _, limit):
    return [tf.clip_by_value(each, -limit / 10, limit / 10) for each in gradients]


@as_clip
def shift_by_epsilon(gradients, norm, limit):
    return [each * tf.minimum(limit / (norm + 1e-6), 1.0) + 1e-6 for each in gradients]


@as_clip
def clip_one_after_the_other(gradients, _, limit):
    squares, clipped = 0.0, []
    for each in gradients:
        squares = squares + tf.reduce_sum(tf.square(each))
        clipped.append(each * tf.minimum(limit / (tf.sqrt(squares) + 1e-6), 1.0))
    return clipped


def hide_what_is_not_finite(gradients, limit):
    hidden = [tf.where(tf.math.is_finite(each), each, 0.0) for each in gradients]
    return clip_by_global_norm(hidden, limit)


def clip_and_fill_missing(gradients, limit):
    return clip_by_global_norm([tf.zeros(1) if each is None else each for each in gradients], limit)


def judge_by_the_gradients(gradients, limit):
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in gradients])
    clipped = clip_by_global_norm(gradients, limit)
    return SimpleNamespace(gradients=clipped.gradients, norm=clipped.norm, may_step=finite)


def clip_unchecked(gradients, limit):
    """TensorFlow's own."""
    clipped, norm = tf.clip_by_global_norm(gradients, limit)
    return Clipped(clipped, norm, tf.math.is_finite(norm))


# --- the properties ---


def check_the_formula(clip, gradients, limit):
    clipped, result = apply(clip, gradients, limit)
    assert bool(result.may_step)
    for ours, model in zip(clipped, tensorflow_model(gradients, limit), strict=True):
        np.testing.assert_allclose(ours, model, rtol=2e-6, atol=0)
    np.testing.assert_allclose(float(result.norm), norm_of(gradients), rtol=2e-6)


the_formula = holds(check_the_formula, strategies.gradient_sets(), strategies.clip_limits())


def test_1_clipping_is_the_float64_formula():
    the_formula(clip_by_global_norm)


def test_1_holds_in_a_graph():
    def in_a_graph(gradients, limit):
        graph = tf.function(lambda given: vars(clip_by_global_norm(given, limit)))
        return Clipped(**graph(gradients))

    holds(check_the_formula, strategies.gradient_sets(), strategies.clip_limits(), max_examples=10)(in_a_graph)


@pytest.mark.parametrize("faulty", [clip_per_tensor, clip_nothing, clip_with_large_epsilon])
def test_1_notices_another_formula(faulty):
    assert fails(the_formula, faulty)


def check_agreement_with_torch(clip, gradients, factor):
    norm = norm_of(gradients)
    clipped, _ = apply(clip, gradients, norm * factor)
    for ours, model in zip(clipped, torch_model(gradients, norm * factor), strict=True):
        np.testing.assert_allclose(ours, model, rtol=1.5e-6 / norm + 5e-7, atol=0)


agreement_with_torch = holds(
    check_agreement_with_torch, strategies.gradient_sets(nonzero=True), strategies.tight_factors()
)


def test_3_clipping_agrees_with_pytorchs_formula_from_the_limit_on():
    agreement_with_torch(clip_by_global_norm)


def test_3_notices_a_large_epsilon():
    assert fails(agreement_with_torch, clip_with_large_epsilon)


def check_norm_below_limit(clip, gradients, limit):
    clipped, _ = apply(clip, gradients, limit)
    assert norm_of(clipped) <= limit * (1 + 5e-7)


norm_below_limit = holds(check_norm_below_limit, strategies.gradient_sets(), strategies.clip_limits())


def test_4_the_clipped_norm_does_not_exceed_the_limit():
    norm_below_limit(clip_by_global_norm)


def test_4_notices_a_clip_that_does_nothing():
    assert fails(norm_below_limit, clip_nothing)


def check_identity_below_limit(clip, gradients, factor):
    clipped, _ = apply(clip, gradients, (norm_of(gradients) + 2e-6) * factor)
    for ours, before in zip(clipped, gradients, strict=True):
        assert (np.abs(ours - before) <= 2 * np.spacing(np.abs(before))).all()


identity_below_limit = holds(check_identity_below_limit, strategies.gradient_sets(), strategies.loose_factors())


def test_5_gradients_below_the_limit_stay_within_two_units_in_the_last_place():
    identity_below_limit(clip_by_global_norm)


def test_5_notices_a_clip_that_always_rescales():
    assert fails(identity_below_limit, always_rescale)


def check_twice_is_once(clip, gradients, limit):
    once, _ = apply(clip, gradients, limit)
    twice, _ = apply(clip, once, limit)
    for first, second in zip(once, twice, strict=True):
        np.testing.assert_allclose(second, first, rtol=5e-6, atol=0)


twice_is_once = holds(check_twice_is_once, strategies.gradient_sets(), strategies.clip_limits())


def test_6_clipping_twice_is_clipping_once():
    twice_is_once(clip_by_global_norm)


def test_6_notices_a_soft_clip():
    assert fails(twice_is_once, clip_softly)


def check_direction(clip, gradients, limit):
    clipped, _ = apply(clip, gradients, limit)
    before, after = np.concatenate(gradients).astype(np.float64), np.concatenate(clipped).astype(np.float64)
    assert before @ after >= (1 - 1e-6) * np.linalg.norm(before) * np.linalg.norm(after)
    assert not after[before == 0].any()


direction = holds(check_direction, strategies.gradient_sets(nonzero=True), strategies.clip_limits())


def test_7_clipping_keeps_the_direction_and_the_zeros():
    direction(clip_by_global_norm)


@pytest.mark.parametrize("faulty", [clip_by_value, shift_by_epsilon])
def test_7_notices_a_turned_gradient(faulty):
    assert fails(direction, faulty)


def check_missing_stay_missing(clip, gradients, missing, limit):
    some = [None if absent else gradient for gradient, absent in zip(gradients, missing, strict=False)]
    clipped, _ = apply(clip, some, limit)
    assert [each is None for each in clipped] == [each is None for each in some]
    present, _ = apply(clip_by_global_norm, [each for each in some if each is not None], limit)
    assert bitwise_equal([each for each in clipped if each is not None], present)


missing_stay_missing = holds(
    check_missing_stay_missing, strategies.gradient_sets(), strategies.missing_flags(), strategies.clip_limits()
)


def test_8_missing_gradients_stay_missing_and_change_nothing():
    missing_stay_missing(clip_by_global_norm)


def test_8_notices_missing_gradients_that_are_filled_in():
    assert fails(missing_stay_missing, clip_and_fill_missing)


def check_order(clip, gradients, limit):
    forwards, _ = apply(clip, gradients, limit)
    backwards, _ = apply(clip, gradients[::-1], limit)
    for one, other in zip(forwards, backwards[::-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=0)


order = holds(check_order, strategies.gradient_sets(least_tensors=2), strategies.clip_limits())


def test_8_the_order_of_the_tensors_does_not_matter():
    order(clip_by_global_norm)


def test_8_notices_a_norm_that_grows_along_the_way():
    assert fails(order, clip_one_after_the_other)


def check_nonfinite(clip, case, limit):
    gradients, _ = case
    clipped, result = apply(clip, gradients, limit)
    assert not bool(result.may_step)
    assert all(np.isnan(after).all() for after in clipped)


nonfinite = holds(check_nonfinite, strategies.nonfinite_gradient_sets(), strategies.clip_limits())


def test_9_nan_and_infinity_spread_to_all_and_may_not_step():
    nonfinite(clip_by_global_norm)


def test_9_notices_a_clip_that_hides_them():
    assert fails(nonfinite, hide_what_is_not_finite)


def check_overflow(clip, gradients, limit):
    clipped, result = apply(clip, gradients, limit)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.isnan(after).all() for after in clipped)
    assert not bool(result.may_step)


overflow = holds(check_overflow, strategies.overflowing_gradient_sets(), strategies.clip_limits())


def test_10_an_overflowing_norm_makes_everything_nan_and_may_not_step():
    overflow(clip_by_global_norm)


def test_10_notices_a_guard_that_looks_at_the_gradients_only():
    assert fails(overflow, judge_by_the_gradients)


def check_refusal(clip, gradients, limit):
    try:
        clip([tf.constant(each) for each in gradients], limit)
    except ValueError as error:
        assert repr(limit) in str(error)  # noqa: PT017 - a missing error is the fault looked for
    else:
        raise AssertionError(f"the limit {limit} was accepted")


refusal = holds(check_refusal, strategies.gradient_sets(), strategies.refused_limits())


def test_11_limits_that_no_norm_can_have_are_refused():
    refusal(clip_by_global_norm)


def test_11_notices_a_clip_that_takes_any_limit():
    assert fails(refusal, clip_unchecked)


def check_infinite_limit(clip, case):
    spoilt, _ = case
    for gradients in (spoilt, [np.nan_to_num(each, nan=1.0, posinf=2.0, neginf=-2.0) for each in spoilt]):
        clipped, result = apply(clip, gradients, INFINITY)
        assert bitwise_equal(clipped, gradients)
        assert bool(result.may_step) == all(np.isfinite(each).all() for each in gradients)


infinite_limit = holds(check_infinite_limit, strategies.nonfinite_gradient_sets())


def test_11_an_infinite_limit_is_the_identity_even_for_gradients_that_are_not_finite():
    infinite_limit(clip_by_global_norm)


def test_11_notices_tensorflows_own_clip_that_makes_them_nan():
    assert fails(infinite_limit, clip_unchecked)


def slices_of(gradient, num_times):
    """A sparse gradient of three rows, of which one index comes several times with the same values."""
    values = tf.constant(np.stack([gradient] * num_times))
    return tf.IndexedSlices(values, tf.fill((num_times,), 1), tf.constant((3, len(gradient))))


def check_sparse(norms, gradient, num_times):
    """12: rows of one index count one by one in TensorFlow's norm, and together in the dense one."""
    sparse, dense = norms([slices_of(gradient, num_times)])
    np.testing.assert_allclose(sparse, math.sqrt(num_times) * norm_of([gradient]), rtol=2e-6)
    np.testing.assert_allclose(dense, num_times * norm_of([gradient]), rtol=2e-6)


sparse = holds(
    check_sparse,
    strategies.gradient_sets(least_elements=1, nonzero=True).map(lambda gradients: gradients[-1]),
    strategies.few(4),
)


def test_12_both_norms_of_sparse_gradients_are_reported():
    sparse(lambda gradients: (float(clip_by_global_norm(gradients, 1.0).norm), float(dense_norm(gradients))))


def test_12_sparse_gradients_stay_sparse():
    gradient = np.array([3.0, 4.0], np.float32)
    (clipped,) = clip_by_global_norm([slices_of(gradient, 1)], 1.0).gradients
    assert isinstance(clipped, tf.IndexedSlices)
    np.testing.assert_allclose(clipped.values.numpy(), [[0.6, 0.8]], rtol=1e-6)


def test_12_notices_one_norm_for_both():
    assert fails(sparse, lambda gradients: (float(clip_by_global_norm(gradients, 1.0).norm),) * 2)


def check_clipnorm_after_global(clip, gradients):
    clipped, _ = apply(clip, gradients, 1.0)
    for gradient in clipped:
        again = tf.clip_by_norm(gradient, 1.0).numpy()  # what Keras does with clipnorm=1
        np.testing.assert_allclose(again, gradient, rtol=5e-7, atol=0)


clipnorm_after_global = holds(check_clipnorm_after_global, strategies.gradient_sets())


def test_13_after_a_global_clip_of_1_clipping_by_variable_does_nothing():
    clipnorm_after_global(clip_by_global_norm)


def test_13_notices_a_clip_that_does_nothing():
    assert fails(clipnorm_after_global, clip_nothing)
