"""Check the gate: by simulated sessions, where the truth is known, and by real ones on this machine.

``python -m bench.calibration gate`` simulates; ``... gate-runs`` measures, session by session, and continues where
it was stopped. The verdict of ``--benchmark-compare-fail=mean:5%`` on the same sessions is shown next to the gate's.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.calibration.common import CONFIDENCE, PRECISION, loop, measure_in_process, read_results, share
from speedclaims import __version__
from speedclaims.gate.baseline import GATE_PROCESSES
from speedclaims.gate.slowdown import (
    BETWEEN_SD,
    FAMILY_ERROR,
    PRIOR_DF,
    Array,
    Combined,
    combine,
    is_regression,
    losses,
)
from speedclaims.measure.interleave import Settings, Work, measure, setup_for
from speedclaims.measure.random_effects import standard_error
from speedclaims.measure.statistics import interval
from speedclaims.record.files import write_text
from speedclaims.record.io import RecordError
from speedclaims.recorders.environment import device_name, versions

PERCENT = 5.0
SLOWDOWN = 1.05
ERROR_DF = 30.0
"""How well a process's own error is known: as if from this number of values."""


# -- simulated sessions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """How simulated figures scatter; all as standard deviations of logarithms.

    Attributes:
        between: of a process's speedup around the session's.
        within: of its estimate from its own double rounds, which it knows.
        absolute: of a side's mean time around that of other sessions; a ratio measured in one session does not see it.
        session: of a session's speedup around the true one, which no process of the session sees.
        uneven: of the logarithms of `between` and `within` over pairs.
        bursts: share of the processes that run into other load, which makes them as much noisier as `burst` says.
        burst: by how much.
        hidden: of what a burst adds to a process's speedup without showing in its own double rounds.
    """

    between: float
    within: float
    absolute: float
    session: float = 0.0
    uneven: float = 0.0
    bursts: float = 0.0
    burst: float = 1.0
    hidden: float = 0.0


NOISE: dict[str, Noise] = {
    "quiet machine": Noise(between=0.003, within=0.003, absolute=0.01),
    "two instances as measured": Noise(between=0.004, within=0.005, absolute=0.02),
    "the same, pairs uneven": Noise(between=0.004, within=0.005, absolute=0.02, uneven=0.5),
    "the same, sessions differ by 0.3 %": Noise(between=0.004, within=0.005, absolute=0.02, session=0.003),
    "shared cores: every tenth process in a burst": Noise(0.004, 0.005, 0.23, bursts=0.1, burst=10, hidden=0.01),
    "shared cores: every third process in a burst": Noise(0.004, 0.005, 0.23, bursts=0.33, burst=10, hidden=0.01),
    "bursts that do not show within the process": Noise(0.004, 0.005, 0.23, bursts=0.05, hidden=0.05),
    "processes differ by 2 %": Noise(between=0.02, within=0.005, absolute=0.05),
}
"""The kinds of noise. The second is what two trainer instances differ by (0.38 %) and what the stopping rule leaves
(1 % half-width); on shared cores means of separate runs differ by over 5 % in 22 of 25, which gives `absolute`."""


@dataclass(frozen=True)
class Simulated:
    """Count the simulated sessions by the verdicts of the gate and of ``mean:5%``."""

    alarms: int
    found: int
    undecided: int
    mean_alarms: int
    mean_found: int


def simulate(noise: Noise, num_pairs: int, num_sessions: int, seed: int) -> Simulated:
    """Simulate pairs of sessions, with unchanged code and with the first pair's after side slower by 5 %."""
    rng = np.random.default_rng(seed)
    shape = (num_sessions, num_pairs)
    scale = np.exp(noise.uneven * rng.standard_normal((*shape, 1)))
    base, new = (_values(noise, scale, rng) for _ in range(2))
    means = [noise.absolute * rng.standard_normal((*shape, 2)) for _ in range(2)]
    slower = np.zeros((*shape, 1))
    slower[:, 0] = math.log(SLOWDOWN)
    same = losses(combine(*base), combine(*new))
    lost = losses(combine(*base), combine(new[0] - slower, new[1]))
    found = is_regression(lost, PERCENT)[:, 0]
    held = (100 * np.expm1(lost.high) < PERCENT)[:, 0]
    ratio = means[1] - means[0]
    limit = math.log(1 + PERCENT / 100)
    return Simulated(
        alarms=int(is_regression(same, PERCENT).any(-1).sum()),
        found=int(found.sum()),
        undecided=int((~found & ~held).sum()),
        mean_alarms=int((ratio > limit).any((-1, -2)).sum()),
        mean_found=int((ratio[:, 0, 1] + math.log(SLOWDOWN) > limit).sum()),
    )


