"""Several alternatives: balanced orders, ratios that share one error, and what counts as equal."""

import math
from itertools import pairwise

import numpy as np
import pytest

from speedclaims.measure.alternatives import (
    Ratio,
    Timings,
    compare_timings,
    exponent,
    measure_alternatives,
    williams_orders,
)
from speedclaims.measure.interleave import Settings, work_of

NAMES = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("number", range(2, 9))
def test_each_follows_each_other_one_equally_often_and_has_each_place_equally_often(number):
    orders = williams_orders(number)
    assert all(sorted(order) == list(range(number)) for order in orders)
    followers = [couple for order in orders for couple in pairwise(order)]
    assert {followers.count((a, b)) for a in range(number) for b in range(number) if a != b} == {len(orders) // number}
    for place in range(number):
        at = [order[place] for order in orders]
        assert {at.count(one) for one in range(number)} == {len(orders) // number}


def test_one_alternative_is_none():
    with pytest.raises(ValueError, match="at least two"):
        williams_orders(1)


def simulated(draw, logs, num_processes, num_blocks, between_sd, noise):
    """Return what processes measure of alternatives whose log times are known."""
    processes = []
    for _ in range(num_processes):
        own = [one + draw.normal(0, between_sd / math.sqrt(2)) for one in logs]
        blocks = []
        for _ in range(num_blocks):
            machine = draw.normal(0, 0.05)
            blocks.append([one + machine + draw.normal(0, noise) for one in own])
        seconds = [[math.exp(block[place]) for block in blocks] for place in range(len(logs))]
        processes.append(Timings(seconds, blocks, [0] * len(logs), [1] * len(logs)))
    return processes


@pytest.mark.parametrize("between_sd", [0.0, 0.015, 0.03])
def test_equal_alternatives_differ_in_at_most_one_session_in_twenty(between_sd):
    """1,000 sessions of five; of those that name a difference, Wilson's 99.9% interval must reach down to 5%."""
    draw = np.random.default_rng(7)
    wrong = 0
    for _ in range(1000):
        processes = simulated(draw, [0.0] * 5, 5, 20, between_sd, 0.02)
        ratios, neighbours = compare_timings(NAMES, "a", processes, 0.95, 0.015)
        wrong += any(one.verdict in {"faster", "slower"} for one in (*ratios, *neighbours))
    assert wrong <= 78, "the most that a true share of 5% gives in 999 of 1,000 such tests"


def test_a_real_difference_is_found_and_equal_ones_are_called_equal():
    draw = np.random.default_rng(3)
    processes = simulated(draw, [0.0, -math.log(1.3), 0.001, -0.001, 0.0], 5, 200, 0.001, 0.01)
    ratios, neighbours = compare_timings(NAMES, "a", processes, 0.95, 0.002)
    found = {one.name: one for one in ratios}
    assert found["b"].verdict == "faster"
    assert found["b"].low < 1.3 < found["b"].high
    assert {found[name].verdict for name in "cde"} == {"equal within 2%"}
    assert neighbours[0].name == "b", "the fastest comes first"
    assert [one.to for one in neighbours[:-1]] == [one.name for one in neighbours[1:]]


def test_with_too_few_blocks_there_is_no_interval():
    processes = simulated(np.random.default_rng(1), [0.0, 0.0], 1, 3, 0.0, 0.01)
    (ratio,), _ = compare_timings(["a", "b"], "a", processes, 0.95, 0.015)
    assert math.isnan(ratio.low)
    assert ratio.verdict == "too few rounds"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.03, 1.2, "faster"), (0.7, 0.9, "slower"), (0.9, 1.1, "no clear difference"), (0.99, 1.01, "equal within 2%"),
        (1.001, 1.015, "equal within 2%"), (1.01, 1.05, "faster"),
    ],
)  # fmt: skip
def test_verdicts_follow_from_the_interval(low, high, verdict):
    assert Ratio("b", "a", (low + high) / 2, low, high, 0.95).verdict == verdict


def test_functions_are_measured_in_turn():
    called = []
    works = [work_of(*[lambda one=one: called.append(one)] * 2, None, None, None) for one in "abc"]
    timings = measure_alternatives(works, Settings(max_time=0.3))
    assert len(timings.seconds) == 3
    assert len({len(one) for one in timings.seconds}) == 1
    assert len(timings.seconds[0]) == 6 * len(timings.block_logs), "both squares of three"
    assert {called.count(one) > 0 for one in "abc"} == {True}


def test_the_exponent_of_a_power():
    assert exponent([10, 100, 1000], [1e-3, 1e-1, 1e1]) == pytest.approx(2)
    with pytest.raises(ValueError, match="at least two positive sizes"):
        exponent([10, 10], [1, 2])
