"""Puts a mutant into this process: its module is the real one with the fault, from the first import on."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.mutants.table import Mutant

__all__ = ["Planted"]


_IN_CHILDREN = """
import functools
import importlib.machinery
import importlib.util

find_real = importlib.machinery.PathFinder.find_spec


def find_spec(fullname, path=None, target=None):
    if fullname == {module!r}:
        return importlib.util.spec_from_file_location(fullname, {path!r})
    return find_real(fullname, path, target)


# Pytest keeps this function in a class and asks it directly for modules of plugins; a partial binds to none.
importlib.machinery.PathFinder.find_spec = functools.partial(find_spec)
"""


class Planted(importlib.abc.MetaPathFinder):
    """Finds one module in a file that has the fault.

    It is a file, and no patched function, so that TensorFlow too, which reads the source of what it makes a graph of,
    sees the fault, and so that whoever has imported a name from the module has the faulty one.

    Args:
        mutant: what to plant.
        folder: where the file goes, and stays as long as the process.

    Attributes:
        is_imported: whether anybody has asked for the module.

    """

    def __init__(self, mutant: Mutant, folder: Path) -> None:
        """Write the file.

        Raises:
            StaleMutant: there is nothing to change.
            SyntaxError: the mutant is no Python.

        """
        self._mutant, self.is_imported = mutant, False
        source = mutant.source()
        compile(source, mutant.name, "exec")
        self._path = folder / mutant.path.name
        self._path.write_text(source, encoding="utf-8")
        for data in mutant.path.parent.glob("*.json"):  # which a module of the plugin finds next to itself
            shutil.copy(data, folder)

    def plant(self) -> None:
        """Have the module found here from now on; import it if it is the plugin's.

        Pytest looks for the modules of plugins first and by itself, to rewrite their assertions, so that it would find
        them without the fault.

        Raises:
            RuntimeError: it has been imported already.

        """
        if self._mutant.module in sys.modules:
            raise RuntimeError(f"{self._mutant.module} is imported already, without the fault")
        sys.meta_path.insert(0, self)
        if self._mutant.family == "plugin":
            importlib.import_module(self._mutant.module)
        self._plant_in_children()

    def _plant_in_children(self) -> None:
        """Have every Python that this process starts find the fault too: tests run pytest, commands and ranks."""
        folder = self._path.parent
        text = _IN_CHILDREN.format(module=self._mutant.module, path=str(self._path))
        (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the mutant's module, and no other."""
        del path, target
        if fullname != self._mutant.module:
            return None
        self.is_imported = True
        return importlib.util.spec_from_file_location(fullname, self._path)
