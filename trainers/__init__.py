"""Provide small, faithful training programs, each in several tiers, for the benchmarks to measure.

Nothing here knows of the benchmarks. Importing this package imports no framework: a family imports its own (PyTorch or
TensorFlow) only when a trainer is built. So an environment that holds just one of them still runs the families that
need no other.
"""

import importlib

from trainers.contract import BadInput
from trainers.family import Family  # before the function of the module's name, which replaces it in this package

__all__ = ["BadInput", "Family", "families", "family"]

_PACKAGES = {
    "dialogue_gan": "trainers.dialogue_gan",
    "dialogue_twin": "trainers.dialogue_gan.pytorch",
    "tabular_regressor": "trainers.tabular_regressor",
    "text_to_image": "trainers.text_to_image",
}
"""The package of each family, whose `FAMILY` describes it; a new family is one line more here."""


def families() -> tuple[str, ...]:
    """Return the names of the families, in alphabetical order."""
    return tuple(_PACKAGES)


def family(name: str) -> Family:
    """Return the family of a name; its framework stays unimported until a trainer is built.

    Raises:
        BadInput: there is no family of that name.

    """
    if name not in _PACKAGES:
        raise BadInput(f"unknown family {name!r}", "family", f"choose one of: {', '.join(families())}")
    found: Family = importlib.import_module(_PACKAGES[name]).FAMILY
    return found
