"""The table of mutants, and what a module's source becomes under one."""

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "TABLE", "Mutant", "StaleMutant", "load"]

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("mutants.toml")
_FRAMEWORKS = {"dialogue_gan": "tensorflow", "shared": "numpy", "plugin": "numpy"}  # all others: torch
_FOLDERS = {"speedclaims": ROOT / "src"}
"""Folders of packages that do not lie in the checkout itself."""


class StaleMutant(Exception):
    """What a mutant would change is not there (any more): it says nothing about the tests."""


@dataclass(frozen=True)
class Mutant:
    """A fault that somebody could make, in the code of the trainers or of the plugin.

    Attributes:
        name: of the fault.
        family: whose tests notice it: of a family of trainers, `shared` or `plugin`; it decides which framework is
            imported.
        target: `module:attribute`, a function, method or class of the trainers or the plugin.
        fault: what is wrong, in a sentence.
        old: text that stands in the target once.
        new: what stands there instead.
        tests: nodes of which one must fail.

    """

    name: str
    family: str
    target: str
    fault: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """Module of the target."""
        return self.target.partition(":")[0]

    @property
    def attribute(self) -> str:
        """Path of the target inside its module: `Class.method`."""
        return self.target.partition(":")[2]

    @property
    def framework(self) -> str:
        """What its tests import, which takes longer than most of them."""
        return _FRAMEWORKS.get(self.family, "torch")

    @property
    def path(self) -> Path:
        """Source of the module."""
        package, *inner = self.module.split(".")
        stem = _FOLDERS.get(package, ROOT).joinpath(package, *inner)
        return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")

    def source(self) -> str:
        """Source of the module with the fault.

        Raises:
            StaleMutant: there is no such module or attribute, or the text does not stand in it exactly once.

        """
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        except OSError as error:
            raise StaleMutant(f"{self.name}: there is no module {self.module}") from error
        node = _find(ast.parse("".join(lines)), self.attribute.split("."))
        if node is None:
            raise StaleMutant(f"{self.name}: {self.module} has no {self.attribute}")
        first, last = node.lineno - 1, node.end_lineno
        text = "".join(lines[first:last])
        if (count := text.count(self.old)) != 1:
            raise StaleMutant(f"{self.name}: {self.old!r} stands {count} times in {self.target}")
        return "".join([*lines[:first], text.replace(self.old, self.new), *lines[last:]])


def _find(tree: ast.AST, names: list[str]) -> ast.stmt | None:
    """Find the definition of an attribute."""
    name, *inner = names
    kinds = ast.FunctionDef | ast.ClassDef
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, kinds) and node.name == name:
            return _find(node, inner) if inner else node
    return None


def load(path: Path = TABLE) -> tuple[Mutant, ...]:
    """Read the table.

    Raises:
        TypeError: a mutant has a key too many or too few.

    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return tuple(Mutant(**{**table, "tests": tuple(table["tests"])}) for table in tables)
