"""Measure how well this machine measures: its noise between processes, and the losses that the gate would find."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

from speedclaims.clock import now
from speedclaims.errors import SpeedclaimsError
from speedclaims.gate.slowdown import FAMILY_ERROR, Loss, losses, verdict
from speedclaims.gating import NUM_LOOKS
from speedclaims.measure.interleave import Settings, measure, work_of
from speedclaims.measure.processes import PROCESSES, seeds_of
from speedclaims.measure.random_effects import PRIOR_DF, SESSION_CORRELATION, Process, standard_error, t_quantile

KNOWN_LOSS = 0.08
"""How much more the after side does where it is to be slower."""
GATED_PERCENT = 5.0
NUM_PROCESSES = PROCESSES[0]
SECONDS_OF_GATE = (10, 30, 60)
FOUND = 0.95
"""Share of the losses that are to be found."""
_EACH_S = 1.6
_ROWS = [{"id": i, "name": f"name {i}", "values": [i / 7, i / 11]} for i in range(600)]
_NUMBERS = [(i * 7919) % 10007 / 7 for i in range(6000)]


class CalibrationError(SpeedclaimsError, RuntimeError):
    """A process that was to measure failed."""


def _added(number: int) -> float:
    total = 0.0
    for one in _NUMBERS[:number]:
        total += one
    return total


# Each after side does a part of its work for `share`, so that it can do more: json against text, a loop against a
# comprehension, and a sort against a dictionary.
_SIDES: dict[str, tuple[Callable[[], object], Callable[[float], object]]] = {
    "json, repr": (lambda: json.dumps(_ROWS), lambda share: [repr(row) for row in _ROWS[: round(400 * share)]]),
    "loop, comprehension": (lambda: _added(6000), lambda share: [one * 2 for one in _NUMBERS[: round(5000 * share)]]),
    "sort, dictionary": (
        lambda: sorted(_NUMBERS),
        lambda share: {one: None for one in _NUMBERS[: round(5000 * share)]},  # noqa: C420 - what is measured
    ),
}


@dataclass(frozen=True)
class Calibration:
    """How this machine measures.

    Attributes:
        between_percent: standard deviation of a speedup between fresh processes, in percent.
        same_seed_percent: the same between processes whose hashes have one order.
        within_percent: standard error of a speedup in one process.
        process_s: seconds that a process takes, its start among them.
        same: of each pair, the loss that the gate sees where nothing was lost.
        slower: the same where the after side does `KNOWN_LOSS` more.
    """

    between_percent: float
    same_seed_percent: float
    within_percent: float
    process_s: float
    same: dict[str, Loss]
    slower: dict[str, Loss]

    def smallest_loss(self, seconds: float) -> float:
        """Return the loss in percent that the gate finds in 95% of runs, by the seconds that each pair takes.

        The base has `NUM_PROCESSES` processes, and the gate looks up to `NUM_LOOKS` times. Formula: the quantiles of
        chance and of power times the standard error of the change (Montgomery, Design and Analysis of Experiments,
        chapter 2).
        """
        number = max(1, int(seconds / self.process_s))
        sd = math.hypot(self.same_seed_percent, self.within_percent)
        error = sd * math.sqrt(1 / NUM_PROCESSES + 1 / number + 2 * SESSION_CORRELATION)
        df = number - 1 + PRIOR_DF
        return error * (t_quantile(df, 1 - FAMILY_ERROR / NUM_LOOKS) + NormalDist().inv_cdf(FOUND))

    @property
    def recommended_percent(self) -> int:
        """The threshold that this machine can hold in 30 seconds a pair, in whole percent, at least 2."""
        return max(2, math.ceil(self.smallest_loss(SECONDS_OF_GATE[1])))


def calibrate(told: Callable[[str], object] = lambda _: None) -> Calibration:
    """Measure pairs of unlike functions in fresh processes: twice as they are, and with a known loss.

    Args:
        told: takes a line about the progress.

    Raises:
        CalibrationError: a process failed.
    """
    began, number = now(), 0
    found: dict[tuple[str, str], list[Process]] = {}
    for seed in seeds_of(NUM_PROCESSES):
        for name in _SIDES:
            for kind in ("base", "same", "slower"):
                found.setdefault((name, kind), []).append(_in_process(name, seed, slower=kind == "slower"))
                number += 1
                told(f"process {number} of {NUM_PROCESSES * len(_SIDES) * 3}")
    process_s = (now() - began) / number
    errors = [one.error for processes in found.values() for one in processes]
    within = math.sqrt(fmean(error**2 for error in errors))
    between = [variance(one.value for one in processes) for processes in found.values()]
    twins = [zip(found[name, "base"], found[name, "same"], strict=True) for name in _SIDES]
    seeded = [variance(one.value - other.value for one, other in pairs) / 2 for pairs in twins]
    return Calibration(
        between_percent=100 * _beyond(fmean(between), within),
        same_seed_percent=100 * _beyond(fmean(seeded), within),
        within_percent=100 * within,
        process_s=process_s,
        same=_losses(found, "same"),
        slower=_losses(found, "slower"),
    )


def _losses(found: dict[tuple[str, str], list[Process]], kind: str) -> dict[str, Loss]:
    return dict(zip(_SIDES, losses([(found[name, "base"], found[name, kind]) for name in _SIDES]), strict=True))


def _beyond(spread: float, error: float) -> float:
    """Return the standard deviation that errors of this size leave unexplained."""
    return math.sqrt(max(0.0, spread - error**2))


def _in_process(name: str, seed: int, *, slower: bool) -> Process:
    command = [sys.executable, "-m", __name__, name, "slower" if slower else "same"]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as late:
        raise CalibrationError(f"{name}: its process did not end within {late.timeout:.0f} s") from None
    if done.returncode:
        raise CalibrationError(
            f"{name}: its process ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
        )
    value, error, before_s = json.loads(done.stdout)
    return Process(value, error, seed, before_s)


def _measure(name: str, share: float) -> tuple[float, float, float]:
    """Return a pair's log speedup in this process, its standard error, and the mean seconds of its before side."""
    before, after = _SIDES[name]
    work = work_of(before, lambda: after(share), None, None, None)
    measurement = measure(work, Settings(max_time=_EACH_S, num_processes=NUM_PROCESSES))
    found = measurement.interval(0.95)
    error = standard_error(found)
    if error is None:
        raise CalibrationError(f"{name}: too few rounds in {_EACH_S:g} s: this machine is too slow or too busy")
    return math.log(found.speedup), error, fmean(measurement.before_s)


