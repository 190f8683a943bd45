"""The numbers of one results file, as a tree of plain values.  Tables print nothing that is not here."""

from math import isfinite, isnan
from typing import Any

import xarray as xr

from dsm_hpc.analysis.derived import derived
from dsm_hpc.analysis.equilibrium import equilibrium
from dsm_hpc.analysis.exchange import exchange
from dsm_hpc.analysis.free_energy import free_energy
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statements import exchangeability, heterogeneity, merging
from dsm_hpc.analysis.statistics import (
    Estimate,
    Window,
    estimate,
    middle,
    per_sample,
    unlearnt,
    window,
    windowed,
)

Averages = dict[str, xr.DataArray]
"""Per variable one value for each sample: its mean over the window and over clones or pairs."""

PROFILES = (
    *(f"teacher/{name}{form}" for form in ("_aligned", "") for name in ("q", "r", "r_test")),
    *(f"clones/{name}{form}" for form in ("_aligned", "") for name in ("q", "r", "r_test")),
    "acceptance",
)


def file_numbers(results: Results) -> dict[str, Any]:
    """Everything that `dsm analyze` says about one file."""
    times = window(results)
    return {
        **description(results),
        "time": None if times is None else times.last,
        "window": None if times is None else vars(times),
        "equilibrium": equilibrium(results),
        "betas": [] if times is None else _betas(results, times),
        "loops": _loops(results),
        **{name: _all_listed(tree) for name, tree in _ladder(results).items() if tree is not None},
    }


def description(results: Results) -> dict[str, Any]:
    """What was run."""
    config = results.config
    network, patterns, ensemble = config.network, config.patterns, config.ensemble
    return {
        "path": str(results.path),
        "name": config.name,
        "point": results.point,
        "finished": results.finished,
        "sweeps": config.schedule.sweeps,
        "width": network.width,
        "fan_in": network.inputs,
        "depth": network.depth,
        "weights": network.weights,
        "train": patterns.train,
        "test": patterns.test,
        "alpha": patterns.train / network.inputs,
        "inputs": patterns.inputs.model_dump(),
        "samples": ensemble.samples,
        "clones": ensemble.clones,
        "starts": list(ensemble.starts),
    }


def plain(tree: Any) -> Any:
    """The tree in strict JSON: NaN becomes null, an infinite number the text `inf` or `-inf`."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    if isinstance(tree, float) and not isfinite(tree):
        return None if isnan(tree) else str(tree)
    return tree


def training_error(results: Results) -> xr.DataArray:
    """E / (N M), the fraction of wrong output bits over the training set."""
    config = results.config
    return results.variable("energy") / (config.network.width * config.patterns.train)


def _betas(results: Results, times: Window) -> list[dict[str, Any]]:
    averages = {name: windowed(results, name, times) for name in PROFILES if results.has(name)}
    averages["training_error"] = per_sample(times.of(training_error(results)))
    averages["test_error"] = windowed(results, "test_error", times)
    chance = unlearnt(results, "teacher/q_aligned")
    return [
        _beta(
            {name: values.isel(beta=place, drop=True) for name, values in averages.items()},
            float(beta),
            chance,
        )
        for place, beta in enumerate(results.layout.coordinates["beta"])
    ]


def _beta(averages: Averages, beta: float, chance: xr.DataArray | None) -> dict[str, Any]:
    """One temperature; averages on the axes sample, start and, for profiles, layer.

    chance : aligned q of students that have learnt nothing.
    """
    starts = [str(start) for start in averages["training_error"]["start"].values]
    q = averages["teacher/q_aligned"]
    numbers: dict[str, Any] = {"beta": beta, "starts": {}}
    for start in starts:
        numbers["starts"][start] = _start(
            {name: values.sel(start=start, drop=True) for name, values in averages.items()}, chance
        )
    if len(starts) == 2:
        numbers["merging"] = merging(q.sel(start="planted"), q.sel(start="random"))
    return numbers


def _start(averages: Averages, chance: xr.DataArray | None) -> dict[str, Any]:
    """One start at one temperature; averages on the axes sample and, for profiles, layer."""
    q = averages["teacher/q_aligned"]
    numbers: dict[str, Any] = {name: _listed(estimate(values)) for name, values in averages.items()}
    parts = {"q_first": q.isel(layer=0), "q_middle": middle(q), "q_last": q.isel(layer=-1)}
    numbers |= {name: _listed(estimate(values)) for name, values in parts.items()}
    numbers["derived"] = derived(q, averages["teacher/r_test"])
    if q.sizes["layer"] >= 3:
        numbers["heterogeneity"] = heterogeneity(q, chance)
    if "clones/q_aligned" in averages:
        numbers["exchangeability"] = exchangeability(q, averages["clones/q_aligned"])
    return numbers


def _loops(results: Results) -> dict[str, Any]:
    names = ("shared_pairs", "shared_pairs_expected", "correlation", "input_correlation")
    return {name: _listed(estimate(results.variable(f"loops/{name}"))) for name in names}


def _ladder(results: Results) -> dict[str, dict[str, Any] | None]:
    """What only runs with exchange have."""
    return {"exchange": exchange(results), "free_energy": free_energy(results)}


def _all_listed(tree: Any) -> Any:
    """The tree with its estimates as plain values."""
    if isinstance(tree, dict):
        return {key: _all_listed(value) for key, value in tree.items()}
    return _listed(tree) if isinstance(tree, Estimate) else tree


def _listed(value: Estimate) -> dict[str, Any]:
    return {
        "mean": value.mean.values.tolist(),
        "error": value.error.values.tolist(),
        "samples": value.samples.values.tolist(),
    }
