"""Run a command in a temporary folder, and end it when the process that asked for it dies.

`child_process` starts this file as a script, with the standard library alone. The order is one line of JSON on the
standard input, which then stays open: when it closes, the command and all that it started are killed. In any case the
folder is removed. The answer is JSON on the standard output. While the command measures, this process only waits.

On Linux the command dies with this process too, and what it started in other sessions is found, and killed.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, NotRequired, TypedDict

EMPTY_INI = "pytest.ini"
"""An empty file in that folder."""

FIGURES = "figures.json"
"""The file in that folder whose contents the answer holds."""

_MOST_OUTPUT = 65536
_LAST_TRIES = 40


_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
"""Operations of prctl(2)."""
_NO_RANDOM_ADDRESSES, _ASK = 0x0040000, 0xFFFFFFFF
"""Arguments of personality(2)."""


def _linux_call(name: str) -> "Callable[..., int] | None":
    """Return a system call of Linux, None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes  # noqa: PLC0415 - an interpreter may be built without it

    except ImportError:
        return None
    try:
        found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
    return found


_prctl, _personality = _linux_call("prctl"), _linux_call("personality")
_OWN_PID = os.getpid()


class Order(TypedDict):
    """Name a command, its folder, its variables, and the seconds after which it is ended.

    In the command and the variables, `placeholder` stands for the temporary folder. With fixed addresses, the system
    loads the command, its heap and its stack at the same places every time, where it can.
    """

    placeholder: str
    command: list[str]
    directory: str
    environment: dict[str, str]
    limit: float | None
    has_fixed_addresses: NotRequired[bool]


class Answer(TypedDict, total=False):
    """Say how a command ended: its status, whether it was late, the end of its output, what it left; or an error."""

    status: int
    late: bool
    output: str
    left: str | None
    error: str


class Supervised:
    """Hold a command that runs in a process group, so that what it starts can be ended with it."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.process: subprocess.Popen[bytes] | None = None
        self.is_over = self.is_late = False

    def run(self, order: Order, folder: str, output: IO[bytes]) -> int:
        """Run the command and return its status."""
        self.process = process = subprocess.Popen(  # noqa: S603 - of who started this process
            [argument.replace(order["placeholder"], folder) for argument in order["command"]],
            cwd=order["directory"],
            env={name: value.replace(order["placeholder"], folder) for name, value in order["environment"].items()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0 if os.name == "posix" else None,
            preexec_fn=_prctl and partial(_prepare, has_fixed_addresses=order.get("has_fixed_addresses", False)),  # noqa: PLW1509 - the only other thread reads
        )
        if self.is_over:
            self.end()
        if _prctl is not None:
            signal.signal(signal.SIGCHLD, lambda *_: _reap(process.pid))
            _reap(process.pid)
        if order["limit"] is not None:
            timer = threading.Timer(order["limit"], self.end_late)
            timer.daemon = True
            timer.start()
        status = process.wait()
        self.end()  # what it left running in its group
        _end_orphans()
        return status

    def end(self) -> None:
        """Kill the command and all that it started."""
        self.is_over = True
        if self.process is None:
            return
        try:
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        except (ProcessLookupError, PermissionError):  # it has ended
            pass

    def end_late(self) -> None:
        """Kill the command, whose time is up."""
        self.is_late = True
        self.end()

    def end_with_parent(self) -> None:
        """Kill the command when the standard input is closed, as it is when the process at its other end dies."""
        while os.read(0, 4096):
            pass
        self.end()


def _prepare(*, has_fixed_addresses: bool) -> None:
    """Let the command die when this process does, in whatever way, and fix its addresses where that is asked for."""
    if has_fixed_addresses and _personality is not None:
        _personality(_personality(_ASK) | _NO_RANDOM_ADDRESSES)  # a container may not allow it
    assert _prctl is not None  # noqa: S101 - it is not called without
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != _OWN_PID:  # it has died already
        os._exit(1)


def _reap(command: int) -> None:
    """Reap the processes that the command left to this one, and leave the command itself to `Popen.wait`."""
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid == command:
                return
            os.waitpid(found.si_pid, os.WNOHANG)


def _end_orphans() -> None:
    """Kill what the command started and left running: when their parent has died, they are children of this process."""
    for _ in range(_LAST_TRIES if _prctl is not None else 0):
        orphans = _children()
        if not orphans:
            return
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _children() -> list[int]:
    """Return the numbers of this process's children, from proc(5)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                after_name = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
                if int(after_name.split()[1]) == _OWN_PID:
                    found.append(int(folder.name))
    return found


def _remove(folder: Path) -> None:
    """Remove a folder; processes that were killed may write to it for another moment."""
    for _ in range(_LAST_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _run(order: Order, supervised: Supervised) -> Answer:
    """Return how the ordered command ended, and what it left."""
    folder = Path(tempfile.mkdtemp(prefix="speedclaims-"))
    try:
        (folder / EMPTY_INI).touch()
        output = folder / "output.txt"
        with output.open("wb") as file:
            status = supervised.run(order, str(folder), file)
        figures = folder / FIGURES
        return {
            "status": status,
            "late": supervised.is_late,
            "output": output.read_bytes()[-_MOST_OUTPUT:].decode("utf-8", "replace"),
            "left": figures.read_text(encoding="utf-8") if figures.exists() else None,
        }
    finally:
        _remove(folder)


def main() -> None:
    """Read the order, follow it, and answer."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            return
        line += part
    for name in ("SIGTERM", "SIGHUP"):  # who asked got it too; handlers, unlike ignored signals, are not inherited
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), lambda *_: None)
    if _prctl is not None:
        _prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    supervised = Supervised()
    threading.Thread(target=supervised.end_with_parent, daemon=True).start()
    try:
        answer = _run(json.loads(line), supervised)
    except OSError as error:
        answer = {"error": str(error)}
    try:
        sys.stdout.write(json.dumps(answer))
        sys.stdout.flush()
    except OSError:  # nobody is there any more
        pass
    os._exit(0)  # without waiting for the thread that reads


if __name__ == "__main__":
    main()
