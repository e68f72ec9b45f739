"""Dialogue by a GAN with TensorFlow, after documents 000 to 002. The data is a text file of dialogue."""

import argparse

from trainers.dialogue_gan.config import FASTEST_SWITCHES, PHASES, PUBLISHED_SWITCHES, SWITCHES, DialogueConfig
from trainers.family import Family

__all__ = ["FAMILY"]


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
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


FAMILY = Family(
    name="dialogue_gan",
    title="dialogue by a GAN with TensorFlow, after documents 000 to 002",
    package=__name__,
    framework="tensorflow",
    config=DialogueConfig,
    switches={
        "reference": (),
        "published": PUBLISHED_SWITCHES,
        "optimized": SWITCHES,
        "fastest": FASTEST_SWITCHES,
    },
    phases=PHASES,
    parallel_tiers=("reference", "optimized"),
    actions=("make-data", "train", "sample"),
    add_options={"sample": _add_sample_options},
)
