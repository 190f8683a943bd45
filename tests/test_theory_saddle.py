"""Solutions of the saddle point: against a slow independent one, closed forms, known limits, enumeration."""

from dataclasses import replace
from itertools import pairwise
from math import inf, pi, sqrt

import numpy as np
import pytest
from scipy.integrate import quad, quad_vec
from scipy.special import log_ndtr, ndtr

from dsm_hpc.errors import InputError
from dsm_hpc.theory.anderson import fixed_point
from dsm_hpc.theory.closures import CLOSURES
from dsm_hpc.theory.continuation import coexistence, critical_alpha, crossings, follow, jumps, onsets
from dsm_hpc.theory.overlap import Overlap
from dsm_hpc.theory.phase_diagram import lines_of
from dsm_hpc.theory.prediction import predict
from dsm_hpc.theory.priors import PRIORS
from dsm_hpc.theory.saddle import SaddlePoint
from dsm_hpc.theory.solver import BRANCHES, solve

BOTH = sorted(CLOSURES)

# ------------------------------------------------------------------------------- slow and independent
# Straight from PHYSICS section 2: averages over z by 60 Gauss-Hermite nodes or scipy.integrate.quad, plain
# damped iteration, no complements, no logarithms.

Z, W = np.polynomial.hermite_e.hermegauss(60)
W = W / W.sum()


def phi(t):
    return np.exp(-(t**2) / 2) / sqrt(2 * pi)


def slow_slope(lam):
    def integrand(z):
        t = sqrt(lam / (1 - lam)) * z
        return phi(z) * phi(t) ** 2 * (1 / ndtr(t) + 1 / ndtr(-t)) / (2 * (1 - lam))

    return quad(integrand, -8, 8, epsabs=1e-12, epsrel=1e-12, points=[0], limit=200)[0]


def slow_log_likelihood(lam):
    def integrand(z):
        t = sqrt(lam / (1 - lam)) * z
        return phi(z) * 2 * ndtr(t) * log_ndtr(t)

    return quad(integrand, -8, 8, epsabs=1e-12, epsrel=1e-12, points=[0], limit=200)[0]


def slow_tanh(strength):
    return quad(lambda z: phi(z) * np.tanh(strength + sqrt(strength) * z), -9, 9, epsabs=1e-12)[0]


def slow_log_cosh(strength):
    return quad(lambda z: phi(z) * np.log(2 * np.cosh(strength + sqrt(strength) * z)), -9, 9, epsabs=1e-12)[0]


def slow_hidden(lam, strength):
    """r, Ψ', Ψ of a hidden spin; inner average over z on nodes, outer one adaptive."""

    def integrand(z):
        t = sqrt(lam / (1 - lam)) * z
        total = np.zeros(3)
        for s in (1, -1):
            b = strength * s + sqrt(strength) * Z
            plus, minus = ndtr(t) * np.exp(b), ndtr(-t) * np.exp(-b)
            change = phi(t) / sqrt(1 - lam) * (plus / ndtr(t) - minus / ndtr(-t))
            magnetisation = s * (plus - minus) / (plus + minus)
            score = (change / (plus + minus)) ** 2 / 2
            total += ndtr(s * t) * np.array([W @ magnetisation, W @ score, W @ np.log(plus + minus)])
        return phi(z) * total

    return quad_vec(integrand, -7, 7, epsabs=1e-9, epsrel=1e-9)[0]


