"""The commit that made a test slower is found, in a real history."""

import pytest

from speedclaims import cli
from tests.speedclaims.conftest import knowing_the_cpu
from tests.speedclaims.revisions.repositories import commit, contents, git, repository, write

WORK = "def total(number):\n    return {more}sum(range(number))\n"
TEST = """
import pytest
from pkg.work import total

@pytest.mark.speedup_fail(100)  # far above what a machine busy with other tests adds
def test_it(benchmark):
    benchmark(total, 3000)
"""


SLOW = "0 * sum(range(5 * number)) + "


@pytest.fixture
def history(tmp_path, monkeypatch):
    """Seven commits, of which the fifth is slow; on the branch broken, the fourth does not run."""
    repo = repository(
        tmp_path / "repo",
        {
            "pytest.ini": "[pytest]\npythonpath = src\naddopts = --speedup-max-time=0.9 --speedup-precision=0.2\n",
            "src/pkg/__init__.py": "",
            "src/pkg/work.py": WORK.format(more=""),
        },
    )
    git(repo, "tag", "start")
    for branch in ("broken", "whole"):
        git(repo, "checkout", "--quiet", "-b", branch, "start")
        for number in range(2, 8):
            text = WORK.format(more=SLOW if number >= 5 else "")
            if number == 4 and branch == "broken":
                text = "raise RuntimeError('it is broken')\n"
            commit(repo, {"src/pkg/work.py": text, "notes.txt": f"{number}"}, f"Commit {number}")
    write(repo, {"tests/test_it.py": TEST})
    monkeypatch.chdir(repo)
    for name, value in {**knowing_the_cpu(), "PYTHONDONTWRITEBYTECODE": "1"}.items():
        monkeypatch.setenv(name, value)
    return repo


def run(*arguments):
    return cli.main(["bisect", "tests/test_it.py::test_it", "--seconds", "3", *arguments])


def test_the_first_slower_commit_is_found(history, capsys):
    before = contents(history)
    assert run("--good", "start") == 0
    said = capsys.readouterr()
    first = git(history, "rev-parse", "whole~2")
    assert said.out.splitlines()[0] == f"{first[:12]} is the first slower commit: Commit 5"
    assert said.out.splitlines()[1].startswith("HEAD takes ")
    assert any(line.startswith(f"{first[:7]} slower: 0.") for line in said.err.splitlines())
    assert "as fast: " in said.err
    assert contents(history) == before
    assert git(history, "status", "--porcelain") == "?? tests/"


def test_commits_that_do_not_run_are_skipped_and_named(history, capsys):
    assert run("--good", "start", "--bad", "broken") == 3
    said = capsys.readouterr()
    assert "skipped: " in said.err
    assert "it is broken" in said.err
    first, *left = said.out.splitlines()
    assert first == "One of these is the first slower commit; those between could not be measured:"
    assert [line.partition(" ")[2] for line in left] == ["Commit 5", "Commit 4"]


def test_nothing_that_became_slower(history, capsys):
    assert run("--good", "start", "--bad", "whole~4") == 3
    assert "whole~4 is not slower than start: there is nothing to find." in capsys.readouterr().out


LINES = {
    ("--good", "HEAD", "--bad", "HEAD~1"): "HEAD~1 does not come after HEAD",
    ("--good", "HEAD", "--bad", "HEAD"): "HEAD does not come after HEAD",
    ("--good", "nothing"): "'nothing' is no commit, branch or tag of",
}


@pytest.mark.parametrize("arguments", LINES, ids=" ".join)
def test_revisions_that_cannot_be_bisected_are_refused(arguments, history, capsys):
    assert run(*arguments) == 2
    assert LINES[arguments] in capsys.readouterr().err


def test_a_test_that_is_none_is_refused(history, capsys):
    assert cli.main(["bisect", "tests/test_none.py", "--good", "start"]) == 2
    assert "tests/test_none.py: pytest ended with 4" in capsys.readouterr().err


def test_a_bad_commit_that_cannot_be_compared_is_not_called_as_fast(history, capsys):
    commit(history, {"src/pkg/work.py": "def total(number):\n    return 1 + 3 * sum(range(number))\n"}, "Other results")
    assert cli.main(["bisect", "tests/test_it.py::test_it", "--good", "start", "--seconds", "5"]) == 3
    said = capsys.readouterr().out
    assert "HEAD could not be compared with start: the sides return different results" in said
    assert "not slower" not in said
