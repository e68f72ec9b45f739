"""A claim that could not be judged is shown with its evidence, wherever it is shown; a judged one is not."""

import html
import re
import sys

import pytest

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.markdown.report import escape_markdown
from speedclaims.report.model.view import view_record
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.report.conftest import HOSTILE, poison
from tests.speedclaims.report.sample import Row, sample_record, with_evidence
from tests.speedclaims.report.test_html import without_own_script

TWIN = "PyTorch twin: reference against PyTorch twin: optimized, 1.23x [1.20, 1.26] on NVIDIA H200"
FEWER = "250 epochs against 100 epochs, 2.503x [2.497, 2.509] (less work) on NVIDIA H200"
SKIPPED = f"beside it, no verdict: {TWIN}"
UNASKED = f"beside it, no verdict: {FEWER}; {TWIN}"


def flat(text: str) -> str:
    """Return text on one line."""
    return " ".join(text.split())


def test_evidence_is_shown_once_for_a_claim_without_any_verdict() -> None:
    rows = view_record(with_evidence()).claims
    found = [(row.id, row.evidence) for row in rows if row.evidence]
    assert found == [("tabular-regressor.skipped", SKIPPED), ("tabular-regressor.unasked", UNASKED)]


def test_a_claim_that_another_test_judged_does_not_show_it() -> None:
    record = with_evidence()
    claims = record["speedclaims"]["claims"]
    judged = next(row for row in claims if row["verdict"] == "confirmed")
    claims.append(judged | {"verdict": "not_measured", "reason": "no such device", "measured": None})
    assert not [row for row in view_record(record).claims if row.id == judged["id"] and row.evidence]


def test_evidence_changes_neither_counts_nor_headline() -> None:
    record = with_evidence()
    before = view_record(record)
    for row in record["speedclaims"]["claims"]:
        row.pop("evidence", None)
    after = view_record(record)
    assert (before.headline, before.counts) == (after.headline, after.counts)


@pytest.mark.parametrize("width", [50, 80, 100, 140])
def test_the_terminal_shows_it_after_the_reason(width: int) -> None:
    text = flat(claims_summary(with_evidence(), width, color=False))
    assert re.search(f"tensorflow is not installed;? {re.escape(SKIPPED)}", text)
    assert re.search(f"its test did not run;? {re.escape(UNASKED)}", text)
    assert text.count("no verdict") == 2
    # the second row of the same claim is not counted as another claim
    assert "1 claim not run: its test was not selected" in text


def test_without_rich_it_is_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    text = claims_summary(with_evidence(), 80, color=False, unicode=False)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert f"not measured: tensorflow is not installed; {SKIPPED}" in flat(text)
    assert "No tables here: rich cannot be imported" in flat(text)


def test_the_markdown_shows_it_under_the_reason() -> None:
    text = render_markdown([with_evidence()])
    assert f"not measured: tensorflow is not installed<br>{escape_markdown(SKIPPED)}" in text
    assert f"not measured: its test did not run<br>{escape_markdown(UNASKED)}" in text
    assert "whose tests did not run" not in text


def test_the_page_shows_it_under_the_reason() -> None:
    page = render_html([with_evidence()])
    rows = re.findall(r"<tr role=\"row\" id.*?</tr>", page, re.DOTALL)
    under = [html.unescape(row) for row in rows if "no verdict" in row]
    assert len(under) == 2
    assert f'<span class="under">{SKIPPED}</span>' in under[0]
    assert f'<span class="under">{UNASKED}</span>' in under[1]


def test_hostile_labels_stay_text() -> None:
    record = poison(with_evidence())
    assert "<script>" not in without_own_script(render_html([record]))
    assert "<script>" not in render_markdown([record])
    assert HOSTILE not in claims_summary(record, 100, color=False)


def test_the_name_of_a_processor_is_told_for_a_pair_that_ran_there() -> None:
    record = sample_record()
    run = record["speedclaims"]
    claim = next(row for row in run["claims"] if row["verdict"] == "not_measured" and row["measured"] is None)
    claim["evidence"] = [run["pairs"][0]["nodeid"]]
    (shown,) = [row.evidence for row in view_record(record).claims if row.evidence]
    assert shown == "beside it, no verdict: reference against optimized, 1.42x [1.38, 1.46] on AMD EPYC 7763"


def test_a_row_of_a_pair_without_a_speedup_is_no_evidence(record: Row) -> None:
    run = record["speedclaims"]
    claim = next(row for row in run["claims"] if row["verdict"] == "not_measured")
    claim["evidence"] = [pair["nodeid"] for pair in run["pairs"] if pair["speedup"] is None]
    assert not [row for row in view_record(record).claims if row.evidence]
