"""Check the sdist and the wheel of a folder: ``python -m tests.distribution dist [vVERSION]``, in ``tox -e dist``.

The files of the wheel are those of the plugin alone. The sdist is installed into a new environment, and measures the
pair of `examples/ci_gate` there.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "speedclaims"
OF_SDIST = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}


def plugin() -> set[str]:
    """Return the files of the plugin, below the folder `speedclaims`."""
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(SOURCE.parent).as_posix() for path in files}


def wrong_in_wheel(names: Iterable[str], version: str) -> list[str]:
    """Return the differences between a wheel's files and those of the plugin, a line each."""
    info = f"speedclaims-{version}.dist-info"
    found = {name for name in names if not name.endswith("/")}
    code = {name for name in found if PurePosixPath(name).parts[0] != info}
    wanted = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    return [
        *(f"not of the plugin: {name}" for name in sorted(code - plugin())),
        *(f"missing: {name}" for name in sorted((plugin() | wanted) - found)),
    ]


def wrong_in_sdist(names: Iterable[str], version: str) -> list[str]:
    """Return the differences between an sdist's files and those that it needs, a line each."""
    folder = f"speedclaims-{version}/"
    found = {name.removeprefix(folder) for name in names}
    wanted = OF_SDIST | {f"src/{name}" for name in plugin()}
    return [
        *(f"not needed: {name}" for name in sorted(found - wanted)),
        *(f"missing: {name}" for name in sorted(wanted - found)),
    ]


def measure(sdist: Path) -> None:
    """Install an sdist into a new environment, and measure the example's pair there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        project = folder / "project"
        shutil.copytree(ROOT / "examples" / "ci_gate", project)
        for command in (
            [python, "-m", "pip", "install", "--quiet", sdist.resolve()],
            [python, "-m", "pip", "check"],
            [python, "-m", "pytest", "--speedup-max-time=2", "--speedup-report=out"],
            [python, "-m", "speedclaims", "export", "out/record.json", "--to", "github-comment"],
        ):
            subprocess.run(command, cwd=project, env=environment, check=True)
        (row,) = json.loads((project / "out" / "record.json").read_text(encoding="utf-8"))["speedclaims"]["pairs"]
        if row["speedup"] is None:
            raise SystemExit(f"{sdist}: its plugin measured nothing: {row['reason']}")


def main(folder: str, tag: str = "") -> None:
    """Check the one sdist and the one wheel of a folder, whose version a tag must have.

    Raises:
        SystemExit: one line, or several, of what is wrong.
    """
    wheels, sdists = (sorted(Path(folder).glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    if not len(wheels) == len(sdists) == 1:
        sys.stderr.write(f"{folder}: not one wheel and one sdist: name the folder that `python -m build` filled\n")
        raise SystemExit(2)
    (wheel,), (sdist,) = wheels, sdists
    version = wheel.name.split("-")[1]
    if tag and tag != f"v{version}":
        raise SystemExit(f"the tag is {tag}, the version {version}: change __version__, or move the tag to v{version}")
    with zipfile.ZipFile(wheel) as one:
        wrong = [f"{wheel}: {line}" for line in wrong_in_wheel(one.namelist(), version)]
    with tarfile.open(sdist) as other:
        files = [member.name for member in other.getmembers() if member.isfile()]
    wrong += [f"{sdist}: {line}" for line in wrong_in_sdist(files, version)]
    if wrong:
        raise SystemExit("\n".join(wrong))
    measure(sdist)


if __name__ == "__main__":
    main(*sys.argv[1:])
