"""Reports of several records: speedups over the runs, a line for each machine, and a table of machines."""

import copy
import itertools
import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims import cli
from speedclaims.report.html.page import render_html, render_markdown, write_report
from speedclaims.report.model.formatting import clean
from speedclaims.report.model.gathering import gather
from speedclaims.report.model.machines import machines
from speedclaims.report.model.trend import runs, trends
from speedclaims.report.model.view import view_record
from tests.speedclaims.report.conftest import HOSTILE
from tests.speedclaims.report.history import EPYC, H200, XEON, history, hostile_history, only, pair_of, run_of, skip
from tests.speedclaims.report.sample import sample_record
from tests.speedclaims.report.test_html import FORBIDDEN, Page, without_own_script
from tests.speedclaims.report.test_markdown import num_columns, tables

LOADER, PERSISTENT = "test_loader_workers", "test_persistent_workers"


def followed(records):
    """Return the runs and the trends of records in any order."""
    ordered = gather(records).records
    told = runs(ordered, [view_record(record) for record in ordered])
    return told, trends(ordered, told)


def trend_of(records, name):
    """Return the only trend of a pair."""
    (found,) = [trend for trend in followed(records)[1] if trend.row.name == name]
    return found


def section(html, name):
    """Return one section of a page."""
    start = html.index(f'<section aria-labelledby="{name}">')
    return html[start : html.index("</section>", start)]


def markdown_section(text, title):
    """Return one section of a Markdown report."""
    start = text.index(f"\n## {title}\n") + 1
    return text[start : text.find("\n## ", start)]


# -- what is followed through the records --------------------------------------------------------------------------


def test_each_machine_has_a_line_of_its_own_with_its_newest_point_last():
    records = [run_of(day, machine=machine) for day in (5, 1, 9) for machine in (EPYC, XEON)]
    trend = trend_of(records, LOADER)
    assert [line.machine for line in trend.lines] == [EPYC, XEON]
    for line in trend.lines:
        assert [point.run.date[:10] for point in line.points] == ["2026-11-01", "2026-11-05", "2026-11-09"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("preset", "large"),
        ("before", "another"),
        ("after", "another"),
        ("work", "less"),
        ("units", 48),
        ("calls_after", 10),
        ("device", "cuda"),
    ],
)
def test_what_is_configured_differently_is_another_line(field, value):
    old, new = run_of(1), run_of(5)
    pair_of(new, LOADER)[field] = value
    _, found = followed([old, new])
    lines = [line for trend in found if trend.row.name == LOADER for line in trend.lines]
    assert [len(line.points) for line in lines] == [1, 1]
    # the others go on
    assert len(trend_of([old, new], PERSISTENT).points) == 2


def test_configurations_of_one_test_stand_together_and_say_what_sets_them_apart():
    records = [run_of(day) for day in (1, 5, 9, 13)]
    for record in records[2:]:
        pair_of(record, LOADER)["units"] = 48
    _, found = followed(records)
    names = [trend.row.name for trend in found]
    assert [trend.variant for trend in found if trend.row.name == LOADER] == ["units 48", "units 24"]
    assert names.index(LOADER) + 1 == len(names) - 1 - names[::-1].index(LOADER)
    html = section(render_html(records), "over-runs")
    assert "units 48" in html
    assert "units 24" in html


def test_a_skipped_pair_stays_in_its_line_and_breaks_it():
    records = [run_of(day) for day in (1, 5, 9, 13)]
    skip(pair_of(records[1], LOADER), "left out by -k")
    trend = trend_of(records, LOADER)
    assert [point.row.value is None for point in trend.points] == [False, True, False, False]
    assert trend.row.before == "reference"
    svg = drawing(records, LOADER)
    assert svg.count('class="gap"') == 1
    assert [len(points.split()) for points in re.findall(r'<polyline points="([^"]*)"', svg)] == [2]


