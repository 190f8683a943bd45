"""Curves and titles of results files."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate
from dsm_hpc.presentation.style import Look, escaped


def curve(axes: Axes, x: ArrayLike, y: Estimate, look: Look) -> None:
    """Means with standard errors against x; what is NaN is left out."""
    axes.errorbar(x, y.mean.values, y.error.values, capsize=0, elinewidth=1.0, **look.properties())


def title(results: Results, *more: str) -> str:
    """Name and parameters of a run."""
    network, train = results.config.network, results.config.patterns.train
    numbers = f"$N={network.width}$, $c={network.inputs}$, $L={network.depth}$, $M={train}$"
    starts = " and ".join(results.config.ensemble.starts)
    return ", ".join([f"{escaped(results.config.name)}: {numbers}", f"{starts} start", *more])


def temperature(results: Results, place: int) -> str:
    """The inverse temperature in this place of the ladder, and that others are left out."""
    betas = results.layout.coordinates["beta"]
    value = r"\infty" if np.isinf(betas[place]) else f"{betas[place]:g}"
    return rf"$\beta={value}$" + (f" (the coldest of {len(betas)})" if len(betas) > 1 else "")
