"""Commits are checked out, and trees copied, without a trace in the user's repository."""

import subprocess

import pytest

from speedclaims.revisions.git import RevisionError, check_out, commit_of, content_of, copy_tree, names_of, top_of
from tests.speedclaims.revisions.repositories import commit, contents, git, repository, write


@pytest.fixture
def repo(tmp_path):
    made = repository(tmp_path / "repo", {"a.py": "one = 1\n", "pkg/__init__.py": "", ".gitignore": "*.tmp\nbuild/\n"})
    git(made, "tag", "v1")
    git(made, "branch", "old")
    commit(made, {"a.py": "one = 2\n", "b.py": ""})
    return made


@pytest.mark.parametrize("reference", ["v1", "old", "HEAD~1", "merge-base:old"])
def test_a_reference_becomes_the_hash_of_its_commit(repo, reference):
    assert commit_of(repo, reference) == git(repo, "rev-parse", "HEAD~1")


def test_the_merge_base_of_a_branch_that_went_on(repo):
    start = git(repo, "rev-parse", "HEAD")
    git(repo, "checkout", "--quiet", "-b", "mine")
    commit(repo, {"mine.py": ""})
    git(repo, "checkout", "--quiet", "main")
    commit(repo, {"theirs.py": ""})
    git(repo, "checkout", "--quiet", "mine")
    assert commit_of(repo, "merge-base:main") == start


@pytest.mark.parametrize(
    "reference", ["nothing", "--help", "-x", "HEAD~9", "", "HEAD:a.py", "v1..old", "merge-base:no"]
)
def test_what_is_no_commit_is_refused(repo, reference):
    with pytest.raises(RevisionError, match=r"is no commit, branch or tag of"):
        commit_of(repo, reference)


def test_a_shallow_clone_says_that_it_is_one(repo, tmp_path):
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{repo}", str(tmp_path / "c")], check=True)
    with pytest.raises(RevisionError, match=r"this clone is shallow: fetch more of it"):
        commit_of(tmp_path / "c", "v1")
    check_out(tmp_path / "c", commit_of(tmp_path / "c", "HEAD"), tmp_path / "out")
    assert (tmp_path / "out" / "a.py").read_text() == "one = 2\n"


def test_a_commit_is_checked_out_with_its_tags_and_history(repo, tmp_path):
    before = contents(repo)
    notes = check_out(repo, commit_of(repo, "HEAD~1"), tmp_path / "out")
    assert notes == []
    assert (tmp_path / "out" / "a.py").read_text() == "one = 1\n"
    assert not (tmp_path / "out" / "b.py").exists()
    assert git(tmp_path / "out", "describe", "--tags") == "v1"
    assert git(tmp_path / "out", "status", "--porcelain") == ""
    assert contents(repo) == before


def test_neither_hooks_nor_variables_of_a_hook_matter(repo, tmp_path, monkeypatch):
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    check_out(repo, commit_of(repo, "v1"), tmp_path / "out")
    assert (tmp_path / "out" / "a.py").exists()
    assert not (tmp_path / "ran").exists()


def test_submodules_and_large_files_are_named(repo, tmp_path):
    inner = repository(tmp_path / "inner", {"x.py": ""})
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "vendor/inner")
    commit(repo, {".gitattributes": "*.bin filter=lfs diff=lfs\n"})
    assert check_out(repo, commit_of(repo, "HEAD"), tmp_path / "out") == [
        "submodules are left out: vendor/inner",
        "files in Git LFS are as git checks them out: pointers, where git-lfs is not installed",
    ]


def test_a_copy_holds_what_belongs_to_the_tree(repo, tmp_path):
    write(repo, {"a.py": "one = 3\n", "new.py": "", "left.tmp": "", "build/x": ""})
    (repo / "b.py").unlink()
    (repo / "link.py").symlink_to("a.py")
    before = contents(repo)
    copy_tree(repo, tmp_path / "copy")
    names = {path.name for path in (tmp_path / "copy").iterdir()} - {".git"}
    assert names == {"a.py", "new.py", "link.py", "pkg", ".gitignore"}
    assert (tmp_path / "copy" / "a.py").read_text() == "one = 3\n"
    assert (tmp_path / "copy" / "link.py").is_symlink()
    assert contents(repo) == before


def test_the_content_s_hash_changes_with_every_file_of_the_tree_and_no_other(repo, tmp_path):
    scratch = iter(range(9))

    def found():
        return content_of(repo, tmp_path / f"scratch{next(scratch)}")

    first = found()
    write(repo, {"left.tmp": "x"})
    assert found() == first
    write(repo, {"new.py": ""})
    second = found()
    assert second != first
    (repo / "b.py").unlink()
    assert found() not in {first, second}


def test_the_top_of_no_repository_is_none(tmp_path):
    assert top_of(tmp_path) is None


def test_names_of_a_tree(tmp_path):
    write(
        tmp_path, {"src/one.py": "", "src/two/__init__.py": "", "three/__init__.py": "", "setup.py": "", "data/x": ""}
    )
    assert names_of(tmp_path, ["", "src", "missing"]) == ["one", "three", "two"]
