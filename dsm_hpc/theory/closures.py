"""The saddle point of a deep network in the dense limit: two closures (PHYSICS section 2).

Both have q̂_l = 2α r_{l-1} × (slope of the likelihood of layer l), and a free entropy per weight of a layer

    f = Σ_l [α G(λ_l) + weights' entropy] + α Σ_{l<L} [hidden spin's entropy + ½ r̂_l (1 - r_l)].

Written for free q, q̂, r, r̂, f is stationary by each of them at the saddle point.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.errors import InputError
from dsm_hpc.theory.overlap import Array, Overlap
from dsm_hpc.theory.perceptron import log_likelihood, slope
from dsm_hpc.theory.priors import Prior
from dsm_hpc.theory.spin import SMALLEST, HiddenSpin, free_entropy, free_overlap


@dataclass(frozen=True)
class OrderParameters:
    """One state of the network, not necessarily a solution.

    q : weights' overlaps (L,).  qhat : their conjugates.
    r : hidden spins' overlaps (L - 1,), layers 1…L-1.  rhat : their conjugates.
    """

    q: Overlap
    qhat: Array
    r: Overlap
    rhat: Array

    @property
    def below(self) -> Overlap:
        """r_{l-1} of layers l = 1…L: the input is known, r_0 = 1."""
        return Overlap(np.append(1.0, self.r.value), np.append(0.0, self.r.rest))

    @property
    def here(self) -> Overlap:
        """r_l of layers l = 1…L: the output is known, r_L = 1."""
        return Overlap(np.append(self.r.value, 1.0), np.append(self.r.rest, 0.0))


class Closure(ABC):
    """How the spins between two layers are treated."""

    name: str

    @abstractmethod
    def coupling(self, state: OrderParameters) -> Overlap:
        """λ_l (L,), the overlap of the pre-activations in layer l."""

    @abstractmethod
    def update(self, state: OrderParameters, alpha: float) -> tuple[Array, Overlap, Array]:
        """The saddle point's right-hand sides: q̂ (L,), r and r̂ (L - 1,)."""

    @abstractmethod
    def hidden_entropy(self, state: OrderParameters) -> Array:
        """Entropy of a hidden spin given its fields (L - 1,)."""

    def free_entropy(self, state: OrderParameters, alpha: float, prior: Prior) -> float:
        """f, per weight of a layer, for free order parameters; the Gardner volume is exp(N c f)."""
        weights = alpha * log_likelihood(self.coupling(state)) + prior.entropy(state.qhat, state.q)
        spins = self.hidden_entropy(state) + state.rhat * state.r.rest / 2
        return float(weights.sum() + alpha * spins.sum())


class DenseLimit(Closure):
    """Y20/DSM form, reconstructed: soft spins, whose own perceptron is treated like those above them.

    λ_l = r_{l-1} q_l r_l, q̂_l = 2α r_{l-1} r_l G'(λ_l),
    r̂_l = 2 [q_l r_{l-1} G'(λ_l) + q_{l+1} r_{l+1} G'(λ_{l+1})], r_l = ∫Dz tanh(r̂_l + √r̂_l z).
    """

    name = "dense_limit"

    def coupling(self, state: OrderParameters) -> Overlap:
        return state.below * state.q * state.here

    def update(self, state: OrderParameters, alpha: float) -> tuple[Array, Overlap, Array]:
        likelihood = slope(self.coupling(state))
        below, here = state.below.value, state.here.value
        qhat = 2 * alpha * below * here * likelihood
        from_below = state.q.value * below * likelihood
        from_above = state.q.value * here * likelihood
        rhat = 2 * (from_below[:-1] + from_above[1:])
        return qhat, free_overlap(state.rhat), rhat

    def hidden_entropy(self, state: OrderParameters) -> Array:
        return free_entropy(state.rhat)


class Cavity(Closure):
    """Exact on the tree-like limit: each hidden spin keeps the O(1) message of its own perceptron.

    λ_l = q_l r_{l-1}, q̂_l = 2α r_{l-1} Ψ'(λ_l; r̂_l), r̂_l = 2 q_{l+1} Ψ'(λ_{l+1}; r̂_{l+1}), r̂_L = infinity.
    """

    name = "cavity"

    def coupling(self, state: OrderParameters) -> Overlap:
        return state.below * state.q

    def update(self, state: OrderParameters, alpha: float) -> tuple[Array, Overlap, Array]:
        coupling, (known, hidden) = self.coupling(state), self._hidden(state)
        likelihood = np.zeros_like(state.qhat)
        r = Overlap(np.zeros_like(state.rhat), np.ones_like(state.rhat))
        likelihood[-1:] = slope(coupling[-1:])
        likelihood[:-1][known] = hidden.slope()
        r.value[known], r.rest[known] = vars(hidden.overlap()).values()
        qhat = 2 * alpha * state.below.value * likelihood
        return qhat, r, (2 * state.q.value * likelihood)[1:]

    def hidden_entropy(self, state: OrderParameters) -> Array:
        known, hidden = self._hidden(state)
        entropy = np.full(state.rhat.shape, np.log(2))
        entropy[known] = hidden.entropy()
        return entropy

    def _hidden(self, state: OrderParameters) -> tuple[NDArray[np.bool_], HiddenSpin]:
        """The layers whose spins anything is known about, and these spins."""
        coupling = self.coupling(state)[:-1]
        known = (coupling.value > 0) | (state.rhat > 0)
        return known, HiddenSpin(coupling[known], state.rhat[known])


CLOSURES: dict[str, Closure] = {closure.name: closure for closure in (DenseLimit(), Cavity())}


def closure_named(name: str) -> Closure:
    """Raises InputError for an unknown name."""
    if name not in CLOSURES:
        raise InputError(f"closure {name}: allowed are {', '.join(CLOSURES)}")
    return CLOSURES[name]


def perfect(state: OrderParameters) -> OrderParameters:
    """The state with overlaps of 1 where they lack no more than the smallest number of `spin`.

    Behind many layers r_test is far from 1 however little q lacks, but not if q is 1, as of Ising weights.
    """
    q, r = (Overlap(o.value, np.where(o.rest > 2 * SMALLEST, o.rest, 0)) for o in (state.q, state.r))
    return OrderParameters(q, state.qhat, r, state.rhat)
