"""What the marginals of one sample predict, beside what its teacher says: overlaps and test errors.

By the Nishimori equality the two agree on average: E sum m^2 = E sum m J*.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr

from dsm_hpc.errors import InputError
from dsm_hpc.kernels import unpack
from dsm_hpc.machine.sample import Sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.theory.message_passing import SMALLEST_VARIANCE, Array, Solution

WORDS_AT_A_TIME = 16
"""Sign words of 64 test patterns propagated together."""


@dataclass(frozen=True)
class Overlaps:
    """Overlaps of layers 1..L, each (L,).

    q : (1/Nc) sum m^2, r : (1/NM) sum s^2, those of two students of the posterior;
    q_teacher : (1/N) sum_i sum_k m J* / (sqrt(c) |J*|), r_teacher : (1/NM) sum s S*, those with the teacher.
    """

    q: Array
    r: Array
    q_teacher: Array
    r_teacher: Array


def overlaps(sample: Sample, solution: Solution, aligned: bool = False) -> Overlaps:
    """Predicted overlaps and those with the teacher, raw or with each hidden neuron's sign matched first.

    An uninformed start finds the posterior up to these signs only.  Matching adds about sqrt(2 / (pi M))
    where a neuron is not known.
    """
    if aligned and sample.fully_connected and len(sample.wiring) > 1:
        raise InputError("message passing: fan_in = all: hidden neurons can be permuted, signs do not align")
    teacher = sample.teacher
    signs = np.swapaxes(unpack(teacher.train, sample.config.patterns.train), 1, 2)
    flip = np.ones(signs.shape[:2])
    if aligned:
        flip[1:-1] = np.where(np.einsum("lim,lim->li", solution.magnetisation, signs)[1:-1] < 0, -1, 1)
    fan_in = sample.wiring.shape[2]
    weights = teacher.weights * sqrt(fan_in) / np.linalg.norm(teacher.weights, axis=2, keepdims=True)
    for layer, wiring in enumerate(sample.wiring):
        weights[layer] *= flip[layer + 1][:, None] * flip[layer][wiring]
    spins = solution.magnetisation[1:]
    return Overlaps(
        (solution.mean**2).mean(axis=(1, 2)),
        (spins**2).mean(axis=(1, 2)),
        (solution.mean * weights).mean(axis=(1, 2)),
        (spins * signs[1:] * flip[1:, :, None]).mean(axis=(1, 2)),
    )


@dataclass(frozen=True)
class TestErrors:
    """Fraction of wrong output bits on the sample's test set, and its expectation under the marginals.

    bayes : of the more probable sign of each output; gibbs : of a student drawn from the posterior.
    """

    __test__ = False

    bayes: float
    bayes_expected: float
    gibbs: float
    gibbs_expected: float


def generalisation(sample: Sample, solution: Solution) -> TestErrors:
    """Marginals carried forward on the test inputs; errors against the teacher's outputs."""
    teacher, patterns = sample.teacher, sample.config.patterns.test
    assert teacher.test is not None
    inputs = unpack(sample.test_inputs, patterns).T.astype(np.float64)
    labels = unpack(teacher.test[-1], patterns).T
    parts = [
        _output(sample.wiring, solution, inputs[:, first : first + 64 * WORDS_AT_A_TIME])
        for first in range(0, patterns, 64 * WORDS_AT_A_TIME)
    ]
    output = np.concatenate(parts, axis=1)
    return TestErrors(
        float(np.mean((output >= 0) != (labels > 0))),
        float(np.mean(1 - np.abs(output)) / 2),
        float(np.mean(1 - output * labels) / 2),
        float(np.mean(1 - output**2) / 2),
    )


def _output(wiring: NDArray[np.int32], solution: Solution, spins: Array) -> Array:
    """Magnetisations of the output, (N, patterns): s = 2 Phi(omega / sqrt(V)) - 1 layer by layer.

    omega = sum_k m s / sqrt(c), V = sum_k [v + m^2 (1 - s^2)] / c: Eq. (1) with no factor to leave out.
    """
    _, width, fan_in = wiring.shape
    first = np.arange(0, width * fan_in + 1, fan_in)
    for reads, mean, known in zip(wiring, solution.mean, solution.variance, strict=True):
        m = csr_array((mean.ravel(), reads.ravel(), first), (width, width))
        square = m.multiply(m).tocsr()
        variance = (known + mean**2).sum(axis=1, keepdims=True) - square @ spins**2
        spins = 2 * ndtr(m @ spins / np.sqrt(np.maximum(variance, SMALLEST_VARIANCE))) - 1
    return spins


def draw(sample: Sample, solution: Solution, random: np.random.Generator) -> Array:
    """Weights (L, N, c) of one student, each drawn from its own marginal."""
    if sample.config.ising:
        return np.where(random.random(solution.mean.shape) < (1 + solution.mean) / 2, 1.0, -1.0)
    noise = draw_weights(random, solution.mean.shape, False)
    return np.asarray(solution.mean + np.sqrt(solution.variance) * noise)
