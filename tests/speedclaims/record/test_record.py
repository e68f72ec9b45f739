"""A record is strict JSON of the published schema, or refused in one line."""

import json
from collections import Counter
from pathlib import Path

import pytest

from speedclaims import cli
from speedclaims.record import figure as record_figure
from speedclaims.record import files as record_files
from speedclaims.record import io as record
from speedclaims.record import schema
from speedclaims.record.io import RecordError
from speedclaims.record.upgrade import upgrade
from tests.speedclaims.conftest import record_of

PAIR = "def test_x(pair):\n    pair(before=lambda: sum(range(90_000)), after=lambda: sum(range(900)))\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A record as a run leaves it, made once."""
    return record_of(tmp_path_factory.mktemp("project"), PAIR)


@pytest.fixture
def path(saved, tmp_path):
    copy = tmp_path / "run.json"
    copy.write_bytes(saved.read_bytes())
    return copy


def change(path, **section):
    data = json.loads(path.read_text())
    data["speedclaims"].update(section)
    path.write_text(json.dumps(data))


def test_a_record_reads_back_as_it_was_written(path):
    data = record.read(path)
    assert json.loads(record.dumps(data)) == data
    assert set(data) == {"machine_info", "commit_info", "benchmarks", "datetime", "version", "speedclaims"}


def test_a_record_tells_where_and_how_it_was_measured(path):
    environment = record.read(path)["speedclaims"]["environment"]
    assert environment["cpu"]["num_cores"] >= 1
    assert environment["libraries"]["pytest-benchmark"]
    assert environment["options"]["confidence"] == 0.95
    assert "--speedup-max-time=0.3" in environment["command"]


def test_what_was_not_measured_is_null_with_a_reason(path):
    (row,) = record.read(path)["speedclaims"]["pairs"]
    for figure in (row["cold_before_s"], row["memory"]["before"], row["syncs"]["ratio"]):
        assert figure["value"] is None
        assert figure["status"] == "not_measured"
        assert figure["reason"]


