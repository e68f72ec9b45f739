"""Count words, as released."""


def count(text):
    """Return how often each word occurs."""
    found = {}
    for word in text.split():
        found[word] = found.get(word, 0) + 1
    return found