def slow_solution(closure, depth, alpha, prior, sweeps=400):
    """q, r and free entropy."""
    q, r = np.full(depth, 0.5), np.append(np.full(depth - 1, 0.5), 1.0)
    rhat = np.append(np.full(depth - 1, 1.0), inf)
    for _ in range(sweeps):
        below = np.append(1.0, r[:-1])
        if closure == "dense_limit":
            g = np.array([slow_slope(below[k] * q[k] * r[k]) for k in range(depth)])
            qhat = 2 * alpha * below * r * g
            for k in range(depth - 1):
                rhat[k] = 2 * (q[k] * below[k] * g[k] + q[k + 1] * r[k + 1] * g[k + 1])
            new_r = np.array([slow_tanh(x) for x in rhat[:-1]])
        else:
            hidden = [slow_hidden(q[k] * below[k], rhat[k]) for k in range(depth - 1)]
            g = np.array([h[1] for h in hidden] + [slow_slope(q[-1] * below[-1])])
            qhat = 2 * alpha * below * g
            rhat[:-1] = 2 * q[1:] * g[1:]
            new_r = np.array([h[0] for h in hidden])
        new_q = qhat / (1 + qhat) if prior == "gaussian" else np.array([slow_tanh(x) for x in qhat])
        change = max(np.abs(new_q - q).max(), np.abs(new_r - r[:-1]).max(initial=0))
        q, r[:-1] = (q + 2 * new_q) / 3, (r[:-1] + 2 * new_r) / 3
        if change < 1e-8:
            break
    below = np.append(1.0, r[:-1])
    if prior == "gaussian":
        weights = np.log(1 - q) / 2 + q / 2
    else:
        weights = np.array([slow_log_cosh(x) for x in qhat]) - qhat * (1 + q) / 2
    if closure == "dense_limit":
        layers = [slow_log_likelihood(below[k] * q[k] * r[k]) for k in range(depth)]
        spins = [slow_log_cosh(rhat[k]) - rhat[k] * (1 + r[k]) / 2 for k in range(depth - 1)]
    else:
        layers = [slow_hidden(q[k] * below[k], rhat[k])[2] for k in range(depth - 1)]
        layers.append(slow_log_likelihood(q[-1] * below[-1]))
        spins = [-rhat[k] * (1 + r[k]) / 2 for k in range(depth - 1)]
    return q, r, alpha * sum(layers) + weights.sum() + alpha * sum(spins)


SLOW = [
    ("dense_limit", 2, 4.0, "gaussian"),
    ("dense_limit", 3, 8.0, "gaussian"),
    ("dense_limit", 5, 20.0, "gaussian"),
    ("dense_limit", 3, 4.0, "ising"),
    ("cavity", 2, 4.0, "gaussian"),
    ("cavity", 2, 2.5, "ising"),
    ("cavity", 3, 6.0, "gaussian"),
]


@pytest.mark.parametrize(("closure", "depth", "alpha", "prior"), SLOW)
def test_against_a_slow_independent_solution(closure, depth, alpha, prior):
    q, r, free_entropy = slow_solution(closure, depth, alpha, prior)
    found = [solve(closure, depth, alpha, branch, prior) for branch in BRANCHES]
    nearest = min(found, key=lambda solution: np.abs(solution.q - q).max())
    assert nearest.converged
    assert nearest.q == pytest.approx(q, abs=1e-6)
    assert nearest.r == pytest.approx(r, abs=1e-6)
    assert nearest.free_entropy == pytest.approx(free_entropy, abs=1e-6)


def test_the_figures_of_the_notes():
    """PHYSICS section 2: L = 2, α = 4."""
    dense, cavity = (predict(2, 4.0, closure) for closure in ("dense_limit", "cavity"))
    assert dense.q.round(4).tolist() == [0.6808, 0.6808]
    assert dense.r.round(4).tolist() == [0.6075, 1]
    assert cavity.q.round(4).tolist() == [0.6039, 0.6906]
    assert cavity.r.round(4).tolist() == [0.6245, 1]


# ------------------------------------------------------------------------------- free entropy

STATIONARY = [
    (closure, prior, depth, alpha)
    for closure in BOTH
    for prior in ("gaussian", "ising")
    for depth, alpha in ((1, 0.8), (2, 3.0), (4, 14.0))
]


@pytest.mark.parametrize(("closure", "prior", "depth", "alpha"), STATIONARY)
def test_free_entropy_is_stationary(closure, prior, depth, alpha):
    """By each q, q̂, r, r̂, all free: central differences, their error 1e-7 at f of order 10, step 1e-4."""
    solution = solve(closure, depth, alpha, "uninformed", prior)
    state, f = solution.state, CLOSURES[closure].free_entropy

    def shifted(name, layer, step):
        value = getattr(state, name)
        if isinstance(value, Overlap):
            moved = Overlap(value.value.copy(), value.rest.copy())
            moved.value[layer] += step
            moved.rest[layer] -= step
        else:
            moved = value.copy()
            moved[layer] += step
        return f(replace(state, **{name: moved}), alpha, PRIORS[prior])

    scale = 0.0
    for name in ("q", "qhat", "r", "rhat"):
        values = getattr(state, name)
        values = values.value if isinstance(values, Overlap) else values
        for layer, value in enumerate(values):
            if value == 0 or (name in ("q", "r") and value > 1 - 1e-3):
                continue
            step = 1e-4 * min(value, 1 - value if name in ("q", "r") else inf)
            derivative = (shifted(name, layer, step) - shifted(name, layer, -step)) / (2 * step)
            assert abs(derivative) * value < 1e-6 * alpha
            scale = max(scale, value)
    assert scale > 0.1  # something was tested


