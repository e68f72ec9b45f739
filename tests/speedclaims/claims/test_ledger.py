"""The ledger, the entries that it refuses, and the verdicts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.claims.ledger import Claim, LedgerError, load_ledger
from speedclaims.claims.verdict import judge, verdict

USAGE = 4

GOOD = """
[[claim]]
id = "loop.thrice"
source = "notes.txt"
text = "three times faster"
kind = "measured"
low = 1.1
high = 1e6
"""

TEST = """
import pytest

@pytest.mark.speedup_claim("loop.thrice")
def test_loop(pair):
    result = pair(before=lambda: sum(range(50_000)), after=lambda: sum(range(500)))
    print("VERDICT", result.verdict)
"""


def claim(low=None, high=None, **others):
    return Claim(id="x", source="s", text="t", kind="measured", low=low, high=high, **others)


@pytest.mark.parametrize(
    ("bounds", "measured", "expected"),
    [
        ((1.5, 2.0), (1.6, 1.9), "confirmed"),
        ((1.5, 2.0), (1.5, 2.0), "confirmed"),
        ((1.5, 2.0), (1.0, 1.49), "refuted"),
        ((1.5, 2.0), (2.01, 3.0), "exceeded"),
        ((1.5, 2.0), (1.4, 1.6), "ambiguous"),
        ((1.5, 2.0), (1.9, 2.1), "ambiguous"),
        ((1.5, 2.0), (1.0, 3.0), "ambiguous"),
        ((1.5, None), (9.0, 9.9), "confirmed"),
        ((1.5, None), (1.0, 1.4), "refuted"),
        ((None, 2.0), (0.1, 0.2), "confirmed"),
        ((None, 2.0), (2.1, 2.2), "refuted"),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_bounds(bounds, measured, expected):
    assert verdict(claim(*bounds), *measured) == expected


@given(st.tuples(*[st.floats(0.1, 10)] * 4))
def test_confirmed_means_inside_and_refuted_or_exceeded_mean_wholly_outside(numbers):
    (low, high), (a, b) = sorted(numbers[:2]), sorted(numbers[2:])
    word = verdict(claim(low, high), a, b)
    inside = [low <= x <= high for x in (a, (a + b) / 2, b)]
    assert (word == "confirmed") == all(inside)
    if word == "refuted":
        assert b < low
    if word == "exceeded":
        assert a > high


def row(**others):
    base = {"nodeid": "t.py::t", "device": "cpu", "preset": "smoke", "family": None, "equivalence": "passed"}
    return {**base, "speedup": 1.7, "low": 1.6, "high": 1.8, "reason": None, "gpu": {}, **others}


def test_an_unmet_requirement_keeps_the_local_figure_beside_not_measured():
    found = judge(claim(1.5, 2.0, requires={"device": "cuda"}), row())
    assert found["verdict"] == "not_measured"
    assert found["reason"] == "needs cuda"
    assert (found["measured"], found["measured_low"], found["measured_high"]) == (1.7, 1.6, 1.8)
    assert judge(claim(1.5, 2.0, requires={"device": "cuda"}), row(device="cuda"))["verdict"] == "confirmed"


def test_too_few_rounds_are_ambiguous_with_the_reason():
    found = judge(claim(1.5, 2.0), row(low=None, high=None, reason="too few rounds: 2"))
    assert (found["verdict"], found["reason"]) == ("ambiguous", "too few rounds: 2")


def test_an_ambiguous_verdict_names_the_bound_that_the_interval_straddles():
    assert judge(claim(1.65, 2.0), row())["reason"] == "the interval straddles 1.65"


@pytest.mark.parametrize(("device", "measured"), [("cuda", 2.0), ("cuda:0", 2.0), ("cpu", 3.0)])
def test_memory_is_judged_by_peaks_on_cuda_and_by_increases_on_a_cpu(device, measured):
    memory = {"ratio": {"value": 2.0, "unit": "1", "status": "measured", "reason": None}}
    increase = {"ratio": {**memory["ratio"], "value": 3.0}}
    pair = row(device=device, memory=memory, memory_increase=increase)
    found = judge(claim(1.8, 3.2, metric="memory_ratio"), pair)
    assert (found["measured"], found["verdict"]) == (measured, "confirmed")
    missing = {"value": None, "unit": "1", "status": "not_measured", "reason": "the memory pass did not run"}
    found = judge(claim(1.8, 2.2, metric="memory_ratio"), row(memory=memory, memory_increase={"ratio": missing}))
    assert (found["verdict"], found["reason"]) == ("not_measured", "the memory pass did not run")


@pytest.mark.parametrize(
    ("metric", "name", "side"),
    [
        ("utilization", "utilization", "after"),
        ("utilization_before", "utilization", "before"),
        ("sm_activity", "sm_activity", "after"),
        ("tensor_activity", "tensor_activity", "after"),
        ("energy_ratio", "energy_j", "ratio"),
    ],
)
def test_what_nvml_tells_is_judged_by_its_own_side(metric, name, side):
    found = {"value": 85.0, "unit": "percent", "status": "measured", "reason": None}
    other = {"value": 7.0, "unit": "percent", "status": "measured", "reason": None}
    gpu = {name: {"before": other, "after": other, "ratio": other, side: found}}
    judged = judge(claim(80.0, 95.0, metric=metric), row(gpu=gpu))
    assert (judged["measured"], judged["verdict"]) == (85.0, "confirmed")
    assert judged["unit"] == ("1" if metric == "energy_ratio" else "percent")
    absent = judge(claim(80.0, 95.0, metric=metric), row())
    assert absent["verdict"] == "not_measured"
    assert absent["reason"] == f"no {metric.replace('_', ' ')} was recorded on cpu"


def test_a_whole_number_is_a_bound_like_any_other(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(GOOD.replace("1.1", "1"))
    bounds = load_ledger(path).claims["loop.thrice"].low, claim(low=2).low
    assert bounds == (1.0, 2.0)
    assert {type(bound) for bound in bounds} == {float}


@pytest.mark.parametrize("low", [True, "1", math.nan, math.inf, 10**400, [1.0]])
def test_what_is_no_finite_number_is_no_bound_also_without_a_ledger(low):
    with pytest.raises(ValueError, match=r"^low: .* is not a finite number$"):
        claim(low)


def test_the_unit_follows_from_the_metric_unless_it_is_given():
    assert claim(low=1).unit == "1"
    assert claim(low=1, metric="sm_activity").unit == "percent"
    assert claim(low=1, metric="quality", unit="sd").unit == "sd"


BAD = {
    "an unknown key": (
        GOOD + 'colour = "red"\n',
        "claim loop.thrice: unknown key colour: the keys are id, source, text, kind, metric, unit, work, low, high, "
        "better, over, requires, audit",
    ),
    "low above high": (GOOD.replace("1.1", "9e9"), "claim loop.thrice: low (9e+09) is greater than high (1e+06)"),
    "no bound": ("\n".join(GOOD.splitlines()[:-2]), "claim loop.thrice: it has no bound"),
    "a missing text": (GOOD.replace('text = "three times faster"', ""), "claim loop.thrice: no text: add it"),
    "a bound that is a text": (GOOD.replace("1.1", '"1.1"'), "claim loop.thrice: low: "),
    "a bound that is not a number": (GOOD.replace("1.1", "nan"), "claim loop.thrice: low: "),
    "an infinite bound": (GOOD.replace("1.1", "-inf"), "claim loop.thrice: low: "),
    "a bound that is a truth value": (GOOD.replace("1.1", "true"), "claim loop.thrice: low: "),
    "a text that is empty": (GOOD.replace("three times faster", ""), "claim loop.thrice: text: "),
    "a text that is a number": (GOOD.replace('"three times faster"', "3"), "claim loop.thrice: text: "),
    "an unknown work": (GOOD + 'work = "more"\n', "claim loop.thrice: work: "),
    "a unit that is empty": (GOOD + 'unit = ""\n', "claim loop.thrice: unit: "),
    "a requirement that is no text": (GOOD + "requires = { device = 1 }\n", "claim loop.thrice: requires.device"),
    "requirements that are no table": (GOOD + 'requires = "cuda"\n', "claim loop.thrice: requires: "),
    "a measured claim with a function": (GOOD + 'audit = "f"\n', "only an arithmetic claim has an audit function"),
    "an unknown kind": (GOOD.replace('"measured"', '"guessed"'), "claim loop.thrice: kind: "),
    "an unknown metric": (GOOD + 'metric = "beauty"\n', "claim loop.thrice: metric: "),
    "an unknown requirement": (GOOD + 'requires = { moon = "full" }\n', "claim loop.thrice: requires.moon"),
    "an id with a space": (GOOD.replace("loop.thrice", "loop thrice"), "id: "),
    "the same id twice": (GOOD + GOOD, "claim 2 has the id loop.thrice of an earlier claim"),
    "an arithmetic claim without a function": (GOOD.replace('"measured"', '"arithmetic"'), "names its audit function"),
    "a key beside the claims": ("title = 1\n" + GOOD, "unknown key title"),
    "one table instead of several": (GOOD.replace("[[claim]]", "[claim]"), "write [[claim]], with two brackets"),
    "a claim that is not a table": ("claim = [1]", "claim number 1: "),
    "not TOML": ("[[claim]\n", "not a TOML file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_ledger_is_refused_in_one_line(name, tmp_path):
    text, words = BAD[name]
    path = tmp_path / "claims.toml"
    path.write_text(text)
    with pytest.raises(LedgerError) as caught:
        load_ledger(path)
    line = str(caught.value)
    assert words in line
    assert line.startswith(f"{path}: ")
    assert "\n" not in line


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_ledger_that_cannot_be_read_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "claims.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"claims\.toml: "):
        load_ledger(path)


def usage_line(result):
    assert result.ret == USAGE
    lines = [line for line in result.outlines + result.errlines if line.startswith("ERROR: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    return lines[0]


def test_a_claim_is_judged_by_the_test_that_its_marker_names(project):
    project.write(test_loop_py=TEST, claims_toml=GOOD)
    result = project.run("--speedup-report=out", "-s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*VERDICT confirmed"])
    (found,) = project.record()["speedclaims"]["claims"]
    assert (found["id"], found["verdict"], found["pair"]) == ("loop.thrice", "confirmed", "test_loop.py::test_loop")
    assert found["measured_low"] <= found["measured"] <= found["measured_high"]


def test_a_refuted_claim_changes_the_exit_code_only_when_strict(project):
    project.write(test_loop_py=TEST, claims_toml=GOOD.replace("1.1", "1e5"))
    assert project.run().ret == 0
    assert project.run("--speedup-strict").ret == 1


def test_a_bad_ledger_ends_the_session_before_anything_is_measured(project):
    project.write(test_loop_py=TEST, claims_toml=GOOD + 'colour = "red"\n')
    assert "unknown key colour" in usage_line(project.run())


def test_a_marker_without_a_claim_is_an_error(project):
    project.write(test_loop_py=TEST, claims_toml=GOOD.replace("thrice", "twice"))
    assert "test_loop.py::test_loop: no claim 'loop.thrice' in" in usage_line(project.run())


def test_a_marker_without_a_ledger_is_an_error(project):
    project.write(test_loop_py=TEST)
    assert "the claim 'loop.thrice' has no ledger" in usage_line(project.run())


def test_a_marker_without_a_name_is_an_error(project):
    project.write(test_loop_py=TEST.replace('speedup_claim("loop.thrice")', "speedup_claim"), claims_toml=GOOD)
    assert "the speedup_claim marker takes claim ids" in usage_line(project.run())


def test_a_claim_without_a_test_is_an_error(project):
    project.write(test_loop_py=TEST, claims_toml=GOOD + GOOD.replace("thrice", "unjudged"))
    assert "no test judges the claim 'loop.unjudged'" in usage_line(project.run())


def test_a_claim_whose_test_is_deselected_is_not_an_error_but_not_measured(project):
    other = GOOD.replace("thrice", "other")
    more = TEST + '\n@pytest.mark.speedup_claim("loop.other")\ndef test_other(pair):\n    raise AssertionError\n'
    project.write(test_loop_py=more, claims_toml=GOOD + other)
    assert project.run("-k", "test_loop and not other", "--speedup-report=out").ret == 0
    verdicts = {c["id"]: (c["verdict"], c["reason"]) for c in project.record()["speedclaims"]["claims"]}
    assert verdicts == {"loop.thrice": ("confirmed", None), "loop.other": ("not_measured", "its test did not run")}


def test_running_one_file_of_several_does_not_complain_about_the_others_claims(project):
    more = TEST.replace("thrice", "other").replace("test_loop", "test_other")
    project.write(test_loop_py=TEST, test_other_py=more, claims_toml=GOOD + GOOD.replace("thrice", "other"))
    assert project.run("test_loop.py").ret == 0


def test_a_skipped_test_gives_its_reason_to_the_claim(project):
    skipped = TEST.replace("    result", '    pytest.skip("torch is not installed")\n    result')
    project.write(test_loop_py=skipped, test_fine_py="def test_fine(pair):\n    pair(print, print)\n", claims_toml=GOOD)
    assert project.run("--speedup-report=out").ret == 0
    (found,) = project.record()["speedclaims"]["claims"]
    assert (found["verdict"], found["reason"]) == ("not_measured", "torch is not installed")


def test_a_claim_about_other_work_than_the_pair_measures_is_an_error(project):
    project.write(test_loop_py=TEST, claims_toml=GOOD + 'work = "less"\n')
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*ValueError: the claim 'loop.thrice' is about less work, the pair measures same work*"]
    )


def test_the_ini_option_names_a_ledger_elsewhere(project):
    project.write(test_loop_py=TEST, ledger_toml=GOOD, pytest_ini="[pytest]\nspeedup_claims = ledger.toml\n")
    assert project.run("--speedup-report=out").ret == 0
    assert project.record()["speedclaims"]["claims"][0]["verdict"] == "confirmed"


def test_a_ledger_above_the_tests_folder_is_found(project):
    folder = project.path / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "test_loop.py").write_text(TEST)
    project.write(claims_toml=GOOD)
    assert project.run("--speedup-report=out").ret == 0
    assert project.record()["speedclaims"]["claims"][0]["verdict"] == "confirmed"
