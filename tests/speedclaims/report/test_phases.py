"""The phases of a call in a report: all of them, in order, to scale, and never as a time to compare."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.recorders.phases.stopwatch import PHASES as RECORDED
from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.html.svg_phases import phases_svg
from speedclaims.report.model.formatting import format_scaled
from speedclaims.report.model.phases import PHASES, format_share, profiled_pairs
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.report.conftest import HOSTILE
from tests.speedclaims.report.sample import Row, figure, gpu_record, pair, profiled, sample_record, without_claims


def drawn(svg: str) -> ET.Element:
    """Return a drawing as a tree, which fails where it is not well-formed."""
    return ET.fromstring(svg)  # noqa: S314 - drawn by the code under test


def one_pair(before: Row, after: Row, name: str = "before") -> Row:
    """Return a pair with such a profile."""
    return pair("test_one", "One.", before=name, profile={"before": before, "after": after})


def test_the_report_knows_the_phases_that_are_recorded_in_their_order() -> None:
    assert tuple(PHASES) == RECORDED


@given(st.dictionaries(st.sampled_from(RECORDED), st.floats(1e-6, 1e3), min_size=1))
def test_the_segments_stand_end_to_end_and_fill_the_bar(seconds: dict[str, float]) -> None:
    side = profiled(None, **{name.replace(" ", "_"): value for name, value in seconds.items()})
    (found,) = profiled_pairs([one_pair(side, side)])
    bar = found.sides[0]
    assert [segment.phase for segment in bar.segments] == [name for name in RECORDED if name in seconds]
    assert sum(segment.share for segment in bar.segments) == pytest.approx(1)
    rects = [element for element in drawn(phases_svg(bar, bar.seconds)).iter() if element.tag == "rect"]
    reached = 0.0
    for rect in rects:
        assert float(rect.attrib["x"]) == pytest.approx(reached, abs=0.11)
        reached = float(rect.attrib["x"]) + float(rect.attrib["width"])
    assert reached == pytest.approx(1000, abs=0.2)


def test_the_shorter_side_has_the_shorter_bar() -> None:
    (found,) = profiled_pairs([one_pair(profiled(None, forward=4.0), profiled(None, other=1.0))])
    longest = max(bar.seconds for bar in found.sides)
    widths = [float(drawn(phases_svg(bar, longest)).find("g/rect").attrib["width"]) for bar in found.sides]  # type: ignore[union-attr]
    assert widths == [1000, 250]


def test_a_side_that_was_not_profiled_says_why() -> None:
    missing = {"busy": figure(None, "percent", "no"), "wall_s": figure(None, "s", "it was lost"), "phases": []}
    (found,) = profiled_pairs([one_pair(profiled(None, forward=1.0), missing)])
    assert (found.sides[1].told, found.sides[1].segments) == ("it was lost", ())
    assert profiled_pairs([one_pair(missing, missing), pair("test_old", "Older than the pass.")]) == ()


def test_a_hostile_label_stays_text() -> None:
    (found,) = profiled_pairs([one_pair(profiled(None, forward=1.0), profiled(None, other=1.0), name=HOSTILE)])
    svg = phases_svg(found.sides[0], 1.0)
    assert "<script" not in svg
    assert "alert(1)" in "".join(drawn(svg).itertext())


def test_a_small_share_is_not_called_zero() -> None:
    assert [format_share(share) for share in (0.0001, 0.0099, 0.01, 0.126, 1.0)] == [
        "under 1%", "under 1%", "1%", "13%", "100%",
    ]  # fmt: skip


def test_the_page_shows_both_sides_a_legend_and_the_ceilings() -> None:
    page = render_html([sample_record()])
    section = page[page.index('id="phases"') : page.index('id="drift"')]
    assert section.count('<svg class="phases"') == 2
    legend = re.findall(r'class="swatch phase ([\w-]+)"', section)
    assert legend == [
        "data-wait", "forward", "backward", "optimizer", "host-synchronization", "compiled-step", "other",
    ]  # fmt: skip
    assert "before, 202 ms" in section
    assert "Measured ceilings (torch, cpu)" in page
    assert "58.6 GFLOP/s" in page
    assert "not measured: no such unit" in page


def test_every_phase_has_a_colour_in_the_style_sheet() -> None:
    page = render_html([sample_record()])
    for name in PHASES:
        assert re.search(rf"\.{name.replace(' ', '-')} {{ fill: var\(--[a-z]+\)", page), name


def test_markdown_has_a_row_for_each_side_and_the_shares() -> None:
    text = render_markdown([sample_record()])
    assert "## Where the time goes" in text
    assert "data wait 54%, 110 ms" in text
    assert "| 184 MFLOP | 184 MFLOP |" in text
    assert "| 1.70% | 2.07% |" in text
    assert "GPU busy: the busy fraction is of a GPU: this ran on the CPU" in text
    assert "| 41.5% | 88.0% |" in render_markdown([gpu_record()])


def test_the_terminal_has_a_line_only_when_the_pass_ran() -> None:
    told = claims_summary(without_claims(), 400, color=False)
    line = next(line for line in told.splitlines() if line.startswith("Where the time"))
    assert "test_loader_workers" in line
    assert "data wait 54%" in line
    record = without_claims()
    for row in record["speedclaims"]["pairs"]:
        row.pop("profile", None)
    assert "Where the time" not in claims_summary(record, 400, color=False)


def test_large_numbers_have_a_prefix_chosen_after_rounding() -> None:
    values = (12.0, 999.9, 1.84e8, 9.999e8, 5e10, 7.3e14)
    assert [format_scaled(value, "FLOP") for value in values] == [
        "12.0 FLOP", "1.00 kFLOP", "184 MFLOP", "1.00 GFLOP", "50.0 GFLOP", "730 TFLOP",
    ]  # fmt: skip
