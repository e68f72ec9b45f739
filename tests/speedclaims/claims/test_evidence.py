"""A marker shows a pair as evidence about claims that could not be judged, and never judges them."""

import pytest

from speedclaims.record import io as record

USAGE = 4

LEDGER = """
[[claim]]
id = "loop.unjudged"
source = "notes.txt"
text = "three times faster on a GPU"
kind = "measured"
low = 1.1

[[claim]]
id = "loop.judged"
source = "notes.txt"
text = "three times faster"
kind = "measured"
low = 1.1
"""

TEST = """
import pytest

SLOW, FAST = (lambda: sum(range(50_000))), (lambda: sum(range(500)))

@pytest.mark.speedup_claim("loop.unjudged")
def test_unjudged(pair):
    pytest.skip("no GPU here")

@pytest.mark.speedup_claim("loop.judged")
def test_judged(pair):
    pair(before=SLOW, after=FAST)

@pytest.mark.speedup_evidence("loop.unjudged", "loop.judged")
@pytest.mark.speedup_evidence("loop.unjudged")
def test_twin(pair):
    pair(before=SLOW, after=FAST)

@pytest.mark.speedup_evidence("loop.unjudged")
def test_skipped(pair):
    pytest.skip("not here either")

@pytest.mark.speedup_evidence("loop.unjudged")
def test_unlike(pair):
    def unequal():
        raise AssertionError("the sums differ")
    pair(before=SLOW, after=FAST, equivalent=unequal)
"""


def claims(project):
    found = record.read(project.path / "out" / "record.json")["speedclaims"]["claims"]
    return {row["id"]: row for row in found}


def test_the_record_holds_the_tests_whose_pairs_have_a_speedup(project):
    project.write(test_loop_py=TEST, claims_toml=LEDGER)
    result = project.run("--speedup-report=out")
    assert result.ret == 1
    found = claims(project)
    assert found["loop.unjudged"]["verdict"] == "not_measured"
    assert found["loop.unjudged"]["pair"] == "test_loop.py::test_unjudged"
    assert found["loop.unjudged"]["measured"] is None
    assert found["loop.unjudged"]["evidence"] == ["test_loop.py::test_twin"]
    assert found["loop.judged"]["verdict"] == "confirmed"
    assert found["loop.judged"]["pair"] == "test_loop.py::test_judged"
    result.stdout.fnmatch_lines(["*no GPU here", "*beside it, no verdict: before against after, *x [[]*"])
    assert result.stdout.str().count("no verdict") == 1
    for name in ("speedups.md", "index.html"):
        assert (project.path / "out" / name).read_text().count("beside it, no verdict: before against after") == 1


def test_without_a_measured_pair_the_record_holds_no_evidence(project):
    project.write(test_loop_py=TEST, claims_toml=LEDGER)
    assert project.run("--speedup-report=out", "-k", "judged or skipped").ret == 0
    assert not [row for row in claims(project).values() if "evidence" in row]


def usage_line(project):
    result = project.run()
    assert result.ret == USAGE
    (line,) = [line for line in result.outlines + result.errlines if line.startswith("ERROR: ")]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    return line


def test_evidence_judges_nothing(project):
    alone = TEST.replace('speedup_claim("loop.judged")', 'speedup_evidence("loop.judged")')
    project.write(test_loop_py=alone, claims_toml=LEDGER)
    assert "no test judges the claim 'loop.judged'" in usage_line(project)


def test_evidence_for_a_claim_of_other_work_is_no_error(project):
    other = LEDGER.replace('id = "loop.unjudged"', 'id = "loop.unjudged"\nwork = "less"')
    project.write(test_loop_py=TEST, claims_toml=other)
    assert project.run("--speedup-report=out", "-k", "unjudged or twin").ret == 0
    assert claims(project)["loop.unjudged"]["evidence"] == ["test_loop.py::test_twin"]


ARITHMETIC = """
[[claim]]
id = "loop.sum"
source = "notes.txt"
text = "one and one is two"
kind = "arithmetic"
audit = "one_and_one"
"""


@pytest.mark.parametrize(
    ("marker", "ledger", "words"),
    [
        ('speedup_evidence("loop.unknown")', LEDGER, "test_twin: no claim 'loop.unknown' in "),
        ("speedup_evidence", LEDGER, "test_twin: the speedup_evidence marker takes claim ids"),
        ("speedup_evidence(3)", LEDGER, "test_twin: the speedup_evidence marker takes claim ids"),
        ('speedup_evidence("loop.sum")', LEDGER + ARITHMETIC, "test_twin: the claim 'loop.sum' of "),
    ],
)
def test_a_marker_that_names_no_claim_to_judge_is_an_error(project, marker, ledger, words):
    test = TEST.replace('speedup_evidence("loop.unjudged", "loop.judged")', marker)
    project.write(test_loop_py=test, claims_toml=ledger)
    assert words in usage_line(project)


def test_a_marker_without_a_ledger_is_an_error(project):
    project.write(test_loop_py=TEST[TEST.index("@pytest.mark.speedup_evidence") :].join(["import pytest\n", ""]))
    assert "the claim 'loop.unjudged' has no ledger" in usage_line(project)


def test_the_marker_explains_itself(project):
    project.run("--markers").stdout.fnmatch_lines(["*@pytest.mark.speedup_evidence(*ids): where these claims *"])
