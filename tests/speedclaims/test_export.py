"""Exports follow the formats that their readers document, and are strict JSON."""

import csv
import io
import json
import re

import fastjsonschema
import pytest

from speedclaims import cli
from speedclaims.export import FORMATS, export, names
from speedclaims.gate.compare import Rules, compare
from speedclaims.report.model.columns import CSV_FIELDS
from tests.speedclaims.comparing import gone, measured, record, save, slowed
from tests.speedclaims.report.conftest import poison
from tests.speedclaims.report.sample import empty_record, gpu_record, sample_record, without_claims
from tests.speedclaims.report.test_markdown import OWN_HTML, inline_tokens

# github-action-benchmark, README, "Custom": every entry needs name, unit and value; range and extra may be added.
GITHUB_ACTION_BENCHMARK = fastjsonschema.compile(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "unit": {"type": "string", "minLength": 1},
                "value": {"type": "number"},
                "range": {"type": "string", "pattern": r"^(±|\+/-) \d+(\.\d+)?(e[+-]\d+)?$"},
                "extra": {"type": "string"},
            },
            "required": ["name", "unit", "value"],
            "additionalProperties": False,
        },
    }
)
# Bencher, reference, "Bencher Metric Format": names of at most 1024 characters, measures of at most 64.
BENCHER = fastjsonschema.compile(
    {
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": 1024},
        "additionalProperties": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64},
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "value": {"type": "number"},
                    "lower_value": {"type": "number"},
                    "upper_value": {"type": "number"},
                },
                "required": ["value"],
                "additionalProperties": False,
            },
        },
    }
)
SCHEMAS = {"github-action-benchmark": GITHUB_ACTION_BENCHMARK, "bencher": BENCHER}
RECORDS = [sample_record, without_claims, gpu_record, lambda: poison(sample_record())]


