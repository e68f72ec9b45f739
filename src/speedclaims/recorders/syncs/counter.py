"""Host-device synchronizations: how often Python asks for the value of a tensor, and from which line.

Each framework has a module that patches its functions; this one finds the line that caused a call, and counts for
whatever frameworks the process has imported. What runs meanwhile is slowed down by it and must not be timed.
"""

import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import ParamSpec, TypeVar

from speedclaims.errors import SpeedclaimsError

P = ParamSpec("P")
R = TypeVar("R")

_FRAMEWORKS = ("torch", "tensorflow", "keras")
_QUESTIONS = frozenset(
    {"numpy", "convert_to_numpy", "item", "tolist", "cpu", "__array__", "__dlpack__", "to_dlpack", "__bool__"}
    | {"__int__", "__float__", "__complex__", "__index__", "__contains__", "__format__", "__repr__", "__str__"}
)
"""Methods that are the question itself, such as those of variables: whoever called them asked."""


class NothingToCountError(SpeedclaimsError, RuntimeError):
    """No framework is imported whose synchronizations could be counted."""


@dataclass
class Syncs:
    """Count host-device synchronizations by the line that asks for them.

    Attributes:
        own: calls whose nearest caller is no part of a framework, by ``file:line``.
        internal: calls that the frameworks make inside themselves.
    """

    own: Counter[str] = field(default_factory=Counter)
    internal: int = 0

    def note(self, caller: FrameType | None, entry_files: frozenset[str] = frozenset()) -> None:
        """Count one call for the line behind it.

        NumPy and the standard library decide nothing: who called them did. Without anybody outside them, as in a
        thread of a framework's own, the call is internal.

        Args:
            caller: the innermost frame.
            entry_files: files of a framework that are skipped in the search for the caller.
        """
        roots = _Roots.here()
        while caller is not None:
            file, name = caller.f_code.co_filename, caller.f_code.co_name
            if roots.is_framework(file):
                if file not in entry_files and name not in _QUESTIONS:
                    break
            elif not roots.is_transparent(file):
                self.own[f"{file}:{caller.f_lineno}"] += 1
                return
            caller = caller.f_back
        self.internal += 1

    def counted(self, real: Callable[P, R], entry_files: frozenset[str]) -> Callable[P, R]:
        """Return a wrapper of `real` that counts each call by `note`."""

        @wraps(real)
        def wrapper(*args: P.args, **options: P.kwargs) -> R:
            self.note(sys._getframe(1), entry_files)  # noqa: SLF001 - the cheapest way to the caller
            return real(*args, **options)

        return wrapper


class _Roots:
    """Which folders hold a framework, and which hold what only hands a call on."""

    _made: tuple[tuple[str, ...], "_Roots"] | None = None

    def __init__(self, names: tuple[str, ...]) -> None:
        """Find the folders of the modules named."""
        self._frameworks = tuple(folder for name in names if name != "numpy" for folder in _folders(name))
        self._numpy = _folders("numpy")
        library = sysconfig.get_path("stdlib") + os.sep
        self._library = (library,)
        self._packages = tuple(f"{library}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
        self._kinds: dict[str, tuple[bool, bool]] = {}

    @classmethod
    def here(cls) -> "_Roots":
        """Return the roots of what this process has imported, made once for each set of it."""
        names = tuple(name for name in (*_FRAMEWORKS, "numpy") if name in sys.modules)
        if cls._made is None or cls._made[0] != names:
            cls._made = names, cls(names)
        return cls._made[1]

    def is_framework(self, file: str) -> bool:
        """Whether a file is part of a framework."""
        return self._kind(file)[0]

    def is_transparent(self, file: str) -> bool:
        """Whether a file only hands a call on."""
        return self._kind(file)[1]

    def _kind(self, file: str) -> tuple[bool, bool]:
        if file not in self._kinds:
            of_library = file.startswith(self._library) and not file.startswith(self._packages)
            generated = file.startswith(("<frozen ", "<__array_function__"))
            transparent = of_library or generated or file.startswith(self._numpy)
            self._kinds[file] = file.startswith(self._frameworks), transparent
        return self._kinds[file]


def _folders(name: str) -> tuple[str, ...]:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    return (str(Path(file).parent) + os.sep,) if file else ()
