"""Moments of the folding functions and averages over Gaussian fields, against Monte Carlo and quadrature.

|z| < 4 is asked of every average; seeds are fixed, so a test that passes once always passes.
"""

from itertools import product
from math import erf, pi, sqrt

import numpy as np
import pytest
from scipy.special import erf as array_erf

from dsm_hpc.errors import InputError
from dsm_hpc.manifold import integrals
from dsm_hpc.manifold.folding import CLOSED, coefficients, fold, quadrature
from dsm_hpc.manifold.moments import generalisation_error

SAMPLES = 100_000
FIELDS = 4

G = {"erf": lambda x: array_erf(x / sqrt(2)), "linear": lambda x: x, "relu": lambda x: np.maximum(x, 0)}
SLOPE = {"erf": lambda x: sqrt(2 / pi) * np.exp(-(x**2) / 2), "linear": np.ones_like}
CURVATURE = {"erf": lambda x: -sqrt(2 / pi) * x * np.exp(-(x**2) / 2), "linear": np.zeros_like}


def covariance(seed, n=FIELDS):
    """A random covariance with variances from about 0.2 to 3, some strongly correlated."""
    random = np.random.default_rng(seed)
    root = random.standard_normal((n, n + 1)) * random.uniform(0.3, 0.9, (n, 1))
    return root @ root.T


def integrand(name, g, x, indices):
    """What the average of this name is taken of; x : (fields, ...)."""
    value, slope, bend = G[g], SLOPE.get(g), CURVATURE.get(g)
    at = [x[index] for index in indices]
    match name:
        case "i2":
            return value(at[0]) * value(at[1])
        case "i3":
            return slope(at[0]) * at[1] * value(at[2])
        case "i4":
            return slope(at[0]) * slope(at[1]) * value(at[2]) * value(at[3])
        case "slopes":
            return slope(at[0]) * slope(at[1])
    return bend(at[0]) * value(at[1])


ORDER = {"i2": 2, "i3": 3, "i4": 4, "slopes": 2, "curvature": 2}
CASES = [(name, g) for name in ORDER for g in ("erf", "linear")] + [("i2", "relu")]


@pytest.mark.parametrize(("name", "g"), CASES)
def test_averages_agree_with_monte_carlo_for_all_indices(name, g):
    scores = []
    for seed in (1, 2):
        C = covariance(seed)
        x = np.random.default_rng(10 + seed).multivariate_normal(np.zeros(FIELDS), C, SAMPLES).T
        for indices in product(range(FIELDS), repeat=ORDER[name]):
            values = integrand(name, g, x, indices)
            expected = getattr(integrals, name)(g, C, *indices)
            error = values.std() / sqrt(SAMPLES)
            if error < 1e-12:
                assert values.mean() == pytest.approx(expected, abs=1e-12)
            else:
                scores.append((values.mean() - expected) / error)
    assert np.abs(scores).max(initial=0) < 4


@pytest.mark.parametrize(("name", "g"), CASES)
def test_averages_of_two_fields_agree_with_quadrature(name, g):
    """K = M = 1: every choice of indices of two correlated fields, by Gauss-Hermite in two dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    weights = np.outer(weights, weights) / (2 * pi)
    for seed in (3, 4):
        C = covariance(seed, 2)
        root = np.linalg.cholesky(C)
        x = np.tensordot(root, np.array(np.meshgrid(nodes, nodes, indexing="ij")), 1)
        tolerance = {"abs": 2e-3} if g == "relu" else {"rel": 1e-7, "abs": 1e-9}  # ReLU has a kink
        for indices in product(range(2), repeat=ORDER[name]):
            expected = float((weights * integrand(name, g, x, indices)).sum())
            assert getattr(integrals, name)(g, C, *indices) == pytest.approx(expected, **tolerance)


@pytest.mark.parametrize("g", ["erf", "linear"])
def test_averages_of_the_equations_are_sums_of_the_integrals(g):
    C, u, K = covariance(5, 5), np.array([0.7, -1.2, -1.0, -0.4, -2.0]), 2
    E, H, J, L, big = integrals.averages(g, C, u, K)
    for k in range(K):
        assert H[k] == pytest.approx(sum(u[a] * integrals.curvature(g, C, k, a) for a in range(5)))
        assert L[k] == pytest.approx(sum(u[a] * integrals.i2(g, C, k, a) for a in range(5)))
        for a in range(5):
            assert E[k, a] == integrals.slopes(g, C, k, a)
        for j in range(K):
            assert J[k, j] == pytest.approx(sum(u[a] * integrals.i3(g, C, k, j, a) for a in range(5)))
            total = sum(u[a] * u[b] * integrals.i4(g, C, k, j, a, b) for a in range(5) for b in range(5))
            assert big[k, j] == pytest.approx(total)


def test_a_student_equal_to_its_teacher_makes_no_error():
    C = np.tile(covariance(6, 2), (2, 2))
    for g in G:
        assert generalisation_error(g, C, np.ones(2), np.ones(2)) == pytest.approx(0, abs=1e-14)


def test_unknown_indices_and_activations_are_refused():
    C = covariance(7)
    with pytest.raises(IndexError):
        integrals.i2("erf", C, 0, FIELDS)
    with pytest.raises(ValueError, match="erf, linear"):
        integrals.i4("relu", C, 0, 0, 0, 0)


# ------------------------------------------------------------------------ folding functions


@pytest.mark.parametrize("f", CLOSED)
def test_closed_moments_agree_with_quadrature(f):
    closed, found = CLOSED[f], quadrature(f)
    assert (found.a, found.b, found.c) == pytest.approx((closed.a, closed.b, closed.c), abs=1e-12)


def test_moments_of_a_named_function_agree_with_monte_carlo():
    u = np.random.default_rng(8).standard_normal(10**6)
    found = coefficients("expit")
    for values, expected in (
        (1 / (1 + np.exp(-u)), found.a),
        (u / (1 + np.exp(-u)), found.b),
        (1 / (1 + np.exp(-u)) ** 2, found.c),
    ):
        assert abs(values.mean() - expected) < 4 * values.std() / 1000


def test_the_sign_of_zero_is_plus_and_erf_has_its_scale():
    assert fold("sgn", np.array([-0.5, 0.0, 2.0])).tolist() == [-1, 1, 1]
    assert fold("erf", np.array([1.0]))[0] == pytest.approx(erf(1 / sqrt(2)))


@pytest.mark.parametrize("f", ["add", "__import__", "tanhh", "os", "log", "sqrt", "gamma"])
def test_functions_that_are_not_known_or_not_finite_are_refused(f):
    with pytest.raises(InputError, match=rf"f = {f}.*allowed are"):
        coefficients(f)
