"""Find and fill the places of a Markdown text that markers name.

A place is the text between ``<!-- speedclaims: NAME -->`` and ``<!-- end -->``, both in one paragraph, list item or row
of a table. Markers in fenced code blocks and in inline code are left alone: they show readers how to write one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.errors import SpeedclaimsError

END: Final = "<!-- end -->"

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+")
_OPENING: Final = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}(?=[^`]*$)|~{3,})")
_CLOSING: Final = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t\r\n]*$")
_FIRST_LINE: Final = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]|#{1,6}[ \t]|\|)")
_TOKEN: Final = re.compile(
    r"\\[\\`<]|(?P<ticks>`+)|(?P<marker><!--\s*speedclaims\s*:)|(?P<odd><!--\s*speed-?claims?\b(?!\s*-->))"
    r"|<!--(?:(?!<!--).)*?-->",
    re.DOTALL | re.IGNORECASE,
)
_REST_OF_MARKER: Final = re.compile(r"((?:(?!<!--|-->).)*)-->", re.DOTALL)
_NEXT: Final = re.compile(r"<!--\s*(?:(?P<marker>speedclaims\s*:)|end\s*-->)", re.IGNORECASE)


class PlaceError(SpeedclaimsError, ValueError):
    """Signal that a text's markers cannot be used, in one line: what is wrong, where, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Hold a place of a text: the marker's name, the line it begins in, and the characters between the markers."""

    name: str
    line: int
    start: int
    end: int
    text: str


def find_places(text: str, file: object) -> list[Place]:
    """Return the places of a text in their order.

    Args:
        text: Markdown.
        file: what errors call it.

    Raises:
        PlaceError: a marker is not closed, has no end or holds another one.
    """
    return [place for start, end in _paragraphs(text) for place in _places(text, start, end, file)]


def fill(text: str, places: Sequence[Place], values: Sequence[str], file: object) -> str:
    """Return a text with other values in its places.

    Raises:
        PlaceError: with the values in them, the places would be code.
    """
    pieces, last = [], 0
    for place, value in zip(places, values, strict=True):
        pieces += [text[last : place.start], value]
        last = place.end
    filled = "".join([*pieces, text[last:]])
    if [(place.name, place.text) for place in find_places(filled, file)] != [
        (place.name, value) for place, value in zip(places, values, strict=True)
    ]:
        raise PlaceError(f"{file}: once filled, a place would be part of a code block or of inline code: move it away")
    return filled


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the parts of a text begin and end that neither inline code nor a place crosses; no code blocks."""
    start, fence, quotes = 0, "", 0
    for match in _LINE.finditer(text):
        line = match.group()
        if fence and _quotes(line) < quotes:  # a code block ends with the quotation that it is in
            start, fence = match.start(), ""
        if fence:
            closing = _CLOSING.match(line)
            if closing and closing[1].startswith(fence):
                fence = ""
            start = match.end()
            continue
        opening = _OPENING.match(line.rstrip("\r\n"))
        if opening or not line.strip(" \t\r\n>"):
            yield start, match.start()
            start, fence, quotes = match.end(), opening[1] if opening else "", _quotes(line)
        elif _FIRST_LINE.match(line):
            yield start, match.start()
            start = match.start()
    yield start, len(text)


def _quotes(line: str) -> int:
    """Return how many quotations a line is in."""
    return line[: len(line) - len(line.lstrip(" \t>"))].count(">")


def _places(text: str, start: int, end: int, file: object) -> Iterator[Place]:
    """Yield the places of one paragraph.

    Raises:
        PlaceError: see `find_places`.
    """
    while token := _TOKEN.search(text, start, end):
        start = token.end()
        if token["ticks"]:
            # a run of backticks that nothing closes is text
            closing = re.compile(rf"(?<!`){token['ticks']}(?!`)").search(text, start, end)
            start = closing.end() if closing else start
        elif token["odd"]:
            line = _line_of(text, token.start())
            raise PlaceError(f"{file}:{line}: that is no marker: write <!-- speedclaims: NAME.FIELD -->")
        elif token["marker"]:
            place = _place(text, token.start(), start, end, file)
            yield place
            start = place.end


def _line_of(text: str, place: int) -> int:
    return len(re.findall(r"\r\n|[\r\n]", text[:place])) + 1


def _place(text: str, began: int, start: int, end: int, file: object) -> Place:
    """Return the place of a marker, given where the marker and its name begin and where the paragraph ends.

    Raises:
        PlaceError: see `find_places`.
    """
    line = _line_of(text, began)
    marker = _REST_OF_MARKER.match(text, start, end)
    if marker is None:
        raise PlaceError(f"{file}:{line}: the marker is not closed: write <!-- speedclaims: NAME.FIELD -->")
    name = " ".join(marker[1].split())
    closing = _NEXT.search(text, marker.end(), end)
    if closing is None:
        raise PlaceError(f"{file}:{line}: the marker {name!r} has no {END} in its paragraph: put one behind the text")
    if closing["marker"]:
        raise PlaceError(f"{file}:{line}: the marker {name!r} holds another one: put an {END} between them")
    return Place(name, line, marker.end(), closing.start(), text[marker.end() : closing.start()])
