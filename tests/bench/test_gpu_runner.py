"""`python -m bench.gpu` on a project whose tests need no GPU: which tests run, in which order, and the record."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.gpu.plan import COSTS, LEAST_SHARE, UNKNOWN, Budget, Cost
from bench.gpu.runner import RESERVE_S
from speedclaims.record import io as record

ROOT = Path(__file__).resolve().parents[2]
CHEAP = "bench/test_text_to_image.py::test_100_epochs_are_enough"
"""A test that the table says takes a second."""

CONFTEST = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--preset")
    parser.addoption("--device")

@pytest.fixture
def toys():
    pass
"""

TESTS = """
import os, pathlib, time
import pytest

def one():
    time.sleep(0.005)

def two():
    time.sleep(0.001)

@pytest.mark.speedup_claim("c")
def test_first(pair, toys):
    pair(before=one, after=two)

def test_dies(pair, toys):
    pair(before=one, after=two, equivalent=lambda: {dying})

def test_last(pair, toys):
    pair(before=one, after=two)

def test_other_family(pair):
    pair(before=one, after=two)
"""

LEDGER = """
[[claim]]
id = "c"
source = "README"
text = "it is faster"
kind = "measured"
low = 1.1
"""

RUN = """
import sys
from pathlib import Path
from bench.gpu import runner

runner.ROOT, runner.WARM_UPS = Path({project!r}), {{}}
runner.PYTEST_ARGUMENTS = (
    {folder!r}, "-p", "benchmark", "-p", "speedclaims.plugin", "-p", "bench.gpu.plan", "-p", "no:cacheprovider",
    "-q", "--speedup-passes-last", "--speedup-max-time=0.3",
)
here = [Path({root!r}) / "src", Path({root!r})]
out = Path({project!r}) / "out"
out.mkdir(exist_ok=True)
sys.exit(runner.Run(out, {seconds}, "tiny", ["toys"], here).measure())
"""


