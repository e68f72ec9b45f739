import heapq
import random

SIZES = (100, 10_000)


def by_sorting(numbers):
    return sorted(numbers, reverse=True)[:10]


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


def drawn(size):
    draw = random.Random(7)
    return [draw.random() for _ in range(size)]


def test_ten_largest(compare):
    """The ten largest numbers, without sorting all of them."""
    compare(
        {"sorted": by_sorting, "heapq": by_heapq, "loop": by_loop},
        over={"numbers": {size: drawn(size) for size in SIZES}},
        equivalent=lambda one, other: one == other,
    )
