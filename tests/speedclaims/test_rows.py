"""The contract with what pytest-benchmark does not publish: an update that moves it fails here, loudly."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.session import BenchmarkSession
from pytest_benchmark.utils import get_machine_id

from speedclaims import rows


@pytest.mark.parametrize("name", ["_make_stats", "enabled"])
def test_the_fixture_still_has_what_rows_uses(name):
    assert hasattr(BenchmarkFixture, name)


@pytest.mark.parametrize("name", ["get_machine_info"])
def test_the_session_still_has_what_rows_uses(name):
    assert hasattr(BenchmarkSession, name)


def test_saved_runs_are_found_by_number_or_prefix_oldest_first(pytestconfig, tmp_path, monkeypatch):
    monkeypatch.setattr(pytestconfig.option, "benchmark_storage", f"file://{tmp_path}")
    folder = tmp_path / get_machine_id()
    folder.mkdir()
    for name in ("0002_b.json", "0001_a.json", "mine.json"):
        (folder / name).write_text("{}")
    assert [path.name for path in rows.saved_runs(pytestconfig, None)[0]] == ["0001_a.json", "0002_b.json"]
    assert [path.name for path in rows.saved_runs(pytestconfig, "0001")[0]] == ["0001_a.json"]
    assert [path.name for path in rows.saved_runs(pytestconfig, "mi")[0]] == ["mine.json"]
    assert rows.saved_runs(pytestconfig, "0007") == ([], str(tmp_path))


def test_a_fixture_makes_two_rows_with_their_own_names_and_values(benchmark):
    made = []
    benchmark._add_stats = made.append
    rows.add(benchmark, "test_x[a]", {"before": [0.3, 0.1], "after": [0.2]}, {"speedup": 1.0})
    assert [row.name for row in made] == ["test_x[a-before]", "test_x[a-after]"]
    assert [row.as_dict()["stats"]["median"] for row in made] == pytest.approx([0.2, 0.2])
    assert [row.as_dict()["stats"]["rounds"] for row in made] == [2, 1]
    assert [row.extra_info["side"] for row in made] == ["before", "after"]
    benchmark.stats = None


def test_the_session_of_this_run_is_found(request):
    session = rows.session(request.config)
    assert isinstance(session, BenchmarkSession)
    assert hasattr(session, "xdist_worker")
    assert hasattr(session, "benchmarks")
