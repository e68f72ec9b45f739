"""A small project of a user, run by pytest in a process of its own."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.plugin import get_cpu_info

with contextlib.suppress(ImportError):  # a GPU machine may lack it
    import fastjsonschema  # noqa: F401 - pytester makes Python forget what a test imports first: its errors are others then

LIGHT = ("-pno:hypothesispytest",)
"""Hypothesis is imported by its plugin at the end of every run, used or not, which takes as long as the run."""

KNOWN_CPU = ("-pknown_cpu",)
"""See `plugins/known_cpu.py`; needs the environment that `knowing_the_cpu` makes."""

QUICK = ("--speedup-max-time=0.5", "--speedup-precision=0.2")


@functools.cache
def cpu_found():
    """The processor as pytest-benchmark describes it, as JSON."""
    return json.dumps(get_cpu_info())


def knowing_the_cpu():
    """Variables for a run with `KNOWN_CPU`."""
    folders = [str(Path(__file__).parent / "plugins"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "KNOWN_CPU": cpu_found()}


class WarmPytest:
    """A process that runs pytest in forks of itself; see `warm_pytest.py`."""

    def __init__(self):
        command = [sys.executable, str(Path(__file__).with_name("warm_pytest.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, folder, arguments):
        """Run in a folder, with this process' environment; a `pytest.RunResult`."""
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH", "")]))
        files = {name: str(folder / name) for name in ("stdout", "stderr")}
        started = time.perf_counter()
        order = {"folder": str(folder), "arguments": list(map(str, arguments)), "environment": environment, **files}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = self.process.stdout.readline()
        assert status, "the process that runs pytest in forks has ended"
        took = time.perf_counter() - started
        out, err = (Path(file).read_text(encoding="utf8") for file in files.values())
        sys.stdout.write(out + err)
        return pytest.RunResult(int(status), out.splitlines(), err.splitlines(), took)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="session")
def warm_pytest():
    warm = WarmPytest()
    yield warm
    warm.close()


class Project:
    """A folder with tests, run by pytest in a fresh process with the plugin installed."""

    def __init__(self, pytester, warm):
        self.pytester, self.warm = pytester, warm
        self.path = pytester.path

    def write(self, **files):
        for name, text in files.items():
            stem, _, ending = name.rpartition("_")
            (self.path / f"{stem}.{ending}").write_text(text)
        return self

    def run(self, *arguments):
        return self.warm.run(self.path, ["-pno:xdist", *LIGHT, *KNOWN_CPU, *QUICK, *arguments])

    def run_anew(self, *arguments):
        """In a process that imports everything itself."""
        return self.pytester.runpytest_subprocess("-pno:xdist", *LIGHT, *KNOWN_CPU, *QUICK, *arguments)

    def run_with_xdist(self, *arguments):
        return self.pytester.runpytest_subprocess(*LIGHT, *KNOWN_CPU, *QUICK, *arguments)

    def record(self, folder="out"):
        return json.loads((self.path / folder / "record.json").read_text())


def record_of(folder, text, *options):
    """Run a test in a fresh process, not as a worker, and return the file of its record: for fixtures of a module."""
    (folder / "test_p.py").write_text(text)
    options = [*LIGHT, *KNOWN_CPU, "--speedup-max-time=0.3", "--speedup-report=out", *options]
    command = [sys.executable, "-m", "pytest", "-pno:xdist", *options]
    environment = {key: value for key, value in os.environ.items() if "XDIST" not in key} | knowing_the_cpu()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "out" / "record.json"


@pytest.fixture(autouse=True)
def _no_xdist_worker(monkeypatch):
    """The runs started here are not workers, also where these tests themselves run under xdist."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(pytester, monkeypatch, warm_pytest):
    for name, value in knowing_the_cpu().items():
        monkeypatch.setenv(name, value)
    return Project(pytester, warm_pytest)
