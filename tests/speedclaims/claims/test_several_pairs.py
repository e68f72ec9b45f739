"""A claim that several pairs judge says how, and every rendering names each pair."""

import html
import json
import sys

import pytest

from speedclaims.claims.ledger import Claim
from speedclaims.claims.verdict import overall
from speedclaims.gate.compare import Rules, compare
from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.markdown.report import escape_markdown
from speedclaims.report.markdown.results import results
from speedclaims.report.model.view import view_record
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.comparing import measured, record
from tests.speedclaims.report.sample import judged

RANGE = {"low": 1.5, "high": 2.5}


def rows(*words_and_figures):
    return [{"verdict": word, "measured": figure} for word, figure in words_and_figures]


THREE = rows(("confirmed", 2.0), ("refuted", 1.0), ("exceeded", 3.0))
NONE = rows(("not_measured", None), ("not_measured", 2.0))
OVER = {
    "all of three": ("all", THREE, "refuted"),
    "any of three": ("any", THREE, "exceeded"),
    "the median of three": ("median", THREE, "confirmed"),
    "the best of three": ("best", THREE, "exceeded"),
    "all, of which one was not measured": ("all", rows(("confirmed", 2.0), ("not_measured", 1.0)), "confirmed"),
    "all, one better than claimed": ("all", rows(("exceeded", 3.0), ("confirmed", 2.0)), "confirmed"),
    "any, of which one is uncertain": ("any", rows(("ambiguous", 2.4), ("refuted", 1.0)), "ambiguous"),
    "the median of two is the worse": ("median", rows(("confirmed", 2.0), ("exceeded", 3.0)), "confirmed"),
    "the median of four is the worse of the middle two": (
        "median",
        rows(("exceeded", 3.0), ("refuted", 0.5), ("ambiguous", 1.5), ("confirmed", 2.0)),
        "ambiguous",
    ),
    "the best by its figure, not by its verdict": ("best", rows(("confirmed", 2.0), ("ambiguous", 2.2)), "ambiguous"),
    **{f"{over} of none": (over, NONE, "not_measured") for over in ("all", "any", "median", "best")},
}


@pytest.mark.parametrize("name", OVER)
def test_the_claim_says_how_several_pairs_judge_it(name):
    over, found, word = OVER[name]
    claim = Claim(id="x", source="s", text="t", kind="measured", over=over, **RANGE)
    assert overall(claim.over, claim.better, found) == overall(claim.over, claim.better, found[::-1]) == word


def test_the_best_figure_is_the_lowest_where_less_is_better():
    claim = Claim(id="x", source="s", text="t", kind="measured", over="best", better="lower", **RANGE)
    assert overall(claim.over, claim.better, rows(("exceeded", 1.0), ("refuted", 3.0))) == "exceeded"


# -- a run ---------------------------------------------------------------------------------------------------------

LEDGER = """
[[claim]]
id = "loop.faster"
source = "notes.txt"
text = "faster"
kind = "measured"
low = 1.5
over = "OVER"
"""

TEST = """
import pytest

SLOW, FAST = (lambda: sum(range(50_000))), (lambda: sum(range(500)))

@pytest.mark.speedup_claim("loop.faster")
@pytest.mark.parametrize("after", ["fast", "slow", "missing"])
def test_loop(pair, after):
    if after == "missing":
        pytest.skip("no GPU here")
    pair(before=SLOW, after=FAST if after == "fast" else (lambda: (SLOW(), SLOW())))
"""


@pytest.mark.parametrize(("over", "word", "code"), [("all", "refuted", 1), ("any", "confirmed", 0)])
def test_a_run_judges_a_claim_over_its_pairs(project, over, word, code):
    project.write(test_loop_py=TEST, claims_toml=LEDGER.replace("OVER", over))
    result = project.run("--speedup-report=out", "--speedup-strict")
    assert result.ret == code
    found = project.record()["speedclaims"]["claims"]
    assert [(row["verdict"], row["overall"], row["over"]) for row in found] == [
        ("confirmed", word, over),
        ("refuted", word, over),
        ("not_measured", word, over),
    ]
    result.stdout.fnmatch_lines([f"*{1 - code} of 1 claim* judged on this machine hold*: 1 {word}.*"])


def test_a_pair_that_was_not_selected_is_named_and_does_not_judge(project):
    project.write(test_loop_py=TEST, claims_toml=LEDGER.replace("OVER", "all"))
    result = project.run("--speedup-report=out", "-k", "fast")
    found = project.record()["speedclaims"]["claims"]
    assert [(row["pair"], row["verdict"]) for row in found] == [
        ("test_loop.py::test_loop[fast]", "confirmed"),
        ("test_loop.py::test_loop[slow]", "not_measured"),
        ("test_loop.py::test_loop[missing]", "not_measured"),
    ]
    text = " ".join(result.stdout.str().split())
    for name in ("fast", "slow", "missing"):
        assert f"by test_loop[{name}]; overall confirmed: all 3 pairs must hold" in text
    assert "whose tests did not run" not in (project.path / "out" / "speedups.md").read_text()


