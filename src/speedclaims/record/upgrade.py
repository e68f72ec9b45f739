"""Bring records of earlier schema versions to the present one, a function for each version."""

from collections.abc import Callable, Iterator

from speedclaims.record.json_types import JsonObject


def from_1(section: JsonObject) -> None:
    """Fill in what records of version 1 left out where it had its usual value."""
    for key in ("figures", "not_run", "ceilings"):
        section.setdefault(key, [])
    for pair in _objects(section.get("pairs")):
        for key in ("calls_before", "calls_after"):
            pair.setdefault(key, 1)
        pair.setdefault("process_num_values", [])
        pair.setdefault("fail_percent", None)
        pair.setdefault("interrupted_percent", None)
        pair.setdefault("stages", {})
        pair.setdefault("recorders", {})


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
