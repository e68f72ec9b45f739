"""Commands and options of pytest-benchmark work on the rows of pairs."""

import json
import subprocess
import sys

import pytest

TWO = """
def test_loop(pair):
    pair(before=lambda: sum(range(20_000)), after=lambda: sum(range(10_000)))

def test_plain(benchmark):
    benchmark(sum, range(1000))
"""


@pytest.fixture
def saved(project):
    project.write(test_two_py=TWO)
    assert project.run("--benchmark-autosave").ret == 0
    return project


def test_autosave_stores_both_rows_and_the_record_beside_ordinary_benchmarks(saved):
    (path,) = (saved.path / ".benchmarks").rglob("*.json")
    data = json.loads(path.read_text())
    names = ["test_loop[before]", "test_loop[after]", "test_plain"]
    assert [row["name"] for row in data["benchmarks"]] == names
    assert data["speedclaims"]["schema_version"] == 2
    assert data["machine_info"]["libraries"]["pytest-benchmark"]


PAIR = """
def test_loop(pair):
    pair(before=lambda: sum(range(20_000)), after=lambda: sum(range(10_000)))
"""
TABLE = "Name (time in"


def test_the_table_of_pytest_benchmark_repeats_nothing_unless_it_is_asked_for(project):
    project.write(test_p_py=PAIR)
    shown = {
        arguments: TABLE in project.run("--speedup-processes=1", *arguments).stdout.str()
        for arguments in (
            (), ("--speedup-report=out",), ("-v",), ("--benchmark-columns=min",), ("--benchmark-autosave",),
            ("--benchmark-compare",),
        )
    }  # fmt: skip
    assert [arguments for arguments, is_shown in shown.items() if is_shown] == [
        ("-v",), ("--benchmark-columns=min",), ("--benchmark-compare",),
    ]  # fmt: skip
    project.write(test_p_py=TWO)
    text = project.run("--speedup-processes=1").stdout.str()
    assert TABLE in text
    assert "test_plain" in text


def test_compare_sets_each_side_beside_its_stored_row(saved):
    result = saved.run("--benchmark-compare")
    assert result.ret == 0
    text = result.stdout.str()
    for row in ("test_loop[before]", "test_loop[after]", "test_plain"):
        assert f"{row} (0001_" in text
        assert f"{row} (NOW)" in text
    assert "times were compared above; add --speedup-fail PCT to compare speedups" in text
    assert "machine_info is different" not in result.stdout.str() + result.stderr.str()


def test_compare_fail_of_pytest_benchmark_sees_our_rows(saved):
    assert saved.run("--benchmark-compare", "--benchmark-compare-fail=median:100000%").ret == 0
    slower = TWO.replace("range(10_000)", "range(100_000)")
    saved.write(test_two_py=slower)
    result = saved.run("--benchmark-compare", "--benchmark-compare-fail=median:300%")
    assert "Performance has regressed" in result.stdout.str() + result.stderr.str()
    assert result.ret != 0


def test_the_pytest_benchmark_command_reads_our_rows(saved):
    assert saved.run("--benchmark-autosave").ret == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "--group-by=fullname"],
        cwd=saved.path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "test_loop[after] (0002_" in done.stdout


def test_extra_info_carries_the_speedup_in_plain_json(project):
    project.write(test_two_py=TWO)
    assert project.run("--benchmark-json=a.json").ret == 0

    def refuse(name):
        raise AssertionError(name)

    text = (project.path / "a.json").read_text()
    data = json.loads(text, parse_constant=refuse)
    info = data["benchmarks"][0]["extra_info"]
    assert info["low"] <= info["speedup"] <= info["high"]
    assert info["side"] == "before"
    assert "UNSERIALIZABLE" not in text


def test_the_marker_of_pytest_benchmark_sets_the_group(project):
    project.write(
        test_g_py="import pytest\n"
        + TWO.replace("def test_loop", '@pytest.mark.benchmark(group="mine")\ndef test_loop')
    )
    assert project.run("--benchmark-json=a.json").ret == 0
    data = json.loads((project.path / "a.json").read_text())
    assert {row["group"] for row in data["benchmarks"] if "loop" in row["name"]} == {"mine"}
