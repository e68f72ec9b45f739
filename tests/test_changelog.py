"""The fragments of the changelog: their names, and that a release can collect them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
FOLDER = ROOT / SETTINGS["directory"]
TYPES = [one["directory"] for one in SETTINGS["type"]]
NAME = re.compile(rf"\+[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(TYPES)})\.md")
"""As changelog.d/README.md describes it. The plus sign says that there is no issue to link to."""


def wrong(folder):
    """Return the files of a folder that are no fragments, and the fragments that say nothing."""
    files = [path for path in folder.iterdir() if path.name not in SETTINGS["ignore"]]
    return sorted(
        path.name for path in files if not NAME.fullmatch(path.name) or not path.read_text(encoding="utf-8").strip()
    )


def test_every_fragment_has_a_valid_name_and_a_text():
    assert wrong(FOLDER) == []


@pytest.mark.parametrize(
    "name", ["new.added.md", "+new.news.md", "+new.md", "+New.added.md", "+new.added.txt", "12.md"]
)
def test_a_wrong_name_would_be_seen(name, tmp_path):
    (tmp_path / name).write_text("Text.")
    (tmp_path / "README.md").write_text("Text.")
    (tmp_path / "+good-one.fixed.md").write_text("Text.")
    (tmp_path / "+empty.fixed.md").write_text("\n")
    assert wrong(tmp_path) == sorted(["+empty.fixed.md", name])


def test_the_types_are_the_headings_of_the_changelog():
    text = (ROOT / SETTINGS["filename"]).read_text(encoding="utf-8")
    names = [one["name"] for one in SETTINGS["type"]]
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= set(names)
    assert [name.lower() for name in names] == TYPES


def test_the_line_below_which_a_release_is_written_is_in_the_changelog_once():
    text = (ROOT / SETTINGS["filename"]).read_text(encoding="utf-8")
    assert text.count(SETTINGS["start_string"]) == 1
    assert text.index("\n## ") > text.index(SETTINGS["start_string"])
