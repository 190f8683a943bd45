"""The spatial profile in the course of time: overlaps with the teacher against layers, at several times."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, NoNorm, to_hex
from matplotlib.figure import Figure

from dsm_hpc.analysis.figures.style import curve, temperature, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import estimate, per_sample
from dsm_hpc.presentation.style import STARTS, Look, layer_axis, panels

MOST_TIMES = 9

_PANELS = {"q": "aligned $q(l)$", "r": "aligned $r(l)$", "r_test": r"aligned $r_{\mathrm{test}}(l)$"}


def draw(results: Results) -> Figure:
    """Aligned q(l), r(l), r_test(l) of student and teacher at log-spaced times: one row per start, colour is
    time, with standard errors over samples."""
    times = shown_times(results, measured_window(results).last)
    shades = [to_hex(shade) for shade in colormaps["cividis"](np.linspace(0, 0.95, len(times)))]
    starts = results.config.ensemble.starts
    figure, axes = panels(
        len(starts), len(_PANELS), title(results, temperature(results, coldest(results))), height=2.3
    )
    for column, (name, label) in enumerate(_PANELS.items()):
        values = results.variable(f"teacher/{name}_aligned").isel(beta=coldest(results))
        profiles = estimate(per_sample(values, within=("clone",)))
        for row, start in enumerate(starts):
            panel = axes[row * len(_PANELS) + column]
            for time, shade in zip(times, shades, strict=True):
                look = Look(shade, STARTS[start].marker, STARTS[start].line)
                profile = profiles.sel(start=start, time=time)
                curve(panel, profile.mean["layer"].values, profile, look)
            panel.set_ylabel(f"{label}, {start}")
            panel.set_ylim(top=1.04)
            layer_axis(panel)
    _colour_bar(figure, axes, times, ListedColormap(shades))
    return figure


def shown_times(results: Results, last: int) -> list[int]:
    """At most MOST_TIMES measured times up to `last`: 0, the last, between them evenly spread in log time."""
    times = results.layout.coordinates["time"]
    times = times[times <= last]
    wanted = np.geomspace(max(times[1], 1), times[-1], MOST_TIMES - 1) if len(times) > 1 else np.array([])
    nearest = [int(times[1:][np.argmin(np.abs(np.log(times[1:] / time)))]) for time in wanted]
    return [int(times[0]), *sorted(set(nearest))]


def _colour_bar(figure: Figure, axes: Sequence[Axes], times: Sequence[int], shades: ListedColormap) -> None:
    """One step per time shown, labelled with it."""
    bar = figure.colorbar(
        ScalarMappable(NoNorm(0, len(times) - 1), shades), ax=axes, ticks=range(len(times)), aspect=40
    )
    bar.set_ticklabels([f"{time:g}" if time < 10**5 else f"{time:.1e}" for time in times])
    bar.set_label("$t$ [sweeps]")
    bar.ax.tick_params(length=0)
