"""The index of the evidence lists each record by machine and verdicts, and the committed one is up to date."""

import json
import re
from pathlib import Path

import pytest

from speedclaims.report.markdown.index import index, main
from speedclaims.report.markdown.results import results
from tests.speedclaims.report.sample import gpu_record, sample_record

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path):
    for device, record in (("cpu", sample_record()), ("h200", gpu_record())):
        path = tmp_path / "reports" / "recorded" / device / "2026-01-01-abc.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))
    (tmp_path / "reports" / "statistics").mkdir()
    (tmp_path / "reports" / "statistics" / "runs.md").write_text("# Real runs\n\ntext\n")
    return tmp_path / "reports"


def test_every_record_and_every_table_is_listed(folder):
    text = index(folder)
    assert "[cpu/2026-01-01-abc](recorded/cpu/2026-01-01-abc.json)" in text
    assert "[h200/2026-01-01-abc](recorded/h200/2026-01-01-abc.json)" in text
    assert "3 of 5 claims judged on this machine hold" in text
    assert "- [Real runs](statistics/runs.md)" in text


def test_a_record_adds_what_no_newer_one_of_its_machine_measured(folder):
    older = sample_record()
    older["datetime"] = "2020-01-01T00:00:00+00:00"
    (folder / "recorded" / "cpu" / "2020-01-01-old.json").write_text(json.dumps(older))
    row = next(line for line in index(folder).splitlines() if "2020-01-01-old" in line)
    assert row.endswith("| nothing |")
    older["speedclaims"]["pairs"][0]["nodeid"] = "bench/test_old.py::test_only_there[4]"
    (folder / "recorded" / "cpu" / "2020-01-01-old.json").write_text(json.dumps(older))
    row = next(line for line in index(folder).splitlines() if "2020-01-01-old" in line)
    assert row.endswith("| `test_only_there` |")
    first = next(line for line in index(folder).splitlines() if line.startswith("| [cpu/2026-01-01-abc]"))
    assert re.search(r"(`test_\w+`(, )?)+( and \d+ others)? \|$", first)


def test_the_index_lists_neither_itself_nor_the_latest_report(folder):
    (folder / "latest").mkdir()
    (folder / "latest" / "speedups.md").write_text("# Latest\n")
    assert main([str(folder)]) == 0
    assert (folder / "README.md").read_text() == index(folder)
    assert "Latest" not in index(folder)


def test_a_damaged_record_leaves_the_old_index(folder, capsys):
    main([str(folder)])
    old = (folder / "README.md").read_text()
    (folder / "recorded" / "cpu" / "2026-01-01-abc.json").write_text("{")
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "README.md").read_text() == old


def test_the_newest_verdicts_of_each_machine_come_first_and_those_of_gpus_before_the_others(folder):
    text = index(folder)
    assert text.count("| claim |") == 2
    places = [text.index(f"([record](recorded/{name}/2026-01-01-abc.json))") for name in ("h200", "cpu")]
    assert places == sorted(places)
    assert places[1] < text.index("## Records")


def test_of_two_records_of_a_machine_the_newer_speaks(folder):
    (folder / "recorded" / "h200" / "2026-01-01-abc.json").rename(folder / "recorded" / "cpu" / "2026-01-02-def.json")
    text = "\n".join(results(folder))
    assert text.count("| claim |") == 1
    assert "recorded/cpu/2026-01-02-def.json" in text


@pytest.mark.parametrize("is_judging", [True, False])
def test_a_newer_record_speaks_only_if_it_judges_a_claim(folder, is_judging):
    data = sample_record()
    data["datetime"] = "2099-01-01T00:00:00+00:00"
    if not is_judging:
        data["speedclaims"]["claims"] = []
    (folder / "recorded" / "cpu" / "2099-01-01-abc.json").write_text(json.dumps(data))
    assert ("recorded/cpu/2099-01-01-abc.json" in "\n".join(results(folder))) == is_judging


def test_where_no_record_of_a_machine_judges_a_claim_the_newest_says_so(folder):
    for path in (folder / "recorded").glob("*/*.json"):
        data = json.loads(path.read_text())
        data["speedclaims"]["claims"] = []
        path.write_text(json.dumps(data))
    text = "\n".join(results(folder))
    assert text.count("([record](") == 2
    assert "| claim |" not in text


def test_a_folder_without_records_has_no_verdicts(tmp_path):
    assert main([str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "What came out" not in text
    assert "## Records" not in text


def test_a_folder_that_is_not_there_is_not_made(tmp_path, capsys):
    assert main([str(tmp_path / "missing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "missing").exists()


def test_the_index_of_this_repository_is_up_to_date():
    assert (ROOT / "reports" / "README.md").read_text() == index(ROOT / "reports")
