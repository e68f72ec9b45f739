"""Build the command line by which a fresh process is the same program as this one, and writes nothing that is kept.

A fresh process gets what decides how a test behaves: the resolved root and ini file, the plugins, the interpreter's
flags, the working folder, the import path, and the options that are listed here or belong to the project. All others,
of whatever plugin, are left out, for they may write reports, logs and caches.
"""

import argparse
import inspect
import os
import secrets
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from speedclaims.measure.supervisor import EMPTY_INI

INI_OPTIONS = "speedup_process_options"

FOLDER = f"speedclaims-{secrets.token_hex(8)}"
"""Stands for the temporary folder of a fresh process in its command line; nothing of the user's has this name."""

_IMPORT_PATH = list(sys.path)
_VARIABLES = dict(os.environ)
PYTHON = sys.executable
"""As they were when the plugin was loaded, before a conftest or a test changed them: a fresh process does so itself."""

_GIVEN = pytest.StashKey["list[Given]"]()
_ADDED = pytest.StashKey["list[tuple[ModuleType, set[str]]]"]()

_PACKAGE = Path(__file__).parents[1]

_OF_PYTEST = frozenset({
    "-p", "-s", "-W", "--pythonwarnings", "--capture", "--noconftest", "--import-mode", "--assert", "--runxfail",
    "--strict", "--strict-config", "--strict-markers", "--disable-plugin-autoload", "--log-level", "--log-disable",
    "-o", "--override-ini",
})  # fmt: skip

_OF_PLUGINS = frozenset({
    "--benchmark-disable-gc",
    "--speedup-precision", "--speedup-confidence",
    "--hypothesis-profile", "--hypothesis-seed",
    "--asyncio-mode",
    "--ds", "--dc", "--reuse-db", "--nomigrations", "--no-migrations",
    "--randomly-seed",
})  # fmt: skip
"""Options of well-known plugins that decide what a test does, and write nothing."""

_KNOWN_TO_WRITE = ("_pytest", "pytest_benchmark", "speedclaims", "xdist", "pytest_cov", "pytest_timeout")
"""Plugins whose other options need no word to the user."""

_OVERRIDDEN = {
    "addopts": ("", None),
    "cache_dir": (f"{FOLDER}/cache", "cacheprovider"),
    "log_file": ("", "logging-plugin"),
}
"""Values in a fresh process of settings of the ini file, and the plugin that has the setting."""

_OF_TRACERS = ("COV_CORE_", "COVERAGE_PROCESS_")
"""Beginnings of variables by which coverage traces the processes that a test starts."""

_START = """\
import sys
sys.path[:] = {path}
{first}sys.argv[0] = "pytest"
import pathlib
import pytest
import _pytest.config
find, root, ini = _pytest.config.determine_setup, pathlib.Path({root!r}), {ini!r}
_pytest.config.determine_setup = lambda **given: (root, ini and pathlib.Path(ini), *find(**given)[2:])
sys.exit(pytest.main())
"""
"""The root and the ini file are those of this process, which pytest might not find from one test alone.

Where there is no ini file, the fresh process reads an empty one, and does not know its path."""


_INSTALL = """\
import importlib.util
spec = importlib.util.spec_from_file_location({name!r}, {file!r})
sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[{name!r}])
sys.modules[{name!r}].install({trees!r}, {package!r})
"""
"""The module is loaded by its file: pytest wants to load this plugin itself, and another interpreter may lack it."""

IMPORTS_NAME = "_speedclaims_imports"


_LAYOUT = """\
import random
memory = random.Random({seed})
kept = [bytearray(memory.randrange(1, 600)) for _ in range(memory.randrange(2000))]
"""
"""Lies before everything else in the memory of a process, so that processes of other seeds have another layout."""


@dataclass(frozen=True)
class Start:
    """Say how a fresh process is started.

    Attributes:
        python: its interpreter.
        path: its import path; None for that of this process.
        is_whole_path: whether that is all, and not only in front of the interpreter's own.
        first: lines of Python that it runs before pytest.
        loads_plugin: whether this plugin must be named, as its interpreter does not have it.
        import_first: folders that processes which its tests start search first for modules.
        layout: a seed of how its memory is laid out, the same for processes of the same seed; None for a random one.
    """

    python: str = PYTHON
    path: Sequence[str] | None = None
    is_whole_path: bool = True
    first: str = ""
    loads_plugin: bool = False
    import_first: Sequence[str] = ()
    layout: int | None = None


