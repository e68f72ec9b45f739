"""One entry in a list of columns is one column in every rendering."""

import re

import pytest

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.model import columns
from speedclaims.report.model.columns import MARKDOWN, PAGE, TERMINAL, Cell, Column, Part
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.report.sample import Row, sample_record, without_claims

LISTS = ("PAIRS", "CLAIMS", "AUDIT", "VALUES", "FIGURES", "LADDER", "RUNS")


def rendered(record: Row) -> dict[str, str]:
    """Return a record in every rendering."""
    return {
        PAGE: render_html([record]),
        MARKDOWN: render_markdown([record]),
        TERMINAL: claims_summary(record, 160, color=False),
    }


def added(monkeypatch: pytest.MonkeyPatch, name: str, places: tuple[str, ...], text: str = "blue") -> None:
    """Add a column with the same text in each row to a list."""

    def cell(_: object) -> Cell:
        return (Part(text),) if text else ()

    monkeypatch.setattr(columns, name, (*getattr(columns, name), Column("Colour", cell, places=places)))


@pytest.mark.parametrize("name", ["PAIRS", "CLAIMS"])
@pytest.mark.parametrize("places", [(PAGE, MARKDOWN, TERMINAL), (PAGE,), (MARKDOWN,), (TERMINAL,)])
def test_an_entry_in_the_list_is_a_column_in_its_places(
    monkeypatch: pytest.MonkeyPatch, name: str, places: tuple[str, ...]
) -> None:
    record = without_claims() if name == "PAIRS" else sample_record()
    added(monkeypatch, name, places)
    for place, text in rendered(record).items():
        assert (re.search("colour", text, re.IGNORECASE) is not None) == (place in places), place
        assert ("blue" in text) == (place in places), place


def test_a_column_that_is_empty_in_every_row_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    added(monkeypatch, "PAIRS", (PAGE, MARKDOWN, TERMINAL), text="")
    assert not [place for place, text in rendered(without_claims()).items() if "colour" in text.lower()]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("place", [PAGE, MARKDOWN, TERMINAL])
def test_no_rendering_has_two_columns_of_one_title(name: str, place: str) -> None:
    titles = [column.title for column in getattr(columns, name) if place in column.places]
    assert len(titles) == len(set(titles))


def test_a_pair_without_a_speedup_shows_its_reason_in_place_of_its_figures() -> None:
    record = sample_record()
    rows = re.findall(r'<tr role="row" id="pair-[^>]+>.*?</tr>', render_html([record]), re.DOTALL)
    for pair, row in zip(record["speedclaims"]["pairs"], rows, strict=True):
        assert ('colspan="5"' in row) == (pair["speedup"] is None)
        assert (pair["reason"] or "") in row


def test_the_rates_of_both_sides_show_where_a_call_does_several_units() -> None:
    record = without_claims()
    for place, text in rendered(record).items():
        assert re.search("units per second", text, re.IGNORECASE), place
        assert re.search(r"130\D+158", text), place  # 24 units in 184.6 ms and in 152.0 ms
    for pair in record["speedclaims"]["pairs"]:
        pair["units"] = 1
    assert not [place for place, text in rendered(record).items() if "units per second" in text.lower()]


def test_a_terminal_without_room_leaves_out_the_rates_before_the_names_of_the_sides() -> None:
    record = without_claims()
    shown = {width: claims_summary(record, width, color=False) for width in range(60, 161, 5)}
    has_rates = [width for width, text in shown.items() if "units per second" in text]
    has_names = [width for width, text in shown.items() if "before → after" in text]
    assert has_rates
    assert set(has_rates) < set(has_names)
