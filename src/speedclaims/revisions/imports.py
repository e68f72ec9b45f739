"""Import the code under test from another tree than the one whose tests run.

A fresh process installs this before pytest: tests, conftest files and their helpers then come from the working tree,
and every other module of the project from the tree of its side. It is asked at each import, so it does not matter how
a module gets on the import path: by an editable install, an ini file, a variable or a conftest.

The module needs the standard library alone.
"""

import fnmatch
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TypedDict

TEST_FOLDERS = ("test", "tests", "testing", "bench", "benches", "benchmark", "benchmarks", "perf", "performance")
"""Names of folders whose files are tests: they come from the working tree on both sides."""

_PLUGIN = "speedclaims"
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class Trees(TypedDict):
    """Say which trees a process imports from.

    Attributes:
        here: the top folder of the working tree.
        there: that of the side's tree.
        label: what the side's tree is called, such as the name of a branch.
        patterns: of the names of test files.
        folders: further folders of tests, from the top of the tree on.
        names: packages and modules at the top of the tree, which must not come from anywhere else.
        own: packages that come from the working tree on both sides.
        installed: folders from which packages of that name may come too: those of an environment built for the side.
    """

    here: str
    there: str
    label: str
    patterns: list[str]
    folders: list[str]
    names: list[str]
    own: list[str]
    installed: list[str]


def is_test(path: str, patterns: Iterable[str], folders: Iterable[str]) -> bool:
    """Return whether a file is part of the tests.

    Args:
        path: of the file, from the top of the tree on.
        patterns: of the names of test files.
        folders: further folders of tests, from the top of the tree on.
    """
    *parents, name = Path(path).parts or (".",)
    if name == "conftest.py" or any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
        return True
    if any(_is_test_folder(parent) for parent in parents):
        return True
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _is_test_folder(name: str) -> bool:
    return name in TEST_FOLDERS or name.startswith(tuple(f"{folder}{mark}" for folder in TEST_FOLDERS for mark in "_-"))


