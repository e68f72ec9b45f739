"""Find out whether a framework is installed, without importing it."""

import importlib.util
import sys

from trainers.contract import BadInput

__all__ = ["require"]

_WHEELS = {"tensorflow": "tensorflow-cpu"}
"""The package to install, where its name is not that of the module."""


def require(framework: str) -> None:
    """Refuse an environment without a framework.

    Args:
        framework: the name of its module, `torch` for example.

    Raises:
        BadInput: it is not installed.

    """
    if framework not in sys.modules and importlib.util.find_spec(framework) is None:
        wheel = _WHEELS.get(framework, framework)
        raise BadInput(f"{framework} is not installed", "environment", f"pip install {wheel}")
