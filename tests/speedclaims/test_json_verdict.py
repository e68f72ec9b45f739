"""Programs read one line of JSON, or the properties of a JUnit file."""

import json
import xml.etree.ElementTree as ET

import pytest

PAIRS = """
import pytest

def slow():
    return sum(range(4000))

def fast():
    return sum(range(1000))

@pytest.mark.speedup_claim("twice")
def test_pair(pair):
    pair(slow, fast)

def test_size(figure):
    figure(3, exact=True, unit="bytes")

def test_broken(pair):
    pair(slow, fast, equivalent=lambda: False)
"""

CLAIMS = """
[[claim]]
id = "twice"
source = "a test"
text = "twice as fast"
kind = "measured"
low = 2
"""


@pytest.fixture
def measured(project):
    return project.write(test_p_py=PAIRS, claims_toml=CLAIMS)


def test_the_last_line_is_json(measured):
    result = measured.run("--speedup-json=-")
    check(json.loads(result.outlines[-1]), int(result.ret))


def test_a_file_of_json(measured):
    result = measured.run("--speedup-json=out/verdict.json")
    text = (measured.path / "out" / "verdict.json").read_text()
    assert text.count("\n") == 1
    check(json.loads(text), int(result.ret))
    assert measured.run("--speedup-json=out/verdict.json").ret == result.ret, "an earlier one is replaced"


def check(found, code):
    assert found["exit_code"] == code == 1
    pairs = {pair["nodeid"]: pair for pair in found["pairs"]}
    pair = pairs["test_p.py::test_pair"]
    assert pair["low"] < pair["speedup"] < pair["high"]
    assert pairs["test_p.py::test_broken"]["status"] == "withheld"
    assert pairs["test_p.py::test_broken"]["speedup"] is None
    assert found["figures"][0]["value"] == 3
    assert [(claim["id"], claim["verdict"]) for claim in found["claims"]] == [("twice", "confirmed")]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("mine.py", "it is not verdicts of a run, and would be replaced"),
        ("folder", "Is a directory"),
        ("", "give the path of a file, or -"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(file, line, measured):
    (measured.path / "mine.py").write_text("mine = 1\n")
    (measured.path / "folder").mkdir()
    result = measured.run(f"--speedup-json={file}")
    assert result.ret == 4
    assert line in result.stderr.str()
    assert (measured.path / "mine.py").read_text() == "mine = 1\n"


def test_a_base_is_not_replaced(measured):
    measured.run("--speedup-report=base", "-k", "pair")
    result = measured.run(
        "--benchmark-compare=base/record.json", "--speedup-fail=50", "--speedup-json=base/record.json", "-k", "pair"
    )
    assert result.ret == 4
    assert "it is an input too" in result.stderr.str()


def test_the_gate_s_verdict_is_in_it(measured):
    measured.run("--speedup-report=base", "-k", "test_pair")
    measured.run(
        "--benchmark-compare=base/record.json", "--speedup-fail=900", "--speedup-json=v.json", "-k", "test_pair"
    )
    (pair,) = json.loads((measured.path / "v.json").read_text())["pairs"]
    assert pair["gate"] == "held"
    assert pair["loss"]["low"] < pair["loss"]["high"]


def test_a_junit_file_has_the_speedups(measured):
    measured.run("--junitxml=junit.xml")
    cases = {case.get("name"): case for case in ET.parse(measured.path / "junit.xml").iter("testcase")}  # noqa: S314

    def properties(name):
        return {one.get("name"): one.get("value") for one in cases[name].iter("property")}

    assert float(properties("test_pair")["speedclaims.speedup"]) > 2
    assert properties("test_size") == {
        "speedclaims.status": "measured", "speedclaims.value": "3", "speedclaims.low": "3", "speedclaims.high": "3",
        "speedclaims.unit": "bytes",
    }  # fmt: skip
    assert properties("test_broken") == {"speedclaims.status": "withheld"}
