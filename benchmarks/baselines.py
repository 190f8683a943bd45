"""What a good user would write without our kernel: the same greedy Monte Carlo in NumPy and in Numba.

Both take over the state of a Student and draw the documented random numbers, so that they accept and reject
the same proposals.  Both follow only the patterns that flip at the changed perceptron, from its layer
upwards, and recompute whole layers there.
"""

from abc import ABC, abstractmethod
from math import sqrt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dsm_hpc.kernels import Student, quantise, unpack
from dsm_hpc.kernels.grid import weight_bits

BLOCK = 1024
"""Proposals of a sweep whose random numbers are drawn together (Student.sweep)."""


class Baseline(ABC):
    """A student with Gaussian weights at beta = inf."""

    def __init__(self, student: Student) -> None:
        _, _, fan_in, patterns = student.shape
        self.scale = 2.0 ** weight_bits(fan_in, ising=False)
        self.wiring = np.array(student.wiring)
        self.weights = np.array(student.weights)
        self.integers = quantise(self.weights, self.scale)
        signs = unpack(student.signs, patterns)  # (L + 1, M, N)
        self._load(signs, unpack(student.targets, patterns))

    def run(self, bit_generator: np.random.BitGenerator, step: float, proposals: int) -> NDArray[np.uint8]:
        """The first so many proposals, of one sweep after the other; returns which were accepted."""
        random, total = np.random.Generator(bit_generator), self.weights.size
        flags, first = np.empty(proposals, np.uint8), 0
        while first < proposals:
            drawn = min(BLOCK, total - first % total)
            positions, normals = random.integers(0, total, size=drawn), random.standard_normal(drawn)
            wanted = min(drawn, proposals - first)
            self._propose(positions[:wanted], normals[:wanted], step, flags[first : first + wanted])
            first += drawn
        return flags

    @property
    @abstractmethod
    def energy(self) -> int:
        """Wrong output bits."""

    @abstractmethod
    def _load(self, signs: NDArray[np.int8], targets: NDArray[np.int8]) -> None:
        """Takes over signs (L + 1, M, N) and the teacher's outputs (M, N)."""

    @abstractmethod
    def _propose(
        self,
        positions: NDArray[np.int64],
        normals: NDArray[np.float64],
        step: float,
        flags: NDArray[np.uint8],
    ) -> None:
        """Carries out these proposals."""


def _preactivations(baseline: Baseline, signs: NDArray[np.int8]) -> NDArray[np.float64]:
    """sum_k J S of all perceptrons and patterns, (L, N, M); float64 is exact for integers below 2^53."""
    matrices = _matrices(baseline)
    return np.array([matrix @ below.T.astype(float) for matrix, below in zip(matrices, signs, strict=False)])


def _matrices(baseline: Baseline) -> list[Any]:
    """The integer weights of each layer as a float64 matrix; CSR where a layer is sparse, for BLAS else."""
    depth, width, fan_in = baseline.wiring.shape
    values = baseline.integers.astype(float)
    if fan_in == width:
        return list(values)
    first = np.arange(0, width * fan_in + 1, fan_in)
    return [
        csr_array((values[layer].ravel(), baseline.wiring[layer].ravel(), first), (width, width))
        for layer in range(depth)
    ]


# ------------------------------------------------------------------------------------------------------ NumPy


