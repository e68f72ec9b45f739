"""Generate the published JSON schema of a record from its types: ``python -m speedclaims.record.schema``."""

import argparse
import inspect
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from speedclaims import boundary
from speedclaims.errors import SpeedclaimsError
from speedclaims.record.files import holds, refuse_foreign, write_text
from speedclaims.record.io import SCHEMA_PATH, SCHEMA_VERSION
from speedclaims.record.json_types import JsonObject
from speedclaims.record.types import Record

_NAMESPACE = "urn:speedclaims:record:"
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def schema() -> JsonObject:
    """Return the JSON schema (draft 7) of a record of this version."""
    definitions: JsonObject = {}
    whole = _object(Record, definitions)
    del whole["additionalProperties"]  # pytest-benchmark and other plugins add keys of their own
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": f"{_NAMESPACE}{SCHEMA_VERSION}",
        "title": "speedclaims record",
        **whole,
        "definitions": dict(sorted(definitions.items())),
    }


def text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _object(kind: type, definitions: JsonObject) -> JsonObject:
    hints = get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(kind) or "").split()),
        "properties": {name: _of(hint, definitions) for name, hint in hints.items()},
        "required": [name for name in hints if name in vars(kind)["__required_keys__"]],
        "additionalProperties": False,
    }


def _of(hint: object, definitions: JsonObject) -> JsonObject:  # noqa: PLR0911 - one for each kind of type
    """Return the schema of a field's type.

    Raises:
        TypeError: JSON has no such type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (NotRequired, Required):
        return _of(arguments[0], definitions)
    if origin is Annotated:
        described, *metadata = arguments
        return _annotated(_of(described, definitions), metadata)
    if isinstance(hint, type) and is_typeddict(hint):
        definitions.setdefault(hint.__name__, _object(hint, definitions))
        return {"$ref": f"#/definitions/{hint.__name__}"}
    if origin is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"type": "string", "enum": list(arguments)}
    if origin in (types.UnionType, Union):
        return {"type": [_KINDS[one] for one in arguments]}
    if origin is list:
        return {"type": "array", "items": _of(arguments[0], definitions)}
    if origin is dict:
        values = {} if arguments[1] is Any else {"additionalProperties": _of(arguments[1], definitions)}
        return {"type": "object", **values}
    if hint in _KINDS:
        return {"type": _KINDS[hint]}
    raise TypeError(f"{hint!r} has no JSON schema: use a TypedDict, list, dict, Literal or a plain type")


def _annotated(found: JsonObject, metadata: Sequence[str | JsonObject]) -> JsonObject:
    """Return a schema with a field's description and keywords; draft 7 ignores what is next to a reference."""
    found = {"allOf": [found]} if "$ref" in found else found
    for one in metadata:
        found.update({"description": one} if isinstance(one, str) else one)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schema and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m speedclaims.record.schema", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=SCHEMA_PATH, help="default: the published one")

    def command() -> int:
        file = parser.parse_args(arguments).file
        refuse_foreign(file, holds(_NAMESPACE.encode()), "a schema of records")
        write_text(file, text())
        return 0

    return boundary.run(command, SpeedclaimsError, "speedclaims")


if __name__ == "__main__":
    sys.exit(main())
