"""A small project of a user's, run in a process of its own."""

import json

import pytest

QUICK = ("--speedup-max-time=0.8", "--speedup-precision=0.2")


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
        return self.pytester.runpytest_subprocess("-pno:xdist", *QUICK, *arguments)

    def run_with_xdist(self, *arguments):
        return self.pytester.runpytest_subprocess(*QUICK, *arguments)

    def record(self, folder="out"):
        return json.loads((self.path / folder / "record.json").read_text())


@pytest.fixture(autouse=True)
def _no_xdist_worker(monkeypatch):
    """The runs started here are not workers, also where these tests themselves run under xdist."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(pytester):
    return Project(pytester)
