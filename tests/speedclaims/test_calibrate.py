"""The command that says how small a loss the gate can find on a machine."""

import json
import random
import re

import pytest

from speedclaims import calibrate as calibration
from speedclaims import cli
from speedclaims.calibrate import KNOWN_LOSS, NUM_PROCESSES, calibrate
from speedclaims.measure.random_effects import Process


def machine(monkeypatch, *, seeds=0.03, again=0.004, within=0.003):
    """A machine whose processes differ by so much."""
    draw = random.Random(7)  # noqa: S311 - figures to calibrate by, not a secret
    of_seeds = {seed: draw.gauss(0, seeds) for seed in range(1, NUM_PROCESSES + 1)}

    def in_process(name, seed, *, slower):
        value = 0.7 + of_seeds[seed] + draw.gauss(0, again) + draw.gauss(0, within)
        return Process(value - 0.077 * slower, within, seed)

    monkeypatch.setattr(calibration, "_in_process", in_process)


def test_a_machine_is_told_by_what_its_processes_differ_by(monkeypatch, capsys):
    machine(monkeypatch)
    assert cli.main(["calibrate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["between_percent"] == pytest.approx(3, rel=0.7)
    assert found["same_seed_percent"] == pytest.approx(0.4, rel=0.7)
    assert found["within_percent"] == pytest.approx(0.3)
    assert all(abs(loss["value"]) < 0.01 for loss in found["same"].values())
    assert all(loss["value"] == pytest.approx(KNOWN_LOSS, abs=0.01) for loss in found["slower"].values())


def test_more_time_finds_smaller_losses_and_a_noisier_machine_only_larger_ones(monkeypatch):
    machine(monkeypatch)
    quiet = calibrate()
    machine(monkeypatch, again=0.05, within=0.02)
    noisy = calibrate()
    for one in (quiet, noisy):
        object.__setattr__(one, "process_s", 2.0)
        found = [one.smallest_loss(seconds) for seconds in (10, 30, 60)]
        assert found == sorted(found, reverse=True)
    assert noisy.smallest_loss(30) > 3 * quiet.smallest_loss(30)
    assert quiet.recommended_percent == max(2, -(-quiet.smallest_loss(30) // 1))


def test_the_lines_say_what_to_do(monkeypatch, capsys):
    machine(monkeypatch)
    assert cli.main(["calibrate"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"The after side does 8% more, and in \d+ s a pair a gate of 5% says: json, repr \+", out)
    assert out.count("regressed") == 3
    assert out.splitlines()[-1].startswith("Recommended: --speedup-fail ")


def test_a_process_that_fails_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(calibration.sys, "executable", "/bin/false")
    assert cli.main(["calibrate"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("speedclaims: json, repr: its process ended with 1")


def test_a_real_process_measures_a_pair():
    found = calibration._in_process("json, repr", 3, slower=False)
    assert found.seed == 3
    assert 0 < found.error < 0.5
