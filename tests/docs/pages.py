"""Find files and commands with their outputs in a page of documentation.

A fenced block with a title is a file, as in `python title="test_words.py"`. A block of kind `console` holds commands
after `$ ` and what they print. A line `...` stands for any lines, `*` for any text, and a number with its unit for any
number.
"""

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?: [nµm]?s\b)?")


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
    """Return the first shown line that was not printed in its place, None where all were."""
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
    return None


def _masked(line):
    return " ".join(_NUMBER.sub("0", line).split())


def _like(wanted, line):
    pattern = ".*".join(map(re.escape, wanted.split("*")))
    return re.fullmatch(pattern, line) is not None
