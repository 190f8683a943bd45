"""Figures of the hidden manifold model: points are simulations, lines are the equations of motion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from dsm_hpc.manifold.curves import Curves
from dsm_hpc.manifold.equivalence import Equivalence
from dsm_hpc.presentation.style import OKABE_ITO, colours, legend, marker, panels

Array = NDArray[np.float64]

TIME = "$t$ [steps$/N$]"
ERROR = r"$\epsilon_g$"
_GREY: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.0}
_MOST_POINTS = 25


def against_equations(simulated: Curves, expected: Curves | None, title: str) -> Figure:
    """eps_g, and Q and R of the first repetition, over time."""
    figure, (error, q, r) = panels(1, 3, title)
    _draw_error(error, simulated, expected, OKABE_ITO[0], "o")
    if simulated.test is not None:
        shown = _points(simulated.times)
        error.plot(
            simulated.times[shown],
            simulated.test.mean(axis=0)[shown],
            linestyle="none",
            marker="o",
            markersize=7,
            markerfacecolor="none",
            color="0.35",
            markeredgewidth=0.8,
        )
    K, M = simulated.R.shape[2:]
    pairs = [(k, j) for k in range(K) for j in range(k, K)]
    q_names = _draw_entries(q, simulated, expected, "Q", pairs)
    r_names = _draw_entries(r, simulated, expected, "R", [(k, m) for k in range(K) for m in range(M)])
    q.set_ylabel("$Q_{kl}$")
    r.set_ylabel("$R_{km}$")
    for panel, names in ((q, q_names), (r, r_names)):
        panel.axhline(0, **{**_GREY, "linewidth": 0.6})
        if len(names) <= 6:
            panel.legend(handles=names, frameon=False, loc="best", handlelength=1.2, labelspacing=0.25)
    handles = [_simulation("0.2")]
    if simulated.test is not None:
        handles.append(_simulation("0.35", "test inputs", filled=False))
    if expected is not None:
        handles.append(Line2D([], [], color="0.2", label="equations"))
    legend(figure, handles, columns=3)
    return figure


def comparison(
    runs: Mapping[str, tuple[Curves | None, Curves | None]],
    title: str,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """eps_g of several runs in one panel (scenarios, sizes, with and without the second layer ...).

    runs : label -> (simulated, expected), either may be None; levels : label -> eps_g of horizontal lines.
    """
    figure, (panel,) = panels(1, 1, title, height=3.6)
    handles = []
    for place, ((label, (simulated, expected)), colour) in enumerate(
        zip(runs.items(), colours(len(runs)), strict=True)
    ):
        symbol = marker(place)
        ring = place % 2 == 1  # curves that lie on each other stay visible
        _draw_error(panel, simulated, expected, colour, symbol, ring)
        look = _marks(colour, symbol, ring) if simulated is not None else {"color": colour}
        handles.append(
            Line2D([], [], label=label, **{**look, **(_line(ring) if expected is not None else {})})
        )
    for (label, level), dashes in zip((levels or {}).items(), _DASHES, strict=False):
        line: dict[str, Any] = {"color": "0.35", "linestyle": dashes, "linewidth": 1.0}
        panel.axhline(level, **line)
        handles.append(Line2D([], [], label=label, **line))
    legend(figure, handles, columns=2)
    return figure


def specialisation(simulated: Curves | None, expected: Curves | None, title: str) -> Figure:
    """eps_g, and which teacher's unit each student's unit turns to: R_km / sqrt(Q_kk T_mm), first repetition.

    A panel for each student unit (at most six), a colour for each teacher unit.
    """
    some = simulated if simulated is not None else expected
    if some is None:
        raise ValueError("nothing to show: neither simulation nor equations")
    K, M = some.R.shape[2:]
    shown = min(K, 6)
    columns = min(shown + 1, 3)
    figure, axes = panels(-(-(shown + 1) // columns), columns, title, height=2.5)
    _draw_error(axes[0], simulated, expected, "0.2", "o")
    palette = colours(M)
    for k, panel in enumerate(axes[1 : shown + 1]):
        for m in range(M):
            for curves, drawn in ((simulated, _DOTS), (expected, _LINE)):
                if curves is not None:
                    places = _points(curves.times) if drawn is _DOTS else curves.times > 0
                    values = curves.specialisation()[places, k, m]
                    look = {**drawn, "marker": marker(m)} if drawn is _DOTS else drawn
                    panel.plot(curves.times[places], values, color=palette[m], **look)
        panel.set_xscale("log")
        panel.set_ylim(top=1.05)
        panel.axhline(0, **{**_GREY, "linewidth": 0.6})
        panel.set_xlabel(TIME)
        panel.set_ylabel(rf"$R_{{{k + 1}m}}/\sqrt{{Q_{{{k + 1}{k + 1}}}T_{{mm}}}}$")
    for panel in axes[shown + 1 :]:
        panel.set_axis_off()
    handles = [
        Line2D([], [], color=colour, marker=marker(m), markersize=4.5, label=f"teacher $m={m + 1}$")
        for m, colour in enumerate(palette)
    ]
    legend(figure, handles, columns=min(M, 4))
    return figure


@dataclass(frozen=True)
class Dependence:
    """eps_g at the end of runs against one parameter.

    label : of the axis, as TeX; x (n,); error, spread (n,) : simulation, mean and standard error;
    expected : (n,) the equations at the same x, or None; log : scale of the axis.
    """

    label: str
    x: Array
    error: Array
    spread: Array
    expected: Array | None = None
    log: bool = False


def asymptotic(dependences: Sequence[Dependence], title: str) -> Figure:
    """The error that is left at the end of learning against K, delta, eta: one panel each."""
    figure, axes = panels(1, len(dependences), title)
    for panel, one, colour in zip(axes, dependences, OKABE_ITO, strict=False):
        if one.expected is not None:
            panel.plot(one.x, one.expected, color=colour, linewidth=1.2)
        panel.errorbar(one.x, one.error, one.spread, color=colour, marker="o", linestyle="none", capsize=0)
        panel.set_xlabel(one.label)
        _log_error_axis(panel)
        if one.log:
            panel.set_xscale("log")
            panel.set_xticks(one.x, [f"{value:g}" for value in one.x])
            panel.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel(r"$\epsilon_g$ at the end")
    legend(
        figure,
        [_simulation("0.2"), Line2D([], [], color="0.2", label="equations (joined)")],
        columns=2,
    )
    return figure


def equivalence(results: Sequence[Equivalence], title: str) -> Figure:
    """Deviation from the formulas for Q and R, and excess kurtosis of lambda, against N.

    Colours are functions f, filled markers students drawn independently of F, open ones trained on F.
    """
    figure, (deviation, kurtosis) = panels(1, 2, title)
    functions = list(dict.fromkeys(one.f for one in results))
    students = list(dict.fromkeys(one.student for one in results))
    handles = []
    for place, (f, colour) in enumerate(zip(functions, colours(len(functions)), strict=True)):
        for student in students:
            of = sorted((o for o in results if (o.f, o.student) == (f, student)), key=lambda o: o.width)
            look: dict[str, Any] = {
                "color": colour,
                "marker": marker(place),
                "linestyle": "-" if student == students[0] else "--",
                "markerfacecolor": colour if student == students[0] else "white",
            }
            N = np.array([one.width for one in of])
            deviation.plot(N, [np.hypot(one.deviation, one.noise) for one in of], **look)
            means = np.array([one.kurtosis[: one.units].mean() for one in of])
            errors = [np.sqrt((one.kurtosis_error[: one.units] ** 2).sum()) / one.units for one in of]
            kurtosis.errorbar(N, means, errors, capsize=0, elinewidth=1.0, **look)
            handles.append(Line2D([], [], label=f"{f}, {student}", markersize=4.5, **look))
    widths = sorted({one.width for one in results})
    noise = [np.sqrt(np.mean([one.noise**2 for one in results if one.width == width])) for width in widths]
    deviation.plot(widths, noise, **_GREY)
    handles.append(Line2D([], [], label="standard error", **_GREY))
    _log_error_axis(deviation)
    deviation.set_ylabel(r"rms $|\Delta Q|, |\Delta R|$ / std. dev.")
    kurtosis.axhline(0, **_GREY)
    kurtosis.set_ylabel(r"excess kurtosis of $\lambda$")
    for panel in (deviation, kurtosis):
        panel.set_xscale("log")
        panel.set_xticks(widths, [str(width) for width in widths])
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("$N$")
    legend(figure, handles, columns=4)
    return figure


# ------------------------------------------------------------------------------------------ common parts

_DOTS: dict[str, Any] = {"linestyle": "none", "markersize": 4.0}
_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.2}
_DASHES = (":", "--", "-.")


def _points(times: Array) -> NDArray[np.int64]:
    """Places of the measurements to mark: t > 0, at most so many, evenly spread in log t."""
    places = np.flatnonzero(times > 0)
    if len(places) <= _MOST_POINTS:
        return places
    wanted = np.geomspace(times[places[0]], times[places[-1]], _MOST_POINTS)
    return np.unique(np.searchsorted(times, wanted).clip(places[0], places[-1]))


def _marks(colour: str, symbol: str, ring: bool = False) -> dict[str, Any]:
    """Filled markers, or larger rings around others."""
    return {
        "color": colour,
        "marker": symbol,
        "linestyle": "none",
        "markersize": 6.5 if ring else 4.0,
        "markerfacecolor": "none" if ring else colour,
    }


def _line(dashed: bool) -> dict[str, Any]:
    return {"linestyle": "--" if dashed else "-", "linewidth": 1.2}


def _draw_error(
    panel: Axes,
    simulated: Curves | None,
    expected: Curves | None,
    colour: str,
    symbol: str,
    ring: bool = False,
) -> None:
    """eps_g on logarithmic axes: the mean over repetitions, with its standard error."""
    if expected is not None:
        late = expected.times > 0
        panel.plot(expected.times[late], expected.mean[late], color=colour, **_line(ring))
    if simulated is not None:
        shown = _points(simulated.times)
        panel.errorbar(
            simulated.times[shown],
            simulated.mean[shown],
            simulated.spread[shown],
            capsize=0,
            elinewidth=1.0,
            **_marks(colour, symbol, ring),
        )
    panel.set_xscale("log")
    panel.set_xlabel(TIME)
    panel.set_ylabel(ERROR)
    _log_error_axis(panel)


def _log_error_axis(panel: Axes) -> None:
    """Logarithmic, with plain numbers at 1, 2, 3, 5 of each decade."""
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _draw_entries(
    panel: Axes, simulated: Curves, expected: Curves | None, name: str, entries: Sequence[tuple[int, int]]
) -> list[Line2D]:
    """Entries of a matrix of the first repetition; returns their legend."""
    handles = []
    shown = _points(simulated.times)
    for place, ((i, j), colour) in enumerate(zip(entries, colours(len(entries)), strict=True)):
        values = getattr(simulated, name)[0]
        panel.plot(simulated.times[shown], values[shown, i, j], color=colour, marker=marker(place), **_DOTS)
        if expected is not None:
            late = expected.times > 0
            panel.plot(expected.times[late], getattr(expected, name)[0][late, i, j], color=colour, **_LINE)
        handles.append(
            Line2D([], [], color=colour, marker=marker(place), label=f"${name}_{{{i + 1}{j + 1}}}$", **_DOTS)
        )
    panel.set_xscale("log")
    panel.set_xlabel(TIME)
    return handles


def _simulation(colour: str, label: str = "simulation", filled: bool = True) -> Line2D:
    return Line2D(
        [],
        [],
        color=colour,
        marker="o",
        linestyle="none",
        markersize=4.5 if filled else 7,
        markerfacecolor=colour if filled else "none",
        label=label,
    )
