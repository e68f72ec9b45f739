"""Checkpoints that are written whole or not at all, notice any damage, and are read as data only.

A file is a header and a body. The header is a mark (8 bytes), the length of the body (8 bytes, little endian) and the
SHA-256 (32 bytes) of mark, length and body. The body is the length of the manifest (8 bytes), the manifest, and the raw
bytes of all arrays. The manifest is JSON: the tree of values, in which every container, array and tensor is an object
with one key that names its kind. Nothing in a file names code, so reading one runs none.

PyTorch is imported only to read or write tensors of its own. Tensors come back on the CPU, with their dtype.
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainers.contract import BadInput

__all__ = ["dumps", "load", "loads", "make_folder", "save", "write"]

_MARK = b"trainer1"
_LENGTH = struct.Struct("<Q")
_DIGEST_SIZE = hashlib.sha256().digest_size
_HEADER_SIZE = len(_MARK) + _LENGTH.size + _DIGEST_SIZE

_TENSOR_DTYPES = frozenset({
    "bool", "uint8", "int8", "int16", "int32", "int64",
    "bfloat16", "float16", "float32", "float64", "complex64", "complex128",
})  # fmt: skip


def save(path: Path, tree: Any) -> None:
    """Write a tree of plain data to a file, atomically: see `write`.

    Args:
        path: where to; its folder must exist. An existing file is replaced.
        tree: nested dicts, lists and tuples of None, booleans, integers, floats, strings, NumPy arrays of numbers and
            PyTorch tensors. The keys of a dict are strings or integers.

    Raises:
        BadInput: the file cannot be written: no room, no permission, no such folder. An old file is left as it was.
        TypeError: the tree holds something else; the message says where.

    """
    write(path, dumps(tree))


def write(path: Path, content: bytes) -> None:
    """Write bytes to a file, atomically.

    The bytes go to a temporary file next to `path`, are forced to the disk, and take its name in one step: whenever the
    process or the machine dies, the file is the old one or the new one.

    Raises:
        BadInput: as `save`.

    """
    path = path.resolve()  # the file behind a link is replaced, not the link
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        _write_durably(temporary, content)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise BadInput(what, str(path), "choose a folder you may write to, with room") from error
    finally:
        # Also after an interrupt; once the file has taken its name there is nothing left to remove.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(path: Path) -> Any:
    """Read what `save` wrote.

    Raises:
        BadInput: the file cannot be read, was not written by `save`, or has changed since in as much as one bit.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"cannot be read ({reason})", str(path), "give the path of a checkpoint") from error
    return loads(content, str(path))


def make_folder(folder: Path) -> None:
    """Make a folder for files to come, and find out before hours of work whether they can be written there.

    Raises:
        BadInput: they cannot.

    """
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_durably(probe, b"")
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise BadInput(what, str(folder), "choose a folder you may write to, with room") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def dumps(tree: Any) -> bytes:
    """Bytes of a checkpoint file.

    Raises:
        TypeError: as `save`.

    """
    arrays: list[bytes] = []
    manifest = json.dumps(_encode(tree, arrays, "checkpoint"), separators=(",", ":")).encode()
    body = b"".join([_LENGTH.pack(len(manifest)), manifest, *arrays])
    start = _MARK + _LENGTH.pack(len(body))
    return start + _digest(start, memoryview(body)) + body


def loads(content: bytes, where: str) -> Any:
    """Tree in the bytes of a checkpoint file; `where` is what error messages call it.

    Raises:
        BadInput: as `load`.

    """
    if not content.startswith(_MARK):
        raise BadInput("is no checkpoint of these trainers", where, "give a file that train wrote")
    start, body = content[: len(_MARK) + _LENGTH.size], memoryview(content)[_HEADER_SIZE:]
    if len(content) < _HEADER_SIZE or len(body) != _LENGTH.unpack(start[len(_MARK) :])[0]:
        raise BadInput("checkpoint is cut short or damaged", where, "use another checkpoint")
    if _digest(start, body) != content[len(start) : _HEADER_SIZE]:
        raise BadInput("checkpoint is damaged, its checksum is wrong", where, "use another checkpoint")
    try:
        manifest_end = _LENGTH.size + _LENGTH.unpack(body[: _LENGTH.size])[0]
        return _Decoder(body[manifest_end:]).decode(json.loads(bytes(body[_LENGTH.size : manifest_end])))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        # The checksum is right, so nothing was damaged: somebody else wrote a file that looks like ours.
        raise BadInput(f"checkpoint's content is malformed ({error})", where, "give a file that train wrote") from error


