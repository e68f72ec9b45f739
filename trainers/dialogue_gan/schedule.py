"""The temperature of an epoch, after documents 000 to 002. Imports no framework."""

__all__ = ["annealed_temperature"]


def annealed_temperature(start: float, end: float, decay: float, epoch: int) -> float:
    """max(end, start * decay^epoch): what the documents' loop arrives at, as a function of the epoch alone.

    Args:
        start: temperature of the first epoch.
        end: what it never falls below, at most `start`.
        decay: factor from one epoch to the next, at most 1.
        epoch: counted from 0.

    """
    return max(end, start * decay**epoch)
