"""The exponent of growth: exponents that it finds, and measurements that it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.harness import growth
from bench.harness.growth import Growth, NotMeasuredError, bytes_of, details_of, growth_exponent, sweep

SIZES = (8, 16, 32, 64)


@pytest.fixture
def recorded():
    """Figures as they come from a `Growth` that sweeps as seldom as it may."""
    figures = []

    def figure(value, **rest):
        figures.append({"value": value, **rest})

    return SimpleNamespace(figures=figures, growth=Growth(figure, "cpu", 0.0))


def costs(power, *, noise=0.0, num_sweeps=7, seed=0, constant=0.0):
    """Return sweeps over costs that grow with a power of the size, each cost with relative noise of its own."""
    draw = np.random.default_rng(seed)
    return [[constant + size**power * draw.lognormal(0, noise) for size in SIZES] for _ in range(num_sweeps)]


@pytest.mark.parametrize("power", [0, 1, 2, 1.5, -1])
def test_the_exponent_of_an_exact_power_is_found(power):
    found = growth_exponent(SIZES, costs(power))
    assert found["value"] == pytest.approx(power, abs=1e-12)
    assert found["high"] - found["low"] < 1e-9
    assert found["unit"] == "exponent"


def test_quadratic_costs_are_not_taken_for_linear_ones_nor_the_other_way():
    quadratic, linear = growth_exponent(SIZES, costs(2, noise=0.1)), growth_exponent(SIZES, costs(1, noise=0.1))
    assert quadratic["low"] > 1.5
    assert linear["high"] < 1.5
    assert linear["low"] > 0.5


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    intervals = [growth_exponent(SIZES, costs(1, noise=0.05, num_sweeps=5, seed=seed)) for seed in range(400)]
    held = sum(found["low"] <= 1 <= found["high"] for found in intervals)
    assert 360 <= held <= 395  # of a binomial of 400 and 0.95, four standard deviations below and three above


def test_the_unit_of_size_and_cost_changes_nothing():
    sweeps = costs(1.3, noise=0.1)
    scaled = growth_exponent([size * 1000 for size in SIZES], [[cost / 7 for cost in each] for each in sweeps])
    assert scaled["value"] == pytest.approx(growth_exponent(SIZES, sweeps)["value"])


def test_a_constant_part_shows_in_the_exponents_between_neighbours():
    sweeps = costs(1, constant=100)
    assert growth_exponent(SIZES, sweeps)["value"] < 0.5
    sizes, between = details_of("tokens", SIZES, sweeps, "ms", 1e3)
    assert sizes.startswith("tokens 8, 16, 32, 64: 1.08e+05, ")
    assert sizes.endswith("ms (medians of 7 sweeps)")
    told = [float(number) for number in between.partition(": ")[2].split(", ")]
    assert told == sorted(told)
    assert len(told) == 3


@pytest.mark.parametrize(
    ("sizes", "sweeps"),
    [
        ((8,), [[1.0], [1.0]]),
        ((8, 8), [[1.0, 2.0], [1.0, 2.0]]),
        ((8, 16), [[1.0, 2.0]]),
        ((8, 16), [[1.0, 2.0], [1.0]]),
        ((8, 16), [[1.0, 2.0], [1.0, 0.0]]),
        ((0, 16), [[1.0, 2.0], [1.0, 2.0]]),
    ],
)
def test_what_has_no_exponent_is_refused(sizes, sweeps):
    with pytest.raises(ValueError, match=r"exponent needs|every sweep needs"):
        growth_exponent(sizes, sweeps)


def test_sizes_are_visited_upwards_and_downwards():
    visited = []

    def measure(number):
        def cost():
            visited.append(number)
            return number + 1.0

        return cost

    sweeps = sweep([measure(0), measure(1), measure(2)], 0.0)
    assert visited == [0, 1, 2, 2, 1, 0] * (growth.FEWEST_SWEEPS // 2) + [0, 1, 2] * (growth.FEWEST_SWEEPS % 2)
    assert sweeps == [[1.0, 2.0, 3.0]] * growth.FEWEST_SWEEPS


def test_time_given_is_used_and_no_more_than_the_most_sweeps():
    assert len(sweep([lambda: 1.0], 60.0)) == growth.MOST_SWEEPS


def test_memory_that_grows_linearly_is_found_to(recorded):
    sizes = (2, 4, 8)
    recorded.growth.record("MiB", sizes, [lambda size=size: bytearray(size * 2**20) for size in sizes], "memory")
    (figure,) = recorded.figures
    if figure["value"] is None:
        pytest.skip(figure["reason"])
    assert figure["low"] == pytest.approx(1, abs=0.2)
    assert figure["high"] == pytest.approx(1, abs=0.2)


def test_memory_too_little_to_tell_is_null_with_the_reason(recorded):
    recorded.growth.record("bytes", (2, 4), [lambda: None, lambda: None], "memory")
    (figure,) = recorded.figures
    assert figure["value"] is None
    assert "noise" in figure["reason"] or "memory" in figure["reason"]


def test_memory_that_cannot_be_read_says_why(monkeypatch):
    missing = {"value": None, "reason": "no such counter"}
    monkeypatch.setattr(growth, "call_memory", lambda device, call: {"peak": missing, "increase": missing})
    with pytest.raises(NotMeasuredError, match="no such counter"):
        bytes_of("cpu", lambda: None)()


def test_a_side_is_put_back_before_each_call(recorded):
    events = []

    class Counted:
        def __init__(self, name):
            self.name = name

        def reset(self):
            events.append(("reset", self.name))

        def __call__(self):
            events.append(("call", self.name))
            sum(range(2000))  # a call that reading the clock does not hide

    recorded.growth.record("size", (1, 2, 4), [Counted(1), Counted(2), Counted(4)], "time")
    assert events[0::2] == [("reset", name) for _, name in events[1::2]]
    (figure,) = recorded.figures
    assert figure["details"][0].startswith("size 1, 2, 4: ")
