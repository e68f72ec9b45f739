"""A fresh process ends with the one that started it, whatever ends that one, and leaves no folder behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from speedclaims.measure.child_process import supervised
from speedclaims.measure.command_line import FOLDER
from speedclaims.measure.supervisor import EMPTY_INI, FIGURES
from speedclaims.record import io as record
from tests.speedclaims.conftest import LIGHT

NUM_KILLS = 100 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 8

posix = pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")


def run(code, limit=60.0, **variables):
    return supervised([sys.executable, "-c", code], str(Path.cwd()), {**os.environ, **variables}, limit)


def test_what_a_command_says_and_leaves_is_returned_and_its_folder_is_gone():
    code = f"""
import os, pathlib, sys
folder = pathlib.Path(os.environ["PLACE"])
assert (folder / "{EMPTY_INI}").read_text() == ""
(folder / "{FIGURES}").write_text(str(folder), encoding="utf-8")
print("said", file=sys.stderr)
sys.exit(3)
"""
    ended = run(code, PLACE=FOLDER)
    assert (ended["status"], ended["late"]) == (3, False)
    assert ended["output"] == "said\n"
    assert "speedclaims-" in ended["left"]
    assert not Path(ended["left"]).exists()


def test_a_command_that_takes_too_long_is_ended_with_what_it_left():
    code = f"import os, time; open(os.path.join({FOLDER!r}, {FIGURES!r}), 'w').write('so far'); time.sleep(60)"
    began = time.monotonic()
    ended = run(code, limit=1.0)
    assert ended["late"]
    assert ended["left"] == "so far"
    assert time.monotonic() - began < 30


def test_one_that_cannot_be_started_is_said():
    ended = supervised(["/of/nobody"], str(Path.cwd()), dict(os.environ), 9.0)
    assert "No such file or directory" in ended["error"]
    ended = supervised([sys.executable, "-c", ""], "/of/nobody", dict(os.environ), 9.0)
    assert "No such file or directory" in ended["error"]


def test_output_without_end_costs_no_memory_and_odd_bytes_no_error():
    ended = run("import os\nfor _ in range(50): os.write(1, b'\\xff' * 100_000)\nos.write(1, b'last')")
    assert ended["status"] == 0
    assert len(ended["output"]) < 100_000
    assert ended["output"].endswith("last")


@posix
def test_what_a_command_started_ends_with_it():
    ended = run(
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    assert not is_alive(int(ended["output"]))


START = "print(subprocess.Popen([sys.executable, '-c', {inner!r}], start_new_session=True).pid, flush=True)"

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux finds orphans")


@linux
def test_what_a_command_started_in_a_session_of_its_own_ends_with_it():
    innermost = "import time; time.sleep(60)"
    inner = f"import subprocess, sys, time; {START.format(inner=innermost)}; time.sleep(60)"
    ended = run(f"import subprocess, sys, time; {START.format(inner=inner)}; time.sleep(1)")
    pids = [int(line) for line in ended["output"].split()]
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


@linux
def test_what_a_command_leaves_behind_does_not_pile_up():
    code = """
import os, subprocess, time
for _ in range(60):
    subprocess.run(["sh", "-c", "true &"])
time.sleep(0.3)
parent = os.getppid()
dead = 0
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
    except OSError:
        continue
    dead += fields[0] == "Z" and int(fields[1]) == parent
print(dead)
"""
    ended = run(code)
    assert (ended["status"], ended["output"]) == (0, "0\n")


@linux
def test_a_command_ends_with_its_supervisor_whatever_ends_that():
    mark = f"speedclaims-test-{os.getpid()}"
    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    assert "its supervisor ended with -9" in run(f"{code}  # {mark}")["error"]
    commands = [path / "cmdline" for path in Path("/proc").iterdir() if path.name.isdigit()]
    assert soon(lambda: not any(map(partial(holds, mark.encode()), commands)))


def holds(text, path):
    try:
        return text in path.read_bytes() and is_alive(int(path.parent.name))
    except OSError:
        return False


def is_alive(pid):
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def soon(condition, seconds=2.0):
    """Return whether something becomes true within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


TEST = """
import os
import time
from functools import partial
from pathlib import Path

import pytest

def note():
    with Path(os.environ["PIDS"]).open("a") as file:
        print(os.getpid(), file=file)

note()

@pytest.mark.parametrize("number", range(50))
def test_p(pair, number, tmp_path):
    note()
    (tmp_path / "large.bin").write_bytes(bytes(100_000))
    pair(lambda: time.sleep(0.002), lambda: time.sleep(0.001))
"""


@posix
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_session_that_is_killed_at_any_moment_leaves_nothing_that_runs_and_no_folder(tmp_path, sign):
    """The moments are drawn; the first ones fall into the start of the first fresh process."""
    (tmp_path / "test_p.py").write_text(TEST)
    draw = random.Random(str(sign))  # noqa: S311 - moments, not a secret
    num = NUM_KILLS if sign == signal.SIGKILL else max(2, NUM_KILLS // 10)
    for number in range(num):
        folder, pids = tmp_path / f"temporary{number}", tmp_path / f"pids{number}"
        folder.mkdir()
        out = tmp_path / f"out{number}"
        environment = {name: value for name, value in os.environ.items() if "XDIST" not in name}
        environment |= {"TMPDIR": str(folder), "PIDS": str(pids)}
        quick = ["-pno:xdist", "-pno:cacheprovider", *LIGHT, "--speedup-processes=2", "--speedup-max-time=0.1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *quick, f"--speedup-report={out}", f"--basetemp={folder}/parent"],
            cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert soon(pids.exists, 30)
        time.sleep(draw.uniform(0, 5) if number > 2 else 0.2 + 0.1 * number)
        process.send_signal(sign)
        process.wait(30)
        known = {int(line) for line in pids.read_text().split()}
        assert len(known) >= 1
        assert soon(lambda known=known: not any(map(is_alive, known))), f"{known} of kill {number}"
        left = lambda folder=folder: [one.name for one in folder.iterdir() if one.name.startswith("speedclaims")]  # noqa: E731
        assert soon(lambda left=left: not left()), f"{left()} of kill {number}"
        for kept in out.glob("record*.json") if out.exists() else ():
            assert record.read(kept)["speedclaims"]["pairs"], f"{kept.name} of kill {number}"
            assert json.loads(kept.read_text())
