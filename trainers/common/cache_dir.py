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

    It lies under `$XDG_CACHE_HOME` (or `~/.cache`), or under the system's temporary folder if that is read-only.

    Args:
        family: that it belongs to.
        name: of the file or folder; it changes with whatever changes the content.
        write: makes it at the path it is given, whole or not at all; raises BadInput or OSError where it cannot.
        is_good: whether what is at a path can be used; what cannot is made again.

    Raises:
        BadInput: there is no place to keep it.

    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for root in (cache, Path(tempfile.gettempdir())):
        path = root / "trainers" / family / name
        if is_good(path):
            return path
        try:
            write(path)
        except (BadInput, OSError):
            continue
        return path
    raise BadInput(f"no place to keep {name}", str(cache), "set XDG_CACHE_HOME to a folder you may write to")
