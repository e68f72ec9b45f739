"""What is measured: small, faithful training programs, each in several tiers. Knows nothing of the benchmarks.

Importing this package imports no framework. A family imports its own (PyTorch or TensorFlow) only when a trainer is
built, so an environment that holds just one of them still runs the families that need no other.
"""

import importlib
import pkgutil
from types import ModuleType

from trainers.contract import BadInput

__all__ = ["BadInput", "families", "family"]


def families() -> tuple[str, ...]:
    """Names of the families that exist here, in alphabetical order: every sub-package of this one."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg))


def family(name: str) -> ModuleType:
    """Import the package of one family; its framework stays unimported until a trainer is built.

    Raises:
        BadInput: there is no family of that name.

    """
    if name not in families():
        raise BadInput(f"unknown family {name!r}", "family", f"choose one of: {', '.join(families())}")
    return importlib.import_module(f"{__name__}.{name}")
