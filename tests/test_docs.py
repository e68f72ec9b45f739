"""The pages in docs/ name tests, files and verdicts that exist."""

import ast
import functools
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from speedclaims.docs import differences, read_page, read_records

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "changelog.d" / "README.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]
NOT_SOURCES = {"__pycache__", "build", "dist", "runs"}

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
INLINE_LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE_USE = re.compile(r"\]\[([^\]\n]+)\]")
DEFINITION = re.compile(r"^\[([^\]\n]+)\]: (\S+)$", re.MULTILINE)
NAMED_TEST = re.compile(r"`(test_\w+)`")
LINKED_TEST = re.compile(r"\[`(test_\w+)`\]\[([^\]\n]+)\]")


@functools.cache
def sources():
    """Files of the checkout by name, wherever they are; without hidden folders and what builds and runs leave."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_SOURCES]
        for name in names:
            found.setdefault(name, []).append(Path(folder, name))
    return found


@functools.cache
def names_of_tests(path):
    """Return the names of the test functions in a file; none where there is no such file."""
    if not path.is_file():
        return set()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def prose(text):
    """Return a page's text without code."""
    return CODE.sub("", FENCE.sub("", text))


def relative_links(text):
    """Return the targets of a page's links that lead to files, and references that are not defined."""
    text = prose(text)
    defined = dict(DEFINITION.findall(text))
    undefined = [name for name in REFERENCE_USE.findall(DEFINITION.sub("", text)) if name not in defined]
    targets = [*INLINE_LINK.findall(text), *defined.values()]
    return [target for target in targets if not re.match(r"[a-z]+:|#", target)], undefined


def misnamed(text):
    """Return the tests that a page in docs/ names and that are not in the file it links them to."""
    files = {name: DOCS / target for name, target in DEFINITION.findall(text)}
    linked = LINKED_TEST.findall(text)
    unlinked = set(NAMED_TEST.findall(text)) - {test for test, _ in linked}
    return [test for test, name in linked if test not in names_of_tests(files.get(name, DOCS))] + sorted(unlinked)


def listed_verdicts(text, heading):
    """Return the words of the table under a heading."""
    (section,) = re.findall(rf"^### {heading}$(.*?)^#", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def verdicts_of_records(kinds):
    """Return the verdicts that the record's schema allows in rows of some kinds."""
    (path,) = sources()["record.schema.json"]
    definitions = json.loads(path.read_text(encoding="utf-8"))["definitions"]
    found = [definitions[kind]["properties"]["verdict"] for kind in kinds]
    return {word for one in found for word in one["enum"]}


def words_of_the_plugin():
    """Return all text constants of the plugin's modules."""
    folders = {path: path.relative_to(ROOT).parts[:-1] for paths in sources().values() for path in paths}
    trees = (
        ast.parse(path.read_text(encoding="utf-8"))
        for path, parts in folders.items()
        if path.suffix == ".py" and "speedclaims" in parts and "tests" not in parts
    )
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.fixture(scope="module")
def properties():
    return (DOCS / "properties.md").read_text(encoding="utf-8")


def test_every_property_has_its_heading_and_a_test(properties):
    headings = re.findall(r"^### (\d+)\. .*$", properties, re.MULTILINE)
    assert [int(number) for number in headings] == list(range(1, 46))
    sections = re.split(r"^##+ .*$", properties, flags=re.MULTILINE)
    titles = re.findall(r"^##+ .*$", properties, re.MULTILINE)
    for title, section in zip(titles, sections[1:], strict=True):
        assert LINKED_TEST.search(section) or not title.startswith("### "), title


def test_every_test_that_the_properties_name_exists(properties):
    assert len(LINKED_TEST.findall(properties)) >= 45
    assert misnamed(properties) == []


def test_a_test_that_does_not_exist_is_noticed(properties):
    assert misnamed(properties.replace("`test_21_", "`test_121_")) != []
    assert misnamed(properties + "\n`test_of_nothing`\n") == ["test_of_nothing"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page):
    targets, undefined = relative_links(page.read_text(encoding="utf-8"))
    assert undefined == []
    assert [target for target in targets if not (page.parent / target.partition("#")[0]).exists()] == []


def test_no_figure_of_a_page_contradicts_the_newest_record(monkeypatch):
    monkeypatch.chdir(ROOT)
    pages = [read_page(page) for page in PAGES]
    assert any(page.places for page in pages)
    assert differences(pages, read_records([Path("reports/recorded")]), None, datetime.now(UTC)) == []


def test_links_are_found_but_for_those_in_code():
    text = "[a](b.md) [`c`][d] ![e](f.png) `[g](h.md)` [i](https://j.k)\n```\n[l](m.md)\n```\n\n[d]: n.py\n[o][p]\n"
    assert relative_links(text) == (["b.md", "f.png", "n.py"], ["p"])


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [("Verdicts", ["RecordedClaim", "RecordedAudit"]), ("Verdicts of the gate", ["RecordedChange"])],
)
def test_the_verdicts_of_the_vocabulary_are_those_of_the_code(heading, kinds):
    listed = listed_verdicts((DOCS / "vocabulary.md").read_text(encoding="utf-8"), heading)
    assert len(listed) == len(set(listed))
    assert set(listed) == verdicts_of_records(kinds)
    assert set(listed) <= words_of_the_plugin()
