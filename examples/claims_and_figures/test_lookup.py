import sys

import pytest

LIST = list(range(1000))
SET = set(LIST)


def in_list():
    return sum(number in LIST for number in range(0, 2000, 20))


def in_set():
    return sum(number in SET for number in range(0, 2000, 20))


@pytest.mark.speedup_claim("set.faster")
def test_lookup(pair):
    """Looking for numbers in a set instead of a list."""
    pair(before=in_list, after=in_set, equivalent=lambda before, after: before == after)


@pytest.mark.speedup_claim("set.memory")
def test_memory(figure):
    """Memory of the set as a multiple of the list's."""
    figure(sys.getsizeof(SET) / sys.getsizeof(LIST), exact=True, unit="times the memory")
