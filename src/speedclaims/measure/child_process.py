"""Repeat a test in a fresh process, for what one process cannot tell.

The child's command line, see `command_line`, has one hidden option that names the test, the pass and the side. It runs
that test alone and leaves its figures in a file. Between it and this process is another one, see `supervisor`, which
ends the child and removes its temporary folder, also where this process is killed.
"""

import json
import math
import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from speedclaims.errors import SpeedclaimsError
from speedclaims.measure import command_line, supervisor
from speedclaims.measure.torchrun import OWN_FOLDER, explained, launcher
from speedclaims.record.json_types import Json

OPTION = "--speedup-child"

OUT = f"{command_line.FOLDER}/{supervisor.FIGURES}"
"""The file in which a job leaves its figures."""

_COMPILER_CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables that name the folders in which compilers keep what they made, for later processes."""

_SPARE_S = 900

_PADDING, _SIZE, _PAGE, _ALIGNMENT = "SPEEDCLAIMS_PADDING", 32768, 4096, 16


class ChildError(SpeedclaimsError, RuntimeError):
    """A fresh process did not deliver all of its figures.

    Args:
        message: what went wrong; it ends with the last lines of the process.
        left: what the process delivered before that.
    """

    def __init__(self, message: str, left: Json = None) -> None:
        """Keep what there is."""
        super().__init__(message)
        self.left = left

    @property
    def cause(self) -> str:
        """The error of the process's test where its output shows one, else the first line of the message."""
        lines = str(self).splitlines()
        return next((line.removeprefix("E").strip() for line in lines if line.startswith("E  ")), lines[0])


@dataclass(frozen=True)
class Job:
    """Describe the task of a fresh process.

    Attributes:
        nodeid: the test.
        path: its file.
        task: ``time`` (both sides, in alternation), or for one side what ``passes.run_tasks`` takes.
        side: ``before`` or ``after``; for ``time`` neither.
        out: file for the figures.
        max_time: seconds that it may measure.
        num_processes: how many processes share the pair.
        channel: address at which the process that started this one asks for one round after the other.
        ranks: how many ranks of torchrun do it together; 0 for one process without torchrun.
    """

    nodeid: str
    path: str
    task: str
    side: str
    out: str
    max_time: float
    num_processes: int
    channel: str = ""
    ranks: int = 0


def job_of(config: pytest.Config) -> Job | None:
    """Return what this process is to do, None in an ordinary process.

    Raises:
        pytest.UsageError: somebody else gave the option.
    """
    text = config.getoption("speedup_child", None)
    try:
        return None if text is None else Job(**json.loads(text))
    except (TypeError, ValueError):
        raise pytest.UsageError(f"{OPTION} is for fresh processes that this plugin starts: leave it out") from None


def _empty_caches(task: str) -> dict[str, str]:
    """Return variables by which compilers find nothing that an earlier process made, where a first call is timed."""
    folder = command_line.FOLDER
    return {name: f"{folder}/{name.lower()}" for name in _COMPILER_CACHES} if "cold" in task else {}


def padding(command: Sequence[str], environment: Mapping[str, str], layout: int) -> str:
    """Return a text that, as a variable, makes arguments and variables of all processes of a layout equally long.

    They lie above the stack, so that their length moves it, and with it the speed (Mytkowicz et al., Producing wrong
    data without doing anything obviously wrong, ASPLOS 2009).
    """
    arguments = sum(len(os.fsencode(one)) + 1 for one in command)
    variables = sum(len(os.fsencode(name)) + len(os.fsencode(value)) + 2 for name, value in environment.items())
    size = arguments + variables + len(_PADDING) + 2
    place = random.Random(layout).randrange(0, _PAGE, _ALIGNMENT)  # noqa: S311 - no secret
    return "x" * (math.ceil(size / _SIZE) * _SIZE + place - size)


def seed(hash_seed: int | None) -> dict[str, str]:
    """Return the variable that sets the seed of a process's hashes."""
    return {} if hash_seed is None else {"PYTHONHASHSEED": str(hash_seed)}


