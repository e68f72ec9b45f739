"""Build a revision in a virtual environment, and keep it for later runs."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from speedclaims.revisions.git import RevisionError, check_out, content_of, copy_tree, top_of

_MOST_KEPT: Final = 12
_LINES: Final = 15

_PIP: Final = """\
#!/bin/sh
exec '{python}' -m pip "$@"
"""


@dataclass(frozen=True)
class Build:
    """A tree that was built, and the environment that it was installed in.

    Attributes:
        tree: the top of the tree.
        python: the environment's interpreter.
        installed: its folders of installed packages.
        notes: what a reader should know about the tree.
    """

    tree: Path
    python: str
    installed: tuple[str, ...]
    notes: list[str]


def folder() -> Path:
    """Return the folder in which builds are kept."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # nobody's home is known
        base = Path(tempfile.gettempdir())
    return base / "speedclaims" / "builds"


def build(top: Path, commit: str | None, command: str, scratch: Path, python: str | None) -> Build:
    """Return a commit, or the files of a working tree, built by a command; an earlier build of the same is taken.

    The command runs in a copy of the tree. Its environment sees the packages of the one that pytest runs in, and what
    the command installs comes before them.

    Args:
        top: of the repository, or of the folder.
        commit: the commit's hash, None for the files as they are.
        command: for the shell, such as ``pip install --no-deps .``.
        scratch: a folder that does not exist yet, and is removed later.
        python: the interpreter, None for that of this process.

    Raises:
        RevisionError: the build failed.
        OSError: a folder cannot be written.
    """
    base = python or sys.executable
    if commit is None and top_of(top) is None:
        raise RevisionError(f"{top}: --speedup-build needs a git repository, which says what belongs to the tree")
    what = commit or content_of(top, scratch)
    key = hashlib.sha256("\0".join((str(top), what, command, os.path.realpath(base), sys.version)).encode())
    place = folder() / key.hexdigest()[:24]
    notes_file = place / "notes.txt"
    if not notes_file.is_file():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            notes = _make(top, commit, command, place, base)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        notes_file.write_text("\n".join(notes), encoding="utf-8")
        _forget(folder())
    os.utime(place)
    notes = notes_file.read_text(encoding="utf-8").splitlines()
    return Build(place / "tree", str(_python_of(place)), tuple(_site_folders(str(_python_of(place)))), notes)


def _make(top: Path, commit: str | None, command: str, place: Path, base: str) -> list[str]:
    tree, environment = place / "tree", place / "environment"
    notes: list[str] = []
    if commit is None:
        copy_tree(top, tree)
    else:
        notes = check_out(top, commit, tree)
    _make_environment(environment, base)
    binaries = _python_of(place).parent
    variables = {
        **os.environ,
        "VIRTUAL_ENV": str(environment),
        "PATH": os.pathsep.join([str(binaries), os.environ.get("PATH", "")]),
    }
    variables.pop("PYTHONPATH", None)
    done = subprocess.run(  # noqa: S602 - the user's command
        command,
        shell=True,
        cwd=tree,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        tail = " | ".join(line.strip() for line in done.stdout.splitlines()[-_LINES:] if line.strip())
        what = "the working tree" if commit is None else commit[:7]
        raise RevisionError(f"--speedup-build: {command!r} ended with {done.returncode} for {what}: {tail}")
    return notes


def _make_environment(environment: Path, base: str) -> None:
    """Make an empty environment, which sees the packages of another one after those that it will get."""
    if os.path.realpath(base) == os.path.realpath(sys.executable):
        venv.EnvBuilder(with_pip=False, symlinks=os.name == "posix").create(environment)
    else:
        made = subprocess.run(  # noqa: S603 - the user's interpreter
            [base, "-m", "venv", "--without-pip", str(environment)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            last = (made.stdout + made.stderr).strip().splitlines()[-1:]
            raise RevisionError(f"{base}: it makes no virtual environment: {''.join(last)}: install its venv module")
    python = _python_of(environment.parent)
    others = _site_folders(base)
    own = _site_folders(str(python))
    for place in own:
        lines = [f"import site; site.addsitedir({other!r})" for other in others]
        Path(place, "speedclaims-others.pth").write_text("\n".join([*lines, ""]), encoding="utf-8")
    if os.name == "posix":
        script = python.parent / "pip"
        script.write_text(_PIP.format(python=python), encoding="utf-8")
        script.chmod(0o755)


def _site_folders(python: str) -> list[str]:
    """Return the folders in which an interpreter's packages are installed."""
    code = "import sysconfig; print(*dict.fromkeys(map(sysconfig.get_path, ('purelib', 'platlib'))), sep='\\n')"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.splitlines()


def _python_of(place: Path) -> Path:
    return place / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _forget(kept: Path) -> None:
    """Remove the builds that were not used for longest."""
    places = sorted((path for path in kept.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in places[:-_MOST_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
