"""A session keeps its record while it runs, when it is killed, when its time is up, and in a folder of records."""

import signal
import subprocess
import sys
import time

from speedclaims.record import io as record
from speedclaims.record import paths as record_paths
from tests.speedclaims.conftest import LIGHT

THREE = """
import time
import pytest

def work():
    return sum(range(2000))

def test_first(pair):
    pair(before=work, after=work)

def test_second(figure):
    figure(3.0, exact=True, unit="items")

def test_third(pair):
    open("third", "w").close()
    time.sleep(SECONDS)
    pair(before=work, after=work)
"""


def three(seconds):
    return THREE.replace("SECONDS", str(seconds))


def test_a_run_that_is_killed_leaves_the_record_of_what_had_ended(project):
    project.write(test_t_py=three(60))
    options = ["-pno:xdist", *LIGHT, "--speedup-max-time=0.3", "--speedup-report=out"]
    command = [sys.executable, "-m", "pytest", *options]
    run = subprocess.Popen(command, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not (project.path / "third").exists():
            assert time.monotonic() < deadline, "the third test never began"
            assert run.poll() is None, "the run ended"
            time.sleep(0.05)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    found = record.read(project.path / "out" / record_paths.SO_FAR)["speedclaims"]
    assert [row["name"] for row in found["pairs"]] == ["test_first"]
    assert [row["value"] for row in found["figures"]] == [3.0]
    assert found["not_run"] == ["test_t.py::test_third"]
    drawn = [sys.executable, "-m", "speedclaims", "report", f"out/{record_paths.SO_FAR}", "-o", "drawn"]
    assert subprocess.run(drawn, cwd=project.path, check=False).returncode == 0
    assert "The run was cut off: 1 test never ran" in (project.path / "drawn" / "speedups.md").read_text()


def test_a_run_that_ends_leaves_the_report_and_nothing_half_done(project):
    project.write(test_t_py=three(0))
    assert project.run("--speedup-report=out").ret == 0
    assert sorted(path.name for path in (project.path / "out").iterdir()) == [
        "index.html", "record.json", "speedups.md",
    ]  # fmt: skip
    assert project.record()["speedclaims"]["not_run"] == []


LATE = """
import pytest
from speedclaims.session import KEY

def test_early(figure, request):
    figure(3.0, exact=True, unit="items")
    request.config.stash[KEY]._began -= 1000

@pytest.mark.speedup_claim("late")
def test_late(pair):
    pair(before=sum, after=sum)
"""


def test_what_has_not_begun_when_the_time_is_up_is_skipped_with_the_reason(project):
    project.write(test_t_py=LATE, claims_toml=CLAIM)
    run = project.run("--speedup-total-time=900", "--speedup-report=out")
    run.assert_outcomes(passed=1, skipped=1)
    (claim,) = project.record()["speedclaims"]["claims"]
    assert (claim["verdict"], claim["reason"]) == ("not_measured", "the run's time was up (--speedup-total-time 900)")


CLAIM = """
[[claim]]
id = "late"
source = "s"
text = "t"
kind = "measured"
low = 1.0
"""


def test_a_pair_takes_no_more_than_its_share_of_the_run(project):
    project.write(test_t_py=three(0))
    run = project.run("--speedup-total-time=4", "--speedup-max-time=100", "--speedup-precision=0.00001")
    assert run.ret == 0
    assert run.duration < 200  # what the two pairs would take at least without it


def test_with_v_each_pair_says_its_speedup(project):
    project.write(test_t_py=three(0))
    run = project.run("-v")
    run.stdout.re_match_lines([r"test_t.py::test_first PASSED \d[\d.]*x \[.*\]", r"test_t.py::test_second PASSED"])


def test_records_are_kept_by_machine_date_and_commit_and_never_overwritten(project):
    project.write(test_t_py=three(0))
    runs = [project.run("--speedup-record=kept", "--speedup-report=out") for _ in range(2)]
    assert [run.ret for run in runs] == [0, 0]
    (folder,) = (project.path / "kept").iterdir()
    written = project.record()
    name = record_paths.stem(written)
    assert folder.name == record_paths.machine(written["speedclaims"]["environment"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{number}.{ending}" for number in ("", "-2") for ending in ("json", "md")
    )
    assert record.read(folder / f"{name}-2.json") == written
    runs[1].stdout.fnmatch_lines([f"record: *{name}-2.json"])


def test_a_folder_for_records_that_cannot_be_one_is_refused_before_measuring(project):
    project.write(test_t_py=three(0))
    (project.path / "kept").write_text("a file")
    run = project.run("--speedup-record=kept")
    assert run.ret == 4
    run.stderr.fnmatch_lines(["*--speedup-record kept: not a folder that can be written*"])