def lines(found: Calibration) -> list[str]:
    """Return a calibration in words, a line each."""
    same = [f"{name} {100 * loss.value:+.1f}%" for name, loss in found.same.items()]
    slower = [f"{name} {100 * loss.value:+.1f}%, {verdict(loss, GATED_PERCENT)}" for name, loss in found.slower.items()]
    limits = [f"{found.smallest_loss(seconds):.1f}% in {seconds} s a pair" for seconds in SECONDS_OF_GATE]
    return [
        f"Speedups differ by {found.between_percent:.1f}% between fresh processes (standard deviation), by "
        f"{found.same_seed_percent:.1f}% between processes with one hash seed.",
        f"One process measures a speedup to {found.within_percent:.1f}% and takes {found.process_s:.1f} s.",
        f"Nothing changed, and the gate sees: {'; '.join(same)}.",
        f"The after side does {KNOWN_LOSS:.0%} more, and in {NUM_PROCESSES * found.process_s:.0f} s a pair a gate of "
        f"{GATED_PERCENT:g}% says: {'; '.join(slower)}.",
        f"Smallest loss that the gate finds in {FOUND:.0%} of runs: {', '.join(limits)}.",
        f"Recommended: --speedup-fail {found.recommended_percent} --speedup-until-decided",
    ]


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], 1 + KNOWN_LOSS if sys.argv[2] == "slower" else 1.0)))  # noqa: T201