def _values(noise: Noise, scale: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return each process's log speedup (true value 0) and the error it knows."""
    shape = (*scale.shape[:-1], GATE_PROCESSES)
    in_burst = rng.random(shape) < noise.bursts
    within = noise.within * scale * np.where(in_burst, noise.burst, 1.0)
    spread = noise.between * scale * rng.standard_normal(shape) + within * rng.standard_normal(shape)
    hidden = np.where(in_burst, noise.hidden * rng.standard_normal(shape), 0.0)
    session = noise.session * rng.standard_normal(scale.shape)
    known = within * np.sqrt(rng.chisquare(ERROR_DF, shape) / ERROR_DF)
    return spread + hidden + session, known


def gate_table(num_sessions: int, seed: int = 2026) -> str:
    """Return how often the gate raises false alarms and finds a loss of 5 %, simulated, as Markdown."""
    lines = [
        "# The gate, simulated",
        "",
        f"`python -m bench.calibration gate --sessions {num_sessions}`: {num_sessions} simulated pairs of "
        f"sessions a row, each pair in {GATE_PROCESSES} processes, `--speedup-fail {PERCENT:g}`. Alarms: sessions with "
        "unchanged code in which any pair fails. Found: sessions in which the pair whose after side takes 1.05 times "
        "as long fails; undecided: it is called ambiguous instead. In brackets the 95 % interval of a share (Wilson). "
        f"Beside it, what `--benchmark-compare-fail=mean:{PERCENT:g}%` says of both sides' rows.",
        "",
        "| noise | pairs | alarms | found | undecided | mean: alarms | mean: found |",
        "| --- | ---: | --- | --- | --- | --- | --- |",
    ]
    for number, (name, noise) in enumerate(NOISE.items()):
        for num_pairs in (1, 7, 20):
            found = simulate(noise, num_pairs, num_sessions, seed + 100 * number + num_pairs)
            counts = (found.alarms, found.found, found.undecided, found.mean_alarms, found.mean_found)
            cells = [share(count, num_sessions, digits=2) for count in counts]
            lines.append(f"| {name} | {num_pairs} | {' | '.join(cells)} |")
    lines += [
        "",
        "Standard deviations of each row, in per cent of a speedup, in the order between processes, within them "
        "(known to each), of a side's mean time from session to session:",
        "",
        *(f"- {name}: {_told(noise)}" for name, noise in NOISE.items()),
        "",
        f"Family error {FAMILY_ERROR:.1%} one-sided, expected spread between processes {BETWEEN_SD:.1%}, counted as "
        f"{PRIOR_DF:g} processes. speedclaims {__version__}, numpy {np.__version__}, seed {seed}.",
    ]
    return "\n".join(lines) + "\n"


def _told(noise: Noise) -> str:
    parts = [f"{100 * noise.between:g}, {100 * noise.within:g}, {100 * noise.absolute:g}"]
    if noise.session:
        parts.append(f"a session's speedup {100 * noise.session:g}")
    if noise.uneven:
        parts.append(f"the first two differ from pair to pair (log sd {noise.uneven:g})")
    if noise.bursts:
        shown = f"{noise.burst:g} times as noisy" if noise.burst > 1 else "not noisier within"
        parts.append(f"{noise.bursts:.0%} of the processes {shown} and off by {100 * noise.hidden:g}")
    return "; ".join(parts)


# -- real sessions -------------------------------------------------------------------------------------------------

SLOW, SAME = "loop, 5 % slower", ("loop", "dictionary")
_SETTINGS = Settings(max_time=1.8, precision=PRECISION, confidence=CONFIDENCE)


def _dictionary(number: int) -> Callable[[], object]:
    return lambda: {str(i): i for i in range(number)}


PAIRS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    SAME[0]: (loop(60_000), loop(40_000)),
    SAME[1]: (_dictionary(9_000), _dictionary(6_000)),
    SLOW: (loop(60_000), loop(round(40_000 * SLOWDOWN))),
}
"""What each process measures: two pairs, and the first once more with its after side 5 % slower."""


