"""Identify a pair from run to run: its name and its configuration."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedPair

CONFIGURATION = (
    ("before", "before side"),
    ("after", "after side"),
    ("work", "work"),
    ("family", "family"),
    ("preset", "preset"),
    ("device", "device"),
    ("units", "units"),
    ("calls_before", "calls before"),
    ("calls_after", "calls after"),
    ("confidence", "confidence"),
)
"""Fields of a pair that must be the same on both sides, and what they are called."""


def configuration(row: "RecordedPair") -> tuple[object, ...]:
    """Return a pair's values of `CONFIGURATION`: where they differ, its speedups are not compared."""
    return tuple(row.get(key) for key, _ in CONFIGURATION)


def shown(value: object) -> str:
    """Return a value of a pair's configuration in words."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
