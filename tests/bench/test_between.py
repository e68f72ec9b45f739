"""The calibration of intervals over processes: what it counts, and the load that it makes."""

import numpy as np
import pytest

from bench.calibration.__main__ import main
from bench.calibration.between import PROCESSES, agreement, between_table, gather, measure_one, toggling
from bench.calibration.unlike import PAIRS


def rows(means, spread=0.001):
    rng = np.random.default_rng(3)
    return [{"pair": "a, b", "log_ratios": rng.normal(mean, spread, 40).tolist()} for mean in means]


def test_runs_of_one_truth_agree_and_hold_their_consensus():
    rng = np.random.default_rng(4)
    found = agreement(rows(rng.normal(0.7, 0.01, 4 * PROCESSES)))
    assert (found.num_runs, found.num_run_pairs, found.num_disjoint, found.num_held) == (4, 6, 0, 4)
    assert found.between_sd == pytest.approx(0.01, rel=0.5)


def test_runs_that_contradict_each_other_are_counted():
    found = agreement(rows([0.0] * PROCESSES + [0.5] * PROCESSES))
    assert (found.num_disjoint, found.num_run_pairs, found.num_held) == (1, 1, 0)


def test_the_table_counts_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.calibration.unlike.PAIRS", {"reduce, sum": PAIRS["reduce, sum"]})
    path = tmp_path / "results.jsonl"
    found = gather(path, num_runs=2, num_busy=1, seconds=0.2)
    assert len(found) == 2 * PROCESSES == len(path.read_text().splitlines())
    assert gather(path, num_runs=2, num_busy=1, seconds=0.2) == found
    table = between_table(found, 1)
    assert "| reduce, sum | 2 |" in table
    assert "1 other processes busy by turns" in table


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_runs(name):
    before, after = PAIRS[name]
    before()
    after()


def test_one_pair_is_measured_by_blocks():
    found = measure_one("reduce, sum", 0.3)
    assert len(found["log_ratios"]) >= 3
    assert 0 <= found["interrupted"] <= 1


def test_the_other_load_ends_with_the_measuring():
    import subprocess
    from unittest.mock import patch

    started = []
    real = subprocess.Popen

    def start(*arguments, **options):
        started.append(real(*arguments, **options))
        return started[-1]

    with patch("bench.calibration.between.subprocess.Popen", start), toggling(2):
        assert [one.poll() for one in started] == [None, None]
    assert all(one.poll() is not None for one in started)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["between-process", "nope"], "'nope': no such pair: the pairs are dump json, pickle;"),
        (["between", "--results", "README.md"], "README.md: not the results of between"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, words, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_number_of_busy_processes_below_0_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["between", "--busy", "-1"])
    assert stopped.value.code == 2
    assert "'-1' is not a whole number of at least 0" in capsys.readouterr().err
