"""Free energy along a ladder: ln Z(beta) / Z(beta_hot) per weight, Z(beta) = <e^{-beta E}> over the prior.

Two ways, for each sample and start on its own: thermodynamic integration, d ln Z / d beta = -<E>, and the
multistate Bennett acceptance ratio (MBAR; Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008)) of pymbar.
From the coldest finite beta_c to infinity the fraction of E = 0 leads: Z(inf) = Z(beta_c) P_{beta_c}(E = 0).
If the hottest beta is 0, ln Z(inf) is that of the Gardner volume, the prior probability of E = 0.

Both hold in equilibrium only.  Averages are over the window of the analysis; clones are put together.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import logsumexp

from dsm_hpc.analysis.exchange import hot_to_cold, is_tempered
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Window, estimate, in_errors, window
from dsm_hpc.presentation.wording import column, counted, in_words, item, number, table, with_error

Array = NDArray[np.float64]

MOST_KEPT = 2000
"""Energies per temperature that MBAR is given; of more, evenly spread ones are kept."""

CONVERGED = 1e-6
"""How well the weights of each temperature must add up to 1 when MBAR is done."""

LOG_Z = ("integration", "quadrature", "mbar")

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def free_energy(results: Results) -> dict[str, Any] | None:
    """ln Z along the ladder, per start; None for a run without exchange or before anything is measured.

    Every `Estimate` is over samples, on the axis beta in ascending order.
    """
    times = window(results)
    if not is_tempered(results) or times is None:
        return None
    betas = results.layout.coordinates["beta"][hot_to_cold(results)]
    starts = {start: _start(results, start, times) for start in results.config.ensemble.starts}
    numbers: dict[str, Any] = {
        "betas": betas.tolist(),
        "reference": float(betas[0]),
        "weights": results.config.network.weight_count,
        "starts": {start: _estimates(values) for start, values in starts.items()},
    }
    if len(starts) == 2:
        agreement = _agreement(starts["planted"]["mbar"], starts["random"]["mbar"])
        return numbers if agreement is None else numbers | {"agreement": agreement}
    return numbers


def _start(results: Results, start: str, times: Window) -> dict[str, xr.DataArray]:
    """One start: <E>, and ln Z by both ways, on the axes sample and beta; per weight but for <E>/(NM)."""
    config = results.config
    order = hot_to_cold(results)
    betas = results.layout.coordinates["beta"][order]
    energies = times.of(results.variable("energy")).sel(start=start).isel(beta=order)
    values = energies.transpose("sample", "beta", "clone", "time").values
    rows = [sample_free_energy(betas, sample) for sample in values]
    bits = config.network.width * config.patterns.train
    found = {name: np.array([row[name] for row in rows]) / config.network.weight_count for name in LOG_Z}
    found |= {"energy": np.array([row["energy"] for row in rows]) / bits}
    found |= {"kept": np.array([row["kept"] for row in rows])}
    axes = {"sample": results.layout.coordinates["sample"], "beta": betas}
    return {name: xr.DataArray(array, axes, ("sample", "beta")) for name, array in found.items()}


def _estimates(values: dict[str, xr.DataArray]) -> dict[str, Any]:
    """Means over samples.  A beta where a sample has no ln Z has none on average: to leave out those samples
    that never saw E = 0 would make the volume too large."""
    missing = values["integration"].isnull() | values["mbar"].isnull()
    shown = values | {"difference": values["integration"] - values["mbar"]}
    return {
        **{name: estimate(array.where(array.notnull().all("sample"))) for name, array in shown.items()},
        "missing": missing.sum("sample").values.tolist(),
    }


def _agreement(planted: xr.DataArray, random: xr.DataArray) -> dict[str, Any] | None:
    """ln Z at the coldest beta that has one, planted minus random start, paired over samples; None if that is
    the hottest beta, where ln Z is 0."""
    difference = planted - random
    both = estimate(difference.where(difference.notnull().all("sample")))
    place = int(np.flatnonzero(both.mean.notnull().values)[-1])
    if place == 0:
        return None
    mean, error = float(both.mean[place]), float(both.error[place])
    return {
        "beta": float(planted["beta"][place]),
        "difference": mean,
        "error": error,
        "in_errors": in_errors(mean, error) if np.isfinite(error) else np.nan,
        "samples": int(both.samples[place]),
    }


# ---------------------------------------------------------------------------------------------- one sample


def sample_free_energy(betas: Array, energies: Array) -> dict[str, Array]:
    """Free energies of one sample from energies E in equilibrium.

    betas : (B,) ascending; the last may be infinite.
    energies : (B, clones, times); NaN is left out.
    Returns, each (B,): `energy` <E>; `integration` and `mbar` ln Z(beta) / Z(beta_0), NaN where it cannot be
    had; `quadrature`, an estimate of the error of the integration over beta; `kept`, the number of energies
    that went into MBAR.
    """
    finite = betas[np.isfinite(betas)]
    series = [[clone[~np.isnan(clone)] for clone in rows] for rows in energies]
    mean = np.array([_mean(np.concatenate(rows)) for rows in series])
    integral, quadrature = integral_of_energy(finite, mean[: len(finite)])
    kept = [np.concatenate([uncorrelated(clone) for clone in rows]) for rows in series]
    kept = [thinned(values, MOST_KEPT) for values in kept]
    mbar, solved = mbar_log_z(finite, kept[: len(finite)])
    integration = -integral
    if len(finite) < len(betas):
        found = np.concatenate(series[len(finite) - 1]) == 0
        integration = np.append(integration, integration[-1] + _log(_mean(found)))
        quadrature = np.append(quadrature, quadrature[-1])
        mbar = np.append(mbar, solved)
    return {
        "energy": mean,
        "integration": integration,
        "quadrature": quadrature,
        "mbar": mbar,
        "kept": np.array([float(len(values)) for values in kept]),
    }


def integral_of_energy(betas: Array, energies: Array) -> tuple[Array, Array]:
    """Integral of <E> over beta from betas[0] to each beta, and an estimate of the error of its quadrature.

    <E> is interpolated by monotone cubics (PCHIP) in u = beta / (1 + beta), in which it is nearly a
    polynomial both at beta = 0 and for large beta, where the levels above E = 0 empty.  Error: how far
    monotone cubics in beta itself and cubic splines in u are from that, the larger one, doubled, interval by
    interval without regard to sign.  It is an estimate, tested on spectra whose integral is known.
    """
    if len(betas) < 2 or np.isnan(energies).any():
        return _unknown_but_first(len(betas)), np.zeros(len(betas))
    steps = _steps(betas, PchipInterpolator(betas / (1 + betas), energies))
    splines = _steps(betas, CubicSpline(betas / (1 + betas), energies))
    in_beta = np.diff(PchipInterpolator(betas, energies).antiderivative()(betas))
    error = 2 * np.maximum(np.abs(steps - splines), np.abs(steps - in_beta))
    return _from_zero(steps), _from_zero(error)


def _steps(betas: Array, over_u: Callable[[Array], Array]) -> Array:
    """Integrals over beta, between neighbours, of a function of u = beta / (1 + beta)."""
    # Over ln(1 + beta), since intervals at the cold end may be wide.
    ends = np.log1p(betas)
    half = np.diff(ends) / 2
    beta = np.expm1((ends[:-1] + half)[:, None] + half[:, None] * _NODES)
    steps: Array = half * (((1 + beta) * over_u(beta / (1 + beta))) @ _WEIGHTS)
    return steps


def mbar_log_z(betas: Array, energies: Sequence[Array]) -> tuple[Array, float]:
    """ln Z(beta) / Z(betas[0]) at finite betas by MBAR, and the same at beta = infinity.

    energies : uncorrelated ones at each beta.  NaN where it cannot be had.

    Energies measured at beta = infinity would change nothing: where E = 0 is all that is seen, they only say
    that it is.  Z(inf) is the weight that MBAR gives to the states with E = 0 at all finite betas.
    """
    counts = np.array([len(values) for values in energies])
    every = np.concatenate(energies)
    log_z = _unknown_but_first(len(betas))
    if not counts.all():
        return log_z, np.nan
    if len(betas) > 1:
        solver = _pymbar().MBAR(
            betas[:, None] * every,
            counts,
            initial_f_k=-_one_sided(betas, energies),
            solver_protocol=({"method": "adaptive", "options": {"min_sc_iter": 0, "maxiter": 250}},),
            maximum_iterations=250,
            rseed=0,  # any seed: the library leaves NumPy's own generator alone if one is given
        )
        if not (np.abs(solver.W_nk.sum(axis=0) - 1) < CONVERGED).all():
            return log_z, np.nan
        log_z = -np.asarray(solver.f_k)
    else:
        log_z = np.zeros(1)
    solutions = np.count_nonzero(every == 0)
    return log_z, _log(float(solutions)) - float(logsumexp(np.log(counts) - log_z))


def _one_sided(betas: Array, energies: Sequence[Array]) -> Array:
    """ln Z by reweighting from each beta to the next colder one: where MBAR starts."""
    steps = [
        float(logsumexp(-(cold - hot) * values) - np.log(len(values)))
        for hot, cold, values in zip(betas[:-1], betas[1:], energies[:-1], strict=True)
    ]
    return _from_zero(np.array(steps))


def uncorrelated(series: Array) -> Array:
    """A time series thinned by its statistical inefficiency, in measurements (pymbar.timeseries).

    Measurements count as evenly spaced; a series that never changes, or of fewer than three values, is left
    as it is.
    """
    if len(series) < 3 or (series == series[0]).all():
        return series
    timeseries = _pymbar().timeseries
    inefficiency = timeseries.statistical_inefficiency(series)
    kept: Array = series[timeseries.subsample_correlated_data(series, g=inefficiency)]
    return kept


def thinned(values: Array, most: int) -> Array:
    """At most so many values, evenly spread."""
    if len(values) <= most:
        return values
    kept: Array = values[np.linspace(0, len(values) - 1, most).astype(int)]
    return kept


def _pymbar() -> Any:
    """The library, imported when it is needed: that takes a second.

    On import it warns, through logging, that it found no JAX (its NumPy is what is wanted here) and that
    short series are dangerous.
    """
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    import pymbar

    return pymbar


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _log(value: float) -> float:
    """The logarithm; NaN where there is nothing to take it of."""
    return float(np.log(value)) if value > 0 else np.nan


def _from_zero(steps: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(steps)])


def _unknown_but_first(count: int) -> Array:
    return np.concatenate([[0.0], np.full(count - 1, np.nan)])


# ---------------------------------------------------------------------------------------------- in words


def free_energy_text(numbers: dict[str, Any]) -> str:
    """The section of `dsm analyze`, from the numbers with their estimates as plain values."""
    heading = item(
        f"Free energy per weight, ln Z(beta)/Z({numbers['reference']:.4g}) / (N c L), relative to "
        f"{_reference(numbers)} By thermodynamic integration, with the error of its quadrature, and by MBAR, "
        "each for every sample on its own. Both hold in equilibrium only."
    )
    starts = [_start_text(start, values, numbers) for start, values in numbers["starts"].items()]
    words = [] if "agreement" not in numbers else [_agreement_text(numbers["agreement"])]
    return "\n".join([heading, *starts, *words])


def _reference(numbers: dict[str, Any]) -> str:
    hot, cold = numbers["reference"], numbers["betas"][-1]
    if hot > 0:
        return f"the hottest beta = {hot:.4g}, not to the prior (beta = 0): no Gardner volume follows."
    if np.isinf(cold):
        return "the prior (beta = 0): at beta = inf it is ln of the Gardner volume per weight."
    return "the prior (beta = 0)."


def _start_text(start: str, values: dict[str, Any], numbers: dict[str, Any]) -> str:
    """A table along the ladder, and what is missing in it."""
    betas = [f"{beta:.4g}" for beta in numbers["betas"]]
    columns = [
        betas,
        column(values["energy"]["mean"], values["energy"]["error"]),
        column(values["integration"]["mean"], values["integration"]["error"]),
        [number(error, 5) for error in values["quadrature"]["mean"]],
        column(values["mbar"]["mean"], values["mbar"]["error"]),
    ]
    rows = [list(line) for line in zip(*columns, strict=True)]
    titles = ["beta", "E/(NM)", "ln Z, integration", "quadrature", "ln Z, MBAR"]
    lines = [f"  {start} start", table(titles, rows, "  ")]
    samples = max(values["energy"]["samples"])
    if np.isinf(numbers["betas"][-1]) and (missing := values["missing"][-1]):
        lines.append(
            item(
                f"ln Z at beta = inf cannot be had: in {missing} of {counted(samples, 'sample')}, "
                f"E = 0 was not seen at beta = {betas[-2]} (a colder finite beta is needed), or MBAR did not "
                "converge."
            )
        )
    volume = values["mbar"]
    if numbers["reference"] == 0 and np.isinf(numbers["betas"][-1]) and np.isfinite(volume["mean"][-1]):
        lines.append(
            item(
                f"Gardner volume, {start} start: ln P(E = 0) = {_volume(values, 'integration')} per weight "
                f"by integration, {_volume(values, 'mbar')} by MBAR."
            )
        )
    return "\n".join(lines)


def _volume(values: dict[str, Any], way: str) -> str:
    return with_error(values[way]["mean"][-1], values[way]["error"][-1])


def _agreement_text(agreement: dict[str, Any]) -> str:
    return item(
        f"Planted minus random start, ln Z per weight at beta = {agreement['beta']:.4g} by MBAR, paired over "
        f"samples: {in_words(agreement)}. In equilibrium there is no difference."
    )
