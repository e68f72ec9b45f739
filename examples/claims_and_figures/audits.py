"""Recompute the wiki's own arithmetic."""

from speedclaims.audit import Range, Recomputed, from_figures


def total() -> Recomputed:
    """1,000 lookups of 2-3 ms."""
    seconds = 1000 * Range(2, 3) / 1000
    return from_figures(claimed=Range(2, 3), recomputed=seconds, unit="s", formula="1,000 lookups x 2-3 ms")
