"""A first look at a GPU: every CUDA path of the project once, in under two minutes, each failure with its traceback.

``python -m bench.gpu.probe OUT [PRESET]`` writes a line of JSON for each check to ``OUT/probe.jsonl`` as it goes, and a
short line to the terminal. It ends with 0, with 1 where a check failed, and with 2 where there is no GPU.
"""

import argparse
import faulthandler
import json
import math
import os
import subprocess
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.gpu.pack import commit_info
from bench.gpu.runner import GPU_LOST, gpu_is_lost

ROOT = Path(__file__).parents[2]
NO_GPU = 2
HUNG_AFTER_S = 60.0
"""Seconds after which a check is taken for hung; its process is ended with every thread's traceback."""

PRESETS = ("tiny", "smoke", "default")
_WIDTH = 79
_MOST_ERROR_LINES = 4
_NAME_WIDTH = 22
_CORES_TO_COMPILE_AHEAD = 8
_MOST_WAIT_S = 40.0
_LEAST_SHOWN_S = 0.5

NOT_JUDGED = "not judged"
"""Outcome of a check that found values wrong on a device that computes none."""

_WORDS = {"ok": "ok", "failed": "FAILED", NOT_JUDGED: "not judged"}

Log = Callable[[str], object]


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


def probe(  # noqa: PLR0913 - all but the first two are for its callers here
    out: Path,
    preset: str,
    log: Log = _print,
    *,
    seconds: float = 110.0,
    compile_ahead: bool | None = None,
    done: Container[str] = (),
) -> int:
    """Run the checks one after the other.

    Args:
        out: folder of ``probe.jsonl``, to which a line is appended for each check.
        preset: sizes of the trainers.
        log: takes the lines for the terminal.
        seconds: once they have passed, no further check begins; those left are named.
        compile_ahead: whether processes of their own fill the compiler's cache meanwhile, by running the checks that
            compile; by default where there are cores for that.
        done: names of checks that are not to run.

    Returns:
        How many checks failed; `NO_GPU` where there is no CUDA device at all.

    Raises:
        OSError: the file cannot be written.
    """
    reason = no_gpu()
    if reason is not None:
        log(f"no GPU: {reason}")
        return NO_GPU
    _find_plugin()
    from bench.gpu.checks import CHECKS, FIRST_OF_TRAINERS, Look  # noqa: PLC0415 - it imports PyTorch

    out.mkdir(parents=True, exist_ok=True)
    file, look, began = out / "probe.jsonl", Look(preset), time.perf_counter()
    _append(file, {"began": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "preset": preset, "commit": commit_info(ROOT)})
    num_failed = num_unjudged = 0
    waiting = [check for check in CHECKS if check.name not in done]
    computes = device_computes()
    if not computes:
        log("The device computes nothing (1 + 1 is not 2): wrong values are not judged.")
    if compile_ahead is None:
        compile_ahead = len(os.sched_getaffinity(0)) >= _CORES_TO_COMPILE_AHEAD
    ahead = _Ahead(out / "compiling.log", preset)
    try:
        while waiting and time.perf_counter() - began < seconds:
            check = waiting.pop(0)
            if compile_ahead and check.name == FIRST_OF_TRAINERS:
                ahead.start([each.name for each in CHECKS if each.compiles])
            waited_s = ahead.wait() if check.compiles else 0.0
            if waited_s > _LEAST_SHOWN_S:
                log(lines("compiling ahead", {"outcome": "ok", "seconds": waited_s})[0])
            _append(file, {"begun": check.name})
            faulthandler.dump_traceback_later(HUNG_AFTER_S, exit=True)
            row = _run(check.run, look, computes=computes)
            faulthandler.cancel_dump_traceback_later()
            num_failed += row["outcome"] == "failed"
            num_unjudged += row["outcome"] == NOT_JUDGED
            _append(file, {"check": check.name, **row})
            for text in lines(check.name, row):
                log(text)
            if row["outcome"] == "failed" and gpu_is_lost():
                os._exit(GPU_LOST)
    finally:
        ahead.end()
    names = [check.name for check in waiting]
    if names:
        _append(file, {"not_run": names, "seconds": seconds})
        log(f"not run, as {seconds:g} s had passed: {', '.join(names)}")
    look.forget()
    num_run = len(CHECKS) - len(names)
    unjudged = f", {num_unjudged} not judged" if num_unjudged else ""
    passed = f"{num_run - num_failed - num_unjudged} of {num_run} checks passed{unjudged}"
    log(f"{passed} in {time.perf_counter() - began:.0f} s; details: {file.name}")
    return num_failed


