"""Build the command line by which a fresh process is the same program as this one, and writes nothing that is kept.

A fresh process gets what decides how a test behaves: the resolved root and ini file, the plugins, the interpreter's
flags, the working folder, the import path, and the options that are listed here or belong to the project. All others,
of whatever plugin, are left out, for they may write reports, logs and caches.
"""

import argparse
import inspect
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from speedclaims.measure.supervisor import EMPTY_INI, FOLDER

INI_OPTIONS = "speedup_process_options"

_IMPORT_PATH = list(sys.path)
"""The import path before pytest, a conftest or a test changed it: the plugin is loaded before them."""

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

_OVERRIDDEN = {"addopts": "", "cache_dir": f"{FOLDER}/cache", "log_file": ""}
"""Values in a fresh process of settings of the ini file."""

_OF_TRACERS = ("COV_CORE_", "COVERAGE_PROCESS_")
"""Beginnings of variables by which coverage traces the processes that a test starts."""

_START = """\
import sys
sys.path[:] = {path!r}
sys.argv[0] = "pytest"
import pytest
{without_ini}sys.exit(pytest.main())
"""

_WITHOUT_INI = """\
import _pytest.config
find = _pytest.config.determine_setup
_pytest.config.determine_setup = lambda **given: (find(**given)[0], None, *find(**given)[2:])
"""
"""Where this process has no ini file, the fresh one must not find one that is nearer to the test.

It reads an empty one, and does not know its path."""


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
        if self.takes in {None, "?"} and self.values and self.name.startswith("--"):
            return [f"{self.name}={self.values[0]}"]
        return [self.name, *self.values]


def command(config: pytest.Config, path: Path, nodeid: str, *hidden: str) -> list[str]:
    """Return the command that runs one test in a fresh process.

    `FOLDER` in it stands for the temporary folder of that process.

    Args:
        config: of this process.
        path: of the test's file.
        nodeid: of the test.
        hidden: further options, of speedclaims.
    """
    known = config.known_args_namespace
    kept, _ = options(config, path)
    start = config.invocation_params.dir
    without_ini = "" if config.inipath else _WITHOUT_INI
    return [
        sys.executable,
        *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined] # noqa: SLF001 - as multiprocessing does
        "-c",
        _START.format(path=_import_path(config), without_ini=without_ini),
        f"--config-file={config.inipath or Path(FOLDER, EMPTY_INI)}",
        f"--rootdir={config.rootpath}",
        *([f"--confcutdir={known.confcutdir}"] if known.confcutdir else []),
        *(argument for option in kept for argument in option.arguments),
        *(f"--override-ini={name}={value}" for name, value in _OVERRIDDEN.items()),
        f"--basetemp={FOLDER}/basetemp",
        *hidden,
        f"{_relative(path, start)}::{nodeid.partition('::')[2]}",
    ]


def _import_path(config: pytest.Config) -> list[str]:
    """Return the import path with which this process was started."""
    added = [str(path) for path in config.getini("pythonpath")]  # before the plugin was loaded
    is_added = added and _IMPORT_PATH[: len(added)] == added
    return _IMPORT_PATH[len(added) :] if is_added else list(_IMPORT_PATH)


def environment() -> dict[str, str]:
    """Return the variables of a fresh process: those of this one, without more options and tracers."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTEST_ADDOPTS" and not name.startswith(_OF_TRACERS)
    }


def _relative(path: Path, start: Path) -> str:
    """Return a path from a folder on: pytest takes a bracket in an argument for the parameters of a test."""
    try:
        return os.path.relpath(path, start)
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
    for module, names in _registered(config):
        if module.__name__.partition(".")[0] in _KNOWN_TO_WRITE:
            unremarkable |= names
        elif not _is_installed(module) and _is_read(module, path):
            wanted |= names
    kept, missed = [], []
    for option in _given(config):
        if option.name in {"-o", "--override-ini"} and option.values[0].partition("=")[0] in _OVERRIDDEN:
            continue
        if option.name in wanted:
            kept.append(option)
        elif option.name not in unremarkable:
            missed.append(option)
    return kept, missed


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
    of_variable = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    arguments = [*config.getini("addopts"), *of_variable, *map(str, config.invocation_params.args)]
    parser.parse_known_args(arguments)
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
    folders = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")]
    return any(Path(file).is_relative_to(folder) for folder in folders)


def _is_read(module: ModuleType, path: Path | None) -> bool:
    """Return whether a fresh process that runs a test of this file loads a plugin of the project."""
    file = module.__file__
    return path is None or file is None or not _is_conftest(file) or path.is_relative_to(Path(file).parent)


def _is_conftest(file: str) -> bool:
    return Path(file).name == "conftest.py"
