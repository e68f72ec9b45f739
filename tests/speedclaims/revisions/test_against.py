"""``--speedup-against`` measures an unchanged suite at two revisions, in real processes and repositories."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speedclaims.measure.interleave import Measurement
from speedclaims.revisions.remote import swapped
from tests.speedclaims.conftest import KNOWN_CPU, LIGHT, knowing_the_cpu
from tests.speedclaims.revisions.repositories import commit, contents, git, repository, write

INI = "[pytest]\npythonpath = src\n"

FIRST = """
def total(number):
    return sum(range(number))

def names(number):
    return [str(one) for one in range(number)]

def gone(number):
    return number
"""

NOW = """
def total(number):
    return sum(range(number)) + 0 * sum(range(3 * number))

def names(number):
    return [str(one) for one in range(number)][1:]

def fresh(number):
    return list(range(number))
"""

TESTS = """
import asyncio
import pytest
from pkg import work

def test_total(benchmark):
    assert benchmark(work.total, 3000) == 4498500
    assert benchmark.stats.stats.mean > 0

def test_names(benchmark):
    benchmark(work.names, 300)

@pytest.mark.speedup_differs("the first name is left out since 2.0")
def test_names_by_design(benchmark):
    benchmark(work.names, 300)

def test_fresh(benchmark):
    benchmark(work.fresh, 300)

def test_gone(benchmark):
    benchmark(work.gone, 300)

def test_pedantic(benchmark):
    used = []

    def setup():
        used.append("set up")
        return (1000,), {}

    def teardown(number):
        assert used[-1] == "set up"
        used.append("torn down")

    assert benchmark.pedantic(work.total, setup=setup, teardown=teardown, rounds=3) == 499500
    assert used[-1] == "torn down"
    assert used.count("set up") == used.count("torn down") > 3

def test_pair(pair):
    pair(before=lambda: 1, after=lambda: work.total(2000), names=("one", "two"))

def test_pair_with_a_check(pair):
    def equivalent(before, after):
        assert len(before) == len(after) + 1

    pair(before=lambda: 1, after=lambda: work.names(300), equivalent=equivalent)

def test_async(benchmark):
    async def total():
        await asyncio.sleep(0)
        return work.total(2000)

    benchmark(total)

def test_random(benchmark):
    benchmark(lambda: (work.total(2000), object()))

def test_counts(benchmark):
    counter = iter(range(10**9))
    benchmark(lambda: work.total(2000) + next(counter))

@pytest.mark.skip(reason="not today")
def test_skipped(benchmark):
    benchmark(work.total, 3)

def test_skips_itself(benchmark):
    pytest.skip("no data here")

def test_lazy(benchmark):
    benchmark(lambda: (one for one in range(work.total(3))))

def test_fails_here(benchmark):
    result = benchmark(work.total, 10)
    assert result == 44, "a wrong result"

def test_ordinary():
    assert work.total(3) == 3
