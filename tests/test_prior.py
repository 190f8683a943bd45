"""At beta = 0 the chain samples the Gaussian prior, and the grid of weights is fine enough not to show."""

from math import pi, sqrt

import numpy as np
import oracle
import pytest
from scipy import stats

from dsm_hpc import kernels
from dsm_hpc.kernels.grid import MAX_FAN_IN, weight_bits

SIGMAS = 4
P_VALUE = 2 * stats.norm.sf(SIGMAS)
"""Smallest p-value that a test may have: that of four standard errors."""


def student_without_labels(weights, seed=1):
    """A student of one pattern; at beta = 0 the labels do not matter."""
    rng = np.random.default_rng(seed)
    depth, width, fan_in = weights.shape
    words = oracle.words_of(oracle.draw_signs(rng, 1, width))
    return kernels.Student(oracle.draw_wiring(rng, depth, width, fan_in), weights, words, words, 1, False)


def assert_standard_normal(values):
    """Moments 1..4 and Kolmogorov-Smirnov, for independent values.

    Var(x^k) = m_2k - m_k^2 for N(0, 1): 1, 2, 15, 96 for k = 1..4.
    """
    for k, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
        error = sqrt(variance / len(values))
        assert abs((values**k).mean() - moment) < SIGMAS * error, f"moment {k}"
    assert stats.kstest(values, "norm").pvalue > P_VALUE


@pytest.fixture(scope="module")
def sampled():
    """25600 weights after 200 sweeps of step 0.5 from J = 1.

    Every weight is proposed Poisson(200) times; what is left of its start is <(1 + step^2)^(-n/2)> =
    exp(-200 (1 - 1/sqrt(1.25))) = 7e-10.
    """
    student = student_without_labels(np.ones((4, 80, 80)))
    student.sweep(np.random.PCG64(2), 0.0, 0.5, 200)
    return student


def test_weights_follow_the_prior(sampled):
    """J' = (J + step x) / sqrt(1 + step^2) leaves N(0, 1) alone and leads to it from anywhere."""
    assert_standard_normal(sampled.weights.ravel())


def test_grid_values_follow_the_prior(sampled):
    """rint(J 2^bits) / 2^bits, the weights that act, cannot be told from N(0, 1) either."""
    scale = 2.0 ** weight_bits(80, False)
    on_grid = kernels.quantise(sampled.weights, scale).ravel() / scale
    assert not np.array_equal(on_grid, sampled.weights.ravel())
    assert np.abs(on_grid - sampled.weights.ravel()).max() <= 0.5 / scale
    assert_standard_normal(on_grid)


def test_weights_are_independent(sampled):
    """Neighbours along each axis of (layer, perceptron, weight) are uncorrelated."""
    for axis in range(3):
        product = sampled.weights * np.roll(sampled.weights, 1, axis)
        # <(J J')^2> = 1
        assert abs(product.mean()) < SIGMAS / sqrt(product.size)


def test_everything_is_accepted_at_infinite_temperature(sampled):
    """min(1, exp(-0 Delta E)) = 1."""
    np.testing.assert_array_equal(sampled.accepted, sampled.proposed)


def test_proposals_are_spread_evenly(sampled):
    """Positions are uniform: the proposals of a layer are binomial with probability 1/L."""
    total = sampled.proposed.sum()
    assert total == 200 * 4 * 80 * 80
    error = np.sqrt(total * 0.25 * 0.75)
    assert np.abs(sampled.proposed - total / 4).max() < SIGMAS * error


def test_relaxation_from_the_start():
    """Each weight sees Poisson(n) moves in n sweeps: from J = 1, <J> = exp(-n (1 - 1/sqrt(1 + step^2))).

    A move takes <J^2> to (<J^2> + step^2) / (1 + step^2): it stays 1.
    """
    student = student_without_labels(np.ones((1, 150, 150)))
    stream = np.random.PCG64(3)
    for sweeps in range(1, 6):
        student.sweep(stream, 0.0, 0.5, 1)
        J = student.weights.ravel()
        error = J.std() / sqrt(J.size)
        assert abs(J.mean() - np.exp(-sweeps * (1 - 1 / sqrt(1.25)))) < SIGMAS * error
        assert abs((J**2).mean() - 1) < SIGMAS * (J**2).std() / sqrt(J.size)


@pytest.mark.parametrize("step", [0.1, 0.5, 2.0])
def test_autocorrelation_of_one_weight(step):
    """Lag-1 autocorrelation per accepted proposal is 1/sqrt(1 + step^2), and the innovation x is N(0, 1)."""
    length = 20_000
    start = np.random.default_rng(4).standard_normal((1, 1, 1))
    student = student_without_labels(start)
    stream = np.random.PCG64(5)
    J = np.empty(length + 1)
    J[0] = start[0, 0, 0]
    for t in range(1, length + 1):
        student.sweep(stream, 0.0, step, 1)
        J[t] = student.weights[0, 0, 0]
    assert student.accepted.sum() == length
    a = 1 / sqrt(1 + step**2)
    found = (J[1:] * J[:-1]).sum() / (J[:-1] ** 2).sum()
    assert abs(found - a) < SIGMAS * sqrt((1 - a**2) / length)  # error of the AR(1) regression
    assert_standard_normal((J[1:] / a - J[:-1]) / step)


@pytest.mark.parametrize("fan_in", [1, 2, 3, 1023, 1024, 1025, 4097, 8192, 8193, MAX_FAN_IN - 1, MAX_FAN_IN])
def test_grid_is_fine_at_every_fan_in(fan_in):
    """bits >= 16, and sum |J| of a perceptron stays SIGMAS standard errors and more below the int32 limit."""
    bits = weight_bits(fan_in, False)
    assert 16 <= bits == oracle.grid_bits(fan_in, False)
    # |J| has mean sqrt(2/pi) and variance 1 - 2/pi; a sum of few |J| is far from the limit anyway
    largest = sqrt(2 / pi) * fan_in + 10 * sqrt((1 - 2 / pi) * fan_in)
    assert largest * 2**bits < 2**31


def test_grid_bits_of_all_fan_ins():
    """16 bits or more up to 16384 inputs, refused beyond; Ising weights are integers."""
    assert MAX_FAN_IN == 16384
    for fan_in in range(1, MAX_FAN_IN + 1):
        assert weight_bits(fan_in, False) == oracle.grid_bits(fan_in, False) >= 16
        assert weight_bits(fan_in, True) == 0
    for fan_in in (0, -1, MAX_FAN_IN + 1):
        with pytest.raises(ValueError, match="fan-in"):
            weight_bits(fan_in, False)
