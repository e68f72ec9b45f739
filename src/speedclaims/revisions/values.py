"""Send what a function returned to another process as data, and compare it there.

Nothing is pickled: the classes of the other side may be others, or may be gone. Numbers, texts, bytes, containers,
dataclasses, NumPy's arrays and the tensors of PyTorch and TensorFlow can be sent. Other objects are named by their
type, and are not compared.
"""

import base64
import cmath
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import ModuleType
from typing import TYPE_CHECKING

from speedclaims.errors import SpeedclaimsError, shown
from speedclaims.record.json_types import Json

if TYPE_CHECKING:
    from speedclaims.record.types import Equivalence

MOST_BYTES = 64 * 2**20
"""A value that takes more is not sent."""

_MOST_DEPTH = 60

_TOLERANCES = {"float16": 1e-3, "bfloat16": 1.6e-2, "float32": 1.3e-6, "complex64": 1.3e-6}
"""Relative tolerances by type, as of torch.testing.assert_close; for float64 and Python's floats it is 1e-7."""
_FINEST = 1e-7
_ABSOLUTE = {1e-3: 1e-5, 1.6e-2: 1e-5, 1.3e-6: 1e-5, _FINEST: 1e-7}

_AS_TEXT = (
    decimal.Decimal,
    fractions.Fraction,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    pathlib.PurePath,
)


class UnsendableError(SpeedclaimsError):
    """A value that cannot be sent as data."""


def encode(value: object) -> Json:
    """Return a value as JSON, a list of a tag and its parts.

    Raises:
        UnsendableError: it holds an object of a type that cannot be sent, or too much.
    """
    return _encoded(value, 0, _Budget())


class _Budget:
    def __init__(self) -> None:
        self.left = MOST_BYTES

    def take(self, number: int) -> None:
        self.left -= number
        if self.left < 0:
            raise UnsendableError(f"returns more than {MOST_BYTES // 2**20} MiB")


def _encoded(value: object, depth: int, budget: _Budget) -> Json:
    if depth > _MOST_DEPTH:
        raise UnsendableError("returns containers that are nested too deeply, or hold themselves")
    budget.take(16)
    array = _as_array(value)
    if array is not None:
        return _encoded_array(array, budget)
    for encoder in (_encoded_plain, _encoded_number):
        found = encoder(value, budget)
        if found is not None:
            return found
    return value if value is None or isinstance(value, bool) else _encoded_container(value, depth + 1, budget)


def _encoded_plain(value: object, budget: _Budget) -> Json:
    """Return a text, bytes, an enumeration's member, or what has one text for each value; None for others."""
    if isinstance(value, enum.Enum):
        return ["enum", type(value).__qualname__, value.name]
    if isinstance(value, str):
        budget.take(len(value))
        return ["str", str(value)]
    if isinstance(value, bytes | bytearray | memoryview):
        budget.take(len(value))
        return ["bytes", base64.b64encode(value).decode()]
    return ["text", type(value).__name__, str(value)] if isinstance(value, _AS_TEXT) else None


def _encoded_number(value: object, _: _Budget) -> Json:
    """Return a number; None for others."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return ["int", str(int(value))]
    if isinstance(value, float):
        return ["float", float(value).hex()]
    return ["complex", value.real.hex(), value.imag.hex()] if isinstance(value, complex) else None


def _encoded_container(value: object, depth: int, budget: _Budget) -> Json:
    kind = type(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.compare}
        return ["object", kind.__qualname__, [[name, _encoded(one, depth, budget)] for name, one in fields.items()]]
    if isinstance(value, Mapping):
        return ["dict", [[_encoded(key, depth, budget), _encoded(one, depth, budget)] for key, one in value.items()]]
    for tag, one_kind in (("set", AbstractSet), ("list", list), ("tuple", tuple)):
        if isinstance(value, one_kind):
            return [tag, [_encoded(one, depth, budget) for one in value]]
    raise UnsendableError(f"returns {_named(kind)}, which cannot be compared as data")


def _named(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _as_array(value: object) -> object | None:
    """Return a tensor, an array or one of NumPy's scalars as an array of NumPy, None for anything else."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, numpy.ndarray | numpy.generic):
        return numpy.asarray(value)  # type: ignore[no-any-return]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
        tensor: Json = value
        plain = tensor.detach().cpu()
        if plain.is_sparse:
            plain = plain.to_dense()
        try:
            return plain.numpy()  # type: ignore[no-any-return]
        except TypeError:  # NumPy has no bfloat16
            return plain.float().numpy()  # type: ignore[no-any-return]
    if callable(getattr(type(value), "__array__", None)) and hasattr(value, "dtype") and hasattr(value, "shape"):
        return numpy.asarray(value)  # type: ignore[no-any-return]
    return None


