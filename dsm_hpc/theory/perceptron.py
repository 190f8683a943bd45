r"""One perceptron that sees its pre-activation through an overlap λ: G(λ) and G'(λ) (PHYSICS section 2).

Both are averages over t ~ N(0, λ/(1-λ)), which is wide as λ → 1, of functions that live where |t| is of order
1, because they carry a factor φ(t).  That factor and the density of t together are a Gaussian of variance λ:

    E_t[φ(t) f(t)] = √((1-λ)/2π) ∫Du f(√λ u),    u ~ N(0, 1).

What is left, f, is analytic in a strip around the real axis and grows no faster than a power of t, so that
the trapezoidal rule in u converges exponentially, for every λ from 0 to 1 on the same nodes.
"""

import numpy as np
from scipy.special import erf, log_ndtr, ndtr

from dsm_hpc.theory.overlap import Array, Overlap

_STEP, _LAST = 0.5, 10.5
NODES: Array = np.arange(0, _LAST + _STEP / 2, _STEP)
"""Nodes u ≥ 0; integrands are even in u.  Nearest singularity: the zeros of Φ at t = ±1.9 ± 2.8i."""
TRAPEZOID: Array = np.where(NODES == 0, 1, 2) * _STEP / np.sqrt(2 * np.pi)
"""Weights of ∫du/√2π over both signs of u."""


class Messages:
    """What a perceptron says about its output S, on the nodes of the quadrature over its field.

    λ : Overlap of any shape; every attribute has one axis more, that of the nodes.
    t : the field in its units, P(S = ±1 | t) = Φ(±t); t ≥ 0 stands for both signs.
    log_plus, log_minus : ln Φ(±t).
    half_odds : ½ ln Φ(t)/Φ(-t).
    weight : of the average over t, E_t f = Σ weight f for even f.
    hazard : φ(t) / (Φ(t) Φ(-t)), which grows like t.
    """

    def __init__(self, coupling: Overlap) -> None:
        self.t = np.sqrt(coupling.value)[..., None] * NODES
        self.log_plus, self.log_minus = log_ndtr(self.t), log_ndtr(-self.t)
        # The difference of logarithms would lose the relative accuracy of a small t.
        near = np.arctanh(erf(np.minimum(self.t, 1) / np.sqrt(2)))
        self.half_odds: Array = np.where(self.t < 1, near, (self.log_plus - self.log_minus) / 2)
        rest = coupling.rest[..., None]
        self.weight = np.sqrt(rest) * np.exp(-rest * NODES**2 / 2) * TRAPEZOID
        log_density = -(self.t**2) / 2 - np.log(2 * np.pi) / 2
        self.hazard = np.exp(log_density - self.log_plus - self.log_minus)
        self._density = np.exp(log_density)
        self._coupling = coupling

    def log_likelihood(self) -> Array:
        """G(λ) = ∫Dz 2Φ(t) ln Φ(t), minus the entropy of the output, from -ln 2 at λ = 0 to 0 at λ = 1."""
        surprise = ndtr(self.t) * self.log_plus + ndtr(-self.t) * self.log_minus
        total: Array = (self.weight * surprise).sum(axis=-1)
        return total

    def slope(self) -> Array:
        """G'(λ) = ∫Dz φ(t)² [1/Φ(t) + 1/Φ(-t)] / (2(1-λ)), from 1/π at λ = 0 to infinity like (1-λ)^-½."""
        total: Array = (self.weight * self._density * self.hazard).sum(axis=-1)
        return total / (2 * self._coupling.rest)


def log_likelihood(coupling: Overlap) -> Array:
    """G(λ) (PHYSICS section 2); accurate to 1e-12 relative to itself."""
    return Messages(coupling).log_likelihood()


def slope(coupling: Overlap) -> Array:
    """G'(λ) (PHYSICS section 2); accurate to 1e-12 relative to itself."""
    return Messages(coupling).slope()