def run(  # noqa: PLR0913 - what a job is made of
    item: pytest.Item,
    task: str,
    side: str = "",
    *,
    max_time: float,
    limit: float = math.inf,
    hash_seed: int | None = None,
    num_processes: int = 1,
    ranks: int = 0,
) -> Json:
    """Run one job, which measures for `max_time` seconds at most, in a fresh process and return what it left.

    Args:
        item: the test.
        task: see `Job`.
        side: see `Job`.
        max_time: seconds that the job may measure.
        limit: seconds after which the process is ended.
        hash_seed: seed of the process's hashes; by default as in this process.
        num_processes: how many processes share the pair.
        ranks: how many ranks of torchrun do it together, 0 for none.

    Raises:
        ChildError: the process failed, or was ended, before it had left everything.
    """
    job = Job(item.nodeid, str(item.path), task, side, OUT, max_time, num_processes, ranks=ranks)
    limit = min(limit, _SPARE_S + 2 * max_time)
    start = command_line.Start(first=OWN_FOLDER if ranks else "")
    return run_job(item, job, start, seed(hash_seed) | _empty_caches(task), limit)


def run_job(item: pytest.Item, job: Job, start: command_line.Start, variables: Mapping[str, str], limit: float) -> Json:
    """Run one job in a fresh process and return what it left.

    Args:
        item: the test whose session it is of.
        job: the job.
        start: how the process is started.
        variables: of its environment, besides those of this one.
        limit: seconds after which the process is ended.

    Raises:
        ChildError: the process failed, or was ended, before it had left everything.
    """
    path = Path(job.path)
    command = command_line.command(item.config, path, job.nodeid, f"{OPTION}={json.dumps(asdict(job))}", start=start)
    if job.ranks:
        command = [*launcher(job.ranks), *command]
    environment = command_line.environment(start) | dict(variables)
    if start.layout is not None and os.name == "posix":
        environment[_PADDING] = padding(command, environment, start.layout)
    ended = supervised(
        command,
        str(item.config.invocation_params.dir),
        environment,
        limit,
        has_fixed_addresses=start.layout is not None,
    )
    name = f"the fresh process for {job.task} {job.side}".rstrip()
    if "error" in ended:
        raise ChildError(f"{name} failed: {ended['error']}")
    left = json.loads(ended["left"]) if ended["left"] else None
    if ended["late"]:
        raise ChildError(f"{name} did not end within {limit:.0f} s", left and left["figures"])
    if left is None or not left["is_all"]:
        how, output = f"ended with {ended['status']}", ended["output"]
        lost = explained(output) if job.ranks else None
        if lost is not None:
            name, (how, output) = "", lost
        if "ERROR: not found:" in ended["output"]:
            how = f"does not find {job.nodeid}, a name that may differ from process to process: it {how}"
        tail = "\n".join(output.splitlines()[-30:])
        raise ChildError(f"{name} {how}:\n{tail}".lstrip(), left and left["figures"])
    return left["figures"]


def supervised(
    command: list[str], directory: str, environment: dict[str, str], limit: float, *, has_fixed_addresses: bool = False
) -> supervisor.Answer:
    """Run a command that ends with this process and leaves nothing behind.

    Args:
        command: the command; `command_line.FOLDER` in it, and in the environment, stands for its temporary
            folder.
        directory: the folder in which it runs.
        environment: its variables.
        limit: seconds after which it is ended.
        has_fixed_addresses: load it at the same addresses every time, where the system can.

    Returns:
        Its `status`, whether it was too `late`, the end of its `output`, and what it `left` in the file for figures. Or
        the `error` why it could not be started.
    """
    order: supervisor.Order = {
        "placeholder": command_line.FOLDER,
        "command": command,
        "directory": directory,
        "environment": environment,
        "limit": limit if math.isfinite(limit) else None,
        "has_fixed_addresses": has_fixed_addresses,
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - our own file
            [command_line.PYTHON, "-I", "-S", supervisor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return {"error": str(error)}
    with process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101 - pipes were asked for
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.read()
        except BrokenPipeError:
            answer = b""
        finally:
            process.stdin.close()  # by which the command ends, should it still run
    if not answer:
        return {"error": f"its supervisor ended with {process.returncode}"}
    found: supervisor.Answer = json.loads(answer)
    return found


def leave(job: Job, figures: Json, *, is_all: bool = True) -> None:
    """Write a job's figures, all of them or those there are so far, where the process that started this one reads."""
    unfinished = Path(f"{job.out}.part")
    unfinished.write_text(json.dumps({"is_all": is_all, "figures": figures}, allow_nan=False), encoding="utf-8")
    unfinished.replace(job.out)


def left_by(job: Job) -> Json:
    """Return what a job has left so far, None where it has left nothing."""
    return json.loads(Path(job.out).read_text(encoding="utf-8"))["figures"] if Path(job.out).exists() else None
