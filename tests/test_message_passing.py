"""Message passing against state evolution, explicit messages, exact posteriors, Monte Carlo and symmetries.

Seeds are fixed.  Deviations expected from the theory are of order 1/c at fixed alpha; statistical ones are
asked to stay below SIGMAS standard errors over samples.
"""

from dataclasses import replace
from functools import cache
from math import log, pi, sqrt

import numpy as np
import pytest
from conftest import small_config
from scipy.integrate import quad
from scipy.special import expit, log_ndtr

from dsm_hpc.errors import InputError
from dsm_hpc.kernels import Student, pack, unpack
from dsm_hpc.machine.sample import Machine, draw_sample
from dsm_hpc.theory import message_passing
from dsm_hpc.theory.message_passing import FIRST_OVERLAP, State, channel, multiplier, solve
from dsm_hpc.theory.message_passing_predictions import draw, generalisation, overlaps

SIGMAS = 4


def machine(width, fan_in, depth, alpha, index=0, **changes):
    sizes = {"width": width, "fan_in": fan_in, "depth": depth}
    network = {f"network__{key}": value for key, value in sizes.items()}
    config = small_config(**network, patterns__train=int(alpha * fan_in), **changes)
    return draw_sample(config, index)


def rms(values):
    return np.sqrt(np.mean(values**2))


# ------------------------------------------------------------------------- state evolution = closure `cavity`

Z, DZ = np.linspace(-8, 8, 401, retstep=True)
NORMAL = np.exp(-(Z**2) / 2) / sqrt(2 * pi) * DZ


def averaged(of, lam):
    """E_t sum_S Phi(S t) of(t, S), t ~ N(0, lam / (1 - lam)); even in t -> -t, S -> -S: S = 1, twice."""
    width = sqrt(lam / (1 - lam))

    def integrand(z):
        t = width * z
        return 2 * np.exp(log_ndtr(t) - z * z / 2) / sqrt(2 * pi) * of(t)

    return quad(integrand, -8, 8, epsabs=1e-9, limit=200)[0]


def psi_prime(lam, field):
    """Psi' = E (d ln Z / dm)^2 / 2; field = inf: the sign is known."""

    def square(t):
        density = -t * t / 2 - log(2 * pi) / 2
        if np.isinf(field):
            return np.exp(2 * (density - log_ndtr(t)))
        b = field + sqrt(field) * Z
        log_z = np.logaddexp(log_ndtr(t) + b, log_ndtr(-t) - b)
        return ((np.exp(density + b - log_z) - np.exp(density - b - log_z)) ** 2) @ NORMAL

    return averaged(square, lam) / (2 * (1 - lam))


def spin_overlap(lam, field):
    """r = E S tanh(atanh(2 Phi(t) - 1) + b)."""
    b = field + sqrt(field) * Z
    return averaged(lambda t: np.tanh((log_ndtr(t) - log_ndtr(-t)) / 2 + b) @ NORMAL, lam)


@cache
def state_evolution(depth, alpha, iterations):
    """q, r_1..r_L-1 after every iteration from the informed start, (iterations, 2 L - 1)."""
    strength = FIRST_OVERLAP["informed"] / (1 - FIRST_OVERLAP["informed"])
    q = np.full(depth, FIRST_OVERLAP["informed"])
    field = np.array([strength] * (depth - 1) + [np.inf])
    z = strength + sqrt(strength) * Z
    r = np.array([1.0] + [np.tanh(z) @ NORMAL] * (depth - 1))
    path = []
    for _ in range(iterations):
        lam = q * r
        gain = np.array([2 * psi_prime(lam[layer], field[layer]) for layer in range(depth)])
        field[:-1] = q[1:] * gain[1:]
        q = alpha * r * gain / (1 + alpha * r * gain)
        r[1:] = [spin_overlap(lam[layer], field[layer]) for layer in range(depth - 1)]
        path.append([*q, *r[1:]])
    return np.array(path)


def test_state_evolution_ends_at_the_cavity_closure():
    np.testing.assert_allclose(state_evolution(1, 1, 25)[-1], [0.4863], atol=1e-4)
    np.testing.assert_allclose(state_evolution(2, 4, 60)[-1], [0.6039, 0.6906, 0.6245], atol=1e-3)


