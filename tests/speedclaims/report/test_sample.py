"""The sample records of these tests are records that a session may write."""

import json
from pathlib import Path

import fastjsonschema

from tests.speedclaims.report.conftest import poison
from tests.speedclaims.report.sample import Row, ladder_record, sample_record


def test_every_sample_record_is_valid_against_the_schema(any_record: Row, report_schema: Path) -> None:
    fastjsonschema.compile(json.loads(report_schema.read_text(encoding="utf-8")))(any_record)


def test_a_hostile_record_is_valid_against_the_schema_too(report_schema: Path) -> None:
    fastjsonschema.compile(json.loads(report_schema.read_text(encoding="utf-8")))(poison(ladder_record()))


def test_the_sample_has_every_verdict_status_and_kind_of_work(report_schema: Path) -> None:
    definitions = json.loads(report_schema.read_text(encoding="utf-8"))["definitions"]
    run = sample_record()["speedclaims"]
    assert {row["verdict"] for row in run["claims"]} == set(
        definitions["RecordedClaim"]["properties"]["verdict"]["enum"]
    )
    for key in ("status", "work", "equivalence"):
        assert {row[key] for row in run["pairs"]} == set(definitions["RecordedPair"]["properties"][key]["enum"])
