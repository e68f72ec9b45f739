"""A small project of a user's, run in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

LIGHT = ("-pno:hypothesispytest",)
"""Hypothesis is imported by its plugin at the end of every run, used or not, which takes as long as the run."""

QUICK = ("--speedup-max-time=0.5", "--speedup-precision=0.2")


class Project:
    """A folder with tests, run by pytest in a fresh process with the plugin installed."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path

    def write(self, **files):
        for name, text in files.items():
            stem, _, ending = name.rpartition("_")
            (self.path / f"{stem}.{ending}").write_text(text)
        return self

    def run(self, *arguments):
        return self.pytester.runpytest_subprocess("-pno:xdist", *LIGHT, *QUICK, *arguments)

    def run_with_xdist(self, *arguments):
        return self.pytester.runpytest_subprocess(*LIGHT, *QUICK, *arguments)

    def record(self, folder="out"):
        return json.loads((self.path / folder / "record.json").read_text())


def record_of(folder, text, *options):
    """Run a test in a fresh process, not as a worker, and return the file of its record: for fixtures of a module."""
    (folder / "test_p.py").write_text(text)
    options = [*LIGHT, "--speedup-max-time=0.3", "--speedup-report=out", *options]
    command = [sys.executable, "-m", "pytest", "-pno:xdist", *options]
    environment = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "out" / "record.json"


@pytest.fixture(autouse=True)
def _no_xdist_worker(monkeypatch):
    """The runs started here are not workers, also where these tests themselves run under xdist."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(pytester):
    return Project(pytester)
