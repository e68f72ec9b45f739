"""Say what is compared: the code of two revisions, two folders, or two Python environments."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from speedclaims.measure import command_line
from speedclaims.record.json_types import JsonObject
from speedclaims.record.types import SideName
from speedclaims.revisions import builds
from speedclaims.revisions.git import RevisionError, check_out, commit_of, names_of, top_of
from speedclaims.revisions.imports import Trees, is_test

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedAgainst, RecordedRevision

WORKING_TREE: Final = "working tree"
_OLDEST_PYTHON: Final = (3, 11)
_CODE_FOLDERS: Final = ("", "src", "lib", "python")

_REMOVE: Final = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"

_PROBE: Final = """\
import importlib.metadata, json, sys
found = {}
for one in importlib.metadata.distributions():
    name = one.metadata["Name"]
    if name:
        found.setdefault(name.lower().replace("_", "-"), one.version)
print(json.dumps({"version": list(sys.version_info[:3]), "libraries": found}))
"""


class Scratch:
    """A temporary folder that is removed when this process ends, in whatever way."""

    def __init__(self) -> None:
        """Make the folder, and start a process that removes it when its standard input is closed."""
        self.path = Path(tempfile.mkdtemp(prefix="speedclaims-"))
        self._keeper = subprocess.Popen(  # noqa: S603 - our own interpreter
            [command_line.PYTHON, "-I", "-S", "-c", _REMOVE, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def remove(self) -> None:
        """Remove the folder now."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait()


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        label: what reports call it: the reference, folder or interpreter as it was given.
        tree: the top of the tree from which the code under test is imported.
        commit: the hash of its commit, None where it is no commit.
        python: the interpreter, None for that of this process.
        libraries: versions of the distributions of its interpreter; empty for that of this process.
        python_version: of its interpreter.
        installed: folders from which the project may be imported too.
    """

    label: str
    tree: Path
    commit: str | None = None
    python: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    python_version: str = ".".join(map(str, sys.version_info[:3]))
    installed: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The label, with the beginning of its commit's hash."""
        return self.label if self.commit is None else f"{self.label} ({self.commit[:7]})"

    def recorded(self) -> "RecordedRevision":
        """Return the side as a record holds it."""
        return {"label": self.label, "commit": self.commit, "python": self.python_version}


@dataclass(frozen=True)
class Asked:
    """Hold the options that say what is compared.

    Attributes:
        against: a commit, branch, tag, ``merge-base:BRANCH``, ``A..B`` or a folder; None without.
        python: the interpreter of the before side; None without.
        build: the command that builds and installs the project; None without.
        test_folders: further folders of tests, from the root folder on.
        patterns: of the names of test files.
    """

    against: str | None
    python: str | None
    build: str | None
    test_folders: Sequence[str]
    patterns: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """Two sides, and what their processes need to import each.

    Attributes:
        here: the top of the working tree, whose tests run on both sides.
        before: the before side.
        after: the after side.
        notes: what a reader should know, a sentence each.
    """

    here: Path
    before: Side
    after: Side
    notes: tuple[str, ...]
    _asked: Asked
    _root: Path
    _scratch: Scratch | None

    def side(self, name: SideName) -> Side:
        """Return a side by its name."""
        return self.before if name == "before" else self.after

    def of_before_alone(self) -> "Comparison":
        """Return the comparison of the before side with itself."""
        return replace(self, after=self.before)

    def trees(self, side: Side, import_path: Sequence[str]) -> Trees:
        """Return what a process of a side needs to import its code.

        Args:
            side: the side.
            import_path: with which this process was started.
        """
        folders = {*_CODE_FOLDERS, *(inside for inside, _ in self._inside(import_path))}
        above = self._root.relative_to(self.here) if self._root.is_relative_to(self.here) else Path()
        of_tests = [os.path.normpath(above / folder) for folder in self._asked.test_folders]
        names = names_of(self.here, sorted(folders))
        return {
            "here": str(self.here),
            "there": str(side.tree),
            "label": side.label,
            "patterns": list(self._asked.patterns),
            "folders": of_tests,
            "names": [name for name in names if not is_test(f"{name}/__init__.py", self._asked.patterns, of_tests)],
            "own": ["speedclaims", command_line.IMPORTS_NAME],
            "installed": list(side.installed),
        }

    def import_path(self, side: Side, import_path: Sequence[str]) -> list[str]:
        """Return the folders of a side's tree that are on the import path, for processes that its tests start."""
        return [str(side.tree / inside) for inside, _ in self._inside(import_path)]

    def own_folders(self, import_path: Sequence[str]) -> list[str]:
        """Return the folders of the working tree that are on the import path."""
        return [folder for _, folder in self._inside(import_path)]

    def _inside(self, import_path: Sequence[str]) -> list[tuple[str, str]]:
        """Return the import path's folders in the working tree, from its top on and as they are."""
        found = []
        for folder in import_path:
            real = Path(os.path.realpath(folder or os.curdir))
            if real.is_relative_to(self.here) and not {"site-packages", "dist-packages"} & set(real.parts):
                found.append((str(real.relative_to(self.here)), str(real)))
        return found

    def recorded(self) -> "RecordedAgainst":
        """Return the comparison as a record holds it."""
        return {
            "before": self.before.recorded(),
            "after": self.after.recorded(),
            "libraries": {
                name: {"before": old, "after": new}
                for name, (old, new) in sorted(_differences(self.before, self.after).items())
            },
            "notes": list(self.notes),
        }

    def close(self) -> None:
        """Remove the trees that were made for it."""
        if self._scratch is not None:
            self._scratch.remove()


