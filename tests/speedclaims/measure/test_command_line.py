"""Fresh processes are the same program as the one that starts them, and write nothing of theirs."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from speedclaims.measure.command_line import Given
from tests.speedclaims.claims.test_ledger import usage_line
from tests.speedclaims.conftest import LIGHT

NUM_COMBINATIONS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 20

CONFTEST = """
def pytest_addoption(parser):
    group = parser.getgroup("ours")
    group.addoption("--size", type=int, default=1)
    group.addoption("--deep", action="store_true")
    group.addoption("--tag", action="append", default=[])
    group.addoption("--pick", nargs=2, default=[])
    group.addoption("--maybe", nargs="?", const="yes")
"""

PLUGIN = """
def pytest_addoption(parser):
    parser.addoption("--place", default="here")
"""

TEST = """
import json
import os
import sys
from pathlib import Path

import pytest

def facts(request):
    config = request.config
    path = list(sys.path)
    ours = ("size", "deep", "tag", "pick", "maybe", "place")
    return {
        "root": str(config.rootpath),
        "ini": str(config.inipath),
        "start": str(config.invocation_params.dir),
        "cwd": os.getcwd(),
        "cut": str(config.pluginmanager._confcutdir),
        "test": request.node.nodeid,
        "file": __file__,
        "module": __name__,
        "path": path,
        "flags": str(sys.flags).replace(f"hash_randomization={sys.flags.hash_randomization}", ""),  # seeds vary
        "warnings": sys.warnoptions,
        "extra": {key: value for key, value in sys._xoptions.items()},
        "options": {name: config.getoption(name, None) for name in ours},
        "markers": config.getini("markers")[:1],
        "paths": [str(one) for one in config.getini("pythonpath")],
        "import": config.getoption("importmode"),
        "assert": config.getoption("assertmode"),
        "capture": config.getoption("capture"),
        "filters": config.getoption("pythonwarnings"),
        "log": config.getoption("log_level"),
        "strict": config.getoption("strict_markers", False),
        "plugins": sorted(
            name
            for name, one in config.pluginmanager.list_name_plugin()
            if one is None or type(one).__name__ == "module"
        ),
    }

class TestOf:
    @pytest.mark.parametrize("number", ["a::b", "x y", "[1]"])
    def test_it(self, request, pair, tmp_path, number):
        is_child = request.config.getoption("speedup_child") is not None
        with Path(os.environ["FACTS"], f"{is_child}.jsonl").open("a") as file:
            print(json.dumps({**facts(request), "pid": os.getpid(), "temporary": str(tmp_path)}), file=file)
        (tmp_path / "mine.txt").touch()
        pair(lambda: sum(range(100)), lambda: None, passes=[])
        assert (tmp_path / "mine.txt").exists()
