"""The equations of motion: against the average step of SGD, against simulation, and in their limits."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from dsm_hpc.errors import InputError
from dsm_hpc.manifold.activations import activate
from dsm_hpc.manifold.folding import coefficients
from dsm_hpc.manifold.linear import linear_error
from dsm_hpc.manifold.modes import limit_modes, marchenko_pastur, modes_of
from dsm_hpc.manifold.ode import Equations, solve
from dsm_hpc.manifold.online import OnlineRun, evolve
from dsm_hpc.manifold.system import SCENARIOS, draw_student, draw_system


def stream(*key):
    return np.random.PCG64DXSM(np.random.SeedSequence(11, spawn_key=key))


def random(*key):
    return np.random.Generator(stream(*key))


def drawn(scenario, width, dimension, seed=0, f="sgn", g="erf", units=2, second=None, teachers=2):
    """A system and a student of it."""
    of = draw_system(scenario, f, g, width, dimension, teachers, random(1, seed), random(2, seed))
    return of, *draw_student(random(3, seed), units, width, 1.0, second)


# ------------------------------------------------------------------------ the mean of one step of SGD


class Steps:
    """What one step of SGD does to the order parameters, over many fresh Gaussian inputs at a fixed state.

    Where inputs are Gaussian (`gaussian_equivalent`, `iid`) the part linear in eta holds at any N and D; the
    part quadratic in eta up to O(1/N), as x_tau^2 is not quite independent of the fields.
    """

    def __init__(self, of, w, v, samples, block=20_000):
        """Means and standard errors of N x (change / eta) and N x (change / eta^2), by PHYSICS' SGD."""
        N, rng = of.width, random(20)
        self.of, a = of, of.coefficients
        F, e = of.features, None
        if of.dimension:
            e = np.linalg.eigh(F.T @ F / N)[1]
            Fe = F @ e / sqrt(N)  # Gamma_tau of a vector w is w . Fe_tau
        else:
            Fe = np.zeros((N, 0))
        gamma, B = w @ Fe, of.B @ e if e is not None else of.B[:, :0]
        self.collected = {}
        for _ in range(samples // block):
            if of.scenario == "iid":
                x = rng.standard_normal((block, N))
                nu = x @ of.B.T / sqrt(N)
            else:
                C = rng.standard_normal((block, of.dimension))
                x = a.b * C @ F.T / sqrt(of.dimension) + sqrt(a.z) * rng.standard_normal((block, N))
                nu = C @ of.B.T / sqrt(of.dimension)
            fields = x @ w.T / sqrt(N)
            slope = {"erf": sqrt(2 / np.pi) * np.exp(-(fields**2) / 2), "linear": np.ones_like(fields)}[of.g]
            delta = activate(of.g, fields) @ v - activate(of.g, nu) @ of.A
            pull = -v * slope * delta[:, None]  # w_k moves by eta / sqrt(N) pull_k x
            along = x @ Fe
            linear = {
                "sigma": np.einsum("sk,st,lt->sklt", pull, along, gamma) * sqrt(N),
                "r": np.einsum("sk,st,mt->skmt", pull, along, B) * sqrt(N),
                "W": np.einsum("sk,sl->skl", pull, x @ w.T) / sqrt(N),
                "v": -activate(of.g, fields) * delta[:, None],
            }
            for name in ("sigma", "W"):
                linear[name] = linear[name] + linear[name].swapaxes(1, 2)
            quadratic = {
                "sigma": np.einsum("sk,sl,st->sklt", pull, pull, along**2),
                "W": np.einsum("sk,sl,s->skl", pull, pull, (x**2).sum(axis=1) / N),
            }
            for order, changes in ((1, linear), (2, quadratic)):
                for name, values in changes.items():
                    sums = self.collected.setdefault((order, name), [0, 0.0, 0.0])
                    sums[0] += len(values)
                    sums[1] = sums[1] + values.sum(axis=0)
                    sums[2] = sums[2] + (values**2).sum(axis=0)

    def estimate(self, order, name):
        count, total, squares = self.collected[order, name]
        mean = total / count
        return mean, np.sqrt((squares / count - mean**2) / count)


def orders(equations_at, eta=1.0):
    """Parts linear and quadratic in eta of the right-hand side: {(order, name): array}."""
    parts = {}
    found = {}
    for rate in (eta, 2 * eta):
        equations = equations_at(rate)
        P, W, v = equations.unpack(equations.derivative(0.0, equations.start()))
        K = equations.K
        found[rate] = {"sigma": P[:, :K], "r": P[:, K:], "W": W, "v": v}
    for name, once in found[eta].items():
        twice = found[2 * eta][name]
        parts[2, name] = (twice - 2 * once) / (2 * eta**2)
        parts[1, name] = once / eta - eta * parts[2, name]
    return parts


@pytest.mark.parametrize("g", ["erf", "linear"])
def test_drift_is_the_mean_step_of_sgd(g):
    """Terms of order eta, exact at any size: every mode and pair, |z| < 4."""
    of, w, v = drawn("gaussian_equivalent", 40, 12, f="relu", g=g, units=3, second=0.8)
    w = w + 0.8 * (of.features @ of.B.T).T[[0, 1, 0]] / sqrt(40)  # a student that knows something
    measured = Steps(of, w, v, 400_000)
    expected = orders(lambda eta: Equations(modes_of(of, w, v), g, eta, True))
    for name in ("sigma", "r", "W", "v"):
        mean, error = measured.estimate(1, name)
        z = (mean - expected[1, name]) / error
        assert np.abs(z).max() < 4, name
        assert np.abs(expected[1, name] / error).max() > 20, "the test would not see this term"


def test_noise_of_a_linear_network_is_the_mean_square_step_of_sgd():
    """Terms of order eta^2, mode by mode, |z| < 4.  At finite N they are those of the equations and, by
    Wick's theorem, 2 <Delta x_tau>^2, which vanishes for N -> infinity."""
    of, w, v = drawn("gaussian_equivalent", 100, 40, f="relu", g="linear", second=0.8)
    measured = Steps(of, w, v, 200_000)
    modes, a, N, D = modes_of(of, w, v), of.coefficients, 100, 40
    expected = orders(lambda eta: Equations(modes, "linear", eta, True))[2, "sigma"]
    F = of.features
    Fe = F @ np.linalg.eigh(F.T @ F / N)[1] / sqrt(N)
    covariance = v @ w @ (a.z * np.eye(N) + a.b**2 * F @ F.T / D) / sqrt(N) - of.A @ of.B @ F.T * a.b / D
    wick = 2 * np.multiply.outer(np.outer(v, v), (covariance @ Fe) ** 2)
    mean, error = measured.estimate(2, "sigma")
    assert np.abs((mean - expected - wick) / error).max() < 4
    assert np.abs(wick).sum() < 0.1 * np.abs(expected).sum()


def test_noise_is_the_mean_square_step_of_sgd():
    """Terms of order eta^2 for erf, in moments over the modes (N = 500, D = 100: 3 % of finite size)."""
    of, w, v = drawn("gaussian_equivalent", 500, 100, f="relu", second=0.8)
    measured = Steps(of, w, v, 40_000, block=4_000)
    modes = modes_of(of, w, v)
    expected = orders(lambda eta: Equations(modes, "erf", eta, True))
    assert not expected[2, "r"].any()
    assert np.abs(expected[2, "v"]).max() < 1e-12
    mean, _ = measured.estimate(2, "sigma")
    for power in (-2, 0, 2):
        weights = modes.rho**power
        np.testing.assert_allclose(mean @ weights, expected[2, "sigma"] @ weights, rtol=0.03)
    np.testing.assert_allclose(measured.estimate(2, "W")[0], expected[2, "W"], rtol=0.03)


def test_drift_of_iid_inputs():
    """One mode with rho = 1 carries everything."""
    of, w, v = drawn("iid", 30, 1, units=2, second=0.8)
    measured = Steps(of, w, v, 200_000)
    modes = modes_of(of, w, v)
    assert (modes.rho.tolist(), modes.share.tolist()) == ([1.0], [1.0])
    expected = orders(lambda eta: Equations(modes, "erf", eta, True))
    np.testing.assert_allclose(expected[1, "sigma"][..., 0], expected[1, "W"], atol=1e-12)
    for name in ("W", "v"):
        mean, error = measured.estimate(1, name)
        assert (np.abs(mean - expected[1, name]) < 4 * error).all()


def test_without_second_layer_v_stays():
    of, w, v = drawn("latent_teacher", 60, 20)
    found = solve(modes_of(of, w, v), "erf", 0.2, False, [0, 1, 5])
    np.testing.assert_array_equal(found.v, np.ones((3, 2)))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_the_start_of_the_equations_is_the_state_of_the_run(scenario, shape):
    """Q, R, T, W, Sigma, eps_g at t = 0, for D < N and D > N."""
    of, w, v = drawn(scenario, *shape, second=0.5, units=3)
    found, moments = solve(modes_of(of, w, v), "erf", 0.2, True, [0.0, 0.1]), of.moments(w)
    for name in ("Q", "R", "W", "Sigma"):
        np.testing.assert_allclose(getattr(found, name)[0], getattr(moments, name), atol=1e-12)
    np.testing.assert_allclose(found.T, moments.T, atol=1e-12)
    assert found.error[0] == pytest.approx(of.closed_error(w, v))


def test_tolerance_of_the_integrator():
    of, w, v = drawn("latent_teacher", 200, 20)
    times, modes = [0, 0.1, 1, 10, 50], modes_of(of, w, v)
    fine, usual = (solve(modes, "erf", 0.2, True, times, rtol).error for rtol in (1e-10, 1e-6))
    np.testing.assert_allclose(usual, fine, rtol=2e-5)


def test_relu_has_no_equations():
    of, w, v = drawn("latent_teacher", 20, 10, g="relu")
    with pytest.raises(InputError, match="allowed are erf, linear"):
        solve(modes_of(of, w, v), "relu", 0.2, False, [0, 1])


# ------------------------------------------------------------------------ simulation and equations

TIMES = np.array([0, 0.1, 0.3, 1, 2, 3, 5, 7, 10, 15, 20])


def compared(scenario, width, dimension, seeds, times=TIMES, eta=0.2, second_layer=False, units=2, **kind):
    """eps_g of simulation and equations, (2, seeds, times)."""
    steps = np.rint(times * width).astype(int)
    found = []
    for seed in seeds:
        second = 0.5 if second_layer else None
        of, w, v = drawn(scenario, width, dimension, seed, second=second, units=units, **kind)
        run, seen = OnlineRun(of, w, v, eta, second_layer, stream(4, seed)), []
        evolve(run, steps, lambda r, seen=seen: seen.append(r.closed_error()))
        modes = modes_of(of, w, v)
        found.append((seen, solve(modes, of.g, eta, second_layer, steps / width).error))
    return np.array(found).swapaxes(0, 1)


def test_simulation_follows_the_equations_to_five_percent():
    """The bar of issue 8: N = 2000, D = 200, sgn, eta = 0.2, K = M = 2."""
    simulated, expected = compared("latent_teacher", 2000, 200, range(3)).mean(axis=1)
    assert np.abs(simulated / expected - 1)[TIMES >= 1].max() < 0.05
    assert np.abs(simulated / expected - 1).max() < 0.05
    assert simulated[-1] < 0.2 * simulated[0]


@pytest.mark.parametrize("second_layer", [False, True])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_follows_the_equations(scenario, second_layer):
    times = np.array([0, 1, 3, 10])
    simulated, expected = compared(
        scenario, 1000, 100, range(4), times, second_layer=second_layer, f="relu", units=3
    ).mean(axis=1)
    assert np.abs(simulated / expected - 1).max() < 0.06


def test_a_linear_network_follows_the_equations():
    times = np.array([0, 1, 3, 6])
    simulated, expected = compared(
        "latent_teacher", 1000, 250, range(6), times, f="erf", g="linear", second_layer=True
    ).mean(axis=1)
    assert np.abs(simulated / expected - 1).max() < 0.06


def test_the_gap_shrinks_with_the_size():
    """Root mean square over runs and t >= 1, delta = 0.1: like 1/sqrt(N)."""
    times = np.array([0, 1, 2, 3, 5, 7, 10])
    gaps = []
    for width, seeds in ((100, range(20)), (400, range(10)), (1600, range(5))):
        simulated, expected = compared("latent_teacher", width, width // 10, seeds, times)
        gaps.append(np.sqrt((((simulated / expected - 1)[:, 1:]) ** 2).mean()))
    assert gaps[0] > 1.4 * gaps[1] > 1.4**2 * gaps[2]


def test_at_small_dimension_beta_must_be_kept_by_mode():
    """D = 50: eps_g of the equations is never negative and follows the simulation; with T in place of
    beta_tau, as in some published code, it does not."""
    times = np.array([0, 1, 10, 50, 200.0])
    wrong = []
    for seed in range(3):
        of, w, v = drawn("latent_teacher", 500, 50, seed)
        modes = modes_of(of, w, v)
        right = solve(modes, "erf", 0.2, False, np.linspace(0, 200, 200))
        assert (right.error > 0).all()
        averaged = replace(modes, beta=np.repeat(modes.T[..., None], len(modes.rho), axis=2))
        wrong.append(
            solve(averaged, "erf", 0.2, False, times).error / solve(modes, "erf", 0.2, False, times).error
        )
    assert np.abs(np.array(wrong)[:, -1] - 1).max() > 0.1
    simulated, expected = compared("latent_teacher", 500, 50, range(4), times[:4]).mean(axis=1)
    assert np.abs(simulated / expected - 1).max() < 0.1


# ------------------------------------------------------------------------ N, D -> infinity


@pytest.mark.parametrize("delta", [0.1, 0.5, 1.0, 2.0])
def test_marchenko_pastur_has_the_moments_of_finite_spectra(delta):
    """<rho> = 1, <rho^2> = 1 + delta, <rho^3> = 1 + 3 delta + delta^2; and those of a drawn F, |z| < 4."""
    rho, share = marchenko_pastur(delta, 200)
    moments = [share @ rho**power for power in range(4)]
    assert moments == pytest.approx([1, 1, 1 + delta, 1 + 3 * delta + delta**2], rel=1e-10)
    N = 400
    D = round(delta * N)
    spectra = []
    for seed in range(12):
        F = random(30, seed).standard_normal((N, D))
        spectra.append(np.linalg.eigvalsh(F.T @ F / N))
    for function in (lambda x: x, lambda x: x**2, lambda x: x**3, np.sqrt, lambda x: 1 / (0.3 + x)):
        values = np.array([function(np.maximum(spectrum, 0)).mean() for spectrum in spectra])
        error = values.std(ddof=1) / sqrt(len(values))
        assert abs(values.mean() - share @ function(rho)) < 4 * error + 3 / N * abs(values.mean())


def test_the_limit_is_that_of_large_systems():
    """The same W, R and T in a system with N = 4000, D = 400 and in the limit: eps_g within 3 %."""
    of, w, v = drawn("latent_teacher", 4000, 400)
    # The teacher's projections evenly over the modes, the student's free of it and of each other.
    modes = modes_of(of, w, v)
    even = np.ones(400)
    start = replace(
        modes,
        beta=np.eye(2)[..., None] * even,
        r=0.02 * np.eye(2)[..., None] * even,
        sigma=np.eye(2)[..., None] * modes.rho,
        W=np.eye(2),
    )
    a, times = coefficients("sgn"), [0, 1, 3, 10, 30, 100]
    limit = limit_modes(0.1, a, np.eye(2), 0.02 * a.b * np.eye(2), np.eye(2), np.ones(2), np.ones(2))
    big, infinite = (solve(m, "erf", 0.2, False, times) for m in (start, limit))
    np.testing.assert_allclose(infinite.error, big.error, rtol=0.03)
    np.testing.assert_allclose(infinite.R[:, 0, 0], big.R[:, 0, 0], rtol=0.03)


# ------------------------------------------------------------------------ linear student


@pytest.mark.parametrize("scenario", ["gaussian_equivalent", "iid"])
@pytest.mark.parametrize("g", ["erf", "linear"])
def test_linear_error_is_that_of_least_squares(scenario, g):
    """Regression over many Gaussian inputs; its own excess error N / n is taken off."""
    from dsm_hpc.manifold.inputs import InputSource

    of, w, v = drawn(scenario, 30, 12, g=g)
    source, draws, x, y = InputSource(of), stream(40), [], []
    for _ in range(600):
        block = source.draw(draws)
        x.append(block.inputs[:, :30].copy())
        y.append(activate(g, block.fields) @ of.A)
    X, Y = np.concatenate(x).astype(float), np.concatenate(y)
    residuals = Y - X @ np.linalg.lstsq(X, Y)[0]
    losses = residuals**2 / 2 / (1 - 30 / len(Y))
    assert abs(losses.mean() - linear_error(modes_of(of, w, v), g)) < 4 * losses.std() / sqrt(len(Y)) + 1e-9
