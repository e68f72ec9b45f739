"""The base of all errors that the plugin raises on purpose."""


class SpeedclaimsError(Exception):
    """An error whose text is one line: what is wrong, where, and what to do."""


_LONGEST = 80


def shown(value: object) -> str:
    """Return a value for a message: in one line that is not long."""
    try:
        return shorten(repr(value))
    except Exception:  # noqa: BLE001 - whatever a class of the user's does
        return f"a {type(value).__name__}"


def shorten(text: str) -> str:
    """Return a text in one line that is not long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
