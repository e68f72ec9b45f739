"""The utilization over time, as a plot and as text."""

import copy

import pytest

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.html.svg_timeline import timeline_svg
from speedclaims.report.model.timeline import timelines
from speedclaims.report.model.view import view_record
from tests.speedclaims.report.sample import gpu_record, sides, timeline


def pairs_of(record):
    return [row for row in record["speedclaims"]["pairs"] if row["speedup"] is not None]


def test_each_value_is_drawn_over_the_time_that_it_stands_for():
    row = {"gpu_timeline": {"before": timeline([1.0, 2.0], [0.0, 100.0]), "after": timeline([2.0], [50.0])}}
    drawing = timeline_svg(timelines(row), title="t")
    assert 'class="before" points="40.0,80.0 180.0,80.0 180.0,5.0 320.0,5.0"' in drawing
    assert 'class="after" points="40.0,42.5 320.0,42.5"' in drawing
    assert ">2.0 s</text>" in drawing


def test_a_pair_without_samples_has_no_drawing():
    nothing = timeline([], [], "window_too_short: 0.10 s, it takes 2 s")
    assert timelines({"gpu_timeline": {"before": nothing, "after": nothing}}) == ()
    assert timelines({}) == ()


def test_one_side_alone_is_drawn_and_the_other_one_says_why():
    record = gpu_record()
    for row in pairs_of(record):
        row["gpu_timeline"]["after"] = timeline([], [], "NVMLError_GpuIsLost: <b>lost</b>")
    page = render_html([record])
    assert "after: not measured: NVMLError_GpuIsLost: &lt;b&gt;lost&lt;/b&gt;" in page
    assert '<polyline class="before"' in page
    assert '<polyline class="after"' not in page


def test_the_page_draws_every_pair_that_was_watched():
    record = gpu_record()
    page = render_html([record])
    assert page.count('<svg class="timeline"') == len(pairs_of(record)) > 0


def test_energy_is_told_as_units_per_joule_too_and_only_amounts_have_a_ratio():
    record = gpu_record()
    for row in pairs_of(record):
        row["units"] = 824
        row["gpu"]["energy_j"] = sides(412.0, 206.0, "J")
    tables = {table.title: table for table in view_record(record).figures}
    rate = tables["GPU: units per joule"].rows[0]
    assert (rate.before, rate.after) == ("2.00 1/J", "4.00 1/J")
    assert all(row.ratio for row in tables["GPU: energy"].rows)
    assert not any(row.ratio for row in tables["GPU: temperature"].rows)
    assert not any(row.ratio for row in tables["GPU: other processes"].rows)


def test_energy_that_could_not_be_read_gives_no_rate():
    record = gpu_record()
    for row in pairs_of(record):
        row["gpu"]["energy_j"] = sides(None, None, "J", reason="NVMLError_NotSupported")
    assert "units per joule" not in {table.title for table in view_record(record).figures}
    assert "NVMLError_NotSupported" in render_html([record])


@pytest.mark.parametrize(("number", "others"), [(1, "1 other process"), (3, "3 other processes")])
def test_others_on_the_gpu_are_told_in_the_pairs_row(number, others):
    record = copy.deepcopy(gpu_record())
    row = pairs_of(record)[0]
    assert "used the GPU meanwhile" not in render_markdown([record])
    row["gpu"]["other_processes"] = sides(0, number, "1")
    assert f"{others} used the GPU meanwhile" in render_html([record])
    assert f"{others} used the GPU meanwhile" in render_markdown([record])