# ------------------------------------------------------------------------------- one layer


def test_one_layer_is_the_gibbs_perceptron():
    """q at α = 1 and 4 (Györgyi and Tishby); both closures are the same problem."""
    for closure in BOTH:
        assert solve(closure, 1, 1.0).q[0] == pytest.approx(0.4863, abs=5e-5)
        assert solve(closure, 1, 4.0).q[0] == pytest.approx(0.9003, abs=5e-5)


def test_one_layer_learns_like_0_625_over_alpha():
    """With G' → κ/√(1-q), κ = ∫φ²/ΦΦ / 2√2π: 1 - q → 1/(2ακ)², ε_g → √2/(2πκα) = 0.6247/α.

    Corrections are of relative order 1 - q, that is 1/α²: a tenfold α leaves a hundredth of them.
    """
    kappa = quad(lambda t: phi(t) ** 2 / ndtr(t) / ndtr(-t), -12, 12)[0] / (2 * sqrt(2 * pi))
    limit = sqrt(2) / (2 * pi * kappa)
    assert limit == pytest.approx(0.625, abs=5e-4)
    found = [solve("cavity", 1, alpha).generalization.forward_error * alpha for alpha in (100.0, 1000.0)]
    deviation = [error / limit - 1 for error in found]
    assert abs(deviation[0]) < 1e-3
    assert deviation[0] / deviation[1] == pytest.approx(100, rel=0.05)


# ------------------------------------------------------------------------------- thresholds, symmetry


@pytest.mark.parametrize("prior", ["gaussian", "ising"])
@pytest.mark.parametrize(
    ("closure", "depth", "alpha"),
    [
        ("dense_limit", 2, pi**2 / 8),
        ("dense_limit", 3, pi**2 / 4),
        ("dense_limit", 7, pi**2 / 4),
        ("cavity", 2, (sqrt(5) - 1) / 2 * pi**2 / 4),
        ("cavity", 3, pi**2 / 4),
        ("cavity", 7, pi**2 / 4),
    ],
)
def test_where_layers_begin_to_learn(closure, depth, alpha, prior):
    """Closed forms of small λ; strengths of 1e-9 are linear to 1e-9."""
    assert critical_alpha(closure, depth, prior) == pytest.approx(alpha, rel=1e-8)
    assert (solve(closure, depth, 0.99 * alpha, prior=prior).q == 0).all()
    assert solve(closure, depth, 1.01 * alpha, prior=prior).q[-1] > 1e-3


def test_only_first_and_last_layer_begin_in_the_dense_limit():
    q = solve("dense_limit", 5, 1.2 * pi**2 / 4).q
    assert (q > 0).tolist() == [True, False, False, False, True]
    q = solve("cavity", 5, 1.2 * pi**2 / 4).q
    assert (q > 0).tolist() == [False, False, False, False, True]


def test_onsets_by_bisection():
    points = follow("dense_limit", 3, [1.0, 3.0, 4.0])
    for bracket in onsets(points):
        assert bracket is not None
        assert bracket.low < pi**2 / 4 < bracket.high
    (first, _, _) = onsets(points, threshold=0.1)
    assert first is not None
    assert solve("dense_limit", 3, first.low).q[0] <= 0.1 <= solve("dense_limit", 3, first.high).q[0] + 1e-9
    assert onsets(points, threshold=0.999) == [None] * 3


@pytest.mark.parametrize("prior", ["gaussian", "ising"])
@pytest.mark.parametrize(("depth", "alpha"), [(2, 5.0), (3, 9.0), (6, 25.0)])
def test_the_dense_limit_is_symmetric(depth, alpha, prior):
    """l ↔ L + 1 - l; `cavity` is not."""
    for branch in BRANCHES:
        s = solve("dense_limit", depth, alpha, branch, prior)
        assert s.q == pytest.approx(s.q[::-1], abs=1e-9)
        assert s.r[:-1] == pytest.approx(s.r[-2::-1], abs=1e-9)
    assert abs(np.diff(solve("cavity", 2, 4.0).q)[0]) > 0.05