def test_a_pair_skipped_on_a_machine_without_a_gpu_is_that_of_the_machine_with_one():
    """The row of a skipped test knows neither device nor preset."""
    gpu, cpu = run_of(1, machine=H200), run_of(5)
    skip(pair_of(cpu, LOADER), "needs a GPU")
    told, found = followed([gpu, cpu])
    (trend,) = [trend for trend in found if trend.row.name == LOADER]
    assert len(trend.lines) == 2
    ((_, cells),) = [row for row in machines(told, found).pairs if row[0].row.name == LOADER]
    assert [str(cell) for cell in cells] == [
        "not measured: needs a GPU",
        "1.21x [1.18, 1.25] (cuda · time limit before the precision asked for)",
    ]


def test_a_skipped_pair_is_what_was_last_measured_on_its_own_machine():
    records = [run_of(1), run_of(5, machine=XEON), run_of(9)]
    pair_of(records[1], LOADER)["preset"] = "large"
    skip(pair_of(records[2], LOADER), "left out by -k")
    lines = [line for trend in followed(records)[1] if trend.row.name == LOADER for line in trend.lines]
    assert sorted((line.machine, len(line.points)) for line in lines) == [(EPYC, 2), (XEON, 1)]


def test_two_runs_of_one_commit_and_moment_are_two_points():
    one, two = run_of(1, commit="a" * 40), run_of(1, factor=1.01, commit="a" * 40)
    (line,) = trend_of([one, two], LOADER).lines
    assert sorted(point.row.value for point in line.points) == pytest.approx([1.213, 1.213 * 1.01])
    assert drawing([one, two], LOADER).count('class="full"') == 2


def test_records_of_two_gpus_are_of_two_machines_though_the_host_has_one_name():
    records = [run_of(day, machine=H200) for day in (1, 5)]
    for record, gpu in zip(records, ("NVIDIA A100", "NVIDIA H200"), strict=True):
        environment = record["speedclaims"]["environment"]
        environment |= {"device_name": "the rack", "gpus": [{"name": gpu}]}
    told, found = followed(records)
    assert [run.machine for run in told] == ["the rack, NVIDIA H200", "the rack, NVIDIA A100"]
    assert {len(line.points) for trend in found for line in trend.lines} == {1}


def test_moments_are_compared_and_not_their_spelling():
    early, late = run_of(1), run_of(1, factor=1.5)
    early["datetime"], late["datetime"] = "2026-11-01T09:00:00+05:00", "2026-11-01T08:00:00+00:00"
    points = trend_of([late, early], LOADER).points
    assert [point.row.value for point in points] == pytest.approx([1.213, 1.213 * 1.5])


# -- what is said of the newest point ------------------------------------------------------------------------------


def changes(*of_runs):
    """Return what is told of the change of a pair with these speedups and intervals, None where it was skipped."""
    records = [run_of(day + 1) for day in range(len(of_runs))]
    for record, values in zip(records, of_runs, strict=True):
        if values is None:
            skip(pair_of(record, LOADER), "no data")
        else:
            pair_of(record, LOADER).update(zip(("speedup", "low", "high"), values, strict=True))
    return trend_of(records, LOADER).lines[0].change


def test_the_change_is_from_the_one_before_and_says_whether_the_intervals_overlap():
    assert changes((2.0, 1.9, 2.1), (1.0, 0.9, 1.1), (1.5, 1.4, 1.6)) == (
        "+50% from 1.0x [0.9, 1.1] (2026-11-02): the intervals do not overlap"
    )
    assert changes((2.0, 1.9, 2.1), (1.9, 1.8, 2.0)).endswith("(2026-11-01): the intervals overlap")
    assert changes((2.0, 1.9, 2.1), (1.9, 1.8, 2.0)).startswith("\u22125.0% from 2.0x")


