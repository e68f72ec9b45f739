"""Writing a report: all three files or none, and one clear line when it cannot be done."""

import json
import math
import os
from pathlib import Path

import pytest

from speedclaims.report.html.page import ReportError, write_report
from tests.speedclaims.report.sample import Row, gpu_record, sample_record

NAMES = ["index.html", "speedups.md", "record.json"]


def contents(directory: Path) -> dict[str, bytes]:
    """Return everything that lies in a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def refused(records: list[Row], directory: Path) -> str:
    """Return the message with which a report is refused."""
    with pytest.raises(ReportError) as caught:
        write_report(records, directory)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_three_files_are_written_and_nothing_else(any_record: Row, tmp_path: Path) -> None:
    written = write_report([any_record], tmp_path / "new" / "report", sources=["run.json"])
    assert [path.name for path in written] == NAMES
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == sorted(NAMES)


def test_record_json_is_the_newest_record_as_strict_json(record: Row, tmp_path: Path) -> None:
    write_report([record, gpu_record()], tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "record.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == gpu_record()


def test_a_second_report_replaces_the_first(record: Row, tmp_path: Path) -> None:
    write_report([record], tmp_path)
    write_report([gpu_record()], tmp_path)
    assert "NVIDIA H200" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(list(tmp_path.iterdir())) == len(NAMES)


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report([sample_record()], tmp_path / name, sources=["run.json"])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_file_in_the_directorys_place_is_refused_and_kept(record: Row, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    message = refused([record], tmp_path / "report")
    assert "report" in message
    assert "give a directory" in message
    assert (tmp_path / "report").read_text() == "mine"


def test_a_directory_in_a_files_place_is_refused_and_the_old_report_stays_whole(record: Row, tmp_path: Path) -> None:
    write_report([record], tmp_path)
    (tmp_path / "record.json").unlink()
    (tmp_path / "record.json").mkdir()
    before = contents(tmp_path)
    assert "record.json" in refused([gpu_record()], tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_is_refused(record: Row, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in refused([record], tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_the_old_report_whole(record: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report([record], tmp_path)
    before = contents(tmp_path)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    assert "No space left on device" in refused([gpu_record()], tmp_path)
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(NAMES)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_record_that_is_not_strict_json_is_refused_and_the_old_report_stays(tmp_path: Path, value: float) -> None:
    write_report([sample_record()], tmp_path)
    before = contents(tmp_path)
    broken = sample_record()
    broken["speedclaims"]["pairs"][0]["before_s"] = value
    assert "record.json" in refused([broken], tmp_path)
    assert contents(tmp_path) == before


def test_no_record_is_refused(tmp_path: Path) -> None:
    assert "no record" in refused([], tmp_path)


@pytest.mark.parametrize("broken", [{}, {"datetime": "2026"}, {"datetime": "2026", "speedclaims": {"pairs": []}}])
def test_what_is_no_record_is_refused(broken: Row, tmp_path: Path) -> None:
    assert "record" in refused([broken], tmp_path)
    assert list(tmp_path.iterdir()) == []
