"""A pair names its row of an ablation, and a wrong row is refused before anything is measured."""

import pytest

from speedclaims.record import io as record
from speedclaims.record.ablation import check_ablation, recorded
from tests.speedclaims.conftest import record_of

ROW = {"of": "fast", "kind": "ladder", "switches": {"cached": True, "fused": False}}


@pytest.mark.parametrize(
    ("kind", "on"),
    [
        ("ladder", (False, False, False)),
        ("ladder", (True, True, False)),
        ("ladder", (True, True, True)),
        ("leave_one_out", (True, False, True)),
        ("added_last", (True, False, True)),
    ],
)
def test_rows_of_all_kinds_are_taken_in_the_order_of_their_switches(kind, on):
    switches = dict(zip(("c", "a", "b"), on, strict=True))
    row = recorded({"of": "fast", "kind": kind, "switches": switches, "not_here": {"graph": "no GPU"}})
    assert [(one["name"], one["on"]) for one in row["switches"]] == list(switches.items())
    assert row["not_here"] == [{"name": "graph", "reason": "no GPU"}]
    assert recorded(None) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"of": ""}, "of is ''"),
        ({"kind": "some"}, "kind is 'some': it is one of ladder, leave_one_out, added_last"),
        ({"switches": {}}, "there are no switches"),
        ({"switches": ["cached"]}, "switches is"),
        ({"switches": {"cached": 1}}, "values of type bool"),
        ({"switches": {"": True}}, "switches is"),
        ({"switches": {"cached": False, "fused": True}}, "the first so many switches on"),
        ({"kind": "leave_one_out", "switches": {"cached": True, "fused": True}}, "all switches on but one"),
        ({"kind": "leave_one_out", "switches": {"cached": False, "fused": False}}, "all switches on but one"),
        (
            {"kind": "added_last", "switches": {"cached": True, "fused": True}},
            "a row of added_last has all switches on",
        ),
        ({"not_here": {"graph": None}}, "not_here is"),
        ({"not_here": {"fused": "no GPU"}}, "fused stands among switches and among not_here"),
        ({"surprise": 1}, "give a mapping with of, kind, switches"),
    ],
)
def test_what_is_no_row_is_refused_and_says_why(changes, words):
    check_ablation(ROW)
    with pytest.raises(ValueError, match="ablation") as caught:
        check_ablation(ROW | changes)
    assert words in str(caught.value)


def test_something_else_than_a_mapping_is_refused():
    with pytest.raises(ValueError, match="give a mapping with of, kind, switches"):
        check_ablation(["ladder"])


REFUSED = """
from pathlib import Path

def test_row(pair):
    never = Path("ran").touch
    pair(before=never, after=never, ablation={"of": "fast", "kind": "ladder", "switches": {"a": False, "b": True}})
"""


def test_the_fixture_refuses_before_a_side_runs(project):
    project.write(test_r_py=REFUSED)
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ValueError: ablation: a row of a ladder has the first so many switches on*"])
    assert not (project.path / "ran").exists()


ABLATION = """
import pytest

ROWS = {
    "none": ("ladder", (False, False), 16),
    "+cached": ("ladder", (True, False), 4),
    "+fused": ("ladder", (True, True), 4),
    "-cached": ("leave_one_out", (False, True), 16),
    "-fused": ("added_last", (True, False), 4),
}

def work(size):
    return lambda: sum(range(2_000 * size))

def plain():
    return work(16)()

@pytest.mark.parametrize("label", ROWS)
def test_switches(pair, label):
    "Sums with some switches against those without."
    kind, on, size = ROWS[label]
    before, after = plain, work(size)
    after.label = label
    if kind == "added_last":
        before, after = after, work(4)
    ablation = {"of": "sums", "kind": kind, "switches": dict(zip(("cached", "fused"), on, strict=True)),
                "not_here": {"graph": "there is no GPU"}}
    pair(before=before, after=after, ablation=ablation)

def test_alone(pair):
    pair(before=plain, after=work(4))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The record of a real run with an ablation of two switches, the second of which does nothing."""
    # Rough intervals are enough for four times the work, but there must be intervals, on a busy machine too.
    folder = tmp_path_factory.mktemp("project")
    return record_of(folder, ABLATION, "--speedup-max-time=20", "--speedup-precision=0.3")


def test_a_run_records_its_rows_and_the_report_sets_them_in_order(saved):
    section = record.read(saved)["speedclaims"]
    *rows, alone = section["pairs"]
    assert "ablation" not in alone
    assert [row["ablation"]["kind"] for row in rows] == ["ladder"] * 3 + ["leave_one_out", "added_last"]
    page = (saved.parent / "index.html").read_text()
    text = (saved.parent / "speedups.md").read_text()
    assert page.count('<svg class="waterfall"') == 1
    assert "## What each switch brings" in text
    (line,) = (line for line in text.splitlines() if line.startswith("| + cached"))
    assert line.endswith("| faster |")
    assert "graph: there is no GPU" in text
    assert "graph: there is no GPU" in page


@pytest.mark.parametrize(
    "ablation",
    [
        {"of": "a", "kind": "ladder", "switches": []},
        {"of": "a", "kind": "some", "switches": [{"name": "b", "on": True}], "not_here": []},
        {"of": "a", "kind": "ladder", "switches": [{"name": "b", "on": 1}], "not_here": []},
        {"of": "a", "kind": "ladder", "switches": [{"name": "b", "on": True, "x": 1}], "not_here": []},
    ],
)
def test_a_record_whose_row_is_none_is_refused(saved, ablation):
    broken = record.read(saved)
    broken["speedclaims"]["pairs"][0]["ablation"] = ablation
    with pytest.raises(record.RecordError, match="ablation"):
        record.validate(broken)