def test_intervals_that_touch_overlap():
    assert changes((2.0, 1.5, 2.5), (3.0, 2.5, 3.5)).endswith("the intervals overlap")
    assert changes((3.0, 2.5, 3.5), (2.0, 1.5, 2.5)).endswith("the intervals overlap")


def test_what_cannot_be_compared_says_so():
    assert changes((2.0, None, None), (1.5, 1.4, 1.6)).endswith("no two intervals to compare")
    assert changes((2.0, 1.9, 2.1), None, (2.0, 1.9, 2.1)).startswith("no change from 2.0x [1.9, 2.1] (2026-11-01)")
    assert changes((2.0, 1.9, 2.1), None) == "before: 2.0x [1.9, 2.1] (2026-11-01)"
    assert changes(None, (2.0, 1.9, 2.1)) == "nothing earlier to compare with"


def test_no_significance_is_claimed():
    told = section(render_html(history()), "over-runs") + markdown_section(render_markdown(history()), "Over runs")
    assert not re.search(r"significan|\bregress|p-value", told)


# -- the page ------------------------------------------------------------------------------------------------------


def drawing(records, name):
    """Return the only drawing of a pair over the runs."""
    (svg,) = re.findall(
        rf'<svg class="trend"[^>]*aria-label="Speedups of {re.escape(name)} .*?</svg>', render_html(records)
    )
    return svg


def test_every_pair_with_a_speedup_is_drawn_and_the_others_are_listed():
    records = [run_of(1), run_of(5)]
    html = section(render_html(records), "over-runs")
    pairs = records[0]["speedclaims"]["pairs"]
    assert html.count('<svg class="trend"') == sum(pair["speedup"] is not None for pair in pairs) > 0
    listed = html[html.index("No run has a speedup") :]
    assert [pair["name"] for pair in pairs if pair["name"] in listed] == ["test_fused_optimizer", "test_cuda_graph"]
    assert "2 runs, newest not measured: no GPU on this machine" in clean(re.sub(r"<[^>]+>", " ", listed))


