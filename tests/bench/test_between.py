"""The calibration of intervals over processes: what it counts, and the load that it makes."""

import numpy as np
import pytest

from bench.calibration import between
from bench.calibration.__main__ import main
from bench.calibration.between import PROCESSES, TRAINERS, agreement, between_table, gather, measure_one
from bench.calibration.common import toggling
from bench.calibration.estimators import ESTIMATORS
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
    found = gather(path, num_runs=2, num_busy=1, seconds=0.2, with_trainers=False)
    assert len(found) == 2 * PROCESSES == len(path.read_text().splitlines())
    assert gather(path, num_runs=2, num_busy=1, seconds=0.2, with_trainers=False) == found
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

    with patch("bench.calibration.common.subprocess.Popen", start), toggling(2):
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


def test_runs_of_the_trainers_are_taken_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.calibration.unlike.PAIRS", {})
    speedups = iter([1.0, 1.1, 1.5])

    def run_trainers():
        speedup = next(speedups)
        return [{"pair": name, "run": [speedup, speedup / 1.08, speedup * 1.08]} for name in TRAINERS]

    monkeypatch.setattr(between, "run_trainers", run_trainers)
    found = agreement([row for row in gather(tmp_path / "a.jsonl", 3, 0) if row["pair"] == TRAINERS[0]])
    assert (found.num_runs, found.num_run_pairs, found.num_disjoint, found.num_held) == (3, 3, 2, 1)


def test_runs_without_an_interval_are_counted_apart():
    runs = [[2.0, 1.9, 2.1], [2.1, 2.0, 2.2], [2.2, None, None]]
    rows = [{"pair": "p", "num_busy": 2, "with_start_s": 9.0, "run": run} for run in runs]
    found = agreement(rows)
    assert (found.num_runs, found.num_run_pairs, found.num_without) == (2, 1, 1)
    assert "Runs with too few rounds for an interval: 1." in between_table(rows, 2)


def test_a_trainers_pair_that_was_not_measured_ends_it_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("bench.calibration.unlike.PAIRS", {})
    monkeypatch.setattr(between, "TRAINERS", ("bench/nowhere.py::test_x",))
    assert main(["between", "--runs", "1", "--results", str(tmp_path / "r.jsonl")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("speedclaims: the trainers' pairs: pytest ended with 4: ")


def test_estimators_are_compared_on_rounds_of_which_some_were_interrupted():
    from speedclaims.measure.interleave import Round, Rounds

    quiet = [Round(seconds, is_interrupted=False) for seconds in (1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.0)]
    burst = [Round(7.0, is_interrupted=True)] * 4
    after = [Round(one.seconds / 2, is_interrupted=False) for one in quiet + quiet[:4]]
    found = Rounds(before=quiet + burst, after=after, log_ratios=[0.7, 0.69])
    told = {name: np.exp(estimate(found)) for name, estimate in ESTIMATORS.items()}
    assert told["undisturbed rounds, median of each side"] == pytest.approx(2.0)
    assert told["all rounds, minimum of each side"] == pytest.approx(2.0)
    assert told["all rounds, mean of each side"] > 5
    assert told["blocks of undisturbed rounds, median (ours)"] == pytest.approx(np.exp(0.695))


def test_the_table_of_estimators_says_how_much_each_varies_and_moves(tmp_path, capsys):
    import json

    rng = np.random.default_rng(2)
    path = tmp_path / "r.jsonl"
    rows = [
        {
            "at": number,
            "num_busy": busy,
            "pair": pair,
            "estimates": {name: rng.normal(0.1 * busy, 0.01) for name in ESTIMATORS},
        }
        for number, (busy, pair) in enumerate([(busy, pair) for busy in (0, 2) for pair in "ab" for _ in range(30)])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["estimators", "--results", str(path)]) == 0
    table = capsys.readouterr().out
    for line in table.splitlines():
        if line.startswith("| all rounds, minimum"):
            sd, *_, moved, _ = (float(cell.strip(" %")) for cell in line.split("|")[2:-1])
            assert sd == pytest.approx(1, abs=0.4)
            assert moved == pytest.approx(20, abs=1)
    assert all(f"| {name} |" in table for name in ESTIMATORS)
    assert main(["estimators", "--results", str(tmp_path / "none.jsonl")]) == 2
    assert "no results of between" in capsys.readouterr().err
