"""Run the benchmarks on a GPU within some minutes, and leave a record whatever happens.

One process measures all tests in the order of `plan.COSTS`. When it dies, hangs or loses its GPU, a fresh one continues
with the tests that are left; the test that ended it gets that as its reason.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import trainers

ROOT = Path(__file__).resolve().parents[2]

RESERVE_S = 25.0
"""Seconds at the end of the time for writing the record and its report."""

GPU_LOST = 71
"""Exit code of a measuring process whose CUDA context is broken, so that a fresh one must go on."""

LEAST_S = 30.0
"""Seconds under which no process is started any more."""

GRACE_S = 20.0
"""Seconds that a measuring process gets for its record after its time is up."""

_PR_SET_PDEATHSIG = 1
_MOST_SIGNALS = 4
_PARENT = "BENCH_GPU_PARENT"

PYTEST_ARGUMENTS = (
    *("bench", "-m", "not ladder and not peers and not growth and not quality and not scaling", "--device=cuda"),
    *("-p", "benchmark", "-p", "speedclaims.plugin", "-p", "bench.gpu.plan", "-p", "no:cacheprovider"),
    *("-p", "no:logging", "--show-capture=no", "-q", "--no-header", "--disable-warnings", "-rN", "--tb=no"),
    *("-o", "console_output_style=classic"),
    *("--benchmark-disable-gc", "--benchmark-quiet", "--speedup-passes-last"),
)
"""Arguments of every measuring process. Plugins are named: nothing of ours is installed."""

SO_FAR, RECORD = "record.partial.json", "record.json"

WARM_UPS: dict[str, tuple[tuple[str, dict[str, bool] | None, str, bool], ...]] = {
    "text_to_image": (
        ("fastest", None, "train", False),
        ("fastest", {"bfloat16": False, "cached_images": False}, "train", False),
    ),
    "tabular_regressor": (
        ("fastest", None, "train", True),
        ("fastest", {"bfloat16": False}, "train", True),
    ),
    "dialogue_twin": (("optimized", None, "adversarial", False), ("optimized", None, "generator_pretraining", False)),
}
"""Trainers that compile, by family: tier, switches, phase, and whether an epoch with its smaller last batch."""


@dataclass
class Run:
    """One run of the command.

    Attributes:
        out: folder for what it leaves, at most eight files.
        seconds: how long it may take.
        preset: sizes of the trainers.
        families: those to measure; empty for all.
        paths: folders that Python looks in for packages, before its own.
        began: when it began, by `time.monotonic`.
    """

    out: Path
    seconds: float
    preset: str = "default"
    families: Sequence[str] = ()
    paths: Sequence[Path] = ()
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Seconds until its time is up."""
        return self.seconds - (time.monotonic() - self.began)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the processes that it starts."""
        paths = [*map(str, self.paths), str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONUNBUFFERED": "1",
            _PARENT: str(os.getpid()),
        }

    def measure(self) -> int:
        """Warm the compilers' caches, measure, and return the exit code of the last process."""
        self._warm_up()
        with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
            notes, continued = Path(folder, "notes.json"), Path(folder, "continued.json")
            code, arguments = 3, []
            while self.seconds_left - RESERVE_S > LEAST_S or not arguments:
                code = self._measure_once([f"--gpu-notes={notes}", *arguments])
                if (self.out / RECORD).exists() or code in _ENDED or _read(notes).get("ended"):
                    break
                self._keep_for_the_next(notes, continued, code)
                arguments = [f"--gpu-continue={continued}"]
            self._finish()
        return 1 if code < 0 or code == GPU_LOST else code

    def _measure_once(self, arguments: Sequence[str]) -> int:
        total = max(1.0, self.seconds_left - RESERVE_S)
        command = [
            *(sys.executable, "-m", "pytest", *PYTEST_ARGUMENTS),
            f"--preset={self.preset}",
            f"--gpu-families={','.join(self.families)}",
            f"--speedup-total-time={total:.0f}",
            f"--speedup-report={self.out}",
            *arguments,
        ]
        with (self.out / "run.log").open("a", encoding="utf-8") as log:
            # What libraries say of themselves, and tracebacks, are for the log alone.
            process = subprocess.Popen(  # noqa: S603 - our own tests
                command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace"
            )
            copying = threading.Thread(target=_copy, args=(process.stdout, log), daemon=True)
            copying.start()
            code = self._wait(process)
            copying.join(timeout=5)
        return code

    def _wait(self, process: subprocess.Popen[str]) -> int:
        """Wait for a process as long as there is time; hand on Ctrl-C, by which it writes its record."""
        try:
            return process.wait(timeout=max(1.0, self.seconds_left))
        except subprocess.TimeoutExpired:
            if (self.out / RECORD).exists():  # it is about to end
                return self._end(process)
            self.say("the time is up: ending the measuring process")
        except KeyboardInterrupt:
            self.say("interrupted: the record is being written")
        interrupted = self.seconds_left > 0
        for _ in range(_MOST_SIGNALS):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE_S / _MOST_SIGNALS)
                break
        self._end(process)
        return _INTERRUPTED if interrupted else 1

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> int:
        """Wait a moment for a process that ends by itself, then kill it; return its exit code."""
        try:
            return process.wait(timeout=GRACE_S / _MOST_SIGNALS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _keep_for_the_next(self, notes: Path, continued: Path, code: int) -> None:
        """Leave what was measured and what ended the process for the next one."""
        noted = _read(notes)
        reasons = _read(continued).get("reasons", {}) | noted.get("reasons", {})
        running = noted.get("running")
        if running is None:  # it died before its first test, and so would the next
            self.seconds = 0.0
            return
        so_far = self.out / SO_FAR
        found = json.loads(so_far.read_text(encoding="utf-8")) if so_far.exists() else None
        section = found["speedclaims"] if found else {"pairs": [], "figures": []}
        measured = {row["nodeid"] for row in section["pairs"] + section["figures"]}
        how = "lost its GPU" if code == GPU_LOST else f"ended with {code}"
        if running not in measured:
            reasons[running] = f"the process that ran it {how}: see run.log"
        self.say(f"the measuring process {how} in {running}; a fresh one goes on")
        continued.write_text(json.dumps({"record": found, "reasons": reasons}), encoding="utf-8")

    def _finish(self) -> None:
        """Let what there is be the record where no process came to write it."""
        so_far = self.out / SO_FAR
        if so_far.exists() and not (self.out / RECORD).exists():
            so_far.replace(self.out / RECORD)
        if (self.out / RECORD).exists():
            self.say(f"record: {self.out / RECORD}")
            if not (self.out / "index.html").exists():
                self.say(f"its report, at home: speedclaims report record.json -o {self.out.name}")
        else:
            self.say("nothing was measured; run.log says why")

    def _warm_up(self) -> None:
        """Make the offline data and compile what will be measured, side by side, before anything is timed."""
        chosen = [family for family in WARM_UPS if not self.families or family in self.families]
        self.say(f"making data and warming compilers' caches: {', '.join(chosen)}")
        limit = max(1.0, self.seconds_left / 4)
        log = (self.out / "warm-up.log").open("a", encoding="utf-8")
        with log:
            running = [
                subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-m", "bench.gpu.warm_up", family, self.preset, str(number)],
                    cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
                )
                for family in chosen
                for number in range(len(WARM_UPS[family]))
            ]  # fmt: skip
            deadline = time.monotonic() + limit
            try:
                for process in running:
                    process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say(
                    f"compiling took longer than {limit:.0f} s and was ended: the rest compiles where it is measured"
                )
            finally:
                for process in running:
                    process.kill()
                    process.wait()
        failed = sum(process.returncode not in {0, -signal.SIGKILL} for process in running)
        problem = f", {failed} failed: see warm-up.log" if failed else ""
        self.say(f"warm after {self.seconds - self.seconds_left:.0f} s{problem}")

    @staticmethod
    def say(line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)  # noqa: T201 - a command


_INTERRUPTED = 130
_ENDED = frozenset({0, 2, 4, 5, _INTERRUPTED})
"""Exit codes with which no fresh process would do better; 1 without a record is a process that hung."""


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _copy(source: IO[str] | None, log: IO[str]) -> None:
    for line in source or ():
        sys.stdout.write(line)
        sys.stdout.flush()
        log.write(line)
        log.flush()


def end_with_parent() -> None:
    """Let Linux end this process when the one that started it ends: nobody else would."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.environ.get(_PARENT, str(os.getppid())) != str(os.getppid()):  # it has ended already
        os._exit(GPU_LOST)
    os.environ[_PARENT] = str(os.getpid())  # of those that this one starts


def gpu_is_lost() -> bool:
    """Whether CUDA answers every call of this process with the error of an earlier one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def warm_up(family: str, preset: str, number: int) -> None:
    """Build one of a family's compiled trainers and take its first steps."""
    tier, switches, phase, is_epoch = WARM_UPS[family][number]
    trainer = trainers.family(family).build(
        tier, preset=preset, device="cuda", switches=switches, log=lambda _: None
    )  # fmt: skip
    if is_epoch:
        trainer.train_epoch(phase)
    else:
        trainer.train_steps(1, phase)
    trainer.close()
