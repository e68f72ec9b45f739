"""Text to image with a DCGAN on COCO captions, in PyTorch, after document 003. PyTorch is imported when it is used."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from trainers.contract import BadInput, Trainer
from trainers.text_to_image.config import FASTEST_SWITCHES, PRESETS, SWITCHES, TIERS, TextToImageConfig

__all__ = [
    "ACTIONS", "FASTEST_SWITCHES", "PRESETS", "SWITCHES", "TIERS", "TextToImageConfig", "add_sample_options", "build",
]  # fmt: skip

ACTIONS = ("make-data", "train", "sample")
"""What the command line can do with this family."""


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sample` other than the checkpoint and the seed."""
    parser.add_argument("--caption", nargs="+", action="extend", metavar="TEXT", help="what to draw, quoted each")
    parser.add_argument("--num", type=int, default=8, metavar="N", help="pictures of each caption (default: 8)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG (default: samples.png beside the checkpoint)")


def build(  # noqa: PLR0913 - all but the tier are keywords, and a caller gives the few it cares about
    tier: str,
    *,
    preset: str = "smoke",
    data: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    switches: Mapping[str, bool] | None = None,
    log: Callable[[str], None] | None = None,
    **overrides: object,
) -> Trainer:
    """Build a trainer, ready for its first step.

    Two tiers built with the same arguments start with the same weights, see the same batches in the same order and
    draw the same noise.

    Args:
        tier: one of `TIERS`.
        preset: one of `PRESETS`.
        data: a folder in COCO's format or its captions file; without it the family's offline data, made at the first
            call and then kept.
        device: `cpu`, `cuda` or `cuda:1`.
        seed: of the weights, the order of the batches and the noise. The offline data has its own, `data_seed`.
        switches: settings by name; those not named are as document 003 has them: its five changes on, its future
            optimizations off. Those of the fastest tier are on where the device makes them pay. The reference has none.
        log: takes the log lines that training writes; without it they are printed.
        overrides: values of `TextToImageConfig` that differ from the preset's.

    Returns:
        A `contract.Trainer` whose only phase is `train`.

    Raises:
        BadInput: an unknown tier, preset, switch or configuration key, a bad value, bad data, or no such device.

    """
    if tier not in TIERS:
        raise BadInput(f"unknown tier {tier!r}", "tier", f"choose one of: {', '.join(TIERS)}")
    config = TextToImageConfig.preset(preset).replace(**overrides)
    # Imported here so that asking for names and presets costs no import of PyTorch.
    from trainers.text_to_image import assembly  # noqa: PLC0415

    return assembly.assemble(tier, config, data=data, device=device, seed=seed, switches=switches, log=log)
