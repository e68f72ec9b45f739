"""Count words."""

from collections import Counter


def count(text):
    """Return how often each word occurs."""
    return dict(Counter(text.split()))
