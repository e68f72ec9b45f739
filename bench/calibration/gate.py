"""Check the gate: by simulated sessions, where the truth is known, and by real ones on this machine.

``python -m bench.calibration gate`` simulates; ``... gate-runs`` measures, session by session, and continues where
it was stopped. The verdict of ``--benchmark-compare-fail=mean:5%`` on the same sessions is shown next to the gate's.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.calibration.common import CONFIDENCE, PRECISION, loop, measure_in_process, read_results, share, toggling
from speedclaims import __version__
from speedclaims.gate.slowdown import FAMILY_ERROR, Loss, losses, verdict
from speedclaims.gating import NUM_LOOKS
from speedclaims.measure.interleave import Settings, Work, measure, setup_for
from speedclaims.measure.processes import PROCESSES, repeated, seeds_of
from speedclaims.measure.random_effects import (
    BETWEEN_SD,
    PRIOR_DF,
    SAME_SEED_SD,
    SESSION_CORRELATION,
    Process,
    standard_error,
)
from speedclaims.measure.statistics import interval
from speedclaims.record.files import write_text
from speedclaims.record.io import RecordError
from speedclaims.recorders.environment import device_name, versions

PERCENT = 5.0
SLOWDOWN = 1.08
ERROR_DF = 30.0
"""How well a process's own error is known: as if from this number of values."""
NUM_PROCESSES = PROCESSES[0]


# -- simulated sessions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """How simulated figures scatter; all as standard deviations of logarithms.

    Attributes:
        seeds: what the order of hashes does to a speedup, the same in both records.
        between: of a process's speedup around that of its hash seed.
        within: of its estimate from its own double rounds, which it knows.
        absolute: of a side's mean time around that of other sessions; a ratio measured in one session does not see it,
            but the gate looks at the before side's.
        session: of a session's speedup around the true one, which no process of the session sees.
        uneven: of the logarithms of `between` and `within` over pairs.
        bursts: share of the processes that run into other load, which makes them as much noisier as `burst` says.
        burst: by how much.
        hidden: of what a burst adds to a process's speedup without showing in its own double rounds.
        processes: of each pair.
    """

    seeds: float
    between: float
    within: float
    absolute: float
    session: float = 0.0
    uneven: float = 0.0
    bursts: float = 0.0
    burst: float = 1.0
    hidden: float = 0.0
    processes: int = NUM_PROCESSES


NOISE: dict[str, Noise] = {
    "quiet machine": Noise(0.01, 0.003, 0.003, 0.01),
    "processes differ by 0.6 %": Noise(0.01, 0.006, 0.005, 0.02),
    "the same, pairs uneven": Noise(0.01, 0.006, 0.005, 0.02, uneven=0.5),
    "the same, sessions differ by 0.3 %": Noise(0.01, 0.006, 0.005, 0.02, session=0.003),
    "processes differ by 0.6 %, three of them": Noise(0.01, 0.006, 0.005, 0.02, processes=3),
    "shared cores: every tenth process in a burst": Noise(0.01, 0.006, 0.005, 0.23, bursts=0.1, burst=10, hidden=0.01),
    "shared cores: every third process in a burst": Noise(0.01, 0.006, 0.005, 0.23, bursts=0.33, burst=10, hidden=0.01),
    "bursts that do not show within the process": Noise(0.01, 0.006, 0.005, 0.23, bursts=0.05, hidden=0.05),
    "processes differ by 2 %": Noise(0.03, 0.02, 0.005, 0.05),
    "the same, sessions differ by 0.7 %": Noise(0.03, 0.02, 0.005, 0.05, session=0.007),
    "processes differ by 2 %, three of them": Noise(0.03, 0.02, 0.005, 0.05, processes=3),
}
"""The kinds of noise."""


@dataclass
class Simulated:
    """Count the simulated sessions by the verdicts of the gate and of ``mean:5%``."""

    alarms: int = 0
    found: int = 0
    undecided: int = 0
    mean_alarms: int = 0
    mean_found: int = 0


def simulate(noise: Noise, num_pairs: int, num_sessions: int, seed: int) -> Simulated:
    """Simulate pairs of sessions, with unchanged code and with the first pair's after side slower by `SLOWDOWN`."""
    rng = np.random.default_rng(seed)
    counts, limit, lost = Simulated(), math.log(1 + PERCENT / 100), math.log(SLOWDOWN)
    for _ in range(num_sessions):
        sessions = _pairs(noise, num_pairs, rng), _pairs(noise, num_pairs, rng)
        of_seeds = noise.seeds * rng.standard_normal((num_pairs, noise.processes))
        base, new = ([_processes(*pair) for pair in zip(of_seeds, *session, strict=True)] for session in sessions)
        slower = [[one._replace(value=one.value - lost) for one in new[0]], *new[1:]]
        words = [verdict(loss, PERCENT) for loss in losses(list(zip(base, new, strict=True)))]
        word = verdict(losses(list(zip(base, slower, strict=True)))[0], PERCENT)
        counts.alarms += "regressed" in words
        counts.found += word == "regressed"
        counts.undecided += word == "ambiguous"
        ratio = noise.absolute * (rng.standard_normal((num_pairs, 2)) - rng.standard_normal((num_pairs, 2)))
        counts.mean_alarms += bool((ratio > limit).any())
        counts.mean_found += bool(ratio[0, 1] + lost > limit)
    return counts


