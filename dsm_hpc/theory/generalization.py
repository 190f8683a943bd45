"""Overlap of student and teacher on a fresh input, layer by layer, and the test error (PHYSICS section 2).

`forward` : the signal runs forward only: r(0) = 1, r(l) = (2/π) arcsin(q_l r(l-1)).  Assumes that the
    student's weights do not depend on the test input: exact on the tree-like limit, given q.
`saddle` : the test input is one more pattern of the closure's own saddle point, whose output is free.  In
    `dense_limit` a hidden spin then hears from above as well, r̂_l as in training, and the output spin from
    its perceptron, r̂_L = 2 q_L r_{L-1} G'(λ_L).  In `cavity` a free output sends no message down, every r̂_l
    is 0, and what is left, E_t (2Φ(t) - 1)² = (2/π) arcsin(λ), is `forward` again.
"""

from dataclasses import dataclass

import numpy as np

from dsm_hpc.theory.anderson import fixed_point
from dsm_hpc.theory.closures import OrderParameters
from dsm_hpc.theory.overlap import Array, Overlap
from dsm_hpc.theory.perceptron import slope
from dsm_hpc.theory.spin import SMALLEST, free_overlap

_TOLERANCE, _MOST = 1e-11, 2000
_SEED, _ALL_KNOWN = 1e-6, 1e4
_NOTHING = 1e-20
"""A field r̂ that falls to this is 0."""


@dataclass(frozen=True)
class Generalization:
    """Test overlaps r_test(l), l = 1…L, and test errors ε_g = (1 - r_test(L)) / 2, of both forms."""

    forward: Array
    forward_error: float
    saddle: Array
    saddle_error: float


def generalization(state: OrderParameters, closure: str, branch: str) -> Generalization:
    """Both forms at a solution of a branch; `saddle` is NaN if its equations were not solved."""
    ahead = forward(state.q)
    around = ahead if closure == "cavity" else dense_saddle(state.q, informed=branch == "informed")
    return Generalization(ahead.value, float(ahead.rest[-1]) / 2, around.value, float(around.rest[-1]) / 2)


def forward(q: Overlap) -> Overlap:
    """r_test(l) = (2/π) arcsin(q_l r_test(l-1)), l = 1…L; its rest is (4/π) arcsin √((1 - q_l r_test)/2)."""
    values, rests = np.empty_like(q.value), np.empty_like(q.value)
    below = Overlap(np.ones(1), np.zeros(1))
    for layer in range(len(q.value)):
        product = q[layer : layer + 1] * below
        value, rest = 2 / np.pi * np.arcsin(product.value), 4 / np.pi * np.arcsin(np.sqrt(product.rest / 2))
        below = Overlap(value, np.minimum(rest, 1.0))
        values[layer], rests[layer] = below.value[0], below.rest[0]
    return Overlap(values, rests)


def dense_saddle(q: Overlap, informed: bool) -> Overlap:
    """r_test(l), l = 1…L, of one more pattern with a free output, from all or from nothing known about it.

    r̂_l = 2 [q_l r_{l-1} G'(λ_l) + q_{l+1} r_{l+1} G'(λ_{l+1})], without the second term at l = L;
    λ_l = r_{l-1} q_l r_l, r_l = ∫Dz tanh(r̂_l + √r̂_l z).  NaN without convergence.
    """
    # From nothing known only those layers are reached that are linked to the input.
    reached = q.value > 0 if informed else np.cumprod(q.value > 0) > 0
    if not reached.any():
        return free_overlap(np.zeros_like(q.value))

    def logarithms(logs: Array) -> Array:
        rhat = np.zeros_like(q.value)
        rhat[reached] = np.exp(logs)
        r = free_overlap(rhat)
        below = Overlap(np.append(1.0, r.value[:-1]), np.append(0.0, r.rest[:-1]))
        likelihood = slope(below * q * r)
        field = 2 * q.value * below.value * likelihood
        field[:-1] += (2 * q.value * r.value * likelihood)[1:]
        return np.log(np.maximum(field[reached], _NOTHING))

    begin = np.full(np.count_nonzero(reached), np.log(_ALL_KNOWN if informed else _SEED))
    found = fixed_point(logarithms, begin, _TOLERANCE, _MOST)
    if not found.converged:
        return Overlap(np.full_like(q.value, np.nan), np.full_like(q.value, np.nan))
    rhat = np.zeros_like(q.value)
    rhat[reached] = np.where(found.x > np.log(2 * _NOTHING), np.exp(found.x), 0)
    r = free_overlap(rhat)
    return Overlap(r.value, np.where(r.rest > 2 * SMALLEST, r.rest, 0))
