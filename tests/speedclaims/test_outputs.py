"""No output of a command or an option replaces an input, a base in use, somebody else's file, a folder or a device."""

import json
import os
import shutil
import stat

import pytest

from bench.calibration import __main__ as calibration
from speedclaims import cli
from speedclaims.export import FORMATS
from speedclaims.record import io as record
from speedclaims.record import paths as record_paths
from speedclaims.record import schema
from speedclaims.report.html.page import write_report
from speedclaims.report.markdown import index
from tests.speedclaims.claims.test_ledger import usage_line
from tests.speedclaims.comparing import measured, save
from tests.speedclaims.comparing import record as record_of
from tests.speedclaims.report.sample import gpu_record, sample_record


def contents(folder):
    """Return what lies below a folder: of files the bytes, of other things their kind and where links lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[path.name] = path.read_bytes()
        else:
            found[path.name] = stat.S_IFMT(path.stat().st_mode)
    return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with records and things that outputs could be written over."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    older, newer = sample_record(), gpu_record()
    newer["datetime"] = "2030-01-01T00:00:00"
    save(folder / "a.json", older)
    save(folder / "b.json", newer)
    (folder / "link.json").symlink_to("a.json")
    (folder / "hard.json").hardlink_to("a.json")
    (folder / "notes").mkdir()
    for name, made in (("older", older), ("newer", newer)):
        (folder / name).mkdir()
        save(folder / name / "record.json", made)
    for name in ("index.html", "speedups.md", "record.json", "record.partial.json"):
        (folder / f"of_others_{name}").mkdir()
        (folder / f"of_others_{name}" / name).write_text("<h1>our manual</h1>")
    (folder / "with_folder").mkdir()
    (folder / "with_folder" / "index.html").mkdir()
    (folder / "with_pipe").mkdir()
    os.mkfifo(folder / "with_pipe" / "speedups.md")
    (folder / "with_link").mkdir()
    (folder / "with_link" / "index.html").symlink_to("../of_others_index.html/index.html")
    (folder / "mine.py").write_text("for nodeid, why in found.items():\n    pass  # <!-- speedclaims -->\n")
    (folder / "mine.json").write_text('{"speedup": {"on": true}, "unit": "x"}')
    (folder / "reports" / "recorded" / "cpu").mkdir(parents=True)
    shutil.copy("a.json", "reports/recorded/cpu/2026-01-01-abc.json")
    (folder / "reports" / "README.md").write_text("# Our own words\n")
    return folder


REFUSED = {
    "an export over its input": (cli.main, "export a.json --to csv -o a.json", "it is an input too"),
    "an export over a link to its input": (cli.main, "export a.json --to csv -o link.json", "it is an input too"),
    "an export over its input by another name": (cli.main, "export a.json --to csv -o hard.json", "an input too"),
    "an export of a link over the file": (cli.main, "export link.json --to csv -o notes/../a.json", "an input too"),
    "an export over a file of others": (
        cli.main, "export a.json --to csv -o of_others_index.html/index.html", "it is not an earlier export",
    ),
    "an export over source code": (cli.main, "export a.json --to csv -o mine.py", "it is not an earlier export"),
    "an export over settings": (cli.main, "export a.json --to bencher -o mine.json", "it is not an earlier export"),
    "an export over another record": (cli.main, "export a.json --to csv -o b.json", "it is not an earlier export"),
    "an export over a folder": (cli.main, "export a.json --to csv -o notes", "it cannot be written (Is a directory)"),
    "an export below a file": (cli.main, "export a.json --to csv -o b.json/x", "it cannot be written"),
    "a report over the older of its inputs": (
        cli.main, "report older/record.json newer/record.json -o older", "older/record.json: it is an input too",
    ),
    "a report over the same in another order": (
        cli.main, "report newer/record.json older/record.json -o older", "older/record.json: it is an input too",
    ),
    "a report over a page of others": (cli.main, "report a.json -o of_others_index.html", "not of an earlier report"),
    "a report over tables of others": (cli.main, "report a.json -o of_others_speedups.md", "not of an earlier report"),
    "a report over a record of others": (cli.main, "report a.json -o of_others_record.json", "not of an earlier rep"),
    "a report through a link to a page of others": (cli.main, "report a.json -o with_link", "not of an earlier report"),
    "a report over a folder": (cli.main, "report a.json -o with_folder", "it is a folder"),
    "a report over a pipe": (cli.main, "report a.json -o with_pipe", "it is a device or a pipe"),
    "a report over a file": (cli.main, "report a.json -o b.json", "give a directory that can be written"),
    "an index over a page of others": (index.main, "reports", "it is not an earlier index"),
    "a schema over a record": (schema.main, "a.json", "it is not a schema of records"),
    "a table of figures over a record": (
        calibration.main, "coverage --sessions 2 -o a.json", "it is not an earlier table",
    ),
    "a schema over a folder": (schema.main, "notes", "Is a directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_output_that_would_replace_something_is_refused_in_one_line(name, place, capsys):
    command, arguments, line = REFUSED[name]
    before = contents(place)
    assert command(arguments.split()) == 2
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert contents(place) == before


def test_a_report_into_its_record_s_folder_leaves_the_record_as_it_is(place):
    before = (place / "newer" / "record.json").stat()
    for arguments in (["newer/record.json"], ["older/record.json", "newer/record.json"]):
        assert cli.main(["report", *arguments, "-o", "newer"]) == 0
    after = (place / "newer" / "record.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(path.name for path in (place / "newer").iterdir()) == ["index.html", "record.json", "speedups.md"]


WRITTEN = {
    "a new file": "new.csv",
    "in a new folder": "deep/new.csv",
    "a file that is there": "there.csv",
    "a file that is empty": "empty.csv",
    "a link to a file": "linked.csv",
    "a link to a file of others, which whoever made it chose": "to_others.csv",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_is_named_is_written(name, place):
    (place / "there.csv").write_text("nodeid,of an earlier export\n")
    (place / "empty.csv").touch()
    (place / "linked.csv").symlink_to("there.csv")
    (place / "others.csv").write_text("old\n")
    (place / "to_others.csv").symlink_to("others.csv")
    before = contents(place)
    assert cli.main(["export", "a.json", "--to", "csv", "-o", WRITTEN[name]]) == 0
    assert "nodeid" in (place / WRITTEN[name]).read_text()
    changed = {key for key, value in contents(place).items() if before.get(key) != value} - {"deep"}
    assert changed == {(place / WRITTEN[name]).resolve().name}


@pytest.mark.parametrize("to", FORMATS)
def test_an_earlier_export_is_replaced(place, to):
    for _ in range(2):
        assert cli.main(["export", "a.json", "--to", to, "-o", "again"]) == 0
    first = (place / "again").read_bytes()
    assert first
    newer = record.read(place / "b.json")
    newer["speedclaims"]["pairs"] = newer["speedclaims"]["pairs"][:2]
    save(place / "b.json", newer)
    assert cli.main(["export", "b.json", "--to", to, "-o", "again"]) == 0
    assert (place / "again").read_bytes() != first


@pytest.mark.parametrize("arguments", ["report a.json -o", "export a.json --to csv -o"])
def test_an_empty_path_is_refused(place, capsys, arguments):
    before = contents(place)
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments.split(), ""])
    assert caught.value.code == 2
    assert "argument -o/--out: the path is empty" in capsys.readouterr().err
    assert contents(place) == before


def test_a_report_of_ours_is_replaced_whichever_of_its_files_is_left(tmp_path):
    for name in ("index.html", "speedups.md", "record.json"):
        folder = tmp_path / name
        write_report([sample_record()], folder)
        for other in folder.iterdir():
            if other.name != name:
                other.unlink()
        (folder / "notes.txt").write_text("mine")
        write_report([gpu_record()], folder)
        assert len(list(folder.iterdir())) == 4
        assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "index.html").touch()
    assert len(write_report([sample_record()], tmp_path / "empty")) == 3


# -- sessions ------------------------------------------------------------------------------------------------------

# The clock goes on by what the sides say they took, so that a busy machine measures the same.
PAIR = """
import os
import pathlib
import random

