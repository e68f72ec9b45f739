"""Plots show every row, have no outside reference, and place their values right."""

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.report.html.page import render_html
from speedclaims.report.html.svg import (
    Strip,
    axis_limits,
    axis_ticks,
    drift_svg,
    spread_text,
    strip_limits,
    strip_svg,
    thin,
)
from speedclaims.report.html.svg_forest import ForestRow, forest_svg
from tests.speedclaims.report.conftest import HOSTILE
from tests.speedclaims.report.sample import Row, log_ratios

RATIOS = st.floats(min_value=1e-4, max_value=1e5)


def drawn(svg: str) -> ET.Element:
    """Return a drawing as a tree, which fails where it is not well-formed."""
    return ET.fromstring(svg)  # noqa: S314 - drawn by the code under test


def test_a_forest_names_every_row_and_draws_what_has_no_speedup_as_words() -> None:
    rows = [
        ForestRow("first", "a → b", "1.42x [1.38, 1.46]", 1.42, 1.38, 1.46, claimed=((1.5, None),)),
        ForestRow("second", "c → d", "not measured: no GPU", None, None, None),
        ForestRow("third", "e → f", "2x", 2.0, None, None, work="less"),
    ]
    text = "".join(drawn(forest_svg(rows, title="plot")).itertext())
    assert all(word in text for row in rows for word in (row.label, row.sublabel, row.text))


def test_a_hostile_label_stays_text() -> None:
    svg = forest_svg([ForestRow(HOSTILE, "$\\frac{", HOSTILE, 1.0, 0.9, 1.1)], title=HOSTILE)
    assert "<script" not in svg
    assert "$\\frac{" in "".join(drawn(svg).itertext())
    assert "<script" not in drift_svg([0.0, 0.1], title=HOSTILE, low=None, high=None)


def test_no_drawing_sets_a_colour_or_font_of_its_own() -> None:
    rows = [ForestRow("a", "b", "1x", 1.0, 0.9, 1.1, work, claimed=((0.8, None),)) for work in ("same", "less")]
    drawings = [
        forest_svg(rows, title="plot", noise=0.01),
        drift_svg([0.0, 0.1], title="drift", low=None, high=None),
        strip_svg(Strip(1.0, 2.0, 1.5, 1.4, 1.6, "good"), (0.5, 3.0), title="strip"),
    ]
    for svg in drawings:
        own = {name for element in drawn(svg).iter() for name in element.attrib}
        assert not own & {"style", "fill", "stroke", "color", "font-family", "font-size", "href"}
        assert not {element.tag for element in drawn(svg).iter()} & {"style", "image", "use"}


def test_every_class_of_a_drawing_is_in_the_style_sheet(any_record: Row) -> None:
    page = render_html([any_record])
    style, body = re.findall(r"<style>.*?</style>", page, re.DOTALL)[0], "".join(re.findall(r"<svg.*?</svg>", page))
    classes = {name for each in re.findall(r'class="([^"]*)"', body) for name in each.split()}
    assert {name for name in classes if f".{name}" not in style} == set()


@pytest.mark.parametrize("work", ["same", "less", "different"])
def test_a_forest_tells_the_work_by_the_shape_of_the_mark_and_a_missing_interval_by_a_hollow_one(work: str) -> None:
    sure = forest_svg([ForestRow("a", "", "2x", 2.0, 1.9, 2.1, work)], title="plot")
    unsure = forest_svg([ForestRow("a", "", "2x", 2.0, None, None, work)], title="plot")
    assert (sure.count('class="full"'), sure.count('class="hollow"')) == (1, 0)
    assert (unsure.count('class="full"'), unsure.count('class="hollow"')) == (0, 1)
    assert ("<circle" in sure) == (work == "same")


def test_a_forest_s_interval_lies_around_its_point_and_right_of_1() -> None:
    svg = drawn(forest_svg([ForestRow("a", "", "2x", 2.0, 1.5, 3.0)], title="plot"))
    (one,) = (float(line.attrib["x1"]) for line in svg.iter("line") if line.attrib["class"] == "one")
    (whisker,) = (line.attrib for line in svg.iter("line") if line.attrib["class"] == "whisker")
    (point,) = (float(circle.attrib["cx"]) for circle in svg.iter("circle"))
    assert one < float(whisker["x1"]) < point < float(whisker["x2"]) < 890


def test_a_label_in_any_script_draws_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert "速度" in forest_svg([ForestRow("速度", "", "1x", 1.0, None, None)], title="plot")
    assert not recwarn.list


@given(st.lists(RATIOS, max_size=8))
def test_an_axis_holds_every_value_and_one_and_has_few_round_ticks(values: list[float]) -> None:
    low, high = axis_limits(values)
    assert low < min([1.0, *values]) <= max([1.0, *values]) < high
    ticks = axis_ticks(low, high)
    assert any(math.isclose(tick, 1.0) for tick in ticks)
    assert all(low <= tick <= high for tick in ticks)
    assert 1 <= len(ticks) <= 10


def test_a_drift_shows_first_low_then_high() -> None:
    svg = drift_svg([-0.1, 0.0, 0.1], title="rising", low=0.95, high=1.05)
    heights = [float(element.attrib["cy"]) for element in drawn(svg).iter("circle")]
    assert heights == sorted(heights, reverse=True)


def test_equal_rounds_draw_a_flat_line() -> None:
    svg = drift_svg([0.2] * 5, title="flat", low=math.exp(0.2), high=math.exp(0.2))
    assert len({element.attrib["cy"] for element in drawn(svg).iter("circle")}) == 1


def test_thousands_of_rounds_stay_a_small_drawing_and_keep_their_drift() -> None:
    values = log_ratios(1.0, 5000, drift=0.2)
    thinned = thin(values)
    assert len(thinned) <= 160
    assert thinned[-1] - thinned[0] > 0.15


def test_the_spread_is_told_as_per_cent_of_the_median() -> None:
    assert spread_text([math.log(0.98), 0.0, math.log(1.05)]) == "−2.0% to +5.0%"  # noqa: RUF001 - as it is shown


@pytest.mark.parametrize("bounds", [(None, None), (1.5, None), (None, 2.0), (1.5, 2.0), (0.0, 2.0)])
def test_a_strip_stays_inside_its_axis(bounds: tuple[float | None, float | None]) -> None:
    strip = Strip(*bounds, 1.7, 1.6, 1.8, "good")
    svg = drawn(strip_svg(strip, strip_limits([strip]), title="claimed and measured"))
    for bar in svg.iter("rect"):
        assert float(bar.attrib["x"]) >= 0
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= 150.1


def test_importing_the_report_imports_nothing_heavy() -> None:
    heavy = ["matplotlib", "jinja2", "rich", "numpy", "torch", "tensorflow"]
    code = (
        "import sys; import speedclaims.report.html.page, speedclaims.report.terminal.summary;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
