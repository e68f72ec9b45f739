"""Keep freed memory in the process, instead of returning it to the system."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_kept"]

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = -1
_MMAP_MAX_BY_DEFAULT = 65_536
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""Bytes up to which glibc raises that threshold by itself on a 64-bit system, once such blocks were freed."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed inside for what is allocated next; give it back to the system at the end.

    glibc returns every block of 32 MiB or more to the system when it is freed. The system clears each page that it
    hands out, which takes longer than many an operation on that block. After the end, malloc's thresholds are those
    that glibc would have reached by itself. This concerns all threads of the process, and does nothing where the C
    library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
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
        libc.malloc_trim(0)