@pytest.mark.parametrize(("depth", "alpha"), [(1, 1), (2, 4)])
def test_overlaps_follow_state_evolution_at_every_iteration(depth, alpha):
    fan_in, iterations = 50, 12
    sample = machine(400, fan_in, depth, alpha)
    state = State(sample, "informed", np.random.default_rng(1))
    for expected in state_evolution(depth, alpha, 60)[:iterations]:
        state.iterate(0)
        found = overlaps(sample, state.solution(False, 0))
        np.testing.assert_allclose([*found.q, *found.r[:-1]], expected, atol=1.5 / fan_in)
        np.testing.assert_allclose([*found.q_teacher, *found.r_teacher[:-1]], expected, atol=1.5 / fan_in)


# ------------------------------------------------------------------------------------------ explicit messages


def explicit_messages(sample, iterations):
    """Relaxed belief propagation with one message per edge, no expansion but that of one factor.

    Messages J (N, c, M) leave out their pattern, messages S (N, c, M) their reader.
    """
    state = State(sample, "informed", np.random.default_rng(1))
    depth, _, fan_in = sample.wiring.shape
    patterns, root = sample.config.patterns.train, sqrt(fan_in)
    J = [np.repeat(layer.mean[:, :, None], patterns, axis=2) for layer in state.layers]
    S = [spins.now[wiring] for spins, wiring in zip(state.spins, sample.wiring, strict=False)]
    variances = [layer.variance for layer in state.layers]
    fields = [spins.field for spins in state.spins]
    for _ in range(iterations):
        odds, responses, saids, below = [None], [], [], []
        for layer in range(depth):
            omega = (J[layer] * S[layer]).sum(axis=1) / root
            v = (variances[layer][:, :, None] + J[layer] ** 2 * (1 - S[layer] ** 2)).sum(axis=1) / fan_in
            said = channel(omega, v, fields[layer + 1])
            odds.append(said.log_odds)
            responses.append(said.response)
            # the factor's response without this edge
            saids.append(said.response[:, None] - said.slope[:, None] * J[layer] * S[layer] / root)
            field = np.zeros_like(fields[0])
            np.add.at(field, sample.wiring[layer], J[layer] * saids[layer] / root)
            below.append(field)
        old_J, means = list(J), []
        for layer in range(depth):
            on_weight = S[layer] * saids[layer] / root
            A = (S[layer] ** 2 * responses[layer][:, None] ** 2).sum(axis=2) / fan_in
            B = on_weight.sum(axis=2)
            z = multiplier(A, B)
            variances[layer] = 1 / (z + A)
            means.append(B * variances[layer])
            J[layer] = (B[:, :, None] - on_weight) * variances[layer][:, :, None]
        for layer in range(1, depth):
            fields[layer], wiring = below[layer], sample.wiring[layer]
            total = fields[layer] + odds[layer] / 2
            S[layer] = np.tanh(total[wiring] - old_J[layer] * saids[layer] / root)
    return means


@pytest.mark.parametrize(("iterations", "bound"), [(1, 1e-9), (2, 0.03), (3, 0.04), (4, 0.06)])
def test_onsager_terms_stand_for_explicit_messages(iterations, bound, monkeypatch):
    monkeypatch.setitem(FIRST_OVERLAP, "informed", 0.6)
    sample = machine(150, 30, 2, 4)
    state = State(sample, "informed", np.random.default_rng(1))
    for _ in range(iterations):
        state.iterate(0)
    explicit = explicit_messages(sample, iterations)
    for layer, mean in zip(state.layers, explicit, strict=True):
        assert rms(layer.mean - mean) < bound


# ------------------------------------------------------------------------------------------- exact posteriors


