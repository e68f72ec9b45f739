"""Read files that people give: texts, JSON, and the line that says what a reader leaves out. Imports no framework."""

import codecs
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainers.contract import BadInput

__all__ = ["LeftOut", "is_too_much", "read_json", "read_text", "refuse_other_encodings", "some_of"]

_MOST_LEFT_OUT = 0.01
_NAMED = 3  # how many of many a message names
_OTHER_MARKS = {  # UTF-32's first: the little-endian one begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def is_too_much(num_left_out: int, num_items: int) -> bool:
    """Whether more than 1% of a file's items are left out, at which a reader stops."""
    return num_left_out > _MOST_LEFT_OUT * num_items


def some_of(entries: Sequence[str]) -> str:
    """Name the first three of many entries, and say how many more there are."""
    rest = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return ", ".join(entries[:_NAMED]) + rest


class LeftOut:
    """Collect the items that a reader leaves out, by the reason, for one line at the end.

    Args:
        kind: name of the items, in the plural.

    """

    def __init__(self, kind: str) -> None:
        """Start with nothing left out."""
        self._kind = kind
        self._places: dict[str, list[str]] = {}

    def __len__(self) -> int:
        """Count the items that are left out."""
        return sum(map(len, self._places.values()))

    def count(self, reason: str) -> int:
        """Count the items that are left out for one reason."""
        return len(self._places.get(reason, ()))

    def add(self, place: str, reason: str) -> None:
        """Note one item: where it is, such as `line 3`, and why it is left out."""
        self._places.setdefault(reason, []).append(place)

    def out_of(self, num_items: int) -> str:
        """Say how many of all items are left out, why, and which."""
        reasons = "; ".join(
            f"{len(places)} {reason} ({some_of(places)})" for reason, places in sorted(self._places.items())
        )
        return f"{len(self)} of {num_items} {self._kind} are left out: {reasons}"


def refuse_other_encodings(start: bytes, path: Path) -> None:
    """Refuse a file whose first four bytes are the byte-order mark of an encoding other than UTF-8.

    Raises:
        BadInput: they are; it names the encoding.

    """
    for mark, name in _OTHER_MARKS.items():
        if start.startswith(mark):
            raise BadInput(f"is {name} text", str(path), "save it as UTF-8")


def read_text(path: Path, mend: str) -> str:
    """Read a text file in UTF-8, with or without a byte-order mark.

    Args:
        path: of the file.
        mend: how to correct a file that is no text at all.

    Raises:
        BadInput: the file cannot be read, is empty, or is no text in UTF-8.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror or error})", str(path), mend) from error
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise BadInput("is empty", str(path), mend)
    refuse_other_encodings(content[:4], path)
    if b"\0" in content:
        raise BadInput("is no text, it holds zero bytes", str(path), mend)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"is no UTF-8 text (byte {error.start})", str(path), "save it as UTF-8") from error


def read_json(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Args:
        path: of the file.
        parse_constant: takes `NaN`, `Infinity` and `-Infinity`; as it is for `json.loads`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON, is nested too deeply, or an object in it has one name twice, which hides a value.

    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return values
