r"""A spin S = ±1 that is known through a Gaussian field and, in the closure `cavity`, its own perceptron.

The field is b = r̂ S + √r̂ z.  With the perceptron's message P(S = ±1) = Φ(±t) the posterior of S has the log
odds 2h, h = ½ ln Φ(t)/Φ(-t) + b, and the joint density of t, S and b is that of t times

    Φ(St) N(b; r̂S, r̂) = N(b; 0, r̂) exp(-r̂/2) √(Φ(t)Φ(-t)) exp(Sh).

Summed over S, every average is one over b ~ N(0, r̂) of 2√(ΦΦ) exp(-r̂/2) cosh(h) times a function of h that
falls like exp(-2|h|): nothing is large, and what an overlap lacks to 1 is a sum of positive terms.  The nodes
in b are equidistant; the integrands are analytic for |Im h| < π/2, so that the trapezoidal rule converges
exponentially.
"""

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.theory.overlap import Array, Overlap
from dsm_hpc.theory.perceptron import Messages

_COUNT = 120
_V, _H = 9.5, 25.0
"""The field is followed to so many standard deviations and to |h| of so much, whichever is less."""

_CERTAIN = 3000.0
"""From this r̂ on 1 - r, of order exp(-r̂/2), is 0 in double precision."""

SMALLEST = 1e-300
"""1 - r is kept above this, so that all known (Ising weights learn perfectly) is a finite fixed point."""

_WEAK = 1e-2
"""Below this r̂ small overlaps are summed up directly, not as what is missing to 1."""

_HERMITE, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
_HERMITE_WEIGHTS = _HERMITE_WEIGHTS / np.sqrt(2 * np.pi)


# ---------------------------------------------------------------------------------------- the field alone


def free_overlap(strength: Array) -> Overlap:
    """r = ∫Dz tanh(r̂ + √r̂ z) (PHYSICS section 2), of a spin without a message of its own.

    strength : r̂ ≥ 0, any shape but (), infinity allowed.  The same integral is q(q̂) of Ising weights.
    """
    _, sech = _field(np.zeros_like(strength), strength)
    one = np.ones((*strength.shape, 1))
    return _overlap(sech.sum(axis=-1), strength, 0 * one, one)


def free_entropy(strength: Array) -> Array:
    """Entropy of S given b: ∫Dz ln 2cosh(r̂ + √r̂ z) - r̂, from ln 2 at r̂ = 0 to 0 at infinity."""
    h, sech = _field(np.zeros_like(strength), strength)
    total: Array = (sech * _entropy_over_sech_squared(h)).sum(axis=-1)
    return total


# ---------------------------------------------------------------------------------------- with a message


class HiddenSpin:
    """Closure `cavity`: a spin with the message of its own perceptron (PHYSICS section 2).

    coupling : λ, Overlap of any shape but ().  strength : r̂ ≥ 0 of the same shape, infinity allowed.
    """

    def __init__(self, coupling: Overlap, strength: Array) -> None:
        self._coupling, self._strength, self._messages = coupling, strength, Messages(coupling)
        m = self._messages
        self._h, self._sech = _field(m.half_odds, strength[..., None])
        self._weight = m.weight * 2 * np.exp(m.log_plus)

    def overlap(self) -> Overlap:
        """r = E_t Σ_S Φ(St) ∫Dz S tanh h = 1 - E sech² h."""
        rest = (self._weight * self._sech.sum(axis=-1)).sum(axis=-1)
        return _overlap(rest, self._strength, self._messages.half_odds, self._weight)

    def slope(self) -> Array:
        """Ψ'(λ; r̂) = ½ E (∂ln Z)², the derivative by λ; G'(λ) at r̂ = infinity, 0 at r̂ = 0.

        ∂ln Z is the mean, over S given t and b, of the score S φ(t) / (√(1-λ) Φ(St)): Ψ' is G' less the
        variance of that score.
        """
        m = self._messages
        variance = (self._weight * m.hazard**2 * self._sech.sum(axis=-1)).sum(axis=-1)
        value: Array = m.slope() - variance / (8 * self._coupling.rest)
        weak = self._strength < _WEAK
        if weak.any():
            value[weak] = self._weak_slope(weak)
        return value

    def entropy(self) -> Array:
        """Entropy of S given t and b: Ψ(λ; r̂) - r̂ - G(λ), from -G at r̂ = 0 to 0 at infinity."""
        given = (self._sech * _entropy_over_sech_squared(self._h)).sum(axis=-1)
        total: Array = (self._weight * given).sum(axis=-1)
        return total

    def _weak_slope(self, weak: NDArray[np.bool_]) -> Array:
        """Ψ' = E_t φ² E_b 2 sinh²(b) exp(-r̂/2) / (2 (1-λ) √(ΦΦ) cosh(h)), where r̂ is small."""
        m, strength = self._messages, self._strength[weak][..., None]
        a = m.half_odds[weak]
        b = np.sqrt(strength)[..., None] * _HERMITE
        given = (np.sinh(b) ** 2 / np.cosh(a[..., None] + b)) @ _HERMITE_WEIGHTS * np.exp(a - strength / 2)
        squared = np.exp(-(m.t[weak] ** 2) - m.log_plus[weak]) / (2 * np.pi)
        total: Array = (m.weight[weak] * squared * given).sum(axis=-1) / self._coupling.rest[weak]
        return total


# ---------------------------------------------------------------------------------------- both


def _field(half_odds: Array, strength: Array) -> tuple[Array, Array]:
    """Nodes h = a + b, and weights of exp(-a - r̂/2) E_b[sech(h) f(h)] = Σ weight f(h), on a last axis."""
    strength = np.minimum(strength, _CERTAIN)[..., None]
    spread, a = np.sqrt(strength), half_odds[..., None]
    width = np.maximum(spread, 1e-100)
    low, high = np.maximum(-_V, (-_H - a) / width), np.minimum(_V, (_H - a) / width)
    step = np.maximum(high - low, 0) / (_COUNT - 1)
    v = low + step * np.arange(_COUNT)
    h = a + spread * v
    size = np.abs(h)
    falling = np.exp(-(a + strength / 2 + v**2 / 2 + size))
    return h, falling * (step * np.sqrt(2 / np.pi)) / (1 + np.exp(-2 * size))


def _overlap(rest: Array, strength: Array, half_odds: Array, weight: Array) -> Overlap:
    """The overlap from what it lacks to 1; of a weak field E sech(h) sinh²(h), exact if small."""
    rest = np.maximum(rest, SMALLEST)
    value = 1 - rest
    weak = (strength < _WEAK) & (rest > 0.5)
    if weak.any():
        few, a = strength[weak][..., None], half_odds[weak]
        h = a[..., None] + np.sqrt(few)[..., None] * _HERMITE
        given = (np.sinh(h) * np.tanh(h)) @ _HERMITE_WEIGHTS * np.exp(-a - few / 2)
        value[weak] = (weight[weak] * given).sum(axis=-1)
    return Overlap(value, rest)


def _entropy_over_sech_squared(h: Array) -> Array:
    """[ln 2cosh(h) - h tanh(h)] cosh²(h), without overflow."""
    size = np.abs(h)
    small = np.exp(-2 * size)
    value: Array = (1 + small) ** 2 / 4 * (np.log1p(small) / small + 2 * size / (1 + small))
    return value