def exact_means(sample):
    """Posterior means of all weights of a single layer of Ising perceptrons, (N, c), by enumeration."""
    _, width, fan_in = sample.wiring.shape
    patterns = sample.config.patterns.train
    inputs, outputs = (unpack(words, patterns).astype(float) for words in sample.teacher.train)
    states = np.where(np.arange(1 << fan_in)[:, None] & (1 << np.arange(fan_in)), 1.0, -1.0)
    means = np.empty((width, fan_in))
    for i, reads in enumerate(sample.wiring[0]):
        right = ((states @ inputs[:, reads].T >= 0) == (outputs[:, i] > 0)).all(axis=1)
        means[i] = states[right].mean(axis=0)
    return means


def test_ising_marginals_approach_exhaustive_ones_as_c_grows():
    """Odd c: with h = 0 impossible the rule sgn(0) = +1, unknown to Gaussian messages, does not matter."""
    distances, slopes = [], []
    for fan_in in (5, 15):
        sample = machine(60, fan_in, 1, 0.6, network__weights="ising")
        solution = solve(sample, "uninformed", iterations=100)
        assert solution.converged
        exact = exact_means(sample)
        distances.append(rms(solution.mean[0] - exact) / rms(exact))
        slopes.append((solution.mean[0] * exact).mean() / (exact**2).mean())
    assert distances[1] < distances[0] < 0.3
    assert 1 - 1 / 15 < slopes[1] < 1
    assert slopes[0] < slopes[1]


def test_gaussian_marginals_of_one_layer_are_those_of_monte_carlo():
    """Planted students at E = 0 are exact draws; weights on the sphere; slope of one mean on the other."""
    sample, readings = machine(60, 20, 1, 2), 400
    solution = solve(sample, "uninformed", damping=0, iterations=200)
    assert solution.converged
    train, patterns = sample.teacher.train, sample.config.patterns.train
    student = Student(sample.wiring, sample.teacher.weights, train[0], train[-1], patterns, False)
    moves, mean = np.random.PCG64(1), np.zeros(sample.wiring.shape)
    for _ in range(readings):
        student.sweep(moves, np.inf, 1.0, 10)
        weights = np.asarray(student.weights)
        mean += weights / np.linalg.norm(weights, axis=2, keepdims=True) * sqrt(20) / readings
    slopes = (mean * solution.mean).sum(axis=2)[0] / (solution.mean**2).sum(axis=2)[0]
    assert abs(slopes.mean() - 1) < SIGMAS * slopes.std(ddof=1) / sqrt(60) + 1 / 20
    assert rms(mean - solution.mean) < 0.2 * rms(mean)


# ------------------------------------------------------------------------------- what the posterior must obey


@cache
def solved(index, start):
    sample = machine(300, 30, 2, 8, index)
    return sample, solve(sample, start, iterations={"informed": 20, "uninformed": 40}[start])


@pytest.mark.parametrize("start", ["informed", "uninformed"])
def test_nishimori_and_a_high_overlap(start):
    """At alpha = 8 both starts find the teacher; predicted and actual overlaps and errors agree to O(1/c)."""
    runs = [solved(index, start) for index in range(3)]
    found = [overlaps(*run, aligned=True) for run in runs]
    errors = [generalisation(*run) for run in runs]
    pairs = [
        (np.array([o.q for o in found]), np.array([o.q_teacher for o in found])),
        (np.array([o.r[:1] for o in found]), np.array([o.r_teacher[:1] for o in found])),
        (np.array([[e.bayes] for e in errors]), np.array([[e.bayes_expected] for e in errors])),
        (np.array([[e.gibbs] for e in errors]), np.array([[e.gibbs_expected] for e in errors])),
    ]
    for predicted, actual in pairs:
        difference = (predicted - actual).mean(axis=0)
        error = (predicted - actual).std(axis=0, ddof=1) / sqrt(len(runs))
        assert (np.abs(difference) < SIGMAS * error + 0.5 / 30).all()
    assert (pairs[0][1] > 0.85).all()
    assert all(error.bayes < error.gibbs for error in errors)


def test_two_starts_meet():
    for index in range(2):
        informed, uninformed = (overlaps(*solved(index, s), aligned=True) for s in ("informed", "uninformed"))
        np.testing.assert_allclose(informed.q_teacher, uninformed.q_teacher, atol=0.02)
        np.testing.assert_allclose(informed.r_teacher, uninformed.r_teacher, atol=0.02)