def _pairs(noise: Noise, num_pairs: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Return for each pair's processes what they add to its log speedup, their known errors, and seconds of a call."""
    shape = (num_pairs, noise.processes)
    scale = np.exp(noise.uneven * rng.standard_normal((num_pairs, 1)))
    in_burst = rng.random(shape) < noise.bursts
    within = noise.within * scale * np.where(in_burst, noise.burst, 1.0)
    spread = noise.between * scale * rng.standard_normal(shape) + within * rng.standard_normal(shape)
    hidden = np.where(in_burst, noise.hidden * rng.standard_normal(shape), 0.0)
    session = noise.session * rng.standard_normal((num_pairs, 1))
    speed = noise.absolute * rng.standard_normal((num_pairs, 1)) + noise.between * rng.standard_normal(shape)
    return spread + hidden + session, within * np.sqrt(rng.chisquare(ERROR_DF, shape) / ERROR_DF), np.exp(speed)


def _processes(
    of_seeds: Sequence[float], values: Sequence[float], errors: Sequence[float], seconds: Sequence[float]
) -> list[Process]:
    rows = zip(of_seeds, values, errors, seeds_of(len(of_seeds)), seconds, strict=True)
    return [Process(float(shift + value), float(error), seed, float(s)) for shift, value, error, seed, s in rows]


def gate_table(num_sessions: int, seed: int = 2026) -> str:
    """Return how often the gate raises false alarms and finds a loss of 8 %, simulated, as Markdown."""
    lines = [
        "# The gate, simulated",
        "",
        f"`python -m bench.calibration gate --sessions {num_sessions}`: {num_sessions} simulated pairs of "
        f"sessions a row, each pair in {NUM_PROCESSES} processes where no other number is named, "
        f"`--speedup-fail {PERCENT:g}`. Alarms: sessions with unchanged code in which any pair fails. Found: sessions "
        f"in which the pair whose after side takes {SLOWDOWN:g} times as long fails; undecided: it is called ambiguous "
        "instead. In brackets the 95 % interval of a share (Wilson). Beside it, what "
        f"`--benchmark-compare-fail=mean:{PERCENT:g}%` says of both sides' rows.",
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
        "Standard deviations of each row, in per cent of a speedup, in the order between hash seeds, between processes "
        "of one seed, within them (known to each), of a side's mean time from session to session:",
        "",
        *(f"- {name}: {_told(noise)}" for name, noise in NOISE.items()),
        "",
        f"Family error {FAMILY_ERROR:.1%} one-sided, expected spread between processes {BETWEEN_SD:.1%}, of one seed "
        f"{SAME_SEED_SD:.1%}, counted as {PRIOR_DF:g} processes, correlation within a session {SESSION_CORRELATION:g}. "
        f"speedclaims {__version__}, numpy {np.__version__}, "
        f"seed {seed}.",
    ]
    return "\n".join(lines) + "\n"


def _told(noise: Noise) -> str:
    figures = (noise.seeds, noise.between, noise.within, noise.absolute)
    parts = [", ".join(f"{100 * figure:g}" for figure in figures)]
    if noise.session:
        parts.append(f"a session's speedup {100 * noise.session:g}")
    if noise.uneven:
        parts.append(f"the first two differ from pair to pair (log sd {noise.uneven:g})")
    if noise.bursts:
        shown = f"{noise.burst:g} times as noisy" if noise.burst > 1 else "not noisier within"
        parts.append(f"{noise.bursts:.0%} of the processes {shown} and off by {100 * noise.hidden:g}")
    return "; ".join(parts)


# -- real sessions -------------------------------------------------------------------------------------------------

SLOW, SAME = "json, repr, 8 % slower", ("json, repr", "loop, dictionary")
_SETTINGS = Settings(max_time=1.6, precision=PRECISION, confidence=CONFIDENCE, num_processes=NUM_PROCESSES)
MOST_S = 60.0
"""Seconds that a pair may take until it is decided."""
_ROWS = [{"id": i, "name": f"name {i}", "values": [i / 7, i / 11]} for i in range(1000)]


def _represented(number: int) -> Callable[[], object]:
    return lambda: [repr(row) for row in _ROWS[:number]]


PAIRS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    SAME[0]: (lambda: json.dumps(_ROWS), _represented(500)),
    SAME[1]: (loop(60_000), lambda: {str(i): i for i in range(6_000)}),
    SLOW: (lambda: json.dumps(_ROWS), _represented(round(500 * SLOWDOWN))),
}
"""Two pairs of unlike functions, and the first once more with its after side 8 % slower."""