def probe_safely(out: Path, preset: str, environment: Mapping[str, str]) -> int:
    """Run the checks in processes of their own; after one that ends its process, go on in a fresh one.

    Args:
        out: as for `probe`.
        preset: as for `probe`.
        environment: variables of the processes.

    Returns:
        The exit code: 0, 1 where a check failed, 2 where there is no GPU.
    """
    file, seconds, began, has_died = out / "probe.jsonl", 110.0, time.perf_counter(), False
    num_before = len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0  # of an earlier look
    while True:
        command = [
            sys.executable,
            "-m",
            "bench.gpu.probe",
            str(out),
            preset,
            f"--seconds={seconds:g}",
            f"--after={num_before}",
        ]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603 - ourselves
        begun, ended = _checks_in(file, num_before)
        died = [name for name in begun if name not in ended]
        if not died:
            return max(code, int(has_died)) if code in {0, 1} else code
        has_died = True
        error = f"the process that ran it ended with {code}"
        _append(file, {"check": died[-1], "outcome": "failed", "error": error, "seconds": 0.0})
        _print(f"{died[-1]:<{_NAME_WIDTH}}FAILED: {error}")
        seconds = max(0.0, 110.0 - (time.perf_counter() - began))


def _checks_in(file: Path, num_before: int) -> tuple[list[str], set[str]]:
    """Return the checks that have begun, by the file after some lines, and those that have ended."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    rows = [json.loads(line) for line in text.splitlines()[num_before:]]
    return [row["begun"] for row in rows if "begun" in row], {row["check"] for row in rows if "check" in row}


def no_gpu() -> str | None:
    """Return why PyTorch has no CUDA device here; None where it has one."""
    if find_spec("torch") is None:
        return "PyTorch is not installed"
    import torch  # noqa: PLC0415 - a machine without it must still import this module

    if torch.cuda.is_available():
        return None
    return "PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no CUDA device"


def device_computes() -> bool:
    """Whether kernels do their work: a CUDA runtime made for rehearsals starts them and computes nothing."""
    import torch  # noqa: PLC0415 - as above

    return bool((torch.ones(64, device="cuda") + 1).sum().item() == 128)


def lines(name: str, row: Mapping[str, Any]) -> list[str]:
    """Return the terminal's lines of a check, no wider than the terminal: its figures, and its error."""
    has_error = row["outcome"] != "ok"
    figures = ((key, value) for key, value in row.get("figures", {}).items() if isinstance(value, int | float | str))
    line = f"{name:<{_NAME_WIDTH}}{_WORDS[row['outcome']]:<11}{row['seconds']:5.1f} s"
    for number, (key, value) in enumerate(figures):
        longer = f"{line}{', ' if number else '  '}{_named(key)} {_short(value)}"
        if len(longer) > _WIDTH:  # whole figures only: half a number is another number
            break
        line = longer
    indented = {"initial_indent": "    ", "subsequent_indent": "    "}
    return [line, *(textwrap.wrap(row["error"], _WIDTH, **indented)[:_MOST_ERROR_LINES] if has_error else [])]