def strict(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("make", RECORDS)
@pytest.mark.parametrize("to", SCHEMAS)
def test_json_exports_fit_the_format_that_their_reader_documents(make, to):
    made = export(make(), to)
    data = strict(made.text)
    SCHEMAS[to](data)
    assert len(data) == made.num_pairs > 0


@pytest.mark.parametrize(("to", "wrong"), [("github-action-benchmark", [{"name": "a"}]), ("bencher", {"a": {"b": 1}})])
def test_the_schemas_refuse_what_the_readers_would(to, wrong):
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        SCHEMAS[to](wrong)


PAIRS = (measured("a", 2.0), gone("b", reason="no GPU"), measured("c", 1.0, control=True), measured("d", 0.5))


def test_values_and_intervals_are_the_records():
    made = record(*PAIRS)
    (a, d) = strict(export(made, "github-action-benchmark").text)
    assert (a["name"], a["unit"], a["value"], a["range"]) == ("bench/test_a.py::a", "x", 2.0, "± 0.02")
    assert "reference -> optimized, same work, cpu" in a["extra"]
    assert d["value"] == 0.5
    metrics = strict(export(made, "bencher").text)
    assert metrics["bench/test_a.py::a"] == {"speedup": {"value": 2.0, "lower_value": 1.98, "upper_value": 2.02}}


def test_what_was_not_measured_and_control_pairs_are_left_out_and_the_first_told():
    for to in FORMATS:
        made = export(record(*PAIRS), to)
        assert made.num_pairs == 2
        assert made.left_out == ("bench/test_a.py::b: no GPU",)
    assert set(strict(export(record(*PAIRS), "bencher").text)) == {"bench/test_a.py::a", "bench/test_a.py::d"}


def test_a_pair_without_an_interval_has_a_value_alone():
    few = measured("a", status="too_few_rounds", reason="3 double rounds") | {"low": None, "high": None}
    (entry,) = strict(export(record(few), "github-action-benchmark").text)
    assert "range" not in entry
    assert strict(export(record(few), "bencher").text)[entry["name"]] == {"speedup": {"value": 2.0}}


def test_names_are_unique_one_line_and_no_longer_than_their_readers_take():
    long = "x" * 2000
    rows = [{"nodeid": nodeid} for nodeid in (long, long + "y", long, "a", "a\nb", "a b", "a (2)", "a", "a")]
    found = names(rows)
    assert len(set(found)) == len(rows)
    assert max(map(len, found)) <= 1024
    assert not any(re.search(r"[\r\n]", name) for name in found)
    assert found[3] == "a"


def test_csv_has_a_line_for_each_pair_and_no_formulas():
    made = record(measured("a", preset=None, before="=1+1", after="-x", family="@y"), measured("b", before='q",\n'))
    header, first, second = csv.reader(io.StringIO(export(made, "csv").text))
    assert tuple(header) == CSV_FIELDS
    row = dict(zip(header, first, strict=True))
    assert (row["before"], row["after"], row["family"], row["preset"]) == ("'=1+1", "'-x", "'@y", "")
    assert float(row["speedup"]) == 2.0
    assert dict(zip(header, second, strict=True))["before"] == 'q",\n'


def test_markdown_is_the_reports():
    text = export(sample_record(), "markdown").text
    assert text.startswith("# ")
    assert "test\\_persistent\\_workers" in text
    hostile = export(poison(sample_record()), "markdown").text
    assert "<script" not in hostile


def test_a_comment_shows_the_gate_first_and_what_fails_above_the_rest():
    pairs = [measured(f"p{number}", 2.0) for number in range(20)]
    base = record(*pairs)
    new = slowed(base, 1.0)
    new["speedclaims"]["pairs"][-1] |= slowed(record(pairs[-1]), 1.5)["speedclaims"]["pairs"][0]
    gate = compare(base["speedclaims"], new["speedclaims"], Rules(5), words="base.json")
    new["speedclaims"]["gate"] = gate.recorded()
    text = export(new, "github-comment").text
    lines = text.splitlines()
    assert lines[0] == "<!-- speedclaims -->"
    assert lines[1].startswith("### ✗ Gate failed, 1 alarm. 20 pairs: 1 regressed, 19 held.")
    rows = [line for line in lines if line.startswith("| p")]
    assert len(rows) == 8
    assert rows[0].startswith("| p19 ")
    assert rows[0].endswith("✗ regressed |")
    assert "12 more pairs in the report." in lines
    assert len(lines) < 30


def test_a_comment_without_a_gate_shows_claims_and_pairs_in_one_screen():
    text = export(sample_record(), "github-comment").text
    assert "▼ refuted" in text
    assert len(text.splitlines()) < 45
    assert "Gate" not in text


def test_a_comment_of_a_run_that_measured_nothing_says_so(tmp_path, capsys):
    path = save(tmp_path / "run.json", record(gone("b", reason="no GPU")))
    assert cli.main(["export", str(path), "--to", "github-comment"]) == 0
    assert "no GPU" in capsys.readouterr().out


def test_a_comment_is_no_longer_than_github_takes():
    long = record(*(measured(f"p{number}") | {"title": "<" * 20_000} for number in range(9)), device_name="<" * 70_000)
    text = export(long, "github-comment").text
    assert len(text) < 65_536
    assert "The tables are too long for a comment: see the report." in text


def test_hostile_text_is_no_markup_in_a_comment():
    text = export(poison(sample_record()), "github-comment").text
    tokens = inline_tokens(text)
    assert {token.type for token in tokens} <= {"text", "html_inline"}
    assert {token.content for token in tokens if token.type == "html_inline"} <= {OWN_HTML}
    assert text.count("<!--") == 1
    assert "@user" not in text


def test_the_command_prints_or_writes_and_tells_what_it_left_out(tmp_path, capsys):
    path, out = save(tmp_path / "run.json", record(*PAIRS)), tmp_path / "deep" / "out.json"
    for to in FORMATS:
        assert cli.main(["export", str(path), "--to", to]) == 0
        printed, error = capsys.readouterr()
        assert error == "speedclaims: left out: bench/test_a.py::b: no GPU\n"
        assert cli.main(["export", str(path), "--to", to, "-o", str(out)]) == 0
        assert out.read_text().rstrip("\n") == printed.rstrip("\n")
        capsys.readouterr()


def test_a_record_without_a_measured_pair_exports_nothing(tmp_path, capsys):
    path, out = save(tmp_path / "run.json", empty_record()), tmp_path / "out.json"
    assert cli.main(["export", str(path), "--to", "bencher", "-o", str(out)]) == 3
    assert capsys.readouterr().err.endswith("no pair was measured: nothing to export\n")
    assert not out.exists()


def test_bad_input_is_one_line(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path / "none.json"), "--to", "csv"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    path = save(tmp_path / "run.json", record(measured("a")))
    assert cli.main(["export", str(path), "--to", "csv", "-o", str(path / "below")]) == 2
    assert "it cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        cli.main(["export", str(path), "--to", "xml"])
    assert caught.value.code == 2
