"""Sixteen sessions at once on one folder of records, one folder for the report and one base."""

import os
import re
import subprocess
import sys
from collections import Counter

from speedclaims.record import io as record
from tests.speedclaims.conftest import KNOWN_CPU, LIGHT

SESSIONS = 16

TEST = """
import os
import time

import pytest

@pytest.mark.parametrize("number", [int(os.environ["NUMBER"])])
def test_number(figure, number):
    figure(number, exact=True, unit="sessions")

def test_pair(pair):
    pair(before=lambda: time.sleep(0.002), after=lambda: time.sleep(0.001))
"""


def number_in(section):
    (figure,) = section["figures"]
    return figure["value"]


def test_nothing_is_lost_or_mixed_and_nobody_waits_for_ever(project):
    project.write(test_n_py=TEST)
    environment = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    one = ["--speedup-processes=1", "--speedup-max-time=0.1", "-pno:xdist", "-pno:cacheprovider", *LIGHT, *KNOWN_CPU]
    command = [sys.executable, "-m", "pytest", "-q", *one]
    quiet = {"cwd": project.path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.run(
        [*command, "--speedup-report=base"], env=environment | {"NUMBER": "99"}, check=False, **quiet
    )
    assert first.returncode == 0, first.stdout
    base = (project.path / "base" / "record.json").read_bytes()
    gated = ["--benchmark-compare=base/record.json", "--speedup-fail=95"]
    options = ["--speedup-record=kept", "--speedup-report=out", *gated]
    running = [
        subprocess.Popen([*command, *options], env=environment | {"NUMBER": str(number)}, **quiet)
        for number in range(SESSIONS)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * SESSIONS, "\n".join(said)
    assert (project.path / "base" / "record.json").read_bytes() == base

    (kept,) = (project.path / "kept").iterdir()
    records = {path.stem: record.read(path)["speedclaims"] for path in kept.glob("*.json")}
    assert Counter(map(number_in, records.values())) == Counter(range(SESSIONS))
    assert sorted(path.name for path in kept.iterdir()) == sorted(
        f"{stem}.{ending}" for stem in records for ending in ("json", "md")
    )
    for stem, section in records.items():
        assert shown(kept / f"{stem}.md") == number_in(section)
        assert section["pairs"][0]["speedup"] is not None
        assert section["gate"]["changes"]

    out = project.path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "record.json", "speedups.md"]
    last = number_in(record.read(out / "record.json")["speedclaims"])
    assert shown(out / "speedups.md") == last
    assert shown(out / "index.html") == last


def shown(path):
    """Return the number in the name of the test that a report shows."""
    (number,) = set(re.findall(r"number\\?\[(\d+)\\?\]", path.read_text(encoding="utf-8")))
    return int(number)
