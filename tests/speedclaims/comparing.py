"""Make records to compare: pairs whose processes differ by a given factor, with noise from a fixed seed."""

import copy
import json
import math
import random

from tests.speedclaims.report.sample import claim, pair, sample_record, unmeasured

FILE = "bench/test_a.py::"


def measured(name, speedup=2.0, *, processes=3, rounds=40, noise=0.004, seed=0, **changes):
    """A measured pair: each process has so many double rounds, scattered around its speedup."""
    draw = random.Random(f"{name} {seed}")  # noqa: S311 - figures to compare, not a secret
    values = [math.log(speedup) + draw.gauss(0, noise) for _ in range(processes * rounds)]
    return pair(
        name,
        name,
        nodeid=FILE + name,
        speedup=speedup,
        low=speedup * 0.99,
        high=speedup * 1.01,
        before_s=0.1 * speedup,
        after_s=0.1,
        num_rounds=2 * len(values),
        num_processes=processes,
        process_num_values=[rounds] * processes,
        hash_seeds=[1 + number for number in range(processes)] if processes > 1 else [None],
        log_ratios=values,
        **{"calls_before": 1, "calls_after": 1, "stages": {}, "fail_percent": None, **changes},
    )


def gone(name, status="not_measured", reason="benchmarks are disabled", **changes):
    """A pair without a speedup."""
    return unmeasured(name, name, status, reason, nodeid=FILE + name, **changes)


def judged(name, verdict, of, **changes):
    """A claim that a pair judges."""
    given = {"low": 1.5, "high": 2.5, "pair": of["nodeid"], "reason": None, **changes}
    return claim(name, "between 1.5x and 2.5x", verdict, **given)


def record(*pairs, claims=(), dirty=False, **environment):
    """A record of these pairs and claims."""
    made = sample_record()
    section = made["speedclaims"]
    section |= {"pairs": list(pairs), "claims": list(claims), "audit": [], "figures": []}
    section["environment"] |= environment
    section["environment"]["commit"] = {"id": "0123456789abcdef", "dirty": dirty}
    return made


def slowed(base, factor):
    """The same record, noise and all, with every pair's after side slower by a factor."""
    made = copy.deepcopy(base)
    for row in made["speedclaims"]["pairs"]:
        row["log_ratios"] = [value - math.log(factor) for value in row["log_ratios"]]
        for end in ("speedup", "low", "high"):
            row[end] /= factor
    return made


def save(path, made):
    """Write a record as it is, whether or not it could be used."""
    path.write_text(json.dumps(made))
    return path
