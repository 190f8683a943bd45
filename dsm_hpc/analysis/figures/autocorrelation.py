"""Autocorrelation: how long a student's weights remember, layer by layer."""

from matplotlib.figure import Figure

from dsm_hpc.analysis.figures.style import curve, temperature, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import estimate, per_sample
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import STARTS, Look, colours, legend, marker, panels, shown_layers, time_axis

MOST_LAYERS, MOST_WAITING = 6, 5


def draw(results: Results) -> Figure:
    """Aligned weight overlap of a student at t_w and t against t - t_w: one panel per layer, one colour per
    waiting time.  Curves that fall together no longer depend on t_w: the run is stationary."""
    last = measured_window(results).last
    if not results.has("autocorrelation/q_aligned"):
        raise InputError(
            f"{results.path}: no autocorrelation was measured (schedule.waiting_times is 0, or no sweeps)"
        )
    values = results.variable("autocorrelation/q_aligned").isel(beta=coldest(results))
    values = per_sample(values, within=("clone",))
    layers = shown_layers(values.sizes["layer"], MOST_LAYERS)
    places = [place - 1 for place in shown_layers(values.sizes["waiting"], MOST_WAITING)]
    columns = min(3, len(layers))
    rows = -(-len(layers) // columns)
    figure, axes = panels(rows, columns, title(results, temperature(results, coldest(results))), height=2.1)
    looks = {
        (place, start): Look(colour, marker(number), STARTS[start].line, filled=start == "planted")
        for number, (place, colour) in enumerate(zip(places, colours(len(places)), strict=True))
        for start in results.config.ensemble.starts
    }
    for panel, layer in zip(axes, layers, strict=False):
        for (place, start), look in looks.items():
            chosen = values.sel(layer=layer, start=start).isel(waiting=place)
            later = chosen.sel(time=slice(int(chosen["waiting"]), None))
            curve(panel, later["time"].values - int(chosen["waiting"]), estimate(later), look)
        panel.set_title(f"$l={layer}$")
        time_axis(panel, last, "$t-t_w$ [sweeps]")
    for panel in axes[len(layers) :]:
        panel.remove()
    for panel in axes[: len(layers) : columns]:
        panel.set_ylabel("aligned $q(l;t_w,t)$")
    waiting = values["waiting"].values
    handles = [look.handle(f"{start}, $t_w={waiting[place]}$") for (place, start), look in looks.items()]
    legend(figure, handles, columns=len(places))
    return figure
