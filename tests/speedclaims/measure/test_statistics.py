"""The estimate of the speedup, its interval and the stopping rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, quantile_test

from speedclaims.measure.statistics import (
    MIN_VALUES_TO_STOP,
    StoppingRule,
    correlation_factor,
    interval,
    log_ratio,
    min_values,
)

values = st.lists(st.floats(-2, 2), min_size=6, max_size=60)


@pytest.mark.parametrize(("confidence", "needed"), [(0.95, 6), (0.99, 8), (0.5, 2), (0.999, 11)])
def test_an_interval_needs_as_many_values_as_its_confidence_asks(confidence, needed):
    assert min_values(confidence) == needed
    ramp = [0.01 * i for i in range(needed)]
    assert interval(ramp, confidence).low is not None
    assert interval(ramp[:-1], confidence).low is None


def alternating(sample):
    """Order values so that neighbours lie on either side of the median: no autocorrelation to widen an interval."""
    ordered = sorted(sample)
    return [ordered[i // 2] if i % 2 == 0 else ordered[-1 - i // 2] for i in range(len(ordered))]


@pytest.mark.parametrize("n", [8, 10, 19, 40, 101])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_ranks_are_the_narrowest_that_cover_the_median(n, confidence):
    rng = np.random.default_rng(n)
    sample = sorted(rng.normal(size=n).tolist())
    found = interval(alternating(sample), confidence)
    rank = sample.index(min(sample, key=lambda v: abs(math.exp(v) - found.low))) + 1
    covered = 1 - 2 * binom.cdf(rank - 1, n, 0.5)
    narrower = 1 - 2 * binom.cdf(rank, n, 0.5)
    assert covered >= confidence > narrower


def test_the_interval_is_scipys_for_the_median():
    sample = np.random.default_rng(3).normal(size=25)
    ours = interval(alternating(sample.tolist()), 0.95)
    theirs = quantile_test(sample, q=0, p=0.5).confidence_interval(0.95)
    assert ours.correlation_factor == 1
    assert (math.log(ours.low), math.log(ours.high)) == pytest.approx((theirs.low, theirs.high))


@given(values)
def test_exchanging_the_sides_inverts_the_speedup_and_its_interval(sample):
    one, other = interval(sample, 0.95), interval([-v for v in sample], 0.95)
    assert one.speedup * other.speedup == pytest.approx(1)
    if one.low is not None:
        assert one.low * other.high == pytest.approx(1)
        assert one.low <= one.speedup <= one.high


def ends_after(sample, precision):
    """Return after how many values the rule ends, None if it does not."""
    rule = StoppingRule(precision, 0.95)
    return next((n for n in range(1, len(sample) + 1) if rule.satisfied(sample[:n])), None)


@given(st.lists(st.floats(-2, 2), min_size=10, max_size=20), st.integers(-4, 4), st.floats(0.01, 2))
def test_the_stopping_rule_does_not_see_where_the_interval_lies(sample, shift, precision):
    longer = [round(v * 1024) / 1024 for v in sample * 6]  # so that adding a whole number rounds nothing away
    assert ends_after(longer, precision) == ends_after([v + shift for v in longer], precision)


def test_a_rule_that_looks_at_the_verdict_would_be_seen():
    """The negative control of the test above: a rule that stops once the interval leaves 1 depends on the shift."""
    sample = [0.001 * (i * 7 % MIN_VALUES_TO_STOP) for i in range(MIN_VALUES_TO_STOP)]

    def peeks(v):
        found = interval(v, 0.95)
        return found.low > 1 or found.high < 1

    assert peeks(sample) != peeks([v - 0.0095 for v in sample])


def test_the_stopping_rule_looks_at_geometrically_growing_numbers_of_values():
    rule = StoppingRule(precision=1e-9, confidence=0.95)
    rng = np.random.default_rng(0).normal(size=200).tolist()
    looks = []
    for n in range(1, 200):
        before = rule.next_look
        rule.satisfied(rng[:n])
        if rule.next_look != before:
            looks.append(n)
    assert looks == [30, 39, 51, 67, 88, 115, 150, 195]


def test_the_stopping_rule_wants_the_interval_narrow_at_two_looks_in_a_row():
    noise = np.random.default_rng(4).normal(size=60)
    quiet, loud = (0.001 * noise).tolist(), noise.tolist()
    assert ends_after(quiet, 0.01) == 39
    assert ends_after(loud, 0.01) is None


def test_a_drift_common_to_both_sides_cancels_within_a_double_round():
    drift = [1.0, 1.1, 1.2, 1.3]  # before, after, after, before, each a tenth slower than the one before it
    assert log_ratio([drift[0], drift[3]], [drift[1], drift[2]]) == pytest.approx(0, abs=0.01)
    assert math.log(drift[0] / drift[1]) < -0.09


def test_a_slow_round_does_not_move_the_value_of_its_block():
    assert log_ratio([1.0, 1.0, 9.0], [0.5, 0.5, 0.5]) == pytest.approx(math.log(2))
    assert log_ratio([1.0, 1.0, 1.0], [0.5, 0.5, 4.5]) == pytest.approx(math.log(2))


def test_autocorrelated_values_get_a_wider_interval():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=400)
    series = [0.0]
    for e in noise:
        series.append(0.8 * series[-1] + e)
    shuffled = rng.permutation(series).tolist()
    assert correlation_factor(series) > 3
    assert correlation_factor(shuffled) < 2
    assert interval(series, 0.95).relative_half_width > 1.3 * interval(shuffled, 0.95).relative_half_width


def test_however_correlated_the_values_the_interval_reaches_no_farther_than_they_do():
    two_levels = [0.1] * 35 + [0.2] * 34
    found = interval(two_levels, 0.95)
    assert found.correlation_factor > 18  # the ranks alone would lie outside the values
    assert (found.low, found.high) == pytest.approx((math.exp(0.1), math.exp(0.2)))


def test_equal_values_make_an_interval_of_no_width():
    found = interval([math.log(2)] * 30, 0.95)
    assert (found.speedup, found.low, found.high) == pytest.approx((2, 2, 2))


@pytest.mark.parametrize("bad", [[], [math.nan], [math.inf, 0.0]])
def test_values_that_are_not_there_or_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match=r"nothing was measured|a block has a ratio that is not finite"):
        interval(bad, 0.95)