def measure_pair(name: str) -> dict[str, float]:
    """Measure one pair in this process; return its log speedup, the error of it, and its sides' mean seconds."""
    before, after = PAIRS[name]
    started = time.perf_counter()
    result = measure(Work(before, after, setup_for(None), lambda: None, resets=False), _SETTINGS)
    one = interval(result.log_ratios, CONFIDENCE)
    error = standard_error(one)
    if error is None:
        raise RecordError(
            f"{name}: too few double rounds in {_SETTINGS.max_time:g} s: this machine is too slow or too busy"
        )
    return {
        "log_speedup": math.log(one.speedup),
        "error": error,
        "num_values": one.num_values,
        "before_s": math.fsum(result.before_s) / len(result.before_s),
        "after_s": math.fsum(result.after_s) / len(result.after_s),
        "took_s": time.perf_counter() - started,
    }


def measure_process(number: int, name: str, seed: int) -> dict[str, float]:
    """Measure a pair of a session in a fresh process whose hashes have a seed.

    Raises:
        RecordError: the process failed; the line ends with its last words.
    """
    started = time.perf_counter()
    found = measure_in_process(f"session {number}", "gate-process", name, seed=seed)
    return {**found, "seed": seed, "with_start_s": time.perf_counter() - started}


Session = dict[str, Any]


def run_session(number: int, base: Session | None) -> Session:
    """Measure one session, all pairs in five processes each, and those that are ambiguous until they are decided.

    Args:
        number: of the session.
        base: the session that it is compared with; None for the first.
    """
    session: Session = {"session": number, "started": time.time(), "pairs": {}, "further": {}}
    for seed in seeds_of(NUM_PROCESSES):
        for name in PAIRS:
            session["pairs"].setdefault(name, []).append(measure_process(number, name, seed))
    if base is not None:
        for is_slowed in (False, True):
            _decide(session, base, is_slowed=is_slowed)
    return {**session, "took_s": time.time() - session["started"]}


def _decide(session: Session, base: Session, *, is_slowed: bool) -> None:
    """Add processes as ``--speedup-until-decided`` does."""
    further = session["further"]
    for _ in range(NUM_LOOKS - 1):
        found = judge(base, session, is_slowed=is_slowed, is_decided=True)
        for name, word in found.words.items():
            had = [*session["pairs"][name], *further.get(name, [])]
            spent_s = sum(one["with_start_s"] for one in had)
            number = min(len(had), int((MOST_S - spent_s) / (spent_s / len(had))))
            if word == "ambiguous" and number > 0:
                seeds = repeated(seeds_of(NUM_PROCESSES), len(had) + number)[len(had) :]
                further.setdefault(name, []).extend(measure_process(session["session"], name, seed) for seed in seeds)


