"""What figures and tables of the manifold show: order parameters of several repetitions, in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.experiment import Record
from dsm_hpc.manifold.ode import Trajectory

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """times (n,), in units of N steps; the first axis of the others are s repetitions:

    error (s, n) : eps_g from the order parameters; test (s, n) : on fresh inputs, or None;
    Q (s, n, K, K), R (s, n, K, M), T (s, M, M).
    """

    times: Array
    error: Array
    Q: Array
    R: Array
    T: Array
    test: Array | None = None

    @property
    def mean(self) -> Array:
        """eps_g, mean over repetitions, (n,)."""
        return np.asarray(self.error.mean(axis=0))

    @property
    def spread(self) -> Array:
        """Its standard error; NaN for a single repetition."""
        count = len(self.error)
        if count < 2:
            return np.full(self.error.shape[1], np.nan)
        return np.asarray(self.error.std(axis=0, ddof=1) / sqrt(count))

    def specialisation(self, repetition: int = 0) -> Array:
        """R_km / sqrt(Q_kk T_mm) of one repetition, (n, K, M): the correlation of lambda_k and nu_m."""
        own = np.sqrt(np.einsum("nkk->nk", self.Q[repetition]))
        teacher = np.sqrt(np.diag(self.T[repetition]))
        return np.asarray(self.R[repetition] / (own[..., None] * teacher))


def of_records(records: Sequence[Record]) -> Curves:
    """Simulated repetitions, measured at the same times."""
    test = [[np.nan if one is None else one.mean for one in record.test] for record in records]
    return Curves(
        np.array(records[0].times),
        np.array([record.error for record in records]),
        np.array([record.Q for record in records]),
        np.array([record.R for record in records]),
        np.array([record.T[0] for record in records]),
        None if np.isnan(test).all() else np.array(test),
    )


def of_trajectories(trajectories: Sequence[Trajectory]) -> Curves:
    """Solutions of the equations at the same times."""
    return Curves(
        trajectories[0].times,
        *(np.array([getattr(one, name) for one in trajectories]) for name in ("error", "Q", "R", "T")),
    )


def largest_gap(simulated: Curves, expected: Curves, after: float = 1.0) -> float:
    """Largest relative distance between the mean eps_g of simulation and equations for t >= `after`; NaN if
    there is no such time."""
    late = simulated.times >= after
    return float(np.abs(simulated.mean / expected.mean - 1)[late].max()) if late.any() else float("nan")
