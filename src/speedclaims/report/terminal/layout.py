"""Lay out tables for a terminal's width, colour and characters."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from speedclaims.report.model.formatting import shorten

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


TONES: Final = {"good": "green", "bad": "red", "more": "cyan", "open": "yellow", "none": "bright_black"}


MUTED: Final = "bright_black"


BOLD: Final = "bold"


MIN_WIDTH: Final = 40


_NARROW: Final = 76


_ROOMY: Final = 100


_WIDE: Final = 124


_GAP: Final = "  "


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
}


@dataclass(frozen=True, slots=True)
class _Cell:
    """Text for a column, cut or padded to the column's width."""

    text: str
    style: str = ""
    keeps_end: bool = False


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table: its heading, its natural width and its cells."""

    title: str
    width: int
    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide the terminal is, and whether it shows more than ASCII."""

    width: int
    unicode: bool

    @property
    def is_wide(self) -> bool:
        """Whether there is room for a quotation next to the id."""
        return self.width >= _WIDE

    @property
    def is_narrow(self) -> bool:
        """Whether there is no room for columns."""
        return self.width < _NARROW

    def fit(self, text: str, width: int) -> str:
        """Shorten text to at most ``width`` columns of the terminal; wide letters count twice."""
        from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 - rich is imported only to print

        plain = text if self.unicode else to_ascii(text)
        if cell_len(plain) == len(plain) or cell_len(plain) <= width:
            return shorten(plain, width, unicode=self.unicode)
        return set_cell_size(plain, max(0, width - 1)).rstrip() + "…"

    def row(self, cells: Sequence[_Cell], widths: Sequence[int]) -> "Text":
        """Return one line of cells, two spaces apart."""
        from rich.cells import cell_len  # noqa: PLC0415 - rich is imported only to print
        from rich.text import Text  # noqa: PLC0415 - rich is imported only to print

        line = Text()
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            # of ids that begin alike, the end is what tells them apart
            shown = self.fit(cell.text[::-1], width)[::-1] if cell.keeps_end else self.fit(cell.text, width)
            line.append(_GAP if number else "")
            line.append(shown + " " * (width - cell_len(shown)), style=cell.style)
        line.rstrip()
        return line

    def line(self, *parts: tuple[str, str]) -> "Text":
        """Return styled parts on one line, cut at the width."""
        from rich.cells import cell_len  # noqa: PLC0415 - rich is imported only to print
        from rich.text import Text  # noqa: PLC0415 - rich is imported only to print

        line, left = Text(), self.width
        for text, style in parts:
            shown = self.fit(text, left)
            line.append(shown, style=style)
            left -= cell_len(shown)
        return line

    def wrapped(self, text: str, width: int, indent: str = "", first: str | None = None) -> list[str]:
        """Wrap text into lines of at most ``width`` columns."""
        import textwrap  # noqa: PLC0415 - needed with rich only

        from rich.cells import cell_len  # noqa: PLC0415 - rich is imported only to print

        plain = text if self.unicode else to_ascii(text)
        # letters that take two columns are rare enough to pay for them with shorter lines
        room = width if cell_len(plain) == len(plain) else width // 2
        return textwrap.wrap(
            plain,
            room,
            initial_indent=indent if first is None else first,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )

    def paragraph(self, text: str, style: str = "", indent: str = "", first: str | None = None) -> Iterator["Text"]:
        """Yield text wrapped at the width."""
        from rich.text import Text  # noqa: PLC0415 - rich is imported only to print

        for line in self.wrapped(text, self.width, indent, first):
            yield Text(line, style=style)


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