class NumpyMachine(Baseline):
    """NumPy, one proposal at a time, all flipped patterns at once; float64 BLAS, SciPy's CSR where sparse.

    Bound: some twenty calls of 1-20 us each, whatever is in the arrays; from N of a few hundred the
    products (N c multiplications for each flipped pattern and layer).
    """

    def _load(self, signs: NDArray[np.int8], targets: NDArray[np.int8]) -> None:
        self.matrices = _matrices(self)
        self.h = _preactivations(self, signs)
        self.signs = np.ascontiguousarray(signs.transpose(0, 2, 1), dtype=float)  # (L + 1, N, M)
        self.targets = np.ascontiguousarray(targets.T, dtype=float)
        self.wrong = (self.signs[-1] != self.targets).sum(axis=0)

    @property
    def energy(self) -> int:
        return int(self.wrong.sum())

    def _propose(
        self,
        positions: NDArray[np.int64],
        normals: NDArray[np.float64],
        step: float,
        flags: NDArray[np.uint8],
    ) -> None:
        shrink = 1.0 / sqrt(1.0 + step * step)
        for t, (position, normal) in enumerate(zip(positions.tolist(), normals.tolist(), strict=True)):
            flags[t] = self._step(position, step * normal, shrink)

    def _step(self, position: int, shift: float, shrink: float) -> bool:
        _, width, fan_in = self.wiring.shape
        perceptron, k = divmod(position, fan_in)
        layer, i = divmod(perceptron, width)
        new = (self.weights[layer, i, k] + shift) * shrink
        integer = np.rint(new * self.scale)
        below = self.signs[layer, self.wiring[layer, i, k]]
        row = self.h[layer, i] + (integer - self.integers[layer, i, k]) * below
        flipped = np.flatnonzero((row >= 0) != (self.h[layer, i] >= 0))
        if len(flipped) and not self._follow(layer, i, flipped):
            return False
        self.h[layer, i] = row
        self.weights[layer, i, k], self.integers[layer, i, k] = new, integer
        matrix = self.matrices[layer]
        if fan_in == width:
            matrix[i, k] = integer
        else:
            matrix.data[i * fan_in + k] = integer
        return True

    def _follow(self, layer: int, i: int, flipped: NDArray[np.intp]) -> bool:
        """Perceptron i of this layer flips in these patterns: carried out if no wrong bits are added."""
        signs = [self.signs[layer + 1][:, flipped]]
        signs[0][i] *= -1
        h = []
        for matrix in self.matrices[layer + 1 :]:
            h.append(matrix @ signs[-1])
            signs.append(np.where(h[-1] >= 0, 1.0, -1.0))
        wrong = (signs[-1] != self.targets[:, flipped]).sum(axis=0)
        if wrong.sum() > self.wrong[flipped].sum():
            return False
        for above, values in enumerate(h, layer + 1):
            self.h[above][:, flipped] = values
        for above, values in enumerate(signs, layer + 1):
            self.signs[above][:, flipped] = values
        self.wrong[flipped] = wrong
        return True


# ------------------------------------------------------------------------------------------------------ Numba

# Numba adds and multiplies int32 as int64 unless told otherwise at every step; int64 would halve the lanes.
_int32 = np.int32


class NumbaMachine(Baseline):
    """Numba, int32, one flipped pattern at a time, nothing written before acceptance.

    It has the exact early exit of our kernel: it stops when the wrong bits of the patterns left over, all
    that they could still gain, cannot make up for the wrong bits added.  It lacks updates of what changed
    only: above the changed perceptron it recomputes whole layers.
    """

    early_exit = True

    def _load(self, signs: NDArray[np.int8], targets: NDArray[np.int8]) -> None:
        depth, width, fan_in = self.wiring.shape
        patterns = len(targets)
        self.h = _preactivations(self, signs).astype(np.int32)
        self.by_pattern = signs.astype(np.int32)  # (L + 1, M, N)
        self.by_neuron = np.ascontiguousarray(self.by_pattern.transpose(0, 2, 1))
        self.targets = targets.astype(np.int32)
        self.wrong = (self.by_pattern[-1] != self.targets).sum(axis=1)
        self.new_h = np.empty((patterns, depth, width), np.int32)
        self.new_signs = np.empty((patterns, depth + 1, width), np.int32)
        self.full = fan_in == width

    @property
    def energy(self) -> int:
        return int(self.wrong.sum())

    def _propose(
        self,
        positions: NDArray[np.int64],
        normals: NDArray[np.float64],
        step: float,
        flags: NDArray[np.uint8],
    ) -> None:
        state = (self.h, self.by_pattern, self.by_neuron, self.wrong)
        weights, scratch = (self.weights, self.integers), (self.new_h, self.new_signs)
        net = (self.wiring, self.targets, self.scale, self.full, self.early_exit)
        _propose(positions, normals, step, flags, net, weights, state, scratch)


class PlainNumbaMachine(NumbaMachine):
    """The same without early exit: all flipped patterns are followed to the end, what a good user writes."""

    early_exit = False


