"""The simulation and the real runs that measure the false alarms and the power of the gate's rule."""

import json

import pytest

from bench.calibration import __main__ as calibration
from bench.calibration import gate as gate_calibration
from bench.calibration.gate import (
    NOISE,
    SAME,
    SLOW,
    gate_runs_table,
    judge,
    measure_pairs,
    read_sessions,
    run_sessions,
    simulate,
)
from speedclaims.record.io import RecordError

REALISTIC = ("quiet machine", "two instances as measured", "the same, sessions differ by 0.3 %")
SESSIONS = 3000


@pytest.mark.parametrize("name", NOISE)
def test_unchanged_code_raises_an_alarm_in_at_most_one_session_of_a_hundred(name):
    found = simulate(NOISE[name], 7, SESSIONS, seed=1)
    assert found.alarms <= 0.015 * SESSIONS  # 1 %, and what 3000 sessions scatter around it


@pytest.mark.parametrize("name", REALISTIC)
@pytest.mark.parametrize("num_pairs", [1, 7, 20])
def test_a_loss_of_five_per_cent_is_found_in_at_least_95_of_a_hundred(name, num_pairs):
    found = simulate(NOISE[name], num_pairs, SESSIONS, seed=2)
    assert found.found >= 0.95 * SESSIONS
    assert found.found + found.undecided <= SESSIONS


def test_a_gate_on_absolute_times_cries_wolf_on_a_shared_machine_and_misses_half():
    found = simulate(NOISE["shared cores: every tenth process in a burst"], 7, SESSIONS, seed=3)
    assert found.mean_alarms > 0.9 * SESSIONS
    assert found.mean_found < 0.6 * SESSIONS


def test_noise_that_no_process_shows_is_what_the_table_is_honest_about():
    found = simulate(NOISE["processes differ by 2 %"], 7, SESSIONS, seed=4)
    assert found.found < 0.5 * SESSIONS
    assert found.undecided > 0.5 * SESSIONS


def test_the_table_is_made_by_the_command_and_is_the_same_again(tmp_path):
    for name in ("a.md", "b.md"):
        assert calibration.main(["gate", "--sessions", "50", "-o", str(tmp_path / name)]) == 0
    text = (tmp_path / "a.md").read_text()
    assert text == (tmp_path / "b.md").read_text()
    assert all(text.count(f"| {name} |") == 3 for name in NOISE)


def process(speedup=1.5, *, time=0.003, error=0.003, slow=1.05):
    """What one process of a session leaves."""
    import math

    rows = {name: {"before_s": time, "after_s": time / speedup} for name in (*SAME, SLOW)}
    rows[SLOW]["after_s"] *= slow
    return {
        name: {
            **row,
            "log_speedup": math.log(row["before_s"] / row["after_s"]),
            "error": error,
            "num_values": 100,
            "took_s": 1.5,
        }
        for name, row in rows.items()
    }


def session(number, **changes):
    return {"session": number, "started": 1.8e9 + number, "took_s": 9.0, "processes": [process(**changes)] * 3}


def test_a_slower_side_is_found_and_an_unchanged_one_is_not():
    base, new = session(0), session(1)
    assert judge(base, new, slowed=False).regressed == (False, False)
    slow = judge(base, new, slowed=True)
    assert (slow.regressed, slow.mean_failed) == ((True, False), False)
    assert slow.loss == pytest.approx(0.05)


def test_a_machine_that_became_slower_fails_the_mean_and_not_the_gate():
    found = judge(session(0), session(1, time=0.0033), slowed=False)
    assert (found.regressed, found.mean_failed) == ((False, False), True)


def test_real_runs_go_on_where_they_stopped(tmp_path, monkeypatch):
    path, run = tmp_path / "runs.jsonl", []
    monkeypatch.setattr(gate_calibration, "run_session", lambda number: run.append(number) or session(number))
    assert [one["session"] for one in run_sessions(path, 3, 1)] == [0, 1, 2]
    with path.open("a") as file:
        file.write('{"session": 3, "sta')  # it was stopped here
    assert [one["session"] for one in run_sessions(path, 5, 2)] == [0, 1, 2, 3, 4]
    assert sorted(run) == [0, 1, 2, 3, 4]
    assert [one["session"] for one in read_sessions(path)] == [0, 1, 2, 3, 4]


def test_the_table_of_real_runs_counts_sessions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gate_calibration, "run_session", session)
    out = tmp_path / "t.md"
    options = ["--sessions", "12", "--jobs", "2", "--results", str(tmp_path / "r.jsonl"), "-o", str(out)]
    assert calibration.main(["gate-runs", *options]) == 0
    text = out.read_text()
    assert "10 comparisons with unchanged code" in text
    assert "| unchanged code, alarm | 0.0% [0.0%, 27.8%] | 0.0% [0.0%, 27.8%] |" in text
    assert "| after side 5 % slower, found | 100.0% [72.2%, 100.0%] | 0.0% [0.0%, 27.8%] |" in text
    assert text == gate_runs_table(read_sessions(tmp_path / "r.jsonl"), 2)
    assert "session 12 of 12" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["not JSON\n", "[1]\n", '{"when": 1}\n'])
def test_a_file_of_something_else_is_refused_in_one_line_and_kept(tmp_path, capsys, text):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    assert calibration.main(["gate-runs", "--results", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"speedclaims: {path}: not the results of gate-runs")
    assert error.count("\n") == 1
    assert path.read_text() == text


def test_too_few_sessions_to_compare_are_refused(tmp_path, capsys):
    assert calibration.main(["gate-runs", "--sessions", "2", "--results", str(tmp_path / "r.jsonl")]) == 2
    assert "give more than the 2 that run at a time" in capsys.readouterr().err


def test_a_real_session_is_measured_in_fresh_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(gate_calibration, "GATE_PROCESSES", 1)
    (found,) = run_sessions(tmp_path / "r.jsonl", 1, 1)
    (measured,) = found["processes"]
    assert set(measured) == {*SAME, SLOW}
    assert all(row["before_s"] > 0 < row["error"] and row["num_values"] >= 6 for row in measured.values())
    assert json.loads((tmp_path / "r.jsonl").read_text()) == found


def test_a_process_that_fails_ends_the_run_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(gate_calibration.sys, "executable", "/bin/false")
    with pytest.raises(RecordError, match="session 0: its process ended with 1"):
        run_sessions(tmp_path / "r.jsonl", 1, 1)


def test_too_few_rounds_for_an_error_are_told(monkeypatch):
    from speedclaims.measure.interleave import Settings

    monkeypatch.setattr(gate_calibration, "_SETTINGS", Settings(max_time=0.001))
    with pytest.raises(RecordError, match="too few double rounds"):
        measure_pairs()
