"""Where the families keep the data they make up for themselves."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from trainers.contract import BadInput

__all__ = ["get_or_create"]


def get_or_create(
    family: str, name: str, write: Callable[[Path], None], *, is_good: Callable[[Path], bool] = Path.exists
) -> Path:
    """Find a file or folder that was made before, or make it.

    It lies under `$XDG_CACHE_HOME` (or `~/.cache`). Where nothing can be read or written there, it lies under the
    system's temporary folder, or in a folder of the user's there, if another user has made the first one.

    Args:
        family: that it belongs to.
        name: of the file or folder; it changes with whatever changes the content.
        write: makes it at the path it is given, whole or not at all; raises BadInput or OSError where it cannot.
        is_good: whether what is at a path can be used; what cannot is made again.

    Raises:
        BadInput: there is no place to keep it.

    """
    temporary = Path(tempfile.gettempdir())
    roots = [*_cache_folder(), temporary, temporary / f"cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"]
    for root in roots:
        path = root / "trainers" / family / name
        try:
            if is_good(path):
                return path
            write(path)
        except (BadInput, OSError):
            continue
        return path
    raise BadInput(f"no place to keep {name}", str(roots[0]), "set XDG_CACHE_HOME to a folder you may write to")


def _cache_folder() -> list[Path]:
    """Return the user's folder for caches; none for a user without a home."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return [Path(named)]
    try:
        return [Path.home() / ".cache"]
    except RuntimeError:
        return []