class Redirection:
    """Finds modules of the working tree in another tree, as the first of this process's finders."""

    def __init__(self, trees: Trees, package: str | None = None) -> None:
        """Keep the trees.

        Args:
            trees: to import from.
            package: the folder of this plugin's package, which this process takes from there; None for the usual one.
        """
        self.trees = trees
        self._package = package
        self._here, self._there = (os.path.realpath(trees[key]) for key in ("here", "there"))
        self._find: Callable[..., ModuleSpec | None] = PathFinder.find_spec
        self._ignored: set[str] = set()

    def install(self) -> None:
        """Put this in front of the finders, and in the place of what finds modules on the import path.

        pytest finds the modules whose assertions it rewrites on the import path itself, plugins among them.
        """
        PathFinder.find_spec = self._on_path  # type: ignore[assignment, method-assign]
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module where an editable install would find it in the working tree."""
        if name == _PLUGIN and self._package is not None:
            return spec_from_file_location(
                name, str(Path(self._package, "__init__.py")), submodule_search_locations=[self._package]
            )
        for finder in sys.meta_path:
            if finder in {self, BuiltinImporter, FrozenImporter, PathFinder} or _is_of_pytest(finder):
                continue
            find = getattr(finder, "find_spec", None)
            found: ModuleSpec | None = find and find(name, path, target)
            if found is not None and self._is_ours(name) and self._is_in_tree(found):
                return self._moved(name, found)
        return None

    def _on_path(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not self._is_ours(name):
            return (self.find_spec(name) if name == _PLUGIN else None) or self._find(name, path, target)
        if path is None:
            found = self._find(name, None, target)
            places = sys.path
        else:
            places = list(path)
            found = self._find(name, [self._back(place) for place in places] + places, target)
        if found is not None:
            return self._moved(name, found)
        # it may have been removed from the working tree
        moved = [self._mapped(place, is_folder=True) for place in places]
        return self._find(name, list(filter(None, moved)), target)

    def _moved(self, name: str, found: ModuleSpec) -> ModuleSpec:
        """Return where the side's tree has a module that was found in the working tree.

        Raises:
            ModuleNotFoundError: it has none.
        """
        if not found.has_location or found.origin is None:  # a package without __init__.py
            places = list(found.submodule_search_locations or ())
            moved = [self._mapped(place, is_folder=True) or place for place in places]
            if moved != places:
                found.submodule_search_locations = moved
            return found
        file = os.path.realpath(found.origin)
        counterpart = self._mapped(file)
        if counterpart is None:
            return found
        if Path(counterpart).is_file():
            inside = [str(Path(counterpart).parent)] if found.submodule_search_locations is not None else None
            spec = spec_from_file_location(name, counterpart, submodule_search_locations=inside)
            if spec is not None:
                return spec
        folder = Path(counterpart).parents[1 if _is_init(counterpart) else 0]
        other = self._find(name, [str(folder)])
        is_compiled = _is_compiled(file)
        if other is not None and (_is_compiled(str(other.origin)) or not is_compiled):
            return other
        shown = os.path.relpath(file, self._here)
        if is_compiled:
            raise ModuleNotFoundError(
                f"{shown} was compiled in the working tree, and {self.trees['label']} has none: "
                "add --speedup-build COMMAND",
                name=name,
            )
        if self._is_ignored(file):  # made by a build, such as a file of the version
            return found
        raise ModuleNotFoundError(f"{shown} is not in {self.trees['label']}", name=name)

    def _is_ours(self, name: str) -> bool:
        return name.partition(".")[0] not in self.trees["own"]

    def _is_in_tree(self, found: ModuleSpec) -> bool:
        if found.has_location:
            return found.origin is not None and self._mapped(found.origin) is not None
        places = found.submodule_search_locations or ()
        return any(self._mapped(place, is_folder=True) is not None for place in places)

    def _mapped(self, place: str, *, is_folder: bool = False) -> str | None:
        """Return the counterpart of a file or folder of the working tree; None for other ones and for tests."""
        real = os.path.realpath(place)
        inside = _below(self._here, real)
        if inside is None or _below(self._there, real) is not None or self._is_from_elsewhere(inside):
            return None
        file = str(Path(inside, "any")) if is_folder else inside
        if is_test(file, self.trees["patterns"], self.trees["folders"]):
            return None
        return str(Path(self._there, inside))

    def _is_from_elsewhere(self, inside: str) -> bool:
        """Whether a path of the working tree is in an environment that is kept there."""
        return not _INSTALLED.isdisjoint(Path(inside).parts)

    def _back(self, place: str) -> str:
        """Return the counterpart in the working tree of a folder of the side's tree."""
        inside = _below(self._there, os.path.realpath(place))
        return place if inside is None else str(Path(self._here, inside))

    def _is_ignored(self, file: str) -> bool:
        command = ["git", "-C", self._here, "check-ignore", "--quiet", file]
        try:
            is_ignored = subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
        except OSError:
            return False
        if is_ignored:
            self._ignored.add(file)
        return is_ignored

    # -- what was imported ---------------------------------------------------------------------------------------

    def num_modules(self) -> int:
        """Return how many modules of the project, tests excepted, this process has imported."""
        return sum(self._is_of_project(file) for _, file in self._imported())

    def problem(self) -> str | None:
        """Return in a sentence which module comes from the wrong place, None where all are right."""
        for name, file in self._imported():
            if not self._is_ours(name):
                continue
            if self._mapped(file) is not None and self._there != self._here and file not in self._ignored:
                return f"{name} was imported from the working tree, past the import path, by its file {file}"
            top = name.partition(".")[0]
            if top in self.trees["names"] and _below(self._here, file) is None and not self._is_of_project(file):
                return (
                    f"{name} was imported from {file}, not from {self.trees['label']}: it is installed there: "
                    "install the project editable (pip install -e .), or name its folder in the ini option pythonpath"
                )
        return None

    def _is_of_project(self, file: str) -> bool:
        if any(_below(os.path.realpath(folder), file) is not None for folder in self.trees["installed"]):
            return True
        inside = _below(self._there, file)
        if inside is None and file in self._ignored:
            return True
        if inside is None or self._is_from_elsewhere(inside):
            return False
        return not is_test(inside, self.trees["patterns"], self.trees["folders"])

    def _imported(self) -> Iterator[tuple[str, str]]:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            # some modules name a file that is none, such as torch.ops
            if isinstance(file, str) and Path(file).is_absolute() and name != "__main__" and self._is_ours(name):
                yield name, os.path.realpath(file)


def _is_init(file: str) -> bool:
    return Path(file).name.partition(".")[0] == "__init__"


def _is_compiled(file: str) -> bool:
    return file.endswith(tuple(EXTENSION_SUFFIXES))


def _is_of_pytest(finder: object) -> bool:
    return (getattr(finder, "__module__", None) or type(finder).__module__).partition(".")[0] == "_pytest"


def _below(folder: str, path: str) -> str | None:
    """Return a path from a folder on, ``.`` for the folder itself; None where it is not in it."""
    if path == folder:
        return "."
    start = folder.rstrip(os.sep) + os.sep
    return path[len(start) :] if path.startswith(start) else None


_installed: list[Redirection] = []


def install(trees: Trees, package: str | None = None) -> None:
    """Let this process import the code under test from another tree.

    Args:
        trees: to import from.
        package: the folder of this plugin's package, which this process takes from there; None for the usual one.
    """
    _installed.append(Redirection(trees, package))
    _installed[0].install()


def installed() -> Redirection | None:
    """Return what this process imports the code under test by; None where nothing is redirected."""
    return _installed[0] if _installed else None
