"""How well the walkers of a run mix within the window: autocorrelation times, and R-hat between chains.

Both are by libraries: tau by emcee, R-hat by ArviZ.  They describe the window and do not enter the verdict on
equilibrium: a planted start at beta = inf, for one, is an equilibrium state long before it has mixed.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from emcee.autocorr import AutocorrError, integrated_time
from numpy.typing import NDArray

from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import ROUNDING, Window
from dsm_hpc.config import LinearTimes

Array = NDArray[np.float64]

LONG_ENOUGH = 50
"""Windows shorter than this many tau give a tau that is too small (emcee's bound)."""

FEWEST_DRAWS = 4
"""Measurements that R-hat needs: two for each half of a chain."""


@dataclass(frozen=True)
class Mixing:
    """Of the walkers of one start.

    sweeps : integrated autocorrelation time tau = 1 + 2 sum_{k > 0} rho(k), in sweeps; NaN if none moved.
    effective : independent values in the window, all walkers together.
    windows : length of the window in tau; enough : whether that is at least LONG_ENOUGH.
    walkers, still : how many there are, and how many of them never moved, which tau leaves out.
    """

    sweeps: float
    effective: float
    windows: float
    enough: bool
    walkers: int
    still: int


def spacing(results: Results, times: Window) -> int | None:
    """Sweeps between the measurements of a window; None where they are not equally spaced."""
    kind = results.config.schedule.measurements
    return kind.every if isinstance(kind, LinearTimes) and times.measurements > 1 else None


def autocorrelation_time(series: xr.DataArray, every: int) -> dict[str, float] | None:
    """tau of one observable (see `Mixing`); None if no walker has been measured throughout.

    series : one start, beta, and layer, on the axes sample, clone, time.  The autocorrelation functions of
    all walkers are averaged before the sum is cut off at 5 tau, by the rule of Sokal.  Times that are not
    multiples of `every`, the ends of runs, are left out.
    """
    regular = series.sel(time=series["time"].values % every == 0)
    walkers: Array = regular.transpose("sample", "clone", "time").values.reshape(-1, regular.sizes["time"])
    walkers = walkers[np.isfinite(walkers).all(axis=1)]
    count, length = walkers.shape
    if not count or length < 2:
        return None
    moving = walkers[np.ptp(walkers, axis=1) > ROUNDING]
    still = count - len(moving)
    if not len(moving):
        return asdict(Mixing(np.nan, np.nan, np.nan, False, count, still))
    tau = max(_integrated(moving.T), 1.0)
    return asdict(
        Mixing(
            tau * every, len(moving) * length / tau, length / tau, length >= LONG_ENOUGH * tau, count, still
        )
    )


def _integrated(walkers: Array) -> float:
    """tau in units of the spacing.  walkers : (time, walker)."""
    try:
        tau = integrated_time(walkers, tol=LONG_ENOUGH)
    except AutocorrError as short:
        tau = short.tau
    return float(np.squeeze(tau))


def r_hat(chains: xr.DataArray) -> dict[str, float] | None:
    """Split R-hat of normalised ranks (Vehtari et al., Bayesian Analysis 16, 667 (2021)) for every sample.

    chains : one beta and layer, on the axes sample, chain, time.  Median and largest value over samples; None
    for fewer than 2 chains or FEWEST_DRAWS measurements, or where nothing moves.  Infinite where chains stand
    still at different values.
    """
    from arviz_stats.base.array import array_stats  # half a second, and only what has chains needs it

    values: Array = chains.transpose("sample", "chain", "time").values
    if values.shape[1] < 2 or values.shape[2] < FEWEST_DRAWS:
        return None
    values = values[np.isfinite(values).all(axis=(1, 2))]
    of_sample: Callable[[Array], float] = array_stats.rhat
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.array([of_sample(sample) for sample in values])
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    return {"median": float(np.median(found)), "worst": float(found.max()), "samples": len(found)}