def measure_pairs() -> dict[str, Any]:
    """Measure all pairs in this process; for each its log speedup, the error of it, and its sides' mean seconds."""
    found = {}
    for name, (before, after) in PAIRS.items():
        started = time.perf_counter()
        work = Work(before, after, setup_for(None), lambda: None, resets=False)
        result = measure(work, _SETTINGS)
        one = interval(result.log_ratios, CONFIDENCE)
        error = standard_error(one)
        if error is None:
            raise RecordError(
                f"{name}: too few double rounds in {_SETTINGS.max_time:g} s: this machine is too slow or too busy"
            )
        found[name] = {
            "log_speedup": math.log(one.speedup),
            "error": error,
            "num_values": one.num_values,
            "before_s": math.fsum(result.before_s) / len(result.before_s),
            "after_s": math.fsum(result.after_s) / len(result.after_s),
            "took_s": time.perf_counter() - started,
        }
    return found


def run_session(number: int) -> dict[str, Any]:
    """Measure one session: all pairs in each of three fresh processes.

    Raises:
        RecordError: a process failed; the line ends with its last words.
    """
    started = time.time()
    processes = [measure_in_process(f"session {number}", "gate-process") for _ in range(GATE_PROCESSES)]
    return {"session": number, "started": started, "took_s": time.time() - started, "processes": processes}


def read_sessions(path: Path) -> list[dict[str, Any]]:
    """Return the sessions of a file by number; what an interrupted run wrote in part is left out.

    Raises:
        RecordError: the file holds something else.
    """
    return read_results(path, "gate-runs", "session")


def run_sessions(path: Path, num_sessions: int, jobs: int) -> list[dict[str, Any]]:
    """Measure sessions until the file holds `num_sessions`; each is added to it as soon as it has ended.

    Args:
        path: the file, a line of JSON a session.
        num_sessions: how many it is to hold; those it holds already count.
        jobs: how many sessions run at a time: each is the others' load.
    """
    done = read_sessions(path)
    write_text(path, "".join(json.dumps(session) + "\n" for session in done))
    missing = sorted(set(range(num_sessions)) - {session["session"] for session in done})
    with ThreadPoolExecutor(jobs) as pool, path.open("a", encoding="utf-8") as file:
        for future in as_completed([pool.submit(run_session, number) for number in missing]):
            done.append(future.result())
            file.write(json.dumps(done[-1]) + "\n")
            file.flush()
            print(f"\rsession {len(done)} of {num_sessions}", end="", file=sys.stderr)  # noqa: T201 - progress
    print(file=sys.stderr)  # noqa: T201
    return read_sessions(path)


@dataclass(frozen=True)
class Judged:
    """Hold the verdicts of the gate and of ``mean:5%`` on one session's record compared with another's."""

    regressed: tuple[bool, ...]
    mean_failed: bool
    loss: float


