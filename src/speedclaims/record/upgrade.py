"""Bring records of earlier schema versions to the present one, a function for each version."""

from collections.abc import Callable, Iterator

from speedclaims.record.json_types import JsonObject
from speedclaims.record.verdicts import WORST_FIRST, better_side


def from_1(section: JsonObject) -> None:
    """Fill in what records of version 1 left out, and read the verdicts ``below`` and ``above`` by their direction."""
    for key in ("figures", "not_run", "ceilings"):
        section.setdefault(key, [])
    for pair in _objects(section.get("pairs")):
        for key in ("calls_before", "calls_after"):
            pair.setdefault(key, 1)
        pair.setdefault("process_num_values", [])
        pair.setdefault("fail_percent", None)
        for key in ("interrupted_percent", "waiting_percent", "stolen_percent", "throttled_percent"):
            pair.setdefault(key, None)
        pair.setdefault("hash_seeds", [])
        reason = "not recorded before schema version 2"
        pair.setdefault("carry_over", {"value": None, "unit": "percent", "status": "not_measured", "reason": reason})
        pair.setdefault("stages", {})
        pair.setdefault("recorders", {})
    judged: dict[str, list[JsonObject]] = {}
    for claim in _objects(section.get("claims")):
        better = better_side(claim.get("low"), claim.get("high"), claim.get("metric"))
        outside = {"below": "refuted", "above": "exceeded" if better == "higher" else "refuted"}
        word = claim.get("verdict")
        claim.update({"variant": None, "better": better, "over": "all", "verdict": outside.get(str(word), word)})
        judged.setdefault(str(claim.get("id")), []).append(claim)
    for rows in judged.values():
        words = [row["verdict"] for row in rows]
        overall = next((word for word in WORST_FIRST if word in words), "not_measured")
        for row in rows:
            row["overall"] = overall


UPGRADES: dict[int, Callable[[JsonObject], None]] = {1: from_1}
"""For each earlier schema version, the function that changes a ``speedclaims`` section to the next one in place."""


def upgrade(section: JsonObject) -> None:
    """Bring a ``speedclaims`` section to the present schema version; sections of unknown versions stay as they are.

    Nothing of the section is trusted yet: it is validated after this.
    """
    while type(version := section.get("schema_version")) is int and version in UPGRADES:
        UPGRADES[version](section)
        section["schema_version"] = version + 1


def _objects(rows: object) -> Iterator[JsonObject]:
    yield from (row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict))