@dataclass(frozen=True)
class Given:
    """An option as it was given.

    Attributes:
        name: the option, such as ``-p``.
        values: its values.
        takes: how many values it takes, as argparse has it.
    """

    name: str
    values: tuple[str, ...]
    takes: int | str | None

    @property
    def arguments(self) -> list[str]:
        """The option as arguments of a command line."""
        if self.takes in {None, "?"} and self.values:  # attached, for it may begin with a dash
            return [f"{self.name}{'=' * self.name.startswith('--')}{self.values[0]}"]
        return [self.name, *self.values]


def command(config: pytest.Config, path: Path, nodeid: str, *hidden: str, start: Start | None = None) -> list[str]:
    """Return the command that runs one test in a fresh process.

    `FOLDER` in it stands for the temporary folder of that process.

    Args:
        config: of this process.
        path: of the test's file.
        nodeid: of the test.
        hidden: further options, of speedclaims.
        start: how the process is started.
    """
    how = start or Start()
    places = list(import_path(config) if how.path is None else how.path)
    known = config.known_args_namespace
    kept, _ = options(config, path)
    folder = config.invocation_params.dir
    ini = config.inipath and str(config.inipath)
    has_plugin = config.pluginmanager.has_plugin
    return [
        how.python,
        *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined] # noqa: SLF001 - as multiprocessing does
        "-c",
        _START.format(
            path=repr(places) if how.is_whole_path else f"{places!r} + sys.path[1:]",
            first=how.first + ("" if how.layout is None else _LAYOUT.format(seed=how.layout)),
            root=str(config.rootpath),
            ini=ini,
        ),
        f"--config-file={ini or Path(FOLDER, EMPTY_INI)}",
        *([f"--confcutdir={known.confcutdir}"] if known.confcutdir else []),
        *(argument for option in kept for argument in option.arguments),
        *(argument for name in _plugin_names(config) for argument in ("-p", name)),
        *(("-p", "speedclaims.plugin") if how.loads_plugin else ()),
        *(
            f"--override-ini={name}={value}"
            for name, (value, plugin) in _OVERRIDDEN.items()
            if plugin is None or has_plugin(plugin)
        ),
        f"--basetemp={FOLDER}/basetemp",
        *hidden,
        _argument(_relative(path, folder), nodeid.partition("::")[2]),
    ]


def install_lines(trees: Mapping[str, object]) -> str:
    """Return what a process runs before pytest to import the code under test from another tree.

    Args:
        trees: see `speedclaims.revisions.imports.Trees`.
    """
    file = str(_PACKAGE / "revisions" / "imports.py")
    return _INSTALL.format(name=IMPORTS_NAME, file=file, trees=dict(trees), package=str(_PACKAGE))


def _argument(path: str, name: str) -> str:
    """Return the argument that names a test: or a folder above it, where pytest would misread the path.

    The fresh process collects that one file in either case, and keeps that one test.
    """
    if "[" not in path and "::" not in path:
        return f"{path}::{name}"
    folder = Path(path)
    while "[" in f"{folder}" or "::" in f"{folder}":
        folder = folder.parent
    return f".{os.sep}{folder}"


def _plugin_names(config: pytest.Config) -> Iterator[str]:
    """Return the plugins that `pytest.main` was given; one that is no module has no name by which it can be loaded."""
    for plugin in config.invocation_params.plugins or ():
        if isinstance(plugin, str):
            yield plugin
        elif inspect.ismodule(plugin) and plugin.__name__ != "__main__":
            yield plugin.__name__


def import_path(config: pytest.Config) -> list[str]:
    """Return the import path with which this process was started."""
    added = [str(path) for path in config.getini("pythonpath")]  # before the plugin was loaded
    is_added = added and _IMPORT_PATH[: len(added)] == added
    return _IMPORT_PATH[len(added) :] if is_added else list(_IMPORT_PATH)


def environment(start: Start | None = None) -> dict[str, str]:
    """Return the variables of a fresh process: those of this one, without more options and tracers."""
    found = {
        name: value
        for name, value in _VARIABLES.items()
        if name != "PYTEST_ADDOPTS" and not name.startswith(_OF_TRACERS)
    }
    if start is not None and start.import_first:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [*start.import_first, found.get("PYTHONPATH", "")]))
    return found


def _relative(path: Path, start: Path) -> str:
    """Return a path from a folder on: pytest takes a bracket in an argument for the parameters of a test."""
    try:
        return f".{os.sep}{os.path.relpath(path, start)}"  # else a name may begin with a dash, or with @
    except ValueError:  # another drive
        return str(path)


