"""Pack what a GPU machine without a network may lack into one small folder: a few wheels, and the commit's name.

``python -m bench.gpu --pack`` makes the folder at home. On the other machine, `unpack` puts the packages that are
missing on Python's path, and `commit_info` says which commit a copy of the tree without ``.git`` is, and whether a file
has been changed since.
"""

import atexit
import hashlib
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = (
    "attrs",
    "pytest",
    "pluggy",
    "iniconfig",
    "packaging",
    "pytest-benchmark",
    "py-cpuinfo2",
    "nvidia-ml-py",
    "safetensors",
    "rich",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "Jinja2",
    "MarkupSafe",
)
"""Distributions that the command needs or improves with; together they have some 4 MB."""

_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_CLOSER = {"pytest-benchmark": [(">=", "5.3")]}
"""Bounds closer than the project's: an older one breaks with the newest pytest, and that machine may have either."""

_WHEELS = "wheels"
_COMMIT = "commit.json"
_UNKNOWN_BRANCH = "(unknown)"
_DETACHED = "(detached head)"


class PackError(Exception):
    """The folder cannot be made; its text is one line."""


# --- At home ---


def pack(folder: Path = Path(".gpu"), python: str = "3.12", *, root: Path = ROOT) -> None:
    """Fill a folder with the wheels and the commit; what an earlier call left in it is replaced.

    Args:
        folder: where to.
        python: version of Python on the GPU machine.
        root: of the project.

    Raises:
        PackError: a package cannot be downloaded, the tree has no commit, or the folder cannot be written.
    """
    commit = _commit_of_git(root)
    if commit is None:
        raise PackError(f"{root}: no commit of git is found here: pack in a checkout")
    wheels = folder / _WHEELS
    try:
        shutil.rmtree(wheels, ignore_errors=True)
        wheels.mkdir(parents=True)
        _download(wheels, python, root / "constraints.txt")
        (folder / _COMMIT).write_text(json.dumps({**commit, "files": _files(root)}, indent=1), encoding="utf-8")
    except OSError as error:
        raise PackError(f"{folder}: cannot be written ({error.strerror or error}): name another folder") from error
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    state = ", with changes that are not committed" if commit["dirty"] else ""
    number = len(list(wheels.iterdir()))
    print(f"{folder}: {number} wheels and commit {commit['id'][:12]}{state}, {size / 1e6:.1f} MB")  # noqa: T201 - a command


def _download(wheels: Path, python: str, constraints: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--dest", str(wheels),
    ]  # fmt: skip
    command += [part for platform in _PLATFORMS for part in ("--platform", platform)]
    command += ["--constraint", str(constraints)] if constraints.exists() else []
    done = subprocess.run([*command, *PACKAGES], capture_output=True, text=True, check=False)  # noqa: S603 - our pip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise PackError(f"pip cannot download the packages: {lines[-1] if lines else 'it says nothing'}")


def _files(root: Path) -> dict[str, str]:
    """Return the id that git gives the content of each file of the commit."""
    rows = (_git(root, "ls-tree", "-r", "-z", "HEAD") or "").split("\0")
    found = {}
    for row in filter(None, rows):
        about, _, path = row.partition("\t")
        _, kind, digest = about.split()
        if kind == "blob":
            found[path] = digest
    return found


# --- On the GPU machine ---