"""


def layout(draw, root):
    """Write a project of one of many shapes; return the folder to start in, and the arguments that name the test."""
    proj = root / draw.choice(["proj", "my proj", "pröj"])
    inner = proj / draw.choice(["tests", "tests/unit", "src/pkg/tests"])
    inner.mkdir(parents=True)
    (inner / "test_it.py").write_text(TEST)
    (inner / "conftest.py" if draw.random() < 0.3 else proj / "conftest.py").write_text(CONFTEST)
    (proj / "our_plugin.py").write_text(PLUGIN)
    kind = draw.choice(["pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", ".pytest.ini", None])
    lines = {"pythonpath": draw.choice([".", "lib"]), "markers": "slow: takes long"}
    (proj / "lib").mkdir()
    if kind == "pyproject.toml":
        text = "\n".join(f'{key} = ["{value}"]' for key, value in lines.items())
        (proj / kind).write_text(f"[tool.pytest.ini_options]\n{text}\n")
    elif kind is not None:
        heading = "tool:pytest" if kind == "setup.cfg" else "pytest"
        (proj / kind).write_text(f"[{heading}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    if draw.random() < 0.4:  # one that pytest must not see when it is started above
        (inner / "pytest.ini").write_text("[pytest]\nmarkers = near: to the test\n")
    start = draw.choice([proj, proj, root, inner])
    file = os.path.relpath(inner / "test_it.py", start)
    target = draw.choice([file, str(inner / "test_it.py"), os.path.relpath(inner, start), os.path.relpath(proj, start)])
    return proj, start, target


def options(draw, proj, start):
    """Return some options, several of which write; and the folders that they may write to."""
    out = proj.parent / "written"
    out.mkdir()
    ours = ["--size=3", "--deep", "--tag=a", "--tag=b c", "--pick", "one", "two", "--maybe", "--maybe=so"]
    own = [[ours[0]], [ours[1]], [ours[2], ours[3]], ours[4:7], [ours[7]], [ours[8]]]
    others = [
        ["-pour_plugin", "--place=there"], ["-Wignore::FutureWarning"], ["--capture=sys"], ["-s"], ["--log-level=INFO"],
        ["--strict-markers"], ["--import-mode=importlib"], ["--import-mode=append"], ["--assert=plain"], ["-x"], ["-v"],
        [f"--rootdir={draw.choice([proj, proj.parent])}"], ["-o", "markers=given: here"], ["--tb=short"], ["-q", "-q"],
        ["-k", "it"], ["-m", "not slow"], ["--runxfail"], ["--color=no"], ["--durations=3"], ["--maxfail=3"],
        ["-o", "pythonpath=lib"], ["--disable-warnings"], ["-rA"], ["--no-header"], ["--lf"], ["--ff"], ["--nf"],
        ["-pno:doctest"], ["-pno:nose_of_nobody"], ["--override-ini", "console_output_style=count"],
        [f"--confcutdir={proj}"],
    ]  # fmt: skip
    writers = [
        [f"--junitxml={out}/junit.xml"], [f"--log-file={out}/log.txt"], [f"--basetemp={out}/base"],
        [f"--benchmark-json={out}/b.json"], [f"--benchmark-storage={out}/storage", "--benchmark-autosave"],
        [f"--speedup-report={out}/report"], [f"--speedup-record={out}/record"], ["-o", f"cache_dir={out}/cache"],
        ["-o", f"log_file={out}/log_of_ini.txt"],
    ]  # fmt: skip
    chosen = [*draw.sample(own, draw.randint(0, 3)), *draw.sample(others, draw.randint(0, 5))]
    chosen += draw.sample(writers, draw.randint(0, 3))
    draw.shuffle(chosen)
    given = [argument for option in chosen for argument in option]
    if given and draw.random() < 0.3:
        arguments = start / "arguments.txt"
        arguments.write_text("\n".join(given) + "\n")
        return [f"@{arguments}"]
    return given


def command(draw):
    """Return how Python is started, and the variables."""
    flags = ["-O", "-OO", "-P", "-B", "-Xutf8", "-Xfaulthandler", "-Wdefault", "-b", "-Xdev"]
    if "PYTHONPATH" not in os.environ:  # by which these tests may have been given the sources
        flags.append("-I")
    flags = draw.sample(flags, draw.randint(0, 2))
    started = [sys.executable, *flags, "-m", "pytest"]
    if not flags and draw.random() < 0.4:
        started = [str(Path(sys.executable).with_name("pytest"))]
    variables = {}
    if draw.random() < 0.3:
        variables["PYTEST_ADDOPTS"] = draw.choice(
            ["-v --size=7", "--tag='of a variable' --deep", "-Werror::ImportWarning"]
        )
    if draw.random() < 0.3:
        variables["PYTHONHASHSEED"] = str(draw.randint(0, 9))
    if draw.random() < 0.3:
        variables["PYTHONPATH"] = "lib"
    return started, variables


@pytest.mark.parametrize("seed", range(NUM_COMBINATIONS))
def test_parent_and_child_are_the_same_program(tmp_path, seed):
    """Combinations that pytest itself refuses are drawn again."""
    draw = random.Random(seed)  # noqa: S311 - combinations, not a secret
    assert any(the_same_or_refused(draw, tmp_path / str(attempt)) for attempt in range(10))


def the_same_or_refused(draw, tmp_path):
    """Compare parent and child in a drawn combination; return whether pytest took it."""
    tmp_path.mkdir()
    proj, start, target = layout(draw, tmp_path)
    started, variables = command(draw)
    given = options(draw, proj, start)
    facts = tmp_path / "facts"
    facts.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    known = ("XDIST", "PYTEST_", "PYTHONPATH", "PYTHONHASHSEED", "COV_")
    environment = {name: value for name, value in os.environ.items() if not any(one in name for one in known)}
    environment |= {"FACTS": str(facts), "TMPDIR": str(temporary), **variables, **_sources(started, variables)}
    quick = ["-pno:xdist", *LIGHT, "--speedup-processes=1", "--speedup-max-time=0.05"]
    arguments = [*started, *quick, *given, target]
    done = subprocess.run(arguments, cwd=start, env=environment, capture_output=True, text=True, check=False)
    shown = f"{arguments}\nin {start} with {variables}\n{done.stdout}{done.stderr}"
    if done.returncode == 4 and not any(facts.iterdir()):
        return False
    assert done.returncode == 0, shown
    parents, children = (
        [json.loads(line) for line in (facts / f"{name}.jsonl").read_text().splitlines()] for name in (False, True)
    )
    assert len(parents) == len(children) == 3, shown
    for parent, child in zip(parents, children, strict=True):
        assert parent.pop("pid") != child.pop("pid")
        assert parent.pop("temporary") != child.pop("temporary")
        assert child == parent, shown
    assert [one.name for one in temporary.iterdir() if one.name.startswith("speedclaims")] == []
    for junit in (proj.parent / "written").glob("junit.xml"):
        assert 'tests="3"' in junit.read_text()
    return True


def _sources(started, variables):
    """Return the import path by which a run finds the sources that these tests were given, where it may have one."""
    parts = [os.environ.get("PYTHONPATH", ""), variables.get("PYTHONPATH", "")]
    found = os.pathsep.join(filter(None, parts))
    return {"PYTHONPATH": found} if found and "-I" not in started else {}


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (Given("--size", ("3",), None), ["--size=3"]),
        (Given("-k", ("a or b",), None), ["-ka or b"]),
        (Given("--deep", (), 0), ["--deep"]),
        (Given("--pick", ("a", "b"), 2), ["--pick", "a", "b"]),
        (Given("--maybe", (), "?"), ["--maybe"]),
        (Given("--maybe", ("-x",), "?"), ["--maybe=-x"]),
    ],
)
def test_an_option_is_given_on_as_it_was(given, arguments):
    assert given.arguments == arguments


def test_a_test_that_the_fresh_process_does_not_find_is_named(project):
    project.write(
        test_p_py="""
