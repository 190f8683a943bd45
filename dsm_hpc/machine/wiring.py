"""Wiring and weights of a machine (PHYSICS section 1)."""

import numpy as np
from numpy.typing import NDArray


def draw_wiring(random: np.random.Generator, depth: int, width: int, fan_in: int) -> NDArray[np.int32]:
    """The neurons of the layer below that each perceptron reads: int32 (L, N, c), ascending.

    c of N without repetition, independently for every perceptron; c = N reads them all.
    """
    if fan_in == width:
        return np.tile(np.arange(width, dtype=np.int32), (depth, width, 1))
    wiring = np.empty((depth, width, fan_in), np.int32)
    for perceptron in wiring.reshape(-1, fan_in):
        perceptron[:] = random.choice(width, fan_in, replace=False, shuffle=False)
    wiring.sort(axis=2)
    return wiring


def draw_weights(random: np.random.Generator, shape: tuple[int, ...], ising: bool) -> NDArray[np.float64]:
    """Weights from the prior: N(0, 1), or +-1 with equal probability."""
    if ising:
        return random.integers(0, 2, shape).astype(np.float64) * 2 - 1
    return random.standard_normal(shape)
