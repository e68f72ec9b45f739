"""The Markdown report: its tables are well-formed, and no text of a record becomes markup."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from speedclaims.report.html.page import render_markdown
from speedclaims.report.markdown.report import escape_markdown
from speedclaims.report.model.formatting import VERDICTS, clean
from tests.speedclaims.report.sample import Row, figures_alone, sample_record, without_claims_asked

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OWN_HTML = "<br>"


def inline_tokens(markdown: str) -> list[Token]:
    """Return every inline token of a document."""
    return [child for token in PARSER.parse(markdown) for child in token.children or []]


def tables(markdown: str) -> list[list[str]]:
    """Return the tables of a document as lists of lines."""
    found = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    return [block.splitlines() for block in found]


def num_columns(line: str) -> int:
    """Return how many cells GitHub sees in a line."""
    return len(re.findall(r"(?<!\\)\|", line)) - 1


def test_every_row_of_a_table_has_as_many_cells_as_its_header(any_record: Row) -> None:
    for table in tables(render_markdown([any_record])):
        assert len({num_columns(line) for line in table}) == 1, table[0]


def test_tables_hold_together_when_texts_are_hostile(hostile: Row) -> None:
    found = tables(render_markdown([hostile]))
    assert found
    for table in found:
        assert len({num_columns(line) for line in table}) == 1, table[0]


def test_hostile_text_becomes_neither_markup_nor_html_nor_link(hostile: Row) -> None:
    tokens = inline_tokens(render_markdown([hostile]))
    assert {token.type for token in tokens} <= {"text", "softbreak", "html_inline", "strong_open", "strong_close"}
    assert {token.content for token in tokens if token.type == "html_inline"} <= {OWN_HTML}
    strong = [after.content for token, after in pairwise(tokens) if token.type == "strong_open"]
    assert "b" not in strong
    assert "c" not in strong


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "`code`",
        "<script>alert(1)</script>",
        "](http://evil.example)",
        "[x](y)",
        "![i](z)",
        "&lt;",
        "\\|",
        "a_b_c",
    ],
)
def test_escaped_text_reads_as_it_was_written(text: str) -> None:
    assert shown(escape_markdown(text)) == clean(text)


@given(st.text(alphabet=st.sampled_from("ab *_`|<>[]()!#~&;\\\n:/@$.-"), max_size=40))
def test_any_text_survives_escaping_in_a_table_cell(text: str) -> None:
    assert shown(escape_markdown(text)) == clean(text)


def shown(escaped: str) -> str:
    """Return what a reader sees of a table's cell, which holds nothing but text."""
    tokens = inline_tokens(f"| h | i |\n|---|---|\n| x {escaped} x | y |\n")
    assert {token.type for token in tokens} <= {"text", "text_special"}, tokens
    cell = "".join(token.content for token in tokens).removeprefix("hix").removesuffix("xy")
    return cell.strip()


def test_addresses_in_a_text_are_not_made_into_links() -> None:
    assert "://" not in escape_markdown("see http://evil.example and ftp://x")
    assert "www." not in escape_markdown("www.evil.example")
    assert "@" not in escape_markdown("@someone")


def test_every_claim_pair_and_verdict_appears(record: Row) -> None:
    text = clean(" ".join(token.content for token in inline_tokens(render_markdown([record]))))
    for claim in record["speedclaims"]["claims"]:
        assert claim["text"] in text
        assert VERDICTS[claim["verdict"]].word in text
    for pair in record["speedclaims"]["pairs"]:
        assert pair["title"] in text
        assert (pair["reason"] or "") in text


def test_claims_whose_tests_were_not_in_the_run_are_counted(record: Row) -> None:
    assert "whose tests did not run" not in render_markdown([record])
    unasked = without_claims_asked()["speedclaims"]["claims"]
    record["speedclaims"]["claims"] += unasked
    text = render_markdown([record])
    assert "3 claims whose tests did not run." in text
    assert not any(claim["text"] in text for claim in unasked)


def test_an_unmet_requirement_stands_with_the_local_figure_beside_it(record: Row) -> None:
    assert "not measured: needs cuda (here on cpu: 0.95x \\[0.93, 0.97\\])" in render_markdown([record])


def test_the_same_record_gives_the_same_markdown() -> None:
    assert render_markdown([sample_record()]) == render_markdown([sample_record()])


def test_figures_of_one_test_are_told_apart_by_their_parameters() -> None:
    record = figures_alone()
    first, second = record["speedclaims"]["figures"]
    second |= {"title": first["title"], "name": "test_memory_over_epochs[reference]"}
    text = render_markdown([record])
    assert all(escape_markdown(f"{row['title']} ({row['name']})") in text for row in (first, second))


def test_claims_stand_under_their_documents_with_the_counts_of_their_verdicts(record: Row) -> None:
    for number, row in enumerate(record["speedclaims"]["claims"]):
        row["source"] = ("one.md", "two.md")[number % 2]
    section = render_markdown([record]).partition("## Claims")[2].partition("\n## ")[0]
    found = re.findall(r"^\| \*\*(.*?)\*\*: (.*?) \|", section, re.MULTILINE)
    assert [title for title, _ in found] == ["one.md", "two.md"]
    assert all(re.match(r"\d (confirmed|refuted|exceeded|ambiguous)", counts) for _, counts in found)


def test_pairs_of_a_project_without_families_have_no_heading() -> None:
    record = sample_record()
    assert "| **tabular\\_regressor** |" in render_markdown([record])
    for row in record["speedclaims"]["pairs"]:
        row["family"] = None
    text = render_markdown([record])
    assert "**None**" not in text
    assert "**tabular" not in text
