"""Count the words of a text."""

from collections import Counter


def count_one_by_one(text: str) -> dict[str, int]:
    """Return how often each word occurs, searching the whole text for every word."""
    words = text.split()
    return {word: words.count(word) for word in set(words)}


def count_in_one_pass(text: str) -> dict[str, int]:
    """Return how often each word occurs, reading the text once."""
    return dict(Counter(text.split()))
