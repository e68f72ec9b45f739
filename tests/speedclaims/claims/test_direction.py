"""A figure outside a claim's bounds exceeds the claim on the better side, and refutes it on any other."""

import pytest

from speedclaims.claims.ledger import Claim, LedgerError, load_ledger
from speedclaims.claims.verdict import judge, verdict
from speedclaims.gate.compare import Rules, compare
from tests.speedclaims.comparing import measured, record

LEDGER = """
[[claim]]
id = "count.spoilt"
source = "notes.txt"
text = "never"
kind = "measured"
metric = "quality"
high = 0.0
"""

TEST = """
import pytest

@pytest.mark.speedup_claim("count.spoilt")
def test_count(figure):
    print("VERDICT", figure(5, exact=True).verdict)
"""


def claim(low=None, high=None, **others):
    return Claim(id="x", source="s", text="t", kind="measured", low=low, high=high, **others)


BELOW, ABOVE = (-9.0, -8.0), (8.0, 9.0)
DIRECTIONS = {
    "at least": ({"low": 1.0}, "higher", "refuted", "confirmed"),
    "at most": ({"high": 1.0}, "lower", "confirmed", "refuted"),
    "a range of a ratio": ({"low": 1.0, "high": 2.0}, "higher", "refuted", "exceeded"),
    "a range of memory": ({"low": 1.0, "high": 2.0, "metric": "memory_ratio"}, "higher", "refuted", "exceeded"),
    "a range of utilization": ({"low": 1.0, "high": 2.0, "metric": "utilization"}, "higher", "refuted", "exceeded"),
    "a range of a quality": ({"low": -1.0, "high": 1.0, "metric": "quality"}, "neither", "refuted", "refuted"),
    "a range where less is better": ({"low": 1.0, "high": 2.0, "better": "lower"}, "lower", "exceeded", "refuted"),
    "a range where nothing is": ({"low": 1.0, "high": 2.0, "better": "neither"}, "neither", "refuted", "refuted"),
    "at most, and more is better": ({"high": 1.0, "better": "higher"}, "higher", "confirmed", "exceeded"),
    "at least, and less is better": ({"low": 1.0, "better": "lower"}, "lower", "exceeded", "confirmed"),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_which_side_is_wrong_follows_from_the_bounds_unless_the_claim_says_it(name):
    given, better, below, above = DIRECTIONS[name]
    found = claim(**given)
    assert found.better == better
    assert (verdict(found, *BELOW), verdict(found, *ABOVE)) == (below, above)


def test_the_record_says_which_side_is_better():
    row = {"nodeid": "t.py::t", "device": "cpu", "equivalence": "passed", "speedup": 1.0, "low": 1.0, "high": 1.0}
    found = judge(claim(1.5, 2.0, better="lower"), {**row, "reason": None})
    assert (found["better"], found["verdict"], found["overall"]) == ("lower", "exceeded", "exceeded")


BAD = {
    "an unknown side": ('better = "upwards"', "better: 'upwards' is not one of higher, lower, neither"),
    "a side that is no text": ("better = 1", "better: 1 is not one of higher, lower, neither"),
    "an unknown rule": ('over = "most"', "over: 'most' is not one of all, any, median, best"),
    "the best of what has no better side": ('low = -1.0\nover = "best"', 'set better to "higher" or "lower"'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_direction_that_does_not_fit_is_refused_in_one_line(name, tmp_path):
    line, words = BAD[name]
    path = tmp_path / "claims.toml"
    path.write_text(LEDGER + line)
    with pytest.raises(LedgerError) as caught:
        load_ledger(path)
    assert str(caught.value).startswith(f"{path}: claim count.spoilt: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_count_above_an_upper_bound_refutes_the_claim(project):
    project.write(test_count_py=TEST, claims_toml=LEDGER)
    result = project.run("-s", "--speedup-report=out", "--speedup-strict")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*VERDICT refuted", "*0 of 1 claims judged on this machine hold: 1 refuted.*"])


def test_a_count_on_the_better_side_exceeds_the_claim_which_holds(project):
    project.write(test_count_py=TEST, claims_toml=LEDGER + 'better = "higher"\n')
    result = project.run("--speedup-report=out", "--speedup-strict")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*1 of 1 claim judged on this machine holds: 1 exceeded.*"])
    text = (project.path / "out" / "speedups.md").read_text()
    assert "▲ exceeded" in text
    assert "quality, higher is better, same work" in text


@pytest.mark.parametrize(
    ("bounds", "was", "now", "lost", "warned"),
    [
        ({"high": 0.0}, 0.0, 5.0, "claim x was confirmed in the base and is refuted now", None),
        ({"high": 0.0, "better": "higher"}, 0.0, 5.0, None, "claim x has become too modest"),
        ({"low": 1.0, "high": 2.0}, 5.0, 0.0, "claim x was exceeded in the base and is refuted now", None),
        ({"low": 1.0, "high": 2.0, "better": "lower"}, 1.0, 0.0, None, "claim x has become too modest"),
        ({"low": -1.0, "high": 1.0}, 0.0, -5.0, "claim x was confirmed in the base and is refuted now", None),
    ],
)
def test_the_gate_loses_a_claim_in_the_direction_of_its_bounds(bounds, was, now, lost, warned):
    rows = [judge(claim(**bounds, unit="losses"), counted(value)) for value in (was, now)]
    gate = compare(*(record(measured("a"), claims=[row])["speedclaims"] for row in rows), Rules(5.0))
    assert list(gate.lost_claims) == ([lost] if lost else [])
    assert [words.partition(":")[0] for words in gate.warnings] == ([warned] if warned else [])


def counted(value):
    """The row of a figure."""
    row = {"nodeid": "t.py::t", "device": "cpu", "equivalence": None, "unit": "losses", "status": "measured"}
    return {**row, "value": value, "low": value, "high": value, "reason": None}