def _differences(before: Side, after: Side) -> dict[str, tuple[str | None, str | None]]:
    """Return the distributions whose versions differ between two interpreters."""
    if not before.libraries or not after.libraries:
        return {}
    names = before.libraries.keys() | after.libraries.keys()
    both = {name: (before.libraries.get(name), after.libraries.get(name)) for name in names}
    return {name: (old, new) for name, (old, new) in both.items() if old != new}


def compare_sides(asked: Asked, root: Path) -> Comparison:
    """Return the two sides that the options ask for, checked out and built.

    Args:
        asked: the options.
        root: pytest's root folder.

    Raises:
        RevisionError: there is no such revision, folder or interpreter, or the build failed.
        OSError: a folder cannot be written.
    """
    here = Path(os.path.realpath(top_of(root) or root))
    scratch: Scratch | None = None
    try:
        trees = _trees(asked, here)
        if any(one.commit is not None for one in trees) or asked.build is not None:
            scratch = Scratch()
        sides, notes = [], []
        for name, one in zip(("before", "after"), trees, strict=True):
            side, said = _made(one, here, scratch, name, asked)
            sides.append(side)
            notes += [f"{side.label}: {note}" for note in said]
    except BaseException:
        if scratch is not None:
            scratch.remove()
        raise
    return Comparison(here, sides[0], sides[1], tuple(dict.fromkeys(notes)), asked, root, scratch)


def _trees(asked: Asked, here: Path) -> tuple[Side, Side]:
    """Return the two sides before anything is checked out; both interpreters are tried."""
    ours = _probed(sys.executable) if asked.python is not None else None
    after = Side(WORKING_TREE, here, libraries=_libraries(ours))
    if asked.against is None:
        label = str(asked.python)
        before = Side(label, here)
        after = Side(f"Python {after.python_version}", here, libraries=_libraries(ours))
    else:
        first, dots, second = asked.against.partition("..")
        folder = Path(asked.against)
        if _is_folder(asked.against, here):
            before = Side(asked.against, Path(os.path.realpath(folder)))
        else:
            before = _revision(first, here)
            if dots:
                after = _revision(second or "HEAD", here)
    if asked.python is not None:
        other = _probed(asked.python)
        version = ".".join(map(str, other["version"]))
        before = Side(before.label, before.tree, before.commit, asked.python, _libraries(other), version)
    return before, after


def _is_folder(text: str, here: Path) -> bool:
    """Whether a text names a folder: by its form, or because no revision has this name."""
    if Path(text).is_absolute() or text in {".", ".."} or text.startswith((f".{os.sep}", f"..{os.sep}")):
        if not Path(text).is_dir():
            raise RevisionError(f"{text}: there is no such folder: name one, or a commit, branch or tag")
        return True
    if not Path(text).is_dir():
        return False
    try:
        commit_of(here, text)
    except RevisionError:
        return True
    return False


def _revision(reference: str, here: Path) -> Side:
    if top_of(here) is None:
        raise RevisionError(
            f"{here} is in no git repository, where {reference!r} could be a revision: name a folder instead"
        )
    return Side(reference, here, commit_of(here, reference))


def _libraries(probed: JsonObject | None) -> dict[str, str]:
    return {} if probed is None else dict(probed["libraries"])


def _probed(python: str) -> JsonObject:
    """Return the version and the distributions of an interpreter.

    Raises:
        RevisionError: it cannot run pytest with this plugin.
    """
    try:
        done = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=False)  # noqa: S603 - the user's
    except OSError as error:
        raise RevisionError(f"{python}: it cannot be run ({error.strerror or error}): name an interpreter") from None
    try:
        found: JsonObject = json.loads(done.stdout)
    except ValueError:
        raise RevisionError(f"{python}: it is no Python that can be asked for its packages: name another") from None
    if tuple(found["version"]) < _OLDEST_PYTHON:
        raise RevisionError(f"{python}: it is Python {found['version'][0]}.{found['version'][1]}: 3.11 is the oldest")
    missing = [name for name in ("pytest", "pytest-benchmark") if name not in found["libraries"]]
    if missing:
        raise RevisionError(f"{python}: it lacks {' and '.join(missing)}: {python} -m pip install pytest-benchmark")
    return found


def _made(side: Side, here: Path, scratch: Scratch | None, name: str, asked: Asked) -> tuple[Side, list[str]]:
    """Return a side with its tree checked out, and built where a command is given; and what a reader should know."""
    notes: list[str] = []
    if asked.build is not None and scratch is not None:
        source = scratch.path / f"{name}-source"
        built = builds.build(here if side.commit else side.tree, side.commit, asked.build, source, side.python)
        return replace(side, tree=built.tree, python=built.python, installed=built.installed), built.notes
    tree = side.tree
    if side.commit is not None and scratch is not None:
        tree = scratch.path / name
        notes = check_out(here, side.commit, tree)
    return replace(side, tree=tree), notes
