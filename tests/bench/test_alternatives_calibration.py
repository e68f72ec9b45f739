"""The simulation and the real sessions that say how often equal alternatives are said to differ."""

import numpy as np

from bench.calibration import __main__ as calibration
from bench.calibration.alternatives import NAMES, measure_process, says_that_any_differ, simulate
from speedclaims.measure.alternatives import Timings


def timings(logs, seed):
    rng = np.random.default_rng(seed)
    blocks = np.array(logs) + rng.normal(0, 0.002, (30, len(logs)))
    return Timings(np.exp(blocks.T).tolist(), blocks.tolist(), [0] * len(logs), [1] * len(logs))


def test_a_difference_would_be_counted():
    assert says_that_any_differ([timings([0, 0, 0, 0, 0.1], seed) for seed in range(5)])
    assert not says_that_any_differ([timings([0] * 5, seed) for seed in range(5)])


def test_few_simulated_sessions_name_a_difference():
    assert simulate(0.015, 300, seed=1) <= 27, "the most that a true share of 5% gives in 999 of 1,000 such tests"


def test_a_process_measures_five_functions_that_are_compiled_one_by_one():
    found = measure_process()
    assert len(found["seconds"]) == len(NAMES)
    assert all(value > 0 for values in found["seconds"] for value in values)


def test_the_table_has_a_row_for_each_simulation_and_for_the_measured_sessions(capsys):
    assert calibration.main(["alternatives", "--simulated", "20", "--sessions", "1"]) == 0
    text = capsys.readouterr().out
    assert text.count("simulated, a log ratio differs") == 4
    assert "compiled 5 times | 1 |" in text
