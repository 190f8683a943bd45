"""The best linear student: what a network reaches first, before it learns anything else of its teacher
(HMM, «functions of increasing complexity»)."""

from math import pi

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.errors import InputError
from dsm_hpc.manifold.integrals import INTEGRABLE
from dsm_hpc.manifold.modes import Modes
from dsm_hpc.manifold.moments import generalisation_error

Array = NDArray[np.float64]


def linear_error(modes: Modes, g: str) -> float:
    """Smallest eps_g of any function linear in x, for a teacher with activation g.

    Of y = sum_m A_m g(nu_m) only kappa . C, kappa_tau = sum_m A_m <g'(nu_m)> B_tau^m, is correlated with
    Gaussian inputs; of mode tau they show the share b^2 rho_tau / (z delta + b^2 rho_tau).  The rest of <y^2>
    remains: eps = (<y^2> - mean_tau kappa_tau^2 b^2 rho_tau / d_tau) / 2.
    """
    if g not in INTEGRABLE:
        raise InputError(f"g = {g}: the best linear student is known for {', '.join(INTEGRABLE)} only")
    gain = np.ones(len(modes.A)) if g == "linear" else np.sqrt(2 / pi / (1 + np.diag(modes.T)))
    weights = modes.A * gain
    kappa = np.einsum("m,mnt,n->t", weights, modes.beta, weights)
    shown = modes.b**2 * modes.rho
    noise = modes.z * modes.delta
    visible = np.divide(shown, shown + noise, out=np.zeros_like(shown), where=shown + noise > 0)
    power = generalisation_error(g, modes.T, np.zeros(0), modes.A)
    return power - 0.5 * float((kappa * visible) @ modes.share)
