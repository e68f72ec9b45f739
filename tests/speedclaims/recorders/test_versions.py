"""A record holds the versions of the distributions that the session imported."""

import importlib
import sys

import pytest

from speedclaims.recorders import environment


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution into a folder: its name, the module to import, and the files of its metadata."""
    monkeypatch.syspath_prepend(str(tmp_path))
    environment._top_level_modules.cache_clear()

    def install(name, version, module, **files):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for file, text in files.items():
            (folder / file.replace("top_level", "top_level.txt")).write_text(text)
        (tmp_path / f"{module}.py").write_text("")
        return module

    yield install
    environment._top_level_modules.cache_clear()
    environment._version_of.cache_clear()


@pytest.mark.parametrize(
    ("name", "module", "files"),
    [
        ("Py_Thing.X", "thing_of_py", {"top_level": "thing_of_py\n"}),
        ("other-thing", "thing_other", {"RECORD": "thing_other.py,sha256=0,0\nother_thing-1.2.dist-info/METADATA,,\n"}),
        ("editable-thing", "editable_thing", {"RECORD": "_editable_thing.pth,,\n"}),
    ],
)
def test_a_distribution_is_recorded_once_its_module_is_imported(installed, name, module, files):
    installed(name, "1.2", module, **files)
    normal = environment._normal(name)
    assert normal not in environment.imported_versions()
    importlib.import_module(module)
    try:
        assert environment.imported_versions()[normal] == "1.2"
    finally:
        del sys.modules[module]


def test_the_modules_of_this_session_are_those_of_importlib_metadata():
    from importlib import metadata

    imported = {name.partition(".")[0] for name in sys.modules}
    mapped = metadata.packages_distributions()
    expected = {environment._normal(name) for module in imported for name in mapped.get(module, [])}
    assert expected <= set(environment.imported_versions())


PAIR = """
import packaging

def test_p(pair):
    pair(before=lambda: sum(range(5000)), after=lambda: None)
"""


def test_the_record_holds_imported_versions_and_the_few_that_every_record_has(project):
    import packaging

    project.write(test_p_py=PAIR)
    project.run("--speedup-report=out")
    libraries = project.record()["speedclaims"]["environment"]["libraries"]
    assert libraries["packaging"] == packaging.__version__
    assert set(environment.LIBRARIES) <= set(libraries)
