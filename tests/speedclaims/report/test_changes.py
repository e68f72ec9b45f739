"""Change points of a pair over many records, as apache-otava finds them: `tox -e history` has it."""

import copy
import random
import sys

import pytest

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.model.changes import change_points
from tests.speedclaims.report.sample import sample_record

COMMITS = [f"{number:07x}" for number in range(1, 25)]
CHANGED = 12


def noisy(*means):
    draw = random.Random(7)  # noqa: S311 - noise, not a secret
    return [mean * (1 + draw.gauss(0, 0.01)) for mean in means]


def records():
    """A record for each commit; the speedup of the first pair drops by a tenth at one of them."""
    values = noisy(*[2.0] * CHANGED, *[1.8] * (len(COMMITS) - CHANGED))
    found = []
    for number, (commit, value) in enumerate(zip(COMMITS, values, strict=True)):
        made = copy.deepcopy(sample_record())
        made["datetime"] = f"2026-01-{number + 1:02}T00:00:00+00:00"
        section = made["speedclaims"]
        section["environment"]["commit"] = {"id": commit, "dirty": False}
        section["pairs"] = section["pairs"][:1]
        section["pairs"][0].update({"speedup": value, "low": 0.99 * value, "high": 1.01 * value})
        section["claims"] = []
        found.append(made)
    return found


def test_a_change_is_found_where_it_is_and_by_how_much():
    pytest.importorskip("otava")
    (found,) = change_points(noisy(*[2.0] * 12, *[1.8] * 12))
    assert found.index == 12
    assert found.percent == pytest.approx(-10, abs=1)
    up = change_points(noisy(*[1.0] * 10, *[1.5] * 10, *[1.0] * 10))
    assert [one.index for one in up] == [10, 20]
    assert [one.percent > 0 for one in up] == [True, False]


def test_noise_alone_is_no_change():
    pytest.importorskip("otava")
    assert change_points(noisy(*[2.0] * 40)) == ()
    assert change_points([2.0]) == change_points([]) == ()


def test_the_report_marks_the_change_and_names_its_commit():
    pytest.importorskip("otava")
    html, markdown = render_html(records()), render_markdown(records())
    assert html.count('<line class="change"') == 1
    for text in (html, markdown.replace("\\", "")):
        assert f"from 2026-01-{CHANGED + 1:02}, commit {COMMITS[CHANGED]} on" in text
        assert "changed by −1" in text or "changed by −9" in text  # noqa: RUF001 - the report's minus


def test_without_the_package_nothing_is_marked(monkeypatch):
    monkeypatch.setitem(sys.modules, "otava.analysis", None)
    assert change_points(noisy(*[2.0] * 12, *[1.8] * 12)) == ()
    assert '<line class="change"' not in render_html(records())
