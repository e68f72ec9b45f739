"""The unpublished parts of pytest-benchmark that rows rely on: an update that changes them fails here."""

import inspect
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.logger import Logger
from pytest_benchmark.session import BenchmarkSession
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import get_machine_id, load_storage, safe_dumps

from speedclaims.record import benchmark_rows


@pytest.mark.parametrize("name", ["_make_stats", "enabled"])
def test_the_fixture_still_has_what_rows_uses(name):
    assert hasattr(BenchmarkFixture, name)


@pytest.mark.parametrize(
    "name", ["_disable_gc", "_mode", "enabled", "extra_info", "fullname", "group", "param", "params"]
)
def test_a_fixture_still_has_the_attributes_that_rows_reads_or_sets(benchmark, name):
    assert hasattr(benchmark, name)
    benchmark_rows.mark_used(benchmark)


def test_the_functions_still_take_what_rows_gives_them(pytestconfig):
    assert {"logger", "default_machine_id"} <= set(inspect.signature(FileStorage).parameters)
    assert callable(load_storage)
    assert {"level", "config"} <= set(inspect.signature(Logger).parameters)
    assert isinstance(Logger.QUIET, int)
    assert callable(FileStorage.query)
    assert safe_dumps({"any": object}).startswith("{")
    for option in ("benchmark_storage", "benchmark_netrc", "benchmark_compare", "benchmark_disable"):
        assert hasattr(pytestconfig.option, option)


def test_the_distribution_asks_for_the_versions_that_rows_supports():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    asked = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    assert asked["pytest-benchmark"] == SpecifierSet(benchmark_rows.SUPPORTED)


def test_benchmarks_are_off_in_an_xdist_worker_whatever_the_version(monkeypatch):
    on = SimpleNamespace(enabled=True)
    assert benchmark_rows.enabled(on)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw3")
    assert not benchmark_rows.enabled(on)


@pytest.mark.parametrize("name", ["get_machine_info"])
def test_the_session_still_has_what_rows_uses(name):
    assert hasattr(BenchmarkSession, name)


def test_saved_runs_are_found_by_number_or_prefix_oldest_first(pytestconfig, tmp_path, monkeypatch):
    monkeypatch.setattr(pytestconfig.option, "benchmark_storage", f"file://{tmp_path}")
    folder = tmp_path / get_machine_id()
    folder.mkdir()
    for name in ("0002_b.json", "0001_a.json", "mine.json"):
        (folder / name).write_text("{}")
    assert [path.name for path in benchmark_rows.saved_runs(pytestconfig, None)[0]] == ["0001_a.json", "0002_b.json"]
    assert [path.name for path in benchmark_rows.saved_runs(pytestconfig, "0001")[0]] == ["0001_a.json"]
    assert [path.name for path in benchmark_rows.saved_runs(pytestconfig, "mi")[0]] == ["mine.json"]
    assert benchmark_rows.saved_runs(pytestconfig, "0007") == ([], str(tmp_path))


def test_a_fixture_makes_two_rows_with_their_own_names_and_values(benchmark):
    made = []
    benchmark._add_stats = made.append
    rows = benchmark_rows.Rows(benchmark, "test_x[a]")
    rows.fill({"before": [0.3], "after": [0.2]}, {"speedup": 2.0})
    rows.fill({"before": [0.3, 0.1], "after": [0.2]}, {"speedup": 1.0})  # replaces what they held
    assert [row.name for row in made] == ["test_x[a-before]", "test_x[a-after]"]
    assert [row.as_dict()["stats"]["median"] for row in made] == pytest.approx([0.2, 0.2])
    assert [row.as_dict()["stats"]["rounds"] for row in made] == [2, 1]
    assert [row.extra_info["side"] for row in made] == ["before", "after"]
    benchmark.stats = None


def test_the_session_of_this_run_is_found(request):
    session = benchmark_rows.session(request.config)
    assert isinstance(session, BenchmarkSession)
    assert hasattr(session, "benchmarks")
