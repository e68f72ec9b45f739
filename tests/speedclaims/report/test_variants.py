"""Every rendering shows a claim on all of its variants in one row, and the headline counts the first variant."""

import json
import re
import sys

import pytest
from rich.cells import cell_len

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.markdown.results import results
from speedclaims.report.model.columns import NOTHING
from speedclaims.report.model.formatting import clean
from speedclaims.report.model.view import view_record
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.report.conftest import HOSTILE, poison
from tests.speedclaims.report.sample import FIXED, NODE, PUBLISHED, Row, sample_record, with_variants
from tests.speedclaims.report.test_html import FORBIDDEN, Page, without_own_script
from tests.speedclaims.report.test_markdown import num_columns, tables

OVERALL = "tabular-regressor.overall"
HEADLINE = "3 of 5 claims judged on this machine hold, counted as published: 2 confirmed, 1 exceeded, 1 refuted"
RESULTS = {PUBLISHED: "0.979x [0.972, 0.985]", FIXED: "1.212x [1.204, 1.220]"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def row_of(name: str, record: Row) -> Row:
    """Return the first row of a claim in a record."""
    found: Row = next(row for row in record["speedclaims"]["claims"] if row["id"].endswith(name))
    return found


def page_row(html: str, name: str) -> dict[str, str]:
    """Return the cells of a claim's only row in a page, by their labels."""
    rows = [row for row in re.findall(r'<tr role="row" id.*?</tr>', html, re.DOTALL) if f'{name}"' in row]
    (row,) = [row for row in rows if "<q>" in row and "data-label" in row]
    cells = re.findall(r'<td[^>]* data-label="([^"]*)">(.*?)</td>', row, re.DOTALL)
    return {label: clean(re.sub(r"<[^>]*>", " ", cell)) for label, cell in cells}


def markdown_row(text: str, name: str) -> str:
    """Return a claim's only row in Markdown, without escapes."""
    plain = text.replace("\\", "")
    (line,) = [line for line in plain.splitlines() if re.search(rf"{re.escape(name)}( ·| \|)", line)]
    return line


# -- the rows ------------------------------------------------------------------------------------------------------


def test_a_claim_has_one_row_with_its_other_variants_in_it() -> None:
    claims = view_record(with_variants()).claims
    assert len(claims) == len({row.id for row in claims})
    (row,) = [row for row in claims if row.id == OVERALL]
    assert [(one.variant, one.verdict.word) for one in row.of_variants] == [
        (PUBLISHED, "refuted"),
        (FIXED, "confirmed"),
    ]
    assert [row.others for row in claims if not row.variant] == [()] * 3


def test_the_headline_counts_each_claim_once_by_its_first_variant() -> None:
    assert view_record(with_variants()).headline.startswith(HEADLINE)
    swapped = with_variants()
    rows = swapped["speedclaims"]["claims"]
    rows.sort(key=lambda row: row["variant"] == PUBLISHED)
    assert view_record(swapped).opening == "4 of 5 claims judged on this machine hold, counted as done right"
    assert "counted as" not in view_record(sample_record()).headline


def test_the_tests_of_the_other_variants_are_with_the_first_judged_test_of_what_counts() -> None:
    record = with_variants()
    rows = record["speedclaims"]["claims"]
    first = row_of("overall", record)
    skipped = {**first, "verdict": "not_measured", "measured": None, "reason": "no GPU", "pair": NODE + "test_gpu"}
    fixed = [row for row in rows if row["id"] == OVERALL and row["variant"] == FIXED]
    record["speedclaims"]["claims"] = [skipped, first, *fixed, {**fixed[0], "pair": NODE + "test_again"}]
    judged, unjudged = view_record(record).claims
    assert (judged.verdict.word, len(judged.others)) == ("refuted", 2)
    assert (unjudged.verdict.word, unjudged.others) == ("not measured", ())
    assert [one.among.partition(";")[0] for one in judged.others] == [
        "by test_optimized_trainer[done right]",
        "by test_again",
    ]
    text = page_row_text(record)
    assert text.count("1.212x") == 2


def test_a_further_test_of_a_variant_without_a_result_is_shown_on_a_line_below() -> None:
    record = with_variants()
    rows = record["speedclaims"]["claims"]
    first = row_of("overall", record)
    fixed = next(row for row in rows if row["id"] == OVERALL and row["variant"] == FIXED)
    skipped = {**fixed, "verdict": "not_measured", "measured": None, "reason": "no GPU", "pair": NODE + "test_gpu"}
    record["speedclaims"]["claims"] = [first, fixed, skipped]
    assert "no GPU" in page_row_text(record)
    row = markdown_row(render_markdown([record]), OVERALL)
    assert row.index("1.212x") < row.index("<br>not measured: no GPU")


def page_row_text(record: Row) -> str:
    """Return the text of the page's table of claims."""
    html = render_html([record])
    start = html.index('<section aria-labelledby="claims">')
    return Page(html[start : html.index("</section>", start) + len("</section>")]).text


def test_two_ledgers_with_different_first_variants_are_both_named() -> None:
    record = with_variants()
    row_of("batch-size", record)["variant"] = "2.1"
    assert "counted as published or 2.1:" in view_record(record).headline
    assert "As published or 2.1" in page_row(render_html([record]), OVERALL)


# -- the renderings ------------------------------------------------------------------------------------------------


def test_a_row_of_the_page_has_both_results_and_both_verdicts() -> None:
    html = render_html([with_variants()])
    cells = page_row(html, OVERALL)
    assert cells["As published"] == f"{RESULTS[PUBLISHED]} ▼ refuted"
    assert cells["As done right"] == f"{RESULTS[FIXED]} ✓ confirmed equivalence passed · pair"
    assert "Verdict" not in cells
    assert page_row(html, "batch-size")["As done right"] == "not measured: its test did not run"
    assert page_row(html, "amp-memory")["As published"] == "not measured: the published program ran out of memory"
    assert page_row(html, "persistent-workers")["As done right"] == "the same on every variant"
    assert page_row(html, "amp-speed")["As done right"] == NOTHING
    (row,) = [row for row in re.findall(r'<tr role="row" id.*?</tr>', html, re.DOTALL) if f'{OVERALL}"' in row]
    assert re.findall(r'class="badge (\w+)"', row) == ["bad", "good"]


def test_the_markdown_has_a_column_for_each_variant() -> None:
    text = render_markdown([with_variants()])
    assert "| Claimed | As published \\[95%\\] | As done right \\[95%\\] | Equivalence |" in text
    line = markdown_row(text, OVERALL)
    assert f"| {RESULTS[PUBLISHED]}<br>▼ refuted | {RESULTS[FIXED]}<br>✓ confirmed<br>equivalence passed |" in line
    for table in tables(text):
        assert len({num_columns(row) for row in table}) == 1


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("color", [False, True])
def test_the_terminal_shows_each_variant_with_whole_names_and_numbers(width: int, *, color: bool) -> None:
    text = ANSI.sub("", claims_summary(with_variants(), width, color=color))
    flat = " ".join(text.split())
    assert max(map(cell_len, text.splitlines())) <= width
    assert f"done right: {RESULTS[FIXED]} ✓ confirmed" in flat
    assert re.search(r"the interval straddles 1\.2;? done right: 1\.31x \[1\.29, 1\.34\] ✓ confirmed", flat)
    assert "done right: not measured: its test did not run" in flat
    assert RESULTS[PUBLISHED] in flat
    assert "as published" in flat
    for row in with_variants()["speedclaims"]["claims"]:
        assert row["kind"] == "arithmetic" or any(row["id"] in line for line in text.splitlines())
    assert HEADLINE in flat
    assert "test_optimized_trainer[done right]" not in flat.partition("pair without a claim")[2].partition("Where")[0]


def test_the_line_of_a_variant_has_the_colour_of_its_verdict() -> None:
    text = claims_summary(with_variants(), 140, color=True)
    assert f"\x1b[32mdone right: {RESULTS[FIXED]} ✓ confirmed\x1b[0m" in text
    assert "\x1b[31mdone right: 1.02x ▼ refuted\x1b[0m" in text


def test_the_terminal_without_rich_shows_each_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    text = " ".join(claims_summary(with_variants(), 100, color=False).split())
    published, fixed = RESULTS.values()
    assert f"refuted: {OVERALL}: claimed ≥ 1.05x, as published {published}; done right: {fixed} ✓ confirmed" in text


def test_the_claims_by_machine_name_the_variant_of_each_verdict() -> None:
    there = sample_record()
    there["datetime"] = "2020-01-01T00:00:00+00:00"
    there["speedclaims"]["environment"]["device_name"] = "another machine"
    text = render_markdown([with_variants(), there]).partition("## Claims by machine")[2].partition("\n## ")[0]
    line = markdown_row(text, OVERALL)
    assert f"▼ refuted: published: {RESULTS[PUBLISHED]}<br>✓ confirmed: done right: {RESULTS[FIXED]}" in line
    assert f"| ▼ refuted: {RESULTS[PUBLISHED]} |" in line
    assert "○ not measured: done right: its test did not run" in markdown_row(text, "batch-size")


def test_the_table_of_a_readme_has_a_column_for_each_variant(tmp_path) -> None:
    folder = tmp_path / "recorded" / "cpu"
    folder.mkdir(parents=True)
    (folder / "2026-01-01-abc.json").write_text(json.dumps(with_variants()))
    text = "\n".join(results(tmp_path)).replace("\\", "")
    assert "| claim | claimed | as published [95%] | as done right [95%] |" in text
    assert f"{OVERALL} | ≥ 1.05x | {RESULTS[PUBLISHED]}<br>▼ refuted | {RESULTS[FIXED]}<br>✓ confirmed |" in text
    assert "| not measured: the published program ran out of memory | 1.02x<br>▼ refuted |" in text
    assert "| 1.42x [1.38, 1.46]<br>✓ confirmed | the same on every variant |" in text
    assert "1 more could not be judged there" in text


def test_hostile_names_of_variants_stay_text() -> None:
    record = poison(with_variants())
    for row in record["speedclaims"]["claims"]:
        row["variant"] = row["variant"] and f"{{0}} {{x}} {row['variant']}"
    html, text = without_own_script(render_html([record])), render_markdown([record])
    page = Page(html)
    assert page.problems == []
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    assert clean(f"As {{0}} {{x}} {HOSTILE} {FIXED}") in page.text
    assert "<script" not in text
    for table in tables(text):
        assert len({num_columns(row) for row in table}) == 1
    assert "{0} {x}" in claims_summary(record, 80, color=False)


def test_of_many_tests_of_a_variant_a_terminal_names_eight_and_says_the_rule_once() -> None:
    record = with_variants()
    rows = record["speedclaims"]["claims"]
    first = row_of("overall", record)
    fixed = next(row for row in rows if row["id"] == OVERALL and row["variant"] == FIXED)
    same = {"verdict": "not_measured", "overall": "not_measured", "measured": None, "reason": "no GPU"}
    record["speedclaims"]["claims"] = [first, *({**fixed, **same, "pair": f"{NODE}test_{n}"} for n in range(34))]
    flat = " ".join(claims_summary(record, 80, color=False).split())
    assert "done right: not measured: no GPU, by test_0, test_1" in flat
    assert "test_7 and 26 more; overall not measured: all 34 pairs must hold" in flat
    assert flat.count("must hold") == 1
    assert "test_8" not in flat
