"""Find files and commands with their outputs in a page of documentation.

A fenced block with a title is a file, as in `python title="test_words.py"`. A block of kind `console` holds commands
after `$ ` and all that they print. A line `...` stands for any lines and `*` for any text. A measured number stands for
any number: one with decimals, with a unit, or in brackets. Counts are compared.
"""

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_MEASURED = re.compile(rf"\[{_NUMBER}, {_NUMBER}\]|[-+]?\d+\.\d+(?: [nµm]?s\b|x|%)?|[-+]?\d+(?: [nµm]?s\b|x|%)")


@dataclass
class File:
    """A file of the page."""

    name: str
    text: str


@dataclass
class Command:
    """A command of the page and the lines that it prints."""

    text: str
    lines: list[str] = field(default_factory=list)


def steps(page):
    """Return the files and commands of a page in their order."""
    found = []
    for kind, title, text in _FENCE.findall(page):
        if title:
            found.append(File(title, text))
        elif kind == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    found.append(Command(line.removeprefix("$ ")))
                else:
                    found[-1].lines.append(line)
    return found


def differs(shown, printed):
    """Return the first shown line that was not printed in its place, or the first printed one that is not shown."""
    rest, may_skip = list(map(_masked, printed)), False
    for line in shown:
        if line == "...":
            may_skip = True
            continue
        wanted = _masked(line)
        while may_skip and rest and not _like(wanted, rest[0]):
            rest.pop(0)
        if not rest or not _like(wanted, rest[0]):
            return line
        rest.pop(0)
        may_skip = False
    return next(filter(None, rest), None) if shown and not may_skip else None


def _masked(line):
    return " ".join(_MEASURED.sub("#", line).split())


def _like(wanted, line):
    pattern = ".*".join(map(re.escape, wanted.split("*")))
    return re.fullmatch(pattern, line) is not None
