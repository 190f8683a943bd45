"""Covariances of the local fields and the generalisation error (PHYSICS section 4)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.integrals import mean_product

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """The order parameters of students and teacher.

    Q (K, K) = <lambda_k lambda_l>, R (K, M) = <lambda_k nu_m>, T (M, M) = <nu_m nu_n>,
    W (K, K) = w w^T / N, Sigma (K, K) = S S^T / D with S = F^T w / sqrt(N) (NaN without a manifold).
    """

    Q: Array
    R: Array
    T: Array
    W: Array
    Sigma: Array

    @property
    def joint(self) -> Array:
        """Covariance of (lambda, nu), (K + M, K + M)."""
        return np.block([[self.Q, self.R], [self.R.T, self.T]])


def generalisation_error(g: str, joint: Array, v: Array, A: Array) -> float:
    """<(sum_k v_k g(lambda_k) - sum_m A_m g(nu_m))^2> / 2 for Gaussian fields of covariance `joint`."""
    return 0.5 * mean_product(g, joint, np.concatenate([v, -A]))
