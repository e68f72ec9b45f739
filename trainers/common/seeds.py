"""Seeds made of integers. Imports no framework, so that every family can draw from it."""

import numpy as np

__all__ = ["derived_seed"]


def derived_seed(*words: int) -> int:
    """Mix integers (a seed, an epoch) into one seed of 63 bits; near words give unrelated seeds."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
