"""Resolve revisions with git, and check their files out without touching the user's repository.

A checkout is another repository, whose objects are those of the user's. Nothing is registered
there, as a worktree would be, so nothing is left behind when this process is killed.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from speedclaims.errors import SpeedclaimsError

_QUIET: Final = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
_MERGE_BASE: Final = "merge-base:"


class RevisionError(SpeedclaimsError):
    """A revision that cannot be compared, in one line."""


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints.

    Raises:
        RevisionError: git is missing, or fails.
    """
    environment = {name: value for name, value in os.environ.items() if not _is_of_a_hook(name)}
    try:
        done = subprocess.run(  # noqa: S603 - arguments of ours, and revisions that follow --end-of-options
            ["git", "-C", str(folder), *_QUIET, *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**environment, "GIT_TERMINAL_PROMPT": "0"},
            check=False,
        )
    except OSError as error:
        raise RevisionError(f"git cannot be run ({error.strerror or error}): install it") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise RevisionError(f"git {arguments[0]}: {lines[0].removeprefix('fatal: ')}")
    return done.stdout.rstrip("\n")


def _is_of_a_hook(name: str) -> bool:
    """Whether a variable names the repository of a hook or of an alias that runs this process."""
    return name in {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}


def top_of(folder: Path) -> Path | None:
    """Return the top of the working tree that a folder is in, None where it is in none or git is missing."""
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel"))
    except RevisionError:
        return None


def commit_of(top: Path, reference: str) -> str:
    """Return the hash of the commit that a reference means.

    Args:
        top: of the working tree.
        reference: a commit, branch or tag, or ``merge-base:BRANCH``, the last commit that the branch and HEAD share.

    Raises:
        RevisionError: there is no such commit.
    """
    name = reference.removeprefix(_MERGE_BASE)
    try:
        commit = git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except RevisionError as error:
        if "cannot be run" in str(error):
            raise
        shallow = git(top, "rev-parse", "--is-shallow-repository") == "true"
        why = ": this clone is shallow: fetch more of it (git fetch --unshallow, or fetch-depth: 0)" if shallow else ""
        raise RevisionError(f"{name!r} is no commit, branch or tag of {top}{why}") from None
    if name == reference:
        return commit
    try:
        return git(top, "merge-base", "HEAD", commit)
    except RevisionError:
        raise RevisionError(f"{reference}: HEAD and {name} share no commit: fetch more of the history") from None


def check_out(top: Path, commit: str, target: Path) -> list[str]:
    """Write the files of a commit to a folder that does not exist yet, and return what a reader should know.

    Raises:
        RevisionError: git fails.
        OSError: the folder cannot be written.
    """
    try:
        _write(top, commit, target)
    except RevisionError as error:  # git does not always say that the disk is full
        if shutil.disk_usage(target if target.exists() else target.parent).free > _ROOM:
            raise
        raise RevisionError(f"{error}; no room is left for {target}: make room") from None
    return _notes(target)


_ROOM = 2**20
"""With fewer free bytes than this, what git could not write did not fit."""


def _write(top: Path, commit: str, target: Path) -> None:
    common = Path(git(top, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    git(top, "init", "--quiet", "--template=", str(target))
    made = target / ".git"
    (made / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (made / "objects" / "info" / "alternates").write_text(f"{common / 'objects'}\n", encoding="utf-8")
    if (common / "shallow").is_file():
        shutil.copyfile(common / "shallow", made / "shallow")
    tags = git(top, "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags")
    (made / "packed-refs").write_text(f"{tags}\n" if tags else "", encoding="utf-8")
    if (common / "lfs").is_dir():
        git(target, "config", "lfs.storage", str(common / "lfs"))
    git(target, "checkout", "--quiet", "--detach", commit)


def _notes(target: Path) -> list[str]:
    listed = git(target, "ls-files", "--stage", "-z").split("\0")
    modules = [line.partition("\t")[2] for line in listed if line.startswith("160000 ")]
    notes = []
    if modules:
        notes.append(f"submodules are left out: {', '.join(modules[:5])}")
    attributes = target / ".gitattributes"
    if attributes.is_file() and "filter=lfs" in attributes.read_text(encoding="utf-8", errors="replace"):
        notes.append("files in Git LFS are as git checks them out: pointers, where git-lfs is not installed")
    return notes


def copy_tree(top: Path, target: Path) -> None:
    """Copy the working tree to a folder that does not exist yet: files that git tracks or does not ignore.

    Raises:
        RevisionError: git fails.
        OSError: a file cannot be read or written.
    """
    check_out(top, git(top, "rev-parse", "HEAD"), target)
    for name in git(target, "ls-files", "-z").split("\0"):
        if name and not (target / name).is_dir():
            (target / name).unlink(missing_ok=True)
    for name in git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        source = top / name
        if name and (source.is_file() or source.is_symlink()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def content_of(top: Path, scratch: Path) -> str:
    """Return the hash of what the working tree holds, as git would name its tree if it were committed.

    Args:
        top: of the working tree.
        scratch: a folder for the objects and the index that this makes, so that the repository stays as it is.

    Raises:
        RevisionError: git fails.
    """
    copy_tree(top, scratch / "tree")
    git(scratch / "tree", "add", "--all", "--force")
    return git(scratch / "tree", "write-tree")


def names_of(top: Path, folders: list[str]) -> list[str]:
    """Return the names of the packages and modules at the top of a project's tree.

    Args:
        top: of the tree.
        folders: where they may be, from the top on.
    """
    found: set[str] = set()
    for folder in folders:
        place = top / folder
        for path in place.iterdir() if place.is_dir() else ():
            is_module = path.suffix == ".py" and folder not in {"", "."} and path.name != "__init__.py"
            if is_module or (path / "__init__.py").is_file():
                found.add(path.stem if is_module else path.name)
    return sorted(found)
