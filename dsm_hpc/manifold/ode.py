"""Equations of motion of the order parameters for N, D -> infinity (PHYSICS section 4; HMM, section IV).

Time is t = steps / N.  beta_tau is kept for each mode: its average would bias eps_g at finite D.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.errors import InputError, RunError
from dsm_hpc.manifold.integrals import INTEGRABLE, averages, mode_changes
from dsm_hpc.manifold.modes import Modes
from dsm_hpc.manifold.moments import generalisation_error

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """Order parameters in time; the first axis is `times`, (n,), in units of N steps.

    error (n,), Q, W, Sigma (n, K, K), R (n, K, M), T (M, M), v (n, K).
    """

    times: Array
    error: Array
    Q: Array
    R: Array
    T: Array
    W: Array
    Sigma: Array
    v: Array
    evaluations: int


class Equations:
    """d/dt of (sigma, r, W, v), packed into one vector."""

    def __init__(self, modes: Modes, g: str, eta: float, second_layer: bool) -> None:
        """eta : learning rate of both layers; second_layer : whether v learns."""
        if g not in INTEGRABLE:
            raise InputError(
                f"g = {g}: has no equations of motion (simulation only): allowed are {', '.join(INTEGRABLE)}"
            )
        self.modes, self.g, self.eta, self.second_layer = modes, g, eta, second_layer
        self.K, self.M, self.n = len(modes.v), len(modes.A), len(modes.rho)
        # d_tau, gamma_tau and the teacher's pull, with the factors that all modes share.
        self._decay = -(modes.z + modes.b**2 / modes.delta * modes.rho)
        self._pull = modes.b / modes.delta * modes.rho
        self._gamma = modes.z * modes.rho + modes.b**2 / modes.delta * modes.rho**2
        self._variance = modes.coefficients.variance
        self._T = modes.T
        self._beta = np.ascontiguousarray(modes.beta)

    def start(self) -> Array:
        """The packed state at t = 0."""
        m = self.modes
        P = np.concatenate([m.sigma, m.r], axis=1)
        return np.concatenate([P.ravel(), m.W.ravel(), m.v])

    def unpack(self, state: Array) -> tuple[Array, Array, Array]:
        """(sigma | r), (K, K + M, n); W; v: views of a packed state."""
        K, size = self.K, self.K * (self.K + self.M) * self.n
        P = state[:size].reshape(K, K + self.M, self.n)
        return P, state[size : size + K * K].reshape(K, K), state[size + K * K :]

    def covariance(self, P: Array, W: Array) -> Array:
        """Covariance of (lambda, nu): Q = z W + b^2 mean sigma, R = b mean r, T = mean beta."""
        K, m = self.K, self.modes
        means = P @ m.share
        C = np.empty((K + self.M, K + self.M))
        C[:K, :K] = m.z * W + m.b**2 * means[:, :K]
        C[:K, K:] = m.b * means[:, K:]
        C[K:, :K], C[K:, K:] = C[:K, K:].T, self._T
        return C

    def derivative(self, _: float, state: Array) -> Array:
        """d/dt of the packed state."""
        K, eta = self.K, self.eta
        P, W, v = self.unpack(state)
        u = np.concatenate([v, -self.modes.A])
        E, H, J, L, G = averages(self.g, self.covariance(P, W), u, K)
        G *= eta**2 * np.outer(v, v)

        change = np.empty_like(state)
        dP, dW, dv = self.unpack(change)
        own = eta * v[:, None] * (np.diag(H) + E[:, :K] * v)
        taught = eta * v[:, None] * E[:, K:] * self.modes.A
        mode_changes(P, self._beta, own, taught, G, self._decay, self._pull, self._gamma, dP)

        drift = -eta * v[:, None] * J
        dW[...] = drift + drift.T + self._variance * G
        dv[...] = -eta * L if self.second_layer else 0
        return change


def solve(
    modes: Modes,
    g: str,
    eta: float,
    second_layer: bool,
    times: Array,
    rtol: float = 1e-6,
    method: str = "RK45",
) -> Trajectory:
    """Integrates the equations from `modes` at t = 0 and returns the order parameters at ascending `times`.

    rtol : relative tolerance of each step; absolute: rtol / 1000.
    """
    from scipy.integrate import solve_ivp  # 27 MB: not loaded where only a simulation is asked for

    equations = Equations(modes, g, eta, second_layer)
    times = np.asarray(times, dtype=float)
    found = solve_ivp(
        equations.derivative,
        (0.0, float(times[-1])),
        equations.start(),
        method=method,
        t_eval=times,
        rtol=rtol,
        atol=rtol / 1000,
    )
    if not found.success:
        raise RunError(f"the equations of motion could not be integrated: {found.message}")
    return _trajectory(equations, times, found.y.T, found.nfev)


def _trajectory(equations: Equations, times: Array, states: Array, evaluations: int) -> Trajectory:
    K, m = equations.K, equations.modes
    joint, error, W, v = [], [], [], []
    for state in states:
        P, w, second = equations.unpack(state)
        C = equations.covariance(P, w)
        joint.append(C)
        error.append(generalisation_error(equations.g, C, second, m.A))
        W.append(w)
        v.append(second)
    C, w = np.array(joint), np.array(W)
    Q, a = C[:, :K, :K], m.coefficients
    Sigma = (Q - a.z * w) / a.b**2 if a.b else np.full_like(Q, np.nan)
    return Trajectory(times, np.array(error), Q, C[:, :K, K:], m.T, w, Sigma, np.array(v), evaluations)