import os
import pytest

@pytest.mark.parametrize("pid", [os.getpid()])
def test_p(pair, pid):
    pair(lambda: None, lambda: None)
"""
    )
    run = project.run("--speedup-processes=1")
    assert run.ret == 1
    run.stdout.fnmatch_lines(
        ["*ChildError: the fresh process for time*does not find test_p.py::test_p*a name that may d*"]
    )


MAIN = """
import sys
import pytest
import of_module

sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--speedup-processes=1", *sys.argv[1:]],
                     plugins=["of_text", of_module, object()]))
"""

FIXTURE = """
import pytest

@pytest.fixture
def {name}():
    return "{name}"
"""


def test_plugins_that_pytest_main_is_given_are_in_the_fresh_process_too(tmp_path):
    (tmp_path / "start.py").write_text(MAIN)
    for name in ("of_text", "of_module"):
        (tmp_path / f"{name}.py").write_text(FIXTURE.format(name=name))
    (tmp_path / "test_p.py").write_text(
        "def test_p(pair, of_text, of_module):\n    pair(lambda: sum(range(99)), lambda: None)\n"
    )
    command = [sys.executable, "start.py", *LIGHT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_test_next_to_the_root_is_found(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "test_p.py").write_text(
        "import pytest\n@pytest.mark.parametrize('name', ['a::b', 'c'])\ndef test_p(pair, name):\n"
        "    pair(lambda: sum(range(99)), lambda: None)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--speedup-processes=1", *LIGHT]
    command += ["--rootdir=root", "--speedup-max-time=0.1", "other"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("name", ["we ird[x]", "a::b/c"])
def test_a_test_in_a_folder_of_an_odd_name_is_found(tmp_path, name):
    folder = tmp_path / "sub" / name
    folder.mkdir(parents=True)
    (folder / "test_p.py").write_text(
        "import pytest\n@pytest.mark.parametrize('name', ['[1]', 'c'])\ndef test_p(pair, name):\n"
        "    pair(lambda: sum(range(99)), lambda: None)\n"
    )
    (tmp_path / "sub" / "test_other.py").write_text("def test_other():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--speedup-processes=1", *LIGHT]
    command += ["--speedup-max-time=0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("text", ["x", "[]", "{}"])
def test_the_option_of_fresh_processes_is_refused_from_others(project, text):
    assert usage_line(project.run(f"--speedup-child={text}")) == (
        "ERROR: --speedup-child is for fresh processes that this plugin starts: leave it out"
    )


CHANGED = """
import os
import sys