def options(config: pytest.Config, path: Path | None = None) -> tuple[list[Given], list[Given]]:
    """Return the options that a fresh process gets, and those that a user may miss there.

    Args:
        config: of this process.
        path: of the test's file: the fresh process reads the conftest files above it, and no others.
    """
    wanted = {*_OF_PYTEST, *_OF_PLUGINS, *config.getini(INI_OPTIONS)}
    unremarkable: set[str] = set()
    if _ADDED not in config.stash:
        config.stash[_ADDED] = list(_registered(config))  # once: it runs a function of every plugin
    for module, names in config.stash[_ADDED]:
        if module.__name__.partition(".")[0] in _KNOWN_TO_WRITE:
            unremarkable |= names
        elif not _is_installed(module) and _is_read(module, path):
            wanted |= names
    kept, missed = [], []
    for option in config.stash[_GIVEN]:
        if option.name in {"-o", "--override-ini"} and option.values[0].partition("=")[0] in _OVERRIDDEN:
            continue
        if option.name in wanted:
            kept.append(option)
        elif option.name not in unremarkable:
            missed.append(option)
    return kept, missed


def remember(config: pytest.Config) -> None:
    """Keep the options as they were given: a test may change the variables and the working folder."""
    config.stash[_GIVEN] = _given(config)


def is_given(config: pytest.Config, names: Collection[str]) -> bool:
    """Whether the user gave one of some options, on the command line, in the variable or in the ini file."""
    return any(option.name in names for option in config.stash.get(_GIVEN, []))


def _given(config: pytest.Config) -> list[Given]:
    """Return the options of the command line, of the variable and of the ini file, in the order of their precedence."""
    found: list[Given] = []

    class Note(argparse.Action):
        def __call__(
            self, _parser: object, _namespace: object, values: object, option_string: str | None = None
        ) -> None:
            given = (values,) if isinstance(values, str) else tuple(values) if isinstance(values, list) else ()
            found.append(Given(option_string or "", given, self.nargs))

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    for number, action in enumerate(_actions(config._parser)):  # noqa: SLF001 - nothing else knows all options
        if action.option_strings:
            parser.add_argument(*action.option_strings, dest=f"option{number}", nargs=action.nargs, action=Note)
    of_variable = shlex.split(_VARIABLES.get("PYTEST_ADDOPTS", ""))
    arguments = [*config.getini("addopts"), *of_variable, *map(str, config.invocation_params.args)]
    parser.parse_known_args(arguments)
    if not any(argument.startswith("@") for argument in arguments):
        return found
    given, found = found, []
    parser.fromfile_prefix_chars = None
    parser.parse_known_args(arguments)
    # pytest looks for plugins before it reads files of arguments
    return [option for option in given if option.name != "-p" or option in found]


def _registered(config: pytest.Config) -> Iterator[tuple[ModuleType, set[str]]]:
    """Return for each plugin its module and the options that it adds."""
    for hook in config.pluginmanager.hook.pytest_addoption.get_hookimpls():
        plugin = hook.plugin
        module = plugin if inspect.ismodule(plugin) else sys.modules[type(plugin).__module__]
        parser = pytest.Parser(_ispytest=True)
        given = {"parser": parser, "pluginmanager": config.pluginmanager}
        try:
            hook.function(*(given[name] for name in hook.argnames))
        except Exception:  # noqa: BLE001, S112 - it may depend on what others added: its options are not known then
            continue
        yield module, {name for action in _actions(parser) for name in action.option_strings}


def _actions(parser: pytest.Parser) -> list[argparse.Action]:
    """Return the options of a parser of pytest, which publishes no list of them."""
    found: argparse.ArgumentParser = getattr(parser, "optparser", None) or parser._getparser()  # type: ignore[attr-defined] # noqa: SLF001
    return found._actions  # noqa: SLF001


def _is_installed(module: ModuleType) -> bool:
    """Return whether a plugin belongs to an installed distribution or to Python, and not to the project."""
    file = module.__file__
    if file is None or _is_conftest(file):
        return file is None
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    is_installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return bool(is_installed) or any(Path(file).is_relative_to(folder) for folder in folders)


def _is_read(module: ModuleType, path: Path | None) -> bool:
    """Return whether a fresh process that runs a test of this file loads a plugin of the project."""
    file = module.__file__
    return path is None or file is None or not _is_conftest(file) or path.is_relative_to(Path(file).parent)


def _is_conftest(file: str) -> bool:
    return Path(file).name == "conftest.py"
