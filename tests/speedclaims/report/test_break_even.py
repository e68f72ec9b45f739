"""The number of calls after which a slower first call breaks even, and the text where there is none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.model.break_even import first_call, num_calls
from tests.speedclaims.report.sample import Row, figure, pair, sample_record

SECONDS = st.floats(1e-3, 1e3)


def cold(before: float | None, after: float | None, **changes: Any) -> Row:
    """Return a pair that takes 3 s before and 1 s after, with such first calls."""
    timed = {"before_s": 3.0, "after_s": 1.0, "speedup": 3.0, "low": 2.9, "high": 3.1, "units": 1}
    first = {
        "cold_before_s": figure(before, "s", "the cold pass did not run"),
        "cold_after_s": figure(after, "s", "the cold pass did not run"),
    }
    return pair("test_one", "One.", **(timed | first | changes))


@given(SECONDS, SECONDS, SECONDS, st.floats(1e-3, 0.99))
def test_before_that_many_calls_it_is_not_amortized_and_after_them_it_is(
    first_before: float, more: float, before: float, share: float
) -> None:
    after, first_after = before * share, first_before + more
    number = num_calls(first_after - first_before, before - after)

    def ahead(calls: int) -> float:
        return (first_before + calls * before) - (first_after + calls * after)

    slack = 1e-9 * (first_after + (number + 1) * before)
    assert ahead(number) >= -slack
    assert number == 0 or ahead(number - 1) <= slack


@pytest.mark.parametrize(("more", "saved", "number"), [(10, 2, 5), (10.1, 2, 6), (0.1, 2, 1), (0, 2, 0), (-1, 2, 0)])
def test_a_part_of_a_call_counts_as_a_whole_one(more: float, saved: float, number: int) -> None:
    assert num_calls(more, saved) == number


def test_it_says_after_how_many_calls_and_how_many_units_they_are() -> None:
    text = first_call(cold(4.0, 14.5))
    assert text == "first call 4.00 s before, 14.5 s after: amortized after 6 further calls"
    assert first_call(cold(4.0, 5.0)).endswith("amortized after 1 further call")
    assert first_call(cold(4.0, 14.5, units=24)).endswith("amortized after 6 further calls (144 units)")


SLOWER = {"after_s": 4.0, "speedup": 0.75, "low": 0.74, "high": 0.76}
EVEN = {"after_s": 2.9, "speedup": 1.03, "low": 0.98, "high": 1.08}
SHORT = {"low": None, "high": None, "status": "too_few_rounds", "reason": "too few rounds"}
NONE = {"before_s": None, "after_s": None, "speedup": None, "low": None, "high": None, "status": "withheld"}


@pytest.mark.parametrize(
    ("first", "changes", "words"),
    [
        ((4.0, 4.0), {}, "amortized from the first call"),
        ((4.0, 2.0), {}, "amortized from the first call"),
        ((4.0, 2.0), EVEN, "amortized from the first call"),
        ((4.0, 14.0), SLOWER, "never amortized, because each further call is slower too"),
        ((4.0, 2.0), SLOWER, "ahead for 2 further calls only"),
        ((4.0, 14.0), EVEN, "whether it is ever amortized is unknown"),
        ((4.0, 14.0), {"after_s": 3.1}, "whether it is ever amortized is unknown"),
        ((4.0, 14.0), SHORT, "the calls to break even are unknown: the speedup has no interval"),
        ((4.0, 14.0), {**NONE, "reason": "losses differ"}, "the calls to break even are not measured: losses differ"),
        ((4.0, 14.0), {"calls_before": 250, "calls_after": 100}, "no number of calls to break even, because"),
        ((4.0, None), {}, "first call after not measured: the cold pass did not run"),
    ],
)
def test_where_there_is_no_such_number_it_says_why(first: tuple[float, float | None], changes: Row, words: str) -> None:
    text = first_call(cold(*first, **changes))
    assert words in text
    assert "amortized after" not in text


def test_without_the_pass_nothing_is_said_beside_the_pair() -> None:
    assert first_call(cold(None, None)) == ""


def test_the_page_and_the_markdown_say_it_beside_the_pair() -> None:
    # saves 71.4 ms a call of 24 units, and the first call takes 2.45 s longer
    words = "1.92 s before, 4.37 s after: amortized after 35 further calls (840 units)"
    assert f"first call {words}" in render_html([sample_record()])
    markdown = render_markdown([sample_record()])
    (line,) = (line for line in markdown.splitlines() if "(test\\_persistent\\_workers)" in line)
    assert f"first call {words}" in line
    assert "never amortized, because each further call is slower too" in markdown  # test_optimized_trainer


def test_the_share_of_the_ceiling_stands_beside_each_side() -> None:
    page = render_html([sample_record()])
    pairs = page[page.index('id="pairs"') : page.index('id="phases"')]
    for share in ("1.70% of the ceiling", "2.07% of the ceiling"):
        assert pairs.count(share) == 1
        assert share in render_markdown([sample_record()])