def _encoded_array(array: object, budget: _Budget) -> Json:
    numpy = _numpy()
    if array.dtype.hasobject:  # type: ignore[attr-defined]
        raise UnsendableError("returns an array of Python objects, which cannot be compared as data")
    budget.take(array.nbytes)  # type: ignore[attr-defined]
    out = io.BytesIO()
    numpy.lib.format.write_array(out, numpy.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)  # type: ignore[attr-defined]
    return ["array", base64.b64encode(out.getvalue()).decode()]


def _numpy() -> ModuleType:
    import numpy  # noqa: ICN001, PLC0415 - only where an array is there already

    return numpy


def compare(before: Json, after: Json) -> "tuple[Equivalence, list[str]]":
    """Return whether two encoded values are equal, floating point within the tolerance of its type; with where not.

    Types of containers, shapes and keys must be equal, types of numbers need not be.
    """
    difference = next(_differences(before, after, ""), None)
    return ("passed", []) if difference is None else ("failed", [difference])


def _differences(before: Json, after: Json, where: str) -> Iterator[str]:
    at = _at(where)
    kinds = {one[0] if isinstance(one, list) else None for one in (before, after)}
    if kinds <= {"float", "int", "complex"}:
        if not _close(_number(before), _number(after)):
            yield f"{_told(before)} became {_told(after)}{at}"
    elif len(kinds) > 1:
        yield f"{_told(before)} became {_told(after)}{at}"
    elif kinds <= _INSIDE.keys():
        (tag,) = kinds
        yield from _INSIDE[str(tag)](before, after, where)
    elif before != after:
        yield f"{_told(before)} became {_told(after)}{at}"


def _list_differences(before: Json, after: Json, where: str) -> Iterator[str]:
    if len(before[1]) != len(after[1]):
        yield f"{len(before[1])} items became {len(after[1])}{_at(where)}"
    for place, (one, other) in enumerate(zip(before[1], after[1], strict=False)):
        yield from _differences(one, other, f"{where}[{place}]")


def _object_differences(before: Json, after: Json, where: str) -> Iterator[str]:
    if before[1] != after[1]:
        yield f"{before[1]} became {after[1]}{_at(where)}"
    yield from _named_differences(dict(before[2]), dict(after[2]), where)


def _at(where: str) -> str:
    return f" at {where}" if where else ""


def _dict_differences(before: Json, after: Json, where: str) -> Iterator[str]:
    sides = [{_key(key): one for key, one in side[1]} for side in (before, after)]
    yield from _named_differences(sides[0], sides[1], where)


def _named_differences(before: dict[str, Json], after: dict[str, Json], where: str) -> Iterator[str]:
    at = _at(where)
    for words, names in (("gone", before.keys() - after.keys()), ("new", after.keys() - before.keys())):
        if names:
            yield f"{', '.join(sorted(names)[:3])} {'is' if len(names) == 1 else 'are'} {words}{at}"
    for name, one in before.items():
        if name in after:
            yield from _differences(one, after[name], f"{where}[{name}]")


def _set_differences(before: Json, after: Json, where: str) -> Iterator[str]:
    at = _at(where)
    sides = [{_key(one) for one in side[1]} for side in (before, after)]
    for words, left in (("gone", sides[0] - sides[1]), ("new", sides[1] - sides[0])):
        if left:
            yield f"{', '.join(sorted(left)[:3])} {'is' if len(left) == 1 else 'are'} {words}{at}"