class Command:
    """The command on a project of its own."""

    def __init__(self, folder, dying="None", seconds=300, file="tests/test_toys.py", dies="test_dies"):
        self.out, tests = folder / "out", folder / file
        tests.parent.mkdir()
        tests.with_name("conftest.py").write_text(CONFTEST)
        tests.with_name("claims.toml").write_text(LEDGER)
        tests.write_text(TESTS.format(dying=dying).replace("test_dies", dies))
        self.script = folder / "run.py"
        names = {"project": str(folder), "root": str(ROOT), "folder": tests.parent.name}
        self.script.write_text(RUN.format(**names, seconds=seconds))

    def start(self):
        environment = {key: value for key, value in os.environ.items() if "XDIST" not in key}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT / "src", ROOT)))
        return subprocess.Popen(
            [sys.executable, str(self.script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def run(self):
        process = self.start()
        printed, _ = process.communicate(timeout=120)
        return process.returncode, printed

    def section(self, name="record.json"):
        return record.read(self.out / name)["speedclaims"]


def names(rows):
    return [row["name"] for row in rows]


def test_one_line_a_pair_and_a_record_of_the_chosen_families(tmp_path):
    code, printed = (command := Command(tmp_path)).run()
    assert code == 0
    lines = [line for line in printed.splitlines() if " s  " in line]
    assert [line.split()[-1] for line in lines] == ["first", "dies", "last"]
    assert all("x [" in line and len(line) <= 80 for line in lines)
    assert names(command.section()["pairs"]) == ["test_first", "test_dies", "test_last"]
    assert sorted(path.name for path in command.out.iterdir()) == [
        "index.html", "record.json", "run.log", "speedups.md", "warm-up.log",
    ]  # fmt: skip


def test_a_process_that_dies_costs_its_own_test_alone(tmp_path):
    code, printed = (command := Command(tmp_path, dying="os._exit(9)")).run()
    assert code == 0
    assert "ended with 9 in tests/test_toys.py::test_dies; a fresh one goes on" in printed
    section = command.section()
    assert names(section["pairs"]) == ["test_first", "test_last"]
    assert all(row["speedup"] > 1 for row in section["pairs"])
    (claim,) = section["claims"]
    assert claim["overall"] == "confirmed", "what the process before measured judges it too"
    rows = json.loads((command.out / "record.json").read_text())["benchmarks"]
    assert sorted(row["name"] for row in rows) == [
        "test_first[after]", "test_first[before]", "test_last[after]", "test_last[before]",
    ]  # fmt: skip


def test_a_process_that_cannot_start_is_not_started_again(tmp_path):
    command = Command(tmp_path)
    (tmp_path / "tests" / "conftest.py").write_text("import os; os._exit(9)")
    code, printed = command.run()
    assert code == 9
    assert "nothing was measured; run.log says why" in printed


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("delay_s", [0.0, 0.35, 1.1])
def test_cut_off_at_any_moment_it_leaves_a_valid_record_and_no_process(tmp_path, number, delay_s):
    command = Command(tmp_path, dying="time.sleep(30)")
    process = command.start()
    wait_for((command.out / "record.partial.json").exists)
    time.sleep(delay_s)
    (measuring,) = children(process.pid)
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_for(lambda: not is_running(measuring), 30)
    whole = (command.out / "record.json").exists()
    assert whole or number == signal.SIGKILL
    section = command.section("record.json" if whole else "record.partial.json")
    assert set(names(section["pairs"])) <= {"test_first"}


def children(pid):
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_when_the_time_is_up_the_record_is_written_all_the_same(tmp_path):
    file, _, dies = CHEAP.partition("::")
    seconds = RESERVE_S + COSTS[CHEAP].other_s + 5  # so that it begins, and then does not end
    command = Command(tmp_path, dying="time.sleep(100)", seconds=seconds, file=file, dies=dies)
    started = time.monotonic()
    _, printed = command.run()
    assert "the run's time was up while it was measured" in printed
    assert time.monotonic() - started < seconds
    section = command.section()
    assert section["pairs"] == []
    assert f"{file}::test_first" in section["not_run"]


# --- What fits ---


def test_a_test_that_is_wanted_less_does_not_take_the_time_of_one_that_fits():
    budget = Budget({"long": Cost(10, 60), "short": Cost(2, 5)})
    long, short, unknown = (budget.cost(name) for name in ("long", "short", "of no table"))
    assert budget.seconds_for(long, 100) == 60
    assert budget.seconds_for(long, 10 + 60 * LEAST_SHARE) == pytest.approx(60 * LEAST_SHARE)
    assert budget.seconds_for(long, 10 + 60 * LEAST_SHARE - 1) is None
    assert budget.seconds_for(short, 30) == 5
    assert budget.seconds_for(short, 2) is None
    assert budget.seconds_for(unknown, UNKNOWN.other_s + 100) == UNKNOWN.measure_s


def test_a_test_that_takes_the_rounds_of_another_costs_no_measuring():
    budget = Budget({"epoch": Cost(10, 60), "training": Cost(6, 60, "epoch")})
    assert budget.cost("training").measure_s == 60
    assert budget.cost("training", {"epoch": {}}).measure_s == 0


def test_a_pair_that_ends_early_does_not_make_tests_free():
    budget = Budget({"quick": Cost(10, 50), "next": Cost(20, 5)})
    budget.note("quick", took_s=13, measured_s=3)
    assert budget.cost("next") == Cost(20, 5)
    budget.note("quick", took_s=3, measured_s=3)
    assert budget.cost("next").other_s == 10


def test_costs_are_corrected_by_what_tests_took():
    budget = Budget({"a": Cost(10, 5), "b": Cost(20, 5)})
    budget.note("a", took_s=35, measured_s=5)
    assert budget.factor == 3
    assert budget.cost("b") == Cost(60, 5)
    budget.note("b", took_s=5, measured_s=5)
    assert budget.cost("b").other_s == 20


def test_every_test_of_the_table_is_there():
    arguments = ["bench", "--collect-only", "-q", "-p", "no:cacheprovider", "--benchmark-disable"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = set(done.stdout.splitlines())
    assert set(COSTS) - found == set()