# ------------------------------------------------------------------------------- branches


def test_branches_are_ordered_and_meet_when_there_is_one():
    for closure in BOTH:
        points = follow(closure, 4, [2.0, 8.0, 30.0])
        assert all(p.converged for p in points)
        assert all((p.informed.q >= p.uninformed.q - 1e-9).all() for p in points)
        assert all((b.ruling.q >= a.ruling.q - 1e-9).all() for a, b in pairwise(points))
        assert points[0].coincide


def test_two_solutions_and_which_one_rules():
    """At L = 5, `cavity`: one solution, then two with the ignorant one ruling, then the other one."""
    points = follow("cavity", 5, [10.0, 22.0, 30.0])
    assert [p.coincide for p in points] == [True, False, False]
    assert [p.ruling.branch for p in points[1:]] == ["uninformed", "informed"]
    (bracket,) = crossings(points, precision=1e-2)
    assert 22 < bracket.low < bracket.high < 30
    low, high = solve("cavity", 5, bracket.low), solve("cavity", 5, bracket.low, "informed")
    assert high.free_entropy < low.free_entropy
    ((begin, end),) = coexistence(points, precision=1e-1)
    assert 10 <= begin.low < begin.high <= 22
    assert end.high == inf


def test_a_branch_jumps_at_its_spinodal():
    """Uninformed branch, L = 5, `cavity`: between 50 and 60 the lower layers learn at once."""
    points = follow("cavity", 5, [50.0, 60.0])
    (jump,) = jumps(points[:2], "uninformed", precision=1e-1)
    assert jump.change[0] > 0.9
    before = solve("cavity", 5, jump.low)
    assert before.q[0] < 0.1


def test_the_ruling_branch_is_found_between_points():
    """L = 4, `cavity`: two solutions from 14.3 to 22.7 only, the informed one rules towards the end."""
    lines = lines_of(follow("cavity", 4, [18.0, 26.0]))
    assert (lines.informed_from, lines.critical) == (0, pytest.approx(pi**2 / 4))
    assert 18 < lines.rules_from < lines.uninformed_to < 26


def test_the_first_layer_of_a_solution_does_not_depend_on_its_start():
    """Continuation and solution from scratch agree."""
    chained = follow("dense_limit", 4, [5.0, 10.0, 20.0])[-1].uninformed
    assert chained.q == pytest.approx(solve("dense_limit", 4, 20.0).q, abs=1e-8)


def test_plain_iteration_leads_to_the_same_solution():
    """The map is monotone: from nothing it climbs to the smallest solution.  Anderson's must be that one."""
    for closure, prior, alpha in (("dense_limit", "gaussian", 30.0), ("cavity", "ising", 6.0)):
        solution = solve(closure, 4, alpha, "uninformed", prior)
        problem = SaddlePoint(CLOSURES[closure], PRIORS[prior], 4, alpha)
        x = np.where(problem.strengths(solution.state) > 0, 1e-5, 0)
        for _ in range(3000):
            y = np.where(x > 0, problem(x) ** 0.7 * x**0.3, 0)
            if np.abs(y - x).max() < 1e-12:
                break
            x = y
        assert problem.state(x).q.value == pytest.approx(solution.q, abs=1e-7)


def test_no_convergence_is_said():
    found = fixed_point(lambda x: x + 1, np.zeros(1), 1e-10, 50)
    assert (found.converged, found.iterations) == (False, 50)
    assert found.residual == pytest.approx(1)
    # x -> sqrt(x): ln x is halved each time.
    halved = fixed_point(lambda x: x / 2, np.ones(3), 1e-12, 50)
    assert halved.converged
    assert halved.iterations < 20


@pytest.mark.parametrize(("alpha", "depth"), [(1e-6, 1), (1000.0, 1), (1000.0, 3), (2.0, 100), (1000.0, 100)])
@pytest.mark.parametrize("closure", BOTH)
def test_extremes_are_finite(closure, alpha, depth):
    """Informed branch at the corners of what is allowed; 1 - q falls like 1/α² without losing digits."""
    solution = solve(closure, depth, alpha, "informed")
    assert solution.converged
    assert np.isfinite(solution.q).all()
    assert np.isfinite(solution.free_entropy)
    if alpha == 1000:
        rest = solution.state.q.rest
        assert rest == pytest.approx(np.full(depth, 1e-6 * 1.92), rel=0.01)
        assert rest * (1 + solution.qhat) == pytest.approx(1, rel=1e-12)


