"""Measure on a GPU machine, with nothing installed: `python -m bench.gpu [--minutes 9] [--out DIR]`.

See `docs/gpu.md`: what to copy, what it costs in time, and how the record gets home.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import trainers  # noqa: E402 - the path is set first: nothing of ours is installed
from bench.gpu import pack  # noqa: E402 - likewise
from bench.gpu.probe import probe_safely  # noqa: E402 - likewise
from bench.gpu.runner import Run  # noqa: E402 - likewise
from speedclaims import boundary  # noqa: E402 - likewise
from speedclaims.errors import SpeedclaimsError  # noqa: E402 - likewise

NEEDED = {
    "torch": "PyTorch",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "h5py": "h5py",
    "PIL": "Pillow",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
    "attr": "attrs",
}
"""Packages that the command cannot do without, by the module that it imports."""

CARRIED = ROOT / ".gpu"
KEPT = ROOT / "reports" / "recorded"
_MINUTES, _LEAST_MINUTES, _MOST_MINUTES = 9.0, 1.0, 600.0
_OURS = ("record.json", "record.partial.json", "index.html", "speedups.md")
_EPILOG = (
    "TensorFlow's family is measured by tox -e bench-tf-gpu; dialogue_twin is its twin in PyTorch. See docs/gpu.md."
)


class UnusableError(Exception):
    """Something the command needs is missing or wrong; its text is the one line that says so."""


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not _LEAST_MINUTES <= value <= _MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"{text!r}: give minutes from {_LEAST_MINUTES:g} to {_MOST_MINUTES:g}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=(__doc__ or "").partition("\n")[0], epilog=_EPILOG
    )
    add = parser.add_argument
    add("--minutes", type=_minutes, default=_MINUTES, help="minutes it may take, from 1 on (default: %(default)g)")
    add("--out", type=Path, metavar="DIR", help="new folder for what it leaves (default: runs/gpu-DATE-TIME)")
    known = trainers.families()
    add("--family", action="append", choices=known, default=[], help="measure this family only; repeatable")
    add("--preset", choices=("tiny", "smoke", "default"), default="default", help="sizes (default: %(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--probe", action="store_true", help="run every CUDA path once and say what fails")
    what.add_argument("--pack", action="store_true", help="at home: put what a GPU machine may lack into .gpu/")
    what.add_argument(
        "--keep", type=Path, metavar="RECORD", help="at home: file a record and its tables under reports/recorded"
    )
    return parser


def _check() -> None:
    """Refuse what would make a run useless, before anything long begins.

    Raises:
        UnusableError: a package or the GPU is missing.
    """
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        carried = "; small ones come with .gpu/ (python -m bench.gpu --pack at home)" if not CARRIED.exists() else ""
        raise UnusableError(f"{sys.executable} lacks {', '.join(missing)}: use the Python that has PyTorch{carried}")
    import torch  # noqa: PLC0415 - it may be missing

    if not torch.cuda.is_available():
        raise UnusableError(
            f"PyTorch {torch.__version__} finds no CUDA device here: run this on a machine with an NVIDIA GPU"
        )


def _families(asked: Sequence[str]) -> Sequence[str]:
    """Return the families to measure: those asked for, or all that train with PyTorch.

    Raises:
        UnusableError: one of them trains with another framework.
    """
    frameworks = {name: trainers.family(name).framework for name in trainers.families()}
    for name in asked:
        if frameworks[name] != "torch":
            raise UnusableError(f"--family {name}: it trains with {frameworks[name]}: see tox -e bench-tf-gpu")
    return asked or [name for name, framework in frameworks.items() if framework == "torch"]


def _folder(out: Path | None) -> Path:
    """Return the folder for what a run leaves, made.

    Raises:
        UnusableError: it cannot be made, or holds a record already.
    """
    folder = (out or ROOT / "runs" / time.strftime("gpu-%Y%m%d-%H%M%S")).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.log").touch()
    except OSError as error:
        raise UnusableError(f"--out {folder}: cannot be written ({error.strerror}): name another folder") from None
    there = [name for name in _OURS if (folder / name).exists()]
    if there:
        raise UnusableError(f"--out {folder}: there is a {there[0]} already: name another folder")
    return folder


def _keep(path: Path) -> None:
    from speedclaims.record import io as record  # noqa: PLC0415 - likewise
    from speedclaims.record import paths as record_paths  # noqa: PLC0415 - the path is set by now
    from speedclaims.report.html.page import render_markdown  # noqa: PLC0415 - likewise

    found = record.read(path)
    print(record_paths.file(found, render_markdown([found]), KEPT))  # noqa: T201 - a command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    refused = (UnusableError, pack.PackError, SpeedclaimsError)
    return boundary.run(lambda: _run(_parser().parse_args(arguments)), refused, "error")


def _run(chosen: argparse.Namespace) -> int:
    """Pack, keep a record, probe or measure; return the exit code.

    Raises:
        UnusableError: something that it needs is missing or wrong.
        PackError: the packages cannot be packed or unpacked.
        SpeedclaimsError: the record to keep cannot be used.
    """
    if chosen.pack:
        pack.pack(CARRIED)
        return 0
    if chosen.keep is not None:
        _keep(chosen.keep)
        return 0
    carried = pack.unpack(CARRIED)
    _check()
    families = _families(chosen.family)
    out = _folder(chosen.out)
    boundary.say(f"to {out}")
    paths = [] if carried is None else [carried]
    run = Run(out, 60 * chosen.minutes, chosen.preset, families, paths)
    if chosen.probe:
        return probe_safely(out, chosen.preset, run.environment)
    return run.measure()


if __name__ == "__main__":
    sys.exit(main())
