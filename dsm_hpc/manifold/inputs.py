"""Fresh inputs and labels, block by block: memory is that of one block, whatever the number of inputs."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.folding import fold
from dsm_hpc.manifold.grid import GRID, PANEL, ROWS, padded
from dsm_hpc.manifold.learning import normals, preactivations, projections, signs
from dsm_hpc.manifold.system import System

Array = NDArray[np.float64]

BLOCK = 96
"""Inputs generated together, a multiple of 4.  F (800 KB at N = 2000, D = 200) comes from L3 once per block;
the block of C (38 KB) stays in L2, its inputs (770 KB) in L3.  Measured: 48 to 192 are alike; shorter blocks
pay for F and for calls, longer ones for the traffic of their inputs."""


@dataclass(frozen=True)
class Block:
    """inputs : x, float32 (n, padded N), 0 in the padding; fields : nu, (n, M)."""

    inputs: NDArray[np.float32]
    fields: Array


class InputSource:
    """Draws blocks of inputs of a system; the arrays of a block are used again for the next one.

    Random numbers per block, in this order (learning.normals): C (BLOCK, D), rounded to the grid, not for
    `iid`; then xi (BLOCK, N), for `iid` and `gaussian_equivalent`.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.columns = padded(system.width, PANEL)
        self._normals = np.empty((BLOCK, system.dimension), np.float32)
        self._latent = np.zeros((BLOCK, padded(system.dimension, 2)), np.int16)
        self._inputs = np.zeros((BLOCK, self.columns), np.float32)
        self._fields = np.empty((BLOCK, len(system.B)))
        self._noise = np.empty((BLOCK, system.width), np.float32) if self._noisy else None
        teacher_columns = self.columns if system.reads_inputs else padded(system.dimension, PANEL)
        self._teacher = widened(system.B, teacher_columns)
        self._coordinates = np.zeros((BLOCK, teacher_columns), np.float32)

    @property
    def _noisy(self) -> bool:
        return self.system.scenario in ("iid", "gaussian_equivalent")

    def draw(self, stream: np.random.BitGenerator) -> Block:
        """The next block of the stream."""
        system = self.system
        if system.dimension:
            self._draw_latent(stream)
        if self._noise is not None:
            normals(stream, self._noise.reshape(-1))
        self._fill_inputs()
        if system.reads_inputs:
            projections(self._inputs, self._teacher, self._fields)
            self._fields /= sqrt(system.width)
        else:
            projections(self._coordinates, self._teacher, self._fields)
            self._fields /= GRID * sqrt(system.dimension)
        return Block(self._inputs, self._fields)

    def _draw_latent(self, stream: np.random.BitGenerator) -> None:
        """C as integers, and the same numbers as the teacher's kernel reads them."""
        normals(stream, self._normals.reshape(-1))
        self._normals *= np.float32(GRID)
        np.rint(self._normals, out=self._normals)
        self._latent[:, : self.system.dimension] = self._normals
        if not self.system.reads_inputs:
            self._coordinates[:, : self.system.dimension] = self._normals

    def _fill_inputs(self) -> None:
        system, x = self.system, self._inputs
        if system.scenario == "iid":
            x[:, : system.width] = self._noise
            return
        if system.f == "sgn" and system.scenario != "gaussian_equivalent":
            signs(system.panels, self._latent, x)
            x[:, system.width :] = 0
            return
        preactivations(system.panels, self._latent, 1 / (GRID**2 * sqrt(system.dimension)), x)
        part, a = x[:, : system.width], system.coefficients
        if self._noise is not None:
            part *= np.float32(a.b)
            self._noise *= np.float32(sqrt(a.z))
            part += self._noise
        else:
            np.subtract(fold(system.f, part), np.float32(a.a), out=part)


def widened(vectors: Array, columns: int) -> Array:
    """Vectors (n, width) with zeros appended up to so many columns."""
    wide = np.zeros((len(vectors), columns))
    wide[:, : vectors.shape[1]] = vectors
    return wide


assert BLOCK % ROWS == 0
