"""Compiled projects are built in virtual environments; two interpreters bring two sets of libraries."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from speedclaims.revisions import builds
from speedclaims.revisions.git import RevisionError
from tests.speedclaims.revisions.repositories import contents, git, repository, write
from tests.speedclaims.revisions.test_against import run

C = """
#include <Python.h>

static PyObject *total(PyObject *self, PyObject *number) {{
    long most = PyLong_AsLong(number);
    volatile double sum = 0;
    for (long one = 0; one < {times} * most; one++) sum += one % most;
    return PyLong_FromLong(most * (most - 1) / 2);
}}

static PyMethodDef methods[] = {{{{"total", total, METH_O, ""}}, {{0}}}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "fastsum", 0, -1, methods}};
PyMODINIT_FUNC PyInit_fastsum(void) {{ return PyModule_Create(&module); }}
"""

TEST = "import fastsum\n\ndef test_total(benchmark):\n    assert benchmark(fastsum.total, 20000) == 199990000\n"

BUILD = (
    "cc -O2 -shared -fPIC -I{include} fastsum.c -o "
    '"$(python -c \'import sysconfig; print(sysconfig.get_path("platlib"))\')/fastsum{suffix}"'
)


@pytest.fixture
def repo(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return repository(
        tmp_path / "repo", {"fastsum.c": C.format(times=1), "tests/test_it.py": TEST, ".gitignore": "*.so\n"}
    )


def command():
    return BUILD.format(include=sysconfig.get_path("include"), suffix=sysconfig.get_config_var("EXT_SUFFIX"))


@pytest.mark.skipif(sys.platform != "linux", reason="the command is for a C compiler of Linux")
def test_a_compiled_project_is_built_at_both_revisions_and_kept(repo, tmp_path):
    write(repo, {"fastsum.c": C.format(times=3)})
    before = contents(repo)
    out = tmp_path / "out"
    options = ["--speedup-against=HEAD", f"--speedup-build={command()}", f"--speedup-report={out}"]
    done = run(repo, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    section = json.loads((out / "record.json").read_text())["speedclaims"]
    (row,) = (row for row in section["pairs"] if not row["control"])
    assert row["status"] == "measured"
    assert 0.2 < row["speedup"] < 0.5, "three times the work"
    assert contents(repo) == before
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("fastsum*.so")}
    assert len(made) == 2
    assert run(repo, *options).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("fastsum*.so")} == made


def test_an_environment_sees_the_packages_of_the_other_after_its_own(repo, tmp_path):
    built = builds.build(repo, git(repo, "rev-parse", "HEAD"), "pip --version", tmp_path / "scratch", None)
    code = "import pytest, sys; print(pytest.__file__, sys.prefix)"
    done = subprocess.run([built.python, "-c", code], capture_output=True, text=True, check=True)
    assert pytest.__file__ in done.stdout
    assert str(tmp_path / "cache") in done.stdout
    assert (built.tree / "fastsum.c").is_file()


def test_a_build_that_fails_leaves_nothing_and_says_why(repo, tmp_path):
    script = "echo one; echo two >&2; exit 3"
    with pytest.raises(RevisionError, match=r"ended with 3 for the working tree: one \| two"):
        builds.build(repo, None, script, tmp_path / "scratch", None)
    assert list(builds.folder().iterdir()) == []


def test_a_build_runs_in_a_copy_with_uncommitted_files(repo, tmp_path):
    write(repo, {"new.txt": "new"})
    before = contents(repo)
    built = builds.build(repo, None, "cat new.txt > seen.txt", tmp_path / "scratch", None)
    assert (built.tree / "seen.txt").read_text() == "new"
    assert contents(repo) == before


def test_an_interpreter_that_makes_no_environment_is_refused_and_leaves_nothing(repo, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named venv' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(RevisionError, match=r"makes no virtual environment: No module named venv: install its venv"):
        builds.build(repo, git(repo, "rev-parse", "HEAD"), "true", tmp_path / "scratch", str(python))
    assert list(builds.folder().iterdir()) == []


def test_old_builds_are_forgotten(repo, tmp_path):
    for number in range(14):
        builds.build(repo, git(repo, "rev-parse", "HEAD"), f"true {number}", tmp_path / f"scratch{number}", None)
    assert len(list(builds.folder().iterdir())) == 12


def test_a_folder_without_git_cannot_be_built(tmp_path):
    write(tmp_path / "plain", {"x.py": ""})
    with pytest.raises(RevisionError, match="needs a git repository"):
        builds.build(tmp_path / "plain", None, "true", tmp_path / "scratch", None)


@pytest.fixture
def other_python(tmp_path):
    """An interpreter with another version of a library, and without this plugin."""
    folder = tmp_path / "other"
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    needed = (
        "pytest",
        "_pytest",
        "pluggy",
        "iniconfig",
        "packaging",
        "pygments",
        "pytest_benchmark",
        "cpuinfo",
        "py.py",
    )
    ours = Path(sysconfig.get_path("purelib"))
    for name in needed:
        (site / name).symlink_to(ours / name)
    for pattern in ("pytest-*.dist-info", "pytest_benchmark-*.dist-info", "pluggy-*.dist-info"):
        (found,) = ours.glob(pattern)
        (site / found.name).symlink_to(found)
    return site, python


def library(site, version, times):
    write(site, {"lib.py": f"def total(number):\n    return sum(range(number)) + 0 * sum(range({times} * number))\n"})
    write(site, {f"lib-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: lib\nVersion: {version}\n"})


@pytest.mark.skipif(sys.platform != "linux", reason="the environment is made of links")
def test_two_interpreters_with_two_versions_of_a_library(other_python, tmp_path):
    site, python = other_python
    library(site, "1.0", 0)
    library(tmp_path / "ours", "2.0", 3)
    test = "import lib\n\ndef test_total(benchmark):\n    assert benchmark(lib.total, 3000) == 4498500\n"
    write(tmp_path / "project", {"test_it.py": test, "pytest.ini": "[pytest]\n"})
    out = tmp_path / "out"
    folders = [str(tmp_path / "ours"), str(Path(__file__).parents[1] / "plugins")]
    ours = f"import sys; sys.path[:0] = {folders!r}; import pytest; sys.exit(pytest.main())"
    options = [f"--speedup-python={python}", f"--speedup-report={out}", "--speedup-max-time=0.9", "-pno:xdist"]
    done = subprocess.run(
        [sys.executable, "-c", ours, *options], cwd=tmp_path / "project", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    section = json.loads((out / "record.json").read_text())["speedclaims"]
    (row,) = (row for row in section["pairs"] if not row["control"])
    assert row["before"] == str(python)
    assert 0.1 < row["speedup"] < 0.6
    assert row["equivalence"] == "passed"
    assert section["against"]["libraries"]["hypothesis"]["before"] is None


def test_an_interpreter_without_pytest_is_refused(tmp_path):
    venv.EnvBuilder(symlinks=True).create(tmp_path / "bare")
    write(tmp_path / "project", {"test_it.py": "def test_it(benchmark):\n    benchmark(sum, [])\n"})
    done = run(tmp_path / "project", f"--speedup-python={tmp_path / 'bare/bin/python'}")
    assert done.returncode == 4
    assert "it lacks pytest and pytest-benchmark:" in done.stderr
