"""Checkpoints that are written whole or not at all, notice any damage, and are read as data only.

A file is a safetensors file, so that any tool for that format reads its weights. A tensor's name is the dotted path of
its value, such as `state.generator.0.weight`. The metadata has one entry, `trainers`, which is JSON: a SHA-256, and the
tree of values, in which every container, array and tensor is an object with one key that names its kind. The SHA-256 is
that of the tree's text and of all names, shapes and bytes. Nothing in a file names code, so reading one runs none.
Files of the format before safetensors are read too.

PyTorch is imported only to read or write tensors of its own. Tensors come back on the CPU, with their dtype.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import secrets
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, TensorSpec, deserialize, serialize

from trainers.contract import BadInput

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["dumps", "load", "loads", "make_folder", "occupied", "save", "write"]

_METADATA = "__metadata__"  # the format's own entry of a header
_ENTRY = "trainers"
_SIGNED = re.compile(r'\A\{"sha256":"([0-9a-f]{64})","tree":(.*)\}\Z', re.DOTALL)
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000  # readers of safetensors refuse a longer one

_OLD_MARK = b"trainer1"
_OLD_START = len(_OLD_MARK) + _LENGTH.size
_OLD_HEADER = _OLD_START + hashlib.sha256().digest_size

_TENSOR_DTYPES = frozenset({
    "bool", "uint8", "int8", "int16", "int32", "int64",
    "bfloat16", "float16", "float32", "float64", "complex64", "complex128",
})  # fmt: skip
_STORED_DTYPES = _TENSOR_DTYPES - {"complex128"} | {"uint16", "uint32", "uint64"}
"""Dtypes that safetensors knows; the others are stored as bytes."""


class _Stored(NamedTuple):
    """Hold one tensor as it is stored in a file."""

    dtype: str
    shape: list[int]
    content: Any  # an array of bytes to be written, a bytearray that was read


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


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Make a folder for files to come, and keep other trainings out of it meanwhile, where the system has locks.

    A folder that it made goes again where nothing came into it before an error.

    Raises:
        BadInput: it cannot be written, or another training is writing there.

    """
    is_new = not folder.exists()
    make_folder(folder)
    handle = None if fcntl is None else os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInput(
                    "another training writes here", str(folder), "choose another folder with --out"
                ) from error
            except OSError:  # a file system without locks
                pass
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()
        raise
    finally:
        if handle is not None:
            os.close(handle)  # this gives the lock back


def dumps(tree: Any) -> bytes:
    """Return the bytes of a checkpoint file.

    Raises:
        TypeError: as `save`.

    """
    stored: dict[str, _Stored] = {}
    text = json.dumps(_encode(tree, (), stored), separators=(",", ":"))
    specs = {
        name: TensorSpec(dtype=dtype, shape=shape, data_ptr=content.ctypes.data, data_len=content.nbytes)
        for name, (dtype, shape, content) in stored.items()
    }
    content = serialize(specs, {_ENTRY: f'{{"sha256":"{_digest(text, stored)}","tree":{text}}}'})
    if _LENGTH.unpack_from(content)[0] > _LONGEST_HEADER:
        raise TypeError("checkpoint holds too many values outside of arrays: put long lists of numbers into arrays")
    return content


