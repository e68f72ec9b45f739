"""Write the pages of the reference that follow from the code: options, markers, commands and the record.

`python docs/reference/generate.py` writes them, and `--check` says which are out of date.
"""

import argparse
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from speedclaims import boundary, cli, options
from speedclaims.boundary import complain
from speedclaims.errors import SpeedclaimsError
from speedclaims.fixtures.compare import Compare
from speedclaims.fixtures.comparison import CaseResult, Comparison
from speedclaims.fixtures.figure import Figure
from speedclaims.fixtures.pair import Pair, Result
from speedclaims.measure.alternatives import Ratio
from speedclaims.record import schema
from speedclaims.record.files import write_text
from speedclaims.record.json_types import JsonObject

HERE = Path(__file__).parent
_BY = "<!-- Written by docs/reference/generate.py. -->"
_CODES = """\
## Exit codes

{}

`python -m trainers` and `python -m bench...` have the same ones; trainers that SIGTERM stopped end with 143. pytest
ends with 4 where the plugin cannot use its input or write its report, and with 70 where the plugin itself failed.

## Outputs

No output replaces an input, the base of the gate, or a file that an earlier run did not write. Where the report's
folder holds the base of the gate, the new record is `record.new.json`. A file is written whole or not at all.
"""

_RECORD = f"""\
# The record

{_BY}

A run's record is pytest-benchmark's JSON with one more key, `speedclaims`. A value that could not be measured is null,
with a reason. `record.schema.json` in the package is the JSON schema.
"""

_FIXTURES = f"""\
# Fixtures

{_BY}
"""

_LABELS = """\
## pair_labels

Override this fixture in a `conftest.py` to label the rows of all pairs with a `family`, a `preset` and a `device`:

```python
import pytest


@pytest.fixture
def pair_labels():
    return {"preset": "large", "device": "cuda"}
```
"""

_MARKERS = [text for name, text in vars(options).items() if name.endswith("_HELP") and isinstance(text, str)]


def options_page() -> str:
    """Return the page of pytest's options, of the ini file's and of the markers."""
    parser = pytest.Parser(_ispytest=True)
    options.pytest_addoption(parser)
    lines = ["# Options and markers", "", _BY, "", "## Options of pytest", ""]
    for action in parser.optparser._actions:  # noqa: SLF001 - argparse publishes no list
        name = next(iter(action.option_strings), "")
        if action.help is argparse.SUPPRESS or not name.startswith("--speedup"):
            continue
        takes = f"[={action.metavar}]" if action.nargs == "?" else f" {action.metavar}" if action.metavar else ""
        lines.append(f"- `{name}{takes}`: {_sentence((action.help or '') % vars(action))}")
    lines += ["", "## Options of the ini file", ""]
    for name, (text, kind, _) in parser._inidict.items():  # noqa: SLF001 - likewise
        lines.append(f"- `{name}` ({kind}): {_sentence(text)}")
    lines += ["", "## Markers", ""]
    for text in _MARKERS:
        name, _, rest = text.partition(": ")
        lines.append(f"- `@pytest.mark.{name}`: {_sentence(rest)}")
    return "\n".join(lines)


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return line[:1].upper() + line[1:] + ("" if line.endswith(".") else ".")


def fixtures_page() -> str:
    """Return the page of the fixtures, from their docstrings."""
    lines = [_FIXTURES]
    results: dict[str, tuple[type, ...]] = {"pair": (Result,), "compare": (Comparison, CaseResult, Ratio)}
    for name, function in (("pair", Pair.__call__), ("compare", Compare.__call__), ("figure", Figure.__call__)):
        told, sections = _docstring(function)
        lines += [f"## {name}", "", told, "", "| argument | meaning |", "| --- | --- |"]
        lines += [f"| `{argument}` | {_cell(text)} |" for argument, text in sections["Args"].items()]
        lines += ["", "Raises:", "", *(f"- `{error}`: {text}" for error, text in sections["Raises"].items()), ""]
        for kind in results.get(name, ()):
            told, sections = _docstring(kind)
            title = "Its result" if len(results[name]) == 1 else f"Its result: {kind.__name__}"
            lines += [f"### {title}", "", told, "", "| attribute | meaning |", "| --- | --- |"]
            lines += [f"| `{attribute}` | {_cell(text)} |" for attribute, text in sections["Attributes"].items()]
            lines.append("")
    return "\n".join([*lines, _LABELS])


def _docstring(documented: object) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the text of a docstring in Google's style, and its sections: texts by their names."""
    told, *parts = re.split(r"^(\w+):\n", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    sections: dict[str, dict[str, str]] = {}
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        entries = re.split(r"^    (\w+): ", body, flags=re.MULTILINE)[1:]
        sections[title] = {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}
    return told.replace("``", "`").strip(), sections


def _cell(text: str) -> str:
    return _sentence(text.replace("``", "`").replace("|", "\\|"))


def commands_page() -> str:
    """Return the page of the command `speedclaims`."""
    parser = cli._parser()  # noqa: SLF001 - its help is the page
    lines = ["# Commands", "", _BY, ""]
    (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    for name, command in chosen.choices.items():
        lines += [f"## speedclaims {name}", "", "```", command.format_help().rstrip(), "```", ""]
    lines.append(_CODES.format(_sentence((parser.epilog or "").removeprefix("Exit codes: "))))
    return "\n".join(lines)


def record_page() -> str:
    """Return the page of the record's fields."""
    lines = [_RECORD]
    for name, properties in _objects(schema.schema()):
        lines += [f"## {name}", "", "| field | meaning |", "| --- | --- |"]
        lines += [f"| `{key}` | {_meaning(value)} |" for key, value in properties.items()]
        lines.append("")
    return "\n".join(lines)


def _objects(found: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    for name, one in found["definitions"].items():
        if "properties" in one:
            yield name, one["properties"]


def _meaning(value: JsonObject) -> str:
    """Return the description of a field, or else its type."""
    text = value.get("description") or value.get("$ref", "").rpartition("/")[2] or json.dumps(value)
    return " ".join(str(text).split()).replace("|", "\\|")


PAGES = {
    "fixtures.md": fixtures_page,
    "options.md": options_page,
    "commands.md": commands_page,
    "record.md": record_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    is_check = parser.parse_args(arguments).check
    os.environ["COLUMNS"] = "80"  # the width of the help
    stale = []
    for name, page in PAGES.items():
        text = page().rstrip("\n") + "\n"
        path = HERE / name
        if not is_check:
            write_text(path, text)
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        complain(f"docs/reference/{name} is out of date: run python docs/reference/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(boundary.run(partial(main, sys.argv[1:]), SpeedclaimsError, "generate.py"))
