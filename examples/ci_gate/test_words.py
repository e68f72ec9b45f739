"""Measure how much faster one pass over the words is."""

import words

TEXT = " ".join(f"word{number % 60}" for number in range(1000))


def test_counting(pair):
    """One pass against a search for every word."""
    result = pair(
        before=lambda: words.count_one_by_one(TEXT),
        after=lambda: words.count_in_one_pass(TEXT),
        names=("one by one", "in one pass"),
        equivalent=lambda before, after: before == after,
    )
    assert result.low > 1
