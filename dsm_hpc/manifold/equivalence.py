"""The Gaussian equivalence, checked: are the local fields (lambda, nu) Gaussian, with the covariances of
PHYSICS section 4 (HMM, «Gaussian equivalence theorem»)?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.inputs import BLOCK, InputSource, widened
from dsm_hpc.manifold.system import System

Array = NDArray[np.float64]

BATCHES = 100
"""Independent batches of inputs, from whose scatter the standard errors come."""


@dataclass(frozen=True)
class Equivalence:
    """Measured and expected moments of the fields (lambda, nu), n = K + M, of one student.

    covariance, expected, error (n, n) : measured over fresh inputs; by the formulas; the first one's standard
        error.
    mean, mean_error, kurtosis, kurtosis_error (n,) : of each field; excess kurtosis, 0 for a Gaussian.
    student, f, width, dimension, inputs : what was measured, and with how many inputs.
    units : K.
    """

    student: str
    f: str
    width: int
    dimension: int
    inputs: int
    units: int
    covariance: Array
    expected: Array
    error: Array
    mean: Array
    mean_error: Array
    kurtosis: Array
    kurtosis_error: Array

    @property
    def z(self) -> Array:
        """(measured - expected) / standard error, (n, n)."""
        return (self.covariance - self.expected) / self.error

    @property
    def deviation(self) -> float:
        """Root mean square of measured - expected over the distinct entries of Q and R, in units of the
        standard deviations of the fields, with the part that is noise subtracted (0 where noise is all)."""
        return sqrt(max(self._mean_square(self.covariance - self.expected) - self.noise**2, 0.0))

    @property
    def noise(self) -> float:
        """Root mean square of the standard errors of the same entries, in the same units."""
        return sqrt(self._mean_square(self.error))

    def _mean_square(self, values: Array) -> float:
        scale = np.sqrt(np.diag(self.expected))
        rows, columns = np.triu_indices(len(values))
        of_students = rows < self.units
        relative = (values / np.outer(scale, scale))[rows, columns][of_students]
        return float((relative**2).mean())


def measure(
    system: System, w: Array, inputs: int, random: np.random.Generator, student: str = "independent"
) -> Equivalence:
    """Moments of the fields of students w (K, N) over fresh inputs, block by block.

    inputs : rounded up to whole blocks in each of BATCHES batches; random : their stream.
    """
    source = InputSource(system)
    wide, scale = widened(w, source.columns).astype(np.float32), np.float32(1 / sqrt(system.width))
    blocks = max(1, round(inputs / (BATCHES * BLOCK)))
    n = len(w) + len(system.A)
    mean, square, fourth = np.zeros((BATCHES, n)), np.zeros((BATCHES, n, n)), np.zeros((BATCHES, n))
    for batch in range(BATCHES):
        for _ in range(blocks):
            block = source.draw(random.bit_generator)
            x = np.hstack([(block.inputs @ wide.T) * scale, block.fields])
            mean[batch] += x.mean(axis=0) / blocks
            square[batch] += x.T @ x / (BLOCK * blocks)
            fourth[batch] += (x**4).mean(axis=0) / blocks
    variance = np.diagonal(square, axis1=1, axis2=2)
    m2, m4 = variance.mean(axis=0), fourth.mean(axis=0)
    # Of a function of means, the linear part in each batch.
    influence = fourth / m2**2 - 2 * m4 / m2**3 * variance
    return Equivalence(
        student,
        system.f,
        system.width,
        system.dimension,
        BATCHES * blocks * BLOCK,
        len(w),
        square.mean(axis=0),
        system.moments(w).joint,
        _standard_error(square),
        mean.mean(axis=0),
        _standard_error(mean),
        m4 / m2**2 - 3,
        _standard_error(influence),
    )


def _standard_error(batches: Array) -> Array:
    """Of the mean over the first axis."""
    return np.asarray(batches.std(axis=0, ddof=1) / sqrt(len(batches)))


HEADER = ("f", "N", "D", "student", "inputs", "deviation", "noise", "max |z|", "excess kurtosis of lambda")


def table(results: Sequence[Equivalence]) -> list[tuple[str, ...]]:
    """One row of text for each, under HEADER; the kurtosis is the mean over the student's units."""
    rows: list[tuple[str, ...]] = []
    for one in results:
        kurtosis = one.kurtosis[: one.units].mean()
        error = sqrt((one.kurtosis_error[: one.units] ** 2).sum()) / one.units
        rows.append(
            (
                one.f,
                str(one.width),
                str(one.dimension),
                one.student,
                str(one.inputs),
                f"{one.deviation:.4f}",
                f"{one.noise:.4f}",
                f"{np.abs(one.z[: one.units]).max():.1f}",
                f"{kurtosis:+.4f}±{error:.4f}",
            )
        )
    return rows