def read_sessions(path: Path, num_busy: int) -> list[Session]:
    """Return the sessions of a file under a load, by number; what an interrupted run wrote in part is left out.

    Raises:
        RecordError: the file holds something else.
    """
    return [one for one in read_results(path, "gate-runs", "num_busy") if one["num_busy"] == num_busy]


def run_sessions(path: Path, num_sessions: int, num_busy: int) -> list[Session]:
    """Measure sessions until the file holds `num_sessions` under a load; each is added to it as soon as it has ended.

    Args:
        path: the file, a line of JSON a session.
        num_sessions: how many it is to hold; those it holds already count.
        num_busy: other processes that are busy and idle by turns.
    """
    done = read_sessions(path, num_busy)
    if path.exists():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        write_text(path, "".join(kept))
    with toggling(num_busy), path.open("a", encoding="utf-8") as file:
        while len(done) < num_sessions:
            done.append({"num_busy": num_busy, **run_session(len(done), done[-1] if done else None)})
            file.write(json.dumps(done[-1]) + "\n")
            file.flush()
            print(f"\rsession {len(done)} of {num_sessions}", end="", file=sys.stderr)  # noqa: T201 - progress
    print(file=sys.stderr)  # noqa: T201
    return read_sessions(path, num_busy)


@dataclass(frozen=True)
class Judged:
    """Hold the verdicts of the gate and of ``mean:5%`` on one session's record compared with another's.

    Attributes:
        words: the gate's verdict on each pair.
        mean_failed: whether ``mean:5%`` fails.
        loss: of the first pair.
    """

    words: dict[str, str]
    mean_failed: bool
    loss: Loss


def judge(base: Session, new: Session, *, is_slowed: bool, is_decided: bool) -> Judged:
    """Compare two sessions' two pairs.

    Args:
        base: the earlier session.
        new: the later one.
        is_slowed: take the slower after side as the new session's first pair.
        is_decided: take the processes that were added until a pair was decided.
    """
    names = (SLOW, SAME[1]) if is_slowed else SAME
    sides = [
        (_of_session(base, was), _of_session(new, now, is_decided=is_decided))
        for was, now in zip(SAME, names, strict=True)
    ]
    found = losses(sides, NUM_LOOKS if is_decided else 1)
    rows = [(side, was, now) for was, now in zip(SAME, names, strict=True) for side in ("before_s", "after_s")]
    failed = [_mean(new, now, side) > (1 + PERCENT / 100) * _mean(base, was, side) for side, was, now in rows]
    words = {name: verdict(loss, PERCENT) for name, loss in zip(names, found, strict=True)}
    # of the slowed session, the row that became slower is the one to find
    return Judged(words, failed[1] if is_slowed else any(failed), found[0])


def _of_session(session: Session, name: str, *, is_decided: bool = False) -> list[Process]:
    rows = [*session["pairs"][name], *(session["further"].get(name, []) if is_decided else [])]
    return [Process(row["log_speedup"], row["error"], row["seed"], row["before_s"]) for row in rows]


def _mean(session: Session, name: str, side: str) -> float:
    rows = session["pairs"][name]
    return float(np.average([row[side] for row in rows], weights=[row["num_values"] for row in rows]))


