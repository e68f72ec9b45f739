"""All code of the documentation runs and prints what the pages show."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import Command, File, differs, steps

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if any(steps(path.read_text(encoding="utf-8")))
]
OF_THE_READER = ("python -m venv", "pip install speedclaims")
"""Commands that the reader needs and these tests do not: they have an environment."""
WHO = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A"), ("EMAIL", "a@example.org"))
}
QUICK = "-pno:hypothesispytest -pno:xdist -pno:cacheprovider --speedup-max-time=5"


def install(folder):
    """Let Python find the project of a folder with its entry points, as an installer does."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"{project['name']}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, names in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in names.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def follow(page, folder):
    """Do what a page says in a folder; return what went differently, a text for each command."""
    environment = {name: value for name, value in os.environ.items() if "XDIST" not in name and name != "CI"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "PYTEST_ADDOPTS": QUICK, **WHO}
    status, wrong, found = 0, [], steps(page)
    for number, step in enumerate(found):
        if isinstance(step, File):
            path = folder / step.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
        elif step.text == "echo $?":
            assert step.lines == [str(status)]
        elif step.text == "pip install .":
            install(folder)
            environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment.get("PYTHONPATH", "")])
        elif not step.text.startswith(OF_THE_READER):
            assert isinstance(step, Command)
            command = shlex.split(step.text)
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            status = done.returncode
            line = differs(step.lines, (done.stdout + done.stderr).splitlines())
            said = f"$ {step.text}\n{done.stdout}{done.stderr}"
            if line is not None:
                wrong.append(f"shown or printed alone: {line}\n{said}")
            is_asked = found[number + 1 : number + 2] == [Command("echo $?", [f"{status}"])]
            if status != 0 and not is_asked:
                wrong.append(f"ended with {status}: {said}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_a_page_shows_what_its_commands_print(page, tmp_path):
    assert follow(page.read_text(encoding="utf-8"), tmp_path) == []


def test_a_page_that_shows_something_else_is_noticed(tmp_path):
    page = '```python title="a.py"\nprint("1.5x faster")\n```\n```console\n$ python a.py\n{}\n$ echo $?\n0\n```\n'
    assert follow(page.format("2.5x faster"), tmp_path) == []
    assert follow(page.format("..."), tmp_path) == []
    for wrong in ("2.5x slower", "2.5x faster\nmore", "1 faster"):
        assert len(follow(page.format(wrong), tmp_path)) == 1
    failing = '```python title="a.py"\nraise SystemExit(3)\n```\n```console\n$ python a.py\n```\n'
    assert len(follow(failing, tmp_path)) == 1


def test_no_line_begins_with_a_marker():
    """Markdown takes such a line for HTML, and shows its links as they are written."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("README.md")]
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in pages
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.lstrip().startswith("<!-- speedclaims: ")
    ]
    assert wrong == []


CONFIRMED = re.compile(
    r"(?:≥ (?P<least>[\d.]+)x|≤ (?P<most>[\d.]+)x|(?P<from>[\d.]+)\u2013(?P<to>[\d.]+)x) .*"
    r" [\d.]+x \[(?P<low>[\d.]+), (?P<high>[\d.]+)\] .*confirmed"
)


def near_a_bound(page):
    """Return the confirmed claims of a page that another processor, or a busy one, may well not confirm."""
    found = []
    for one in CONFIRMED.finditer(page):
        low, high = float(one["low"]), float(one["high"])
        least, most = one["least"] or one["from"] or 0, one["most"] or one["to"] or "inf"
        if low < 1.3 * float(least) or 1.3 * high > float(most):
            found.append(one[0])
    return found


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "examples").rglob("README.md"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_page_shows_no_confirmed_claim_near_its_bounds(page):
    assert near_a_bound(page.read_text(encoding="utf-8")) == []


def test_a_confirmed_claim_near_its_bounds_is_noticed():
    line = "words  “faster”  {}   2.88x [2.82, 2.93]  ✓ confirmed  cpu\n"
    for bounds in ("2.5\u20134x", "2\u20133.5x", "≥ 2.5x", "≤ 3x"):
        assert len(near_a_bound(line.format(bounds))) == 1
    for bounds in ("2\u20134x", "≥ 2x", "≤ 4x"):
        assert near_a_bound(line.format(bounds)) == []


def test_the_reference_is_that_of_the_code():
    command = [sys.executable, str(ROOT / "docs" / "reference" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_that_is_not_printed_is_noticed():
    printed = ["one 1.5x", "two 3 µs", "three 3"]
    assert differs(["one 2.25x", "...", "three 3"], printed) is None
    assert differs(["...", "two 7.1 ms", "thr*"], printed) is None
    assert differs(["...", "three 4"], printed) == "three 4"
    assert differs(["one 2.25x", "two 7 µs"], printed) == "three 3"
    assert differs(["two"], printed) == "two"
    assert differs(["...", "four"], printed) == "four"
    assert differs(["one 1x", "three 3"], printed) == "three 3"
