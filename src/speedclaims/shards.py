"""Split a run's tests among several machines: which shard this run is, and which tests it has."""

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from speedclaims.markers import CONTROL, find_markers, measures, times_longer

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedShard

AUTO = "auto"
_SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("CI_NODE_INDEX", "CI_NODE_TOTAL", 1),
    ("CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0),
    ("BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0),
    ("STRATEGY_JOB_INDEX", "STRATEGY_JOB_TOTAL", 0),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", 0),
)
"""Variables of schedulers: this task's number, how many there are, and the first number or the variable that has it.

Slurm, GitLab, CircleCI, Buildkite; GitHub and Kubernetes, where the job's file sets some of them.
"""


@dataclass(frozen=True)
class Shard:
    """One of several runs that share the tests.

    Attributes:
        index: its number, from 1 on.
        count: how many there are.
    """

    index: int
    count: int

    def __str__(self) -> str:
        """Return it as the option takes it."""
        return f"{self.index}/{self.count}"


def parse(text: str) -> Shard:
    """Return the shard that a value of ``--speedup-shard`` names: ``2/4``, ``auto``, or ``auto/4``.

    Raises:
        argparse.ArgumentTypeError: it names none, or no scheduler says which it is.
    """
    found = re.fullmatch(r"(\d+|auto)(?:/(\d+))?", text.strip())
    if found is None or (found[1] != AUTO and found[2] is None):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: give I/N such as 1/4, auto, or auto/N")
    shard = from_environment(os.environ, found[2]) if found[1] == AUTO else Shard(int(found[1]), int(found[2]))
    if not 1 <= shard.index <= shard.count:
        raise argparse.ArgumentTypeError(f"{shard} is no shard: give I/N, with I from 1 to N")
    return shard


def from_environment(environment: Mapping[str, str], count: str | None = None) -> Shard:
    """Return the shard that the variables of a scheduler name.

    Args:
        environment: the variables.
        count: how many shards there are; by default as the scheduler says.

    Raises:
        argparse.ArgumentTypeError: no scheduler's variables are set, or not all of them.
    """
    for number, total, first in _SCHEDULERS:
        if not environment.get(number, "").isdecimal():
            continue
        many = count or environment.get(total, "")
        if not many.isdecimal():
            raise argparse.ArgumentTypeError(f"auto: {number} is set and {total} is not: give auto/N")
        start = environment.get(first, "0") if isinstance(first, str) else first
        return Shard(int(environment[number]) - int(start) + 1, int(many))
    known = ", ".join(number for number, _, _ in _SCHEDULERS)
    raise argparse.ArgumentTypeError(f"auto: none of {known} is set: give I/N")


def take(
    items: list[pytest.Item], shard: Shard, seconds: Mapping[str, float]
) -> "tuple[list[pytest.Item], RecordedShard]":
    """Keep the tests of a shard, and return the others and the plan of all shards.

    Tests with pairs and figures are shared out so that all shards take equally long. Control pairs are in each, for
    each may be on another machine. Other tests are in the first.

    Args:
        items: the run's tests; those of other shards are removed.
        shard: this run.
        seconds: how long tests took, as far as it is known.
    """
    shared = [item for item in items if measures(item) and not _is_control(item)]
    known = [seconds[item.nodeid] for item in shared if item.nodeid in seconds]
    usual = fmean(known) if known else 1.0
    weights = {item.nodeid: seconds.get(item.nodeid, usual * times_longer(item)) for item in shared}
    places = assign(weights, shard.count)

    def is_here(item: pytest.Item) -> bool:
        if item.nodeid in places:
            return places[item.nodeid] == shard.index
        return shard.index == 1 or measures(item)

    others = [item for item in items if not is_here(item)]
    items[:] = [item for item in items if is_here(item)]
    return others, {"index": shard.index, "count": shard.count, "tests": places}


def _is_control(item: pytest.Item) -> bool:
    return any(True for _ in find_markers(item, CONTROL))


def assign(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """Return the shard of each test, from 1 on: the heaviest first, each to the lightest shard so far.

    Graham, SIAM Journal on Applied Mathematics 17, 1969, 416-429: the longest shard takes at most a third longer than
    it must. The same tests give the same shards on every machine.
    """
    loads = [0.0] * count
    found = {}
    for name in sorted(weights, key=lambda one: (-weights[one], one)):
        place = min(range(count), key=lambda each: (loads[each], each))
        loads[place] += weights[name]
        found[name] = place + 1
    return {name: found[name] for name in weights}


def durations(path: Path) -> dict[str, float]:
    """Return how long each test of a record took, in seconds.

    Raises:
        RecordError: the file is no record.
    """
    from speedclaims.record.io import read  # noqa: PLC0415 - loading the plugin must stay cheap

    return dict(read(path)["speedclaims"].get("durations", {}))
