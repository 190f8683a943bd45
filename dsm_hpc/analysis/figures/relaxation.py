"""Relaxation: training error and overlaps against time, for both starts."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsm_hpc.analysis.figures.style import curve, temperature, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.numbers import training_error
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate, estimate, middle, middle_layers, per_sample
from dsm_hpc.presentation.style import OKABE_ITO, STARTS, Look, legend, panels, time_axis


def draw(results: Results) -> Figure:
    """Training error E/(NM), and aligned teacher overlap q of the first, middle and last layer: two starts in
    equilibrium lie on top of each other."""
    last = measured_window(results).last
    figure, (left, right) = panels(1, 2, title(results, temperature(results, coldest(results))))
    errors = _by_sample(results, training_error(results))
    overlap = _by_sample(results, results.variable("teacher/q_aligned"))
    places = _places(overlap)
    handles = []
    for start in results.config.ensemble.starts:
        look = STARTS[start]
        curve(left, errors["time"].values, estimate(errors.sel(start=start)), look)
        handles.append(look.handle(f"{start} start (left)"))
        for (name, values), colour, symbol in zip(places.items(), OKABE_ITO[2:], "^Dv", strict=False):
            drawn = Look(colour, symbol, look.line, filled=start == "planted")
            curve(right, values["time"].values, estimate(values.sel(start=start)), drawn)
            handles.append(drawn.handle(f"{start}, {name}"))
    _error_axis(left, estimate(errors))
    right.set_ylabel("aligned $q(l)$")
    for panel in (left, right):
        time_axis(panel, last)
    legend(figure, handles, columns=len(results.config.ensemble.starts))
    return figure


def _by_sample(results: Results, values: xr.DataArray) -> xr.DataArray:
    """Means over clones, at the coldest temperature."""
    return per_sample(values.isel(beta=coldest(results)), within=("clone",))


def _places(overlap: xr.DataArray) -> dict[str, xr.DataArray]:
    """First, middle and last layer, as far as there are so many."""
    depth = overlap.sizes["layer"]
    places = {"$l=1$": overlap.sel(layer=1)}
    if depth >= 3:
        name = ",".join(str(layer) for layer in middle_layers(depth))
        places[f"$l={name}$"] = middle(overlap)
    if depth >= 2:
        places[f"$l={depth}$"] = overlap.sel(layer=depth)
    return places


def _error_axis(axes: Axes, errors: Estimate) -> None:
    """Logarithmic, and linear below the smallest error seen, so that E = 0 is on the axis."""
    means = errors.mean.values
    positive = means[means > 0]
    axes.set_ylabel("training error $E/(NM)$")
    if not len(positive):
        axes.set_ylim(-0.05, 1)
        return
    if (means == 0).any():
        smallest = 10.0 ** np.floor(np.log10(positive.min()))
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.4, subs=range(2, 10))
        axes.set_ylim(-0.2 * smallest, 1)
    else:
        axes.set_yscale("log")
