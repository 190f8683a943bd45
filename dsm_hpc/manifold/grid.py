"""Features and latent coordinates as integers, so that their products are exact on every machine."""

import numpy as np
from numpy.typing import NDArray

GRID = 2.0**10
"""F and C are multiples of 1 / GRID.  Their laws change by 1/(12 GRID^2) = 8e-8 in the variance; a sum over D
coordinates stays within int32 up to |u| = 2^31 / (GRID^2 sqrt(D)) = 2048 / sqrt(D), u ~ N(0, 1)."""

MAX_DIMENSION = 20_000
"""There |u| = 14.4 still fits into int32, which no draw of u reaches (probability 10^-47)."""

PANEL, ROWS = 16, 4
"""Neurons and steps that product.h takes at a time."""


def on_grid(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """N(0, 1) rounded to the grid, as integers: value = integer / GRID."""
    values = random.standard_normal(shape)
    values *= GRID
    return np.rint(values, out=values).astype(np.int16)


def padded(count: int, multiple: int) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple


def panels_of(features: NDArray[np.int16]) -> NDArray[np.int16]:
    """F (N, D) as product.h reads it: (panels, pairs, PANEL, 2), neurons and coordinates padded with 0."""
    width, dimension = features.shape
    rows, columns = padded(width, PANEL), padded(dimension, 2)
    whole = np.zeros((rows, columns), np.int16)
    whole[:width, :dimension] = features
    return np.ascontiguousarray(whole.reshape(-1, PANEL, columns // 2, 2).transpose(0, 2, 1, 3))
