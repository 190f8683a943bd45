"""What a measurement costs against a sweep, and our forward pass against NumPy's."""

from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.machines import BETA, REGIMES, SIZES, STEP, TEST_PATTERNS, sample, stream, student, title
from benchmarks.timing import print_head, print_row, quotients, timed
from dsm_hpc.kernels import unpack
from dsm_hpc.machine.overlaps import overlaps
from dsm_hpc.machine.sample import Machine, Sample

REPEATS = 3

Matrices = NDArray[np.float32]


def report() -> None:
    """Prints the table."""
    print(f"\n## Measurements: ms, {TEST_PATTERNS} test patterns\n")
    print_head(
        "machine",
        *(f"sweep, {regime}" for regime in REGIMES),
        "test set forward",
        "overlaps with alignment",
        "(forward + overlaps) / sweep, learning",
        "NumPy forward",
        "NumPy / dsm_hpc forward",
    )
    for name in SIZES:
        _row(name)
    print(
        "\nOverlaps: of one pair of machines (a student after its first sweep and the teacher), training and "
        "test set.\nNumPy: dense float32 matrix products (BLAS), weights converted beforehand."
    )


def _row(name: str) -> None:
    of = sample(name)
    sweeps = [_sweep(of, regime) for regime in REGIMES]
    machine, forward, numpy = _forward_passes(of)
    compared = [timed(lambda: overlaps(of, machine, of.teacher))[0] for _ in range(REPEATS)]
    print_row(
        title(name),
        *(f"{time / 1e6:.3g}" for time in sweeps),
        f"{median(forward) / 1e6:.3g}",
        f"{median(compared) / 1e6:.3g}",
        f"{(median(forward) + median(compared)) / sweeps[0]:.2g}",
        f"{median(numpy) / 1e6:.3g}",
        quotients(numpy, forward),
    )


def _sweep(of: Sample, regime: str) -> float:
    """Median ns of a first sweep."""
    times = []
    for clone in range(REPEATS):
        walking = student(of, regime, clone)
        times.append(
            timed(lambda walking=walking, clone=clone: walking.sweep(stream(clone), BETA, STEP, 1))[0]
        )
    return median(times)


def _forward_passes(of: Sample) -> tuple[Machine, list[float], list[float]]:
    """A student after its first sweep; ns of our and of NumPy's passes over the test set, in pairs."""
    walked = student(of, "learning")
    walked.sweep(stream(0), BETA, STEP, 1)
    matrices = _matrices(of, walked.weights)
    inputs = unpack(of.test_inputs, TEST_PATTERNS).astype(np.float32)
    forward, numpy = [], []
    for _ in range(REPEATS):
        time, signs = timed(lambda: of.test_signs(walked.weights))
        other, outputs = timed(lambda: _numpy_outputs(matrices, inputs))
        forward.append(time)
        numpy.append(other)
    # Not every bit: float32 rounds where the grid does not, and a flip spreads upwards.
    assert np.mean(outputs == unpack(signs[-1], TEST_PATTERNS)) > 0.999
    return Machine(walked.weights, walked.signs, signs), forward, numpy


def _matrices(of: Sample, weights: NDArray[np.float64]) -> Matrices:
    """Dense weights (L, N, N), input by perceptron."""
    depth, width, _ = weights.shape
    dense = np.zeros((depth, width, width), np.float32)
    np.put_along_axis(dense, of.wiring.astype(np.intp), weights.astype(np.float32), axis=2)
    return np.ascontiguousarray(dense.transpose(0, 2, 1))


def _numpy_outputs(matrices: Matrices, signs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Output signs (M, N).  Bound: M N^2 L multiply-adds whatever c is; for small N, passes over (M, N)."""
    for matrix in matrices:
        signs = np.where(signs @ matrix >= 0, np.float32(1), np.float32(-1))
    return signs
