"""Loops of the wiring, correlations of the neurons: what the dense limit leaves out, and what that does."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsm_hpc.analysis.closures import prediction_for
from dsm_hpc.analysis.figures.parameters import SYMBOLS, parameters, shared
from dsm_hpc.analysis.figures.style import curve, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate, estimate, windowed
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import (
    OKABE_ITO,
    STARTS,
    Look,
    colours,
    layer_axis,
    legend,
    marker,
    panels,
    shown_layers,
)

MOST_LAYERS = 4
"""Shown against theory."""

_MEASURED = Look(OKABE_ITO[0], "o", "none")
_EXPECTED = Look(OKABE_ITO[1], "none", "--")
_TEACHER = Look(OKABE_ITO[2], "D", "-")


def draw(files: Sequence[Results], closures: Sequence[str] = ()) -> Figure:
    """Of one file: the counts in each layer.  With theory: the counts against the deviation from it.

    closures : theory of the dense limit.  Raises InputError for several files without theory.
    """
    if closures:
        return _draw_deviations(files, closures)
    if len(files) > 1:
        raise InputError(
            f"--kind loops: shows one results file; {len(files)} were given. With --theory it shows several, "
            "as counts against deviations from theory"
        )
    return _draw_counts(files[0])


# --------------------------------------------------------------------------------------- layer by layer


def _draw_counts(results: Results) -> Figure:
    """Left: pairs of perceptrons that share two or more inputs, with the mean for random wiring.  Right: mean
    squared correlation of distinct neurons of the teacher, less 1/M, with the inputs as layer 0."""
    figure, (left, right) = panels(1, 2, title(results))
    pairs = estimate(results.variable("loops/shared_pairs"))
    expected = estimate(results.variable("loops/shared_pairs_expected"))
    layers = pairs.mean["layer"].values
    curve(left, layers, pairs, _MEASURED)
    # The line reaches past the points, so that it is seen for a single layer, too.
    left.plot(
        [0.5, layers[-1] + 0.5],
        expected.mean.values[[0, -1]],
        color=_EXPECTED.colour,
        linestyle=_EXPECTED.line,
    )
    left.set_ylabel("pairs sharing two or more inputs")
    curve(right, np.arange(len(layers) + 1), estimate(_correlations(results)), _TEACHER)
    right.axhline(0, color="0.35", linestyle=":", linewidth=0.9)
    right.set_ylabel("mean squared correlation $-\\;1/M$")
    for panel in (left, right):
        layer_axis(panel)
    handles = [
        _MEASURED.handle("measured"),
        _EXPECTED.handle("mean for random wiring"),
        _TEACHER.handle("teacher"),
    ]
    legend(figure, handles, columns=3)
    return figure


def _correlations(results: Results) -> xr.DataArray:
    """Mean squared correlation less 1/M in the layers 0 (the inputs) to L, on the axes sample and layer."""
    source = results.variable("loops/input_correlation").expand_dims(layer=[0], axis=1)
    return xr.concat([source, results.variable("loops/correlation")], "layer")


# --------------------------------------------------------------------------------------- against theory


def _draw_deviations(files: Sequence[Results], closures: Sequence[str]) -> Figure:
    """Measured less predicted q(l) against the loops that the dense limit drops: left the share of pairs of
    perceptrons with two or more common inputs, right the correlation of the neurons that layer l reads.

    One row per closure, one colour per layer, one point per file, joined in the order of x; open markers for
    the random start.  Where loops explain the deviation, it vanishes with them.
    """
    layers = shown_layers(max(results.config.network.depth for results in files), MOST_LAYERS)
    starts = list(dict.fromkeys(start for results in files for start in results.config.ensemble.starts))
    looks = {
        (layer, start): Look(colour, marker(place), STARTS[start].line, filled=start == "planted")
        for place, (layer, colour) in enumerate(zip(layers, colours(len(layers)), strict=True))
        for start in starts
    }
    heading = [shared(files, "last half of each run"), _range(files)]
    figure, axes = panels(len(closures), 2, "\n".join(filter(None, heading)), height=2.6)
    for row, closure in enumerate(closures):
        left, right = axes[2 * row], axes[2 * row + 1]
        for (layer, start), look in looks.items():
            members = [
                f for f in files if layer <= f.config.network.depth and start in f.config.ensemble.starts
            ]
            deviations = [q_less_theory(member, closure, start).sel(layer=layer) for member in members]
            for panel, measure in ((left, share_of_pairs), (right, correlation_read)):
                _joined(panel, [estimate(measure(m)).sel(layer=layer) for m in members], deviations, look)
        left.set_ylabel(f"aligned $q(l)$ less {closure}")
        left.set_xlabel(r"share of pairs with $\geq 2$ common inputs")
        right.set_xlabel(r"squared correlation $-\;1/M$ in layer $l-1$")
        for panel in (left, right):
            panel.axhline(0, color="0.35", linestyle=":", linewidth=0.9)
    handles = [
        look.handle(f"$l={layer}$, {start}" if len(starts) > 1 else f"$l={layer}$")
        for (layer, start), look in looks.items()
    ]
    legend(figure, handles, columns=len(layers))
    return figure


def _range(files: Sequence[Results]) -> str:
    """What varies, from the least to the largest value."""
    values = [parameters(results) for results in files]
    known = {
        name: sorted({v[name] for v in values} - {None}) for name in ("depth", "width", "dimension", "train")
    }
    return ", ".join(
        rf"${SYMBOLS[name]}={found[0]:g}\,\ldots\,{found[-1]:g}$"
        for name, found in known.items()
        if len(found) > 1
    )


def share_of_pairs(results: Results) -> xr.DataArray:
    """Pairs of perceptrons of one layer that share two or more inputs, among the N (N - 1) / 2 pairs; 0 for
    N = 1.  Axes: sample, layer."""
    width = results.config.network.width
    return results.variable("loops/shared_pairs") / max(width * (width - 1) / 2, 1)


def correlation_read(results: Results) -> xr.DataArray:
    """Mean squared correlation less 1/M of the neurons that layer l reads, those of layer l - 1."""
    read = _correlations(results).isel(layer=slice(None, -1))
    return read.assign_coords(layer=results.layout.coordinates["layer"])


def q_less_theory(results: Results, closure: str, start: str) -> Estimate:
    """Aligned q(l) of student and teacher in the last half of the run, less that of the ruling solution."""
    values = windowed(results, "teacher/q_aligned", measured_window(results))
    told = xr.DataArray(prediction_for(results, closure).q, {"layer": values["layer"]}, ("layer",))
    return estimate(values.sel(start=start).isel(beta=coldest(results)) - told)


def _joined(panel: Axes, x: Sequence[Estimate], y: Sequence[Estimate], look: Look) -> None:
    """One curve through the estimates of several files, with errors both ways."""
    order = np.argsort([float(estimate.mean) for estimate in x], kind="stable")
    along, across = (
        [np.array([float(getattr(side[i], part)) for i in order]) for part in ("mean", "error")]
        for side in (x, y)
    )
    panel.errorbar(
        along[0], across[0], xerr=along[1], yerr=across[1], capsize=0, elinewidth=0.8, **look.properties()
    )
