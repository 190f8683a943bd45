"""The common look: colours that colour-blind readers tell apart, markers that survive grey print, axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

WIDTH = 7.0
"""Inches: the width of a page's text."""

RC: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "figure.titlesize": 10,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "lines.markersize": 4.5,
    "lines.linewidth": 1.0,
    "savefig.dpi": 200,
    "axes.formatter.useoffset": False,
    "svg.fonttype": "none",
}

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_CURVES = len(OKABE_ITO)


@dataclass(frozen=True)
class Look:
    """How a curve is drawn.  Open markers have a white face; without a line they are rings around others."""

    colour: str
    marker: str
    line: str = "-"
    filled: bool = True

    def but(self, **changes: Any) -> "Look":
        """The same look with some changes."""
        return replace(self, **changes)

    def handle(self, label: str) -> Line2D:
        """A legend entry."""
        return Line2D([], [], label=label, **self.properties())

    def properties(self) -> dict[str, Any]:
        """As keyword arguments of a line."""
        ring = not self.filled and self.line == "none"
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "markerfacecolor": self.colour if self.filled else "none" if ring else "white",
            "markersize": 6.5 if ring else RC["lines.markersize"],
        }


STARTS = {"planted": Look(OKABE_ITO[0], "o", "-"), "random": Look(OKABE_ITO[1], "s", "--")}


def colours(count: int) -> list[str]:
    """Colours for so many curves; a scale from dark to light where they are too many to tell apart."""
    if count <= MOST_CURVES:
        return list(OKABE_ITO[:count])
    return [to_hex(colour) for colour in colormaps["cividis"](np.linspace(0, 0.95, count))]


def marker(place: int) -> str:
    """The marker of the curve in this place."""
    return MARKERS[place % len(MARKERS)]


def panels(rows: int, columns: int, title: str, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width, and its panels row by row; `height` of each row in inches."""
    figure = Figure(figsize=(WIDTH, height * rows + 0.9), layout="constrained")
    figure.suptitle(title)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """A legend below the panels, where it covers no data."""
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False)


def escaped(text: str) -> str:
    """A user's text, in which a dollar starts no formula."""
    return text.replace("$", r"\$")


def layer_axis(axes: Axes) -> None:
    """Layers are whole numbers."""
    axes.set_xlabel("layer $l$")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def time_axis(axes: Axes, last: int, label: str = "$t$ [sweeps]") -> None:
    """Logarithmic time with t = 0 at the left edge."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    decades = int(np.log10(max(last, 1)))
    step = 1 + decades // 6
    ticks = [0.0, *(10.0**power for power in range(0, decades + 1, step))]
    axes.set_xticks(ticks)
    axes.set_xticks(
        [m * 10.0**p for p in range(decades + 1) for m in range(2, 10) if m * 10**p <= last], minor=True
    )
    axes.xaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_xlim(-0.2, 1.4 * max(last, 1))
    axes.set_xlabel(label)


def _power_of_ten(value: float, _: object) -> str:
    return f"{value:g}" if value <= 10 else f"$10^{{{round(np.log10(value))}}}$"


def shown_layers(depth: int, most: int) -> list[int]:
    """At most so many layers, evenly spread, the first and the last among them."""
    return sorted({int(layer) for layer in np.rint(np.linspace(1, depth, min(depth, most)))})
