"""Random streams keyed by what they are for, never by rank.

A stream is PCG64DXSM seeded by numpy's SeedSequence(seed, spawn_key=(purpose, key...)): any rank that
needs it makes it anew, and the same numbers come out however the walkers are spread.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for, and the indices that key it.  Numbers are part of the format: never reuse one."""

    WIRING = 1  # sample
    TEACHER = 2  # sample
    MANIFOLD = 3  # sample: the features F of hidden-manifold inputs, shared by training and test set
    TRAIN = 4  # sample
    TEST = 5  # sample
    ROWS = 6  # sample: which rows of the user's file
    START = 7  # sample, start, clone, beta: weights of a random start
    MOVES = 8  # sample, start, clone, beta (of the replica at t = 0): the Monte Carlo moves
    EXCHANGE = 9  # sample, start, clone, number of the swap round
    TUNING_MOVES = 10  # sample, start, clone, beta: moves of the burn-in that tunes a ladder
    TUNING_EXCHANGE = 11  # sample, start, clone, number of the swap round of the burn-in


def bit_generator(seed: int, purpose: Purpose, *key: int) -> np.random.PCG64DXSM:
    """The bit generator of one stream."""
    return np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(int(purpose), *key)))


def generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """The same stream as a numpy Generator."""
    return np.random.Generator(bit_generator(seed, purpose, *key))
