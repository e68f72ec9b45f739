"""Count floating point operations."""

from collections.abc import Iterable

from speedclaims.errors import SpeedclaimsError


class NotCountedError(SpeedclaimsError, RuntimeError):
    """Signal that the operations cannot be counted here, because some of them hide others.

    Args:
        hidden: what hides its operations, or the reason in words.
    """

    def __init__(self, hidden: Iterable[str] | str) -> None:
        """Say why."""
        is_reason = isinstance(hidden, str)
        names = hidden if is_reason else ", ".join(sorted(hidden))
        super().__init__(names if is_reason else f"{names} hides its operations: the count would be too low")
