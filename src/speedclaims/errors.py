"""The base of all errors that the plugin raises on purpose."""


class SpeedclaimsError(Exception):
    """An error whose text is one line: what is wrong, where, and what to do."""