def test_a_claim_of_which_no_pair_ran_is_counted_once(project):
    other = "def test_other(pair):\n    pair(before=lambda: sum(range(900)), after=lambda: sum(range(90)))\n"
    project.write(test_loop_py=TEST, test_other_py=other, claims_toml=LEDGER.replace("OVER", "all"))
    result = project.run("--speedup-report=out", "-k", "other")
    result.stdout.fnmatch_lines(["*1 claim not run: its test did not run*"])
    assert "1 claim whose tests did not run" in (project.path / "out" / "speedups.md").read_text()
    assert "1 claim whose tests did not run" in (project.path / "out" / "index.html").read_text()


# -- the renderings ------------------------------------------------------------------------------------------------


def several(over="all", overall="refuted", words=("confirmed", "refuted", "not_measured")):
    """A record whose one claim three pairs judge."""
    pairs = [measured(name, speedup) for name, speedup in zip("abc", (2.0, 1.0, 2.0), strict=True)]
    claims = [
        judged("x", "between 1.5x and 2.5x", word, of, over=over, overall=overall, **RANGE)
        for word, of in zip(words, pairs, strict=True)
    ]
    claims[2] |= {"measured": None, "measured_low": None, "measured_high": None, "reason": "no GPU here"}
    return record(*pairs, claims=claims)


NAMED = [f"by {name}; overall refuted: all 3 pairs must hold" for name in "abc"]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_names_each_pair(width):
    text = claims_summary(several(), width, color=False)
    assert max(map(len, text.splitlines())) <= width
    assert all(words in " ".join(text.split()) for words in NAMED)


def test_the_terminal_without_rich_names_each_pair(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    text = " ".join(claims_summary(several(), 100, color=False).split())
    assert all(words in text for words in NAMED)


def test_the_page_and_the_markdown_name_each_pair():
    page, text = html.unescape(render_html([several()])), render_markdown([several()])
    assert all(f'<span class="under">{words}</span>' in page for words in NAMED)
    assert all(f"<br>{escape_markdown(words)} |" in text for words in NAMED)


def test_the_claims_by_machine_name_each_pair():
    there = several()
    there["datetime"] = "2020-01-01T00:00:00+00:00"
    there["speedclaims"]["environment"]["device_name"] = "another machine"
    text = render_markdown([several(), there]).partition("## Claims by machine")[2]
    assert all(text.count(escape_markdown(words)) == 2 for words in NAMED)


def test_the_table_of_a_readme_names_each_pair(tmp_path):
    folder = tmp_path / "recorded" / "cpu"
    folder.mkdir(parents=True)
    (folder / "2026-01-01-abc.json").write_text(json.dumps(several()))
    text = "\n".join(results(tmp_path))
    assert all(f"<br>{escape_markdown(words)} |" in text for words in NAMED)
    assert "| not measured: no GPU here |" in text
    assert "more could not be judged" not in text


def test_pairs_of_one_name_are_told_apart_by_their_files():
    made = several()
    for row, file in zip(made["speedclaims"]["claims"], "pqr", strict=True):
        row["pair"] = f"test_{file}.py::test_same"
    assert [row.among.partition(";")[0] for row in view_record(made).claims] == [
        "by test_p.py::test_same",
        "by test_q.py::test_same",
        "by test_r.py::test_same",
    ]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ("any", "one of 3 pairs must hold"),
        ("median", "the median of 3 pairs decides"),
        ("best", "the best of 3 pairs decides"),
    ],
)
def test_the_rule_is_said_in_words(over, words):
    (first, *_) = view_record(several(over, "confirmed")).claims
    assert first.among == f"by a; overall confirmed: {words}"


# -- the gate ------------------------------------------------------------------------------------------------------


def between(base, new):
    return compare(base["speedclaims"], new["speedclaims"], Rules(5.0))


def test_the_gate_reads_the_verdict_over_all_pairs_and_names_them():
    held = several("any", "confirmed", ("confirmed", "confirmed", "not_measured"))
    assert between(held, several("any", "confirmed")).lost_claims == ()
    (lost,) = between(several("all", "confirmed", ("confirmed", "confirmed", "not_measured")), several()).lost_claims
    assert lost == (
        "claim tabular-regressor.x was confirmed in the base and is refuted now (all of: bench/test_a.py::a confirmed, "
        "bench/test_a.py::b refuted, bench/test_a.py::c not measured)"
    )


def test_the_gate_says_that_a_claim_is_judged_differently_now():
    (warning,) = between(several("any", "confirmed"), several("median", "confirmed")).warnings
    assert "says something else than in the base" in warning
