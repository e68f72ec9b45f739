"""Put a run's verdicts into one line of JSON, for programs that read."""

import json

from speedclaims.record.json_types import JsonObject
from speedclaims.record.types import Record, RecordedPair
from speedclaims.record.verdicts import counting

_OF_PAIR = (
    "nodeid", "before", "after", "work", "device", "control", "status", "reason", "speedup", "low", "high",
    "confidence", "before_s", "after_s", "num_processes", "equivalence",
)  # fmt: skip


def json_verdict(record: Record, exit_code: int) -> str:
    """Return one line of JSON: the exit code, each pair with the gate's verdict, and each claim with its verdict.

    Fields have the names and units that they have in the record.
    """
    run = record["speedclaims"]
    gate = {change["nodeid"]: change for change in run["gate"]["changes"]} if "gate" in run else {}
    claims = {claim["id"]: claim for claim in counting(run["claims"])}
    found: JsonObject = {
        "schema_version": 1,
        "exit_code": exit_code,
        "date": record["datetime"],
        "commit": run["environment"]["commit"],
        "device_name": run["environment"]["device_name"],
        "noise_floor": run["noise_floor"]["value"],
        "pairs": [_pair(pair) | _gated(gate.get(pair["nodeid"])) for pair in run["pairs"]],
        "figures": [
            {key: row[key] for key in ("nodeid", "value", "low", "high", "unit", "status", "reason")}
            for row in run["figures"]
        ],
        "claims": [
            {"id": name, "verdict": claim["overall"], "low": claim["low"], "high": claim["high"], "unit": claim["unit"]}
            for name, claim in claims.items()
        ],
    }
    if "against" in run:
        found["against"] = run["against"]
    return json.dumps(found, allow_nan=False, separators=(",", ":"))


def _pair(pair: RecordedPair) -> JsonObject:
    return {key: pair[key] for key in _OF_PAIR}  # type: ignore[literal-required]


def _gated(change: object) -> JsonObject:
    """Return the gate's verdict on a pair and its loss; empty where nothing was gated."""
    if not isinstance(change, dict):
        return {}
    return {"gate": change["verdict"], "loss": change.get("loss")}