def test_points_stand_oldest_left_on_one_logarithmic_axis_with_a_line_at_one():
    records = [run_of(day) for day in (1, 5, 9)]
    for record, speedup in zip(records, (1.0, 2.0, 4.0), strict=True):
        pair_of(record, LOADER).update(speedup=speedup, low=speedup / 1.1, high=speedup * 1.1)
    svg = drawing(records, LOADER)
    places = [tuple(map(float, at)) for at in re.findall(r'<circle class="full" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    (_, first), (_, second), (_, third) = places
    assert first - second == pytest.approx(second - third, abs=0.15)
    assert first > second
    (one,) = re.findall(r'<line class="one"[^>]* y1="([\d.]+)"', svg)
    assert float(one) == pytest.approx(first, abs=0.06)
    whiskers = [tuple(map(float, at)) for at in re.findall(r'class="whisker"[^>]* y1="([\d.]+)" y2="([\d.]+)"', svg)]
    assert len(whiskers) == 3
    assert all(top < y < bottom for (top, bottom), (_, y) in zip(whiskers, places, strict=True))


def test_a_point_without_an_interval_is_hollow_and_one_of_a_changed_tree_has_a_ring():
    records = [run_of(1), run_of(5, dirty=True)]
    pair_of(records[0], LOADER).update(low=None, high=None)
    svg = drawing(records, LOADER)
    assert (svg.count('class="hollow"'), svg.count('class="full"'), svg.count('class="ring"')) == (1, 1, 1)
    assert svg.count('class="whisker"') == 1
    assert "commit 0505050 with local changes" in section(render_html(records), "over-runs")
    assert "| 1.21x, 1.21x\\* |" in markdown_section(render_markdown([records[1], run_of(1)]), "Over runs")


def test_machines_differ_in_colour_and_shape_up_to_twenty():
    records = [run_of(day, machine=f"machine {number:02d}") for number in range(20) for day in (1,)]
    html = section(render_html(only(records, LOADER)), "over-runs")
    legend = html[html.index('<p class="legend">') : html.index('<div class="cards')]
    marks = re.findall(r'class="trendmark (m\d)"[^>]*aria-label="(\w+)"', legend)
    assert len(marks) == len(set(marks)) == 20


def test_one_record_or_records_without_a_common_pair_have_no_trend():
    one, other = run_of(1), run_of(5)
    only([one], LOADER)
    only([other], PERSISTENT)
    for records in ([run_of(1)], [one, other]):
        assert 'id="over-runs"' not in render_html(records)
        assert "## Over runs" not in render_markdown(records)


def test_one_machine_has_no_tables_by_machine():
    records = [run_of(1), run_of(5)]
    assert "by-machine" not in render_html(records).partition("</style>")[2]
    assert "by machine" not in render_markdown(records)


def test_pairs_stand_by_machine_with_the_newest_of_each_whatever_the_device():
    html = section(render_html(history()), "by-machine")
    (row,) = [row for row in html.split("<tr>") if f"<code>{LOADER}</code>" in row]
    cells = [clean(re.sub(r"<[^>]+>", " ", cell)) for cell in re.findall(r"<td.*?</td>", row)]
    limit = "time limit before the precision asked for"
    assert cells == [
        f"1.359x [1.326, 1.397] cpu · {limit}",
        f"1.225x [1.196, 1.259] cpu · {limit}",
        f"1.19x [1.16, 1.22] cuda · {limit}",
    ]
    heads = re.findall(r'<th scope="col">.*?</th>', html)
    for head, name in zip(heads, (EPYC, XEON, H200), strict=True):
        assert name in head
    assert "times cannot" in html
    assert " ms" not in html


def test_a_cell_says_why_a_machine_has_no_such_pair():
    here, there = run_of(1), run_of(5, machine=XEON)
    pair_of(there, LOADER)["preset"] = "large"
    there["speedclaims"]["pairs"].remove(pair_of(there, PERSISTENT))
    told, found = followed([here, there])
    cells = {}
    for trend, row in machines(told, found).pairs:
        cells.setdefault(trend.row.name, []).append([str(cell) for cell in row])
    limit = "1.21x [1.18, 1.25] (cpu · time limit before the precision asked for)"
    assert cells[LOADER] == [
        ["configured differently there: preset smoke", limit],
        [limit, "configured differently there: preset large"],
    ]
    assert cells[PERSISTENT] == [["1.42x [1.38, 1.46] (cpu)", "not in its newest record"]]


def test_claims_stand_by_machine_with_verdict_and_what_was_measured():
    here, there = run_of(1), run_of(5, machine=XEON)
    claims = {claim["id"]: claim for claim in there["speedclaims"]["claims"]}
    better = {"measured": 1.2, "measured_low": 1.1, "measured_high": 1.3}
    claims["tabular-regressor.overall"].update(better, verdict="confirmed", overall="confirmed")
    claims["tabular-regressor.batch-size"]["high"] = 9.0
    there["speedclaims"]["claims"].remove(claims["tabular-regressor.persistent-workers"])
    html = section(render_html([here, there]), "claims-by-machine")
    found = {}
    for row in html.split("<tr>")[2:]:
        name = re.findall(r'class="under">(\S+)', row)[0]
        found.setdefault(name, []).append(
            [clean(re.sub(r"<[^>]+>", " ", cell)) for cell in re.findall(r"<td.*?</td>", row)]
        )
    assert found["tabular-regressor.overall"] == [
        ["≥ 1.05x", "▼ refuted 0.979x [0.972, 0.985]", "✓ confirmed 1.2x [1.1, 1.3]"]
    ]
    assert found["tabular-regressor.amp-speed"][0][1] == "○ not measured needs cuda (here on cpu: 0.95x [0.93, 0.97])"
    assert found["tabular-regressor.persistent-workers"][0][2] == "not in its newest record"
    assert {row[0] for row in found["tabular-regressor.batch-size"]} == {"1.5–2.5x", "1.5–9x"}  # noqa: RUF001
    assert "tabular-regressor.epochs" not in found
    text = markdown_section(render_markdown([here, there]), "Claims by machine")
    assert "| ▼ refuted: 0.979x \\[0.972, 0.985\\] | ✓ confirmed: 1.2x \\[1.1, 1.3\\] |" in text


def test_markdown_has_the_trend_newest_last():
    lines = markdown_section(render_markdown(history()), "Over runs").splitlines()
    (row,) = [line for line in lines if f"| {XEON} |" in line and escaped(LOADER) in line]
    assert "| 1.13x, 1.18x, 1.164x\\*, 1.225x |" in row
    assert "+5.2% from 1.164x" in row


def escaped(name):
    return name.replace("_", "\\_")


# -- nobody's text becomes markup ----------------------------------------------------------------------------------


def test_hostile_text_of_several_records_stays_text():
    html = without_own_script(render_html(hostile_history(), sources=[f"{number}{HOSTILE}" for number in range(3)]))
    page = Page(html)
    assert page.problems == []
    assert "<script" not in html
    assert "\x1b" not in html
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert html.count('<svg class="trend"') > 0
    for table in tables(render_markdown(hostile_history())):
        assert len({num_columns(line) for line in table}) == 1, table[0]


def test_a_page_of_several_records_is_whole():
    page = Page(render_html(history()))
    assert page.problems == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {href[1:] for _, attributes in page.tags if (href := attributes.get("href") or "").startswith("#")}
    assert targets <= set(ids)
    assert {"over-runs", "by-machine", "runs"} <= targets
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(a.get("role") == "img" and (a.get("aria-label") or a.get("aria-labelledby")) for a in drawings)
    for table in tables(render_markdown(history())):
        assert len({num_columns(line) for line in table}) == 1, table[0]


# -- any order, nothing lost ---------------------------------------------------------------------------------------


@st.composite
def some_records(draw):
    """Return small records of few moments and machines, some equal in moment, commit and machine, some repeated."""
    records = []
    for _ in range(draw(st.integers(1, 5))):
        machine, day = draw(st.sampled_from((EPYC, XEON, H200))), draw(st.integers(1, 3))
        factor = draw(st.sampled_from((0.9, 1.0, 1.1)))
        record = run_of(day, machine=machine, factor=factor, dirty=draw(st.booleans()))
        names = draw(st.sets(st.sampled_from((LOADER, PERSISTENT, "test_control", "test_cuda_graph"))))
        only([record], *names)
        for pair in record["speedclaims"]["pairs"]:
            pair["preset"] = draw(st.sampled_from(("smoke", "large")))
            if draw(st.booleans()):
                skip(pair, "not today")
        records.append(record)
    return records + draw(st.lists(st.sampled_from(records), max_size=2).map(copy.deepcopy))


@given(some_records(), st.randoms(use_true_random=False))
def test_any_order_of_the_records_gives_the_same_bytes(records, random):
    named = [(record, f"{number}.json") for number, record in enumerate(records)]
    shuffled = random.sample(named, len(named))
    for render in (render_html, render_markdown):
        texts = [render([r for r, _ in given], sources=[n for _, n in given]) for given in (named, shuffled)]
        assert texts[0] == texts[1]


@given(some_records())
def test_no_point_is_lost_and_none_is_told_twice(records):
    told, found = followed(records)
    points = [(point.run.age, point.row.index) for trend in found for point in trend.points]
    assert len(points) == len(set(points))
    distinct = {json.dumps(record, sort_keys=True) for record in records}
    assert len(told) == len(distinct)
    assert len(points) == sum(len(json.loads(text)["speedclaims"]["pairs"]) for text in distinct)
    for line in (line for trend in found for line in trend.lines):
        assert {point.run.machine for point in line.points} == {line.machine}
        assert all(old.run.age < new.run.age for old, new in itertools.pairwise(line.points))
        measured = {point.row.where for point in line.points if point.row.status != "not measured"}
        assert len(measured) <= 1
    page = render_html(records)
    if 'id="over-runs"' in page:
        drawn = section(page, "over-runs")
        followed_ones = [trend for trend in found if trend.has_past and trend.is_measured]
        num_marks = drawn[drawn.index('<div class="cards') :].count("<title>") - drawn.count('<svg class="trend"')
        num_legend = sum(len(trend.lines) for trend in found if trend.has_past)
        assert num_marks - num_legend == sum(len(trend.points) for trend in followed_ones)


# -- what is given -------------------------------------------------------------------------------------------------


def test_the_same_record_twice_is_shown_once_with_a_note():
    again = dict(reversed(copy.deepcopy(sample_record()).items()))
    records, names = [sample_record(), run_of(1), again], ["b.json", "c.json", "a.json"]
    html = render_html(records, sources=names)
    note = "The same record was given twice (a.json, b.json): it is shown once."
    assert note in html
    assert note in render_markdown(records, sources=names)
    assert "The newest of 2 runs." in html
    assert gather([sample_record()] * 3).notes == ("The same record was given 3 times: it is shown once.",)
    assert "is shown once" not in render_html(records[:2], sources=names[:2])


def test_of_copies_that_differ_in_the_order_of_their_keys_the_same_one_is_kept(tmp_path):
    copies = [sample_record(), dict(reversed(sample_record().items()))]
    for name, given_copies in (("a", copies), ("b", copies[::-1])):
        write_report(given_copies, tmp_path / name, sources=["record.json", "record.json"])
    assert (tmp_path / "a" / "record.json").read_bytes() == (tmp_path / "b" / "record.json").read_bytes()


def saved(folder, records):
    """Write records into a folder and return their paths."""
    paths = [folder / f"run{number:02d}.json" for number in range(len(records))]
    for path, record in zip(paths, records, strict=True):
        path.write_text(json.dumps(record))
    return paths


def test_the_command_draws_several_records_in_any_order_and_notes_a_repeated_one(tmp_path, capsys):
    paths = saved(tmp_path, history())
    shutil.copy(paths[3], tmp_path / "copy.json")
    given_paths = [*map(str, paths), str(tmp_path / "copy.json")]
    assert cli.main(["report", *given_paths, "-o", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().err == (
        "speedclaims: The same record was given twice (copy.json, run03.json): it is shown once.\n"
    )
    assert cli.main(["report", *reversed(given_paths), "-o", str(tmp_path / "b")]) == 0
    for name in ("index.html", "speedups.md", "record.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads((tmp_path / "a" / "record.json").read_text()) == history()[-1]
    assert section((tmp_path / "a" / "index.html").read_text(), "over-runs")


def another_version(path):
    record = json.loads(path.read_text())
    record["speedclaims"]["schema_version"] = 99
    path.write_text(json.dumps(record))


BAD = {
    "of another schema version": (another_version, "schema version 99, this speedclaims reads 1 to 2"),
    "damaged": (lambda path: path.write_bytes(path.read_bytes()[:-99]), "damaged or not JSON"),
    "missing": (lambda path: path.unlink(), "cannot be read"),
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", BAD)
def test_one_bad_record_among_several_is_refused_in_one_line(name, place, tmp_path, capsys):
    damage, words = BAD[name]
    paths = saved(tmp_path, [run_of(day) for day in (1, 5, 9)])
    write_report([run_of(1)], tmp_path / "out")
    before = (tmp_path / "out" / "index.html").read_bytes()
    damage(paths[place])
    assert cli.main(["report", *map(str, paths), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"speedclaims: {paths[place]}: ")
    assert words in error
    assert error.count("\n") == 1
    assert (tmp_path / "out" / "index.html").read_bytes() == before
