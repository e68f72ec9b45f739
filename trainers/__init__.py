"""Provide small, faithful training programs, each in several tiers, for the benchmarks to measure.

Nothing here knows of the benchmarks. Importing this package imports no framework: a family imports its own (PyTorch or
TensorFlow) only when a trainer is built. So an environment that holds just one of them still runs the families that
need no other.
"""

import importlib
from types import ModuleType

from trainers.contract import BadInput

__all__ = ["BadInput", "families", "family"]


_FAMILIES = ("dialogue_gan", "tabular_regressor", "text_to_image")
"""The packages that hold a family; a new family is one name more here."""


def families() -> tuple[str, ...]:
    """Return the names of the families, in alphabetical order."""
    return _FAMILIES


def family(name: str) -> ModuleType:
    """Import the package of one family; its framework stays unimported until a trainer is built.

    Raises:
        BadInput: there is no family of that name.

    """
    if name not in families():
        raise BadInput(f"unknown family {name!r}", "family", f"choose one of: {', '.join(families())}")
    return importlib.import_module(f"{__name__}.{name}")
