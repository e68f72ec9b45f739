"""A project of another author: the wheel in a clean environment, no framework and no trainers."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TEST = '''
import pytest


def epoch_without_workers():
    sorted(range(100_000), key=lambda n: -n)


def epoch_with_workers():
    sorted(range(1_000), key=lambda n: -n)


@pytest.mark.speedup_claim("loader.workers")            # optional: judges it against their own claims.toml
def test_loader(pair):
    """Four workers against none."""
    result = pair(before=epoch_without_workers, after=epoch_with_workers)
    assert result.low > 1.0
'''

LEDGER = """
[[claim]]
id = "loader.workers"
source = "our wiki"
text = "at least twice as fast"
kind = "measured"
low = 2.0
"""


def call(*command, cwd):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "COV"))}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Python of a new environment into which the wheel, built from this checkout, was installed."""
    folder = tmp_path_factory.mktemp("third-party")
    probe = call(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "fastjsonschema", cwd=folder)
    if probe.returncode != 0:
        pytest.skip("no package index within reach of pip")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    build = call(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "dist", ROOT, cwd=folder)
    assert build.returncode == 0, build.stderr
    (wheel,) = (folder / "dist").glob("speedclaims-*.whl")
    install = call(python, "-m", "pip", "install", "-q", wheel, cwd=folder)
    assert install.returncode == 0, install.stderr
    return python


@pytest.fixture
def project(tmp_path):
    (tmp_path / "test_loader.py").write_text(TEST)
    (tmp_path / "claims.toml").write_text(LEDGER)
    return tmp_path


def test_two_files_and_the_wheel_are_enough(python, project):
    done = call(python, "-m", "pytest", "--speedup-report=report", "--speedup-max-time=2", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loader.workers" in done.stdout
    assert "confirmed" in done.stdout
    section = json.loads((project / "report" / "record.json").read_text())["speedclaims"]
    assert [claim["verdict"] for claim in section["claims"]] == ["confirmed"]
    assert section["environment"]["libraries"]["torch"] is None
    assert section["environment"]["libraries"]["tensorflow"] is None
    assert (project / "report" / "index.html").stat().st_size > 1000


def test_the_environment_has_no_framework_and_none_of_our_trainers(python, project):
    code = (
        "import importlib.util as u; print([n for n in ('torch', 'tensorflow', 'trainers', 'bench') if u.find_spec(n)])"
    )
    assert call(python, "-c", code, cwd=project).stdout.strip() == "[]"


def test_the_command_is_installed_and_draws_a_saved_record(python, project):
    assert call(python, "-m", "pytest", "--speedup-report=a", "--speedup-max-time=1.5", cwd=project).returncode == 0
    command = python.parent / "speedclaims"
    done = call(command, "report", "a/record.json", "-o", "b", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "b" / "index.html").exists()
    done = call(command, "report", "missing.json", "-o", "c", cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith("speedclaims: missing.json: the record cannot be read")


def test_the_wheel_holds_the_plugin_alone(python):
    (wheel,) = (python.parents[2] / "dist").glob("speedclaims-*.whl")
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if not name.startswith("speedclaims-")} == {"speedclaims"}
    assert {"speedclaims/record/record.schema.json", "speedclaims/plugin.py"} <= set(names)
    assert any(name.startswith("speedclaims/report/html/templates/") for name in names)
