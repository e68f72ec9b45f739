import bisect
import random

import pytest

SIZES = (100, 1_000, 10_000, 100_000)


def search(names, name):
    for place, one in enumerate(names):
        if one == name:
            return place
    return None


@pytest.mark.parametrize("size", SIZES)
def test_lookup(pair, size):
    """Look a name up in a sorted list by halving instead of one by one."""
    names = sorted(str(number) for number in range(size))
    name = random.Random(7).choice(names)
    pair(
        before=lambda: search(names, name),
        after=lambda: bisect.bisect_left(names, name),
        equivalent=lambda before, after: before == after,
    )


@pytest.mark.speedup_control
def test_same_code(pair):
    """The same search on both sides."""
    names = [str(number) for number in range(1_000)]
    pair(before=lambda: search(names, "999"), after=lambda: search(names, "999"))
