"""The interval over processes: its coverage where the truth is known, and what few processes can say."""

import math

import numpy as np
import pytest

from speedclaims.measure.random_effects import (
    BETWEEN_SD,
    PRIOR_DF,
    Process,
    known_errors,
    over_processes,
    pool,
    standard_error,
    t_quantile,
)
from speedclaims.measure.statistics import Interval


def process(log_speedup, error, confidence=0.95):
    half = 1.959964 * error
    low, high = math.exp(log_speedup - half), math.exp(log_speedup + half)
    return Interval(math.exp(log_speedup), low, high, confidence, 40, 1.0)


def test_the_error_of_a_process_is_that_of_its_interval():
    assert standard_error(process(0.3, 0.02)) == pytest.approx(0.02, rel=1e-6)
    assert standard_error(Interval(1.2, None, None, 0.95, 3, 1.0)) is None


@pytest.mark.parametrize(
    ("num", "between", "error"), [(5, 0.015, 0.005), (5, 0.06, 0.005), (3, 0.03, 0.01), (3, 0.3, 0.01), (8, 0.1, 0)]
)
def test_the_interval_holds_the_mean_of_all_processes_as_often_as_it_says(num, between, error):
    rng = np.random.default_rng(20)
    held = 0
    for _ in range(1000):
        values = rng.normal(0.7, between, num) + rng.normal(0, error, num)
        found = over_processes([process(value, max(error, 1e-4)) for value in values])
        held += found.low <= math.exp(0.7) <= found.high
    assert held >= 930


def test_with_what_processes_are_expected_to_differ_by_few_of_them_are_enough():
    """Without the expectation, three processes need 4.3 standard errors; with it, as measured, fewer."""
    processes = [Process(value, 0.001) for value in (0.0, 0.01, 0.02)]
    alone, helped = pool(processes, BETWEEN_SD / 10), pool(processes)
    assert (alone.df, helped.df) == (2, 2 + PRIOR_DF)
    assert t_quantile(helped.df, 0.975) * helped.error < t_quantile(alone.df, 0.975) * alone.error


def test_one_process_is_as_unsure_as_processes_differ():
    one = over_processes([process(0.5, 0.0001)])
    assert one.speedup == pytest.approx(math.exp(0.5))
    half = math.log(one.high / one.low) / 2
    assert half == pytest.approx(t_quantile(PRIOR_DF, 0.975) * BETWEEN_SD, rel=0.01)


def test_a_larger_spread_than_expected_counts_in_full():
    values = [0.0, 0.2, -0.2, 0.1, -0.1]
    found = over_processes([process(value, 0.001) for value in values])
    spread = float(np.std(values, ddof=1)) / math.sqrt(5)
    assert math.log(found.high / found.low) / 2 == pytest.approx(t_quantile(4, 0.975) * spread, rel=0.01)


def test_a_process_that_ran_into_other_load_counts_little():
    found = over_processes([process(0.0, 0.001), process(0.0, 0.001), process(1.0, 1.0)])
    assert abs(math.log(found.speedup)) < 0.01


def test_a_process_with_too_few_values_for_an_error_counts_like_the_least_certain():
    assert known_errors([0.05, None, 0.02]) == [0.05, 0.05, 0.02]
    assert known_errors([None, None, None]) == [0.0, 0.0, 0.0]
    few = Interval(math.exp(0.3), None, None, 0.95, 3, 1.0)
    found = over_processes([process(0.0, 0.05), process(0.0, 0.05), few])
    assert math.log(found.speedup) == pytest.approx(0.1, rel=1e-3)


def test_without_intervals_of_their_own_three_processes_are_needed():
    short = Interval(1.5, None, None, 0.95, 2, 1.0)
    assert over_processes([short, short]).low is None
    assert over_processes([short]).low is None
    assert over_processes([short, short, short]).low < 1.5


def test_no_process_is_refused():
    with pytest.raises(ValueError, match="no process measured this pair"):
        over_processes([])


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1e-9, 123.4])
def test_one_process_without_an_error_is_no_division_by_zero(value):
    found = over_processes([Interval(math.exp(value), math.exp(value), math.exp(value), 0.95, 40, 1.0)])
    assert found.low < found.speedup < found.high


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 6, 7, 12, 33, 100, 1000, 1001, 10**7])
@pytest.mark.parametrize("probability", [0.5, 0.75, 0.975, 0.995, 0.9999])
def test_the_quantiles_are_those_of_scipy(df, probability):
    from scipy.special import stdtrit

    assert t_quantile(df, probability) == pytest.approx(stdtrit(df, probability), rel=1e-9, abs=1e-9)
