"""P(q): how the overlap of two clones is distributed, layer by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dsm_hpc.analysis.figures.style import temperature, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Window, estimate
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import STARTS, legend, panels, shown_layers

MOST_LAYERS = 8
MOST_BINS = 60
NARROWEST = 1e-3
"""Least width of a bin: overlaps of frozen students are one number."""

GROUPS = {"clones": "two clones", "teacher": "student, teacher"}
_LINES: dict[str, Any] = {"clones": "-", "teacher": (0, (4, 1.5))}


def draw(results: Results) -> Figure:
    """P(q) of the aligned weight overlap of two clones in the last half of the run, averaged over samples,
    with the standard error as a band; dashed: of student and teacher.  One panel per layer, one colour per
    start.  In equilibrium at E = 0 all four are the same distribution."""
    times = measured_window(results)
    if not results.has("clones/q_aligned"):
        raise InputError(f"{results.path}: there are no pairs of clones (ensemble.clones is 1)")
    found = {group: _overlaps(results, group, times) for group in GROUPS}
    layers = shown_layers(results.config.network.depth, MOST_LAYERS)
    columns = min(len(layers), 4 if len(layers) in (4, 7, 8) else 3)
    words = f"{temperature(results, coldest(results))}, ${times.first} \\leq t \\leq {times.last}$"
    figure, axes = panels(-(-len(layers) // columns), columns, f"{title(results)}\n{words}", height=2.0)
    for panel, layer in zip(axes, layers, strict=False):
        here = {group: values.sel(layer=layer) for group, values in found.items()}
        if not any(np.isfinite(values).any() for values in here.values()):
            raise InputError(f"{results.path}: damaged: no overlap of layer {layer} is a number")
        edges = bins([values.values for values in here.values()])
        for group, values in here.items():
            for start in results.config.ensemble.starts:
                _draw_histogram(panel, density(values.sel(start=start), edges), edges, group, start)
        panel.set_title(f"$l={layer}$")
        panel.set_ylim(bottom=0)
        panel.locator_params(axis="x", nbins=4)
        panel.set_xlabel("aligned $q$")
    for panel in axes[len(layers) :]:
        panel.remove()
    for panel in axes[: len(layers) : columns]:
        panel.set_ylabel("$P(q)$")
    handles = [
        Line2D([], [], color=STARTS[start].colour, linestyle=_LINES[group], label=f"{start}: {name}")
        for group, name in GROUPS.items()
        for start in results.config.ensemble.starts
    ]
    legend(figure, handles, columns=2)
    return figure


def bins(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Edges of bins that all these values share: NumPy's rule `rice`, whose number of bins depends on that of
    values only, but not more than MOST_BINS, and none narrower than NARROWEST."""
    every = np.concatenate([part[np.isfinite(part)] for part in values])
    low, high = float(every.min()), float(every.max())
    if high - low < NARROWEST:
        centre = (low + high) / 2
        return np.array([centre - NARROWEST / 2, centre + NARROWEST / 2])
    most = min(MOST_BINS, max(int((high - low) / NARROWEST), 1))
    edges = np.histogram_bin_edges(every, "rice")
    return edges if len(edges) <= most + 1 else np.linspace(low, high, most + 1)


def density(values: xr.DataArray, edges: NDArray[np.float64]) -> xr.DataArray:
    """P(q) of every sample, on the axes sample and bin; its integral over the bins is 1.  NaN for a sample of
    which nothing was measured.

    values : overlaps on the axes sample, and pair or clone, time.
    """
    rows = []
    for _, sample in values.groupby("sample"):
        known = sample.values[np.isfinite(sample.values)]
        empty = np.full(len(edges) - 1, np.nan)
        rows.append(np.histogram(known, edges, density=True)[0] if len(known) else empty)
    return xr.DataArray(np.array(rows), {"sample": values["sample"]}, ("sample", "bin"))


def _overlaps(results: Results, group: str, times: Window) -> xr.DataArray:
    return times.of(results.variable(f"{group}/q_aligned").isel(beta=coldest(results)))


def _draw_histogram(
    panel: Axes, densities: xr.DataArray, edges: NDArray[np.float64], group: str, start: str
) -> None:
    """A histogram as steps; that of the clones with an error band."""
    found, colour = estimate(densities), STARTS[start].colour
    mean, error = found.mean.values, found.error.fillna(0).values
    panel.stairs(mean, edges, color=colour, linestyle=_LINES[group], linewidth=1.1)
    if group == "clones":
        lower = np.maximum(mean - error, 0)
        panel.stairs(mean + error, edges, baseline=lower, fill=True, color=colour, alpha=0.2, linewidth=0)
