"""Provide the functions that a ledger's ``audits.py`` imports to check arithmetic claims."""

from speedclaims.claims.arithmetic import (
    Figure,
    Range,
    Recomputed,
    allows,
    at_least,
    counted,
    from_figures,
    product,
    two_statements,
)

__all__ = [
    "Figure",
    "Range",
    "Recomputed",
    "allows",
    "at_least",
    "counted",
    "from_figures",
    "product",
    "two_statements",
]
