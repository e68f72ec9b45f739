"""The simulation and the real runs that measure the false alarms and the power of the gate's rule."""

import json
import math

import pytest

from bench.calibration import __main__ as calibration
from bench.calibration import gate as gate_calibration
from bench.calibration.gate import (
    MOST_S,
    NOISE,
    NUM_PROCESSES,
    PAIRS,
    SAME,
    SLOW,
    gate_runs_table,
    judge,
    measure_pair,
    read_sessions,
    run_session,
    run_sessions,
    simulate,
)
from speedclaims.record.io import RecordError

REALISTIC = ("quiet machine", "processes differ by 0.6 %", "the same, sessions differ by 0.3 %")
SESSIONS = 400


@pytest.mark.parametrize("name", NOISE)
def test_unchanged_code_raises_an_alarm_in_at_most_one_session_of_a_hundred(name):
    found = simulate(NOISE[name], 7, SESSIONS, seed=1)
    assert found.alarms <= 0.01 * SESSIONS + 6  # 1 %, and what so few sessions scatter around it


@pytest.mark.parametrize("name", REALISTIC)
@pytest.mark.parametrize(("num_pairs", "share"), [(1, 0.95), (7, 0.95), (20, 0.9)])
def test_most_losses_of_eight_per_cent_are_found_without_adding_processes(name, num_pairs, share):
    found = simulate(NOISE[name], num_pairs, SESSIONS, seed=2)
    assert found.found >= share * SESSIONS
    assert found.found + found.undecided <= SESSIONS


def test_a_gate_on_absolute_times_cries_wolf_on_a_shared_machine_and_misses_half():
    found = simulate(NOISE["shared cores: every tenth process in a burst"], 7, SESSIONS, seed=3)
    assert found.mean_alarms > 0.9 * SESSIONS
    assert found.mean_found < 0.65 * SESSIONS


def test_noise_that_no_process_shows_is_what_the_table_is_honest_about():
    found = simulate(NOISE["processes differ by 2 %"], 7, SESSIONS, seed=4)
    assert found.found < 0.6 * SESSIONS
    assert found.undecided > 0.4 * SESSIONS


def test_the_table_is_made_by_the_command_and_is_the_same_again(tmp_path):
    for name in ("a.md", "b.md"):
        assert calibration.main(["gate", "--sessions", "20", "-o", str(tmp_path / name)]) == 0
    text = (tmp_path / "a.md").read_text()
    assert text == (tmp_path / "b.md").read_text()
    assert all(text.count(f"| {name} |") == 3 for name in NOISE)


def process(name, seed, *, speedup=1.5, time=0.003, error=0.003, off=0.0):
    """What one process of a session leaves."""
    after_s = time / speedup * (1.08 if name == SLOW else 1) * math.exp(off)
    return {
        "log_speedup": math.log(time / after_s),
        "error": error,
        "num_values": 100,
        "before_s": time,
        "after_s": after_s,
        "took_s": 1.5,
        "seed": seed,
        "with_start_s": 2.0,
    }


def session(number, _base=None, **changes):
    pairs = {name: [process(name, seed, **changes) for seed in range(1, NUM_PROCESSES + 1)] for name in PAIRS}
    return {"session": number, "started": 1.8e9 + number, "took_s": 9.0, "pairs": pairs, "further": {}}


def test_a_slower_side_is_found_and_an_unchanged_one_is_not():
    base, new = session(0), session(1)
    for is_decided in (False, True):
        same = judge(base, new, is_slowed=False, is_decided=is_decided)
        assert same.words == {SAME[0]: "held", SAME[1]: "held"}
        slow = judge(base, new, is_slowed=True, is_decided=is_decided)
        assert (slow.words, slow.mean_failed) == ({SLOW: "regressed", SAME[1]: "held"}, True)
        assert slow.loss.value == pytest.approx(0.08)


def test_a_machine_that_became_slower_fails_the_mean_and_not_the_gate():
    found = judge(session(0), session(1, time=0.0033), is_slowed=False, is_decided=False)
    assert (set(found.words.values()), found.mean_failed) == ({"held"}, True)