def _digest(start: bytes, body: memoryview) -> bytes:
    digest = hashlib.sha256(start)
    digest.update(body)
    return digest.digest()


def _write_durably(path: Path, content: bytes) -> None:
    # O_EXCL: never through a link that somebody else put there. The mode leaves the permissions to the umask.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Force the new name to the disk; without it, the file could come back under its old content after a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode(value: Any, arrays: list[bytes], where: str) -> Any:
    """JSON form of `value`; the bytes of arrays are appended to `arrays`."""
    if isinstance(value, np.generic):
        raise TypeError(f"{where} is a NumPy scalar ({type(value).__name__}): convert it to a Python number first")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, dict):
        return {"dict": [[_key(key, where), _encode(each, arrays, f"{where}[{key!r}]")] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(each, arrays, f"{where}[{index}]") for index, each in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise TypeError(f"{where} is an array of {value.dtype}, not of numbers")
        return {"array": [value.dtype.str, list(value.shape), _append(value.tobytes(), arrays)]}
    torch = sys.modules.get("torch")  # who holds a tensor has imported PyTorch already
    if torch is not None and isinstance(value, torch.Tensor):
        return {"tensor": _encode_tensor(torch, value, arrays, where)}
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")


def _key(key: object, where: str) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"{where} has the key {key!r}; a checkpoint holds strings and integers only")
    return key


def _encode_tensor(torch: Any, tensor: Any, arrays: list[bytes], where: str) -> list[Any]:
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _TENSOR_DTYPES or tensor.layout is not torch.strided:
        raise TypeError(f"{where} is a tensor of {tensor.dtype} and {tensor.layout}, which a checkpoint cannot hold")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    # By way of bytes, because NumPy has no bfloat16.
    content = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return [name, list(tensor.shape), _append(content, arrays)]


def _append(content: bytes, arrays: list[bytes]) -> int:
    """Keep the bytes of one array; returns how many they are."""
    arrays.append(content)
    return len(content)


class _Decoder:
    """Turns JSON back into values, taking the arrays' bytes in the order in which they were appended."""

    def __init__(self, rest: memoryview) -> None:
        self._rest = rest
        self._readers: dict[str, Callable[[Any], Any]] = {
            "float": float,
            "dict": lambda value: {key: self.decode(each) for key, each in value},
            "list": lambda value: [self.decode(each) for each in value],
            "tuple": lambda value: tuple(self.decode(each) for each in value),
            "array": lambda value: self._array(*value),
            "tensor": lambda value: self._tensor(*value),
        }

    def decode(self, node: Any) -> Any:
        if node is None or isinstance(node, bool | int | float | str):
            return node
        ((kind, value),) = node.items()
        return self._readers[kind](value)

    def _take(self, size: int) -> bytearray:
        if not 0 <= size <= len(self._rest):
            raise ValueError("an array is longer than the file")
        content, self._rest = bytearray(self._rest[:size]), self._rest[size:]
        return content

    def _array(self, dtype: str, shape: list[int], size: int) -> Any:
        kind = np.dtype(dtype)
        if kind.kind not in "biufc":
            raise ValueError(f"an array of {kind}")
        return np.frombuffer(self._take(size), kind).reshape(shape)

    def _tensor(self, name: str, shape: list[int], size: int) -> Any:
        import torch  # noqa: PLC0415 - only files with tensors need it

        if name not in _TENSOR_DTYPES:
            raise ValueError(f"a tensor of {name}")
        dtype = getattr(torch, name)
        content = self._take(size)
        return torch.frombuffer(content, dtype=dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
