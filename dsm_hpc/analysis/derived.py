"""Quantities derived from profiles: their errors by the jackknife and the bootstrap over samples.

A derived quantity f is a function of mean profiles.  Its value is f of the means over all n samples.

Jackknife: sqrt((n - 1)/n sum_s (f_s - f_.)^2), f_s from the means without sample s, f_. the mean of f_s; for
a linear f, the standard error of the mean.  Bootstrap: the interval between the percentiles of f over
RESAMPLES draws of n samples with replacement, which need not be symmetric.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import bootstrap

from dsm_hpc.analysis.statistics import middle_layers

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
"""Of mean profiles (..., L) to values (...)."""

RESAMPLES = 2000
CONFIDENCE = 0.95
"""Of the bootstrap intervals."""

MOST_AT_ONCE = 1 << 21
"""Overlaps that the bootstrap has in memory: with many samples not all draws are made at once."""


def derived(q: xr.DataArray, r_test: xr.DataArray) -> dict[str, dict[str, float]]:
    """What is derived from the profiles of one start and beta, each on the axes sample, layer.

    eps_g = (1 - r_test(L)) / 2, r_test raw; and of aligned q, for L >= 3: valley = (q(1) + q(L)) / 2 -
    min_l q(l), its depth below the ends, valley_layer, the l of the minimum, and middle_to_ends, q in the
    middle divided by (q(1) + q(L)) / 2.
    """
    found = {"eps_g": estimated(r_test, lambda profile: (1 - profile[..., -1]) / 2)}
    if q.sizes["layer"] >= 3:
        central = np.array(middle_layers(q.sizes["layer"])) - 1
        found["valley"] = estimated(q, lambda profile: _ends(profile) - profile.min(axis=-1))
        found["valley_layer"] = estimated(q, lambda profile: 1.0 + profile.argmin(axis=-1))
        found["middle_to_ends"] = estimated(
            q, lambda profile: np.divide(profile[..., central].mean(axis=-1), _ends(profile))
        )
    return found


def _ends(profile: Array) -> Array:
    return (profile[..., 0] + profile[..., -1]) / 2


def estimated(profile: xr.DataArray, function: Function) -> dict[str, float]:
    """f of the mean profile, with the jackknife's error and the bootstrap's interval.

    profile : (sample, layer); samples with a NaN drop out.  Errors are NaN for fewer than two samples.
    """
    samples: Array = profile.transpose("sample", "layer").values
    samples = samples[np.isfinite(samples).all(axis=1)]
    count = len(samples)
    if not count:
        return {"mean": np.nan, "error": np.nan, "low": np.nan, "high": np.nan, "samples": 0}
    low, high = _interval(samples, function)
    return {
        "mean": float(function(samples.mean(axis=0))),
        "error": jackknife(samples, function),
        "low": low,
        "high": high,
        "samples": count,
    }


def jackknife(samples: Array, function: Function) -> float:
    """Standard error of f of the mean of samples (n, L); NaN for fewer than two."""
    count = len(samples)
    if count < 2:
        return np.nan
    left_out: Array = function((samples.sum(axis=0) - samples) / (count - 1))
    return float(np.sqrt((count - 1) * left_out.var()))


def _interval(samples: Array, function: Function) -> tuple[float, float]:
    """Percentiles of the bootstrap, from a fixed stream: the same file gives the same numbers."""
    if len(samples) < 2:
        return np.nan, np.nan

    def statistic(*layers: Array, axis: int) -> Array:
        return function(np.stack([layer.mean(axis=axis) for layer in layers], axis=-1))

    found = bootstrap(
        tuple(samples.T),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, MOST_AT_ONCE // samples.size),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
