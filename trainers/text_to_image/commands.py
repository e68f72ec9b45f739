"""Implement the family's commands: make data, train, sample."""

import argparse
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainers.common import checkpoint
from trainers.common.interruption import SharedStopSignals
from trainers.common.options import TrainOptions
from trainers.common.progress import EpochProgress
from trainers.contract import BadInput
from trainers.pytorch.randomness import derived_seed
from trainers.pytorch.ranks import join_ranks
from trainers.text_to_image import FAMILY
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data import synthetic as renderer
from trainers.text_to_image.data.items import find_data
from trainers.text_to_image.data.text_encoder import TextEncoder
from trainers.text_to_image.model import Generator, draw_samples
from trainers.text_to_image.reference import ReferenceTrainer
from trainers.text_to_image.samples import Row, draw_grid
from trainers.text_to_image.training import TrainingFiles, TrainingLog, TrainingRun, read_training, resume

__all__ = ["make_data", "sample", "train"]

_MOST_SAMPLES = 1000  # of one caption: a sheet of more would be no picture any more


def make_data(out: Path, preset: str, seed: int) -> None:
    """Write images, captions and word vectors into a new folder, in COCO's format.

    Raises:
        BadInput: the folder is there already, or cannot be written.

    """
    renderer.make_data(out, TextToImageConfig.preset(preset).replace(data_seed=seed))
    _say(f"wrote {out}")


def train(options: TrainOptions) -> None:
    """Train all epochs and say where the networks and their samples are.

    Raises:
        BadInput: something the options name cannot be used; nothing was overwritten.
        Interrupted: Ctrl-C or SIGTERM came; the training is saved.

    """
    resumed = None if options.resume is None else read_training(options.resume)
    config = _chosen_config(options, resumed)
    tier = options.tier_over(resumed)
    files = _chosen_files(options, resumed)
    data = find_data(config, options.data)
    switches = options.switches_over(resumed, tier)
    device = FAMILY.find_device(options.device)
    ranks = join_ranks(device)
    log = TrainingLog(files.log)
    trainer: ReferenceTrainer = FAMILY.assemble(
        tier, config, data=data, device=device, seed=options.seed or 0, switches=switches, log=log, ranks=ranks
    )
    with contextlib.closing(trainer), contextlib.ExitStack() as stack:
        history, unfinished_seconds = [], 0.0
        if resumed is not None and options.resume is not None:
            resume(trainer, options.resume, resumed, options.seed)
            history, unfinished_seconds = resumed["history"], resumed["unfinished_seconds"]
        if ranks.is_first:
            stack.enter_context(checkpoint.occupied(files.folder))
            _chosen_files(options, resumed)  # another training may have ended there meanwhile
        labels = {
            "family": FAMILY.name,
            "tier": tier,
            "switches": dict(getattr(trainer, "switches", {})),
            "config": config.to_dict(),
            "data_sha256": data.fingerprint(),
            "text_encoder": data.encoder.to_dict(),
        }
        with EpochProgress(trainer.config.num_epochs, trainer.epoch, is_shown=ranks.is_first) as progress:
            stop = SharedStopSignals(ranks.largest, signal.SIGTERM, is_alone=not ranks.is_parallel)
            with ranks.naming_lost_ones():
                TrainingRun(trainer, files, labels, trainer.log, stop, progress, history, unfinished_seconds).run()
        ranks.leave()
    if not ranks.is_first:
        return
    last = history[-1]
    _say(
        f"{trainer.epoch} epochs: discriminator loss {last['discriminator_loss']:.4f}, generator loss "
        f"{last['generator_loss']:.4f}; networks {files.checkpoint('last')}, samples {files.samples(trainer.epoch)}"
    )


def sample(chosen: argparse.Namespace) -> None:
    """Draw pictures for captions with a checkpoint's generator, as one PNG.

    Raises:
        BadInput: the checkpoint cannot be used, a caption has no known word, or the file exists or cannot be written.

    """
    content = read_training(chosen.checkpoint)
    if not 1 <= chosen.num <= _MOST_SAMPLES:
        mend = f"give a whole number from 1 to {_MOST_SAMPLES}"
        raise BadInput(f"{chosen.num} is {'below 1' if chosen.num < 1 else 'too many'}", "--num", mend)
    target: Path = chosen.out or chosen.checkpoint.parent / "samples.png"
    # Not Path.exists: that raises where a name is too long, and overlooks a link whose target is still to come.
    if os.path.lexists(target):
        raise BadInput("exists already", str(target), "choose another file with --out or remove it first")
    if not chosen.caption:
        raise BadInput("no caption is given", "--caption", 'say what to draw: --caption "a red circle"')
    encoder = TextEncoder.from_dict(content["text_encoder"])
    texts_BE = [_encoded(encoder, caption) for caption in chosen.caption]
    generator = Generator(**content["state"]["architecture"])
    generator.load_state_dict(content["state"]["generator"])
    rows = []
    for number, (caption, text_E) in enumerate(zip(chosen.caption, texts_BE, strict=True)):
        drawn_BCHW = draw_samples(generator, text_E.expand(chosen.num, -1), derived_seed(chosen.seed, number))
        rows.append(Row(caption, list(drawn_BCHW)))
    epoch = content["state"]["progress"]["epoch"]
    checkpoint.write(target, draw_grid(rows, f"drawn after {epoch} epoch{'s' if epoch != 1 else ''}"))
    _say(f"wrote {target}")


def _encoded(encoder: TextEncoder, caption: str) -> Tensor:
    """Embed one caption, (E,)."""
    if not encoder.knows(caption):
        some = ", ".join(sorted(encoder.words)[:12])
        raise BadInput(f"no word of it is known: {caption!r}", "--caption", f"use words such as: {some}")
    return encoder.encode(caption)


def _chosen_config(options: TrainOptions, resumed: Mapping[str, Any] | None) -> TextToImageConfig:
    """Take the preset's configuration or, without a preset, the resumed checkpoint's; then what else was chosen."""
    config = options.config_over(resumed, TextToImageConfig)
    if options.config is not None:
        config = config.changed_by(options.config)
    # An epoch count that somebody asks for holds whichever switch would have chosen another.
    epochs = {} if options.epochs is None else {"num_epochs": options.epochs, "few_epochs": options.epochs}
    return config.replace(**epochs)


def _chosen_files(options: TrainOptions, resumed: Mapping[str, Any] | None) -> TrainingFiles:
    """Name the training's files; a folder that holds those of another training is refused."""
    beside = None if options.resume is None else options.resume.parent
    files = TrainingFiles(options.out or beside or Path("runs") / FAMILY.name)
    is_beside = beside is not None and beside.resolve() == files.folder.resolve()
    for path in files.checkpoints():
        if not is_beside:
            mend = "choose another folder with --out, or continue with --resume"
            raise BadInput("holds a checkpoint already", str(path), mend)
        if resumed is not None and _is_of_another_training(path, resumed):
            raise BadInput("is a checkpoint of another training", str(path), "choose another folder with --out")
    return files


def _is_of_another_training(path: Path, resumed: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has other data, another seed or other networks; a damaged one is nobody's."""
    try:
        content = read_training(path)
    except BadInput:
        return False
    ours, theirs = (
        (each["data_sha256"], each["state"]["progress"]["seed"], each["state"]["architecture"])
        for each in (resumed, content)
    )
    return ours != theirs


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what the command line is for