BROKEN = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-200]), "damaged or not JSON"),
    "empty": (lambda p: p.write_bytes(b""), "damaged or not JSON"),
    "not text": (lambda p: p.write_bytes(b"\xff\x00\xfe"), "it is not text"),
    "missing": (lambda p: p.unlink(), "cannot be read"),
    "with NaN": (lambda p: p.write_text(p.read_text().replace('"audit": []', '"audit": [NaN]')), "it holds NaN"),
    "with a number that no float holds": (
        lambda p: p.write_text(p.read_text().replace('"audit": []', '"audit": [1e999]')),
        "it holds 1e999",
    ),
    "with a whole number that no float holds": (
        lambda p: p.write_text(p.read_text().replace('"audit": []', f'"audit": [{10**400}]')),
        "it holds 1000",
    ),
    "a device": (lambda p: (p.unlink(), p.symlink_to("/dev/zero")), "it is a device"),
    "a list": (lambda p: p.write_text("[]"), "no speedclaims section"),
    "pytest-benchmark's alone": (lambda p: p.write_text('{"benchmarks": []}'), "no speedclaims section"),
    "of a later schema version": (lambda p: change(p, schema_version=3), "version 3, this speedclaims reads 1 to 2"),
    "of a version that is no number": (lambda p: change(p, schema_version=[]), "version [], this speedclaims reads"),
    "of a version that is a truth value": (lambda p: change(p, schema_version=True), "version True, this speedclaims"),
    "of version 1 without pairs": (lambda p: change(p, schema_version=1, pairs=7), "speedclaims.pairs must be array"),
    "of version 1 with a bad pair": (lambda p: change(p, schema_version=1, pairs=[7]), "pairs[0] must be object"),
    "without pairs": (lambda p: change(p, pairs=None), "speedclaims.pairs must be array"),
    "with an unknown key": (lambda p: change(p, surprise=1), "surprise"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_refused_in_one_line_and_nothing_is_written(name, path, tmp_path, capsys):
    damage, words = BROKEN[name]
    damage(path)
    with pytest.raises(RecordError) as caught:
        record.read(path)
    assert words in str(caught.value)
    out = tmp_path / "out"
    assert cli.main(["report", str(path), "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"speedclaims: {path}: ")
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_record_with_nan_is_not_written(path):
    data = record.read(path)
    data["speedclaims"]["pairs"][0]["before_s"] = float("nan")
    with pytest.raises(RecordError, match="NaN"):
        record.dumps(data)


def test_the_report_command_draws_the_report_from_the_record_alone(path, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["report", str(path), "-o", str(out)]) == 0
    written = {line.rsplit("/", 1)[1] for line in capsys.readouterr().out.split()}
    assert written == {"index.html", "speedups.md", "record.json"} == {p.name for p in out.iterdir()}
    assert json.loads((out / "record.json").read_text()) == json.loads(path.read_text())


def test_the_published_schema_is_the_one_that_the_types_give():
    assert record.SCHEMA_PATH.read_text(encoding="utf-8") == schema.text()


RECORDED = sorted((Path(__file__).parents[3] / "reports" / "recorded").rglob("*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_committed_record_is_brought_to_the_present_version_with_all_that_it_holds(path):
    before, after = json.loads(path.read_text()), record.read(path)
    assert after["speedclaims"]["schema_version"] == record.SCHEMA_VERSION
    if before["speedclaims"]["schema_version"] == 1:
        pairs = after["speedclaims"]["pairs"]
        assert all(pair["recorders"] == {} and pair["calls_before"] > 0 for pair in pairs)
    record.validate(after)
    for claim in before["speedclaims"]["claims"]:
        claim["verdict"] = {"below": "refuted", "above": beyond(claim)}.get(claim["verdict"], claim["verdict"])
    before["speedclaims"]["schema_version"] = record.SCHEMA_VERSION
    assert_holds(before, after)


def beyond(claim):
    """The present verdict on a claim of a record of version 1 that was measured above its range."""
    return "refuted" if claim["low"] is None else "exceeded"


def test_verdicts_of_a_committed_record_are_read_by_their_direction():
    path = next(path for path in RECORDED if path.stem == "2026-11-21-5787eda")
    found = {row["id"]: row for row in record.read(path)["speedclaims"]["claims"] if row["kind"] == "measured"}
    words = {name.removeprefix("dialogue-gan."): row["verdict"] for name, row in found.items()}
    assert (words["convergence"], words["same-losses"], words["nan"]) == ("refuted", "refuted", "confirmed")
    assert (words["syncs"], words["epoch"], words["text-to-image.logging"]) == ("refuted",) * 3
    assert Counter(words.values()) == {"refuted": 11, "confirmed": 5, "ambiguous": 1, "not_measured": 15}
    sides = {name: row["better"] for name, row in found.items()}
    assert (sides["dialogue-gan.convergence"], sides["dialogue-gan.epoch"]) == ("lower", "higher")
    assert sides["tabular-regressor.amp-stability"] == "neither"


OLD_CLAIM = {"id": "x", "low": None, "high": None, "metric": "speedup"}
OLD = {
    "below, of at least so much": ({"low": 2.0, "verdict": "below"}, "higher", "refuted"),
    "above, of at most so much": ({"high": 2.0, "verdict": "above"}, "lower", "refuted"),
    "below, of a range": ({"low": 1.0, "high": 2.0, "verdict": "below"}, "higher", "refuted"),
    "above, of a range": ({"low": 1.0, "high": 2.0, "verdict": "above"}, "higher", "exceeded"),
    "above, of a quality": ({"low": -1.0, "high": 1.0, "metric": "quality", "verdict": "above"}, "neither", "refuted"),
    "confirmed": ({"low": 2.0, "verdict": "confirmed"}, "higher", "confirmed"),
}


@pytest.mark.parametrize("name", OLD)
def test_a_verdict_of_version_1_is_read_by_the_bounds(name):
    changes, better, word = OLD[name]
    section = {"schema_version": 1, "pairs": [], "claims": [OLD_CLAIM | changes]}
    upgrade(section)
    (row,) = section["claims"]
    assert (row["better"], row["over"], row["verdict"], row["overall"]) == (better, "all", word, word)
    assert row["variant"] is None


def test_a_claim_of_version_1_that_several_tests_judged_counts_by_its_worst():
    words = ["above", "not_measured", "below"]
    rows = [{**OLD_CLAIM, "low": 1.0, "high": 2.0, "verdict": word} for word in words]
    section = {"schema_version": 1, "pairs": [], "claims": [*rows, OLD_CLAIM | {"id": "y", "verdict": "not_measured"}]}
    upgrade(section)
    assert [row["overall"] for row in section["claims"]] == ["refuted"] * 3 + ["not_measured"]


@pytest.mark.parametrize("claims", [7, [7], [{}], [{"id": [1], "verdict": {}, "low": "x"}]])
def test_claims_of_version_1_that_are_none_are_left_to_the_schema(claims):
    section = {"schema_version": 1, "claims": claims}
    upgrade(section)
    assert section["schema_version"] == record.SCHEMA_VERSION


def test_committed_records_of_version_1_are_among_those():
    assert {json.loads(path.read_text())["speedclaims"]["schema_version"] for path in RECORDED} >= {1}


def assert_holds(old, new):
    """Assert that a value holds all that an older one holds: keys may be added, nothing else."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert_holds(value, new[key])
    elif isinstance(old, list):
        assert len(old) == len(new)
        for value, other in zip(old, new, strict=True):
            assert_holds(value, other)
    else:
        assert old == new


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "f.json"
    record_files.write_text(target, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        record_files.write_text(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_a_figure_has_a_value_or_a_reason():
    assert record_figure.figure(1.0, "s")["status"] == "measured"
    assert record_figure.figure(None, "s", "no clock")["status"] == "not_measured"
    for arguments in ((None, "s"), (1.0, "s", "why")):
        with pytest.raises(ValueError, match="one of them"):
            record_figure.figure(*arguments)


def test_a_ratio_needs_both_sides():
    measured, missing = record_figure.figure(4.0, "bytes"), record_figure.figure(None, "bytes", "no pass")
    assert record_figure.sides(measured, record_figure.figure(2.0, "bytes"))["ratio"]["value"] == 2.0
    assert record_figure.sides(measured, missing)["ratio"]["reason"] == "no pass"
    assert record_figure.sides(measured, record_figure.figure(0.0, "bytes"))["ratio"]["value"] is None


def test_several_measurements_become_their_median_with_its_range():
    before = record_figure.spread([record_figure.figure(value, "bytes") for value in (6.0, 4.0, 5.0)])
    after = record_figure.spread([record_figure.figure(value, "bytes") for value in (2.0, 2.5, 2.0)])
    assert (before["value"], before["low"], before["high"]) == (5.0, 4.0, 6.0)
    ratio = record_figure.sides(before, after)["ratio"]
    assert (ratio["value"], ratio["low"], ratio["high"]) == (2.5, 4.0 / 2.5, 6.0 / 2.0)
    missing = record_figure.figure(None, "bytes", "no clock")
    assert record_figure.spread([missing, record_figure.figure(1.0, "bytes")]) == missing
