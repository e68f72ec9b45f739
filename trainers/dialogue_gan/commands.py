"""Implement the family's commands: make data, train, sample."""

import argparse
import contextlib
import hashlib
import logging
import signal
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.common import checkpoint
from trainers.common.interruption import SharedStopSignals
from trainers.common.options import TrainOptions
from trainers.common.progress import EpochProgress
from trainers.contract import BadInput, Interrupted
from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan import data as files
from trainers.dialogue_gan.config import PHASES, DialogueConfig
from trainers.dialogue_gan.data import DialogueData, Sequences, Tokenizer
from trainers.tensorflow.cluster import Cluster, join_cluster, read_cluster
from trainers.tensorflow.runtime import hide_other_devices, require_tensorflow

if TYPE_CHECKING:
    from trainers.dialogue_gan.reference import ReferenceTrainer

__all__ = ["make_data", "sample", "train"]

logging.getLogger("trainers.dialogue_gan").setLevel(logging.INFO)  # the user must see what was left out of the data


def make_data(out: Path, preset: str, seed: int) -> None:
    """Write `dialogue.txt` into a folder.

    Raises:
        BadInput: the file is there already, or cannot be written.

    """
    path = out / "dialogue.txt"
    if path.exists():
        raise BadInput("exists already", str(path), "choose another folder or remove it first")
    files.make_data(path, DialogueConfig.preset(preset).replace(data_seed=seed))
    _say(f"wrote {path}")


def train(options: TrainOptions) -> None:
    """Train all three phases, and say how good the generator is and where it is saved.

    Where TF_CONFIG names several workers, all of them train it together, and the first writes and prints.

    Raises:
        BadInput: something the options or TF_CONFIG name cannot be used, and nothing was overwritten; or another worker
            has died.
        Interrupted: Ctrl-C or SIGTERM came; the training is saved.
        SystemExit: the same, on any worker but the first.

    """
    cluster = read_cluster()
    require_tensorflow()
    # Imported only now, so that a TensorFlow that is missing is one line, and one that is there starts quietly.
    from trainers.dialogue_gan import training  # noqa: PLC0415

    resumed = None if options.resume is None else training.read_training(options.resume)
    config = _chosen_config(options, resumed)
    tier = options.tier_over(resumed)
    if cluster is not None:
        _prepare(cluster, tier)
    folder = options.out or (options.resume.parent if options.resume else Path("runs") / FAMILY.name)
    is_other = options.resume is None or options.resume.parent.resolve() != folder.resolve()
    checkpoints = [training.checkpoint_path(folder, kind) for kind in training.KINDS] if is_other else []
    _refuse_used_folder(checkpoints)
    data = files.find_data(config, options.data)
    switches = options.switches_over(resumed, tier)
    seed = options.seed or 0
    with contextlib.ExitStack() as stack:
        with _joined(cluster, options.device, stack) as device:
            trainer: ReferenceTrainer = FAMILY.assemble(
                tier, config, data=data, device=device, seed=seed, switches=switches, log=_say
            )
        workers = stack.enter_context(contextlib.closing(trainer)).workers
        history: dict[str, list[dict[str, float]]] = {phase: [] for phase in PHASES}
        if resumed is not None and options.resume is not None:
            history = training.resume(trainer, options.resume, resumed, options.seed)
        if workers.is_first:
            stack.enter_context(checkpoint.occupied(folder))
            _refuse_used_folder(checkpoints)  # another training may have ended there meanwhile
        labels = {
            "family": FAMILY.name,
            "tier": tier,
            "switches": dict(getattr(trainer, "switches", {})),
            "config": config.to_dict(),
            "data_sha256": data.fingerprint(),
            "words": list(data.tokenizer.words),
            "characters": list(data.characters),
            "scenes": list(data.scenes),
        }
        if cluster is not None:
            workers.check_alike(_digest({**labels, "state": trainer.state()}))
        with EpochProgress(*training.num_epochs(trainer), is_shown=workers.is_first) as progress:
            stop = SharedStopSignals(workers.largest, signal.SIGTERM, is_alone=workers.num == 1)
            try:
                training.TrainingRun(trainer, folder, labels, history, stop, progress).run()
            except Interrupted as error:
                if workers.is_first:
                    raise
                raise SystemExit(128 + error.number) from error
        figures = trainer.evaluate()
    if not workers.is_first:
        return
    saved = training.checkpoint_path(folder, "last")
    _say(f"validation loss {figures['val_loss']:.6f}, perplexity {figures['val_perplexity']:.2f}; saved {saved}")


