"""Identify a pair from run to run: its name and its configuration."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedPair, Row

CONFIGURATION = (
    ("before", "before side"),
    ("after", "after side"),
    ("work", "work"),
    ("family", "family"),
    ("preset", "preset"),
    ("device", "device"),
    ("ranks", "ranks"),
    ("units", "units"),
    ("calls_before", "calls before"),
    ("calls_after", "calls after"),
    ("confidence", "confidence"),
)
"""Fields of a pair that must be the same on both sides, and what they are called."""


def configuration(row: "RecordedPair") -> tuple[object, ...]:
    """Return a pair's values of `CONFIGURATION`: where they differ, its speedups are not compared."""
    return tuple(row.get(key) for key, _ in CONFIGURATION)


def test_id(row: "Row") -> str:
    """Return the node id of the test that a row is of; several alternatives are of one test."""
    return row["alternative"]["of"] if "alternative" in row else row["nodeid"]


def case_words(case: Mapping[str, str]) -> str:
    """Return the labels of a case's parameters in words, such as ``n=10, kind=small``."""
    return ", ".join(f"{name}={label}" for name, label in case.items())


def shown(value: object) -> str:
    """Return a value of a pair's configuration in words."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
