"""The plugin runs from a plain copy of its sources, on a machine that lacks libraries which the wheel asks for."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from speedclaims import __version__
from speedclaims.record import io as record
from speedclaims.recorders import environment
from tests.speedclaims.conftest import KNOWN_CPU, QUICK, knowing_the_cpu

SOURCES = Path(__file__).parents[2] / "src" / "speedclaims"

ALWAYS_MISSING = ("pydantic", "fastjsonschema", "hatchling")

HIDING = """
import os
import sys


class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hiding)
"""

TEST = """
import importlib
import os
from pathlib import Path

import pytest
import speedclaims


@pytest.mark.speedup_claim("loop.thrice")
@pytest.mark.speedup_passes("memory")
def test_loop(pair):
    pair(before=lambda: sum(range(50_000)), after=lambda: sum(range(500)))


def test_it_is_the_copy_and_the_libraries_are_missing():
    assert Path(speedclaims.__file__).is_relative_to(os.environ["COPY"])
    for name in os.environ["HIDDEN"].split(","):
        with pytest.raises(ImportError):
            importlib.import_module(name)
"""

LEDGER = """
[[claim]]
id = "loop.thrice"
source = "notes.txt"
text = "three times faster"
kind = "measured"
low = 1.1
"""


@pytest.fixture
def run(tmp_path):
    """Run the project with the copy, without some libraries; return the lines that pytest printed."""
    shutil.copytree(SOURCES, tmp_path / "copy" / "speedclaims", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copy" / "sitecustomize.py").write_text(HIDING)
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_loop.py").write_text(TEST)
    (project / "claims.toml").write_text(LEDGER)

    def start(*arguments, missing=(), status=0):
        known = knowing_the_cpu()
        environment = (
            os.environ
            | known
            | {
                "PYTHONPATH": os.pathsep.join([str(tmp_path / "copy"), known["PYTHONPATH"]]),
                "HIDDEN": ",".join((*ALWAYS_MISSING, *missing)),
                "COPY": str(tmp_path / "copy"),
            }
        )
        # the installed plugin must not be loaded beside the copy
        plugins = ["-pno:speedclaims", "-pspeedclaims.plugin", "-pno:xdist", "-pno:hypothesispytest", *KNOWN_CPU]
        command = [sys.executable, "-m", "pytest", *plugins, *QUICK, "--speedup-report=out", *arguments]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return (done.stdout + done.stderr).splitlines()

    start.out = project / "out"
    return start


def claims_of(out):
    """Return the verdicts of a run's record, which is validated here, where fastjsonschema is installed."""
    claims = record.read(out / "record.json")["speedclaims"]["claims"]
    return {claim["id"]: claim["verdict"] for claim in claims}


def test_it_measures_judges_and_draws_without_pydantic_fastjsonschema_and_hatchling(run):
    lines = run()
    assert claims_of(run.out) == {"loop.thrice": "confirmed"}
    assert (run.out / "index.html").stat().st_size > 1000
    assert f"report: {Path('out', 'index.html')}" in lines
    assert not [line for line in lines if line.startswith("no index.html")]


def test_without_what_draws_the_page_there_are_the_record_and_the_tables_and_one_line_says_why(run):
    run.out.mkdir()
    (run.out / "index.html").write_text('<p class="machine">a page of an older record</p>')
    lines = run(missing=["jinja2"])
    assert claims_of(run.out) == {"loop.thrice": "confirmed"}
    assert "three times faster" in (run.out / "speedups.md").read_text()
    assert sorted(path.name for path in run.out.iterdir()) == ["record.json", "speedups.md"]
    assert "no index.html: Jinja2 draws it and cannot be imported (No module named 'jinja2')" in lines
    assert f"report: {Path('out', 'speedups.md')}" in lines


def test_without_rich_the_summary_has_sentences_instead_of_tables(run):
    lines = run(missing=["rich", "scipy"])
    assert claims_of(run.out) == {"loop.thrice": "confirmed"}
    assert [line for line in lines if line.startswith("confirmed: loop.thrice: claimed ≥ 1.1x, ")]
    assert [line for line in lines if line.startswith("1 of 1 claim judged on this machine holds")]
    assert "No tables here: rich cannot be imported (No module named 'rich')." in " ".join(lines)


def test_without_numpy_and_scipy_the_gate_decides(run):
    run("--benchmark-autosave", missing=["numpy", "scipy"])
    lines = run("--benchmark-compare", "--speedup-fail=90", missing=["numpy", "scipy"])
    assert [line for line in lines if line.startswith("Gate passed")]


def test_a_record_is_read_without_fastjsonschema_and_still_checked_for_its_form(run, monkeypatch):
    run()
    path = run.out / "record.json"
    monkeypatch.setitem(sys.modules, "fastjsonschema", None)
    record._validator.cache_clear()
    try:
        assert record.read(path)["speedclaims"]["schema_version"] == record.SCHEMA_VERSION
        text = path.read_text()
        for damaged, words in (
            (text[:-99], "damaged or not JSON"),
            (text.replace('"audit": []', '"audit": [NaN]'), "it holds NaN"),
            (text.replace('"schema_version": 2', '"schema_version": 99'), "schema version 99"),
            ("{}", "no speedclaims section"),
        ):
            path.write_text(damaged)
            with pytest.raises(record.RecordError, match=words):
                record.read(path)
        with pytest.raises(record.RecordError, match="NaN"):
            record.dumps({"speedclaims": float("nan")})
    finally:
        record._validator.cache_clear()


def test_the_plugin_s_version_is_that_of_its_files_where_it_is_not_installed(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment.metadata, "version", missing)
    assert environment.versions(["speedclaims", "torch"]) == {"speedclaims": __version__, "torch": None}