def test_a_session_measures_ambiguous_pairs_until_they_are_decided(monkeypatch):
    asked = []

    def measure_process(number, name, seed):
        asked.append((name, seed))
        noisy = 0.08 * (-1) ** len(asked) if name == SAME[1] else 0.0
        return process(name, seed, off=noisy)

    monkeypatch.setattr(gate_calibration, "measure_process", measure_process)
    found = run_session(1, session(0))
    assert asked[: 5 * len(PAIRS)] == [(name, seed) for seed in (1, 2, 3, 4, 5) for name in PAIRS]
    assert set(found["further"]) == {SAME[1]}
    further = found["further"][SAME[1]]
    assert [one["seed"] for one in further[:6]] == [1, 2, 3, 4, 5, 1]
    assert sum(one["with_start_s"] for one in [*found["pairs"][SAME[1]], *further]) <= MOST_S
    decided = judge(session(0), found, is_slowed=False, is_decided=True)
    assert decided.words[SAME[0]] == "held"


def test_real_runs_go_on_where_they_stopped(tmp_path, monkeypatch):
    path, run = tmp_path / "runs.jsonl", []
    monkeypatch.setattr(
        gate_calibration, "run_session", lambda number, base: run.append((number, base is None)) or session(number)
    )
    assert [one["session"] for one in run_sessions(path, 3, 0)] == [0, 1, 2]
    with path.open("a") as file:
        file.write('{"session": 3, "sta')  # it was stopped here
    assert [one["session"] for one in run_sessions(path, 5, 0)] == [0, 1, 2, 3, 4]
    assert [one["session"] for one in run_sessions(path, 2, 1)] == [0, 1]
    assert run == [(0, True), (1, False), (2, False), (3, False), (4, False), (0, True), (1, False)]
    assert [one["session"] for one in read_sessions(path, 0)] == [0, 1, 2, 3, 4]


def test_the_table_of_real_runs_counts_sessions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gate_calibration, "run_session", session)
    out = tmp_path / "t.md"
    options = ["--sessions", "11", "--results", str(tmp_path / "r.jsonl"), "-o", str(out)]
    assert calibration.main(["gate-runs", *options]) == 0
    text = out.read_text()
    assert "10 comparisons with unchanged code" in text
    none, all_ = "0.0% [0.0%, 27.8%]", "100.0% [72.2%, 100.0%]"
    assert f"| unchanged code, alarm | {none} | {none} | {none} |" in text
    assert f"| 8 % slower, found | {all_} | {all_} | {all_} |" in text
    assert f"| 8 % slower, wrongly held | {none} | {none} | {none} |" in text
    assert text == gate_runs_table(read_sessions(tmp_path / "r.jsonl", 0), 0)
    assert "session 11 of 11" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["not JSON\n", "[1]\n", '{"when": 1}\n', '{"session": 1}\n'])
def test_a_file_of_something_else_is_refused_in_one_line_and_kept(tmp_path, capsys, text):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    assert calibration.main(["gate-runs", "--results", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"speedclaims: {path}: not the results of gate-runs")
    assert error.count("\n") == 1
    assert path.read_text() == text


def test_too_few_sessions_to_compare_are_refused(tmp_path, capsys):
    assert calibration.main(["gate-runs", "--sessions", "1", "--results", str(tmp_path / "r.jsonl")]) == 2
    assert "give at least 2" in capsys.readouterr().err


def test_a_real_session_is_measured_in_fresh_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(gate_calibration, "NUM_PROCESSES", 1)
    (found,) = run_sessions(tmp_path / "r.jsonl", 1, 0)
    assert set(found["pairs"]) == {*SAME, SLOW}
    for (row,) in found["pairs"].values():
        assert row["seed"] == 1
        assert row["before_s"] > 0 < row["error"]
        assert row["num_values"] >= 6
    assert json.loads((tmp_path / "r.jsonl").read_text()) == found


def test_a_process_that_fails_ends_the_run_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(gate_calibration.sys, "executable", "/bin/false")
    with pytest.raises(RecordError, match="session 0: its process ended with 1"):
        run_sessions(tmp_path / "r.jsonl", 1, 0)


def test_too_few_rounds_for_an_error_are_told(monkeypatch):
    from speedclaims.measure.interleave import Settings

    monkeypatch.setattr(gate_calibration, "_SETTINGS", Settings(max_time=0.001))
    with pytest.raises(RecordError, match="too few double rounds"):
        measure_pair(SAME[0])