"""


def run(folder, *arguments, seconds=2, **variables):
    """Run pytest in a folder, in another process."""
    command = [sys.executable, "-m", "pytest", "-pno:xdist", "-pno:cacheprovider", *LIGHT, *KNOWN_CPU]
    options = [f"--speedup-max-time={seconds}", "--speedup-precision=0.2"]
    environment = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    environment |= knowing_the_cpu() | {"PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        [*command, *options, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """One run over all kinds of tests, its record, and the repository before and after it."""
    folder = tmp_path_factory.mktemp("project")
    repo = repository(folder / "repo", {"pytest.ini": INI, "src/pkg/__init__.py": "", "src/pkg/work.py": FIRST})
    write(repo, {"src/pkg/work.py": NOW, "tests/test_speed.py": TESTS})
    before = contents(repo)
    done = run(repo, "--speedup-against=main", "--speedup-fail=5", f"--speedup-report={folder / 'out'}")
    record = json.loads((folder / "out" / "record.json").read_text())
    return done, record["speedclaims"], before, contents(repo), folder


@pytest.fixture
def rows(compared):
    return {row["name"]: row for row in compared[1]["pairs"]}


def test_the_repository_stays_as_it_was(compared):
    *_, before, after, folder = compared
    assert before == after
    assert git(folder / "repo", "worktree", "list").count("\n") == 0


def test_a_slower_branch_is_slower_and_fails_the_gate(compared, rows):
    done, section, *_ = compared
    row = rows["test_total"]
    assert (row["before"], row["after"]) == ("main", "working tree")
    assert 0.1 < row["speedup"] < 0.5
    assert row["num_processes"] == len(row["process_num_values"]) >= 3
    assert row["equivalence"] == "passed"
    verdicts = {change["name"]: change["verdict"] for change in section["gate"]["changes"]}
    assert verdicts["test_total"] == "regressed"
    assert done.returncode == 1


def test_the_first_test_is_measured_with_the_same_code_on_both_sides(compared, rows):
    control = rows["test_total[same code]"]
    assert control["control"]
    assert (control["before"], control["after"]) == ("main", "main")
    assert control["low"] < 1.1
    assert control["high"] > 0.9
    assert compared[1]["noise_floor"]["pairs"] == [control["nodeid"]]


def test_results_that_differ_withhold_the_speedup_unless_that_is_meant(rows):
    assert rows["test_names"]["status"] == "withheld"
    assert rows["test_names"]["reason"] == "the sides return different results: 300 items became 299"
    meant = rows["test_names_by_design"]
    assert (meant["equivalence"], meant["status"]) == ("different_by_design", "measured")
    assert meant["equivalence_details"] == ["the first name is left out since 2.0"]


def test_what_runs_on_one_side_alone(compared, rows):
    assert "fails on main: AttributeError: module 'pkg.work' has no attribute 'fresh'" in rows["test_fresh"]["reason"]
    assert "on working tree: AttributeError" in rows["test_gone"]["reason"]
    outcomes = {change["name"]: change["verdict"] for change in compared[1]["gate"]["changes"]}
    assert (outcomes["test_fresh"], outcomes["test_gone"]) == ("new", "not_measured")
    assert "FAILED tests/test_speed.py::test_gone" in compared[0].stdout
    assert "FAILED tests/test_speed.py::test_fresh" not in compared[0].stdout


@pytest.mark.parametrize("name", ["test_pedantic", "test_pair", "test_async"])
def test_every_way_to_give_a_side_is_measured(name, rows):
    assert rows[name]["status"] == "measured"
    assert rows[name]["speedup"] < 0.6
    assert rows[name]["equivalence"] == "passed"


def test_a_pair_s_own_check_is_given_both_results(rows):
    assert rows["test_pair_with_a_check"]["equivalence"] == "passed"


def test_what_cannot_be_compared_is_not_checked(rows):
    assert rows["test_random"]["equivalence_details"] == [
        "the before side returns an object, which cannot be compared as data"
    ]
    assert rows["test_counts"]["equivalence_details"] == ["the before side returns another value at each call"]
    assert {rows[name]["status"] for name in ("test_random", "test_counts")} == {"measured"}


def test_reasons_for_what_was_not_measured(rows):
    assert "test_skipped" not in rows, "its marker skips it before it begins"
    assert rows["test_skips_itself"]["reason"].startswith("skipped on ")
    assert rows["test_skips_itself"]["reason"].endswith(": no data here")
    assert "on main: the before side returns a generator" in rows["test_lazy"]["reason"]
    assert "a wrong result" in rows["test_fails_here"]["reason"]


def test_ordinary_tests_are_deselected(compared):
    assert "1 deselected" in compared[0].stdout


def test_the_record_says_what_was_compared(compared):
    _, section, _, _, folder = compared
    against = section["against"]
    assert against["before"]["label"] == "main"
    assert against["before"]["commit"] == git(folder / "repo", "rev-parse", "main")
    assert against["after"] == {"label": "working tree", "commit": None, "python": against["before"]["python"]}
    line = f"Before: main ({against['before']['commit'][:7]}); after: working tree."
    assert line in (folder / "out" / "speedups.md").read_text()
    assert line in " ".join(compared[0].stdout.split())
    assert line in (folder / "out" / "index.html").read_text()
    (row,) = (one for one in compared[1]["pairs"] if one["name"] == "test_total")
    assert f"{100 * (1 / row['speedup'] - 1):+.1f}%" in (folder / "out" / "speedups.md").read_text()
    assert "Between the two sides</h2>" in (folder / "out" / "index.html").read_text(), "there is no base"


def test_a_measurement_by_swapped_names():
    one = Measurement([2.0, 2.2], [1.0, 1.1], [0.69, 0.7], 3, 5, num_interrupted=2, carry_over=[0.01], took_s=4.0)
    other = swapped(one)
    assert (other.before_s, other.after_s, other.log_ratios) == ([1.0, 1.1], [2.0, 2.2], [-0.69, -0.7])
    assert (other.repeats_before, other.repeats_after, other.carry_over) == (5, 3, [-0.01])
    assert (other.num_interrupted, other.took_s) == (2, 4.0)
    assert swapped(other) == one


SMALL = "from pkg import work\n\ndef test_it(benchmark):\n    benchmark(work.total, 300)\n"


@pytest.fixture
def repo(tmp_path):
    return repository(
        tmp_path / "repo",
        {"pytest.ini": INI, "src/pkg/__init__.py": "", "src/pkg/work.py": FIRST, "tests/test_it.py": SMALL},
    )


def record_of(repo, *arguments, **more):
    done = run(repo, *arguments, f"--speedup-report={repo.parent / 'out'}", **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((repo.parent / "out" / "record.json").read_text())["speedclaims"]


def test_two_commits(repo):
    commit(repo, {"src/pkg/work.py": NOW})
    write(repo, {"src/pkg/work.py": FIRST.replace("sum(", "7 + sum(")})
    section = record_of(repo, "--speedup-against=HEAD~1..HEAD")
    assert [section["against"][side]["label"] for side in ("before", "after")] == ["HEAD~1", "HEAD"]
    (row,) = (row for row in section["pairs"] if not row["control"])
    assert row["speedup"] < 0.6


def test_a_folder(repo):
    other = repo.parent / "other"
    write(other, {"src/pkg/__init__.py": "", "src/pkg/work.py": NOW})
    section = record_of(repo, "--speedup-against=../other")
    (row,) = (row for row in section["pairs"] if not row["control"])
    assert row["before"] == "../other"
    assert row["speedup"] > 1.7


def test_new_modules_of_the_branch_are_seen_though_they_are_not_committed(repo):
    write(repo, {"src/pkg/helper.py": "def more(x):\n    return sum(range(5 * x))\n"})
    write(
        repo,
        {
            "src/pkg/work.py": "from pkg.helper import more\n"
            + FIRST.replace("sum(range(number))", "more(number) * 0 + sum(range(number))")
        },
    )
    section = record_of(repo, "--speedup-against=HEAD")
    (row,) = (row for row in section["pairs"] if not row["control"])
    assert row["speedup"] < 0.5


def test_a_first_test_that_is_new_fails_nothing(repo):
    write(repo, {"src/pkg/work.py": FIRST + "\ndef fresh(number):\n    return number\n"})
    write(
        repo,
        {"tests/test_it.py": f"from pkg import work\n\ndef test_a(benchmark):\n    benchmark(work.fresh, 3)\n{SMALL}"},
    )
    section = record_of(repo, "--speedup-against=HEAD", "--speedup-fail=900")
    rows = {row["name"]: row["status"] for row in section["pairs"]}
    assert rows == {"test_a[same code]": "not_measured", "test_a": "not_measured", "test_it": "measured"}
    assert [change["verdict"] for change in section["gate"]["changes"]] == ["new", "held"]


def test_processes_that_a_test_starts_import_from_its_side(repo):
    write(repo, {"tests/test_it.py": (
        "import os, subprocess, sys\nfrom pkg import work\n"
        "CODE = 'import pkg.work; print(pkg.work.__file__)'\n"
        "def test_it(benchmark):\n"
        "    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True)\n"
        "    benchmark(work.total, 300)\n"
        "    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\n"
        "    assert done.stdout.startswith(here) == work.__file__.startswith(here), done\n"
    )})  # fmt: skip
    folders = os.pathsep.join([str(repo / "src"), knowing_the_cpu()["PYTHONPATH"]])
    record_of(repo, "--speedup-against=HEAD", PYTHONPATH=folders)


def test_a_test_that_imports_nothing_of_the_project_is_refused(repo):
    write(repo, {"tests/test_it.py": "def test_it(benchmark):\n    benchmark(sum, range(300))\n"})
    done = run(repo, "--speedup-against=HEAD")
    assert done.returncode == 1
    assert "the test imports no module of HEAD but those of tests: both sides would be the same" in done.stdout


def test_an_installed_copy_of_the_project_is_refused(repo, tmp_path):
    write(tmp_path, {"site-packages/pkg/__init__.py": "", "site-packages/pkg/work.py": FIRST})
    write(repo, {"pytest.ini": "[pytest]\n"})
    folders = os.pathsep.join([str(tmp_path / "site-packages"), knowing_the_cpu()["PYTHONPATH"]])
    done = run(repo, "--speedup-against=HEAD", PYTHONPATH=folders)
    assert done.returncode == 1
    assert "site-packages/pkg/__init__.py, not from HEAD: it is installed there" in " ".join(done.stdout.split())


LINES = {
    "--speedup-against=nothing": "--speedup-against: 'nothing' is no commit, branch or tag of",
    "--speedup-against=./nowhere": "--speedup-against: ./nowhere: there is no such folder: name one, or a commit",
    "--speedup-against=": "it is empty",
    "--speedup-against=HEAD..nothing": "'nothing' is no commit, branch or tag of",
    "--speedup-against=HEAD --benchmark-compare": "--speedup-against measures both sides now: leave out --benchmark-c",
    "--speedup-against=HEAD --speedup-passes=time,memory": "--speedup-against measures times alone: leave out --speed",
    "--speedup-against=HEAD --benchmark-disable": "--speedup-against measures: leave out --benchmark-disable",
    "--speedup-python=nowhere/python": "--speedup-python: nowhere/python: it cannot be run (No such file or directory)",
    "--speedup-python=/bin/true": "--speedup-python: /bin/true: it is no Python that can be asked for its packages",
    "--speedup-build=make": "--speedup-build builds two revisions: add --speedup-against REF",
    "--speedup-against=HEAD --speedup-build=false": "--speedup-build: 'false' ended with 1 for",
    "--speedup-until-decided --speedup-against=HEAD": "is about the gate, which is off: add --speedup-fail PCT",
}


@pytest.mark.parametrize("options", LINES)
def test_what_cannot_be_compared_is_refused_in_one_line_before_anything_is_measured(options, repo):
    before = contents(repo)
    done = run(repo, *options.split(), XDG_CACHE_HOME=str(repo.parent / "cache"))
    assert done.returncode == 4, "pytest's code for wrong usage"
    assert LINES[options] in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert contents(repo) == before
    assert list((repo.parent / "cache").rglob("tree")) == []


def test_outside_a_repository_a_folder_can_be_named(tmp_path):
    write(
        tmp_path / "here", {"pkg.py": FIRST, "test_it.py": SMALL.replace("from pkg import work", "import pkg as work")}
    )
    write(tmp_path / "there", {"pkg.py": NOW})
    done = run(tmp_path / "here", "--speedup-against=main")
    assert "is in no git repository, where 'main' could be a revision: name a folder instead" in done.stderr
    done = run(tmp_path / "here", "--speedup-against=../there", "-v")
    assert "test_it.py::test_it PASSED" in done.stdout


def children_of(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(one) for one in found]


def is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_when_the_run_is_ended(how, repo, tmp_path):
    before = contents(repo)
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, **knowing_the_cpu(), "TMPDIR": str(tmp_path / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-pno:xdist", "-pno:cacheprovider", *LIGHT, *KNOWN_CPU]
    process = subprocess.Popen(
        [*command, "--speedup-against=HEAD", "--speedup-max-time=20"],
        cwd=repo,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 60
    while not list((tmp_path / "tmp").glob("speedclaims-*/before/src")) or len(children_of(process.pid)) < 3:
        assert time.monotonic() < give_up
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1.0)
    everybody = [grandchild for child in children_of(process.pid) for grandchild in (child, *children_of(child))]
    process.send_signal(getattr(signal, how))
    process.wait(60)
    give_up = time.monotonic() + 30
    while any(map(is_alive, everybody)) or list((tmp_path / "tmp").glob("speedclaims-*")):
        assert time.monotonic() < give_up, "processes or folders are left"
        time.sleep(0.1)
    assert contents(repo) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two mebibytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system of Linux")
@pytest.mark.parametrize("used", [0, 2 * 2**20 - 2 * 4096])
@pytest.mark.parametrize("options", [(), ("--speedup-build=true",)])
def test_a_full_disk_leaves_the_tree_as_it_was(used, options, repo, small_disk):
    """The checkout has no room, neither on an empty disk nor on a full one."""
    commit(repo, {"data.txt": "".join(f"{number:09}\n" for number in range(300_000))})
    (repo / "src" / "pkg" / "work.py").write_text(NOW)
    before = contents(repo)
    (small_disk / "other").write_bytes(b"x" * used)
    places = {"XDG_CACHE_HOME": str(small_disk / "cache"), "TMPDIR": str(small_disk)}
    done = run(repo, "--speedup-against=HEAD", *options, **places)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(repo) == before
    assert not list(small_disk.glob("speedclaims-*")), "nothing is left where there is no room"


def test_a_pair_of_several_ranks_is_left_out(repo):
    text = (
        "import pytest\nfrom pkg import work\n\n@pytest.mark.speedup_ranks(2)\ndef test_ranks(pair):\n"
        f"    pair(before=lambda: 1, after=lambda: work.total(10))\n{SMALL}"
    )
    write(repo, {"src/pkg/work.py": FIRST, "tests/test_it.py": text})
    rows = {row["name"]: row["reason"] for row in record_of(repo, "--speedup-against=HEAD")["pairs"]}
    assert rows["test_ranks"] == "pairs of several ranks are not measured with --speedup-against"
    assert rows["test_it"] is None
