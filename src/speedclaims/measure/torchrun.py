"""Build the command by which torchrun starts the ranks of a pair."""

import importlib.util
import re
from typing import Final

from speedclaims.errors import SpeedclaimsError
from speedclaims.measure import command_line

OWN_FOLDER: Final = """\
import os
sys.argv = [one + os.environ["RANK"] if one.startswith("--basetemp=") else one for one in sys.argv]
"""
"""Runs in each rank before pytest, which empties the folder for temporary files that it is given."""


class RanksError(SpeedclaimsError, RuntimeError):
    """PyTorch, which has torchrun, cannot be imported."""


_ROLE = "rank"
_CAUSE = re.compile(r"Root Cause .*\n(?:.*\n)*?\s+rank\s+: (\d+).*\n\s+exitcode\s+: (-?\d+)", re.MULTILINE)


def explained(output: str) -> tuple[str, str] | None:
    """Return which rank ended first and how, and what that rank wrote; None where torchrun reports none."""
    cause = _CAUSE.search(output)
    if cause is None:
        return None
    rank, code = cause.groups()
    how = f"was killed by signal {code[1:]}" if code.startswith("-") else f"ended with {code}"
    mark = f"[{_ROLE}{rank}]:"
    lines = [line.removeprefix(mark) for line in output.splitlines() if line.startswith(mark)]
    return f"rank {rank} {how}, and the others with it", "\n".join(lines)


def launcher(number: int) -> list[str]:
    """Return the beginning of a command by which torchrun starts the rest in as many ranks on this machine.

    Raises:
        RanksError: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise RanksError("the marker speedup_ranks starts ranks by torchrun, which is a part of PyTorch: install torch")
    flags = ("--standalone", f"--nproc-per-node={number}", "--no-python", f"--role={_ROLE}")
    logs = ("--tee=3", f"--log-dir={command_line.FOLDER}/ranks")  # each line says whose it is
    return [command_line.PYTHON, "-m", "torch.distributed.run", *flags, *logs]
