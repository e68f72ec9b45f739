"""Count words, as released."""


def count(text):
    """Return how often each word occurs."""
    words = text.split()
    return {word: words.count(word) for word in set(words)}