from speedclaims import clock

NOW, DRAW = [0.0], random.Random(os.getpid())
clock.timer = lambda: lambda: NOW[0]

def side(seconds):
    def call():
        NOW[0] += seconds * DRAW.gauss(1, 0.004)
    return call

def test_p(pair):
    pathlib.Path("measured").touch()
    os.chdir("/")
    pair(before=side(0.004), after=side(AFTER))
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("index.html", "not of an earlier report"),
        ("speedups.md", "not of an earlier report"),
        ("record.json", "not of an earlier report"),
        ("record.partial.json", "not of an earlier report"),
        ("a folder", "it is a folder"),
        ("a device", "it is a device or a pipe"),
    ],
)
def test_a_report_over_something_else_is_refused_before_any_test_runs(project, name, line):
    project.write(test_p_py=PAIR.replace("AFTER", "0.002"))
    docs = project.path / "docs"
    docs.mkdir()
    if name == "a folder":
        (docs / "index.html").mkdir()
    elif name == "a device":
        (docs / "record.json").symlink_to(os.devnull)
    else:
        (docs / name).write_text("<h1>our manual</h1>")
    before = contents(docs)
    said = usage_line(project.run("--speedup-report=docs"))
    assert said.startswith("ERROR: --speedup-report docs: ")
    assert line in said
    assert contents(docs) == before
    assert not (project.path / "measured").exists()


