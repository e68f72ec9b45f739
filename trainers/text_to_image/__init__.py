"""Text to image with a DCGAN on COCO captions, in PyTorch, after document 003.

The data is a folder in COCO's format or its captions file.
"""

import argparse
from pathlib import Path

from trainers.family import Family
from trainers.text_to_image.config import FASTEST_SWITCHES, PUBLISHED_SWITCHES, SWITCHES, TextToImageConfig

__all__ = ["FAMILY"]


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--caption", nargs="+", action="extend", metavar="TEXT", help="what to draw, quoted each")
    parser.add_argument("--num", type=int, default=8, metavar="N", help="pictures of each caption (default: 8)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG (default: samples.png beside the checkpoint)")


FAMILY = Family(
    name="text_to_image",
    title="text to image with a DCGAN on COCO captions, in PyTorch, after document 003",
    package=__name__,
    framework="torch",
    config=TextToImageConfig,
    switches={
        "reference": (),
        "published": PUBLISHED_SWITCHES,
        "optimized": SWITCHES,
        "fastest": FASTEST_SWITCHES,
    },
    parallel_tiers=("reference", "optimized"),
    actions=("make-data", "train", "sample"),
    add_options={"sample": _add_sample_options},
    data_module=f"{__name__}.data.items",
)
