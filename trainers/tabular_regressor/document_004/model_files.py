"""How networks and checkpoints are written and read.

A `.pth` file of ours is what PyTorch saves, so that `torch.load` gives the weights as it always did, with two things
more. A further record, `training`, holds all that a training needs to go on, as `trainers.common.checkpoint` writes
it; and the archive's comment holds a SHA-256 of all that precedes it. What the old program saved has neither, and
its weights can be read all the same.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.common import checkpoint
from trainers.contract import BadInput

__all__ = ["load_best_weights", "load_state_dict_safely", "load_training", "renamed_weights", "save_training"]

_MARK = b"trainer1"
_TRAILER_SIZE = len(_MARK) + hashlib.sha256().digest_size
_END_OF_ZIP = b"PK\x05\x06"
_END_OF_ZIP_SIZE = 22
_RECORD = "training"
_NESTED = ("model_state_dict", "state_dict")  # under which programs keep the weights among other things
_MEND = "give a file of weights that train or torch.save wrote"
_RENAMED = (
    (re.compile(r"input\.0\."), "input_proj."),
    (re.compile(r"input\.1\."), "input_norm."),
    (re.compile(r"blocks\.(\d+)\.layers\."), r"layers.\1."),
    (re.compile(r"output\."), "output_proj."),
)
"""Beginnings of the names that layers had in version 0.1, and what they begin with now, as in the original program."""


def save_training(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint whose weights `torch.load` can read, atomically.

    Args:
        path: where to; an existing file is replaced.
        content: what `trainers.common.checkpoint.save` takes; the weights are those in `content["state"]["model"]`.

    Raises:
        BadInput: the file cannot be written; an old one is left as it was.

    """
    archive = io.BytesIO()
    torch.save(content["state"]["model"], archive)
    with zipfile.ZipFile(archive, "a") as records:
        root = records.namelist()[0].partition("/")[0]
        records.writestr(zipfile.ZipInfo(f"{root}/{_RECORD}"), checkpoint.dumps(dict(content)))
    whole = archive.getvalue()
    # The last two bytes of an archive are the length of its comment, none so far.
    whole = whole[:-2] + _TRAILER_SIZE.to_bytes(2, "little") + _MARK
    checkpoint.write(path, whole + hashlib.sha256(whole).digest())


def load_training(path: Path) -> Any:
    """Read all that `save_training` wrote, as data only.

    Raises:
        BadInput: the file cannot be read, was not written by `save_training`, or has changed since in one bit or more.

    """
    content = _read(path)
    if not _checked(content, path):
        mend = "give a file that train wrote"
        raise BadInput("is no checkpoint of these trainers, but another program's", str(path), mend)
    with zipfile.ZipFile(io.BytesIO(content)) as records:
        (name,) = [name for name in records.namelist() if name.partition("/")[2] == _RECORD]
        return checkpoint.loads(records.read(name), str(path))


def load_state_dict_safely(file_path: str | Path, device: str | torch.device) -> dict[str, Tensor]:
    """Read the weights of a network from a file of ours or of the old program, as data only.

    Weights that another program keeps under `model_state_dict` or `state_dict`, among other things, are found there. A
    prefix `module.` that a wrapper for several GPUs has put before every name is taken off.

    Args:
        file_path: what `train_model` or `torch.save` wrote.
        device: where the weights are put.

    Returns:
        Weights by name, for `load_state_dict`.

    Raises:
        BadInput: the file cannot be read, is damaged, or holds something else than weights.

    """
    path = Path(file_path)
    content = _read(path)
    _checked(content, path)
    try:
        loaded = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:
        # Bytes of any kind make the unpickler raise errors of any kind. Their first line says what it is about; the
        # others speak of unsafe loading.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(f"is no readable file of weights ({reason})", str(path), _MEND) from error
    return renamed_weights(_without_prefix(_weights(loaded, path)))


def load_best_weights(model: nn.Module, path: Path) -> None:
    """Load the weights that an earlier training of the same model name left behind, if it did.

    Args:
        model: the network.
        path: the file.

    Raises:
        BadInput: as `load_state_dict_safely`, or the weights are of a network of another size.

    """
    if not path.exists():
        return
    weights = load_state_dict_safely(path, next(model.parameters()).device)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if {name: tuple(value.shape) for name, value in weights.items()} != expected:
        mend = "remove the file, choose another model_name, or give the sizes that it was trained with"
        raise BadInput("holds the weights of a network of another size", str(path), mend)
    model.load_state_dict(weights)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"cannot be read ({reason})", str(path), "give the path of a model or checkpoint") from error


def _checked(content: bytes, path: Path) -> bool:
    """Whether the file is one of ours, whole; False for another program's, BadInput for a damaged one of either."""
    trailer = content[-_TRAILER_SIZE:]
    if trailer.startswith(_MARK):
        start = content[: len(_MARK) - _TRAILER_SIZE]
        if hashlib.sha256(start).digest() != trailer[len(_MARK) :]:
            raise BadInput("checkpoint is damaged, its checksum is wrong", str(path), "use another checkpoint")
        return True
    if not content.startswith(b"PK"):
        # Files of PyTorch before 1.6 are no archives; they have no sums that could be checked.
        return False
    end = content[-_END_OF_ZIP_SIZE:]
    if not end.startswith(_END_OF_ZIP) or end[-2:] != b"\0\0" or not _sums_agree(content):
        raise BadInput("is cut short or damaged", str(path), "use another file")
    return False


def _sums_agree(content: bytes) -> bool:
    """Whether every record of an archive has the CRC-32 that is stated for it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            return records.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RuntimeError):
        return False


def _weights(loaded: Any, path: Path) -> dict[str, Tensor]:
    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded:
        raise BadInput(f"holds no weights, but a {type(loaded).__name__}", str(path), _MEND)
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise BadInput(f"holds no weights: {name!r} is a {type(value).__name__}", str(path), _MEND)
    return dict(loaded)


def renamed_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights of any version of this package under the names that the network's layers have now."""

    def new_name(name: str) -> str:
        return next((old.sub(new, name, count=1) for old, new in _RENAMED if old.match(name)), name)

    return {new_name(name): value for name, value in weights.items()}


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(name.startswith("module.") for name in weights):
        return weights
    return {name.removeprefix("module."): value for name, value in weights.items()}
