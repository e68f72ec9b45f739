"""Records that the tests of reports share."""

from pathlib import Path
from typing import Any

import pytest

from tests.speedclaims.report.sample import (
    Row,
    empty_record,
    figures_alone,
    gpu_record,
    ladder_record,
    sample_record,
    with_evidence,
    with_variants,
    without_claims,
    without_claims_asked,
)

HOSTILE = (
    'x</q><script>alert(1)</script> | `code` ](http://evil.example/) <!-- **b** __c__\n| --- |\x1b[31m @user $x_1$ "q"'
)


@pytest.fixture
def record() -> Row:
    """Return a full record."""
    return sample_record()


@pytest.fixture(
    params=[
        sample_record,
        without_claims,
        without_claims_asked,
        empty_record,
        figures_alone,
        gpu_record,
        ladder_record,
        with_evidence,
        with_variants,
    ],
    ids=lambda make: make.__name__,
)
def any_record(request: pytest.FixtureRequest) -> Row:
    """Return each kind of record in turn."""
    made: Row = request.param()
    return made


@pytest.fixture
def hostile() -> Row:
    """Return a record in which every text that a user may choose tries to become markup."""
    return poison(ladder_record())


def poison(record: Row) -> Row:
    """Put hostile text into every free text of a record."""
    run: dict[str, Any] = record["speedclaims"]
    for row in run["claims"]:
        row |= {key: f"{HOSTILE} {row[key]}" for key in ("id", "source", "text", "variant") if row[key] is not None}
    for row in run["pairs"]:
        row |= {key: f"{HOSTILE} {row[key]}" for key in ("name", "title", "family", "before", "after")}
        row["equivalence_details"] = [HOSTILE, *row["equivalence_details"]]
        if "ablation" in row:
            row["ablation"]["of"] = HOSTILE
            for switch in (*row["ablation"]["switches"], *row["ablation"]["not_here"]):
                switch.update({key: f"{HOSTILE} {text}" for key, text in switch.items() if key != "on"})
    for row in run["audit"]:
        row |= {key: f"{HOSTILE} {row[key]}" for key in ("id", "source", "text", "claimed", "recomputed", "formula")}
    run["environment"] |= {"device_name": HOSTILE, "command": HOSTILE, "libraries": {HOSTILE: HOSTILE}}
    run["noise_floor"]["reason"] = HOSTILE
    return record


@pytest.fixture
def report_schema() -> Path:
    """Return the path of the record's published schema."""
    return Path(__file__).parents[3] / "src" / "speedclaims" / "record" / "record.schema.json"
