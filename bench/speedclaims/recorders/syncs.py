"""Host-device synchronizations: how often Python asks for the value of a tensor, and from which line.

Each framework has a module that watches its doors; this one knows whose line stands behind a call, and counts for
whatever frameworks the process has imported. What runs meanwhile is slowed down by it and must not be timed.
"""

import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

_FRAMEWORKS = ("torch", "tensorflow", "keras")
_QUESTIONS = frozenset(
    {"numpy", "convert_to_numpy", "item", "tolist", "cpu", "__array__", "__dlpack__", "to_dlpack", "__bool__"}
    | {"__int__", "__float__", "__complex__", "__index__", "__contains__", "__format__", "__repr__", "__str__"}
)
"""Methods that are the question itself, such as those of variables: whoever called them asked."""


class NothingToCountError(RuntimeError):
    """No framework is imported whose synchronizations could be counted."""


@dataclass
class Syncs:
    """What was counted.

    Attributes:
        own: calls whose nearest caller is no part of a framework, by ``file:line``.
        internal: calls that the frameworks make inside themselves.
    """

    own: Counter[str] = field(default_factory=Counter)
    internal: int = 0

    def note(self, caller: FrameType | None, doors: frozenset[str] = frozenset()) -> None:
        """Count one call for the line behind it.

        NumPy and the standard library decide nothing: who called them did. Without anybody outside them, as in a
        thread of a framework's own, the call is internal.

        Args:
            caller: the innermost frame.
            doors: files of a framework that are passed through on the way in.
        """
        roots = _Roots.here()
        while caller is not None:
            file, name = caller.f_code.co_filename, caller.f_code.co_name
            if roots.is_framework(file):
                if file not in doors and name not in _QUESTIONS:
                    break
            elif not roots.is_transparent(file):
                self.own[f"{file}:{caller.f_lineno}"] += 1
                return
            caller = caller.f_back
        self.internal += 1

    def counted(self, real: Callable[..., Any], doors: frozenset[str]) -> Callable[..., Any]:
        """Return a function that does the same as `real` and counts each call; see `note` for the doors."""

        @wraps(real)
        def ask(*args: Any, **options: Any) -> Any:
            self.note(sys._getframe(1), doors)  # noqa: SLF001 - the cheapest way to the caller
            return real(*args, **options)

        return ask


@contextmanager
def counting_syncs() -> Iterator[Syncs]:
    """Count while the block runs, in PyTorch, TensorFlow or both: whatever is imported when it begins.

    Raises:
        NothingToCountError: neither is imported in this process.
    """
    from speedclaims.recorders import syncs_tf, syncs_torch  # noqa: PLC0415 - they import this module

    modules = [module for module in (syncs_torch, syncs_tf) if module.is_imported()]
    if not modules:
        msg = "neither PyTorch nor TensorFlow is imported: nothing here waits for a device"
        raise NothingToCountError(msg)
    syncs = Syncs()
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(module.counting_syncs(syncs))
        yield syncs


def count_call(call: Callable[[], object], root: Path) -> dict[str, Any]:
    """Run a call and return its own synchronizations as a figure of the record, with their lines and the internal ones.

    Args:
        call: one warm call of a side.
        root: the folder from which lines are named.

    Returns:
        ``figure``; ``lines``, a count by place; and ``internal``, None where nothing could be counted.
    """
    from speedclaims.record import figure  # noqa: PLC0415 - it is loaded where it is needed

    try:
        with counting_syncs() as syncs:
            call()
    except NothingToCountError as error:
        return {"figure": figure(None, "1", str(error)), "lines": {}, "internal": None}
    return {
        "figure": figure(float(syncs.own.total()), "1"),
        "lines": _by_place(syncs.own, root),
        "internal": syncs.internal,
    }


def _by_place(own: Counter[str], root: Path) -> dict[str, int]:
    """Return the counts by places that tell nothing of the machine, the most frequent first."""
    places: Counter[str] = Counter()
    for place, count in own.items():
        file, _, line = place.rpartition(":")
        places[f"{_without_root(file, root)}:{line}"] += count
    return dict(sorted(places.items(), key=lambda item: (-item[1], item[0])))


def _without_root(file: str, root: Path) -> str:
    """Return a path from a folder, or else from where Python found the module: nothing of the machine."""
    path = Path(file)
    if not path.is_absolute():
        return path.as_posix()
    found_in = sorted((Path(entry) for entry in sys.path if entry), key=lambda entry: -len(entry.parts))
    for folder in (root, *found_in):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name


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
