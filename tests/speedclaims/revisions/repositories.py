"""Small git repositories of a user's project."""

import hashlib
import subprocess
from pathlib import Path

WHO = ("-c", "user.name=A", "-c", "user.email=a@example.org")


def git(folder, *arguments):
    """Run git in a folder and return what it prints."""
    done = subprocess.run(["git", "-C", str(folder), *WHO, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(folder, files):
    for name, text in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def commit(folder, files, message="change"):
    """Write files and commit all; return the hash."""
    write(folder, files)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def repository(folder, files):
    """Make a repository with one commit."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, files, "first")
    return Path(folder)


def contents(folder):
    """Return a hash of every file below a folder, those of git among them, and where each link leads.

    Of the index what it lists: ``git describe``, by which pytest-benchmark names the commit, renews the times in it.
    """
    found = {}
    if Path(folder, ".git").exists():
        found["index"] = git(folder, "ls-files", "--stage")
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if "__pycache__" in name or ".pytest_cache" in name or name == ".git/index":
            continue
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
