"""The code under test comes from the side's tree, tests and their helpers from the working tree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from speedclaims.revisions.imports import is_test
from tests.speedclaims.revisions.repositories import git, repository, write

SCRIPT = """
import json, sys
from speedclaims.revisions import imports
imports.install(json.loads(sys.argv[1]))
found = {{}}
{before}
for name in {names!r}:
    try:
        module = __import__(name, fromlist=["x"])
    except ImportError as error:
        found[name] = str(error)
    else:
        found[name] = getattr(module, "WHERE", "no file")
redirection = imports.installed()
print(json.dumps([found, redirection.problem(), redirection.num_modules()]))
"""


class Trees:
    """A working tree and another one beside it."""

    def __init__(self, folder):
        self.here, self.there = folder / "here", folder / "there"

    def write(self, *names, here=True, there=True):
        for name in names:
            if here:
                write(self.here, {name: "WHERE = 'here'\n"})
            if there:
                write(self.there, {name: "WHERE = 'there'\n"})
        return self

    def imported(self, *names, path=("src",), before="", same=False, **changes):
        """Import modules in a process; return where each comes from, the problem, and how many are of the project."""
        trees = {
            "here": str(self.here), "there": str(self.here if same else self.there), "label": "main",
            "patterns": ["test_*.py"], "folders": [], "names": ["pkg"], "own": ["speedclaims"], "installed": [],
            **changes,
        }  # fmt: skip
        lines = [f"sys.path.insert(0, {str(self.here / folder)!r})" for folder in path]
        code = SCRIPT.format(names=list(names), before="\n".join([*lines, before]))
        source = Path(__file__).parents[3] / "src"
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(source)!r})\n{code}", json.dumps(trees)],
            capture_output=True, text=True, check=True, cwd=self.here,
        )  # fmt: skip
        return json.loads(done.stdout)


@pytest.fixture
def trees(tmp_path):
    repository(tmp_path / "here", {".gitignore": "generated.py\n"})
    (tmp_path / "there").mkdir()
    return Trees(tmp_path)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("tests/helper.py", True), ("tests/data/x.py", True), ("test_it.py", True), ("pkg/test_it.py", True),
        ("pkg/conftest.py", True), ("pkg/tests/helper.py", True), ("benchmarks/run.py", True), ("bench/x.py", True),
        ("tests_slow/x.py", True), ("pkg/testing_tools.py", False), ("pkg/work.py", False), ("tester/x.py", False),
        ("benchkit/x.py", False), ("speed/x.py", True), ("speedy/x.py", False), (".", False),
    ],
)  # fmt: skip
def test_what_belongs_to_the_tests(path, answer):
    assert is_test(path, ["test_*.py"], ["speed"]) is answer


def test_modules_packages_and_what_is_inside_come_from_the_other_tree(trees):
    trees.write("src/pkg/__init__.py", "src/pkg/work.py", "src/pkg/sub/__init__.py", "src/single.py")
    found, problem, number = trees.imported("pkg", "pkg.work", "pkg.sub", "single")
    assert set(found.values()) == {"there"}
    assert (problem, number) == (None, 4)


def test_tests_and_helpers_come_from_the_working_tree(trees):
    trees.write("src/pkg/__init__.py", "src/pkg/work.py", "src/pkg/tests/__init__.py", "src/pkg/tests/helper.py")
    trees.write("src/pkg/test_inside.py", "tests/common.py")
    names = ("pkg.work", "pkg.tests.helper", "pkg.test_inside", "common")
    found, problem, number = trees.imported(*names, path=("src", "tests"))
    assert found == {"pkg.work": "there", "pkg.tests.helper": "here", "pkg.test_inside": "here", "common": "here"}
    assert (problem, number) == (None, 2), "tests do not count"


def test_helpers_that_the_other_tree_lacks(trees):
    trees.write("src/pkg/__init__.py").write("src/pkg/tests/__init__.py", "src/pkg/tests/new.py", there=False)
    assert trees.imported("pkg.tests.new")[0] == {"pkg.tests.new": "here"}


def test_packages_without_an_init_file(trees):
    trees.write("src/space/one.py", "src/space/inner/two.py")
    found, problem, _ = trees.imported("space.one", "space.inner.two")
    assert found == {"space.one": "there", "space.inner.two": "there"}
    assert problem is None


@pytest.mark.parametrize("folder", ["bench", "tests/deep", "pkg/tests"])
def test_helpers_in_a_folder_of_tests_without_an_init_file(folder, trees):
    trees.write("pkg/__init__.py", "pkg/work.py", f"{folder}/helper.py").write(f"{folder}/new.py", there=False)
    module = folder.replace("/", ".")
    names = (f"{module}.helper", f"{module}.new", "pkg.work")
    found, problem, number = trees.imported(*names, path=("",))
    assert list(found.values()) == ["here", "here", "there"]
    assert (problem, number) == (None, 2)


def test_a_flat_layout_with_the_working_folder_on_the_path(trees):
    trees.write("pkg/__init__.py", "pkg/work.py")
    assert trees.imported("pkg.work", path=("",))[0] == {"pkg.work": "there"}


def test_a_module_that_was_removed_since(trees):
    trees.write("src/pkg/__init__.py").write("src/pkg/old.py", "src/gone.py", here=False)
    assert trees.imported("pkg.old", "gone")[0] == {"pkg.old": "there", "gone": "there"}


def test_a_module_that_became_a_package_and_the_other_way_round(trees):
    trees.write("src/pkg/__init__.py")
    trees.write("src/pkg/grown/__init__.py", "src/pkg/shrunk.py", there=False)
    trees.write("src/pkg/grown.py", "src/pkg/shrunk/__init__.py", here=False)
    assert trees.imported("pkg.grown", "pkg.shrunk")[0] == {"pkg.grown": "there", "pkg.shrunk": "there"}


def test_a_module_that_is_new(trees):
    trees.write("src/pkg/__init__.py").write("src/pkg/new.py", there=False)
    assert trees.imported("pkg.new")[0] == {"pkg.new": "src/pkg/new.py is not in main"}


def test_a_file_that_a_build_made_and_git_ignores(trees):
    trees.write("src/pkg/__init__.py").write("src/pkg/generated.py", there=False)
    found, problem, number = trees.imported("pkg.generated")
    assert found == {"pkg.generated": "here"}
    assert (problem, number) == (None, 2)


def test_what_was_compiled_in_the_working_tree(trees):
    trees.write("src/pkg/__init__.py").write("src/pkg/fast.py", here=False)
    import _testcapi  # a compiled module of Python's own

    fast = trees.here / "src/pkg" / f"fast{''.join(Path(_testcapi.__file__).suffixes)}"
    fast.write_bytes(Path(_testcapi.__file__).read_bytes())
    (found,) = trees.imported("pkg.fast")[0].values()
    assert found.startswith("src/pkg/fast.")
    assert found.endswith("was compiled in the working tree, and main has none: add --speedup-build COMMAND")


EDITABLE = """
import importlib.util
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "pkg":
            file = {file!r}
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[file[:-12]])
sys.meta_path.{how}
"""


@pytest.mark.parametrize("how", ["append(Finder)", "insert(0, Finder)", "append(Finder())"])
def test_an_editable_install_by_a_finder(trees, how):
    trees.write("lib/other/__init__.py", "lib/other/work.py")
    before = EDITABLE.format(file=str(trees.here / "lib/other/__init__.py"), how=how)
    found, problem, _ = trees.imported("pkg", "pkg.work", path=(), before=before)
    if how == "insert(0, Finder)":  # it comes first: nothing can be done but to notice
        assert "was imported from the working tree, past the import path" in problem
    else:
        assert found == {"pkg": "there", "pkg.work": "there"}


def test_an_editable_install_by_a_file_of_paths(trees, tmp_path):
    trees.write("src/pkg/__init__.py")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "x.pth").write_text(f"{trees.here / 'src'}\n")
    before = f"import site; site.addsitedir({str(tmp_path / 'site')!r})"
    assert trees.imported("pkg", path=(), before=before)[0] == {"pkg": "there"}


def test_links_to_the_working_tree(trees, tmp_path):
    trees.write("src/pkg/__init__.py")
    (tmp_path / "link").symlink_to(trees.here)
    assert trees.imported("pkg", path=(), before=f"sys.path.insert(0, {str(tmp_path / 'link/src')!r})")[0] == {
        "pkg": "there"
    }


def test_an_environment_inside_the_working_tree_is_left_alone(trees):
    trees.write(".venv/lib/site-packages/dep/__init__.py", there=False)
    found, problem, number = trees.imported("dep", path=(".venv/lib/site-packages",))
    assert (found, problem, number) == ({"dep": "here"}, None, 0)


def test_an_installed_copy_in_front_is_noticed(trees, tmp_path):
    trees.write("src/pkg/__init__.py")
    write(tmp_path, {"site-packages/pkg/__init__.py": "WHERE = 'installed'\n"})
    for same in (False, True):
        found, problem, _ = trees.imported(
            "pkg", before=f"sys.path.insert(0, {str(tmp_path / 'site-packages')!r})", same=same
        )
        assert found == {"pkg": "installed"}
        assert "site-packages/pkg/__init__.py, not from main: it is installed there" in problem


def test_an_installed_copy_of_a_build_is_its_own(trees, tmp_path):
    trees.write("src/pkg/__init__.py")
    site = tmp_path / "site-packages"
    write(site, {"pkg/__init__.py": "WHERE = 'built'\n"})
    found, problem, number = trees.imported("pkg", before=f"sys.path.insert(0, {str(site)!r})", installed=[str(site)])
    assert (found, problem, number) == ({"pkg": "built"}, None, 1)


def test_a_module_that_is_loaded_by_its_file_is_noticed(trees):
    trees.write("src/pkg/__init__.py", "src/pkg/work.py")
    load = (
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('loaded', {str(trees.here / 'src/pkg/work.py')!r})\n"
        "sys.modules['loaded'] = importlib.util.module_from_spec(spec)\n"
    )
    _, problem, _ = trees.imported("pkg", before=load)
    assert problem.startswith("loaded was imported from the working tree, past the import path, by its file")


def test_a_module_that_names_a_file_which_is_none(trees):
    trees.write("src/pkg/__init__.py")
    fake = "import types; sys.modules['fake'] = types.ModuleType('fake'); sys.modules['fake'].__file__ = '_fake.py'"
    assert trees.imported("pkg", before=fake)[1:] == [None, 1]


def test_this_plugin_is_the_same_on_both_sides(trees):
    trees.write("src/speedclaims/__init__.py")
    assert trees.imported("speedclaims")[0] == {"speedclaims": "no file"}


def test_nothing_of_the_project_was_imported(trees):
    trees.write("src/pkg/__init__.py")
    git(trees.here, "status")
    assert trees.imported("json")[2] == 0