def loads(content: bytes, where: str) -> Any:
    """Return the tree in the bytes of a checkpoint file; `where` is what error messages call it.

    Raises:
        BadInput: as `load`.

    """
    if content.startswith(_OLD_MARK):
        return _loads_old(content, where)
    try:
        header = json.loads(content[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(content)[0]])
        ((digest, text),) = _SIGNED.findall(header[_METADATA][_ENTRY])
    except (ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
        what = "is no checkpoint of these trainers, or a damaged one"
        raise BadInput(what, where, "give a file that train wrote") from error
    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise BadInput("checkpoint is cut short or damaged", where, "use another checkpoint") from error
    stored = {name: _Stored(entry["dtype"], entry["shape"], entry["data"]) for name, entry in found}
    if _digest(text, stored) != digest:
        raise BadInput("checkpoint is damaged, its checksum is wrong", where, "use another checkpoint")
    return _decoded(text, lambda name: stored.pop(name).content, where)


def _loads_old(content: bytes, where: str) -> Any:
    """Read the format before safetensors.

    A file is a mark, the length of the body, the SHA-256 of all else, and the body: the length of the tree's text, that
    text, and the bytes of all arrays in the order in which the tree has them.
    """
    start, body = content[:_OLD_START], memoryview(content)[_OLD_HEADER:]
    if len(content) < _OLD_HEADER or len(body) != _LENGTH.unpack(start[len(_OLD_MARK) :])[0]:
        raise BadInput("checkpoint is cut short or damaged", where, "use another checkpoint")
    if hashlib.sha256(start + body).digest() != content[_OLD_START:_OLD_HEADER]:
        raise BadInput("checkpoint is damaged, its checksum is wrong", where, "use another checkpoint")
    rest = io.BytesIO(body)
    text = rest.read(_LENGTH.unpack(rest.read(_LENGTH.size))[0])
    return _decoded(text, lambda size: bytearray(rest.read(size)), where)


def _digest(text: str, stored: Mapping[str, _Stored]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(stored):
        digest.update(json.dumps([name, stored[name].shape]).encode())
        digest.update(stored[name].content)
    return digest.hexdigest()


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


def _encode(value: Any, path: tuple[str | int, ...], stored: dict[str, _Stored]) -> Any:
    """Return the JSON form of the value at a path; arrays and tensors are put into `stored`."""
    if isinstance(value, np.generic):
        kind = type(value).__name__
        raise TypeError(f"{_where(path)} is a NumPy scalar ({kind}): convert it to a Python number first")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, dict):
        return {"dict": [[_key(key, path), _encode(each, (*path, key), stored)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(each, (*path, index), stored) for index, each in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise TypeError(f"{_where(path)} is an array of {value.dtype}, not of numbers")
        content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        name = value.dtype.name if value.dtype.isnative else "bytes"
        return {"array": [value.dtype.str, list(value.shape), _store(name, value.shape, content, path, stored)]}
    torch = sys.modules.get("torch")  # who holds a tensor has imported PyTorch already
    if torch is not None and isinstance(value, torch.Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in _TENSOR_DTYPES or value.layout is not torch.strided:
            what = f"a tensor of {value.dtype} and {value.layout}"
            raise TypeError(f"{_where(path)} is {what}, which a checkpoint cannot hold")
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        # By way of bytes, because NumPy has no bfloat16.
        content = plain.view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
        return {"tensor": [name, list(value.shape), _store(name, value.shape, content, path, stored)]}
    raise TypeError(f"{_where(path)} is a {type(value).__name__}, which a checkpoint cannot hold")


def _where(path: tuple[object, ...]) -> str:
    return "checkpoint" + "".join(f"[{key!r}]" for key in path)


def _key(key: object, path: tuple[object, ...]) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"{_where(path)} has the key {key!r}; a checkpoint holds strings and integers only")
    return key


def _store(
    dtype: str, shape: Sequence[int], content: "NDArray[np.uint8]", path: tuple[object, ...], stored: dict[str, _Stored]
) -> str:
    """Keep one tensor under the dotted path of its value, made printable and unique; return that name."""
    name = "".join(each if each.isprintable() else "?" for each in ".".join(map(str, path))) or "value"
    while name in stored or name == _METADATA:
        name += "_"
    is_known = dtype in _STORED_DTYPES
    stored[name] = _Stored(dtype if is_known else "uint8", list(shape if is_known else content.shape), content)
    return name


def _decoded(text: str | bytes, take: Callable[[Any], bytearray], where: str) -> Any:
    """Return the tree of a text; `take` gives the bytes of an array by the size or the name that the tree states."""

    def decode(node: Any) -> Any:
        if node is None or isinstance(node, bool | int | float | str):
            return node
        ((kind, value),) = node.items()
        return readers[kind](value)

    readers: dict[str, Callable[[Any], Any]] = {
        "float": float,
        "dict": lambda value: {key: decode(each) for key, each in value},
        "list": lambda value: [decode(each) for each in value],
        "tuple": lambda value: tuple(decode(each) for each in value),
        "array": lambda value: _array(take, *value),
        "tensor": lambda value: _tensor(take, *value),
    }
    try:
        return decode(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # The checksum is right, so nothing was damaged: somebody else wrote a file that looks like ours.
        raise BadInput(f"checkpoint's content is malformed ({error})", where, "give a file that train wrote") from error


def _array(take: Callable[[Any], bytearray], dtype: str, shape: list[int], reference: str | int) -> Any:
    kind = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise ValueError(f"an array of {kind}")
    return np.frombuffer(take(reference), kind).reshape(shape)


def _tensor(take: Callable[[Any], bytearray], name: str, shape: list[int], reference: str | int) -> Any:
    import torch  # noqa: PLC0415 - only files with tensors need it

    if name not in _TENSOR_DTYPES:
        raise ValueError(f"a tensor of {name}")
    content, dtype = take(reference), getattr(torch, name)
    return torch.frombuffer(content, dtype=dtype).reshape(shape) if content else torch.empty(shape, dtype=dtype)
