"""Command line of the trainers: `python -m trainers FAMILY make-data|train|sample|predict`.

Exit codes: 0 fine; 2 bad usage, bad input, or a place that cannot be read or written, with one line on stderr that says
what, where and how to fix it; 70 an error of the trainers themselves, with one line that says where its traceback is;
130 after a Ctrl-C and 143 after a SIGTERM, with one line that says how to continue.
"""

import argparse
import gc
import getpass
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from trainers import families, family
from trainers.common import boundary
from trainers.common.frameworks import require
from trainers.common.options import TrainOptions
from trainers.contract import BadInput, Interrupted
from trainers.family import Family

__all__ = ["main"]

_LARGEST_SEED = 2**63 - 1
"""The frameworks' generators take no larger one."""


class _Parser(argparse.ArgumentParser):
    """Refuses bad usage as everything else here is refused: by BadInput, which is one line."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message, self.prog, f"see {self.prog} --help")


def _count(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _whole_number(text, least=1)


def _seed(text: str) -> int:
    """Parse a whole number of at least 0."""
    number = _whole_number(text, least=0)
    if number > _LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{number} is above {_LARGEST_SEED}")
    return number


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < least:
        raise argparse.ArgumentTypeError(f"{number} is below {least}")
    return number


def _setting(text: str) -> tuple[str, bool]:
    """Parse NAME=on or NAME=off."""
    name, _, value = text.partition("=")
    if value not in {"on", "off"}:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=on or NAME=off")
    return name, value == "on"


def _add_make_data(parser: argparse.ArgumentParser, of: Family) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--preset", choices=of.presets, default="smoke", help="sizes (default: smoke)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of the data (default: 0)")


def _add_train(parser: argparse.ArgumentParser, of: Family) -> None:
    switches = ". ".join(
        f"{tier}: " + "; ".join(f"{switch.name}: {switch.description}" for switch in of_tier)
        for tier, of_tier in of.switches.items()
        if of_tier
    )
    parser.add_argument("--tier", choices=of.tiers, help="default: optimized")
    parser.add_argument("--preset", choices=of.presets, help="sizes (default: smoke)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON of settings that differ from the preset's")
    parser.add_argument("--data", type=Path, metavar="PATH", help="default: the family's offline data")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for its files (default: runs/FAMILY)")
    parser.add_argument("--epochs", type=_count, metavar="N", help="most epochs to train (default: the preset's)")
    parser.add_argument("--seed", type=_seed, metavar="N", help="seed of the training (default: 0)")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: the GPU if there is one)")
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="continue the training that wrote this file")
    parser.add_argument(
        "--switch", type=_setting, nargs="+", action="extend", default=[], metavar="NAME=on|off", help=switches
    )


def _add_predict(parser: argparse.ArgumentParser, _: Family) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="PATH", help="a file that train wrote")
    parser.add_argument("--data", type=Path, metavar="PATH", help="default: the family's offline data")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: predictions.h5 beside the checkpoint")


def _add_sample(parser: argparse.ArgumentParser, _: Family) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="PATH", help="a file that train wrote")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of the samples (default: 0)")


def _make_data(commands: Any, chosen: argparse.Namespace) -> None:
    commands.make_data(chosen.out, chosen.preset, chosen.seed)


def _train(commands: Any, chosen: argparse.Namespace) -> None:
    commands.train(
        TrainOptions(
            tier=chosen.tier,
            preset=chosen.preset,
            config=chosen.config,
            data=chosen.data,
            out=chosen.out,
            epochs=chosen.epochs,
            seed=chosen.seed,
            device=chosen.device,
            resume=chosen.resume,
            switches=dict(chosen.switch),
        )
    )


def _predict(commands: Any, chosen: argparse.Namespace) -> None:
    commands.predict(chosen.checkpoint, chosen.data, chosen.out)


def _sample(commands: Any, chosen: argparse.Namespace) -> None:
    commands.sample(chosen)


_Adder = Callable[[argparse.ArgumentParser, Family], None]
_Runner = Callable[[Any, argparse.Namespace], None]
_ACTIONS: dict[str, tuple[str, _Adder, _Runner]] = {
    "make-data": ("write the family's made-up data as files", _add_make_data, _make_data),
    "train": ("train, with a checkpoint to continue from or to use", _add_train, _train),
    "sample": ("generate samples with a checkpoint", _add_sample, _sample),
    "predict": ("apply a checkpoint to data", _add_predict, _predict),
}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m trainers", description="Train the families that the benchmarks measure.")
    by_family = parser.add_subparsers(dest="family", metavar="FAMILY", required=True)
    for of in map(family, families()):
        if not of.actions:
            continue
        family_parser = by_family.add_parser(of.name, help=of.title)
        by_action = family_parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        for action in of.actions:
            summary, add_options, run = _ACTIONS[action]
            action_parser = by_action.add_parser(action, help=summary, description=summary)
            add_options(action_parser, of)
            if action in of.add_options:
                of.add_options[action](action_parser)
            action_parser.set_defaults(run=run)
    return parser


def _commands(of: Family) -> ModuleType:
    """Import a family's commands, and only now its framework.

    A framework makes some hundred thousand objects that all stay: looking through them for garbage, now and while the
    rest of it is imported, takes a good part of a short command's time and finds nothing.
    """
    name = f"{of.package}.commands"
    if name in sys.modules:
        return sys.modules[name]
    collects = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        require(of.framework)
        raise
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows the program's name; without it, those this process was started with.

    Returns:
        The exit code.

    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    rank = os.environ.get("RANK", "")  # torchrun's number of this process

    def command() -> int:
        try:
            chosen = _parser().parse_args(arguments)
            _name_user()
            chosen.run(_commands(family(chosen.family)), chosen)
        except Interrupted as error:
            if rank in {"", "0"}:
                boundary.complain(f"interrupted: the training is saved; continue with --resume {error.saved}")
            return 128 + error.number
        return 0

    return boundary.run(command, BadInput, "error" if rank in {"", "0"} else f"rank {rank}: error")


def _name_user() -> None:
    """Give a user without a name, as in some containers, one: compilers name their folders after it."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"user-{os.getuid()}" if hasattr(os, "getuid") else "user"


if __name__ == "__main__":
    sys.exit(main())
