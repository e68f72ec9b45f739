"""Lay out text for a terminal's width, colour and characters, with rich."""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from speedclaims.report.model.formatting import VERDICTS

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

MUTED: Final = "bright_black"
BOLD: Final = "bold"
TONES: Final = {"good": "green", "bad": "red", "more": "cyan", "open": "yellow", "none": MUTED}
MIN_WIDTH: Final = 40
_JOINT: Final = re.compile(r"(?<=,) (?=-?[\d.]+\])|(?<=\d[x%]) (?=\[-?\d)")
_KEPT: Final = "\ue000"
"""The character for a space at which no line may end, inside an estimate: rich breaks at every space of Unicode."""

_ASCII: Final = {
    "→": "->",
    "·": "-",
    "–": "-",  # noqa: RUF001 - a dash that ASCII lacks
    "−": "-",  # noqa: RUF001 - likewise
    "≥": ">=",
    "≤": "<=",
    "µ": "u",
    "…": "...",
    "“": '"',
    "”": '"',
    "─": "-",
    "×": "x",  # noqa: RUF001 - likewise
    **{verdict.symbol: verdict.ascii_symbol for verdict in VERDICTS.values()},
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide the terminal is, and whether it shows more than ASCII."""

    width: int
    unicode: bool

    def text(self, text: str, style: str = "") -> "Text":
        """Return styled text in the terminal's characters; nothing in it is read as markup."""
        from rich.text import Text  # noqa: PLC0415 - rich is imported only to print

        return Text(text if self.unicode else to_ascii(text), style=style)

    def paragraph(self, text: "str | Text", style: str = "", *, indent: int = 0, hang: int = 0) -> Iterator["Text"]:
        """Yield text as lines of at most the width: all of them indented, those behind the first by `hang` more."""
        from rich.console import Console  # noqa: PLC0415 - rich is imported only to print

        left = self.text(text, style) if isinstance(text, str) else text.copy()
        left.plain = _JOINT.sub(_KEPT, left.plain)
        while left:
            line = left.wrap(Console(), self.width - indent, overflow="fold")[0]
            left = left[len(line) :]
            left = left[len(left) - len(left.plain.lstrip()) :]
            line.plain = line.plain.replace(_KEPT, " ")
            line.pad_left(indent)
            yield line
            indent, hang = indent + hang, 0

    def rule(self) -> "Text":
        """Return a line across the terminal."""
        return self.text("─" * self.width, MUTED)

    def cut(self, text: "Text", width: int) -> "Text":
        """Return text of at most a number of columns, with an ellipsis where it is cut."""
        mark = self.text("…")
        if text.cell_len <= width:
            return text
        cut = text.copy()
        cut.truncate(width - mark.cell_len, overflow="crop")
        cut.rstrip()
        return cut.append_text(mark)


def to_ascii(text: str) -> str:
    """Return text without a character that ASCII lacks."""
    replaced = "".join(_ASCII.get(character, character) for character in text)
    return replaced.encode("ascii", "replace").decode("ascii")


def printed(lines: Iterable["Text | Table"], width: int, *, color: bool) -> str:
    """Return lines, and tables that wrap their own, as a terminal of a width shows them."""
    from rich.console import Console  # noqa: PLC0415 - rich is imported only to print
    from rich.text import Text  # noqa: PLC0415 - rich is imported only to print

    console = Console(
        file=io.StringIO(),
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        legacy_windows=False,
        # what the terminal can do was said by the caller, not by this process's environment
        _environ={},
        markup=False,
        highlight=False,
        emoji=False,
    )
    with console.capture() as capture:
        for line in lines:
            if isinstance(line, Text):
                console.print(line, no_wrap=True, overflow="ignore", crop=False)
            else:
                console.print(line)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")