import pytest

@pytest.fixture(autouse=True)
def changed(monkeypatch, tmp_path):
    assert os.environ["OURS"] == "{folder}"
    assert "MORE" not in os.environ
    monkeypatch.delenv("OURS")
    monkeypatch.setenv("MORE", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", '--json="unclosed')
    monkeypatch.setenv("PYTEST_PLUGINS", "of_nobody")
    monkeypatch.setattr(sys, "executable", "/of/nobody")
    monkeypatch.chdir(tmp_path)

@pytest.mark.parametrize("name", ["{folder}"])
def test_p(pair, request, name):
    assert request.config.getoption("--json") == '{"a": "{folder}"}'
    assert request.config.getoption("-Q") == "-z"
    pair(lambda: sum(range(100)), lambda: None)
"""


def test_what_a_test_changes_in_its_process_is_not_changed_twice(project, monkeypatch):
    folder = project.path / "@scope $HOME"
    folder.mkdir()
    (folder / "test_p.py").write_text(CHANGED)
    project.write(
        conftest_py="def pytest_addoption(parser):\n    parser.addoption('--json')\n    parser.addoption('-Q')\n"
    )
    (project.path / "more.txt").write_text("-Q=-z\n")
    monkeypatch.setenv("OURS", "{folder}")
    given = ["-W", "error", "-p", "no:cacheprovider", '--json={"a": "{folder}"}', "@more.txt"]
    run = project.run("--speedup-processes=1", *given, "./@scope $HOME")
    assert run.ret == 0


def test_what_a_side_misses_is_named_once_at_the_end(project):
    project.write(
        conftest_py="""
def pytest_addoption(parser):
    parser.addoption("--ours")
""",
        test_p_py="""
def test_p(pair, request):
    assert request.config.getoption("--ours") == "given"
    pair(lambda: sum(range(100)), lambda: None)
""",
    )
    run = project.run("--speedup-processes=1", "--ours=given", "--hypothesis-verbosity=quiet", "-phypothesispytest")
    assert run.ret == 0
    run.stdout.fnmatch_lines(["fresh processes ran without --hypothesis-verbosity: *speedup_process_options"])
    assert "--ours" not in next(line for line in run.outlines if "ran without" in line)
    project.write(pytest_ini="[pytest]\nspeedup_process_options = --hypothesis-verbosity\n")
    run = project.run("--speedup-processes=1", "--ours=given", "--hypothesis-verbosity=quiet", "-phypothesispytest")
    run.stdout.no_fnmatch_line("fresh processes ran without*")
