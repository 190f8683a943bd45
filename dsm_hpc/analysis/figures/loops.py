"""Loops of the wiring and correlations of the neurons: what the dense limit leaves out."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from dsm_hpc.analysis.figures.style import curve, title
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import estimate
from dsm_hpc.presentation.style import OKABE_ITO, Look, layer_axis, legend, panels

_MEASURED = Look(OKABE_ITO[0], "o", "none")
_EXPECTED = Look(OKABE_ITO[1], "none", "--")
_TEACHER = Look(OKABE_ITO[2], "D", "-")


def draw(results: Results) -> Figure:
    """Left: pairs of perceptrons that share two or more inputs, with the mean for random wiring.  Right: mean
    squared correlation of distinct neurons of the teacher, less 1/M, with the inputs as layer 0."""
    figure, (left, right) = panels(1, 2, title(results))
    shared = estimate(results.variable("loops/shared_pairs"))
    expected = estimate(results.variable("loops/shared_pairs_expected"))
    layers = shared.mean["layer"].values
    curve(left, layers, shared, _MEASURED)
    # The line reaches past the points, so that it is seen for a single layer, too.
    left.plot(
        [0.5, layers[-1] + 0.5],
        expected.mean.values[[0, -1]],
        color=_EXPECTED.colour,
        linestyle=_EXPECTED.line,
    )
    left.set_ylabel("pairs sharing two or more inputs")
    source = results.variable("loops/input_correlation").expand_dims(layer=[0], axis=1)
    correlation = estimate(xr.concat([source, results.variable("loops/correlation")], "layer"))
    curve(right, np.arange(len(layers) + 1), correlation, _TEACHER)
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
