"""What the equations of motion know of a system: eigenvalues of the features and projections onto them."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.folding import Coefficients
from dsm_hpc.manifold.system import System

Array = NDArray[np.float64]

_NULL = 1e-10
"""Eigenvalues of FᵀF/N below this belong to the null space."""


@dataclass(frozen=True)
class Modes:
    """The state of the order parameters, mode by mode (PHYSICS section 4; HMM, «equations of motion»).

    rho : (n,), eigenvalues of Omega; share : (n,), their weights, which sum to 1: mean_tau x = sum share x.
    sigma (K, K, n), r (K, M, n), beta (M, M, n) : sigma_tau, r_tau, beta_tau.
    W : (K, K); v : (K,); A : (M,).
    z, b, delta : of d_tau = z delta + b^2 rho_tau, gamma_tau = z rho_tau + (b^2 / delta) rho_tau^2 and
        R = b mean_tau r_tau.
    coefficients : of f, of which z and b are those above for a latent teacher.

    A teacher that reads the inputs fits into the same equations: Gaussian inputs of covariance Omega_x are
    x = sqrt(Omega_x) C' with N latent coordinates, f linear (z = 0, b = 1) and delta = 1, so that
    rho = eigenvalues of Omega_x = z + b^2 F F^T / D, Gamma = sqrt(rho) w and B' = sqrt(rho) B along them.
    The N - D directions off the manifold have equal rho, and enter together.
    """

    rho: Array
    share: Array
    sigma: Array
    r: Array
    beta: Array
    W: Array
    v: Array
    A: Array
    z: float
    b: float
    delta: float
    coefficients: Coefficients

    @property
    def T(self) -> Array:
        """mean_tau beta, (M, M)."""
        return np.asarray(self.beta @ self.share)


def modes_of(system: System, w: Array, v: Array) -> Modes:
    """Modes of a given system with the students w (K, N), v (K,), as at t = 0 of a simulation."""
    a = system.coefficients
    values, vectors = _spectrum(system)
    student, teacher = system.projected(w) @ vectors, system.B
    if system.reads_inputs:
        return _input_modes(system, w, v, values, student, system.projected(teacher) @ vectors)
    teacher = teacher @ vectors
    share = np.full(system.dimension, 1 / system.dimension)
    delta = system.dimension / system.width
    densities = _products(student, student), _products(student, teacher), _products(teacher, teacher)
    return Modes(values, share, *densities, w @ w.T / system.width, v, system.A, a.z, a.b, delta, a)


def _spectrum(system: System) -> tuple[Array, Array]:
    """Eigenvalues (D,) and orthonormal eigenvectors (D, D) of Omega = FᵀF/N."""
    if not system.dimension:
        return np.zeros(0), np.zeros((0, 0))
    F = system.features
    values, vectors = np.linalg.eigh(F.T @ F / system.width)
    return np.maximum(values, 0), vectors


def _input_modes(system: System, w: Array, v: Array, values: Array, student: Array, teacher: Array) -> Modes:
    """Modes of a teacher on the inputs; student, teacher : S and its like along the eigenvectors of Omega."""
    a, N = system.coefficients, system.width
    on = values > _NULL
    rho = a.z + a.b**2 * values[on] * N / max(system.dimension, 1)
    lengths = np.sqrt(rho / values[on])
    student, teacher = student[:, on] * lengths, teacher[:, on] * lengths
    share = np.full(len(rho), 1 / N)
    off = N - len(rho)

    def densities(p: Array, q: Array, x: Array, y: Array) -> Array:
        along = _products(p, q)
        if not off:
            return along
        rest = a.z * (x @ y.T - (along / rho).sum(axis=-1)) / off
        return np.concatenate([along, rest[..., None]], axis=-1)

    sigma = densities(student, student, w, w)
    r = densities(student, teacher, w, system.B)
    beta = densities(teacher, teacher, system.B, system.B)
    if off:
        rho, share = np.append(rho, a.z), np.append(share, off / N)
    return Modes(rho, share, sigma, r, beta, w @ w.T / N, v, system.A, 0.0, 1.0, 1.0, a)


def _products(p: Array, q: Array) -> Array:
    """p_i q_j for each mode: (I, n), (J, n) -> (I, J, n)."""
    return np.asarray(p[:, None, :] * q)


def marchenko_pastur(delta: float, nodes: int) -> tuple[Array, Array]:
    """Nodes and weights of the spectrum of FᵀF/N for N, D -> infinity at delta = D / N.

    p(rho) = sqrt((rho_+ - rho)(rho - rho_-)) / (2 pi delta rho), rho_± = (1 ± sqrt(delta))^2; for delta > 1
    a share 1 - 1/delta is 0.  With rho = 1 + delta + 2 sqrt(delta) cos(theta) the measure is smooth in theta,
    (2 / pi) sin^2(theta) / rho dtheta, and Gauss-Legendre takes the edges of the spectrum well.
    """
    points, weights = np.polynomial.legendre.leggauss(nodes)
    theta = np.pi / 2 * (points + 1)
    rho = 1 + delta + 2 * sqrt(delta) * np.cos(theta)
    share = weights * np.sin(theta) ** 2 / rho
    if delta > 1:
        rho, share = np.append(rho, 0.0), np.append(share, 1 - 1 / delta)
    return rho, share / share.sum()


def limit_modes(
    delta: float, a: Coefficients, W: Array, overlap: Array, T: Array, v: Array, A: Array, nodes: int = 100
) -> Modes:
    """Modes of an infinite system (latent teacher) whose students do not know the manifold yet.

    Weights drawn independently of F have sigma_tau = rho_tau W on average, and beta_tau = T; overlap : R at
    t = 0, (K, M), spread evenly over the modes.  It is 0 on average but of order 1/sqrt(D) in a finite
    system, and what makes students choose a teacher's unit: with R = 0 they would never specialise.
    """
    rho, share = marchenko_pastur(delta, nodes)
    even = np.ones_like(rho)
    b = a.b if a.b else 1.0
    return Modes(
        rho,
        share,
        W[..., None] * rho,
        overlap[..., None] / b * even,
        T[..., None] * even,
        W,
        v,
        A,
        a.z,
        a.b,
        delta,
        a,
    )
