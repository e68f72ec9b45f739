import heapq
import random

import pytest

SIZES = (100, 10_000)


def by_heapq(numbers):
    return heapq.nlargest(10, numbers)


def by_loop(numbers):
    """The ten largest numbers, kept in a short sorted list."""
    kept = sorted(numbers[:10], reverse=True)
    for number in numbers[10:]:
        if number > kept[-1]:
            kept[-1] = number
            kept.sort(reverse=True)
    return kept


ALTERNATIVES = {"heapq": by_heapq, "loop": by_loop}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALTERNATIVES)
def test_ten_largest(pair, name, size):
    """The ten largest numbers, without sorting all of them."""
    draw = random.Random(7)
    numbers = [draw.random() for _ in range(size)]
    alternative = ALTERNATIVES[name]
    pair(
        before=lambda: sorted(numbers, reverse=True)[:10],
        after=lambda: alternative(numbers),
        names=("sorted", name),
        equivalent=lambda before, after: before == after,
        units=size,
    )