@njit(error_model="numpy")
def _propose(positions, normals, step, flags, net, weights, state, scratch):
    """A block of proposals."""
    wiring, targets, scale, _, _ = net
    real, integers = weights
    h, by_pattern, by_neuron, wrong = state
    _, width, fan_in = real.shape
    flipped = np.empty(len(targets), np.int64)
    for t in range(len(positions)):
        perceptron, k = positions[t] // fan_in, positions[t] % fan_in
        layer, i = perceptron // width, perceptron % width
        new = (real[layer, i, k] + step * normals[t]) * (1.0 / np.sqrt(1.0 + step * step))
        integer = _int32(np.rint(new * scale))
        change = _int32(integer - integers[layer, i, k])
        row, inputs = h[layer, i], by_neuron[layer, wiring[layer, i, k]]
        n = _flips(row, inputs, change, flipped)
        flags[t] = _allowed(layer, i, flipped[:n], net, integers, by_pattern, wrong, scratch)
        if flags[t]:
            real[layer, i, k], integers[layer, i, k] = new, integer
            for mu in range(len(row)):
                row[mu] += change * inputs[mu]
            _commit(layer, flipped[:n], targets, state, scratch)


@njit(error_model="numpy")
def _flips(row, inputs, change, flipped):
    """Lists the patterns that change sign.  Bound: one L1/L2 load of h and of S and a branch per pattern."""
    n = 0
    for mu in range(len(row)):
        if (row[mu] ^ _int32(row[mu] + _int32(change * inputs[mu]))) < 0:
            flipped[n] = mu
            n += 1
    return n


@njit(error_model="numpy")
def _allowed(layer, i, flipped, net, integers, by_pattern, wrong, scratch):
    """Whether no wrong bits are added in all, stopping as soon as that is certain."""
    wiring, targets, _, full, early_exit = net
    new_h, new_signs = scratch
    delta, spare = 0, 0
    for mu in flipped:
        spare += wrong[mu]
    for a, mu in enumerate(flipped):
        signs = new_signs[a]
        _copy(by_pattern[layer + 1, mu], signs[layer + 1])
        signs[layer + 1, i] *= -1
        for above in range(layer + 1, len(integers)):
            if full:
                _full_layer(integers[above], signs[above], new_h[a, above], signs[above + 1])
            else:
                _sparse_layer(integers[above], wiring[above], signs[above], new_h[a, above], signs[above + 1])
        delta += _differing(signs[-1], targets[mu]) - wrong[mu]
        spare -= wrong[mu]
        if early_exit and delta > spare:
            return False
    return delta <= 0


@njit(error_model="numpy")
def _full_layer(integers, below, h, signs):
    """Bound: N^2 / 8 vector multiplications (AVX2); the weights of all layers fit L2 up to N of about 100."""
    for i in range(len(signs)):
        total, row = _int32(0), integers[i]
        for k in range(len(row)):
            total = _int32(total + _int32(row[k] * below[k]))
        h[i] = total
        signs[i] = 1 if total >= 0 else -1


@njit(error_model="numpy")
def _sparse_layer(integers, wiring, below, h, signs):
    """Bound: N c scalar loads from L1 at an index that was itself loaded, one or two per cycle."""
    for i in range(len(signs)):
        total, row, inputs = _int32(0), integers[i], wiring[i]
        for k in range(len(row)):
            total = _int32(total + _int32(row[k] * below[inputs[k]]))
        h[i] = total
        signs[i] = 1 if total >= 0 else -1


@njit(error_model="numpy")
def _copy(source, target):
    """Numba's own `target[:] = source` costs more than such short rows.  Bound: a store per eight entries."""
    for i in range(len(source)):
        target[i] = source[i]


@njit(error_model="numpy")
def _differing(a, b):
    """Number of different entries.  Bound: two L1 loads per eight entries."""
    n = 0
    for i in range(len(a)):
        n += a[i] != b[i]
    return n


@njit(error_model="numpy")
def _commit(layer, flipped, targets, state, scratch):
    """Takes over the layers from this one on.  Bound: stores at a stride of M, each to another cache line."""
    h, by_pattern, by_neuron, wrong = state
    new_h, new_signs = scratch
    for a, mu in enumerate(flipped):
        for above in range(layer + 1, len(by_pattern)):
            _copy(new_signs[a, above], by_pattern[above, mu])
            _copy(new_signs[a, above], by_neuron[above, :, mu])
        for above in range(layer + 1, len(h)):
            _copy(new_h[a, above], h[above, :, mu])
        wrong[mu] = _differing(new_signs[a, -1], targets[mu])