def test_the_file_of_pytest_benchmark_is_neither_the_base_nor_somebody_else_s(project):
    project.write(test_p_py=PAIR.replace("AFTER", "0.002"))
    save(project.path / "base.json", record_of(measured("a")))
    (project.path / "linked.json").symlink_to("base.json")
    (project.path / "notes.json").write_text('{"ours": 1, "benchmarks": []}')
    (project.path / "folder").mkdir()
    before = contents(project.path)
    gate = ("--benchmark-compare=base.json", "--speedup-fail=10")
    for arguments, words in (
        ((*gate, "--benchmark-json=base.json"), "it is an input too"),
        ((*gate, "--benchmark-json=linked.json"), "it is an input too"),
        (("--benchmark-json=notes.json",), "it is not a file of pytest-benchmark"),
        (("--benchmark-compare=base.json", "--benchmark-json=base.json"), "it is an input too"),
        (("--benchmark-json=folder",), "Is a directory"),
        (("--benchmark-json=",), "Is a directory"),
        (("--benchmark-json=base.json/below.json",), "Not a directory"),
    ):
        said = usage_line(project.run(*arguments))
        assert said.startswith("ERROR: --benchmark-json ")
        assert words in said
        for name in ("stdout", "stderr"):  # pytester keeps them there
            (project.path / name).unlink()
        assert contents(project.path) == before
    for _ in range(2):
        assert project.run("--benchmark-json=run.json", "--speedup-processes=1").ret == 0
    assert record.read(project.path / "run.json")["speedclaims"]["pairs"][0]["status"] == "measured"


def test_relative_folders_are_those_of_the_start_whatever_a_test_does(project):
    project.write(test_p_py=PAIR.replace("AFTER", "0.002"))
    (project.path / "real").mkdir()
    (project.path / "linked").symlink_to("real")
    run = project.run("--speedup-report=linked", "--speedup-record=kept", "--speedup-processes=1")
    assert run.ret == 0
    run.stdout.fnmatch_lines(["report: linked/index.html", "record: kept/*.json"])
    assert (project.path / "linked").is_symlink()
    assert project.record("real")["speedclaims"]["pairs"][0]["status"] == "measured"
    assert len(list((project.path / "kept").glob("*/*.json"))) == 1


def test_a_gate_whose_base_is_in_the_report_s_folder_never_replaces_it(project):
    project.write(test_p_py=PAIR.replace("AFTER", "0.002"))
    two = ("--speedup-processes=2", "--speedup-report=latest")
    assert project.run(*two).ret == 0
    base = (project.path / "latest" / "record.json").read_bytes()
    project.write(test_p_py=PAIR.replace("AFTER", "0.0035"))
    for _ in range(2):
        run = project.run(*two, "--benchmark-compare=latest/record.json", "--speedup-fail=10")
        run.stdout.fnmatch_lines(["test_p *regressed", "*"])
        run.stdout.fnmatch_lines(["record: latest/record.new.json", "record.json in that folder is the base of*"])
        assert run.ret == 1
        assert (project.path / "latest" / "record.json").read_bytes() == base
    new = record.read(project.path / "latest" / "record.new.json")["speedclaims"]
    assert new["gate"]["changes"][0]["verdict"] == "regressed"
    assert sorted(path.name for path in (project.path / "latest").iterdir()) == [
        "index.html", "record.json", "record.new.json", "speedups.md",
    ]  # fmt: skip


def test_a_base_that_is_a_partial_record_in_the_report_s_folder_stays(project):
    project.write(test_p_py=PAIR.replace("AFTER", "0.002"))
    out = project.path / "out"
    out.mkdir()
    base = record_of(measured("a"))
    save(out / record_paths.SO_FAR, base)
    gate = (f"--benchmark-compare=out/{record_paths.SO_FAR}", "--speedup-fail=10", "--speedup-compare-subset")
    project.run("--speedup-report=out", "--speedup-processes=1", *gate)
    assert json.loads((out / record_paths.SO_FAR).read_text()) == base
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "record.json", "record.partial.json", "speedups.md",
    ]  # fmt: skip
