"""Free energy along a ladder of temperatures, by thermodynamic integration and by MBAR."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dsm_hpc.analysis.figures.exchange import BetaAxis, check_tempered
from dsm_hpc.analysis.figures.style import curve, title
from dsm_hpc.analysis.free_energy import free_energy
from dsm_hpc.analysis.measured import measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.presentation.style import STARTS, legend, panels


def draw(results: Results) -> Figure:
    """Training error, which is integrated; ln Z per weight both ways; their difference, with the estimated
    error of the quadrature."""
    check_tempered(results, "free_energy")
    times = measured_window(results)
    numbers = free_energy(results)
    assert numbers is not None
    window = f"${times.first} \\leq t \\leq {times.last}$"
    figure, (energy, both, difference) = panels(1, 3, f"{title(results)}\n{window}", height=2.5)
    axis = BetaAxis(np.array(numbers["betas"]))
    difference.axhline(0, color="0.35", linestyle=":", linewidth=0.9)
    for start, values in numbers["starts"].items():
        look = STARTS[start]
        curve(energy, axis.places, values["energy"], look)
        curve(both, axis.places, values["integration"], look)
        curve(both, axis.places, values["mbar"], look.but(filled=False, line="none"))
        curve(difference, axis.places, values["difference"], look)
        bound = values["quadrature"].mean.where(values["difference"].mean.notnull()).values
        difference.fill_between(axis.places, -bound, bound, color=look.colour, alpha=0.15, linewidth=0)
    energy.set_ylabel("training error $E/(NM)$")
    energy.set_ylim(bottom=0)
    both.set_ylabel(rf"$\ln[Z(\beta)/Z({numbers['reference']:.3g})]\,/\,(NcL)$")
    difference.set_ylabel("integration $-$ MBAR")
    for panel in (energy, both, difference):
        axis.put(panel, columns=3)
    handles = [
        *(STARTS[start].handle(f"{start}: integration") for start in numbers["starts"]),
        *(
            STARTS[start].but(filled=False, line="none").handle(f"{start}: MBAR")
            for start in numbers["starts"]
        ),
        Line2D([], [], color="0.35", alpha=0.3, linewidth=6, label="quadrature error"),
    ]
    legend(figure, handles, columns=3)
    return figure
