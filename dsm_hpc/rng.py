"""Random streams keyed by what they are for, never by rank.

A stream is PCG64DXSM seeded by numpy's SeedSequence(seed, spawn_key=(purpose, key...)): any rank that
needs it makes it anew, and the same numbers come out however the walkers are spread.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    HMM_FEATURES = 12  # repetition: F of a hidden manifold run; the same for all cases, as the next three
    HMM_TEACHER = 13  # repetition
    HMM_STUDENT = 14  # repetition: w and v at t = 0
    HMM_INPUTS = 15  # repetition: training inputs
    HMM_TEST = 16  # repetition, step: inputs of a measured test error
    HMM_EQUIVALENCE = 17  # function (digest of its name), N, role: F, B, student, training, measurement


def bit_generator(seed: int, purpose: Purpose, *key: int) -> np.random.PCG64DXSM:
    """The bit generator of one stream."""
    return np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(int(purpose), *key)))


def generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """The same stream as a numpy Generator."""
    return np.random.Generator(bit_generator(seed, purpose, *key))


def position(stream: np.random.PCG64DXSM) -> NDArray[np.uint64]:
    """Where a stream is, as six numbers: state and increment (two each), and the half-used 64-bit draw."""
    told: Any = stream.state
    wide = [part for name in ("state", "inc") for part in divmod(told["state"][name], 2**64)]
    return np.array([*wide, told["has_uint32"], told["uinteger"]], np.uint64)


def set_position(stream: np.random.PCG64DXSM, numbers: NDArray[np.uint64]) -> None:
    """Brings a stream to where `position` was taken."""
    high, low, inc_high, inc_low, half, rest = map(int, numbers)
    stream.state = {
        "bit_generator": "PCG64DXSM",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": half,
        "uinteger": rest,
    }
