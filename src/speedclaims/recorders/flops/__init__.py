"""Count floating point operations."""
