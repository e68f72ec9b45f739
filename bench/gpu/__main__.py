"""Measure on a GPU machine, with nothing installed: `python -m bench.gpu [--minutes 9] [--out DIR]`.

See `docs/gpu.md`: what to copy, what it costs in time, and how the record gets home.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from bench.gpu import pack  # noqa: E402 - the path is set first: nothing of ours is installed

NEEDED = {"torch": "PyTorch", "pytest": "pytest", "pytest_benchmark": "pytest-benchmark", "attr": "attrs"}
FAMILIES = ("text_to_image", "tabular_regressor", "dialogue_twin")
CARRIED = ROOT / ".gpu"
_MINUTES = 9.0


class UnusableError(Exception):
    """Something the command needs is missing or wrong; its text is the one line that says so."""


def _minutes(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 600:
        raise ValueError
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=_minutes, default=_MINUTES, help="minutes it may take (default: %(default)g)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "reports" / "latest", help="folder for the record and its report"
    )
    parser.add_argument(
        "--family", action="append", choices=FAMILIES, default=[], help="measure this family only; repeatable"
    )
    parser.add_argument(
        "--preset", choices=("tiny", "smoke", "default"), default="default", help="sizes (default: default)"
    )
    parser.add_argument(
        "--probe", action="store_true", help="run every CUDA path once, time nothing for a record, and say what fails"
    )
    parser.add_argument("--pack", action="store_true", help="at home: put what a GPU machine may lack into .gpu/")
    return parser


def _check(out: Path) -> None:
    """Refuse what would make a run useless, before anything long begins.

    Raises:
        UnusableError: a package or the GPU is missing, or the folder cannot be written.
    """
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UnusableError(
            f"{', '.join(missing)} missing: run python -m bench.gpu --pack at home, and copy .gpu/ along"
        )
    import torch  # noqa: PLC0415 - it may be missing

    if not torch.cuda.is_available():
        raise UnusableError("PyTorch finds no CUDA device here: run this on a machine with an NVIDIA GPU")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableError(f"--out {out}: not a folder that can be written ({error.strerror}): name another") from None
    if (out / "record.json").exists() and out != ROOT / "reports" / "latest":
        raise UnusableError(f"--out {out}: there is a record.json already: name another folder, or move it away")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    chosen = _parser().parse_args(arguments)
    out = chosen.out.resolve()
    try:
        if chosen.pack:
            pack.pack(CARRIED)
            return 0
        carried = pack.unpack(CARRIED)
        _check(out)
    except (UnusableError, pack.PackError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the one line that bad input gets
        return 2
    if chosen.probe:
        from bench.gpu.probe import probe  # noqa: PLC0415 - it imports PyTorch

        return 1 if probe(out, chosen.preset) else 0
    from bench.gpu.runner import Run  # noqa: PLC0415

    for name in ("record.json", "record.partial.json", "run.log", "warm-up.log"):
        (out / name).unlink(missing_ok=True)
    paths = [] if carried is None else [carried]
    return Run(out, 60 * chosen.minutes, chosen.preset, chosen.family or FAMILIES, paths).measure()


if __name__ == "__main__":
    sys.exit(main())