def _prepare(cluster: Cluster, tier: str) -> None:
    """Let only the first worker say what was left out of the data.

    Raises:
        BadInput: the tier does not train on several workers.

    """
    if tier not in FAMILY.parallel_tiers:
        mend = f"choose {' or '.join(FAMILY.parallel_tiers)}, or unset TF_CONFIG"
        raise BadInput(f"{tier} trains in one process only", "tier", mend)
    if cluster.index > 0:
        logging.getLogger("trainers.dialogue_gan").setLevel(logging.ERROR)


@contextlib.contextmanager
def _joined(cluster: Cluster | None, device: str | None, stack: contextlib.ExitStack) -> Iterator[str | None]:
    """Join the workers; what the block builds is theirs. Until the stack ends, the death of one is a BadInput.

    Returns:
        The device to build it on.

    Raises:
        BadInput: the workers do not find each other, or there is no such device.

    """
    if cluster is None:
        yield device
        return
    from trainers.tensorflow.workers import naming_lost_workers  # noqa: PLC0415 - as in train

    stack.enter_context(naming_lost_workers())
    device = hide_other_devices(device)
    with join_cluster(cluster).scope():
        yield device


def _digest(content: Mapping[str, Any]) -> int:
    """Return a whole number of 63 bits that differs where the content of a checkpoint does."""
    return int(hashlib.sha256(checkpoint.dumps(content)).hexdigest(), 16) >> 193


def sample(chosen: argparse.Namespace) -> None:
    """Print lines that a checkpoint's generator makes up for a character in a scene.

    Raises:
        BadInput: the checkpoint cannot be used, or it knows no such character or scene.

    """
    require_tensorflow()
    from trainers.dialogue_gan import training  # noqa: PLC0415 - as in train

    content = training.read_training(chosen.checkpoint)
    character = _find("character", chosen.character, content["characters"])
    scene = _find("scene", chosen.scene, content["scenes"])
    config = DialogueConfig.from_dict(content["config"])
    data = _names_only(content, config)
    trainer: ReferenceTrainer = FAMILY.assemble("reference", config, data=data, log=_say)
    with contextlib.closing(trainer):
        trainer.load_state(content["state"])
        made_up = trainer.sample(
            character, scene, num=chosen.num, temperature=chosen.temperature, seed=chosen.seed
        )  # fmt: skip
    for line in made_up:
        _say(f"{content['characters'][character]}: {line}")


def _find(kind: str, wanted: str | None, known: Sequence[str]) -> int:
    """Find the id of a character or scene by name, whatever its case or normalization; the first without a name."""
    if wanted is None:
        return 0
    folded = [_folded(name) for name in known]
    if _folded(wanted) not in folded:
        raise BadInput(f"unknown {kind} {wanted!r}", f"--{kind}", f"choose one of: {', '.join(known)}")
    return folded.index(_folded(wanted))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _names_only(content: Mapping[str, Any], config: DialogueConfig) -> DialogueData:
    """Data of a checkpoint: what its numbers mean, without sequences, which sampling needs none of."""
    nothing = Sequences.none(config.sequence_length)
    words = Tokenizer(tuple(content["words"]))
    return DialogueData(nothing, nothing, words, tuple(content["characters"]), tuple(content["scenes"]))


def _chosen_config(options: TrainOptions, resumed: Mapping[str, Any] | None) -> DialogueConfig:
    """Take the preset's configuration or, without a preset, the resumed checkpoint's; then what else was chosen."""
    config = options.config_over(resumed, DialogueConfig)
    if options.config is not None:
        config = config.changed_by(options.config)
    return config if options.epochs is None else config.replace(adversarial_epochs=options.epochs)


def _refuse_used_folder(paths: Sequence[Path]) -> None:
    """Refuse a folder that holds another training's checkpoints."""
    for path in paths:
        if path.exists():
            mend = "choose another folder with --out, or continue with --resume"
            raise BadInput("holds a checkpoint already", str(path), mend)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what the command line is for
