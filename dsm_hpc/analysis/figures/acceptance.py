"""Acceptance of the moves against time, layer by layer."""

from matplotlib.figure import Figure

from dsm_hpc.analysis.figures.style import curve, temperature, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import estimate, per_sample
from dsm_hpc.presentation.style import Look, colours, legend, marker, panels, shown_layers, time_axis

MOST_LAYERS = 7


def draw(results: Results) -> Figure:
    """Accepted / proposed since the last measurement, one panel per start, one colour per layer."""
    last = measured_window(results).last
    values = per_sample(results.variable("acceptance").isel(beta=coldest(results)), within=("clone",))
    layers = shown_layers(values.sizes["layer"], MOST_LAYERS)
    looks = [Look(colour, marker(place)) for place, colour in enumerate(colours(len(layers)))]
    starts = results.config.ensemble.starts
    figure, axes = panels(1, len(starts), title(results, temperature(results, coldest(results))))
    for panel, start in zip(axes, starts, strict=True):
        for layer, look in zip(layers, looks, strict=True):
            curve(panel, values["time"].values, estimate(values.sel(start=start, layer=layer)), look)
        panel.set_title(f"{start} start")
        panel.set_ylim(bottom=0)
        time_axis(panel, last)
        panel.set_xlim(left=0.8)  # there is no acceptance before the first sweep
    axes[0].set_ylabel("acceptance")
    legend(
        figure, [look.handle(f"$l={n}$") for n, look in zip(layers, looks, strict=True)], columns=len(layers)
    )
    return figure
