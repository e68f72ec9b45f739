"""Keep freed memory in the process, instead of returning it to the system."""

import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_kept", "keeps_freed_memory", "return_freed_memory"]

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = -1
_MMAP_MAX_BY_DEFAULT = 65_536
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""Bytes up to which glibc raises that threshold by itself on a 64-bit system, once such blocks were freed."""


@functools.cache
def keeps_freed_memory() -> bool:
    """Say whether `freed_memory_kept` does something: the C library is glibc, and the user has no settings for it."""
    settings = "".join(name for name in os.environ if name.startswith("MALLOC_")) + os.environ.get("GLIBC_TUNABLES", "")
    return platform.libc_ver()[0] == "glibc" and "malloc" not in settings.lower()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed inside for what is allocated next.

    glibc returns every block of 32 MiB or more to the system when it is freed. The system clears each page that it
    hands out, which takes longer than many an operation on that block. At the end, malloc's thresholds are the largest
    that glibc goes up to by itself. What was kept stays, but for its end, until `return_freed_memory`. Later blocks of
    any size are found in it: another side that is measured in the same process gains from it too.

    Concerns the whole process; other threads than the main one keep less. To be used by one caller at a time: the end
    of one inside another ends both.
    """
    if not keeps_freed_memory():
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    libc.mallopt(_MMAP_MAX, 0)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _MMAP_MAX_BY_DEFAULT)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)


def return_freed_memory() -> None:
    """Return to the system what `freed_memory_kept` kept."""
    if keeps_freed_memory():
        ctypes.CDLL(None).malloc_trim(0)