def test_gibbs_error_is_that_of_a_drawn_student():
    sample, solution = solved(0, "informed")
    words = [
        sample.test_signs(draw(sample, solution, np.random.default_rng(seed)))[-1] ^ sample.teacher.test[-1]
        for seed in range(8)
    ]
    rates = [np.bitwise_count(wrong).sum() / (300 * 100) for wrong in words]
    error = np.std(rates, ddof=1) / sqrt(len(rates))
    assert abs(np.mean(rates) - generalisation(sample, solution).gibbs) < SIGMAS * error + 0.5 / 30


def test_flipped_hidden_neurons_flip_their_marginals(monkeypatch):
    monkeypatch.setattr(message_passing, "through_noise", lambda values, strength, _: 0.3 * strength * values)
    sample = machine(40, 10, 3, 4)
    patterns = sample.config.patterns.train
    flip = np.ones((4, 40))
    flip[1:3] = np.random.default_rng(2).choice([-1, 1], (2, 40))
    signs = unpack(sample.teacher.train, patterns) * flip[:, None]
    into = np.stack([flip[layer + 1][:, None] * flip[layer][sample.wiring[layer]] for layer in range(3)])
    teacher = Machine(
        sample.teacher.weights * into, np.stack([pack(layer) for layer in signs]), sample.teacher.test
    )
    one = solve(sample, iterations=5)
    other = solve(replace(sample, teacher=teacher), iterations=5)
    np.testing.assert_allclose(other.mean, one.mean * into, atol=1e-8)
    np.testing.assert_allclose(other.magnetisation, one.magnetisation * flip[:, :, None], atol=1e-8)


def test_ising_weights_are_found_at_large_alpha():
    sample = machine(200, 21, 2, 8, network__weights="ising")
    solution = solve(sample)
    assert solution.converged
    assert (overlaps(sample, solution).q_teacher > 0.98).all()


# ----------------------------------------------------------------------------------------------------- pieces


def test_channel_is_the_derivative_of_its_partition_function():
    omega, v, b = np.meshgrid([-3.0, -0.2, 0.7], [0.3, 1.5], [-1.0, 0.4, 30.0])

    def log_z(omega):
        t = omega / np.sqrt(v)
        return np.logaddexp(log_ndtr(t) + b, log_ndtr(-t) - b)

    said, step = channel(omega, v, b), 1e-4
    up, here, down = log_z(omega + step), log_z(omega), log_z(omega - step)
    np.testing.assert_allclose(said.response, (up - down) / (2 * step), atol=1e-6)
    np.testing.assert_allclose(said.slope, (up - 2 * here + down) / step**2, atol=1e-5)
    np.testing.assert_allclose(
        expit(said.log_odds), expit(log_ndtr(omega / np.sqrt(v)) - log_ndtr(-omega / np.sqrt(v)))
    )


@pytest.mark.parametrize("field", [0.0, 1e4, -1e4, np.inf, -np.inf])
def test_channel_is_finite_far_out(field):
    said = channel(np.array([-1e3, 0.0, 1e3]), np.array([1e-6, 1.0, 1e-6]), np.full(3, field))
    assert all(np.isfinite(part).all() for part in said)


def test_multiplier_puts_weights_on_the_sphere():
    random = np.random.default_rng(3)
    precision, force = 5 * random.random((50, 12)), 10 * random.standard_normal((50, 12))
    variance = 1 / (multiplier(precision, force) + precision)
    assert (variance > 0).all()
    np.testing.assert_allclose((variance + (force * variance) ** 2).sum(axis=1), 12)


def test_not_converged_is_said_and_bad_arguments_refused():
    sample = machine(40, 10, 2, 4)
    solution = solve(sample, iterations=2)
    assert not solution.converged
    assert solution.iterations == 2
    assert solution.residual > 0.01
    for bad in ({"damping": 1.0}, {"tolerance": 0.0}, {"iterations": 0}, {"start": "planted"}):
        with pytest.raises(InputError, match=next(iter(bad))):
            solve(sample, **bad)
