"""Dialogue by a GAN with TensorFlow, after documents 000 to 002. TensorFlow is imported when a trainer is built."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainers.contract import BadInput, Trainer
from trainers.dialogue_gan.config import FASTEST_SWITCHES, PRESETS, SWITCHES, TIERS, DialogueConfig

__all__ = [
    "ACTIONS", "FASTEST_SWITCHES", "PRESETS", "SWITCHES", "TIERS", "DialogueConfig", "add_sample_options", "build"
]  # fmt: skip

ACTIONS = ("make-data", "train", "sample")
"""What the command line can do with this family."""


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """Add to the command `sample` what this family can be asked for."""

    def temperature(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is no temperature: give a finite number above 0")
        return value

    def count(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
        return int(text)

    parser.add_argument("--character", metavar="NAME", help="who speaks (default: the first of the training's)")
    parser.add_argument("--scene", metavar="TEXT", help="where (default: the first of the training's)")
    parser.add_argument("--temperature", type=temperature, default=0.8, metavar="T", help="default: 0.8")
    parser.add_argument("--num", type=count, default=1, metavar="N", help="lines to make up (default: 1)")


def build(  # noqa: PLR0913 - all but the tier are keywords, and a caller gives the few it cares about
    tier: str,
    *,
    preset: str = "smoke",
    data: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    switches: Mapping[str, bool] | None = None,
    log: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Trainer:
    """Build a trainer, ready for its first step.

    Two tiers built with the same arguments start with the same weights, see the same batches in the same order, draw
    the same dropout masks and, as long as their weights agree, the same fake sequences.

    Args:
        tier: one of `TIERS`.
        preset: one of `PRESETS`.
        data: a text file of dialogue; without it the family's offline data, made at the first call and then kept.
        device: `cpu`, `cuda` or `cuda:1`.
        seed: of the weights, the order of the batches, dropout and fakes. The offline data has its own, `data_seed`.
        switches: settings by name, of `SWITCHES` for the optimized tier and of `FASTEST_SWITCHES` for the fastest;
            those not named are as the documents have them, or all on. The reference has no switches.
        log: takes the lines that the original prints; without it they are printed.
        overrides: values of `DialogueConfig` that differ from the preset's.

    Returns:
        A `contract.Trainer` with three phases: `generator_pretraining`, `discriminator_pretraining`, `adversarial`.

    Raises:
        BadInput: an unknown tier, preset, switch or configuration key, a bad value, bad data, no such device, or
            TensorFlow is not installed.

    """
    if tier not in TIERS:
        raise BadInput(f"unknown tier {tier!r}", "tier", f"choose one of: {', '.join(TIERS)}")
    config = DialogueConfig.preset(preset).replace(**overrides)
    # Imported here so that asking for names and presets costs no import of TensorFlow.
    from trainers.tensorflow.runtime import require_tensorflow  # noqa: PLC0415

    require_tensorflow()
    from trainers.dialogue_gan import assembly  # noqa: PLC0415

    return assembly.assemble(tier, config, data=data, device=device, seed=seed, switches=switches, log=log)
