"""Parallel tempering: acceptance of swaps, communication barrier, ways and round trips of the replicas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dsm_hpc.analysis.exchange import exchange, hot_to_cold, is_tempered
from dsm_hpc.analysis.figures.style import curve, title
from dsm_hpc.analysis.measured import measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate
from dsm_hpc.config import LinearTimes
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import OKABE_ITO, STARTS, WIDTH, legend, panels, time_axis

MOST_TIMES = 120
"""Measurements over which the ways of replicas are shown: of more, the last ones."""

_HALF: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 0.9}
_WAYS = {"hottest": OKABE_ITO[2], "in the middle": OKABE_ITO[3], "coldest": OKABE_ITO[4]}

MOST_RUNGS = 8
"""Labels on an axis of rungs."""

_NICE = [mantissa * 10.0**power for power in range(-6, 9) for mantissa in (1, 2, 5)]
_TICK_ROOM = 0.3
"""Inches between two ticks on the axis of beta, about."""


def draw(results: Results) -> Figure:
    """Acceptance per edge, Lambda(beta), the ways of the replicas of one ladder through the temperatures, and
    round trips per replica.  Counts are those since t = 0."""
    check_tempered(results, "exchange")
    measured_window(results)
    numbers = exchange(results)
    assert numbers is not None
    figure, (accepted, barrier, ways, trips) = panels(
        2, 2, title(results, f"$0<t\\leq {numbers['time']}$"), height=2.6
    )
    axis = BetaAxis(np.array(numbers["betas"]))
    for start, values in numbers["starts"].items():
        look = STARTS[start]
        curve(accepted, axis.middles, values["acceptance"], look)
        curve(barrier, axis.places, _from_zero(values["barrier"]), look)
        curve(trips, np.arange(1, len(axis.places) + 1), values["round_trips"], look)
    accepted.axhline(0.5, **_HALF)
    accepted.set_ylabel("acceptance of swaps")
    accepted.set_ylim(-0.03, 1.03)
    barrier.set_ylabel(r"barrier $\Lambda(\beta)$")
    for panel in (accepted, barrier):
        axis.put(panel, columns=2)
    ways_shown = _draw_ways(ways, results)
    trips.set_ylabel("round trips per replica")
    rungs_axis(trips, numbers["betas"])
    trips.set_xlabel(r"$\beta$ of the replica at $t=0$")
    for panel in (barrier, trips):
        top = max(panel.get_ylim()[1], 1.0)
        panel.set_ylim(-0.03 * top, top)
    handles = [STARTS[start].handle(f"{start} start") for start in numbers["starts"]]
    half = Line2D([], [], label="best acceptance, 1/2", **_HALF)
    legend(figure, [*handles, *ways_shown, half], columns=3)
    return figure


def check_tempered(results: Results, kind: str) -> None:
    """Raises InputError for a run whose replicas did not exchange temperatures."""
    if not is_tempered(results):
        raise InputError(
            f"{results.path}: --kind {kind} needs a run with exchange (dynamics.exchange_every and two or "
            "more betas); in this one nothing was exchanged"
        )


class BetaAxis:
    """An axis of beta from 0 to infinity: linear in beta / (beta + b), b the median of the finite betas.

    betas : ascending.  places : where they are on the axis.  middles : between neighbours.
    """

    def __init__(self, betas: NDArray[np.float64]) -> None:
        self.betas = betas
        self._scale = float(np.median(betas[np.isfinite(betas) & (betas > 0)], axis=0)) if len(betas) else 1.0
        self.places = self.place(betas)
        self.middles = (self.places[1:] + self.places[:-1]) / 2

    def place(self, betas: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([1.0 if np.isinf(beta) else beta / (beta + self._scale) for beta in betas])

    def put(self, axes: Axes, columns: int) -> None:
        """Ticks at round values, at 0 and at infinity, on one of so many panels beside each other."""
        low, high = float(self.places[0]), float(self.places[-1])
        room = _TICK_ROOM * columns / WIDTH * (high - low)
        ends = [beta for beta in (0.0, np.inf) if beta in self.betas]
        ticks = {float(self.place(np.array([beta]))[0]): beta for beta in ends}
        inner = [beta for beta in _NICE if self.betas[0] <= beta <= self.betas[-1]]
        # Round numbers first: 1, then 2 and 5, as far as there is room.
        for beta in sorted(inner, key=lambda beta: (round(np.log10(beta) % 1, 6) > 0, beta)):
            place = float(self.place(np.array([beta]))[0])
            if all(abs(place - other) >= room for other in ticks):
                ticks[place] = beta
        words = [r"$\infty$" if np.isinf(beta) else f"{beta:g}" for beta in ticks.values()]
        axes.set_xticks(list(ticks), words)
        axes.set_xlim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        axes.set_xlabel(r"$\beta$")


def rungs_axis(axes: Axes, betas: Sequence[float], vertical: bool = False) -> None:
    """The rungs of a ladder at equal distances, 1 = hottest, some of them labelled with their beta."""
    spread = np.linspace(0, len(betas) - 1, min(len(betas), MOST_RUNGS))
    shown = np.rint(spread).astype(int)
    words = [r"$\infty$" if np.isinf(beta) else f"{beta:.2g}" for beta in np.array(betas)[shown]]
    ticks, limits = (axes.set_yticks, axes.set_ylim) if vertical else (axes.set_xticks, axes.set_xlim)
    ticks(shown + 1, words)
    margin = 0.4 + 0.02 * len(betas)
    limits(1 - margin, len(betas) + margin)


def _from_zero(barrier: Estimate) -> Estimate:
    """Lambda at every beta; it is 0 at the hottest."""
    return Estimate(*(part.pad(edge=(1, 0), constant_values=0) for part in vars(barrier).values()))


def _draw_ways(axes: Axes, results: Results) -> list[Line2D]:
    """Where the replicas of the first ladder sit in the course of time, three of them in colour; returns the
    legend of these."""
    starts = results.config.ensemble.starts
    start = "random" if "random" in starts else starts[0]
    seats = _seats(results, start)
    times = seats["time"].values
    linear = isinstance(results.config.schedule.measurements, LinearTimes)
    count = seats.sizes["replica"]
    marked = {0: "hottest", count // 2: "in the middle", count - 1: "coldest"}
    for replica in sorted(range(count), key=lambda replica: replica in marked):
        colour, width = (_WAYS[marked[replica]], 1.3) if replica in marked else ("0.8", 1.0)
        axes.plot(times, seats.isel(replica=replica).values + 1, color=colour, linewidth=width)
    rungs_axis(axes, results.layout.coordinates["beta"][hot_to_cold(results)].tolist(), vertical=True)
    axes.set_ylabel(r"$\beta$ of the replica")
    axes.set_title(f"sample 0, {start} start, clone 0")
    if linear:
        axes.set_xlim(times[0], times[-1] if len(times) > 1 else times[0] + 1)
        axes.set_xlabel("$t$ [sweeps]")
    else:
        time_axis(axes, int(times[-1]))
    return [
        Line2D([], [], color=_WAYS[began], linewidth=1.3, label=f"began {began}")
        for _, began in sorted(marked.items())
    ]


def _seats(results: Results, start: str) -> xr.DataArray:
    """The rung, 0 = hottest, of each replica in the order of their first rungs, on the axes time, replica."""
    order = hot_to_cold(results)
    held = results.variable("exchange/permutation").isel(sample=0, clone=0, beta=order).sel(start=start)
    held = held.dropna("time").isel(time=slice(-MOST_TIMES, None)).transpose("time", "beta")
    # argsort inverts a permutation: replica at each rung -> rung of each replica, in the file's order.
    rungs = np.argsort(held.values.astype(int), axis=1)[:, order]
    return xr.DataArray(rungs, {"time": held["time"].values}, ("time", "replica"))