# ------------------------------------------------------------------------------- generalisation


def test_forward_is_the_arcsine_of_two_gaussians():
    s = solve("cavity", 2, 4.0)
    r = 2 / pi * np.arcsin(s.q[1] * 2 / pi * np.arcsin(s.q[0]))
    assert s.generalization.forward == pytest.approx([2 / pi * np.arcsin(s.q[0]), r], abs=1e-14)
    assert s.generalization.forward_error == pytest.approx((1 - r) / 2, abs=1e-14)
    assert s.generalization.saddle_error == s.generalization.forward_error


def test_saddle_solves_its_equations():
    """Written once more for L = 3: hidden spins hear from both sides, the output from below only."""
    s = solve("dense_limit", 3, 12.0, "informed")
    below, r = np.append(1.0, s.generalization.saddle[:-1]), s.generalization.saddle
    g = np.array([slow_slope(x) for x in below * s.q * r])
    field = 2 * s.q * below * g
    field[:-1] += 2 * s.q[1:] * r[1:] * g[1:]
    assert r == pytest.approx([slow_tanh(x) for x in field], abs=1e-7)


def test_deep_and_informed_generalisation():
    """On the informed branch `saddle` keeps ε_g small at L = 20 where `forward` has lost everything."""
    test = solve("dense_limit", 20, 60.0, "informed").generalization
    assert test.saddle_error < 1e-6
    assert test.forward_error > 0.49


# ------------------------------------------------------------------------------- Ising, enumeration


def enumerated(width, patterns, samples, random):
    """Mean overlap of the students that reproduce the data with their teacher, all 2^N of them enumerated."""
    students = 1.0 - 2 * ((np.arange(2**width)[:, None] >> np.arange(width)) & 1)
    overlaps = []
    for _ in range(samples):
        x, teacher = random.standard_normal((width, patterns)), students[random.integers(2**width)]
        right = ((students @ x) * (teacher @ x) > 0).all(axis=1)
        overlaps.append((students[right] @ teacher).mean() / width)
    return np.mean(overlaps), np.std(overlaps) / sqrt(samples)


def test_ising_against_enumeration():
    """α = 1/2: q_N falls to the theory's q like 1/N, to 0.02 by a line through N = 6 and 12, error 0.009."""
    random = np.random.default_rng(5)
    small, large = enumerated(6, 3, 3000, random), enumerated(12, 6, 500, random)
    theory = solve("cavity", 1, 0.5, prior="ising").q[0]
    assert small[0] - large[0] > 3 * sqrt(small[1] ** 2 + large[1] ** 2)
    assert large[0] > theory
    extrapolated = 2 * large[0] - small[0]
    assert abs(extrapolated - theory) < 0.02 + 3 * sqrt(4 * large[1] ** 2 + small[1] ** 2)
    more = enumerated(12, 12, 200, random)
    assert more[0] - large[0] > 0.2  # α = 1
    assert solve("cavity", 1, 1.0, prior="ising").q[0] - theory > 0.2


def test_ising_learns_perfectly():
    """q = 1 is a solution at every α, with f = 0; it rules from α = 1.245 (Györgyi), alone from 1.493."""
    for alpha, rules in ((1.24, "uninformed"), (1.25, "informed")):
        p = follow("cavity", 1, [alpha], "ising")[0]
        assert (p.informed.q[0], p.informed.free_entropy) == (1, pytest.approx(0, abs=1e-12))
        assert p.ruling.branch == rules
    assert solve("cavity", 1, 1.48, prior="ising").q[0] < 0.95
    assert solve("cavity", 1, 1.51, prior="ising").q[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("mean_field", 2, 1.0),
        ("cavity", 0, 1.0),
        ("cavity", 101, 1.0),
        ("cavity", 2, 0.0),
        ("cavity", 2, 2e3),
    ],
)
def test_what_cannot_be_solved_is_refused(arguments):
    with pytest.raises(InputError, match="allowed are"):
        solve(*arguments)