def judge(base: Mapping[str, Any], new: Mapping[str, Any], *, slowed: bool) -> Judged:
    """Compare two sessions' two pairs; `slowed` takes the slower after side as the new session's first."""
    names = (SLOW, SAME[1]) if slowed else SAME
    found = losses(_combined(base, SAME), _combined(new, names))
    rows = [(side, was, now) for was, now in zip(SAME, names, strict=True) for side in ("before_s", "after_s")]
    failed = [_mean(new, now, side) > (1 + PERCENT / 100) * _mean(base, was, side) for side, was, now in rows]
    regressed = tuple(bool(one) for one in is_regression(found, PERCENT))
    # of the slowed session, the row that became slower is the one to find
    return Judged(regressed, failed[1] if slowed else any(failed), math.expm1(found.value[0]))


def _combined(session: Mapping[str, Any], names: Sequence[str]) -> Combined:
    rows = [[process[name] for process in session["processes"]] for name in names]
    return combine(*(np.array([[one[key] for one in row] for row in rows]) for key in ("log_speedup", "error")))


def _mean(session: Mapping[str, Any], name: str, side: str) -> float:
    rows = [process[name] for process in session["processes"]]
    return float(np.average([row[side] for row in rows], weights=[row["num_values"] for row in rows]))


def gate_runs_table(sessions: Sequence[Mapping[str, Any]], jobs: int) -> str:
    """Return what the gate said of real sessions, each compared with the one `jobs` before it, as Markdown."""
    couples = list(zip(sessions, sessions[jobs:], strict=False))
    same = [judge(base, new, slowed=False) for base, new in couples]
    slow = [judge(base, new, slowed=True) for base, new in couples]
    num = len(couples)
    seconds = sorted(
        sum(process[name]["took_s"] for process in session["processes"]) for session in sessions for name in SAME
    )
    counts = (
        ("unchanged code, alarm", sum(any(one.regressed) for one in same), sum(one.mean_failed for one in same)),
        ("after side 5 % slower, found", sum(one.regressed[0] for one in slow), sum(one.mean_failed for one in slow)),
    )
    days = f"{time.strftime('%Y-%m-%d', time.gmtime(sessions[0]['started']))}"
    lines = [
        "# The gate, on real sessions",
        "",
        f"`python -m bench.calibration gate-runs --sessions {len(sessions)} --jobs {jobs}`: {len(sessions)} "
        f"sessions, {jobs} at a time (each is the other's load), of two pairs in {GATE_PROCESSES} fresh processes "
        f"each; each session is compared with the one {jobs} before it: {num} comparisons with unchanged code, and "
        f"{num} in which the first pair's after side does 5 % more. In brackets the 95 % interval of a share (Wilson).",
        "",
        f"| sessions | the gate, `--speedup-fail {PERCENT:g}` | `--benchmark-compare-fail=mean:{PERCENT:g}%` |",
        "| --- | --- | --- |",
        *(f"| {name} | {share(ours, num)} | {share(theirs, num)} |" for name, ours, theirs in counts),
        "",
        f"Loss estimated for the slower pair: median {_quantile(slow, 0.5)}, from {_quantile(slow, 0.0)} to "
        f"{_quantile(slow, 1.0)}; for the same pair unchanged: median {_quantile(same, 0.5)}, from "
        f"{_quantile(same, 0.0)} to {_quantile(same, 1.0)}. Seconds measured for a pair, all processes: median "
        f"{np.median(seconds):.1f}, longest {seconds[-1]:.1f}.",
        "",
        f"{device_name(['cpu'])}; Python {sys.version.split()[0]}, speedclaims {__version__}, "
        f"numpy {versions(['numpy'])['numpy']}; {days}.",
    ]
    return "\n".join(lines) + "\n"


def _quantile(found: Sequence[Judged], q: float) -> str:
    return f"{100 * float(np.quantile([one.loss for one in found], q)):+.1f} %"
