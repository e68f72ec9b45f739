"""Write files whole or not at all, and look first at what is in their place.

A link stays, and the file that it leads to is written. A device or a pipe is written to. No file of a command's input
is replaced.
"""

import contextlib
import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from speedclaims.clock import now
from speedclaims.errors import SpeedclaimsError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""Errors of a file system that cannot give a file a second name."""
_MOST_LOCKED_S = 10.0


class OutputError(SpeedclaimsError, ValueError):
    """Signal that an output must not be written, in one line: where, why, and what to do."""


# -- looking -------------------------------------------------------------------------------------------------------


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write an output over an input, whichever names, links or hard links lead to it.

    Raises:
        OutputError: one of the outputs is one of the inputs.
    """
    read = list(inputs)
    for output in outputs:
        if any(is_same(output, one) for one in read):
            raise OutputError(
                f"{output}: it is an input too, which nothing may replace: name another place to write to"
            )


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def refuse_foreign(path: Path, is_ours: Callable[[bytes], bool], what: str) -> None:
    """Refuse to replace a file that is neither empty nor, by what it holds, of an earlier run.

    Args:
        path: the output.
        is_ours: says of a content whether it is of an earlier run.
        what: what files of earlier runs are, such as ``an earlier export``.

    Raises:
        OutputError: it is somebody else's file.
        OSError: it cannot be read.
    """
    content = path.read_bytes() if path.is_file() else b""
    if content and not is_ours(content):
        raise OutputError(f"{path}: it is not {what}, and would be replaced: move it, or name another place")


def holds(*marks: bytes) -> Callable[[bytes], bool]:
    """Return a function that says of a content whether it holds one of some marks."""
    return lambda content: any(mark in content for mark in marks)


def check_output(path: Path) -> None:
    """Find out whether a file can be written, before anything that takes long.

    Raises:
        OSError: it cannot.
    """
    kind = _writable_mode(path)
    if kind is None or stat.S_ISREG(kind):
        check_folder(_behind_links(path).parent)


def check_folder(folder: Path) -> None:
    """Make a folder, and write a file in it to find out whether others can be written there.

    Raises:
        OSError: they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove(_write_temporary(folder, "?"))


def _writable_mode(path: Path) -> int | None:
    """Return the mode of what a path leads to, None where there is nothing.

    Raises:
        OSError: it is a folder, or may not be written.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return mode


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path))


# -- writing -------------------------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: to a temporary file in the same folder, which is renamed over it.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    mode = _writable_mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text)
        return
    _replace([(_behind_links(path), text)])


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, whole or not at all. Of two processes that do so at once one succeeds.

    Raises:
        FileExistsError: there is something of that name.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(path.parent, text)
    try:
        temporary.chmod(0o666 & ~_umask())
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # the name is ours from here on
        temporary.replace(path)
    finally:
        _remove(temporary)


def write_together(folder: Path, texts: Mapping[str, str], *, remove: Sequence[str] = ()) -> list[Path]:
    """Write several files of a folder and return their paths. None is replaced before all are on disk.

    Two processes that write to one folder at once do so one after the other: all files are of one of them.

    Args:
        folder: the folder, made if needed.
        texts: the files by their names.
        remove: names of files that go when these come.

    Raises:
        OSError: they cannot be written; what was there stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _replace([(_behind_links(folder / name), text) for name, text in texts.items()])
        for name in remove:
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in texts]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of the same block with the same folder, as far as its file system can.

    A process that waits for longer than ten seconds goes ahead: the one that has the lock may be stopped.
    """
    handle = None
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a folder may be written and not read
            handle = os.open(folder, os.O_RDONLY)
    if handle is None:
        yield
        return
    try:
        until = now() + _MOST_LOCKED_S
        while now() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:  # a file system without locks
                break
            else:
                break
        yield
    finally:
        os.close(handle)  # this gives the lock back


def _replace(files: Sequence[tuple[Path, str]]) -> None:
    """Write temporary files in the folders of the others, then rename them all."""
    written: list[tuple[Path, Path]] = []
    try:
        for path, text in files:
            mode = _writable_mode(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = _write_temporary(path.parent, text)
            written.append((temporary, path))
            temporary.chmod(0o666 & ~_umask() if mode is None else stat.S_IMODE(mode))
        for temporary, path in written:
            temporary.replace(path)
    finally:
        for temporary, _ in written:
            _remove(temporary)


def _write_temporary(folder: Path, text: str) -> Path:
    """Write a file of a name that nothing else has, and force it to the disk."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".speedclaims-")
    try:
        # a name may hold what is no text of any language, such as half of a surrogate pair
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        _remove(Path(name))
        raise
    return Path(name)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
