"""Records of several machines over time."""

import copy
import math
from collections.abc import Sequence

from tests.speedclaims.report.conftest import HOSTILE, poison
from tests.speedclaims.report.sample import Row, gpu_record, sample_record

EPYC, XEON, H200 = "AMD EPYC 7763, 2 cores", "Intel Xeon 8488C, 8 cores", "NVIDIA H200 (AMD EPYC 9654, 16 cores)"


def run_of(
    day: int, *, machine: str = EPYC, factor: float = 1.0, dirty: bool = False, commit: str | None = None
) -> Row:
    """Return the record of a day in November 2026, its speedups multiplied by a factor."""
    record = copy.deepcopy(gpu_record() if machine == H200 else sample_record())
    record["datetime"] = f"2026-11-{day:02d}T09:30:12.000000+00:00"
    run = record["speedclaims"]
    run["environment"] |= {"device_name": machine, "commit": {"id": commit or f"{day:02d}" * 20, "dirty": dirty}}
    for pair in run["pairs"]:
        for key in ("speedup", "low", "high"):
            pair[key] = pair[key] and pair[key] * factor
        pair["log_ratios"] = [value + math.log(factor) for value in pair["log_ratios"]]
    return record


def history() -> list[Row]:
    """Return three machines with four runs each, oldest first; one run is of a changed tree, one lacks a speedup."""
    factors = {EPYC: (1.0, 1.04, 1.05, 1.12), XEON: (0.93, 0.97, 0.96, 1.01), H200: (1.3, 1.24, 1.29, 0.98)}
    records = [
        run_of(day + number, machine=machine, factor=factor, dirty=(machine, day) == (XEON, 9))
        for number, (machine, of_machine) in enumerate(factors.items())
        for day, factor in zip((1, 5, 9, 13), of_machine, strict=True)
    ]
    records.sort(key=lambda record: str(record["datetime"]))
    skip(pair_of(records[3], "test_persistent_workers"), "left out by -k")
    return records


def pair_of(record: Row, name: str) -> Row:
    """Return a pair of a record by its name."""
    found: Row = next(pair for pair in record["speedclaims"]["pairs"] if pair["name"] == name)
    return found


def skip(pair: Row, reason: str) -> None:
    """Make a pair's row that of a skipped test: it knows neither sides nor preset."""
    blank = {"before": "before", "after": "after", "preset": None, "device": "cpu", "units": 1, "family": None}
    none = dict.fromkeys(("speedup", "low", "high", "before_s", "after_s", "reached_precision"))
    pair |= {**blank, **none, "log_ratios": [], "num_rounds": 0, "status": "not_measured", "reason": reason}


def only(records: Sequence[Row], *names: str) -> list[Row]:
    """Return records with the pairs of these names alone, and without claims."""
    for record in records:
        run = record["speedclaims"]
        run["pairs"] = [pair for pair in run["pairs"] if pair["name"] in names]
        run["claims"], run["audit"], run["figures"] = [], [], []
    return list(records)


def hostile_history() -> list[Row]:
    """Return records of two machines over time in which every text that a user may choose tries to become markup."""
    records = [poison(record) for record in (run_of(1), run_of(5), run_of(9, machine=XEON))]
    records[2]["speedclaims"]["environment"]["device_name"] = f"{HOSTILE} too"
    records[0]["datetime"] = f"<b>2026{HOSTILE}"
    for record in records:
        record["speedclaims"]["environment"]["commit"]["id"] = HOSTILE
        for pair in record["speedclaims"]["pairs"]:
            pair["preset"] = pair["reason"] = HOSTILE
    return records