def unpack(folder: Path) -> Path | None:
    """Put packages of the folder that are missing here, or too old for the project, on Python's path.

    Nothing is installed: they lie in a temporary folder, which goes when the process ends.

    Args:
        folder: that `pack` filled.

    Returns:
        The temporary folder, for processes that this one starts; None where nothing is missing, or nothing was packed.

    Raises:
        PackError: a wheel is damaged.
    """
    allowed = bounds(ROOT / "pyproject.toml")
    for name, closer in _CLOSER.items():
        allowed.setdefault(name, []).extend(closer)
    wheels = sorted((folder / _WHEELS).glob("*.whl"))
    wanted = [wheel for wheel in wheels if _is_for_us(wheel) and not _is_here(wheel, allowed)]
    if not wanted:
        return None
    place = Path(tempfile.mkdtemp(prefix="bench-gpu-packages-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for wheel in wanted:
        with _opened(wheel) as archive:
            archive.extractall(place)
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    return place


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise PackError(f"{wheel}: cannot be read ({error}): pack again, and copy the folder again") from error


def _is_for_us(wheel: Path) -> bool:
    """Whether a wheel works with this Python: one without compiled code, or one compiled for it."""
    python, abi, _ = wheel.stem.split("-")[-3:]
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if abi == "abi3":  # works with its version of Python and every later one
        return any(name.startswith("cp3") and int(name[3:]) <= sys.version_info.minor for name in python.split("."))
    return (python.startswith("py") and abi == "none") or (version in python.split(".") and abi == version)


def _is_here(wheel: Path, allowed: Mapping[str, Sequence[tuple[str, str]]]) -> bool:
    """Whether a wheel's distribution is installed, in a version that the project takes, or another has its modules."""
    name = wheel.name.split("-")[0]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        with _opened(wheel) as archive:
            tops = {Path(path).parts[0] for path in archive.namelist()}
        modules = {top.removesuffix(".py") for top in tops if not top.endswith((".dist-info", ".data"))}
        return all(find_spec(module) is not None for module in modules)
    return all(_holds(found, sign, bound) for sign, bound in allowed.get(_plain(name), ()))


def bounds(pyproject: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the bounds on the versions of the project's dependencies, by plain name: pairs such as (">=", "5.1")."""
    content = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project, groups = content["project"], content["dependency-groups"]
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    found: dict[str, list[tuple[str, str]]] = {}
    for text in (each for texts in lists for each in texts if isinstance(each, str)):
        name = re.match(r"[A-Za-z0-9._-]+", text)
        if name:
            found.setdefault(_plain(name[0]), []).extend(re.findall(r"(>=|<=|==|<|>)\s*([0-9][0-9.]*)", text))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _holds(version: str, sign: str, bound: str) -> bool:
    """Whether a version is within a bound, by the numbers that it begins with."""
    mine, other = _numbers(version), _numbers(bound)
    length = max(len(mine), len(other))
    mine, other = (numbers + (0,) * (length - len(numbers)) for numbers in (mine, other))
    return {">=": mine >= other, "<=": mine <= other, "==": mine == other, "<": mine < other, ">": mine > other}[sign]


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


# --- Which commit it is ---


def commit_info(root: Path, folder: Path | None = None) -> dict[str, Any] | None:
    """Return which commit a tree is, with the keys of pytest-benchmark's commit info.

    It comes from git, or in a copy without ``.git``, or without git, from what `pack` noted. There a tree is changed
    when a file of the commit has another content or is gone; files that were added are not looked for.

    Args:
        root: of the tree.
        folder: that `pack` filled; by default ``.gpu`` in the root.

    Returns:
        The commit; None where neither tells.
    """
    found = _commit_of_git(root)
    if found is not None:
        return found
    try:
        noted = json.loads(((folder or root / ".gpu") / _COMMIT).read_text(encoding="utf-8"))
        commit = {key: noted[key] for key in ("id", "time", "author_time", "project", "branch")}
        is_dirty = any(_digest(root / path, digest) != digest for path, digest in noted["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return {**commit, "dirty": is_dirty}


def _commit_of_git(root: Path) -> dict[str, Any] | None:
    """Return the commit of a checkout; None where git or the repository is missing, or has no commit."""
    if not (root / ".git").exists():  # git would take the repository of a folder around this one
        return None
    shown = _git(root, "show", "-s", "--format=%H%n%cI%n%aI", "HEAD")
    if shown is None:
        return None
    number, time, author_time = shown.split("\n")[:3]
    branch = (_git(root, "rev-parse", "--abbrev-ref", "HEAD") or _UNKNOWN_BRANCH).strip()
    address = _git(root, "config", "--local", "remote.origin.url") or str(root.resolve())
    return {
        "id": number,
        "time": time,
        "author_time": author_time,
        "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
        "project": [part for part in re.split(r"[/:\s\\]|\.git\b", address) if part][-1],
        "branch": _DETACHED if branch == "HEAD" else branch,
    }


def _git(root: Path, *arguments: str) -> str | None:
    command: Sequence[str] = ("git", "-C", str(root), *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, errors="surrogateescape")  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _digest(path: Path, like: str) -> str | None:
    """Return the id that git gives a file's content, by the same kind of digest as another id; None without a file."""
    try:
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
    except OSError:
        return None
    kind = hashlib.sha1 if len(like) == 40 else hashlib.sha256
    return kind(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