def _key(encoded: Json) -> str:
    return _told(encoded) if isinstance(encoded, list) and encoded[0] in {"str", "int", "float"} else str(encoded)


def _array_differences(before: Json, after: Json, where: str) -> Iterator[str]:
    numpy, at = _numpy(), _at(where)
    one, other = (
        numpy.lib.format.read_array(io.BytesIO(base64.b64decode(side[1])), allow_pickle=False)
        for side in (before, after)
    )
    if one.shape != other.shape:
        yield f"the shape {one.shape} became {other.shape}{at}"
        return
    if one.dtype.kind not in "fc" and other.dtype.kind not in "fc":
        wrong = one != other
    else:
        relative = max(_TOLERANCES.get(str(side.dtype), _FINEST) for side in (one, other))
        close = numpy.isclose(one, other, rtol=relative, atol=_ABSOLUTE[relative], equal_nan=True)
        wrong = ~numpy.asarray(close)
    number = int(numpy.count_nonzero(wrong))
    if number:
        place = tuple(int(index) for index in numpy.argwhere(wrong)[0])
        values = f"{one[place]} became {other[place]}"
        yield f"{number} of {one.size} values differ{at}, first {list(place)}: {values}"


_INSIDE: dict[str, Callable[[Json, Json, str], Iterator[str]]] = {
    "array": _array_differences,
    "dict": _dict_differences,
    "set": _set_differences,
    "list": _list_differences,
    "tuple": _list_differences,
    "object": _object_differences,
}


def _number(encoded: Json) -> complex:
    tag, *parts = encoded
    if tag == "int":
        return int(parts[0])
    return float.fromhex(parts[0]) if tag == "float" else complex(*map(float.fromhex, parts))


def _close(before: complex, after: complex) -> bool:
    if before == after or (cmath.isnan(before) and cmath.isnan(after)):
        return True
    if isinstance(before, int) and isinstance(after, int):
        return False
    if isinstance(before, complex) or isinstance(after, complex):
        return cmath.isclose(before, after, rel_tol=_FINEST, abs_tol=_ABSOLUTE[_FINEST])
    return math.isclose(before, after, rel_tol=_FINEST, abs_tol=_ABSOLUTE[_FINEST])


def _told(encoded: Json) -> str:
    if not isinstance(encoded, list):
        return str(encoded)
    tag, *parts = encoded
    if tag in {"int", "float", "complex"}:
        return f"{_number(encoded)}"
    if tag in {"str", "bytes"}:
        return shown(parts[0]) if tag == "str" else f"{len(base64.b64decode(parts[0]))} bytes"
    if tag in {"list", "tuple", "set", "dict"}:
        return f"a {tag} of {len(parts[0])}"
    if tag == "array":
        return "an array"
    return str(parts[-1]) if tag in {"enum", "text"} else str(parts[0])


def decode(encoded: Json) -> object:
    """Return the value that was encoded: objects and enumerations become mappings and texts."""
    if not isinstance(encoded, list):
        return encoded
    tag, *parts = encoded
    decoder = _DECODERS.get(tag)
    return parts[-1] if decoder is None else decoder(encoded)


_DECODERS: dict[str, Callable[[Json], object]] = {
    "int": _number,
    "float": _number,
    "complex": _number,
    "bytes": lambda encoded: base64.b64decode(encoded[1]),
    "array": lambda encoded: _numpy().lib.format.read_array(
        io.BytesIO(base64.b64decode(encoded[1])), allow_pickle=False
    ),
    "list": lambda encoded: list(map(decode, encoded[1])),
    "tuple": lambda encoded: tuple(map(decode, encoded[1])),
    "set": lambda encoded: set(map(decode, encoded[1])),
    "dict": lambda encoded: {decode(key): decode(one) for key, one in encoded[1]},
    "object": lambda encoded: {name: decode(one) for name, one in encoded[2]},
}
"""By tag; texts and others are their last part."""
