"""The weights' side of the saddle point: overlap q(q̂) and entropy, per prior (PHYSICS section 2).

A weight J with teacher J* is seen through a Gaussian field q̂ J* + √q̂ z, whatever the closure.
"""

from abc import ABC, abstractmethod

import numpy as np

from dsm_hpc.errors import InputError
from dsm_hpc.theory.overlap import Array, Overlap
from dsm_hpc.theory.spin import free_entropy, free_overlap


class Prior(ABC):
    """How weights are drawn; q̂ is an array (L,)."""

    name: str

    @abstractmethod
    def overlap(self, qhat: Array) -> Overlap:
        """q(q̂)."""

    @abstractmethod
    def entropy(self, qhat: Array, q: Overlap) -> Array:
        """The weights' part of the free entropy for free q and q̂; its derivative by q̂ vanishes at q(q̂)."""


class Gaussian(Prior):
    """J ~ N(0, 1): q = q̂ / (1 + q̂); at q(q̂) the entropy term is ½ ln(1-q) + ½ q."""

    name = "gaussian"

    def overlap(self, qhat: Array) -> Overlap:
        return Overlap(qhat / (1 + qhat), 1 / (1 + qhat))

    def entropy(self, qhat: Array, q: Overlap) -> Array:
        """½ q̂ (1 - q) - ½ ln(1 + q̂)."""
        term: Array = (qhat * q.rest - np.log1p(qhat)) / 2
        return term


class Ising(Prior):
    """J = ±1: q = ∫Dz tanh(q̂ + √q̂ z); at α = 0 the entropy is ln 2, students are counted."""

    name = "ising"

    def overlap(self, qhat: Array) -> Overlap:
        return free_overlap(qhat)

    def entropy(self, qhat: Array, q: Overlap) -> Array:
        """∫Dz ln 2cosh(q̂ + √q̂ z) - ½ q̂ (1 + q)."""
        return free_entropy(qhat) + qhat * q.rest / 2


PRIORS: dict[str, Prior] = {prior.name: prior for prior in (Gaussian(), Ising())}


def prior_named(name: str) -> Prior:
    """Raises InputError for an unknown name."""
    if name not in PRIORS:
        raise InputError(f"prior {name}: allowed are {', '.join(PRIORS)}")
    return PRIORS[name]
