"""The saddle point as a map of strengths onto strengths, and whether layers that know nothing stay so.

Strengths are non-negative and grow from 0 (nothing known) to infinity (all known): q̂_l, r̂_l, and
ρ_l = -ln(1 - r_l).  The map is monotone: more knowledge anywhere never leads to less elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.theory.closures import Closure, OrderParameters
from dsm_hpc.theory.overlap import Array, depletion, from_depletion
from dsm_hpc.theory.priors import Prior

_TINY = 1e-9
"""Strength at which the map is linear in the layers that know nothing."""


@dataclass(frozen=True)
class SaddlePoint:
    """One problem: x (3L - 2,) -> F(x), in the order q̂ (L), r̂ (L - 1), ρ (L - 1)."""

    closure: Closure
    prior: Prior
    depth: int
    alpha: float

    def __call__(self, x: Array) -> Array:
        """The right-hand sides of the saddle-point equations."""
        qhat, r, rhat = self.closure.update(self.state(x), self.alpha)
        return np.concatenate([qhat, rhat, depletion(r)])

    def state(self, x: Array) -> OrderParameters:
        """The order parameters that belong to strengths."""
        qhat, rhat, rho = np.split(x, [self.depth, 2 * self.depth - 1])
        return OrderParameters(self.prior.overlap(qhat), qhat, from_depletion(rho), rhat)

    def strengths(self, state: OrderParameters) -> Array:
        """The inverse of `state`."""
        return np.concatenate([state.qhat, state.rhat, depletion(state.r)])

    @property
    def layers(self) -> NDArray[np.int64]:
        """The layer that each strength belongs to."""
        every = np.arange(1, self.depth + 1)
        return np.concatenate([every, every[:-1], every[:-1]])

    def growth(self, x: Array) -> tuple[float, Array]:
        """How tiny strengths would grow where x is 0: rate per iteration, and their relative sizes (3L - 2,).

        The rate is the Perron root of the derivative of F in these strengths, 0 if there are none.  Above 1
        the layers that know nothing are unstable: they are at a continuous transition where it is 1.
        """
        unknown = np.flatnonzero(x == 0)
        direction = np.zeros_like(x)
        if not len(unknown):
            return 0.0, direction
        derivative = self._derivative(x)[np.ix_(unknown, unknown)]
        rate = float(np.abs(np.linalg.eigvals(derivative)).max())
        direction[unknown] = _leading(derivative)
        return rate, direction

    def _derivative(self, x: Array) -> Array:
        """dF/dx by the strengths that are 0, elsewhere 0.

        A strength reaches only its own layer and the next ones on both sides: those of every third layer are
        tried together.
        """
        layers, kinds = self.layers, np.repeat([0, 1, 2], [self.depth, self.depth - 1, self.depth - 1])
        derivative, before = np.zeros((len(x), len(x))), self(x)
        for kind in range(3):
            for colour in range(3):
                tried = np.flatnonzero((x == 0) & (kinds == kind) & (layers % 3 == colour))
                if not len(tried):
                    continue
                moved = x.copy()
                moved[tried] = _TINY
                change = (self(moved) - before) / _TINY
                for j in tried:
                    near = np.abs(layers - layers[j]) <= 1
                    derivative[near, j] = change[near]
        return derivative


def _leading(matrix: Array) -> Array:
    """The direction that grows fastest under a non-negative matrix, largest entry 1; slower ones are 0.

    With the identity added no eigenvalue is as large as the Perron root, and squaring finds its vectors.
    """
    power = (np.eye(len(matrix)) + matrix) / 2
    for _ in range(12):
        power = power @ power
        power = power / power.max()
    vector = power.sum(axis=1)
    return np.where(vector > 1e-6 * vector.max(), vector / vector.max(), 0)
