"""Build functions in C++ for the processor that they run on, and load them."""

import ctypes
import functools
import hashlib
import os
import stat
import subprocess
import tempfile
from pathlib import Path

from trainers.common.cache_dir import get_or_create
from trainers.contract import BadInput
from trainers.pytorch.devices import cpp_compiler, cpu_capabilities

__all__ = ["load_library"]

# Threads are OpenMP's, as PyTorch's are: a library that is built by GCC shares the pool of PyTorch's own.
_OPTIONS = (
    "-std=c++20", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"
)  # fmt: skip


@functools.cache
def load_library(family: str, source: Path) -> ctypes.CDLL:
    """Load the functions of a source file, built once for each kind of processor and kept in the cache of a family.

    Raises:
        BadInput: there is no compiler, it refuses the source, or there is no place to keep the library.

    """
    program = cpp_compiler()
    if program is None:
        raise BadInput("there is no C++ compiler", "CXX", "install g++, or turn off the switch that needs it")
    try:
        version = subprocess.run([program, "--version"], capture_output=True, check=False).stdout  # noqa: S603 - the user's
    except OSError as error:
        raise BadInput(f"{program} cannot be run: {error.strerror}", "CXX", "install g++, or set CXX to it") from error
    parts = [source.read_bytes(), version, repr((_OPTIONS, sorted(cpu_capabilities().items()))).encode()]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    build = functools.partial(_build, program, source)
    try:
        path = get_or_create(family, f"{source.stem}-{digest}.so", build, is_good=_loads)
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stderr.splitlines() if "error" in line), f"exit code {error.returncode}")
        mend = "set CXX to GCC 12 or newer, or turn off the switch that needs it"
        raise BadInput(f"{program} refuses it: {said}", str(source), mend) from error
    return ctypes.CDLL(str(path))


def _is_private(path: Path) -> bool:
    """Whether nobody but this user and root may have put something at a path, as far as the system can say."""
    if not hasattr(os, "getuid"):
        return True
    for place in (path, *path.parents[:3]):
        if place.exists():
            status = place.stat()
            is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
            if status.st_uid not in {0, os.getuid()} or is_open:
                return False
    return True


def _loads(path: Path) -> bool:
    if not _is_private(path):  # loading a library runs it
        return False
    try:
        ctypes.CDLL(str(path))
    except OSError:
        return False
    return True


def _build(program: str, source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _is_private(path.parent / "new"):
        raise OSError("others may write here")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        command = [program, *_OPTIONS, str(source), "-o", str(built)]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - the user's compiler
        except subprocess.CalledProcessError as error:
            if any(word in error.stderr.lower() for word in ("no space left", "quota exceeded")):
                raise OSError("the folder is full") from error
            raise
        if not _loads(built):
            raise OSError("nothing in this folder may be run")
        built.replace(path)  # two processes that build it at once do not disturb each other
