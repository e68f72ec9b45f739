"""Run a command so that each of its ends has an exit code and one line.

The plugin and the trainers import nothing of each other, so each has this module; `tests/test_house.py` compares them.
"""

import contextlib
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import TextIO

BAD_INPUT, FAULT, INTERRUPTED = 2, 70, 130
"""Exit codes: refused input and unusable places, an error that nobody expected, and Ctrl-C."""

_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT})
"""Errors that a stream raises when it is written to; they name no file."""


def run(command: Callable[[], int], refused: type[Exception] | tuple[type[Exception], ...], name: str) -> int:
    """Run a command and return its exit code; where it fails, write one line to the standard error.

    Text that the terminal cannot show is escaped.

    Args:
        command: does the work and returns its exit code.
        refused: errors by which the command refuses its input; their text is the line.
        name: the first word of the line.

    Returns:
        The command's exit code, or one of `BAD_INPUT`, `FAULT` and `INTERRUPTED`.

    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run_to_the_end(command, refused, name)
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                try:
                    stream.flush()
                except OSError:
                    drop_output(stream)


def _run_to_the_end(
    command: Callable[[], int], refused: type[Exception] | tuple[type[Exception], ...], name: str
) -> int:
    try:
        return _until_written(command)
    except refused as error:
        complain(f"{name}: {error}")
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except OSError as error:
        complain(f"{name}: {describe_place(error)}")
    except Exception as error:  # noqa: BLE001 - this is where an error that nobody expected ends
        complain(f"{name}: {keep_traceback(error)}")
        return FAULT
    return BAD_INPUT


def _until_written(command: Callable[[], int]) -> int:
    """Run a command, and write what the standard output still holds while a failure can still be reported."""
    try:
        code = command()
    except SystemExit:
        _flush()
        raise
    _flush()
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def say(text: str) -> None:
    """Print a text at once; a reader that has gone away, such as `head`, is no error.

    Raises:
        OSError: the output cannot be written.

    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    try:
        print(text, flush=True)  # noqa: T201 - commands say what they did by this
    except BrokenPipeError:
        drop_output(sys.stdout)


def complain(line: str) -> None:
    """Write one line to the standard error, if it can be written."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(" ".join(line.splitlines()), file=sys.stderr, flush=True)  # noqa: T201 - likewise


def drop_output(stream: TextIO) -> None:
    """Forget what a stream still holds: it would fail once more when the process ends, and change its exit code."""
    with contextlib.suppress(OSError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def describe_place(error: OSError) -> str:
    """Return in one line which place cannot be read or written, and why."""
    why = error.strerror or str(error) or type(error).__name__
    place = error.filename
    if place is not None:
        shown = os.fsdecode(place) if isinstance(place, bytes) else place
        return f"{shown}: {why}: name a place that can be used"
    if error.errno in _OF_OUTPUT:
        return f"the output cannot be written ({why}): send it elsewhere"
    return why


def keep_traceback(error: BaseException) -> str:
    """Write the traceback of an unexpected error to a temporary file, and return one line that says where."""
    text = "".join(traceback.format_exception(error))
    what = " ".join(f"unexpected {type(error).__name__}: {error}".split())
    try:
        handle, path = tempfile.mkstemp(prefix="traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f" in {frame.filename}, line {frame.lineno}" for frame in last)
        return f"{what}{where}; its traceback cannot be written: please report this"
    return f"{what}; its traceback is in {path}: please report this"
