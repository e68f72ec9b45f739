"""The checks of `tox -e dist`: each finds a file that an sdist or a wheel should not have, or lacks."""

import io
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from speedclaims import __version__
from tests import distribution

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INFO = [f"speedclaims-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")]
WHEEL = [*INFO, "speedclaims-1.0.dist-info/licenses/LICENSE", *distribution.plugin()]
SDIST = [
    f"speedclaims-1.0/{name}" for name in (*distribution.OF_SDIST, *(f"src/{one}" for one in distribution.plugin()))
]


def test_the_plugin_has_its_types_schema_and_templates():
    names = {"py.typed", "plugin.py", "record/record.schema.json", "report/html/templates/report.html.j2"}
    assert {f"speedclaims/{name}" for name in names} <= distribution.plugin()
    assert not [name for name in distribution.plugin() if "__pycache__" in name]


def test_a_folder_without_both_is_one_line_and_the_code_2(tmp_path, capsys):
    (tmp_path / "speedclaims-1.0-py3-none-any.whl").touch()
    with pytest.raises(SystemExit) as caught:
        distribution.main(str(tmp_path))
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["trainers/family.py", "tests/conftest.py", "bench/calibration/gate.py", "setup.cfg"])
def test_a_file_that_is_not_of_the_plugin_is_found(name):
    assert distribution.wrong_in_wheel(WHEEL, "1.0") == []
    assert distribution.wrong_in_wheel([*WHEEL, name], "1.0") == [f"not of the plugin: {name}"]
    assert distribution.wrong_in_sdist(SDIST, "1.0") == []
    assert distribution.wrong_in_sdist([*SDIST, f"speedclaims-1.0/{name}"], "1.0") == [f"not needed: {name}"]


@pytest.mark.parametrize("name", ["speedclaims/py.typed", "speedclaims-1.0.dist-info/licenses/LICENSE"])
def test_a_file_that_a_wheel_lacks_is_found(name):
    assert distribution.wrong_in_wheel(set(WHEEL) - {name}, "1.0") == [f"missing: {name}"]


def build(folder, version=__version__, *, more=()):
    """Write a wheel and an sdist with the files that they should have, all empty."""
    stem = f"speedclaims-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for name in (*WHEEL, *more):
            wheel.writestr(name.replace("speedclaims-1.0", stem), "")
    with tarfile.open(folder / f"{stem}.tar.gz", "w:gz") as sdist:
        for name in SDIST:
            sdist.addfile(tarfile.TarInfo(name.replace("speedclaims-1.0", stem)), io.BytesIO())


def test_a_folder_is_checked_before_the_sdist_is_measured(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(distribution, "measure", measured.append)
    build(tmp_path)
    distribution.main(str(tmp_path), f"v{__version__}")
    assert measured == [tmp_path / f"speedclaims-{__version__}.tar.gz"]
    with pytest.raises(SystemExit, match=f"the tag is v9.9, the version {__version__}"):
        distribution.main(str(tmp_path), "v9.9")
    build(tmp_path, more=["trainers/family.py"])
    with pytest.raises(SystemExit, match=r"whl: not of the plugin: trainers/family\.py"):
        distribution.main(str(tmp_path))
    assert len(measured) == 1


def test_the_metadata_names_what_an_index_shows():
    project = PROJECT["project"]
    assert project["license"] == "MIT"
    assert all((ROOT / name).is_file() for name in (*project["license-files"], project["readme"]))
    assert {"description", "requires-python", "authors", "keywords", "classifiers"} <= set(project)
    assert "Framework :: Pytest" in project["classifiers"]


@pytest.mark.parametrize("group", ["lint", "workflows", "dist"])
def test_the_tools_of_ci_are_pinned(group):
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert {one.partition(">=")[0] for one in PROJECT["dependency-groups"][group]} <= pinned
