"""An overlap and what it lacks to 1, so that neither loses digits: at large α, 1 - q is of order 1/α²."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Overlap:
    """value + rest = 1, each accurate relative to itself, however small it is."""

    value: Array
    rest: Array

    def __mul__(self, other: "Overlap") -> "Overlap":
        """The product of two overlaps: 1 - ab = (1 - a) + a (1 - b)."""
        return Overlap(self.value * other.value, self.rest + self.value * other.rest)

    def __getitem__(self, where: Any) -> "Overlap":
        """The overlaps of some layers."""
        return Overlap(self.value[where], self.rest[where])


def from_depletion(rho: Array) -> Overlap:
    """1 - overlap = exp(-ρ): ρ is the overlap where that is small, and -ln(1 - overlap) near 1."""
    return Overlap(-np.expm1(-rho), np.exp(-rho))


def depletion(overlap: Overlap) -> Array:
    """ρ = -ln(1 - overlap), accurate at both ends; at most 690, where 1 - overlap is lost to underflow."""
    small = overlap.value < 0.5
    rho: Array = -np.log(np.maximum(overlap.rest, 1e-300))
    return np.where(small, -np.log1p(-np.where(small, overlap.value, 0)), rho)