def _named(key: str) -> str:
    """Return a figure's name for people: words, and units as they are written."""
    return " ".join("MB" if word == "mb" else word for word in key.split("_"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.probe", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for probe.jsonl")
    parser.add_argument("preset", nargs="?", choices=PRESETS, default="default", help="sizes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=110.0, help="begin no check after so long (default: 110)")
    parser.add_argument("--compile", metavar="CHECK", help=argparse.SUPPRESS)
    parser.add_argument("--after", type=int, metavar="LINES", help=argparse.SUPPRESS)
    _find_plugin()
    from speedclaims import boundary  # noqa: PLC0415 - it may be found only now

    return boundary.run(lambda: _run_command(parser, arguments), (), "error")


def _run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    given = parser.parse_args(arguments)
    if given.compile:
        _compile(given.compile, given.preset)
        return 0
    try:
        done = () if given.after is None else _checks_in(given.out / "probe.jsonl", given.after)[1]
        failed = probe(given.out, given.preset, seconds=given.seconds, done=done)
    except OSError as error:
        parser.error(f"{given.out}: {error.strerror or error}")
    return NO_GPU if no_gpu() is not None else int(failed > 0)


class _Ahead:
    """Processes that run the checks that compile, only for what they leave in the compiler's cache."""

    def __init__(self, log: Path, preset: str) -> None:
        self._log, self._preset = log, preset
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, names: Sequence[str]) -> None:
        """Start a process for each check."""
        # A folder may have been put on the path only in this process.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        with self._log.open("ab") as log:
            for name in names:
                command = [sys.executable, "-m", __spec__.name, "--compile", name, os.devnull, self._preset]
                self._running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))  # noqa: S603 - ourselves

    def wait(self) -> float:
        """Wait until all have ended, for some time; one that takes longer is ended. Return the seconds waited."""
        began = time.perf_counter()
        until = began + _MOST_WAIT_S
        try:
            for process in self._running:
                process.wait(timeout=max(0.0, until - time.perf_counter()))
        except subprocess.TimeoutExpired:
            self.end()
        return time.perf_counter() - began

    def end(self) -> None:
        """End those that still run."""
        for process in self._running:
            process.kill()
            process.wait()


def _compile(name: str, preset: str) -> None:
    """Run one check for what it leaves in the compiler's cache."""
    _find_plugin()
    from bench.gpu.checks import CHECKS, Look  # noqa: PLC0415 - it imports PyTorch

    (check,) = [each for each in CHECKS if each.name == name]
    check.run(Look(preset))


def _run(call: Callable[[Any], dict[str, Any]], look: Any, *, computes: bool = True) -> dict[str, Any]:
    """Run one check; whatever it raises is part of its row."""
    import torch  # noqa: PLC0415 - as above

    from bench.gpu.checks import FailedCheckError  # noqa: PLC0415 - it imports PyTorch

    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            figures = call(look)
            torch.cuda.synchronize()  # what fails on the device belongs to this check
            row: dict[str, Any] = {"outcome": "ok", "figures": figures}
        except Exception as error:  # noqa: BLE001 - each check fails for itself
            text = traceback.format_exc()
            outcome = NOT_JUDGED if isinstance(error, FailedCheckError) and not computes else "failed"
            row = {"outcome": outcome, "error": _last_line(error), "traceback": text}
        if row["outcome"] != "ok":
            try:
                look.forget()
            except Exception as error:  # noqa: BLE001 - after an error on the device every call may fail
                row["on_closing"] = _last_line(error)
    row["seconds"] = time.perf_counter() - started
    row["warnings"] = sorted({str(one.message).splitlines()[0] for one in caught})
    return row


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip().splitlines()[0].removeprefix(f"{__package__}.checks.")


def _short(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _append(file: Path, row: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(_plain(row), default=str, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers that are none become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _find_plugin() -> None:
    """Let the plugin be imported from here where it is not installed."""
    if find_spec("speedclaims") is None:
        sys.path.insert(0, str(ROOT / "src"))


if __name__ == "__main__":
    sys.exit(main())