def gate_runs_table(sessions: Sequence[Session], num_busy: int) -> str:
    """Return what the gate said of real sessions, each compared with the one before it, as Markdown."""
    couples = list(pairwise(sessions))
    num = len(couples)
    found = {
        (is_slowed, is_decided): [judge(*couple, is_slowed=is_slowed, is_decided=is_decided) for couple in couples]
        for is_slowed in (False, True)
        for is_decided in (False, True)
    }

    def row(name: str, counts: Callable[[Judged], bool], *, is_slowed: bool, mean: bool | None) -> str:
        cells = [share(sum(map(counts, found[is_slowed, is_decided])), num) for is_decided in (False, True)]
        failed = sum(one.mean_failed is mean for one in found[is_slowed, False])
        return f"| {name} | {' | '.join(cells)} | {' ' if mean is None else share(failed, num)} |"

    def first(word: str) -> Callable[[Judged], bool]:
        return lambda one: next(iter(one.words.values())) == word

    def anywhere(word: str) -> Callable[[Judged], bool]:
        return lambda one: word in one.words.values()

    seconds = {
        is_slowed: sorted(
            sum(one["with_start_s"] for one in [*new["pairs"][name], *new["further"].get(name, [])])
            for _, new in couples
            for name in ((SLOW,) if is_slowed else SAME)
        )
        for is_slowed in (False, True)
    }
    lines = [
        f"# The gate, on real sessions, {num_busy} other processes busy by turns",
        "",
        f"`python -m bench.calibration gate-runs --sessions {len(sessions)} --busy {num_busy}`: {len(sessions)} "
        f"sessions of two pairs in {NUM_PROCESSES} fresh processes each; each session is compared with the one before "
        f"it: {num} comparisons with unchanged code, and {num} in which the first pair's after side does 8 % more. "
        f"Decided: with `--speedup-until-decided`, up to {MOST_S:g} s a pair. In brackets the 95 % interval of a share "
        "(Wilson).",
        "",
        f"| sessions | `--speedup-fail {PERCENT:g}` | decided | `--benchmark-compare-fail=mean:{PERCENT:g}%` |",
        "| --- | --- | --- | --- |",
        row("unchanged code, alarm", anywhere("regressed"), is_slowed=False, mean=True),
        row("unchanged code, any pair ambiguous", anywhere("ambiguous"), is_slowed=False, mean=None),
        row("8 % slower, found", first("regressed"), is_slowed=True, mean=True),
        row("8 % slower, ambiguous", first("ambiguous"), is_slowed=True, mean=None),
        row("8 % slower, wrongly held", first("held"), is_slowed=True, mean=False),
        "",
        f"Loss estimated for the slower pair: {_quantiles(found[True, True])}; for the same pair unchanged: "
        f"{_quantiles(found[False, True])}. Seconds a pair, unchanged: median {np.median(seconds[False]):.1f}, longest "
        f"{seconds[False][-1]:.1f}; slower: median {np.median(seconds[True]):.1f}, longest {seconds[True][-1]:.1f}.",
        "",
        "Correlation of the processes of one session, hash seed by hash seed: "
        f"{', '.join(f'{name} {_correlation_text(sessions, name)}' for name in PAIRS)}; the gate expects "
        f"{SESSION_CORRELATION:g}.",
        "",
        f"{device_name(['cpu'])}; Python {sys.version.split()[0]}, speedclaims {__version__}, numpy "
        f"{versions(['numpy'])['numpy']}; {time.strftime('%Y-%m-%d', time.gmtime(sessions[0]['started']))}.",
    ]
    return "\n".join(lines) + "\n"


def correlation(sessions: Sequence[Session], name: str) -> float:
    """Return the intraclass correlation of a pair's first processes in one session, without what hash seeds do.

    Formula: by the mean squares between and within sessions (Fisher, Statistical Methods for Research Workers, section
    39). NaN where all processes agree exactly.
    """
    values = np.array([[row["log_speedup"] for row in session["pairs"][name]] for session in sessions])
    values -= values.mean(axis=0)
    number = values.shape[1]
    between = number * values.mean(axis=1).var(ddof=1)
    within = float(((values - values.mean(axis=1, keepdims=True)) ** 2).sum() / ((len(values) - 1) * (number - 1)))
    total = between + (number - 1) * within
    return float((between - within) / total) if total else math.nan


def _correlation_text(sessions: Sequence[Session], name: str) -> str:
    value = correlation(sessions, name)
    return f"{value:.2f}" if math.isfinite(value) else "not defined, for all processes agree exactly"


def _quantiles(found: Sequence[Judged]) -> str:
    middle, low, high = (100 * float(np.quantile([one.loss.value for one in found], q)) for q in (0.5, 0.0, 1.0))
    return f"median {middle:+.1f} %, from {low:+.1f} % to {high:+.1f} %"
