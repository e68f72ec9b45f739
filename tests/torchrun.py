"""Start torchrun's ranks on this machine, for tests."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
END_S = 60
"""Seconds within which a job ends, also one that lost a rank."""


@contextlib.contextmanager
def started(num_ranks: int, *arguments: str, cwd: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """Start `torchrun --nproc-per-node NUM_RANKS ARGUMENTS` in a new session, and end all of it afterwards."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    ranks: set[int] = set()
    try:
        with process:
            yield process
            ranks = set(ranks_of(process.pid))
            process.kill()
    finally:
        for pid in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def run(num_ranks: int, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a job to its end; see `started`."""
    with started(num_ranks, *arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=4 * END_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def ranks_of(pid: int) -> list[int]:
    """Return the processes that torchrun with this number has started, the first rank first."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return sorted(map(int, children.read_text(encoding="ascii").split())) if children.exists() else []
